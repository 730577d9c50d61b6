"""Two numbers held against each other: tolerance, rounding, percent, magnitudes and units.

Percent follows the form of the correct answer. Against "5%", both "5" (the sign left out) and "0.05" (the value) are
correct. Against "5", "5%" is correct and "0.05" wrong. Against "0.05", "5%" is correct and "5" wrong; "0.05%" is open,
because a bare number up to 1 may itself have lost its sign.
"""

from fractions import Fraction

from insightv_core.answers.numbers import Quantity
from insightv_core.answers.verdict import CORRECT, OPEN, WRONG, AnswerVerdict, shorten


def close(given: Fraction, truth: Fraction, tolerance: float) -> bool:
    """Tell whether a number lies within a relative tolerance of the true one; the true zero has no neighbours."""
    return given == truth or abs(given - truth) <= Fraction(str(tolerance)) * abs(truth)


def rounds_to(given: Fraction, truth: Fraction, decimals: int) -> bool:
    """Tell whether a number rounds, half away from zero, to a true one that is written with that many decimals."""
    if not decimals or given * truth <= 0:
        return False
    return (abs(given) * 10**decimals + Fraction(1, 2)) // 1 == abs(truth) * 10**decimals


def relate(given: Quantity, relation: str, truth: Quantity) -> str:
    """Write the reason: the one number, how it relates, the other number."""
    return f"{shorten(given.text)} {relation} {shorten(truth.text)}"


def compare_numbers(given: Quantity, truth: Quantity, tolerance: float) -> AnswerVerdict:
    """Compare two numbers with their units.

    `tolerance` is relative and holds for every number, years included, as ChartQA's relaxed accuracy does. A number
    that is more precise than a decimal truth may round to it, as MathVista's scorer does.
    """
    if given.unit and truth.unit and given.unit.kind != truth.unit.kind:
        return AnswerVerdict(OPEN, relate(given, "has another unit than", truth))
    if given.unit and truth.unit and given.unit.size != truth.unit.size:
        converted = given.value * given.unit.size / truth.unit.size
        if close(converted, truth.value, tolerance):
            return AnswerVerdict(CORRECT, relate(given, "is", truth))
        return AnswerVerdict(WRONG, relate(given, "is not", truth))
    if given.percent != truth.percent:
        verdict = compare_percent(given, truth, tolerance)
        if verdict:
            return verdict
    elif given.value == truth.value:
        return AnswerVerdict(CORRECT, relate(given, "equals", truth))
    elif close(given.value, truth.value, tolerance):
        return AnswerVerdict(CORRECT, relate(given, f"is within {100 * tolerance:g}% of", truth))
    if rounds_to(given.value, truth.value, truth.decimals):
        return AnswerVerdict(CORRECT, relate(given, "rounds to", truth))
    scaled = (given.mantissa != given.value) != (truth.mantissa != truth.value)
    if scaled and close(given.mantissa, truth.mantissa, tolerance):
        return AnswerVerdict(OPEN, relate(given, "has another magnitude than", truth))
    return AnswerVerdict(WRONG, relate(given, "is not", truth))


def compare_percent(given: Quantity, truth: Quantity, tolerance: float) -> AnswerVerdict | None:
    """Compare a percentage with a bare number, either way round; None where neither reading fits."""
    hundredth = given.value / (100 if given.percent else 1), truth.value / (100 if truth.percent else 1)
    if close(*hundredth, tolerance):
        return AnswerVerdict(CORRECT, relate(given, "is the same value as", truth))
    if not close(given.value, truth.value, tolerance) and not rounds_to(given.value, truth.value, truth.decimals):
        return None
    if given.percent and abs(truth.value) <= 1:
        return AnswerVerdict(OPEN, relate(given, "may or may not be", truth))
    return AnswerVerdict(CORRECT, relate(given, "equals, but for the percent sign,", truth))
