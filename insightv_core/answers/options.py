"""Options of a multiple-choice question: which one an answer names, by letter, by number or by its text."""

import re
from collections.abc import Sequence

from insightv_core.answers.clean import answer_part, first_sentence, plain_latex, stated
from insightv_core.answers.numbers import read_quantity
from insightv_core.answers.verdict import CORRECT, UNPARSED, WRONG, AnswerVerdict, shorten
from insightv_core.answers.words import CONNECTIVE, LEAD_IN, normalize

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Without known options the letters A to J count, the ten of MMMU-Pro.
UNKNOWN_OPTIONS = 10
LONGEST_TEXT = 200
NAMED = r"(?:(?:the )?(?:correct |right |best )?(?:option|choice|answer|statement) ?)"
LONE_LETTER = re.compile(rf"^[\W_]*{NAMED}?[(\[]?([A-Za-z])[)\]]?[\W_]*$", re.IGNORECASE)
LONE_NUMBER = re.compile(rf"^[\W_]*({NAMED}(?:number |no\.? |# ?)?)?[(\[]?(\d{{1,2}})[)\].:]*$", re.IGNORECASE)
LEADING_LETTER = re.compile(
    rf"^[\W_]*{NAMED}?(?:\(([A-Za-z])\)|\[([A-Za-z])\]|([A-Za-z])(?=[).:]|,? |$| -))[).:,]*[ -]*(.*)$", re.S
)
LEADING_NUMBER = re.compile(r"^[\W_]*(\d{1,2})[).:]+ (.+)$", re.DOTALL)
MARKED = re.compile(r"[(\[]([A-Za-z])[)\]]|\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ss]tatement) ([A-Z])\b")
OPENING = re.compile(r"^[\W_]*([A-Za-z])(?:[):](?=\s|$)|\.(?=\s))")
# A capital "A" before another word is an article, and "I" alone is the speaker.
BARE = re.compile(r"(?<![\w'.])([B-HJ-Z]|A(?=\s*(?:$|[,.;:!?)\]]|(?:is|because|since|as|and|or|but)\b)))(?![\w'])")
NAMES_BEFORE = re.compile(
    r"(?:^|[:=]|\b(?:is|be|choose|select|pick|with|so|therefore|thus|hence|get|say|to))[\s,]*$", re.I
)
NEGATED = re.compile(
    r"\b(?:not|neither|nor|never|except|cannot|wrong|incorrect|rather than|instead of)\b|n't\b", re.IGNORECASE
)


def letter_of(option: int) -> str:
    """Return the letter of an option, counted from 0."""
    return LETTERS[option]


def index_of(letter: str, options: Sequence[str]) -> int | None:
    """Return which option a letter stands for; None where there are not so many."""
    place = LETTERS.find(letter.upper())
    return place if 0 <= place < (min(len(options), len(LETTERS)) or UNKNOWN_OPTIONS) else None


def find_text(text: str, options: Sequence[str]) -> list[int]:
    """Return the options whose text is exactly this one, or failing that whose number is."""
    wanted = normalize(text)
    same = [place for place, option in enumerate(options) if normalize(option) == wanted]
    quantity = None if same else read_quantity(text)
    if quantity is None:
        return same
    numbers = [read_quantity(option) for option in options]
    return [
        place for place, each in enumerate(numbers)
        if each and each.value == quantity.value and each.percent == quantity.percent
        and (not each.unit or not quantity.unit or each.unit == quantity.unit)
    ]  # fmt: skip


def find_mentions(text: str, options: Sequence[str]) -> set[int]:
    """Return the options whose text occurs within a longer text; the longer of two overlapping ones counts."""
    left, found = f" {normalize(text)} ", set[int]()
    places: dict[str, set[int]] = {}  # of a text: options may share one
    for place, option in enumerate(options):
        places.setdefault(normalize(option), set()).add(place)
    for words in sorted(places, key=len, reverse=True):
        if len(words) > 1 and f" {words} " in left:
            found |= places[words]
            left = left.replace(f" {words} ", " | ")
    return found


def read_lone(text: str, options: Sequence[str]) -> int | str | None:
    """Read a text that is a letter, an option's text or its number and nothing else; None for any other text."""
    letter, number = LONE_LETTER.match(text), LONE_NUMBER.match(text)
    option = index_of(letter[1], options) if letter else None
    if option is not None:
        return option
    same = find_text(text, options)
    if number and 1 <= int(number[2]) <= len(options) and (number[1] or not any(map(read_quantity, options))):
        same = sorted({*same, int(number[2]) - 1})
    if len(same) > 1:
        return f"'{shorten(text)}' may be {' or '.join(f'option {letter_of(each)}' for each in same)}"
    if same:
        return same[0]
    return f"there is no option {letter[1].upper()}" if letter else None


