"""The SQLite project file: the only place with SQL.

`open_store` opens one; a `Store` saves and loads records. Notebooks, app and command line share the same file.
"""

from insightv_core.store.project import DEFAULT_PROJECT, Store, open_store, project_file

__all__ = ["DEFAULT_PROJECT", "Store", "open_store", "project_file"]
