"""Answers as datasets write them: options and the right one among them, and which type of answer a text is."""

import ast
import json
import re
import string
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import zip_longest

from insightv_core.records import ANSWER_TYPES

LETTERS = string.ascii_uppercase
LONGEST_TEXT = 20_000  # characters of a question, an answer or an option
LONGEST_WORD = 30

INTEGER = re.compile(r"[-+−]?([0-9]+|[0-9]{1,3}(,[0-9]{3})+)")
NUMBER = re.compile(r"[-+−]?[$€£¥]? ?(([0-9]+|[0-9]{1,3}(,[0-9]{3})+)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)? ?%?")
LATEX = re.compile(r"\\[a-zA-Z]{2,}|[\^_]\{|^\$.+\$$|^\\[(\[]", re.DOTALL)
LABELLED = re.compile(r"\(?([A-Za-z0-9])\s?[).:](?:\s+(.*))?", re.DOTALL)

# What datasets call the types; a name that is not here says nothing about the answer.
TYPES = {kind: kind for kind in ANSWER_TYPES} | {
    "int": "integer", "float": "number", "decimal": "number", "numeric": "number",
    "bool": "yes/no", "boolean": "yes/no", "binary": "yes/no", "yes_no": "yes/no", "yesno": "yes/no",
    "choice": "option", "mcq": "option", "multi_choice": "option", "multiple_choice": "option",
}  # fmt: skip


class RowError(Exception):
    """Say why a row is refused."""


@dataclass(frozen=True)
class Options:
    """The options of a question: the label that the dataset gives each ("A", "1" ...) and its text."""

    labels: tuple[str, ...]
    texts: tuple[str, ...]


def clean_text(value: object, what: str) -> str:
    """Return a text without space around it; `RowError` where it is none, too long, or cannot be stored."""
    if not isinstance(value, str):
        raise RowError(f"the {what} is a {type(value).__name__}, not a text")
    text = value.replace("\r\n", "\n").strip()
    if len(text) > LONGEST_TEXT:
        raise RowError(f"the {what} has {len(text):,} characters, over the limit of {LONGEST_TEXT:,}")
    if "\0" in text:
        raise RowError(f"the {what} has a NUL character")
    if not is_unicode(text):
        raise RowError(f"the {what} has bytes or characters that are no Unicode: save the file as UTF-8")
    return text


def is_unicode(text: str) -> bool:
    """Tell whether a text can be written as UTF-8, which half a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_literal(value: object) -> object:
    """Return the list or dictionary that a text holds as JSON or as Python prints it; anything else as it is."""
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or value.strip()[:1] not in ("[", "{"):
        return value
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list | dict):
            return found
    return value


def read_options(value: object) -> Options | None:
    """Read options: a list of texts, a dictionary of texts by label, {"label": [...], "text": [...]}, or such as text.

    None where there are none.
    """
    found = parse_literal(value)
    if found is None or found == "":
        return None
    if isinstance(found, dict):
        pairs = pairs_of(found)
    elif isinstance(found, list | tuple):
        pairs = list(zip_longest(LETTERS[: len(found)], found, fillvalue=""))
    else:
        raise RowError(f'the options {str(value)[:80]!r} are no list: write ["...", "..."]')
    return check_options(pairs)


def pairs_of(found: dict) -> list[tuple[str, object]]:
    """Return label and text of each option of a dictionary, sorted where the labels are single letters or digits."""
    texts = found.get("text", found.get("texts"))
    labels = found.get("label", found.get("labels"))
    if isinstance(texts, list) and isinstance(labels, list) and len(texts) == len(labels):
        return [(str(label), text) for label, text in zip(labels, texts, strict=True)]
    pairs = [(str(label), text) for label, text in found.items()]
    return sorted(pairs, key=lambda pair: pair[0]) if all(len(label) == 1 for label, _ in pairs) else pairs


def check_options(pairs: Sequence[tuple[str, object]]) -> Options | None:
    """Return the options without missing ones at the end; None where all are missing, `RowError` for a gap."""
    pairs = list(pairs)
    while pairs and is_missing(pairs[-1][1]):
        pairs.pop()
    if not pairs:
        return None
    if not 2 <= len(pairs) <= len(LETTERS):
        raise RowError(f"the row has {len(pairs)} options; between 2 and {len(LETTERS)} are possible")
    if any(is_missing(text) for _, text in pairs):
        raise RowError("an option between the others is empty")
    labels = tuple(label.strip() for label, _ in pairs)
    texts = tuple(clean_text(to_text(text), "option") for _, text in pairs)
    if any("<image" in text for text in texts):
        raise RowError("the options are pictures; only options in words can be imported")
    return Options(labels, strip_labels(texts))


def strip_labels(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the options without their letters, where each begins with its own ("A. cat")."""
    matches = [LABELLED.fullmatch(text) for text in texts]
    if all(match and match[2] and match[1] == letter for match, letter in zip(matches, LETTERS, strict=False)):
        return tuple(match[2] for match in matches if match)
    return texts


