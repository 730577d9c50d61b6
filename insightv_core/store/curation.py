"""What curating reads and saves: candidates by question, reviewers' preferences, training sets and pairs.

Reading goes through the questions once, a few hundred at a time with all that belongs to them, so neither the number of
queries nor the memory grows with the paths of a question or the size of a project.
"""

import contextlib
import gc
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from insightv_core.errors import UserError
from insightv_core.records import (
    COMPLETE,
    Candidate,
    Pair,
    Preference,
    Question,
    Run,
    SetRow,
    Step,
    identify,
)
from insightv_core.review import fold, settle_all, standing_edits
from insightv_core.store.project import Store, read_question, storable
from insightv_core.store.reviews import load_events

TOGETHER = 250  # questions
PAGE = 1000  # rows
LISTED = "IN (SELECT value FROM json_each(?))"
CURATE = "curate"
ROUND_PAIRS = "pairs"  # the stage of runs that pair the paths of a round; training sets of agents are not among them


@dataclass(frozen=True)
class StoredChain:
    """The chain of a path, its answer, and the outcome of that by its newest assessment."""

    path: str
    steps: tuple[Step, ...]
    answer: str | None
    outcome: str | None


# -- what to curate from -----------------------------------------------------------------------------------------------


def assessed_questions(
    store: Store,
    *,
    runs: Sequence[str] | None = None,
    assess_run: str | None = None,
    source: str | None = None,
    limit: int | None = None,
) -> Iterator[tuple[Question, list[Candidate]]]:
    """Yield every question with its paths, in the order of import, of run and of sample.

    `runs` are those whose paths count, all unless given. Of several assessments of a path that of `assess_run` counts,
    or else the newest, except that one by rules alone never displaces a judge's.
    """
    styles = read_styles(store)
    questions = store.questions(limit=limit, source=source)
    while chunk := list(islice(questions, TOGETHER)):
        with store.snapshot(), _no_collector():
            found = _load_candidates(store, [question.id for question in chunk], runs, assess_run, styles)
        for question in chunk:
            yield question, found.get(question.id, [])


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Keep Python from looking for reference cycles: so many new objects, none of them in one, cost a third more."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def read_styles(store: Store) -> dict[str, str]:
    """Return how each run of `generate` writes its paths: "progressive" or "chain"."""
    rows = store.tuples("SELECT id, settings FROM runs WHERE stage = 'generate'")
    return {run: json.loads(settings).get("style", "progressive") for run, settings in rows}


def _load_candidates(
    store: Store, questions: Sequence[str], runs: Sequence[str] | None, assess_run: str | None, styles: dict[str, str]
) -> dict[str, list[Candidate]]:
    paths = store.tuples(
        f"SELECT key, id, question, run, status FROM paths WHERE question {LISTED} "
        f"AND (?2 OR run IN (SELECT value FROM json_each(?3))) ORDER BY run, sample",
        [json.dumps(questions), runs is None, json.dumps(runs or [])],
    )
    keys = json.dumps([path[0] for path in paths])
    judged = {
        path: rest
        for path, *rest in store.tuples(
            "SELECT assessments.path, assessments.key, assessments.run, outcome, score FROM assessments "
            f"JOIN runs ON runs.id = assessments.run WHERE assessments.path {LISTED} AND (?2 IS NULL OR runs.id = ?2) "
            "ORDER BY runs.model IS NULL DESC, assessments.key",  # of several the last one stays
            [keys, assess_run],
        )
    }
    verdicts: dict[int, list[str]] = defaultdict(list)
    for assessment, verdict in store.tuples(
        f"SELECT assessment, verdict FROM step_assessments WHERE assessment {LISTED} ORDER BY assessment, number",
        [json.dumps([rest[0] for rest in judged.values()])],
    ):
        verdicts[assessment].append(verdict)
    steps = _load_steps(store, [path[0] for path in paths if path[4] == COMPLETE])
    found: dict[str, list[Candidate]] = defaultdict(list)
    for key, path, question, run, status in paths:
        assessment, assessed_by, outcome, score = judged.get(key, (0, None, None, None))
        found[question].append(
            Candidate(
                path, run, styles[run], status, tuple(steps[key]), outcome, score, tuple(verdicts.get(assessment, ())),
                assessed_by,
            )
        )  # fmt: skip
    return found


