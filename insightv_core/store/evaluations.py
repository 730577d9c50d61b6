"""Answers of evaluated systems in a project: saved as they come, so that an evaluation can be continued, and read back.

An evaluation is a run and a benchmark. Its systems keep the order that was planned, else that in which they began, and
the first is what the others are compared with. Figures are worked out from the answers whenever they are asked for, so
they always agree.
"""

import json
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from insightv_core.errors import UserError
from insightv_core.records import Answered, identify
from insightv_core.store.project import Store

if TYPE_CHECKING:
    from insightv_core.evaluate.statistics import PathTable, SystemReport

ORDER = "order of systems"
# What reports need of `details`: everything else there can be long.
SHORT_DETAILS = ("family", "level", "path_right", "path_by", "verdict")


def add_answers(
    store: Store, run: str, benchmark: str, system: str, answered: Iterable[Answered], *, seed: int = 0
) -> None:
    """Save answers; one that is there already stays."""
    with store.transaction():
        store.db.conn.executemany(
            "INSERT OR IGNORE INTO evaluation_items (run, benchmark, system, item, seed, answer, outcome, tokens, "
            "seconds, details) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    run, benchmark, system, each.item, seed, each.answer, each.outcome, each.tokens, each.seconds,
                    json.dumps({"reason": each.reason, **each.details}, ensure_ascii=False),
                )
                for each in answered
            ],
        )  # fmt: skip


def load_answers(store: Store, run: str, benchmark: str, system: str, *, seed: int = 0) -> list[Answered]:
    """Return the answers of a system on a benchmark with all their details, in the order of their items."""
    rows = store.rows(
        "SELECT * FROM evaluation_items WHERE run = ? AND benchmark = ? AND system = ? AND seed = ? ORDER BY item",
        [run, benchmark, system, seed],
    )
    found = []
    for row in rows:
        details = json.loads(row["details"])
        reason = details.pop("reason")
        found.append(
            Answered(row["item"], row["answer"], row["outcome"], reason, row["tokens"], row["seconds"], details)
        )
    return found


def answered_items(store: Store, run: str, benchmark: str, system: str, *, seed: int = 0) -> set[str]:
    """Return the items that a system has answered."""
    return set(
        store.column(
            "SELECT item FROM evaluation_items WHERE run = ? AND benchmark = ? AND system = ? AND seed = ?",
            [run, benchmark, system, seed],
        )
    )


def load_outcomes(store: Store, run: str, benchmark: str) -> dict[str, list[Answered]]:
    """Return by system the answers of every seed, with the seed and what reports need as details, by seed and item.

    Systems come in their order.
    """
    picked = ", ".join(f"json_extract(details, '$.{name}')" for name in SHORT_DETAILS)
    rows = store.tuples(
        f"SELECT system, seed, item, answer, outcome, tokens, seconds, {picked} FROM evaluation_items "
        "WHERE run = ? AND benchmark = ? ORDER BY system, seed, item",
        [run, benchmark],
    )
    # Asked after the rows, as another process may begin a system at any moment.
    found: dict[str, list[Answered]] = {name: [] for name in list_systems(store, run, benchmark)}
    for system, seed, item, answer, outcome, tokens, seconds, *values in rows:
        details = {name: value for name, value in zip(SHORT_DETAILS, values, strict=True) if value is not None}
        found[system].append(Answered(item, answer, outcome, "", tokens, seconds, {**details, "seed": seed}))
    return {name: answers for name, answers in found.items() if answers}


def list_systems(store: Store, run: str, benchmark: str) -> list[str]:
    """Return the systems that have answers: first those whose order was planned, then others as they were begun."""
    names = store.column(
        "SELECT system FROM evaluation_items WHERE run = ? AND benchmark = ? GROUP BY system ORDER BY min(rowid)",
        [run, benchmark],
    )
    planned = {name: place for place, name in enumerate(load_note(store, run, ORDER).get("systems", ()))}
    return sorted(names, key=lambda name: planned.get(name, len(planned)))


def plan_order(store: Store, run: str, systems: Sequence[str]) -> None:
    """Note in which order systems are to be reported, whichever begins first."""
    save_note(store, run, ORDER, {"systems": list(systems)})


