"""A project file: opening it, and saving and loading its questions, runs and paths."""

import contextlib
import json
import os
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, TypeVar, cast

from insightv_core.errors import UserError
from insightv_core.records import ModelVersion, Path, Question, Run, Step, StepRecord, StoredImage
from insightv_core.store.schema import STEP_SPAN, migrations

if TYPE_CHECKING:
    from sqlite_utils import Database

DEFAULT_PROJECT = FilePath("data/insightv.db")
BUSY_SECONDS = 30.0
MOST_REMEMBERED = 200
Value = TypeVar("Value")
RUNNING, DONE, STOPPED, BROKEN = "running", "done", "stopped", "failed"


class Store:
    """One connection to a project file; each thread and process opens its own.

    Several rows are saved in one transaction: all of them are on disk when a method returns, or none.
    """

    def __init__(self, file: FilePath, db: "Database"):
        self.file, self.db = file, db
        self._remembered: dict[object, object] = {}
        self._remembered_at: tuple[int, int] | None = None

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.db.close()

    @property
    def folder(self) -> FilePath:
        """The folder of the project file, which holds `images`, `adapters` and `runs`."""
        return self.file.parent

    def image_file(self, sha256: str) -> FilePath:
        """Return where the picture with that hash lies."""
        return self.folder / "images" / sha256[:2] / f"{sha256}.png"

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what happens inside as one; explain what SQLite complains about."""
        with explain_errors(self.file), self._within("BEGIN IMMEDIATE"):
            yield

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all reads inside see the same moment, whatever others write meanwhile."""
        if self.db.conn.in_transaction:
            yield
        else:
            with explain_errors(self.file), self._within("BEGIN"):
                yield

    @contextlib.contextmanager
    def _within(self, begin: str) -> Iterator[None]:
        self.db.conn.execute(begin)
        try:
            yield
            self.db.conn.execute("COMMIT")
        except BaseException:
            # A full disk makes SQLite roll back by itself; a second rollback would hide its message.
            if self.db.conn.in_transaction:
                self.db.conn.execute("ROLLBACK")
            raise

    def rows(self, sql: str, parameters: Sequence | dict = ()) -> list[dict]:
        """Return the rows of a query as dictionaries."""
        with explain_errors(self.file):
            cursor = self.db.conn.execute(sql, parameters)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def tuples(self, sql: str, parameters: Sequence | dict = ()) -> list[tuple]:
        """Return the rows of a query as tuples."""
        with explain_errors(self.file):
            return self.db.conn.execute(sql, parameters).fetchall()

    def column(self, sql: str, parameters: Sequence | dict = ()) -> list:
        """Return the first values of a query's rows."""
        return [row[0] for row in self.tuples(sql, parameters)]

    def value(self, sql: str, parameters: Sequence | dict = ()):
        """Return the first value of a query's first row, None where there is none."""
        with explain_errors(self.file):
            row = self.db.conn.execute(sql, parameters).fetchone()
        return row[0] if row else None

    def remember(self, key: object, compute: Callable[[], Value]) -> Value:
        """Return what `compute` returned for this key before, unless anything was written to the file since."""
        if self.db.conn.in_transaction:
            return compute()
        now = (self.value("PRAGMA data_version"), self.db.conn.total_changes)
        if now != self._remembered_at or len(self._remembered) >= MOST_REMEMBERED:
            self._remembered, self._remembered_at = {}, now
        if key not in self._remembered:
            self._remembered[key] = compute()
        return cast(Value, self._remembered[key])

    # -- questions -------------------------------------------------------------------------------------------------

    def add_questions(self, questions: Iterable[tuple[Question, StoredImage]]) -> int:
        """Save questions with their pictures' records; return how many were new."""
        added = 0
        with self.transaction():
            for question, image in questions:
                self.db.conn.execute(
                    "INSERT INTO images VALUES (?, ?, ?, ?) ON CONFLICT (sha256) DO NOTHING",
                    tuple(asdict(image).values()),
                )
                added += self.db.conn.execute(
                    "INSERT INTO questions (id, text, answer, image, source, answer_type, family, level, options, "
                    "tolerance, metadata, position) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
                    "coalesce(max(position), 0) + 1 FROM questions WHERE 1 ON CONFLICT (id) DO NOTHING",
                    storable(
                        question.id, question.text, question.answer, question.image, question.source,
                        question.answer_type, question.family, question.level,
                        json.dumps(question.options, ensure_ascii=False), question.tolerance,
                        json.dumps(question.metadata, ensure_ascii=False, sort_keys=True),
                    ),
                ).rowcount  # fmt: skip
        return added

    def questions(self, *, limit: int | None = None, source: str | None = None) -> Iterator[Question]:
        """Yield questions in the order of their import."""
        condition, parameters = ("WHERE source = ?", [source]) if source else ("", [])
        last, left = 0, limit if limit is not None else 1 << 60
        while left > 0:
            rows = self.rows(
                f"SELECT * FROM questions {condition or 'WHERE 1'} AND position > ? ORDER BY position LIMIT ?",
                [*parameters, last, min(500, left)],
            )
            yield from map(read_question, rows)
            if not rows:
                return
            last, left = rows[-1]["position"], left - len(rows)

    def question(self, question: str) -> Question:
        """Return the question with that id."""
        rows = self.rows("SELECT * FROM questions WHERE id = ?", [question])
        if not rows:
            raise UserError(f"no question {question!r} in {self.file}")
        return read_question(rows[0])

    def question_count(self, source: str | None = None) -> int:
        """Return the number of questions, of one source or of all."""
        if source is None:
            return self.value("SELECT count(*) FROM questions")
        return self.value("SELECT count(*) FROM questions WHERE source = ?", [source])

    # -- runs ------------------------------------------------------------------------------------------------------

    def start_run(self, run: Run, *, total: int | None = None, command: str | None = None) -> None:
        """Save a run that starts, or note that it goes on."""
        now = time.time()
        with self.transaction():
            if run.model is not None:
                self.db.conn.execute(
                    "INSERT OR IGNORE INTO models (fingerprint, name, created) VALUES (?, ?, ?)",
                    (run.model.fingerprint, run.model.name, now),
                )
            self.db.conn.execute(
                "INSERT INTO runs (id, stage, model, prompt_version, settings, code_version, status, total, command, "
                "pid, started, updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET status = excluded.status, total = excluded.total, "
                "command = excluded.command, pid = excluded.pid, updated = excluded.updated, ended = NULL, "
                "message = NULL",
                (
                    run.id, run.stage, run.model.fingerprint if run.model else None, run.prompt_version,
                    json.dumps(run.settings, ensure_ascii=False, sort_keys=True), run.code_version, RUNNING, total,
                    command, os.getpid(), now, now,
                ),
            )  # fmt: skip

    def note_progress(self, run: str, done: int) -> None:
        """Note how much of a run is done."""
        with self.transaction():
            self.db.conn.execute("UPDATE runs SET done = ?, updated = ? WHERE id = ?", (done, time.time(), run))

    def end_run(self, run: str, status: str, *, done: int | None = None, message: str | None = None) -> None:
        """Note how a run ended: "done", "stopped" or "failed"."""
        now = time.time()
        with self.transaction():
            self.db.conn.execute(
                "UPDATE runs SET status = ?, done = coalesce(?, done), message = ?, updated = ?, ended = ? "
                "WHERE id = ?",
                (status, done, message, now, now, run),
            )

    def status(self, run: str) -> str | None:
        """Return how a run stands: "running", "done", "stopped" or "failed"; None where it was never begun."""
        return self.value("SELECT status FROM runs WHERE id = ?", [run])

    def run(self, run: str) -> Run:
        """Return the run with that id, or with an id that begins so."""
        rows = self.rows(
            "SELECT runs.*, models.name AS model_name FROM runs LEFT JOIN models ON models.fingerprint = runs.model "
            "WHERE id >= ? AND id < ? LIMIT 2",
            [run, run + "g"],
        )
        if len(rows) != 1:
            raise UserError(f"{'no' if not rows else 'more than one'} run {run!r} in {self.file}")
        row = rows[0]
        model = ModelVersion(row["model_name"], row["model"]) if row["model"] else None
        return Run(
            row["id"], row["stage"], model, row["prompt_version"], json.loads(row["settings"]), row["code_version"]
        )

    # -- paths -----------------------------------------------------------------------------------------------------

    def add_paths(self, paths: Iterable[Path]) -> int:
        """Save paths with their steps, skipping those that are there already; return how many were new.

        Raises `UserError`, and saves none of them, when a path's question or run is not in the project.
        """
        added: Counter[int] = Counter()
        with self.transaction():
            for path in paths:
                added.update(self._insert_path(path))
            # Counted here, not by a trigger: any trigger on insert makes every insert a third slower.
            for facets, paths_added in added.items():
                self.db.conn.execute("UPDATE facets SET paths = paths + ? WHERE key = ?", (paths_added, facets))
                self.db.conn.execute(
                    "INSERT INTO facet_scores VALUES (?, 0, ?) "
                    "ON CONFLICT DO UPDATE SET paths = paths + excluded.paths",
                    (facets, paths_added),
                )
        return added.total()

    def _insert_path(self, path: Path) -> list[int]:
        """Save a path unless it is there; return the keys of the facets that it adds to: one, or none."""
        position, source, family, model, facets = self._facets_of(path)
        cursor = self.db.conn.execute(
            "INSERT INTO paths (id, question, run, sample, status, answer, failure, final_raw, step_count, tokens, "
            "logprob, seconds, created, source, family, model, position, facets) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
            storable(
                path.id, path.question, path.run, path.sample, path.status, path.answer, path.failure, path.final_raw,
                len(path.steps), path.tokens, path.logprob, path.seconds, time.time(), source, family, model, position,
                facets,
            ),
        )  # fmt: skip
        if cursor.rowcount < 1:
            return []
        key = cursor.lastrowid or 0
        self.db.conn.executemany(
            "INSERT INTO steps (key, path, turn, number, summary, content, action, raw, tokens, logprob, seconds) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(key * STEP_SPAN + turn, key, turn, *row) for turn, row in enumerate(_step_rows(path.turns))],
        )
        return [facets]

    def _facets_of(self, path: Path) -> tuple[int, str, str, str | None, int]:
        """Return position, source, family, model and key of the facets of a path that nobody has judged yet."""
        row = self.db.conn.execute(
            "SELECT questions.position, questions.source, questions.family, runs.model, facets.key "
            "FROM questions, runs LEFT JOIN facets ON facets.source = questions.source "
            "AND facets.family = questions.family AND facets.run = runs.id "
            "AND facets.model = coalesce(runs.model, '') AND facets.status = ? AND facets.outcome = '' "
            "AND facets.reviewed = 0 WHERE questions.id = ? AND runs.id = ?",
            (path.status, path.question, path.run),
        ).fetchone()
        if row is None:
            raise UserError(
                f"path {path.id} belongs to question {path.question!r} and run {path.run!r}, of which {self.file} "
                "lacks at least one: import its questions and start the run first"
            )
        if row[4] is not None:
            return row
        position, source, family, model, _ = row
        added = self.db.conn.execute(
            "INSERT INTO facets (source, family, run, model, status, outcome, reviewed) VALUES (?, ?, ?, ?, ?, '', 0)",
            (source, family, path.run, model or "", path.status),
        )
        return position, source, family, model, added.lastrowid or 0

    def samples_of(self, run: str) -> dict[str, set[int]]:
        """Return which samples of which questions a run has made."""
        made: dict[str, set[int]] = {}
        for row in self.rows("SELECT question, sample FROM paths WHERE run = ?", [run]):
            made.setdefault(row["question"], set()).add(row["sample"])
        return made

    def first_path(self, run: str) -> str | None:
        """Return the id of the first path that a run has made."""
        return self.value("SELECT id FROM paths WHERE run = ? ORDER BY key LIMIT 1", [run])

    def path(self, path: str) -> Path:
        """Return the path with that id, or with an id that begins so."""
        found = self.load_paths("id >= ? AND id < ? LIMIT 2", [path, path + "g"])
        if len(found) != 1:
            raise UserError(f"{'no' if not found else 'more than one'} path {path!r} in {self.file}")
        return found[0]

    def paths_of(self, question: str, *, run: str | None = None) -> list[Path]:
        """Return the paths of a question, of one run or of all, in the order of run and sample."""
        if run is None:
            return self.load_paths("question = ? ORDER BY run, sample", [question])
        return self.load_paths("run = ? AND question = ? ORDER BY sample", [run, question])

    def load_paths(self, condition: str, parameters: Sequence) -> list[Path]:
        """Return the paths that fulfil an SQL condition written by the store's own code."""
        rows = self.rows(f"SELECT * FROM paths WHERE {condition}", parameters)
        turns: dict[int, list[StepRecord]] = {row["key"]: [] for row in rows}
        for chunk in range(0, len(rows), 500):
            keys = [row["key"] for row in rows[chunk : chunk + 500]]
            marks = marks_for(keys)
            for step in self.rows(f"SELECT * FROM steps WHERE path IN ({marks}) ORDER BY path, turn", keys):
                turns[step["path"]].append(read_turn(step))
        return [read_path(row, turns[row["key"]]) for row in rows]