def _load_steps(store: Store, keys: Iterable[int]) -> dict[int, list[Step]]:
    """Return the accepted steps of paths by key, an empty list for any other key."""
    steps: dict[int, list[Step]] = defaultdict(list)
    for path, summary, content, action in store.tuples(
        f"SELECT path, summary, content, action FROM steps WHERE path {LISTED} AND number IS NOT NULL "
        "AND summary IS NOT NULL ORDER BY path, turn",
        [json.dumps(list(keys))],
    ):
        steps[path].append(Step(summary, content, action))
    return steps


def load_preferences(store: Store) -> dict[str, list[Preference]]:
    """Return by question what reviewers made of pairs of its paths, whichever curating run showed them."""
    return settle_all(fold(load_events(store)))


def load_edits(store: Store) -> dict[str, str]:
    """Return by path the chain as a reviewer last rewrote it, as JSON lines."""
    return standing_edits(fold(load_events(store)))


def describe_inputs(
    store: Store, *, runs: Sequence[str] | None = None, assess_run: str | None = None, source: str | None = None,
    limit: int | None = None,
) -> dict:  # fmt: skip
    """Return what there is to curate from, as plain data that changes whenever the result could.

    Questions, paths and assessments are only ever added, so their numbers by run tell them apart.
    """
    with store.snapshot():
        paths = dict(store.tuples("SELECT run, sum(paths) FROM facets GROUP BY run HAVING sum(paths) > 0 ORDER BY run"))
        assessments = dict(store.tuples("SELECT run, count(*) FROM assessments GROUP BY run ORDER BY run"))
        said = [
            [(question, each.better, each.worse, each.tied) for question, found in load_preferences(store).items()
             for each in found], load_edits(store),
        ]  # fmt: skip
        return {
            "questions": store.question_count(source), "source": source, "limit": limit,
            "paths": {run: count for run, count in paths.items() if runs is None or run in runs},
            "assessments": {run: n for run, n in assessments.items() if assess_run in (None, run)},
            "reviews": identify(said) if any(said) else None,
        }  # fmt: skip


def find_stage_run(store: Store, stage: str, run: str) -> str:
    """Return the full id of a run of a stage; `UserError` where the id begins otherwise or the stage is another."""
    found = store.run(run)
    if found.stage != stage:
        raise UserError(f"run {found.id} is of {found.stage}: give a run of `insightv {stage}`")
    return found.id


# -- saving ------------------------------------------------------------------------------------------------------------


def save_curation(
    store: Store, run: str, sets: Mapping[str, Sequence[SetRow]], pairs: Sequence[Pair], manifest: dict
) -> int:
    """Save the sets of a run with their manifest, and its pairs, all or nothing; return how many rows were new.

    What the run has saved already stays as it is, with whatever was excluded since.
    """
    added, now = 0, time.time()
    with store.transaction():
        for name, rows in sets.items():
            cursor = store.db.conn.execute(
                "INSERT INTO sets (id, run, name, manifest, created) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (identify("set", run, name), run, name, json.dumps(manifest, ensure_ascii=False), now),
            )
            if cursor.rowcount > 0:
                added += _insert_rows(store, identify("set", run, name), rows)
        added += _insert_pairs(store, pairs, now)
    return added


def _insert_rows(store: Store, set_id: str, rows: Sequence[SetRow]) -> int:
    store.db.conn.executemany(
        "INSERT INTO set_rows (set_id, number, question, path, kind, target, excluded) "
        "VALUES (?, ?, ?, (SELECT key FROM paths WHERE id = ?), ?, ?, ?)",
        (
            storable(set_id, number, row.question, row.path, row.kind, row.target, row.excluded)
            for number, row in enumerate(rows, 1)
        ),
    )
    return len(rows)


