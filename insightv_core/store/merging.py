"""What merging project files reads and writes: pictures' records, questions compared, and runs that came from shards.

A merged run has no process id: no process of this machine worked on it.
"""

import json
from collections.abc import Collection, Iterator, Sequence

from insightv_core.records import Path, StoredImage
from insightv_core.store.project import Store
from insightv_core.store.runs import RunRow

AT_ONCE = 500  # rows of a query or a transaction


def load_pictures(store: Store, hashes: Collection[str]) -> dict[str, StoredImage]:
    """Return the records of pictures by their hash."""
    rows = store.rows(
        "SELECT sha256, width, height, bytes FROM images WHERE sha256 IN (SELECT value FROM json_each(?))",
        [json.dumps(list(hashes))],
    )
    return {row["sha256"]: StoredImage(**row) for row in rows}


def questions_unlike(store: Store, other: Store) -> list[str]:
    """Return the ids of those questions with paths in `other` that a project lacks, or shows models differently."""
    columns = "id, text, image, options"
    asked = other.tuples(f"SELECT {columns} FROM questions WHERE id IN (SELECT question FROM paths) ORDER BY position")
    unlike = []
    for start in range(0, len(asked), AT_ONCE):
        part = asked[start : start + AT_ONCE]
        known = store.tuples(
            f"SELECT {columns} FROM questions WHERE id IN (SELECT value FROM json_each(?))",
            [json.dumps([row[0] for row in part])],
        )
        unlike += [row[0] for row in part if row not in set(known)]
    return unlike


def paths_in_parts(store: Store, run: str) -> Iterator[list[Path]]:
    """Yield the paths of a run in the order in which they were saved, some hundred at a time."""
    keys = store.column("SELECT key FROM paths WHERE run = ? ORDER BY key", [run])
    for start in range(0, len(keys), AT_ONCE):
        part = keys[start : start + AT_ONCE]
        yield store.load_paths("run = ? AND key BETWEEN ? AND ? ORDER BY key", [run, part[0], part[-1]])


def count_shared(store: Store, other: Store, run: str) -> int:
    """Return how many paths of a run a project has of the questions of another one."""
    questions = other.column("SELECT id FROM questions")
    parts = [questions[start : start + AT_ONCE] for start in range(0, len(questions), AT_ONCE)]
    return sum(
        store.value(
            "SELECT count(*) FROM paths WHERE run = ? AND question IN (SELECT value FROM json_each(?))",
            [run, json.dumps(part)],
        )
        for part in parts
    )


def enter_run(store: Store, other: Store, run: RunRow, *, command: str | None) -> None:
    """Save a run of `other` and its model as a run that has made nothing yet, unless it is there."""
    models = other.tuples(
        "SELECT fingerprint, name, kind, base, folder, run, created FROM models WHERE fingerprint = ?",
        [run.fingerprint],
    )
    with store.transaction():
        store.db.conn.executemany(
            "INSERT INTO models (fingerprint, name, kind, base, folder, run, created) VALUES (?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (fingerprint) DO NOTHING",
            models,
        )
        store.db.conn.execute(
            "INSERT INTO runs (id, stage, model, prompt_version, settings, code_version, status, command, started, "
            "updated) VALUES (?, ?, ?, ?, ?, ?, 'stopped', ?, ?, ?) ON CONFLICT (id) DO NOTHING",
            (
                run.id, run.stage, run.fingerprint, run.prompt_version,
                json.dumps(run.settings, ensure_ascii=False, sort_keys=True), run.code_version, command, run.started,
                run.updated,
            ),
        )  # fmt: skip


def note_merged(store: Store, run: str, parts: Sequence[RunRow], *, status: str, done: int, total: int) -> None:
    """Note how a merged run stands; it took from the first start to the last end of its parts in the shards."""
    with store.transaction():
        store.db.conn.execute(
            "UPDATE runs SET status = ?, done = ?, total = ?, started = min(started, ?), updated = max(updated, ?), "
            "ended = nullif(max(coalesce(ended, 0), ?), 0) WHERE id = ?",
            (
                status, done, total, min(part.started for part in parts), max(part.updated for part in parts),
                max(part.ended or 0 for part in parts), run,
            ),
        )  # fmt: skip
