"""Figures of systems: shares with intervals, paired differences with their chance, and where right answers come from.

The unit is the question: answers of several seeds to one question are averaged first, so that more seeds never make an
interval narrower than the questions allow. Intervals are 95% bootstrap intervals over questions; the p-value of a
paired difference is the share of random changes of its signs that give at least as large a mean. As shares take few
different values, both draw how often each value comes up in place of single questions: the same distribution, some
sixty times faster for a thousand questions.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from insightv_core.answers import CORRECT, UNPARSED
from insightv_core.records import Answered

RESAMPLES = 2000
FAMILY, LEVEL = "family", "level"
PATH_RIGHT, PATH_BY = "path_right", "path_by"


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval and the number of questions behind it."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class SystemReport:
    """The figures of one system on one benchmark; `difference` and `p` compare it with the first system, if paired.

    `tokens` and `seconds` are means for each answer; `by_seed` is the accuracy of each seed.
    """

    system: str
    benchmark: str
    accuracy: Estimate
    unparsed: float
    tokens: float
    seconds: float
    difference: Estimate | None = None
    p: float | None = None
    seeds: int = 1
    by_seed: tuple[float, ...] = ()


@dataclass(frozen=True)
class PathTable:
    """How often path and answer are right (the paper's Figure 6), as counts of answers.

    `by` says what decided about the paths. The two shares are None where no path is of that kind.
    """

    system: str
    both: int
    path_only: int
    answer_only: int
    neither: int
    by: str

    @property
    def right_after_right(self) -> float | None:
        """The share of right answers where the path is right."""
        return self.both / (self.both + self.path_only) if self.both + self.path_only else None

    @property
    def right_after_wrong(self) -> float | None:
        """The share of right answers where the path is wrong: what an agent adds that does not just copy."""
        wrong = self.answer_only + self.neither
        return self.answer_only / wrong if wrong else None


def report(
    answered: Iterable[Answered], system: str, benchmark: str, *, against: Sequence[Answered] = (), seed: int = 0
) -> SystemReport:
    """Return a system's figures, compared with the answers of another system to the same items where given.

    Several answers to one item are those of several seeds, in order.
    """
    found = list(answered)
    hits, other = average_by_item(found), average_by_item(against)
    by_seed = split_seeds(found)
    figures = SystemReport(
        system=system,
        benchmark=benchmark,
        accuracy=estimate(list(hits.values()), seed),
        unparsed=_mean([float(each.outcome == UNPARSED) for each in found]),
        tokens=_mean([float(each.tokens) for each in found]),
        seconds=_mean([each.seconds for each in found]),
        seeds=max(1, len(by_seed)),
        by_seed=tuple(_mean([float(each.outcome == CORRECT) for each in part]) for part in by_seed),
    )
    differences = [hit - other[item] for item, hit in hits.items() if item in other]
    if not differences:
        return figures
    return replace(figures, difference=estimate(differences, seed, least=-1.0), p=sign_flip(differences, seed))


def average_by_item(answered: Iterable[Answered]) -> dict[str, float]:
    """Return for each item the share of its answers that are right."""
    hits: dict[str, list[float]] = defaultdict(list)
    for each in answered:
        hits[each.item].append(float(each.outcome == CORRECT))
    return {item: _mean(values) for item, values in hits.items()}


def split_seeds(answered: Iterable[Answered]) -> list[list[Answered]]:
    """Return the first answers to all items, then the second ones, and so on."""
    seen: Counter[str] = Counter()
    parts: list[list[Answered]] = []
    for each in answered:
        if seen[each.item] == len(parts):
            parts.append([])
        parts[seen[each.item]].append(each)
        seen[each.item] += 1
    return parts


def compare(one: Sequence[Answered], other: Sequence[Answered], seed: int = 0) -> tuple[Estimate, float] | None:
    """Return the paired difference of two systems on the items that both answered, and its p-value."""
    found = report(one, "", "", against=other, seed=seed)
    return None if found.difference is None or found.p is None else (found.difference, found.p)


def estimate(values: Sequence[float], seed: int = 0, *, least: float = 0.0) -> Estimate:
    """Return the mean of values from `least` to 1 and its 95% bootstrap interval.

    Where all values are the same, which resampling cannot get away from, the interval is that of the rule of three: in
    n questions nothing else was seen, so with 95% confidence it is rarer than 3 in n.
    """
    import numpy as np

    if not values:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    different, counts = np.unique(np.asarray(values, dtype=float), return_counts=True)
    if len(different) == 1:
        value, apart = float(different[0]), 3 / len(values)
        low, high = min(value, max(least, value - apart)), max(value, min(1.0, value + apart))
        return Estimate(value, low, high, len(values))
    drawn = np.random.default_rng(seed).multinomial(len(values), counts / len(values), RESAMPLES)
    low, high = np.quantile(drawn @ different / len(values), (0.025, 0.975))
    return Estimate(float(counts @ different / len(values)), float(low), float(high), len(values))


def sign_flip(differences: Sequence[float], seed: int = 0) -> float:
    """Return the two-sided p-value of a paired difference under random changes of sign."""
    import numpy as np

    sample = np.asarray(differences, dtype=float)
    sizes, counts = np.unique(np.abs(sample), return_counts=True)
    kept = np.random.default_rng(seed).binomial(counts, 0.5, (RESAMPLES, len(counts)))
    extreme = (np.abs((2 * kept - counts) @ sizes) >= abs(sample.sum()) - 1e-9).sum()
    return float((extreme + 1) / (RESAMPLES + 1))


def group(answered: Iterable[Answered], key: Callable[[Answered], str]) -> dict[str, list[Answered]]:
    """Return answers by a key, in the order of the keys."""
    found: dict[str, list[Answered]] = defaultdict(list)
    for each in answered:
        found[key(each)].append(each)
    return dict(sorted(found.items()))


def split_accuracy(answered: Mapping[str, Sequence[Answered]], by: str = FAMILY) -> list[dict]:
    """Return accuracy by system and family, or by level: system, group, accuracy, low, high, n.

    Answers without a family or level are left out.
    """
    rows = []
    for system, found in answered.items():
        told = [each for each in found if by in each.details]
        for name, part in group(told, lambda each: str(each.details[by])).items():
            accuracy = estimate(list(average_by_item(part).values()))
            rows.append(
                {
                    "system": system, "group": name, "accuracy": accuracy.value, "low": accuracy.low,
                    "high": accuracy.high, "n": accuracy.n,
                }
            )  # fmt: skip
    return rows


def count_paths(answered: Iterable[Answered], system: str) -> PathTable | None:
    """Return how often path and answer are right; None where no answer tells of a path."""
    told = [each for each in answered if each.details.get(PATH_RIGHT) is not None]
    if not told:
        return None
    counts = Counter((bool(each.details[PATH_RIGHT]), each.outcome == CORRECT) for each in told)
    by = " and ".join(sorted({each.details[PATH_BY] for each in told}))
    return PathTable(system, counts[True, True], counts[True, False], counts[False, True], counts[False, False], by)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