def read_leading(text: str, options: Sequence[str]) -> int | str | None:
    """Read a letter or number that begins a text and is followed by the option's own text."""
    letter, number = LEADING_LETTER.match(text), LEADING_NUMBER.match(text)
    if letter:
        option, rest = index_of(letter[1] or letter[2] or letter[3], options), letter[4]
    elif number:
        option, rest = int(number[1]) - 1, number[2]
    else:
        return None
    same = find_text(first_sentence(rest), options) if rest.strip() else []
    if option is None or not same:
        return None
    return option if option in same else f"'{shorten(text)}' names one option and has the text of another"


def find_letters(text: str, options: Sequence[str]) -> list[tuple[int, bool, str]]:
    """Return the options whose letters stand in a text, whether each surely means the option, and what follows it."""
    marks = [(mark[1] or mark[2], True, mark.end()) for mark in MARKED.finditer(text)]
    marks += [(mark[1], True, mark.end()) for mark in OPENING.finditer(text)]
    for mark in BARE.finditer(text):
        before = text[max(0, mark.start() - 20) : mark.start()]
        marks.append((mark[1], bool(NAMES_BEFORE.search(before)), mark.end()))
    placed = [(index_of(letter, options), sure, text[end : end + LONGEST_TEXT]) for letter, sure, end in marks]
    return [(option, sure, behind) for option, sure, behind in placed if option is not None]


def begins_with_another(text: str, own: int, options: Sequence[str]) -> bool:
    """Tell whether a text begins with the text of another option than its own; the longest one that fits counts."""
    words = f"{normalize(text)} "
    fitting = [place for place, option in enumerate(options) if words.startswith(f"{normalize(option)} ")]
    return bool(fitting) and max(fitting, key=lambda place: (len(normalize(options[place])), place == own)) != own


def read_marked(text: str, options: Sequence[str]) -> int | str | None:
    """Read the one letter that a longer text marks as its option."""
    letters = find_letters(text, options)
    named = sorted({option for option, _, _ in letters})
    if not any(sure for _, sure, _ in letters):
        return None
    if len(named) > 1:
        return f"several options in '{shorten(text)}': {', '.join(map(letter_of, named))}"
    if any(begins_with_another(behind, named[0], options) for _, _, behind in letters):
        return f"'{shorten(text)}' names one option and has the text of another"
    return f"'{shorten(text)}' says what the option is not" if NEGATED.search(text) else named[0]


def read_mentioned(text: str, options: Sequence[str]) -> int | str | None:
    """Read the one option whose text a longer text contains."""
    found = find_mentions(text, options)
    named = sorted(found | {option for option, _, _ in find_letters(text, options)})
    if found and len(named) > 1:
        return f"several options in '{shorten(text)}': {', '.join(map(letter_of, named))}"
    if found and NEGATED.search(text) and not NEGATED.search(options[named[0]]):
        return f"'{shorten(text)}' says what the option is not"
    return named[0] if found else None


def read_option(text: str, options: Sequence[str]) -> int | str:
    """Return which option a tidy text names, counted from 0, or the reason why it names none or several."""
    for each in dict.fromkeys((answer_part(text), stated(text))):
        plain = plain_latex(each)
        bare = CONNECTIVE.sub("", LEAD_IN.sub("", plain))
        for read, wording in (
            (read_lone, plain), (read_lone, bare), (read_leading, plain), (read_marked, plain), (read_mentioned, plain),
        ):  # fmt: skip
            found = read(wording, options)
            if found is not None:
                return found
    return f"no option in '{shorten(text)}'"


def name_option(option: int, options: Sequence[str]) -> str:
    """Return "option B", with its text where it is known."""
    letter = f"option {letter_of(option)}"
    return f"{letter} '{shorten(options[option])}'" if option < len(options) else letter


def compare_options(given: str, truth: str, options: Sequence[str]) -> AnswerVerdict | None:
    """Compare tidy texts by the options that they name; None where the correct answer names none."""
    meant, said = read_option(truth, options), read_option(given, options)
    if isinstance(meant, str):
        return None
    if isinstance(said, str):
        return AnswerVerdict(UNPARSED, said)
    if said == meant:
        return AnswerVerdict(CORRECT, f"'{shorten(given)}' is {name_option(said, options)}")
    return AnswerVerdict(WRONG, f"{name_option(said, options)} is not {name_option(meant, options)}")