def is_missing(value: object) -> bool:
    """Tell whether a value stands for none: null, not a number, or nothing but space."""
    return (
        value is None or (isinstance(value, float) and value != value) or (isinstance(value, str) and not value.strip())
    )


def to_text(value: object) -> str:
    """Return a text, number or truth value as text; `RowError` for anything else."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str | int | float | Decimal):
        return str(value)
    raise RowError(f"a {type(value).__name__} is no answer")


def choose_option(options: Options, answer: object, meaning: str) -> str:
    """Return the letter of the right option, given by its label, its text or its number from 0.

    `meaning` is "answer" where any of these may be meant, "answer_text" or "answer_index" where only that. Raises
    `RowError` where no option fits, or several do.
    """
    text = clean_text(to_text(answer), "answer")
    found = set()
    if meaning != "answer_index":
        found |= {place for place, option in enumerate(options.texts) if alike(option) == alike(text)}
    if meaning == "answer":
        found |= places_by_label(options, text)
    if meaning == "answer_index" or (meaning == "answer" and not has_digit_labels(options)):
        found |= places_by_number(options, text)
    if len(found) == 1:
        return LETTERS[found.pop()]
    if not found:
        raise RowError(f"the answer {text[:80]!r} is none of the {len(options.texts)} options")
    letters = " and ".join(LETTERS[place] for place in sorted(found))
    raise RowError(
        f"the answer {text[:80]!r} may mean the options {letters}: write letters, or map the column as answer_text or "
        "answer_index (counted from 0)"
    )


def places_by_label(options: Options, text: str) -> set[int]:
    """Return the places of the options whose label is the text, alone or before the option ("B", "(b)", "B. cat")."""
    match = LABELLED.fullmatch(text)
    label, rest = (match[1], match[2]) if match else (text, None)
    return {
        place
        for place, (own, option) in enumerate(zip(options.labels, options.texts, strict=True))
        if own.casefold() == label.casefold() and (not rest or alike(rest) == alike(option))
    }


def places_by_number(options: Options, text: str) -> set[int]:
    """Return the place that a text counts from 0, where there is an option."""
    return {place for place in range(len(options.texts)) if text in (str(place), f"{place}.0")}


def has_digit_labels(options: Options) -> bool:
    """Tell whether the dataset labels its options by numbers, so that numbers are no places."""
    return all(label.isdecimal() for label in options.labels)


def alike(text: str) -> str:
    """Return what two spellings of an option share: the letters without case, width and spacing."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def read_answer(value: object) -> tuple[str, str]:
    """Return an answer without options as text, with the type that it looks like."""
    value = parse_literal(value)
    if isinstance(value, list | tuple):
        items = [clean_text(to_text(item), "answer") for item in value if not is_missing(item)]
        if len(set(items)) > 1:
            return ("; " if any("," in item for item in items) else ", ").join(items), "list"
        value = items[0] if items else ""
    text = clean_text(to_text(value), "answer")
    return text, infer_type(text)


def infer_type(text: str) -> str:
    """Return the answer type that a text looks like.

    >>> [infer_type(text) for text in ("1,234", "2.5%", "Yes", r"\\frac{1}{2}", "apple", "two apples")]
    ['integer', 'number', 'yes/no', 'latex', 'word', 'text']
    """
    if INTEGER.fullmatch(text):
        return "integer"
    if NUMBER.fullmatch(text):
        return "number"
    if text.casefold() in ("yes", "no"):
        return "yes/no"
    if LATEX.search(text):
        return "latex"
    return "word" if len(text) <= LONGEST_WORD and len(text.split()) == 1 else "text"


def apply_type(text: str, inferred: str, declared: str) -> tuple[str, str]:
    """Return the answer and its type where the dataset declares one; `RowError` where the answer cannot be of it."""
    if declared == "option":
        match = LABELLED.fullmatch(text)
        letter = (match[1] if match else text).upper()
        if len(letter) != 1 or letter not in LETTERS:
            raise RowError(f"the answer {text[:80]!r} is no letter, and the row has no options")
        return letter, declared
    if declared == "yes/no":
        text = {"true": "yes", "false": "no"}.get(text.casefold(), text)
        if text.casefold() not in ("yes", "no"):
            raise RowError(f"the answer {text[:80]!r} is neither yes nor no, as its type says")
    if declared == "integer" and inferred == "number":
        return text, inferred
    if declared in ("integer", "number") and not re.search("[0-9]", text):
        raise RowError(f"the answer {text[:80]!r} has no digit, though its type is {declared}")
    return text, declared
