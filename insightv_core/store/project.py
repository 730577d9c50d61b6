"""A project file: opening it, and saving and loading its questions, runs and paths."""

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path as FilePath

from sqlite_utils import Database

from insightv_core.errors import UserError
from insightv_core.records import ModelVersion, Path, Question, Run, Step, StepRecord, StoredImage
from insightv_core.store.schema import migrations

DEFAULT_PROJECT = FilePath("data/insightv.db")
BUSY_SECONDS = 30.0
RUNNING, DONE, STOPPED, BROKEN = "running", "done", "stopped", "failed"


class Store:
    """One connection to a project file; each thread and process opens its own.

    Several rows are saved in one transaction: all of them are on disk when a method returns, or none.
    """

    def __init__(self, file: FilePath, db: Database):
        self.file, self.db = file, db

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
        with explain_errors(self.file):
            self.db.conn.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self.db.conn.execute("ROLLBACK")
                raise
            self.db.conn.execute("COMMIT")

    def rows(self, sql: str, parameters: Sequence | dict = ()) -> list[dict]:
        """Return the rows of a query as dictionaries."""
        with explain_errors(self.file):
            cursor = self.db.conn.execute(sql, parameters)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def value(self, sql: str, parameters: Sequence | dict = ()):
        """Return the first value of a query's first row, None where there is none."""
        with explain_errors(self.file):
            row = self.db.conn.execute(sql, parameters).fetchone()
        return row[0] if row else None

    # -- questions -------------------------------------------------------------------------------------------------

    def add_questions(self, questions: Iterable[tuple[Question, StoredImage]]) -> int:
        """Save questions with their pictures' records; return how many were new."""
        before = self.value("SELECT count(*) FROM questions")
        with self.transaction():
            for question, image in questions:
                self.db.conn.execute("INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?)", tuple(asdict(image).values()))
                self.db.conn.execute(
                    "INSERT OR IGNORE INTO questions SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
                    "coalesce(max(position), 0) + 1 FROM questions",
                    (
                        question.id, question.text, question.answer, question.image, question.source,
                        question.answer_type, question.family, question.level,
                        json.dumps(question.options, ensure_ascii=False), question.tolerance,
                        json.dumps(question.metadata, ensure_ascii=False, sort_keys=True),
                    ),
                )  # fmt: skip
        return self.value("SELECT count(*) FROM questions") - before

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
        return self.value("SELECT count(*) FROM questions WHERE ? IN (source, '')", [source or ""])

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
        """Save paths with their steps, skipping those that are there already; return how many were new."""
        added = 0
        with self.transaction():
            for path in paths:
                added += self._insert_path(path)
        return added

    def _insert_path(self, path: Path) -> int:
        cursor = self.db.conn.execute(
            "INSERT OR IGNORE INTO paths (id, question, run, sample, status, answer, failure, final_raw, step_count, "
            "tokens, logprob, seconds, created, source, family, model) "
            "SELECT ?, questions.id, runs.id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, source, family, runs.model "
            "FROM questions, runs WHERE questions.id = ? AND runs.id = ?",
            (
                path.id, path.sample, path.status, path.answer, path.failure, path.final_raw, len(path.steps),
                path.tokens, path.logprob, path.seconds, time.time(), path.question, path.run,
            ),
        )  # fmt: skip
        if cursor.rowcount < 1:
            return 0
        self.db.conn.executemany(
            "INSERT INTO steps (path, turn, number, summary, content, action, raw, tokens, logprob, seconds) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(cursor.lastrowid, turn, *row) for turn, row in enumerate(_step_rows(path.turns))],
        )
        return 1

    def samples_of(self, run: str) -> dict[str, set[int]]:
        """Return which samples of which questions a run has made."""
        made: dict[str, set[int]] = {}
        for row in self.rows("SELECT question, sample FROM paths WHERE run = ?", [run]):
            made.setdefault(row["question"], set()).add(row["sample"])
        return made

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
            marks = ",".join("?" * len(keys))
            for step in self.rows(f"SELECT * FROM steps WHERE path IN ({marks}) ORDER BY path, turn", keys):
                turns[step["path"]].append(read_turn(step))
        return [read_path(row, turns[row["key"]]) for row in rows]


def _step_rows(turns: Sequence[StepRecord]) -> Iterator[tuple]:
    number = 0
    for turn in turns:
        step = turn.step or Step("", "", "")
        shown = (step.summary, step.content, step.action) if turn.step else (None, None, None)
        number += turn.accepted
        yield (number if turn.accepted else None, *shown, turn.raw, turn.tokens, turn.logprob, turn.seconds)


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


def open_store(file: str | FilePath | None = None, *, create: bool = False) -> Store:
    """Open a project file, by default `INSIGHTV_PROJECT` or data/insightv.db, and bring its schema up to date.

    Raises `UserError` when it does not exist (unless `create`), is no project file, damaged, or cannot be written.
    """
    file = FilePath(file or os.environ.get("INSIGHTV_PROJECT") or DEFAULT_PROJECT)
    if not file.exists() and not create:
        raise UserError(f"no project file at {file}: start one with `insightv import data/demo --project {file}`")
    if file.is_dir():
        raise UserError(f"{file} is a folder: give the path of a project file, such as {file / 'insightv.db'}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {file.parent} cannot be made: {error.strerror}") from error
    with explain_errors(file):
        connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            db = Database(connection)
            for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=NORMAL", "cache_size=-65536"):
                connection.execute(f"PRAGMA {pragma}")
            if migrations.pending(db):
                migrations.apply(db)
        except BaseException:
            connection.close()
            raise
    return Store(file, db)


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
    "is locked": "Another process has been writing for 30 seconds: wait for it or stop it, then run this again.",
    "disk is full": "Make room and run the same command again; everything saved so far is kept.",
    "disk I/O error": "The disk cannot be read or written; check it, then run the same command again.",
    "readonly": "Make the file and its folder writable, or give another file with --project.",
    "unable to open": "Check that its folder exists and can be written.",
}