def _step_rows(turns: Sequence[StepRecord]) -> Iterator[tuple]:
    number = 0
    for turn in turns:
        step = turn.step
        shown = (step.summary, step.content, step.action) if step else (None, None, None)
        number += turn.accepted
        yield storable(number if turn.accepted else None, *shown, turn.raw, turn.tokens, turn.logprob, turn.seconds)


def marks_for(values: Sequence) -> str:
    """Return the question marks that stand for so many parameters: "?,?,?"."""
    return ",".join("?" * len(values))


def storable(*values) -> tuple:
    """Return values as a row for SQLite: half a surrogate pair, as in JSON's "\\ud800", becomes U+FFFD."""
    try:
        for value in values:
            if isinstance(value, str):
                value.encode()
    except UnicodeEncodeError:
        return tuple(LONE_SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value for value in values)
    return values


LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def read_question(row: dict) -> Question:
    """Return a row of `questions` as a record."""
    return Question(
        row["id"], row["text"], row["answer"], row["image"], row["source"], row["answer_type"], row["family"],
        row["level"], tuple(json.loads(row["options"])), row["tolerance"], json.loads(row["metadata"]),
    )  # fmt: skip


def read_turn(row: dict) -> StepRecord:
    """Return a row of `steps` as a record."""
    step = Step(row["summary"], row["content"], row["action"]) if row["summary"] is not None else None
    return StepRecord(row["raw"], step, row["number"] is not None, row["tokens"], row["logprob"], row["seconds"])


