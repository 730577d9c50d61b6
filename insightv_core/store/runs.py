"""Runs as people look at them: lists, one run with what it came from and what came of it, and its curves."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from insightv_core.errors import UserError
from insightv_core.store.project import RUNNING, Store

MOST_POINTS = 400
COLUMNS = (
    "runs.id, stage, models.name AS model, runs.model AS fingerprint, status, done, total, message, command, pid, "
    "prompt_version, code_version, settings, started, updated, ended FROM runs "
    "LEFT JOIN models ON models.fingerprint = runs.model"
)


@dataclass(frozen=True)
class RunRow:
    """A run with its progress; times are in seconds since 1970, `fingerprint` is that of the model.

    `alive` is whether its process is there, None where that cannot be told or does not matter as it is over.
    """

    id: str
    stage: str
    model: str | None
    fingerprint: str | None
    status: str
    done: int
    total: int | None
    message: str | None
    command: str | None
    pid: int | None
    prompt_version: str
    code_version: str
    settings: dict
    started: float
    updated: float
    ended: float | None
    alive: bool | None

    def seconds(self, now: float | None = None) -> float:
        """Return how long it took, or has taken so far, pauses included."""
        last = self.ended or (time.time() if now is None else now) if self.alive else self.ended or self.updated
        return max(last - self.started, 0.0)

    @property
    def rate(self) -> float | None:
        """What it did a second up to its last progress, pauses included; None where nothing is done."""
        seconds = self.updated - self.started
        return self.done / seconds if self.done and seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """How long a running run needs at its rate; None where that is not known."""
        if not self.alive or self.total is None or not self.rate:
            return None
        return max(self.total - self.done, 0) / self.rate


def list_runs(
    store: Store, *, stage: str | None = None, before: tuple[float, str] | None = None, limit: int = 50
) -> list[RunRow]:
    """Return the runs that were worked on last, newest first, of one stage or of all.

    `before` is (updated, id) of the last row of the page before.
    """
    updated, last = before or (float("inf"), "")
    rows = store.rows(
        f"SELECT {COLUMNS} WHERE (?1 IS NULL OR stage = ?1) AND (updated, runs.id) < (?2, ?3) "
        "ORDER BY updated DESC, runs.id DESC LIMIT ?4",
        [stage, updated, last, limit],
    )
    return [_read(row) for row in rows]


def count_stages(store: Store) -> dict[str, int]:
    """Return the number of runs of each stage."""
    return dict(store.tuples("SELECT stage, count(*) FROM runs GROUP BY stage ORDER BY min(started)"))


def find_run(store: Store, run: str) -> RunRow:
    """Return the run with that id; raise `UserError` where there is none."""
    rows = store.rows(f"SELECT {COLUMNS} WHERE runs.id = ?", [run])
    if not rows:
        raise UserError(f"no run {run!r} in {store.file}: choose one from the list of runs")
    return _read(rows[0])


def _read(row: dict) -> RunRow:
    settings = json.loads(row.pop("settings"))
    alive = None if row["status"] != RUNNING or row["pid"] is None else process_alive(row["pid"])
    return RunRow(**row, settings=settings, alive=alive)


def process_alive(pid: int) -> bool:
    """Tell whether a process of this machine is running."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is there and belongs to somebody else
    return True


# -- where a run comes from, and what came of it -----------------------------------------------------------------------


def runs_before(store: Store, run: RunRow) -> list[RunRow]:
    """Return the runs whose results a run started from, as its settings name them, in the order of their start."""
    inputs = run.settings.get("inputs") or {}
    named = [*inputs.get("paths", {}), *inputs.get("assessments", {})]
    named += [run.settings["curation"]] if "curation" in run.settings else []
    adapters = [*run.settings.get("adapters", []), run.settings.get("adapter")]
    return _list_where(
        store,
        "runs.id IN (SELECT value FROM json_each(?1)) OR runs.id IN (SELECT run FROM models WHERE fingerprint IN "
        "(SELECT value FROM json_each(?2)) OR fingerprint = ?3) "
        "OR runs.id IN (SELECT DISTINCT paths.run FROM assessments JOIN paths ON paths.key = path "
        "WHERE assessments.run = ?4) "
        "OR EXISTS (SELECT 1 FROM rounds WHERE rounds.run = ?4 AND runs.id IN (sampling, assessing, curating))",
        [json.dumps(named), json.dumps(adapters), run.fingerprint, run.id],
        run,
    )


