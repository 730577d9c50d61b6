"""Answers in words: single words, free text, and yes or no."""

import re
from difflib import SequenceMatcher

from insightv_core.answers.clean import TAKES_BACK, answer_part, first_sentence, plain_latex, stated
from insightv_core.answers.numbers import read_quantity
from insightv_core.answers.verdict import CORRECT, OPEN, UNPARSED, WRONG, AnswerVerdict, shorten

EDGES = ".,;:!?\"'()[]…。、"
ARTICLES = {"a", "an", "the"}
BRITISH = {
    "grey": "gray", "colour": "color", "centre": "center", "metre": "meter", "litre": "liter", "kilometre": "kilometer",
    "centimetre": "centimeter", "aluminium": "aluminum", "neighbour": "neighbor", "favourite": "favorite",
}  # fmt: skip
CALENDAR = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday",
)  # fmt: skip
LEAD_IN = re.compile(
    r"^(?:(?:so|thus|hence|therefore|then),? )?(?:(?:it|this|that|he|she|the \w{1,20}(?: \w{1,20})?) (?:is|was)"
    r"|(?:it|that)'s|they are|the \w{1,20} are|we (?:get|have|find|obtain)"
    r"|i (?:get|see|choose|(?:think|believe)(?: that)?(?: it is| it's)?)) ",
    re.IGNORECASE,
)
CONNECTIVE = re.compile(r"^(?:(?:so|thus|hence|therefore|then|well),? )+", re.IGNORECASE)
YES = re.compile(r"^(?:yes|yeah|yep|true|y)\b", re.IGNORECASE)
# "No difference" names a thing that is absent; as an answer, "no" stands alone or before a new clause.
BOTH = re.compile(r"(?:yes|no|true|false)\b ?[,./?!]? ?(?:(?:or|and) )?(?:yes|no|true|false)\b", re.IGNORECASE)
NO = re.compile(
    r"^(?:(?:nope|false|n)\b|no(?= ?(?:[.,;:!()-]|$)| (?:it|they|he|she|there|this|that|the)\b))", re.IGNORECASE
)


def normalize(text: str) -> str:
    """Return a tidy text without case, articles, edge punctuation, hyphens and British spelling.

    >>> normalize('The "Grey" well-known cat.')
    'gray well known cat'
    """
    text = re.sub(r"(?<=[^\W\d_])-(?=[^\W\d_])", " ", plain_latex(text).casefold())
    tokens = [token.rstrip(EDGES) if re.match(r"\.\d", token) else token.strip(EDGES) for token in text.split()]
    tokens = [BRITISH.get(token, token) for token in tokens if token]
    kept = [token for token in tokens if token not in ARTICLES] or tokens
    return " ".join(kept) or " ".join(text.split())


def readings(text: str) -> list[str]:
    """Return what a tidy text may state as its answer, normalised: all of it, the stated part, its first sentence."""
    part = stated(text)
    parts = [text, part, first_sentence(part)]
    parts += [LEAD_IN.sub("", each) for each in parts] + [CONNECTIVE.sub("", each) for each in parts]
    return list(dict.fromkeys(normalize(each) for each in parts if each))


def name_in_full(word: str) -> str:
    """Return a month or weekday in full for its short form, any other word as it is."""
    return next((name for name in CALENDAR if len(word) >= 3 and name.startswith(word)), word)


def compare_text(given: str, truth: str) -> AnswerVerdict:
    """Compare free text: the same words are correct, anything else is for a judge."""
    if normalize(truth) in readings(given):
        return AnswerVerdict(CORRECT, f"'{shorten(given)}' says '{shorten(truth)}'")
    return AnswerVerdict(OPEN, f"'{shorten(given)}' and '{shorten(truth)}' differ in words")


def nearly_same(one: str, other: str) -> bool:
    """Tell whether two words may be forms of one: the one begins with the other, or they share most letters."""
    short, long = sorted((one, other), key=len)
    alike = len(short) >= 5 and SequenceMatcher(None, short, long).ratio() >= 0.8
    return alike or long.startswith(short)


def compare_word(given: str, truth: str) -> AnswerVerdict:
    """Compare single words: clearly different words, or different letters, are wrong; near ones are for a judge."""
    verdict = compare_text(given, truth)
    if verdict.outcome == CORRECT:
        return verdict
    part = answer_part(given)
    one, other = normalize(LEAD_IN.sub("", CONNECTIVE.sub("", part))), normalize(truth)
    if other.isalpha() and read_quantity(part) and not read_quantity(truth):
        return AnswerVerdict(WRONG, f"'{shorten(given)}' is a number, not '{shorten(truth)}'")
    if not (one.isalpha() and other.isalpha()):
        return verdict
    one, other = name_in_full(one), name_in_full(other)
    if one == other:
        return AnswerVerdict(CORRECT, f"'{shorten(given)}' is {other}")
    if nearly_same(one, other) and not {one, other} <= set(CALENDAR):
        return AnswerVerdict(OPEN, f"'{one}' and '{other}' are close in spelling")
    return AnswerVerdict(WRONG, f"'{one}' is not '{other}'")


def read_polarity(text: str) -> bool | None:
    """Read a tidy text as yes (True) or no (False); None where it begins with neither."""
    part = CONNECTIVE.sub("", stated(plain_latex(text)).lstrip(" \n\"'([")) if text else ""
    bare = LEAD_IN.sub("", part)
    for each in (part, bare):
        if YES.match(each):
            return True
        if NO.match(each):
            return False
    return None


def compare_polarity(given: str, truth: str) -> AnswerVerdict:
    """Compare yes/no answers; "true" and "false" count as yes and no."""
    meant = read_polarity(truth)
    if meant is None:
        return compare_text(given, truth)
    said = read_polarity(given)
    if said is None or BOTH.match(stated(given)) or TAKES_BACK.search(stated(given)):
        return AnswerVerdict(UNPARSED, f"neither yes nor no in '{shorten(given)}'")
    names = {True: "yes", False: "no"}
    if said == meant:
        return AnswerVerdict(CORRECT, f"'{shorten(given)}' is {names[meant]}")
    return AnswerVerdict(WRONG, f"'{shorten(given)}' is {names[said]}, not {names[meant]}")
