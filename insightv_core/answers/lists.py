"""Lists in answers: [1, 2, 3], {red, blue}, "red, blue and green"."""

import re

from insightv_core.answers.clean import first_sentence, plain_latex, stated
from insightv_core.answers.numbers import read_quantity
from insightv_core.answers.numeric import compare_numbers
from insightv_core.answers.verdict import CORRECT, OPEN, UNPARSED, WRONG, AnswerVerdict, shorten
from insightv_core.answers.words import compare_word, normalize

BRACKETS = {"[": "]", "(": ")", "{": "}"}
SEPARATOR = re.compile(r"\s*(?:;|,(?=\s)|\n)\s*(?:(?:and|&)\s)?|\s(?:and|&)\s")


def unwrap(text: str) -> tuple[str, str]:
    """Return what stands within the brackets around a tidy text, and the opening bracket, "" without one."""
    text = plain_latex(text).replace("\\{", "{").replace("\\}", "}").strip().rstrip(".").strip()
    opening = text[:1]
    if opening not in BRACKETS or text[-1:] != BRACKETS[opening]:
        return text, ""
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign in "[({") - (sign in "])}")
        if depth == 0 and place < len(text) - 1:
            return text, ""
    return text[1:-1].strip(), opening


def split_items(text: str) -> list[str]:
    """Split at semicolons, commas, line breaks and "and", but not within brackets.

    Commas without a space separate only where nothing else does, so "1,204; 5" keeps its thousands.
    """
    items, start, depth = [], 0, 0
    separators = list(SEPARATOR.finditer(text)) or list(re.finditer(r"\s*,\s*", text))
    ends = {match.start(): match.end() for match in separators}
    for place, sign in enumerate(text):
        depth += (sign in "[({") - (sign in "])}")
        if depth <= 0 and place in ends and place >= start:
            items.append(text[start:place])
            start = ends[place]
    return [item.strip() for item in [*items, text[start:]] if item.strip()]


def compare_item(given: str, truth: str, tolerance: float) -> AnswerVerdict:
    """Compare two items: numbers as numbers, tuples without their spaces, all else as words."""
    one, other = read_quantity(given), read_quantity(truth)
    if one and other:
        return compare_numbers(one, other, tolerance)
    if truth[:1] in BRACKETS and re.sub(r"\s", "", given) == re.sub(r"\s", "", truth):
        return AnswerVerdict(CORRECT, f"'{shorten(given)}' is in both")
    return compare_word(given, truth)


def order_of(item: str) -> tuple:
    """Return a key that brings items of two lists into the same order."""
    quantity = read_quantity(item)
    return (0, quantity.value, "") if quantity else (1, 0, normalize(item))


def compare_in_order(given: list[str], truth: list[str], tolerance: float) -> AnswerVerdict:
    """Compare two lists of the same length item by item: the first clear difference decides, then the first doubt."""
    verdicts = [compare_item(one, other, tolerance) for one, other in zip(given, truth, strict=True)]
    for outcome in (WRONG, OPEN):
        for verdict in verdicts:
            if verdict.outcome == outcome:
                return verdict
    return AnswerVerdict(CORRECT, f"all {len(truth)} items agree")


def compare_lists(given: str, truth: str, tolerance: float) -> AnswerVerdict:
    """Compare two lists of tidy text.

    The order matters in square and round brackets and does not in braces, which make a set. Without brackets the same
    items in another order are for a judge.
    """
    wanted, opening = unwrap(truth)
    part = stated(given)
    candidates = [split_items(unwrap(each)[0]) for each in dict.fromkeys((part, first_sentence(part)))]
    needed = split_items(wanted)
    items = next((each for each in candidates if len(each) == len(needed)), candidates[0])
    if not items or not needed:
        return AnswerVerdict(UNPARSED if needed else OPEN, f"no items in '{shorten(given if needed else truth)}'")
    if len(items) != len(needed):
        plain = all(read_quantity(item) or item.isalpha() for item in (*items, *needed))
        return AnswerVerdict(WRONG if plain else OPEN, f"{len(items)} items in '{shorten(given)}', not {len(needed)}")
    in_order = compare_in_order(items, needed, tolerance)
    if in_order.outcome == CORRECT or opening in ("[", "("):
        return in_order
    sorted_items = sorted(items, key=order_of), sorted(needed, key=order_of)
    regardless = compare_in_order(*sorted_items, tolerance)
    if opening == "{" or regardless.outcome != CORRECT:
        return regardless if opening == "{" else in_order
    return AnswerVerdict(OPEN, f"'{shorten(given)}' has the items in another order")
