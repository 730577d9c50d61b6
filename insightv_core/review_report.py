"""How reviewers do: agreement, speed, biases, and what became of each vote. Pure functions of the folded state.

Every rate is {"value", "low", "high", "n"} with a 95% interval.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING

from insightv_core.records import ReviewEvent
from insightv_core.review import (
    EDIT,
    FLAG,
    UNCLEAR,
    UNDO,
    VOTE,
    Deed,
    Matter,
    Stack,
    State,
    by_matter,
    decision,
    opinion,
    opinions,
    preferred,
    settle,
    withdrawn,
)

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 500
FEWEST_VOTES = 20  # below, no bias is told from chance
RECENT = 20  # votes that the pace is taken from
Figure = dict

COUNTS = "counts"
OUTVOTED = "outvoted by other reviewers"
BALANCED = "reviewers balance: the pair is left out until one more votes"
SETTLED = "settled otherwise"
NEITHER = "prefers neither path: the pair is left out"
FLAGGED = "flagged: the pair is left out"
WAS_WRONG = "not counted: you said that you were wrong"
WAS_UNCLEAR = "not counted: you said that the picture is unclear"
TAKEN_BACK = "taken back"


# -- agreement ---------------------------------------------------------------------------------------------------------


def measure_agreement(state: State, *, resamples: int = RESAMPLES) -> Figure:
    """Return Krippendorff's alpha of the votes on pairs that two or more reviewers voted on; `n` counts these pairs.

    Categories are either path, a tie, and both bad. The interval resamples pairs. All is None for fewer than two
    pairs, and where everybody always gave the same vote, as agreement then cannot be told from habit.
    """
    import numpy as np

    counts = np.array([row for row in map(count_votes, by_matter(state).items()) if sum(row) > 1], dtype=float)
    value = alpha(counts) if len(counts) > 1 else None
    low = high = None
    if value is not None:
        rng = np.random.default_rng(0)
        drawn = [alpha(counts[rng.integers(len(counts), size=len(counts))]) for _ in range(resamples)]
        known = [each for each in drawn if each is not None]
        low, high = (float(each) for each in np.percentile(known, [2.5, 97.5])) if known else (None, None)
    return {"value": value, "low": low, "high": high, "n": len(counts)}


def count_votes(item: tuple[Matter, dict[str, Stack]]) -> list[int]:
    """Return how many reviewers gave a matter each category: its first path, its second, a tie, both bad."""
    (first, second), stacks = item
    votes = [deed.event for deed in opinions(stacks).values() if deed.event.event == VOTE]
    given = Counter(preferred(event) or event.choice for event in votes)
    return [given[category] for category in (first, second, "tie", "both_bad")]


def alpha(counts: "np.ndarray") -> float | None:
    """Return Krippendorff's alpha of votes by unit and category; None where only one category occurs."""
    import krippendorff

    if (counts.sum(axis=0) > 0).sum() < 2:
        return None
    return float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))


def list_disagreements(state: State) -> list[tuple[Matter, dict[str, Deed], ReviewEvent | None]]:
    """Return the matters on which reviewers prefer different paths, what each says, and what settled it.

    What is not settled comes first.
    """
    found = []
    for matter, stacks in by_matter(state).items():
        held = opinions(stacks)
        if len({preferred(deed.event) for deed in held.values()} - {None}) > 1:
            found.append((matter, held, decision(stacks)))
    return sorted(found, key=lambda each: each[2] is not None)


# -- reviewers ---------------------------------------------------------------------------------------------------------


def describe_reviewers(state: State, events: Iterable[ReviewEvent]) -> list[dict]:
    """Return of each reviewer how many votes stand and how fast, on what side and length, and what became of them.

    `left`, `longer` and `judge` are the shares of preferred paths that stood on the left, that were the longer one,
    and that the judge scored higher. A `left` share whose interval leaves out a half is a habit, not a preference.
    """
    own: dict[str, list[Deed]] = defaultdict(list)
    for (_, reviewer), stack in state.items():
        deed = opinion(stack)
        if deed is not None:
            own[reviewer].append(deed)
    done: dict[str, Counter[str]] = defaultdict(Counter)
    for event in events:
        done[event.reviewer][event.event] += 1
    fates = tell_fates(state)
    described = []
    for reviewer in sorted(done, key=str.casefold):
        votes = [deed.event for deed in own[reviewer] if deed.event.event == VOTE]
        seconds = [event.seconds for event in votes if event.seconds is not None]
        left = share_by(votes, "left")
        described.append(
            {
                "reviewer": reviewer,
                "votes": len(votes),
                "seconds": median(seconds) if seconds else None,
                "left": left,
                "longer": share_by(votes, "longer"),
                "judge": share_by(votes, "judge"),
                "one_sided": left["n"] >= FEWEST_VOTES and not left["low"] <= 0.5 <= left["high"],
                "edits": done[reviewer][EDIT],
                "fates": fates[reviewer] + Counter({TAKEN_BACK: done[reviewer][UNDO]}),
            }
        )
    return described


def share_by(votes: Sequence[ReviewEvent], name: str) -> Figure:
    """Return the share of votes for the path that their details name; votes without one, or for neither, are left out.

    The interval is Wilson's.
    """
    from scipy.stats import binomtest

    told = [(preferred(vote), vote.details.get(name)) for vote in votes]
    same = [path == wanted for path, wanted in told if path and wanted]
    if not same:
        return {"value": None, "low": None, "high": None, "n": 0}
    interval = binomtest(sum(same), len(same)).proportion_ci(method="wilson")
    return {
        "value": sum(same) / len(same), "low": float(interval.low), "high": float(interval.high), "n": len(same),
    }  # fmt: skip


def tell_fates(state: State) -> dict[str, Counter[str]]:
    """Return by reviewer how many opinions count as curating will read them, and why the others do not."""
    fates: dict[str, Counter[str]] = defaultdict(Counter)
    for matter, stacks in by_matter(state).items():
        for reviewer, stack in stacks.items():
            deed = opinion(stack)
            if deed is not None:
                fates[reviewer][tell_fate(deed, matter, stacks)] += 1
    return fates


def tell_fate(deed: Deed, matter: Matter, stacks: dict[str, Stack]) -> str:
    """Say what became of an opinion on a matter."""
    if withdrawn(deed):
        return WAS_UNCLEAR if deed.reply == UNCLEAR else WAS_WRONG
    if deed.event.event == FLAG:
        return FLAGGED
    path, preference = preferred(deed.event), settle(matter, stacks)
    if preference is not None and path == (None if preference.tied else preference.better):
        return COUNTS if path else NEITHER
    if decision(stacks):
        return SETTLED
    return BALANCED if preference is not None and preference.tied else OUTVOTED


def pace(events: Iterable[ReviewEvent], reviewer: str) -> float | None:
    """Return how many pairs a minute a reviewer's latest votes took, None for fewer than three."""
    seconds = [each.seconds for each in events if each.reviewer == reviewer and each.event == VOTE and each.seconds]
    return 60 / median(seconds[-RECENT:]) if len(seconds) > 2 else None
