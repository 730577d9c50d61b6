"""Reward margins of preference pairs: by round of DPO, and of one pair through all rounds.

A margin in a round is beta x ((chosen - chosen under the reference) - (rejected - rejected under the reference)),
in nats; the reference of a round is the policy that it started from.
"""

import json
from dataclasses import dataclass

from insightv_core.errors import UserError
from insightv_core.store.project import Store

MOVED = "(after.chosen - before.chosen) - (after.rejected - before.rejected)"
SCORED = (
    "pair_logprobs AS after JOIN pair_logprobs AS before ON before.pair = after.pair AND before.model = :reference "
    "WHERE after.model = :policy"
)


@dataclass(frozen=True)
class Round:
    """A round of DPO: its run, the adapters before and after, and the margins of the pairs scored under both.

    `previous` is the run of the round before it, None for a first. `mean` and `above` (the share of pairs with a margin
    above 0) are None where no pair was scored under both.
    """

    number: int
    run: str
    previous: str | None
    beta: float
    reference: str
    policy: str
    curation: str | None
    created: float
    pairs: int
    mean: float | None
    above: float | None


@dataclass(frozen=True)
class PairMargin:
    """The margin of a pair in one round, with its log-probabilities (chosen, rejected) before and after."""

    number: int
    run: str
    before: tuple[float, float]
    after: tuple[float, float]
    margin: float


@dataclass(frozen=True)
class MovedPair:
    """A pair of a round with its margin, and the beginning of what it asks."""

    id: str
    question: str
    text: str
    kind: str
    reason: str
    margin: float


def list_round_margins(store: Store) -> list[Round]:
    """Return the rounds of DPO in order, each with the margins of its pairs."""
    rows = store.rows(
        "SELECT number, run, previous, settings, reference, policy, curating, created FROM rounds "
        "JOIN runs ON runs.id = rounds.run ORDER BY number, created"
    )
    return [_read_round(store, row) for row in rows]


def _read_round(store: Store, row: dict) -> Round:
    beta = json.loads(row["settings"]).get("beta", 1.0)
    pairs, mean, above = store.tuples(
        f"SELECT count(*), avg({MOVED}), avg({MOVED} > 0) FROM {SCORED}",
        {"policy": row["policy"], "reference": row["reference"]},
    )[0]
    return Round(
        row["number"], row["run"], row["previous"], beta, row["reference"], row["policy"], row["curating"],
        row["created"], pairs, None if mean is None else beta * mean, above,
    )  # fmt: skip


def list_moved_pairs(store: Store, round: Round, *, after: int = 0, limit: int = 20) -> list[MovedPair]:
    """Return the pairs of a round, those first that moved the wrong way most; `after` so many of them."""
    rows = store.tuples(
        "SELECT pairs.id, question, text, kind, reason, moved FROM "
        f"(SELECT after.pair, {MOVED} AS moved FROM {SCORED}) JOIN pairs ON pairs.key = pair "
        "JOIN questions ON questions.id = question ORDER BY moved, pair LIMIT :limit OFFSET :after",
        {"policy": round.policy, "reference": round.reference, "limit": limit, "after": after},
    )
    return [
        MovedPair(pair, question, text, kind, reason, round.beta * moved)
        for pair, question, text, kind, reason, moved in rows
    ]


# -- one pair ----------------------------------------------------------------------------------------------------------


def find_pair(store: Store, pair: str) -> dict:
    """Return a pair as a row with the ids of its paths; raise `UserError` where there is none."""
    rows = store.rows(
        "SELECT pairs.id, pairs.key, pairs.run, pairs.question, one.id AS chosen, other.id AS rejected, pairs.kind, "
        "pairs.shared_steps, pairs.reason, pairs.margin, pairs.edited, pairs.excluded, pairs.created FROM pairs "
        "JOIN paths AS one ON one.key = chosen JOIN paths AS other ON other.key = rejected WHERE pairs.id = ?",
        [pair],
    )
    if not rows:
        raise UserError(f"no pair {pair!r} in {store.file}: choose one from a round of DPO")
    return rows[0]


def margins_of(store: Store, key: int) -> list[PairMargin]:
    """Return the margins of the pair with that key in every round that scored it, in the order of the rounds."""
    scored = {
        model: (chosen, rejected)
        for model, chosen, rejected in store.tuples(
            "SELECT model, chosen, rejected FROM pair_logprobs WHERE pair = ?", [key]
        )
    }
    rounds = store.tuples(
        "SELECT number, run, settings, reference, policy FROM rounds JOIN runs ON runs.id = rounds.run "
        "ORDER BY number, rounds.created"
    )
    found = []
    for number, run, settings, reference, policy in rounds:
        if reference in scored and policy in scored:
            before, after = scored[reference], scored[policy]
            moved = (after[0] - before[0]) - (after[1] - before[1])
            found.append(PairMargin(number, run, before, after, json.loads(settings).get("beta", 1.0) * moved))
    return found
