"""The rules that hold an answer against the correct one."""

import math
import re
from collections.abc import Sequence

from insightv_core.answers.clean import tidy
from insightv_core.answers.latex import compare_expressions, compare_latex
from insightv_core.answers.lists import compare_lists
from insightv_core.answers.numbers import Quantity, has_mathematics, read_quantity, state_quantity
from insightv_core.answers.numeric import compare_numbers
from insightv_core.answers.options import compare_options
from insightv_core.answers.verdict import CORRECT, OPEN, UNPARSED, AnswerVerdict, shorten
from insightv_core.answers.words import compare_polarity, compare_text, compare_word
from insightv_core.errors import UserError

# Whole chains of reasoning are shorter; what is longer is a model that repeats itself.
LONGEST_ANSWER = 10_000
LOOKS_LIKE_LATEX = re.compile(r"\\[A-Za-z]|\$[^$]+\$|[\w)]\^")


def compare_answers(
    given: str | None, truth: str, *, answer_type: str = "text", options: Sequence[str] = (), tolerance: float = 0.0
) -> AnswerVerdict:
    """Hold an answer against the correct one, by rules alone: nothing is guessed and nothing in the answer is obeyed.

    `answer_type` is "integer", "number", "word", "yes/no", "option", "list", "latex" or "text"; any other counts as
    "text", whose kind follows from the correct answer. `options` are the option texts in the order A, B, C ...; where
    the correct answer is one of them, answers are read as options whatever their type. `tolerance` is relative: 0.05
    is ChartQA's relaxed accuracy, and as there it holds for every number, years included.

    Raises UserError for a tolerance that is negative or not a finite number.

    >>> compare_answers("The answer is 1,204.", "1204", answer_type="integer")
    AnswerVerdict(outcome='correct', reason='1,204 equals 1204')
    >>> compare_answers("(B)", "red", options=["blue", "red"]).outcome
    'correct'
    >>> compare_answers("It is 5 or 6.", "5", answer_type="integer").outcome
    'unparsed'
    """
    if not math.isfinite(tolerance) or tolerance < 0:
        raise UserError(
            f"Tolerance {tolerance!r} is not a share. Give 0 for exact numbers, or for instance 0.05 for 5%."
        )
    given = (given or "").strip()
    if len(given) > LONGEST_ANSWER:
        return AnswerVerdict(UNPARSED, f"{len(given):,} characters are too many for an answer")
    said, meant = tidy(given), tidy(truth)
    if not said:
        return AnswerVerdict(UNPARSED, "no answer was given")
    if not meant:
        return AnswerVerdict(OPEN, "there is no correct answer to compare with")
    if said == meant:
        return AnswerVerdict(CORRECT, f"'{shorten(given)}' is the correct answer, word for word")
    kind = answer_type.strip().lower()
    if options or kind == "option":
        verdict = compare_options(said, meant, options)
        if verdict and (kind == "option" or verdict.outcome != UNPARSED):
            return verdict
    return compare_kind(said, meant, kind, tolerance)


def compare_kind(given: str, truth: str, kind: str, tolerance: float) -> AnswerVerdict:
    """Compare two tidy texts by the rules for one type of answer."""
    match kind:
        case "integer" | "number":
            return compare_numeric(given, truth, tolerance)
        case "word":
            one, other = read_quantity(given), read_quantity(truth)
            if one and other:
                return compare_numbers(one, other, tolerance)
            return compare_word(given, truth)
        case "yes/no":
            return compare_polarity(given, truth)
        case "list":
            return compare_lists(given, truth, tolerance)
        case "latex":
            return compare_latex(given, truth, tolerance)
        case _:
            return compare_free(given, truth, tolerance)


def compare_numeric(given: str, truth: str, tolerance: float) -> AnswerVerdict:
    """Compare with a true number; roots, powers and commands on either side go to Math-Verify."""
    meant: Quantity | str | None = read_quantity(truth)
    if meant is None and has_mathematics(truth):
        return compare_expressions(given, truth, tolerance)
    meant = meant or state_quantity(truth)
    if isinstance(meant, str):
        return compare_text(given, truth)
    said = state_quantity(given)
    if has_mathematics(given):
        return compare_expressions(given, truth, tolerance)
    if isinstance(said, str):
        return AnswerVerdict(UNPARSED, said)
    return compare_numbers(said, meant, tolerance)


def compare_free(given: str, truth: str, tolerance: float) -> AnswerVerdict:
    """Compare by the kind that the correct answer shows; what cannot be read as that kind is for a judge."""
    same_words = compare_text(given, truth)
    if same_words.outcome == CORRECT:
        return same_words
    if read_quantity(truth):
        verdict = compare_numeric(given, truth, tolerance)
    elif truth.lower().rstrip(".") in ("yes", "no", "true", "false"):
        verdict = compare_polarity(given, truth)
    elif LOOKS_LIKE_LATEX.search(truth):
        verdict = compare_latex(given, truth, tolerance)
    else:
        return same_words
    return AnswerVerdict(OPEN, verdict.reason) if verdict.outcome == UNPARSED else verdict
