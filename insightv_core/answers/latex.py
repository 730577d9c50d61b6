"""Mathematics in answers, compared by Math-Verify within a time limit that works on every thread."""

import ctypes
import logging
import re
import threading
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from math import prod

from insightv_core.answers.clean import plain_latex, stated
from insightv_core.answers.numbers import Quantity, read_quantity
from insightv_core.answers.numeric import compare_numbers
from insightv_core.answers.verdict import CORRECT, OPEN, UNPARSED, WRONG, AnswerVerdict, shorten
from insightv_core.answers.words import compare_text

SECONDS = 5.0
LONGEST = 400
# Beyond this a power is no longer worked out: a single huge one cannot be interrupted.
LARGEST_POWER = 10_000
MATH_SPAN = re.compile(r"\$\$([^$]+)\$\$|(?<!\\)\$([^$]+)(?<!\\)\$|\\\((.{1,400}?)\\\)|\\\[(.{1,400}?)\\\]", re.DOTALL)
MARKS = re.compile(r"[\\^_+*/=<>√∛π±∞×·≤≥]|\d ?[A-Za-z]\b|[A-Za-z]\(")
FUNCTION_NAMES = re.compile(
    r"\\[A-Za-z]+|\b(?:sin|cos|tan|cot|sec|csc|log|ln|exp|lim|max|min|sqrt|det|arc(?:sin|cos|tan))\b"
)
ROOT = re.compile(r"√ ?(\d{1,60}|[A-Za-z])|(?:√|\bsqrt) ?\(([^()]*)\)")
REWRITES = (
    (re.compile(r"\^([-+]?\d{1,60})"), r"^{\1}"),
    (re.compile(r"π|(?<!\\)\bpi\b"), r"\\pi "),
    (re.compile("[×·]"), r"\\cdot "),
    (re.compile("±"), r"\\pm "),
    (re.compile("∞"), r"\\infty "),
    (re.compile("≤"), r"\\le "),
    (re.compile("≥"), r"\\ge "),
    (re.compile("°"), r"^{\\circ}"),
)
ONE_AT_A_TIME = threading.Lock()

Examined = tuple[str, Fraction | None, Fraction | None]


class Stopped(BaseException):
    """Raised inside a calculation whose time is up; no library catches it by accident."""


def call_with_limit(function: Callable[[], Examined], seconds: float) -> Examined | None:
    """Run a function on a thread of its own; None where it fails or its time is up.

    No signals are used, so any thread may call. A calculation that runs over is stopped at its next Python instruction.
    """
    results: list[Examined] = []

    def run() -> None:
        try:
            results.append(function())
        except (Exception, Stopped):
            logging.getLogger(__name__).debug("Mathematics could not be compared", exc_info=True)

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    worker.join(seconds)
    if worker.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker.ident or 0), ctypes.py_object(Stopped))
        worker.join(seconds)
    return results[0] if results else None


@lru_cache(maxsize=1)
def load_math_verify():
    """Import Math-Verify on first use and silence its notes: the time limit it misses is ours."""
    import math_verify

    for module in ("parser", "grader"):
        logging.getLogger(f"math_verify.{module}").setLevel(logging.ERROR)
    return math_verify


def read_expression(latex: str):
    """Return the SymPy object of some LaTeX; None where there is none. Only LaTeX is read, so nothing is evaluated."""
    math_verify = load_math_verify()
    config = [math_verify.LatexExtractionConfig()]
    parsed = math_verify.parse(
        f"${latex}$", extraction_config=config, fallback_mode="no_fallback", parsing_timeout=None
    )
    return parsed[0] if parsed else None


def value_of(expression) -> Fraction | None:
    """Return the value of a real number; None for anything else."""
    from sympy import Expr

    if not isinstance(expression, Expr) or not expression.is_number:
        return None
    number = expression.doit().evalf(30)
    return Fraction(str(number)) if number.is_Float or number.is_Rational else None


def surely_differ(one, other) -> bool:
    """Tell whether two expressions take different values at some of three points, or are of kinds that cannot agree."""
    from sympy import Expr, Rational

    if not (isinstance(one, Expr) and isinstance(other, Expr)):
        return type(one) is type(other)
    symbols = sorted(one.free_symbols | other.free_symbols, key=str)
    for point in range(3):
        places = {symbol: Rational(7 * point + 3 * place + 5, 6) for place, symbol in enumerate(symbols)}
        values = [complex(each.subs(places).doit().evalf(20)) for each in (one, other)]
        if abs(values[0] - values[1]) > 1e-6 * max(1.0, abs(values[1])):
            return True
    return False


