"""Saving and loading what judges said of paths.

A run assesses a path once, so saving twice adds nothing and several judges' rows lie beside each other. `outcome` and
`score` of `paths` follow the newest assessment, except that one by rules alone never displaces a judge's.
"""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from insightv_core.records import Assessment, JudgeCall, Path
from insightv_core.store.project import Store, marks_for

# Runs by rules alone have no model.
_NEWEST = "ORDER BY runs.model IS NULL, assessments.key DESC LIMIT 1"
_UNASSESSED = "NOT EXISTS (SELECT 1 FROM assessments WHERE assessments.run = ?1 AND assessments.path = paths.key)"


@dataclass(frozen=True)
class Missing:
    """A question's number of paths, and how many of them a run has not assessed."""

    paths: int
    missing: int


def add_assessments(store: Store, assessments: Iterable[Assessment], calls: Iterable[JudgeCall] = ()) -> int:
    """Save assessments with the judge's calls that they rest on, all or nothing; return how many were new.

    What the run has assessed already is skipped. The paths' outcome and score follow.
    """
    added = 0
    with store.transaction():
        for call in calls:
            _insert_call(store, call)
        for assessment in assessments:
            added += _insert(store, assessment)
    return added


def _insert_call(store: Store, call: JudgeCall) -> None:
    store.db.conn.execute(
        "INSERT INTO judge_calls (id, run, question, mode, attempt, paths, raw, problem, tokens, seconds) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (
            call.id, call.run, call.question, call.mode, call.attempt, json.dumps(call.paths), call.raw, call.problem,
            call.tokens, call.seconds,
        ),
    )  # fmt: skip


def _insert(store: Store, assessment: Assessment) -> int:
    connection = store.db.conn
    cursor = connection.execute(
        "INSERT INTO assessments (run, path, outcome, outcome_reason, outcome_by, score, score_reason, position, call, "
        "created) SELECT ?, key, ?, ?, ?, ?, ?, ?, ?, ? FROM paths WHERE id = ? ON CONFLICT (run, path) DO NOTHING",
        (
            assessment.run, assessment.outcome, assessment.outcome_reason, assessment.outcome_by, assessment.score,
            assessment.score_reason, assessment.position, assessment.call, time.time(), assessment.path,
        ),
    )  # fmt: skip
    if cursor.rowcount < 1:
        return 0
    connection.executemany(
        "INSERT INTO step_assessments (assessment, number, verdict) VALUES (?, ?, ?)",
        [(cursor.lastrowid, number, verdict) for number, verdict in enumerate(assessment.verdicts, 1)],
    )
    connection.execute(
        "UPDATE paths SET (outcome, score) = (SELECT assessments.outcome, assessments.score FROM assessments "
        f"JOIN runs ON runs.id = assessments.run WHERE assessments.path = paths.key {_NEWEST}) WHERE id = ?",
        [assessment.path],
    )
    return 1


def assessments_of(
    store: Store, *, run: str | None = None, question: str | None = None, path: str | None = None
) -> list[Assessment]:
    """Return the assessments of a run, a question or a path, or of several of them together, in the order made."""
    given = {"assessments.run = ?": run, "paths.question = ?": question, "paths.id = ?": path}
    wanted = {condition: value for condition, value in given.items() if value is not None}
    return _load(store, " AND ".join(wanted) or "1", list(wanted.values()))


def latest_assessments(store: Store, question: str) -> dict[str, Assessment]:
    """Return for each assessed path of a question, by its id, the assessment that counts.

    That is the newest, except that one by rules alone never displaces a judge's.
    """
    found = _load(
        store,
        "paths.question = ? AND assessments.key = (SELECT assessments.key FROM assessments "
        f"JOIN runs ON runs.id = assessments.run WHERE assessments.path = paths.key {_NEWEST})",
        [question],
    )
    return {assessment.path: assessment for assessment in found}


def _load(store: Store, condition: str, parameters: Sequence) -> list[Assessment]:
    with store.snapshot():
        rows = store.rows(
            "SELECT assessments.*, paths.id AS path_id FROM assessments JOIN paths ON paths.key = assessments.path "
            f"WHERE {condition} ORDER BY assessments.key",
            parameters,
        )
        verdicts: dict[int, list[str]] = {row["key"]: [] for row in rows}
        for start in range(0, len(rows), 500):
            keys = [row["key"] for row in rows[start : start + 500]]
            marks = marks_for(keys)
            for step in store.rows(
                f"SELECT assessment, verdict FROM step_assessments WHERE assessment IN ({marks}) "
                "ORDER BY assessment, number",
                keys,
            ):
                verdicts[step["assessment"]].append(step["verdict"])
    return [_read(row, verdicts[row["key"]]) for row in rows]


