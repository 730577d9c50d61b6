"""What training leaves in a project: metrics while it runs, adapters and models, and log-probabilities of pairs."""

import time
from collections.abc import Iterable, Mapping, Sequence

from insightv_core.records import ModelVersion
from insightv_core.store.project import Store

BASE, ADAPTER, WHOLE = "base", "adapter", "whole"


def add_metrics(store: Store, run: str, step: int, metrics: Mapping[str, float]) -> None:
    """Save what was measured at a step; a step that is done again after a resumed run takes the place of the first."""
    with store.transaction():
        store.db.conn.executemany(
            "INSERT INTO metrics (run, step, name, value) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (run, name, step) DO UPDATE SET value = excluded.value",
            [(run, step, name, float(value)) for name, value in metrics.items()],
        )


def load_metrics(store: Store, run: str, names: Sequence[str] = ()) -> dict[str, list[tuple[int, float]]]:
    """Return (step, value) by name of metric, all of them or those named."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in store.rows("SELECT name, step, value FROM metrics WHERE run = ? ORDER BY name, step", [run]):
        if not names or row["name"] in names:
            found.setdefault(row["name"], []).append((row["step"], row["value"]))
    return found


def add_model(
    store: Store, model: ModelVersion, *, kind: str, base: str | None, folder: str, run: str | None, known: bool = False
) -> None:
    """Save which weights a run made: an adapter of the model with the fingerprint `base`, or whole weights.

    `run` is None for weights from elsewhere. With `known`, a model that is there already stays as it is.
    """
    again = "DO NOTHING" if known else "DO UPDATE SET folder = excluded.folder, kind = excluded.kind"
    with store.transaction():
        store.db.conn.execute(
            "INSERT INTO models (fingerprint, name, kind, base, folder, run, created) VALUES (?, ?, ?, ?, ?, ?, ?) "
            f"ON CONFLICT (fingerprint) {again}",
            (model.fingerprint, model.name, kind, base, folder, run, time.time()),
        )


def list_models(store: Store, kind: str | None = None) -> list[dict]:
    """Return the models of a project, the newest first."""
    return store.rows("SELECT * FROM models WHERE ? IN (kind, '') ORDER BY created DESC, fingerprint", [kind or ""])


def known_model(store: Store, fingerprint: str) -> dict | None:
    """Return the model with that fingerprint."""
    return next(iter(store.rows("SELECT * FROM models WHERE fingerprint = ?", [fingerprint])), None)


def model_made_by(store: Store, run: str) -> dict | None:
    """Return the model that a run made, and the run's steps as `done`; None unless the run is over."""
    return next(
        iter(
            store.rows(
                "SELECT models.*, runs.done FROM models JOIN runs ON runs.id = models.run "
                "WHERE runs.id = ? AND status = 'done'",
                [run],
            )
        ),
        None,
    )


def list_adapters(store: Store, role: str, *, of_rounds: bool = True) -> list[dict]:
    """Return the adapters of a role, the newest first, with or without those that rounds of DPO made."""
    # By the run that made them, as a killed round may have kept its adapter without being noted yet.
    return store.rows(
        "SELECT * FROM models WHERE kind = ? AND name LIKE ? AND "
        "(? OR run IS NULL OR run NOT IN (SELECT id FROM runs WHERE stage = 'dpo')) ORDER BY created DESC, fingerprint",
        [ADAPTER, f"{role}-%", of_rounds],
    )


def writing_models(store: Store) -> dict[str, str | None]:
    """Return by run that generates paths the fingerprint of its model."""
    return dict(store.tuples("SELECT id, model FROM runs WHERE stage = 'generate'"))


def add_round(
    store: Store,
    run: str,
    *,
    before: str,
    after: str,
    curation: str,
    reference: str | None = None,
    sampling: str | None = None,
    assessing: str | None = None,
) -> None:
    """Save a round of DPO: the policy it started from, which is the `reference` too unless given, and what it made.

    Policies are fingerprints of models that are saved; `curation`, `sampling` and `assessing` are the runs that made
    the pairs, their paths and their scores, the last two None where pairs of any paths were given.
    """
    previous = store.rows("SELECT id, number FROM rounds WHERE policy = ? ORDER BY created", [before])
    with store.transaction():
        store.db.conn.execute(
            "INSERT OR REPLACE INTO rounds (id, number, run, previous, policy, reference, adapter, sampling, "
            "assessing, curating, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                run, previous[0]["number"] + 1 if previous else 1, run, previous[0]["id"] if previous else None, after,
                reference or before, after, sampling, assessing, curation, time.time(),
            ),
        )  # fmt: skip


def list_rounds(store: Store) -> list[dict]:
    """Return the rounds of DPO in order, each with its run, policies and number."""
    return store.rows("SELECT * FROM rounds ORDER BY number, created")


def add_pair_logprobs(store: Store, model: str, rows: Iterable[tuple[str, float, float]]) -> None:
    """Save (pair id, chosen, rejected) log-probabilities under a model: margins can be read for every round."""
    with store.transaction():
        store.db.conn.executemany(
            "INSERT OR REPLACE INTO pair_logprobs (pair, model, chosen, rejected) "
            "SELECT key, ?, ?, ? FROM pairs WHERE id = ?",
            [(model, chosen, rejected, pair) for pair, chosen, rejected in rows],
        )


def load_pair_logprobs(store: Store, model: str) -> dict[str, tuple[float, float]]:
    """Return (chosen, rejected) log-probabilities by pair id under a model."""
    rows = store.rows(
        "SELECT pairs.id, pair_logprobs.chosen, pair_logprobs.rejected FROM pair_logprobs "
        "JOIN pairs ON pairs.key = pair_logprobs.pair WHERE model = ?",
        [model],
    )
    return {row["id"]: (row["chosen"], row["rejected"]) for row in rows}


def mean_margin(store: Store, policy: str, reference: str, beta: float) -> float | None:
    """Return the mean reward margin of the pairs scored under both models; None where there are none.

    A pair's margin is beta x ((chosen - chosen under the reference) - (rejected - rejected under the reference)).
    """
    after, before = load_pair_logprobs(store, policy), load_pair_logprobs(store, reference)
    moved = [
        (after[pair][0] - before[pair][0]) - (after[pair][1] - before[pair][1]) for pair in after.keys() & before.keys()
    ]
    return beta * sum(moved) / len(moved) if moved else None