def examine(given: str, truth: str) -> Examined:
    """Return "same", "different", "unsure", "given unread" or "truth unread", and the values of numbers."""
    one, other = read_expression(given), read_expression(truth)
    if other is None:
        return "truth unread", None, None
    if one is None:
        return "given unread", None, None
    values = value_of(one), value_of(other)
    if load_math_verify().verify(other, one, timeout_seconds=None):
        return "same", *values
    return "different" if surely_differ(one, other) else "unsure", *values


def find_latex(text: str) -> str | None:
    """Return the mathematics that a tidy text states, without its dollar signs; None for prose or several formulas."""
    part = stated(text).strip().rstrip(".").strip()
    spans = {next(filter(None, span)).strip() for span in MATH_SPAN.findall(part)}
    if len(spans) > 1:
        return None
    latex = spans.pop() if spans else part.strip("$ ")
    latex = ROOT.sub(lambda root: f"\\sqrt{{{root[1] or root[2]}}}", latex)
    for pattern, written in REWRITES:
        latex = pattern.sub(written, latex)
    letters = FUNCTION_NAMES.sub(" ", re.sub(r"\\(?:text|mathrm)\s?\{[^{}]*\}", " ", latex))
    return None if re.search(r"[^\W\d_]{3}", letters) else latex


def too_large(latex: str) -> bool:
    """Tell whether some LaTeX is too long, or its powers and factorials too large, to be worked out."""
    powers = [int(power) for power in re.findall(r"\^\{?[-+]?(\d{1,60})", latex)]
    towers = re.search(r"\^\{[^{}]*\^|\^\w\^|\^\{?\(", latex)
    factorials = re.search(r"(?:^|\D|\d{4,})!(?!=)", latex)
    choices = "binom" in latex and re.search(r"\d{5}", latex)
    return bool(
        len(latex) > LONGEST or towers or factorials or choices or prod(powers) > LARGEST_POWER
        or re.search(r"\d{61}", latex)
    )  # fmt: skip


def as_quantity(value: Fraction, text: str) -> Quantity:
    """Return a worked-out value as a number that reads like the text it came from."""
    written = read_quantity(text)
    return written or Quantity(value, value, text)


def compare_expressions(given: str, truth: str, tolerance: float) -> AnswerVerdict:
    """Compare the mathematics of two tidy texts; numbers keep their tolerance and rounding."""
    one, other = find_latex(given), find_latex(truth)
    if other is None:
        return compare_text(given, truth)
    if one is None:
        return AnswerVerdict(UNPARSED, f"no single formula in '{shorten(given)}'")
    if too_large(one) or too_large(other):
        return AnswerVerdict(OPEN, f"'{shorten(given)}' is too large to be compared with '{shorten(truth)}'")
    load_math_verify()
    with ONE_AT_A_TIME:
        examined = call_with_limit(lambda: examine(one, other), SECONDS)
    state, value, true_value = examined or ("unsure", None, None)
    if state == "same":
        return AnswerVerdict(CORRECT, f"'{shorten(given)}' equals '{shorten(truth)}'")
    if state == "given unread":
        return AnswerVerdict(UNPARSED, f"no formula that can be read in '{shorten(given)}'")
    if value is not None and true_value is not None:
        return compare_numbers(as_quantity(value, given), as_quantity(true_value, truth), tolerance)
    if state == "different":
        return AnswerVerdict(WRONG, f"'{shorten(given)}' is not '{shorten(truth)}'")
    return AnswerVerdict(OPEN, f"'{shorten(given)}' could not be compared with '{shorten(truth)}'")


def compare_latex(given: str, truth: str, tolerance: float) -> AnswerVerdict:
    """Compare two answers in LaTeX; plain numbers and plain words never reach Math-Verify."""
    one, other = read_quantity(stated(given)), read_quantity(truth)
    if one and other:
        return compare_numbers(one, other, tolerance)
    if plain_latex(given) == plain_latex(truth):
        return AnswerVerdict(CORRECT, f"'{shorten(given)}' is '{shorten(truth)}'")
    if not MARKS.search(plain_latex(truth)) and not MARKS.search(plain_latex(stated(given))):
        return compare_text(given, truth)
    return compare_expressions(given, truth, tolerance)
