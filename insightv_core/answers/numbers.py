"""Numbers in answers: read one from however it is spelled, or say why none, or no single one, can be read.

Read are integers and decimals; thousands as 1,204, 1 204, 1'204 and 1,00,000; 1.204,5 and 3,5, where only a decimal
comma makes sense (1.204 and 1,204 are read as in English); signs; fractions as 3/4, 1 1/2 and ½; 3e5 and 3 × 10^5;
percent signs; 2.5 million and 3k; number words below a thousand; currencies and units. Dates, clock times, ordinals
and bounds ("more than 5") are no numbers.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from insightv_core.answers.clean import answer_part, plain_latex, stated
from insightv_core.answers.units import Unit, find_unit, read_unit
from insightv_core.answers.verdict import shorten
from insightv_core.answers.words_to_digits import words_to_digits

MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)\.?"
)
DATE = re.compile(
    rf"\b{MONTH} \d{{1,2}}(?:st|nd|rd|th)?(?:,? \d{{4}})?\b|\b{MONTH} \d{{4}}\b"
    rf"|\b\d{{1,2}}(?:st|nd|rd|th)? (?:of )?{MONTH}(?:,? \d{{4}}\b)?(?!\w)"
    r"|(?<!\d)\d{1,4}([/.-])\d{1,2}\1\d{1,4}(?!\d|,\d)"
)
VALUE = (
    r"(?:[1-9]\d{0,2}(?:,\d{3}){1,15}(?:\.\d{1,30})?"  # 1,204.5
    r"|[1-9]\d?(?:,\d{2}){1,10},\d{3}(?:\.\d{1,30})?"  # 1,00,000
    r"|[1-9]\d{0,2}(?:[ ']\d{3}){1,15}(?:[.,]\d{1,30})?"  # 1 204,5
    r"|[1-9]\d{0,2}(?:\.\d{3}){1,15},\d{1,30}|[1-9]\d{0,2}(?:\.\d{3}){2,15}"  # 1.204,5
    r"|\d{1,60},\d{1,30}|\d{1,60}(?:\.\d{1,30})?|\.\d{1,30})"
)
SCALES = {
    "hundred": 2, "thousand": 3, "million": 6, "mn": 6, "billion": 9, "bn": 9, "trillion": 12,
    "k": 3, "m": 6, "b": 9, "t": 12,
}  # fmt: skip
NUMBER = re.compile(
    rf"""(?<![\w.,^±])(?<![A-Za-z]-)(?<!\d:)
    (?P<sign>[-+]?)(?:(?P<money>(?:US|AU|CA|C|A)?\$|[€£¥₹])\s?)?(?P<inner>[-+]?)
    (?:(?P<whole>\d{{1,9}})\s(?P<top>\d{{1,9}})\s?/\s?(?P<bottom>\d{{1,9}})
      |(?P<upper>{VALUE})\s?/\s?(?P<lower>{VALUE})
      |(?:(?P<factor>{VALUE})\s?[x×·*]\s?)?10(?:\^|\*\*)\s?\{{?(?P<power>[-+]?\d{{1,3}})\}}?
      |(?P<plain>{VALUE})(?:[eE](?P<exponent>[-+]?\d{{1,3}}))?)
    (?!\d|[.,]\d|\s?/\s?\d|:\d|[eExX][-+]?\d|(?:st|nd|rd|th)\b)
    (?:\s?(?P<scale>(?i:hundred|thousand|million|mn|billion|bn|trillion|dozen))s?\b
      |(?P<letter>(?(money)[kKmMbBT]|[kKMBT]))(?!\w))?
    (?P<percent>\s?%|\s?(?i:percent(?:age\spoints?)?|per\scent|pct)\b)?""",
    re.VERBOSE,
)
BOUND = re.compile(
    r"(?:\b(?:(?:more|less|fewer|greater) than|at least|at most|over|under|above|below|up to)|[<>≤≥]) ?$", re.IGNORECASE
)
NEGATED = re.compile(r"(?:\b(?:not|neither|nor|never|except)|n't) (?:\w{1,20} ){0,2}$", re.IGNORECASE)
ROUGHLY = re.compile(r"^(?:about|approximately|approx\.?|around|roughly|circa|exactly|only|~|≈) ?", re.IGNORECASE)
# What stands between two equal numbers that are two numbers all the same: "2 + 2", "5 out of 5".
JOINED = re.compile(r"[-+*/×·^,]|\b(?:x|and|or|to|times|plus|minus|by|of)\b", re.IGNORECASE)
MATHEMATICS = re.compile(r"[\\√∛π±∞^]|\bsqrt\b|\bpi\b", re.IGNORECASE)
EDGES = " \n.,;:?\"'()[]"


@dataclass(frozen=True)
class Quantity:
    """A number as it was written. `value` counts percent as written (5 for "5%") and magnitudes in full.

    `mantissa` is the number before a magnitude word or letter; `decimals` the digits behind the point of a plain
    decimal, 0 for anything else.
    """

    value: Fraction
    mantissa: Fraction
    text: str
    unit: Unit | None = None
    percent: bool = False
    decimals: int = 0


@dataclass(frozen=True)
class Found:
    """A quantity and its place in the text."""

    start: int
    end: int
    quantity: Quantity


def to_fraction(digits: str) -> Fraction:
    """Return the value of digits with whatever separators `VALUE` allows."""
    digits = digits.replace(" ", "").replace("'", "")
    european = re.fullmatch(r"\d{1,3}(?:\.\d{3})+(?:,\d+)?", digits) and ("," in digits or digits.count(".") > 1)
    grouped = re.fullmatch(r"[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}(?:\.\d+)?", digits)
    if european:
        digits = digits.replace(".", "")
    return Fraction(digits.replace(",", "" if grouped else "."))


def read_core(match: re.Match) -> tuple[Fraction, int] | None:
    """Return the value without sign and magnitude, and its decimals; None for a division by zero."""
    if match["whole"]:
        parts = int(match["bottom"])
        return (int(match["whole"]) + Fraction(int(match["top"]), parts), 0) if parts else None
    if match["upper"]:
        divisor = to_fraction(match["lower"])
        return (to_fraction(match["upper"]) / divisor, 0) if divisor else None
    if match["power"]:
        return to_fraction(match["factor"] or "1") * Fraction(10) ** int(match["power"]), 0
    value = to_fraction(match["plain"])
    if match["exponent"]:
        return value * Fraction(10) ** int(match["exponent"]), 0
    decimals = len(str(match["plain"]).replace(",", ".").rpartition(".")[2]) if value.denominator > 1 else 0
    return value, decimals


def to_found(match: re.Match, text: str) -> Found | None:
    """Turn a match into a quantity with its unit; None where it is no number after all."""
    core = read_core(match)
    if core is None or (match["sign"] and match["inner"]):
        return None
    mantissa = -core[0] if "-" in (match["sign"], match["inner"]) else core[0]
    scale = (match["scale"] or match["letter"] or "").lower()
    factor = 12 if scale == "dozen" else 10 ** SCALES.get(scale, 0)
    unit, end = (find_unit(match["money"][-1]) if match["money"] else None), match.end()
    behind = None if match["percent"] else read_unit(text, end)
    if behind:
        unit, end = unit or behind[0], behind[1]
    shown = text[match.start() : end].strip()
    decimals = core[1] if factor == 1 else 0
    quantity = Quantity(mantissa * factor, mantissa, shown, unit, bool(match["percent"]), decimals)
    return Found(match.start(), end, quantity)


def prepare(text: str) -> str:
    """Spell a tidy text so that its numbers stand in digits and its signs next to them."""
    text = words_to_digits(plain_latex(text))
    text = re.sub(r"\bdegrees? (celsius|c|fahrenheit|f)\b", lambda name: "°" + name[1][0].upper(), text, flags=re.I)
    text = re.sub(r"\b(?:minus|negative) (?=[\d.$€£¥₹])", "-", text, flags=re.IGNORECASE)
    text = re.sub(r"(^|[=(] ?)- (?=[\d.$€£¥₹])", r"\1-", text)
    return DATE.sub(lambda date: "_" * len(date[0]), text)


def find_quantities(prepared: str) -> list[Found]:
    """Return the numbers of a prepared text in their order."""
    found = (to_found(match, prepared) for match in NUMBER.finditer(prepared))
    return [each for each in found if each]


def read_quantity(text: str) -> Quantity | None:
    """Read a tidy text that is a number and nothing else, apart from "about"; None for any other text."""
    prepared = ROUGHLY.sub("", prepare(text).strip(EDGES))
    found = find_quantities(prepared)
    if len(found) != 1:
        return None
    around = prepared[: found[0].start] + prepared[found[0].end :]
    return None if around.strip(EDGES) else found[0].quantity


def prepare_answer(text: str) -> str:
    """Return the part of a tidy text that states a number, prepared."""
    prepared = prepare(answer_part(text))
    return last_of_equation(prepared if find_quantities(prepared) else prepare(stated(text)))


def has_mathematics(text: str) -> bool:
    """Tell whether the answer in a tidy text holds roots, powers or commands beside its plain numbers."""
    prepared = prepare_answer(text)
    for each in reversed(find_quantities(prepared)):
        prepared = f"{prepared[: each.start]} {prepared[each.end :]}"
    return bool(MATHEMATICS.search(prepared))


def last_of_equation(prepared: str) -> str:
    """Return what stands behind the last equals sign of a calculation such as "x = 2 + 3 = 5", else all of it."""
    first, *others = re.split(r"[=≈]", prepared)
    calculation = not re.search(r"[,;.] |\n", first) and not re.search(r"[A-Za-z;\n]|, ", "".join(others[:-1]))
    return others[-1] if others and calculation and find_quantities(others[-1]) else prepared


def state_quantity(text: str) -> Quantity | str:
    """Read the one number that a tidy text states, or return the reason why it states none or several."""
    prepared = prepare_answer(text)
    found = find_quantities(prepared)
    if not found:
        return f"no number in '{shorten(text)}'"
    values = {each.quantity.value / (100 if each.quantity.percent else 1) for each in found}
    gaps = [prepared[one.end : other.start] for one, other in zip(found, found[1:], strict=False)]
    if len(values) > 1 or any(map(JOINED.search, gaps)):
        return f"several numbers in '{shorten(text)}': {', '.join(each.quantity.text for each in found[:4])}"
    before = prepared[max(0, found[0].start - 60) : found[0].start]
    if BOUND.search(before):
        return f"a bound, not a number, in '{shorten(text)}'"
    if NEGATED.search(before):
        return f"'{shorten(text)}' says what the number is not"
    return found[0].quantity