def _insert_pairs(store: Store, pairs: Sequence[Pair], now: float) -> int:
    before = store.db.conn.total_changes
    store.db.conn.executemany(
        "INSERT INTO pairs (id, run, question, chosen, rejected, kind, shared_steps, reason, margin, edited, excluded, "
        "created) VALUES (?, ?, ?, (SELECT key FROM paths WHERE id = ?), (SELECT key FROM paths WHERE id = ?), "
        "?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (
            storable(
                pair.id, pair.run, pair.question, pair.chosen, pair.rejected, pair.kind, pair.shared_steps, pair.reason,
                pair.margin, pair.edited, pair.excluded, now,
            )
            for pair in pairs
        ),
    )  # fmt: skip
    return store.db.conn.total_changes - before


def save_exclusions(store: Store, run: str, name: str, reasons: Mapping[int, str | None]) -> None:
    """Note why rows of a set, by number, or pairs, by key, are not to be trained on; None takes them in again."""
    with store.transaction():
        if name == "pairs":
            store.db.conn.executemany(
                "UPDATE pairs SET excluded = ? WHERE key = ? AND run = ?",
                ((reason, key, run) for key, reason in reasons.items()),
            )
        else:
            set_id = identify("set", run, name)
            store.db.conn.executemany(
                "UPDATE set_rows SET excluded = ? WHERE set_id = ? AND number = ?",
                ((reason, set_id, number) for number, reason in reasons.items()),
            )


# -- loading -----------------------------------------------------------------------------------------------------------


def find_curation(store: Store, run: str | None = None) -> Run:
    """Return the curating run with that id or beginning of an id, by default the one that was active last."""
    if run is None:
        run = store.value("SELECT id FROM runs WHERE stage = 'curate' AND status = 'done' ORDER BY updated DESC")
        if run is None:
            raise UserError(f"nothing is curated in {store.file} yet: run `insightv curate` first")
    return store.run(find_stage_run(store, CURATE, run))


def find_set_run(store: Store, name: str, run: str | None = None) -> Run:
    """Return the run that holds "reason", "summary" or "pairs": the newest curation, or the run that is named.

    Pairs may also be those of a round of DPO. Raises `UserError` for a run that has no such set, and says which have.
    """
    if run is None:
        return find_curation(store)
    found = store.run(run)
    if found.stage == CURATE or (found.stage, name) == (ROUND_PAIRS, "pairs"):
        return found
    if found.stage == ROUND_PAIRS:
        raise UserError(
            f"run {found.id} paired the paths of a round of DPO and has no {name} set: a run of `insightv curate` has "
            "one, this one has pairs alone"
        )
    trained_on = store.value("SELECT curating FROM rounds WHERE run = ?", [found.id])
    raise UserError(
        f"run {found.id} is of {found.stage}, which holds no sets: give a run of curate, which has reason, summary and "
        "pairs, or one of pairs, as each round of `insightv dpo` makes for its pairs"
        + (f" (this round was trained on those of run {trained_on})" if trained_on else "")
    )


def find_round(store: Store, run: str) -> int | None:
    """Return the number of the first round of DPO that was trained on the pairs of a run; None where there is none."""
    return store.value("SELECT min(number) FROM rounds WHERE curating = ?", [run])


def load_manifest(store: Store, run: str) -> dict:
    """Return what a curating run noted of its funnel and of what it left out."""
    found = store.value("SELECT manifest FROM sets WHERE run = ? LIMIT 1", [run])
    if found is None:
        raise UserError(f"run {run} has saved nothing: run `insightv curate` again")
    return json.loads(found)


