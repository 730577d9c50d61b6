"""What a question family is: a way to draw a scene, ask about it, solve it, and reason about it."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from insightv_core.nano.questions.writer import Writer


@dataclass(frozen=True)
class Family:
    """One kind of question.

    `ask` returns the words that fill the phrasing, or None when the scene does not suit the question; `solve`
    returns the true answer straight from the scene; `write` reasons its way to an answer with a `Writer`, which for a
    true scene and no slips is the same answer. `held_out` phrasings are used in evaluation only.
    """

    name: str
    answer_type: str  # "integer" | "word" | "yes/no" | "option"
    sample: Callable[[Random, int], Any]
    pictures: tuple[type, ...]  # the kinds of scene it can be asked about; `sample` draws these
    ask: Callable[[Any, Random], dict | None]
    solve: Callable[[Any, dict], str]
    write: Callable[[Any, dict, Writer], str]
    phrasings: tuple[str, ...]
    held_out: tuple[str, ...]
    perception: bool = False