def runs_after(store: Store, run: RunRow) -> list[RunRow]:
    """Return the runs that started from the results of a run, in the order of their start."""
    return [each for each in _list_where(store, "started >= ?", [run.started], run) if _named_by(store, run, each)]


def _named_by(store: Store, run: RunRow, other: RunRow) -> bool:
    return run.id in {before.id for before in runs_before(store, other)}


def _list_where(store: Store, condition: str, parameters: Sequence, run: RunRow) -> list[RunRow]:
    rows = store.rows(f"SELECT {COLUMNS} WHERE ({condition}) ORDER BY started, runs.id", parameters)
    return [_read(row) for row in rows if row["id"] != run.id]


def models_of(store: Store, run: str) -> list[dict]:
    """Return name, kind, fingerprint and folder of the weights that a run made."""
    return store.rows(
        "SELECT name, kind, fingerprint, folder FROM models WHERE run = ? ORDER BY created, fingerprint", [run]
    )


def count_made(store: Store, run: str) -> dict[str, int]:
    """Return how many paths, assessments, pairs and answers a run has saved, those that it has any of."""
    counts = {
        "paths": "SELECT coalesce(sum(paths), 0) FROM facets WHERE run = ?",
        "assessments": "SELECT count(*) FROM assessments WHERE run = ?",
        "rows of training sets": "SELECT count(*) FROM set_rows JOIN sets ON sets.id = set_id WHERE run = ?",
        "preference pairs": "SELECT count(*) FROM pairs WHERE run = ?",
        "answers to held-out questions": "SELECT count(*) FROM evaluation_items WHERE run = ?",
    }
    found = {name: store.value(sql, [run]) for name, sql in counts.items()}
    return {name: number for name, number in found.items() if number}


# -- curves ------------------------------------------------------------------------------------------------------------


def load_curves(
    store: Store, run: str, names: Sequence[str], *, points: int = MOST_POINTS
) -> dict[str, list[tuple[float, float]]]:
    """Return (step, value) by name of those metrics that a run has, each thinned to at most so many points.

    A thinned point is the mean of neighbouring steps; the last step stays as it is.
    """
    rows = store.tuples(
        "SELECT name, step, value FROM metrics WHERE run = ?1 AND name IN (SELECT value FROM json_each(?2)) "
        "ORDER BY name, step",
        [run, json.dumps(list(names))],
    )
    found: dict[str, list[tuple[float, float]]] = {}
    for name, step, value in rows:
        found.setdefault(name, []).append((step, value))
    return {name: thin(found[name], points) for name in names if name in found}


def load_alarms(store: Store, run: str) -> list[tuple[str, int, float]]:
    """Return the alarms that a run raised while it trained, as (name, step, value), each where it came up first."""
    return store.tuples(
        "SELECT substr(name, 7), min(step), value FROM metrics WHERE run = ? AND name >= 'alarm/' AND name < 'alarm0' "
        "GROUP BY name ORDER BY 2, 1",
        [run],
    )


def thin(curve: Sequence[tuple[float, float]], points: int) -> list[tuple[float, float]]:
    """Return a curve with at most so many points: means of neighbours, and the last as it is.

    >>> thin([(0, 0.0), (1, 2.0), (2, 4.0), (3, 6.0), (4, 9.0)], 3)
    [(0.5, 1.0), (2.5, 5.0), (4, 9.0)]
    """
    if len(curve) <= points:
        return list(curve)
    body, size = curve[:-1], -(-(len(curve) - 1) // (points - 1))
    groups = [body[start : start + size] for start in range(0, len(body), size)]
    means = [(sum(x for x, _ in each) / len(each), sum(y for _, y in each) / len(each)) for each in groups]
    return [*means, curve[-1]]