def _read(row: dict, verdicts: Sequence[str]) -> Assessment:
    return Assessment(
        row["path_id"], row["run"], row["outcome"], row["outcome_reason"], row["outcome_by"], row["score"],
        row["score_reason"], tuple(verdicts), row["position"], row["call"],
    )  # fmt: skip


def judge_calls_of(store: Store, run: str, question: str | None = None) -> list[JudgeCall]:
    """Return the judge's calls of a run, about one question or all, in the order made."""
    rows = store.rows(
        "SELECT * FROM judge_calls WHERE run = ? AND (question = ? OR ?) ORDER BY rowid",
        [run, question, question is None],
    )
    return [JudgeCall(**{**row, "paths": tuple(json.loads(row["paths"]))}) for row in rows]


def judge_attempts(store: Store, run: str) -> dict[str, int]:
    """Return by the id of each of a run's calls which attempt it was, from 0."""
    return dict(store.tuples("SELECT id, attempt FROM judge_calls WHERE run = ?", [run]))


def judging_runs(store: Store) -> list[str]:
    """Return the runs in which a judge assessed paths, the one that was active last first."""
    return store.column("SELECT id FROM runs WHERE stage = 'assess' AND model IS NOT NULL ORDER BY updated DESC")


def judged_questions(store: Store, run: str) -> list[str]:
    """Return the questions of which a run has shown paths to the judge, in the order of import."""
    return store.column(
        "SELECT DISTINCT question FROM assessments JOIN paths ON paths.key = path WHERE assessments.run = ? "
        "AND call IS NOT NULL ORDER BY paths.position",
        [run],
    )


def scores_of(store: Store, run: str) -> list[int]:
    """Return the scores that a run gave, the lowest first."""
    return store.column("SELECT score FROM assessments WHERE run = ? AND score IS NOT NULL ORDER BY score", [run])


def count_assessed(store: Store, run: str) -> dict[str, int]:
    """Return what a run has assessed: paths by outcome, those without a score by reason, questions, and calls."""
    keys = ("correct", "wrong", "unparsed", "settled_by_judge", "unscored", "not_judged", "questions")
    counts = store.tuples(
        "SELECT coalesce(sum(assessments.outcome = 'correct'), 0), coalesce(sum(assessments.outcome = 'wrong'), 0), "
        "coalesce(sum(assessments.outcome = 'unparsed'), 0), coalesce(sum(outcome_by = 'judge'), 0), "
        "coalesce(sum(assessments.score IS NULL AND call IS NOT NULL), 0), "
        "coalesce(sum(assessments.score IS NULL AND call IS NULL), 0), count(DISTINCT question) "
        "FROM assessments JOIN paths ON paths.key = path WHERE assessments.run = ?",
        [run],
    )[0]
    calls, retries = store.tuples(
        "SELECT count(*), coalesce(sum(attempt > 0), 0) FROM judge_calls WHERE run = ?", [run]
    )[0]
    return dict(zip(keys, counts, strict=True)) | {"calls": calls, "retries": retries}


def count_missing(
    store: Store, run: str, *, paths_run: str | None = None, limit: int | None = None, source: str | None = None
) -> dict[str, Missing]:
    """Return for each question with paths, in the order of import, how many there are and how many are to be assessed.

    `paths_run` counts the paths of one run only, `source` the questions of one source, `limit` the first questions.
    """
    rows = store.rows(
        f"SELECT paths.question, count(*) AS paths, sum({_UNASSESSED}) AS missing FROM ("
        "SELECT id, position FROM questions WHERE ?2 IS NULL OR source = ?2 ORDER BY position LIMIT ?3"
        ") AS chosen JOIN paths ON paths.question = chosen.id WHERE ?4 IS NULL OR paths.run = ?4 "
        "GROUP BY chosen.position ORDER BY chosen.position",
        [run, source, -1 if limit is None else limit, paths_run],
    )
    return {row["question"]: Missing(row["paths"], row["missing"]) for row in rows}


def missing_paths(store: Store, run: str, question: str, *, paths_run: str | None = None) -> list[Path]:
    """Return the paths of a question that a run has not assessed, in the order of run and sample."""
    return store.load_paths(
        f"question = ?2 AND (?3 IS NULL OR paths.run = ?3) AND {_UNASSESSED} ORDER BY paths.run, sample",
        [run, question, paths_run],
    )