def read_path(row: dict, turns: Sequence[StepRecord]) -> Path:
    """Return a row of `paths` and its turns as a record."""
    return Path(
        row["id"], row["question"], row["run"], row["sample"], row["status"], tuple(turns), row["answer"],
        row["failure"], row["final_raw"], row["tokens"], row["logprob"], row["seconds"],
    )  # fmt: skip


def project_file(file: str | FilePath | None = None) -> FilePath:
    """Return the project file that is meant: the given one, else that of `INSIGHTV_PROJECT`, else data/insightv.db."""
    return FilePath(file or os.environ.get("INSIGHTV_PROJECT") or DEFAULT_PROJECT)


def open_store(file: str | FilePath | None = None, *, create: bool = False) -> Store:
    """Open the project file that `project_file` finds, and bring its schema up to date.

    Raises `UserError` when it does not exist (unless `create`), is no project file, damaged, or cannot be written.
    """
    file = project_file(file)
    try:
        if not file.exists() and not create:
            raise UserError(f"no project file at {file}: start one with `insightv import data/demo --project {file}`")
        if file.is_dir():
            raise UserError(f"{file} is a folder: give the path of a project file, such as {file / 'insightv.db'}")
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{file} cannot be reached: {error.strerror}. Give another file with --project.") from error
    from sqlite_utils import Database

    with explain_errors(file):
        connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            return _prepare(Store(file, Database(connection)))
        except BaseException:
            connection.close()
            raise