def load_rows(store: Store, run: str, name: str) -> Iterator[tuple[int, SetRow, Question, StoredChain | None]]:
    """Yield the rows of a training set with their numbers, questions and chains, excluded ones too."""
    last = 0
    while True:
        with store.snapshot():
            rows = store.rows(
                "SELECT number, question, path, kind, target, excluded FROM set_rows WHERE set_id = ? AND number > ? "
                "ORDER BY number LIMIT ?",
                [identify("set", run, name), last, PAGE],
            )
            questions = _load_questions(store, {row["question"] for row in rows})
            chains = _load_chains(store, {row["path"] for row in rows if row["path"] is not None})
        if not rows:
            return
        for row in rows:
            chain = chains.get(row["path"])
            found = SetRow(row["question"], chain.path if chain else None, row["kind"], row["target"], row["excluded"])
            yield row["number"], found, questions[row["question"]], chain
        last = rows[-1]["number"]


def load_pairs(store: Store, run: str) -> Iterator[tuple[int, Pair, Question, StoredChain, StoredChain]]:
    """Yield the pairs of a curating run with their keys, questions, and chosen and rejected chains."""
    last = 0
    while True:
        with store.snapshot():
            rows = store.rows("SELECT * FROM pairs WHERE run = ? AND key > ? ORDER BY key LIMIT ?", [run, last, PAGE])
            questions = _load_questions(store, {row["question"] for row in rows})
            chains = _load_chains(store, {row[side] for row in rows for side in ("chosen", "rejected")})
        if not rows:
            return
        for row in rows:
            chosen, rejected = chains[row["chosen"]], chains[row["rejected"]]
            pair = Pair(
                row["id"], run, row["question"], chosen.path, rejected.path, row["kind"], row["shared_steps"],
                row["reason"], row["margin"], row["edited"], row["excluded"],
            )  # fmt: skip
            yield row["key"], pair, questions[row["question"]], chosen, rejected
        last = rows[-1]["key"]


def _load_questions(store: Store, ids: Iterable[str]) -> dict[str, Question]:
    rows = store.rows(f"SELECT * FROM questions WHERE id {LISTED}", [json.dumps(sorted(ids))])
    return {row["id"]: read_question(row) for row in rows}


def _load_chains(store: Store, keys: Iterable[int]) -> dict[int, StoredChain]:
    keys = sorted(keys)
    steps = _load_steps(store, keys)
    rows = store.tuples(f"SELECT key, id, answer, outcome FROM paths WHERE key {LISTED}", [json.dumps(keys)])
    return {key: StoredChain(path, tuple(steps[key]), answer, outcome) for key, path, answer, outcome in rows}


# -- counting ----------------------------------------------------------------------------------------------------------


def count_rows(store: Store, run: str) -> dict[str, dict[str, dict[str, int]]]:
    """Return for each set the rows to train on by kind (pairs by reason), and the excluded ones by their reason."""
    found: dict[str, dict[str, dict[str, int]]] = {
        name: {"rows": {}, "excluded": {}} for name in store.column("SELECT name FROM sets WHERE run = ?", [run])
    }
    found["pairs"] = {"rows": {}, "excluded": {}}
    counted = store.tuples(
        "SELECT name, kind, excluded, count(*) FROM set_rows JOIN sets ON sets.id = set_id WHERE run = ? "
        "GROUP BY name, kind, excluded ORDER BY name, min(number)",
        [run],
    )
    counted += store.tuples(
        "SELECT 'pairs', CASE kind WHEN 'step' THEN 'step, by ' ELSE 'by ' END || reason, excluded, count(*) "
        "FROM pairs WHERE run = ? GROUP BY kind, reason, excluded ORDER BY kind, reason",
        [run],
    )
    for name, kind, excluded, number in counted:
        counts = found[name]["rows" if excluded is None else "excluded"]
        counts[excluded or kind] = counts.get(excluded or kind, 0) + number
    return found


def score_rows(store: Store, *, runs: Sequence[str] | None = None) -> list[dict]:
    """Return family, outcome, score, steps and tokens of every path, for figures.

    Outcome and score are those of a path's newest assessment, None where there is none.
    """
    return store.rows(
        "SELECT family, outcome, score, step_count AS steps, tokens FROM paths "
        "WHERE ?1 OR run IN (SELECT value FROM json_each(?2)) ORDER BY key",
        [runs is None, json.dumps(runs or [])],
    )
