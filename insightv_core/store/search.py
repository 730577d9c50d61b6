"""Full-text search over steps and questions: text as people type it, and filling the index behind the writers."""

import contextlib

from insightv_core.errors import UserError
from insightv_core.store import project
from insightv_core.store.filters import Condition, PathFilter
from insightv_core.store.project import Store
from insightv_core.store.schema import STEP_SPAN

CATCH_UP = 1000
MANY_HITS = 20_000
MOST_WORDS = 32


def match_expression(text: str) -> str:
    """Return an FTS5 expression that is true of what holds all words of a text; of nothing where it has no word.

    Each word is quoted, so no character of it is an operator. The last one may be the beginning of a word, unless a
    space follows it.

    >>> match_expression('3 NOT "five')
    '"3" "NOT" \"""five"*'
    """
    readable = text.encode(errors="replace").decode().replace("\0", " ")
    words = [word for word in readable.split() if any(map(str.isalnum, word))][:MOST_WORDS]
    quoted = " ".join('"' + word.replace('"', '""') + '"' for word in words or [""])
    return quoted if readable[-1:].isspace() else f"{quoted}*"


def index_new_steps(store: Store, limit: int = 10_000) -> int:
    """Make at most so many steps searchable that are not yet, oldest first; return how many were.

    Apart from writing paths, because it is many times slower: a writer calls it now and then.
    """
    with store.transaction():
        last = store.value("SELECT last_step FROM search_state")
        keys = store.column("SELECT key FROM steps WHERE key > ? ORDER BY key LIMIT ?", (last, limit))
        if keys:
            store.db.conn.execute(
                "INSERT INTO steps_search (rowid, summary, content) SELECT key, summary, content FROM steps "
                "WHERE key > ? AND key <= ? AND number IS NOT NULL",
                (last, keys[-1]),
            )
            store.db.conn.execute("UPDATE search_state SET last_step = ?", (keys[-1],))
    return len(keys)


def catch_up(store: Store) -> None:
    """Make the newest steps searchable as far as takes no noticeable time; leave it to others while they write."""
    if not unsearchable_paths(store) or store.db.conn.in_transaction:
        return
    store.db.conn.execute("PRAGMA busy_timeout=0")
    try:
        # A locked, full or read-only file can still be searched as far as it is indexed.
        with contextlib.suppress(UserError):
            index_new_steps(store, CATCH_UP)
    finally:
        store.db.conn.execute(f"PRAGMA busy_timeout={int(project.BUSY_SECONDS * 1000)}")


def unsearchable_paths(store: Store) -> int:
    """Return about how many paths search does not find yet, because `index_new_steps` has not come to them."""
    last = store.value("SELECT last_step FROM search_state")
    newest = store.value("SELECT max(key) FROM steps") or 0
    return max(newest // STEP_SPAN - last // STEP_SPAN, 1) if newest > last else 0


def many_hits(store: Store, expression: str) -> bool:
    """Tell whether so many steps or questions match that looking at each of them takes too long for a page."""
    return any(
        store.value(
            f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {table} MATCH ? LIMIT ?)", (expression, MANY_HITS + 1)
        )
        > MANY_HITS
        for table in ("steps_search", "questions_search")
    )


def prepare_search(store: Store, filter: PathFilter) -> str | None:
    """Return the expression of a filter's search, with the newest steps searchable; None without a search."""
    if not filter.search.strip():
        return None
    catch_up(store)
    return match_expression(filter.search)


def found_paths(expression: str, newest: int | None = None) -> Condition:
    """Return the condition that a step of a path fits, or one of the `newest` steps that fit."""
    steps = "SELECT rowid FROM steps_search WHERE steps_search MATCH ?"
    if newest is None:
        return Condition(f"paths.key IN (SELECT rowid / {STEP_SPAN} FROM ({steps}))", (expression,))
    newest_steps = f"{steps} ORDER BY rowid DESC LIMIT ?"
    return Condition(f"paths.key IN (SELECT rowid / {STEP_SPAN} FROM ({newest_steps}))", (expression, newest))


def path_matches(store: Store, expression: str, key: int) -> bool:
    """Tell whether a step of a path holds what is looked for."""
    return store.value(
        "SELECT 1 FROM steps_search WHERE steps_search MATCH ? AND rowid >= ? AND rowid < ? LIMIT 1",
        (expression, key * STEP_SPAN, (key + 1) * STEP_SPAN),
    ) is not None  # fmt: skip