def _prepare(store: Store) -> Store:
    db, known = store.db, migrations()
    if db.table_names() and not known.applied(db):
        raise UserError(f"{store.file} belongs to another program: give the path of a project file with --project")
    _write_ahead(db.conn)
    for pragma in ("foreign_keys=ON", "synchronous=NORMAL", "cache_size=-65536"):
        db.conn.execute(f"PRAGMA {pragma}")
    if known.pending(db):
        # `apply` looks again at what is pending, so of two processes that make a file one waits and finds it made.
        with store.transaction():
            known.apply(db)
    return store


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Turn on the write-ahead log, waiting where another process opens the same new file: SQLite does not wait here."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "is locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)


@contextlib.contextmanager
def explain_errors(file: FilePath) -> Iterator[None]:
    """Turn what SQLite says about a file that is damaged, locked, full or read-only into a `UserError`."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        said = str(error)
        for sign, advice in COMPLAINTS.items():
            if sign in said:
                raise UserError(f"{file}: {said}. {advice}") from error
        raise


COMPLAINTS = {
    "not a database": "This is no project file; give another one with --project.",
    "malformed": "The file is damaged: restore a copy, or save what is left with `sqlite3 FILE .recover`.",
    "is locked": "Another process keeps it locked: wait for that one or stop it, then run this again.",
    "disk is full": "Make room and run the same command again; everything saved so far is kept.",
    "disk I/O error": "The disk cannot be read or written; check it, then run the same command again.",
    "readonly": "Make the file and its folder writable, or give another file with --project.",
    "unable to open": "Check that its folder exists and can be written.",
}
