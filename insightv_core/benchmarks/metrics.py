"""The public benchmarks' own metrics: what an answer scores from 0 to 1, None where no answer can be read from it.

Each follows its published definition. Where a benchmark's own script lets a language model find the answer in a reply,
or draws an option at random where it finds none, ours reads it by rules and never guesses.
"""

import math
import re
import string
from collections.abc import Callable, Sequence

from insightv_core.answers.clean import tidy
from insightv_core.answers.numbers import state_quantity
from insightv_core.answers.options import LETTERS, read_option
from insightv_core.answers.words import read_polarity
from insightv_core.answers.words_to_digits import SMALL
from insightv_core.importing.choices import parse_literal
from insightv_core.records import Question

Metric = Callable[[Question, str], float | None]

RELATIVE_ERROR = 0.05
FARTHEST = 0.5  # of the normalised edit distance
PEOPLE = 3  # of those who were asked, so many make an answer wholly right
ANSWERS, DIGITS, SOURCE = "answers", "precision", "dataset"  # in a question's metadata
WITHOUT_SPACES = "HME100k"
NUMBER_WORDS = {word: str(number) for number, word in enumerate(SMALL[:11])} | {"none": "0"}
ARTICLES = {"a", "an", "the"}
PUNCTUATION = set(string.punctuation) - set("'.:$%&#*~^|")
LOOSE_PERIOD = re.compile(r"\.(?!\d)")


def relaxed_accuracy(question: Question, answer: str) -> float:
    """Score as ChartQA does (arXiv 2203.10244, section 5.1): numbers within 5% are right, words must be the same."""
    said, meant = read_float(answer), read_float(question.answer)
    if said is not None and meant is not None:
        return float(abs(said - meant) <= RELATIVE_ERROR * abs(meant))
    return float(answer.strip().lower() == question.answer.strip().lower())


def read_float(text: str) -> float | None:
    """Return the number that a text is, a percentage as its value; None for any other text."""
    text = text.strip()
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def anls(question: Question, answer: str) -> float:
    """Score as DocVQA does (average normalised Levenshtein similarity, arXiv 1907.00490): the best of its answers.

    An answer scores 1 less its edit distance over the longer length, and 0 where that distance is half or more.
    """
    said = " ".join(answer.lower().split())
    return max((similarity(said, " ".join(each.lower().split())) for each in list_answers(question)), default=0.0)


def similarity(one: str, other: str) -> float:
    """Return 1 less the normalised edit distance of two texts; 0 where that is half or more."""
    distance = edit_distance(one, other) / max(len(one), len(other), 1)
    return 1 - distance if distance < FARTHEST else 0.0


def edit_distance(one: str, other: str) -> int:
    """Return how many letters must be put in, taken out or exchanged to make one text of the other.

    >>> edit_distance("kitten", "sitting")
    3
    """
    before = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        current = [row]
        for place, wanted in enumerate(other, 1):
            current.append(min(before[place] + 1, current[-1] + 1, before[place - 1] + (letter != wanted)))
        before = current
    return before[-1]


def vqa_accuracy(question: Question, answer: str) -> float:
    """Score as VQA and TextVQA do: a third for each other person who gave that answer, at most 1.

    It is the mean over leaving out each of the people in turn, after the evaluation's own clean-up of words.
    """
    given = [normalize_vqa(each) for each in list_answers(question)]
    same = given.count(normalize_vqa(answer))
    # Leaving out one of those who agree takes one agreement away.
    scores = [min(1.0, same / PEOPLE)] * (len(given) - same) + [min(1.0, (same - 1) / PEOPLE)] * same
    return sum(scores) / len(scores) if scores else 0.0


def normalize_vqa(text: str) -> str:
    """Return a text as the evaluation of VQA compares it: no case, articles, punctuation; number words as digits.

    Apostrophes are dropped, which makes "dont" and "don't" alike as the evaluation's list of contractions does.

    >>> normalize_vqa("The Two-way, street.")
    '2 way street'
    """
    text = " ".join(text.lower().replace(",", "").replace("?", "").split())
    marks = [(mark, f"{mark} " in text or f" {mark}" in text) for mark in PUNCTUATION]
    for mark, beside_space in marks:
        text = text.replace(mark, "" if beside_space else " ")
    words = LOOSE_PERIOD.sub("", text.replace("'", "")).split()
    return " ".join(NUMBER_WORDS.get(word, word) for word in words if word not in ARTICLES)


def containment(question: Question, answer: str) -> float:
    """Score as OCRBench does (arXiv 2305.07895): right where one of its answers stands in the reply.

    Case does not matter; in handwritten formulas (HME100k) it does, and spaces do not.
    """
    formulas = question.metadata.get(SOURCE) == WITHOUT_SPACES

    def clean(text: str) -> str:
        text = text.strip().replace("\n", " ")
        return text.replace(" ", "") if formulas else text.lower()

    return float(any(clean(each) in clean(answer) for each in list_answers(question)))


def option_letter(question: Question, answer: str) -> float | None:
    """Score 1 for the right option, however it is named: by letter, text or number; None where it names none."""
    said = read_option(tidy(answer), question.options)
    return None if isinstance(said, str) else float(LETTERS[said] == question.answer)


def yes_or_no(question: Question, answer: str) -> float | None:
    """Score 1 for the right one of yes and no; None for a reply that begins with neither."""
    said = read_polarity(tidy(answer))
    return None if said is None else float(said == (question.answer == "yes"))


def mathvista_accuracy(question: Question, answer: str) -> float | None:
    """Score as MathVista does (arXiv 2310.02255): option, whole number, rounded number or list must be the same."""
    if question.options:
        return option_letter(question, answer)
    if question.answer_type == "list":
        said = parse_literal(answer.strip())
        return float(said == parse_literal(question.answer)) if isinstance(said, list) else None
    found = state_quantity(tidy(answer))
    if isinstance(found, str):
        return None
    if question.answer_type == "integer":
        return float(int(found.value) == int(float(question.answer)))
    digits = int(question.metadata.get(DIGITS, 2))
    return float(round(float(found.value), digits) == round(float(question.answer), digits))


def mmmu_accuracy(question: Question, answer: str) -> float | None:
    """Score as MMMU does (arXiv 2311.16502): the right option; where there are none, a number that is the same to two
    decimals, or a reply that contains one of the right wordings."""
    if question.options:
        return option_letter(question, answer)
    said = answer.strip().lower()
    for truth in list_answers(question):
        meant = read_float(truth.replace(",", ""))
        if meant is None:
            if truth.strip().lower() in said:
                return 1.0
            continue
        found = state_quantity(tidy(answer))
        if not isinstance(found, str) and round(float(found.value), 2) == round(meant, 2):
            return 1.0
    return 0.0


def list_answers(question: Question) -> Sequence[str]:
    """Return all right answers of a question."""
    return question.metadata.get(ANSWERS) or [question.answer]
