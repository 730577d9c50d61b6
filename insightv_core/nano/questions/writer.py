"""Writing one reasoning chain: its manner of speaking is drawn once, and it may be made to slip.

A chain's family says what to read and what to compute; the `Writer` says how that sounds. Every number that a
family computes passes through the writer, so a slip made here runs through the rest of the chain as it would in
a solver's head, and never breaks the form.
"""

from collections.abc import Iterable, Sequence
from random import Random
from typing import TypeVar

from insightv_core.records import CONTINUE, SUMMARY, Step

VALUE_MANNERS = ("{} is {}", "{} is {}", "{} = {}", "{} has {}")
JOINED_SIGNS = {"+": (" + ", " = "), "-": (" - ", " = "), "x": (" x ", " = ")}
COMPARED = ("more", "less", "the same")
JOINED_WORDS = {"+": (" plus ", " is "), "-": (" minus ", " is "), "x": (" times ", " is ")}

Item = TypeVar("Item")
Named = tuple[str, int]  # a name and its number


class Writer:
    """Collect the steps of one chain; `slip_rate` is the chance that a computation or a choice goes wrong."""

    def __init__(self, rng: Random, slip_rate: float = 0.0):
        self.rng = rng
        self.slip_rate = slip_rate
        self.slipped = False
        self.value_manner = rng.choice(VALUE_MANNERS)
        self.joints = JOINED_SIGNS if rng.random() < 0.75 else JOINED_WORDS
        self.plan = rng.random()
        self._steps: list[Step] = []

    # -- what a chain says -------------------------------------------------------------------------------------

    def step(self, titles: Sequence[str], content: str) -> None:
        """Add a step whose title is one of `titles`."""
        self._steps.append(Step(self.rng.choice(titles), content, CONTINUE))

    def finish(self, answer: str) -> tuple[Step, ...]:
        """Close the chain, half of the time (always when it has one step) with a step that states the answer."""
        if len(self._steps) < 2 or self.rng.random() < 0.5:
            self.step(("Answer", "Conclude"), f"The answer is {answer}.")
        last = self._steps[-1]
        return (*self._steps[:-1], Step(last.summary, last.content, SUMMARY))

    def values(self, pairs: Iterable[Named]) -> str:
        """Say what was read, as in "Mia is 9, Leo is 3"."""
        return ", ".join(self.value_manner.format(name, value) for name, value in pairs)

    def order(self, items: Iterable[Item]) -> list[Item]:
        """Return the items as they stand, or in another order of reading."""
        return list(items) if self.rng.random() < 0.7 else list(items)[::-1]

    # -- what a chain works out --------------------------------------------------------------------------------

    def result(self, exact: int) -> int:
        """Return the exact result, or a near miss when the writer slips; it slips at most once a chain."""
        if self.slipped or self.rng.random() >= self.slip_rate:
            return exact
        self.slipped = True
        return max(0, exact + self.rng.choice((-10, -2, -1, 1, 2, 10) if exact > 9 else (-2, -1, 1, 2)))

    def compute(self, sign: str, left: int, right: int) -> tuple[str, int]:
        """Work out one sum, difference or product: its text and its result."""
        exact = {"+": left + right, "-": left - right, "x": left * right}[sign]
        joint, equals = self.joints[sign]
        result = self.result(exact)
        return f"{left}{joint}{right}{equals}{result}", result

    def total(self, numbers: Sequence[int]) -> tuple[str, int]:
        """Add numbers up one after the other: "9 + 3 = 12, 12 + 5 = 17"; a single number stands for itself."""
        texts, total = [], numbers[0]
        for number in numbers[1:]:
            text, total = self.compute("+", total, number)
            texts.append(text)
        return ", ".join(texts), total

    def running_total(self, values: Sequence[Named]) -> tuple[str, int]:
        """Add named values up, each by its name: "Mia 9, plus Leo: 9 + 3 = 12", so that none is lost or taken twice."""
        name, total = values[0]
        texts = [f"{name} {total}"]
        for name, value in values[1:]:
            text, total = self.compute("+", total, value)
            texts.append(f"plus {name}: {text}")
        return ", ".join(texts), total

    def count_along(self, sides: Iterable[tuple[str, bool]], counted: int = 0) -> tuple[str, int]:
        """Say every side and count those that hold as they come: "fig 9 against 6 is more (1)"; from `counted` on.

        A count taken in one look at a whole list is what small and large models get wrong most; told beside each
        item, it only goes up by one.
        """
        texts = []
        for text, holds in sides:
            if holds:
                counted = max(1, self.result(counted + 1))
                text += f" ({counted})"
            texts.append(text)
        return ", ".join(texts), counted

    def best_along(
        self, told: Iterable[tuple[str, Named | None]], word: str, best: Named | None = None
    ) -> tuple[str, Named | None]:
        """Say item after item which is the best so far: "fig 36, 36 against 9 is more, best so far fig with 36."

        An item without a named number is told alone. `word` says what is sought: "shortest" the smallest number, any
        other word the largest; the search goes on from `best`. A name that is looked up at the end, by its number in a
        whole list, is often a neighbour's; the last one that was told here is the one.
        """
        texts = []
        for text, new in told:
            if new is not None and best is not None:
                compared, said = self.compare(new[1], best[1])
                better = said == ("less" if word == "shortest" else "more")
                text, best = f"{text}, {compared}", new if better else best
            elif new is not None:
                best = new
            texts.append(f"{text}, {word} so far {best[0]} with {best[1]}." if new and best else f"{text}.")
        return " ".join(texts), best

    def compare(self, one: int, two: int) -> tuple[str, str]:
        """Set one number against another: the text, and which of `COMPARED` it says."""
        said = compare(one, two)
        said = self.pick(said, [other for other in COMPARED if other != said])
        return f"{one} against {two} is {said}", said

    def pick(self, best: str, others: Sequence[str]) -> str:
        """Return the best candidate, or another when the writer slips."""
        if others and not self.slipped and self.rng.random() < self.slip_rate:
            self.slipped = True
            return self.rng.choice(list(others))
        return best

    def choose(self, *shares: float) -> int:
        """Return which plan to follow: index i with probability shares[i]."""
        point = self.plan * sum(shares)
        for index, share in enumerate(shares):
            point -= share
            if point < 0:
                return index
        return len(shares) - 1


def compare(one: int, two: int) -> str:
    """Return "more", "less" or "the same".

    Chains say both numbers before this word, "9 against 6 is more": a small model that has to say "more than" first
    and the number after it decides before it has looked.
    """
    return COMPARED[(one < two) + 2 * (one == two)]


def side(named: Named, limit: Named | int) -> tuple[str, bool]:
    """Set a named number against a limit, in words, and tell whether it is more."""
    number = limit if isinstance(limit, int) else limit[1]
    said = limit if isinstance(limit, int) else f"{limit[0]} {number}"
    return f"{named[0]} {named[1]} against {said} is {compare(named[1], number)}", named[1] > number


def runs_of(items: Sequence[Item], length: int) -> list[list[Item]]:
    """Split items in runs of that length, the last one shorter where they do not come out even."""
    return [list(items[start : start + length]) for start in range(0, len(items), length)]
