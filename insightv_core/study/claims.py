"""What the paper would lead one to expect, and what was found: each claim with its difference and interval."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from insightv_core.evaluate.plan import ALONE, ALOUD_BASE, BASE, BOTH, COPIED, MULTI_TURN, ONE_MODEL
from insightv_core.evaluate.statistics import PATH_RIGHT, compare
from insightv_core.records import Answered
from insightv_core.study.jobs import BY_SCORES, PERCEPTION, REASONING, name_round, name_share

UNTRAINED = (BASE, ALOUD_BASE)  # answer once, for all seeds
HELD, FAILED, OPEN, MISSING = "held", "did not hold", "cannot be told", "not measured"


@dataclass(frozen=True)
class Expectation:
    """That one system beats another, as the paper says in `paper`.

    It takes a difference of at least `least`, and an interval above `floor`: 0, or a little below where one only must
    not fall behind. With `wrong_paths`, questions count only where the path is wrong.
    """

    number: int
    words: str
    paper: str
    one: str
    other: str
    benchmark: str = REASONING
    least: float = float("-inf")
    floor: float = 0.0
    wrong_paths: bool = False


@dataclass(frozen=True)
class Claim:
    """An expectation beside what was found; the figures are None where it was not measured."""

    number: int
    words: str
    paper: str
    verdict: str
    held: bool | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    n: int = 0
    missing: tuple[str, ...] = field(default_factory=tuple)

    def describe(self) -> dict:
        """Return everything as plain values."""
        return asdict(self) | {"missing": list(self.missing)}


def list_expectations(shares: Sequence[float], rounds: int, *, judged: bool = True) -> list[Expectation]:
    """Return the expectations in order; differences in the paper are points of its averages over benchmarks.

    `judged` says whether there was a round of DPO on a blind judge's scores.
    """
    smallest = min(shares, default=None)
    expected = [
        Expectation(1, "both agents beat the base model by 8 points", "+2.9 (table 3), +7.0 with DPO (table 1)", BOTH,
                    BASE, least=0.08),
        Expectation(2, "both agents beat direct SFT", "+1.5 (table 3)", BOTH, ONE_MODEL),
        Expectation(2, "both agents beat multi-turn SFT", "+1.1 (table 3)", BOTH, MULTI_TURN),
        Expectation(2, "both agents beat the summary agent alone", "+2.3 (table 3)", BOTH, ALONE),
    ]  # fmt: skip
    one, last = name_round(1), name_round(rounds)
    if rounds:
        expected.append(Expectation(3, "one round of DPO adds to SFT", "+0.6 (table 4)", one, BOTH))
    if rounds > 1:
        expected += [
            Expectation(3, f"{rounds} rounds of DPO beat one", "+0.6 (table 4)", last, one),
            Expectation(3, f"{rounds} rounds of DPO add to SFT", "+1.2 (table 4)", last, BOTH),
        ]
    if rounds and judged:
        words = "one round of DPO beats DPO on a blind judge's scores"
        expected.append(Expectation(3, words, "+0.4 (table 4, RLAIF)", one, BY_SCORES))
    if smallest is not None:
        words = f"the whole reasoning set beats {100 * smallest:g}% of it"
        expected.append(Expectation(4, words, "rises (figure 4)", BOTH, name_share(smallest)))
    return [
        *expected,
        Expectation(5, "perception does not fall by over 2 points", "+0.1 to +4 (table 2)", BOTH, BASE,
                    PERCEPTION, floor=-0.02),
        Expectation(6, "after a wrong path, the summary agent is right more often than copying",
                    "its share is not given (figure 6)", BOTH, COPIED, wrong_paths=True),
    ]  # fmt: skip


def settle(expected: Expectation, outcomes: Mapping[str, Mapping[str, Sequence[Answered]]]) -> Claim:
    """Return what was found: `outcomes` are answers by benchmark and system, with the seed in their details."""
    found = outcomes.get(expected.benchmark, {})
    missing = tuple(name for name in (expected.one, expected.other) if not found.get(name))
    told = Claim(expected.number, expected.words, expected.paper, MISSING, None, missing=missing)
    if missing:
        return told
    one, other = match_seeds(expected.one, found[expected.one], expected.other, found[expected.other])
    if expected.wrong_paths:
        one, other = ([each for each in part if each.details.get(PATH_RIGHT) == 0] for part in (one, other))
    compared = compare(one, other)
    if compared is None:
        return told
    difference, p = compared
    held = difference.value >= expected.least and difference.low > expected.floor
    failed = difference.high < max(expected.least, expected.floor)
    return Claim(
        expected.number, expected.words, expected.paper, HELD if held else FAILED if failed else OPEN,
        True if held else False if failed else None, difference.value, difference.low, difference.high, p, difference.n,
    )  # fmt: skip


def match_seeds(
    one: str, answers: Sequence[Answered], other: str, others: Sequence[Answered]
) -> tuple[list[Answered], list[Answered]]:
    """Return the answers of those seeds that both systems have; what is not trained has one for all seeds."""
    if one in UNTRAINED or other in UNTRAINED:
        return list(answers), list(others)
    shared = {each.details["seed"] for each in answers} & {each.details["seed"] for each in others}
    kept = [[each for each in part if each.details["seed"] in shared] for part in (answers, others)]
    return kept[0], kept[1]