def list_evaluations(store: Store) -> list[dict]:
    """Return every run and benchmark that has answers, the newest first.

    Each has run, stage ("evaluate" or "study"), status, model, settings, benchmark, systems (in order), questions,
    seeds, answers, started and updated (seconds since 1970).
    """
    rows = store.rows(
        "SELECT runs.id AS run, stage, status, models.name AS model, settings, started, updated, benchmark, "
        "count(*) AS answers, count(DISTINCT item) AS questions, count(DISTINCT seed) AS seeds FROM evaluation_items "
        "JOIN runs ON runs.id = evaluation_items.run LEFT JOIN models ON models.fingerprint = runs.model "
        "GROUP BY runs.id, benchmark ORDER BY updated DESC, runs.id, min(evaluation_items.rowid)"
    )
    for row in rows:
        row["settings"] = json.loads(row["settings"])
        row["systems"] = list_systems(store, row["run"], row["benchmark"])
    return rows


def find_evaluation(store: Store, run: str | None = None, benchmark: str | None = None) -> tuple[str, str]:
    """Return run and benchmark: those named (a run by the beginning of its id), or else the newest that has answers."""
    for row in list_evaluations(store):
        if row["run"].startswith(run or "") and benchmark in (None, row["benchmark"]):
            return row["run"], row["benchmark"]
    wanted = f" of run {run}" * bool(run) + f" on {benchmark}" * bool(benchmark)
    raise UserError(f"no evaluation{wanted} in {store.file}: run `insightv evaluate` or `insightv study` first")


def load_reports(
    store: Store, run: str | None = None, benchmark: str | None = None, *, against: str | None = None,
    systems: Sequence[str] | None = None,
) -> "list[SystemReport]":  # fmt: skip
    """Return the figures of an evaluation's systems in order, each compared with `against`, by default the first one.

    Without `run` or `benchmark` the newest evaluation counts. The result is remembered until the file changes.
    """
    from insightv_core.evaluate.statistics import report

    run, benchmark = find_evaluation(store, run, benchmark)

    def work_out() -> "list[SystemReport]":
        found = load_outcomes(store, run, benchmark)
        first = against or next(iter(found))
        if first not in found:
            raise UserError(f"no system {first!r} in this evaluation: there are {', '.join(found)}")
        return [
            report(each, system, benchmark, against=() if system == first else found[first])
            for system, each in found.items()
            if systems is None or system in systems
        ]

    return store.remember(("reports", run, benchmark, against, tuple(systems or ())), work_out)


def family_table(
    store: Store, run: str | None = None, benchmark: str | None = None, *, by: str = "family"
) -> list[dict]:
    """Return accuracy by system and question family, or by="level": system, group, accuracy, low, high, n."""
    from insightv_core.evaluate.statistics import split_accuracy

    run, benchmark = find_evaluation(store, run, benchmark)
    key = ("families", run, benchmark, by)
    return store.remember(key, lambda: split_accuracy(load_outcomes(store, run, benchmark), by))


def path_tables(store: Store, run: str | None = None, benchmark: str | None = None) -> "list[PathTable]":
    """Return for each system that reasons how often path and answer are right (the paper's Figure 6)."""
    from insightv_core.evaluate.statistics import count_paths

    run, benchmark = find_evaluation(store, run, benchmark)

    def work_out() -> "list[PathTable]":
        counted = [count_paths(each, system) for system, each in load_outcomes(store, run, benchmark).items()]
        return [each for each in counted if each is not None]

    return store.remember(("paths", run, benchmark), work_out)


def save_note(store: Store, run: str, name: str, note: dict) -> None:
    """Save something about an evaluation that is no answer, in place of what was there under that name."""
    with store.transaction():
        store.db.conn.execute(
            "INSERT OR REPLACE INTO evaluations (id, run, benchmark, system, figures, created) "
            "VALUES (?, ?, '', ?, ?, ?)",
            (identify("note", run, name), run, name, json.dumps(note, ensure_ascii=False), time.time()),
        )


def load_note(store: Store, run: str, name: str) -> dict:
    """Return what was saved under a name, empty where nothing was."""
    found = store.value("SELECT figures FROM evaluations WHERE id = ?", [identify("note", run, name)])
    return json.loads(found) if found else {}


def label_model(store: Store, fingerprint: str, name: str) -> None:
    """Give a model of the project another name."""
    with store.transaction():
        store.db.conn.execute("UPDATE models SET name = ? WHERE fingerprint = ?", (name, fingerprint))
