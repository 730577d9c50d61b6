"""Vision-language models behind one small protocol: conversations in, finished conversations out.

A `Talk` is how a conversation opens, and a pure function that says what the user's side says next; a backend runs
many talks at once, as it does best, and yields each as it ends. Every stage and the app speak to models in this way
only: generating is a talk of many turns, judging a talk of one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from insightv_core.records import ModelVersion, Sampling

if TYPE_CHECKING:
    from PIL import Image

STOP, LENGTH, ERROR = "stop", "length", "error"


@dataclass(frozen=True)
class Reply:
    """What the model said in one turn, byte for byte.

    `finish` is "stop", "length" (cut off at `max_tokens` or at the model's context), or "error", where `text` says
    what went wrong. `logprob` is the sum of the tokens' log-probabilities under the unscaled model, or None.
    """

    text: str
    tokens: int
    logprob: float | None
    finish: str
    seconds: float


NextTurn = Callable[[Sequence[Reply]], str | None]


def answer_once(replies: Sequence[Reply]) -> str | None:
    """End a conversation after the first reply."""
    return None


@dataclass(frozen=True)
class Talk:
    """A conversation to hold: its key, opening messages, pictures, and the samples wanted.

    `images` holds a file, or a picture in memory, for each placeholder in the messages. `next_turn` gets the replies
    so far and returns the next user turn, or None when the conversation is over; it must depend on them alone. The
    draws of a sample depend on `key`, its number and the sampling's seed alone. `schema` is a JSON schema that replies
    should keep to: a function of the replies so far, as the answer has another form than the steps.
    """

    key: str
    messages: Sequence[dict]
    images: "tuple[Path | Image.Image, ...]" = ()
    samples: tuple[int, ...] = (0,)
    next_turn: NextTurn = answer_once
    schema: Callable[[Sequence[Reply]], dict | None] | None = None


def load_picture(source: "Path | Image.Image") -> "Image.Image":
    """Return a talk's picture as RGB; raise ValueError when its file cannot be read."""
    from PIL import Image

    if isinstance(source, Image.Image):
        return source.convert("RGB")
    try:
        with Image.open(source) as picture:
            return picture.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"the picture {source.name} cannot be read: {error}") from error


@dataclass(frozen=True)
class Conversation:
    """One finished sample of a talk."""

    key: str
    sample: int
    replies: tuple[Reply, ...]


@dataclass(frozen=True)
class Event:
    """What is said while a conversation goes on: the text of the current reply so far; `done` when it is whole."""

    key: str
    sample: int
    turn: int
    text: str
    done: bool


@dataclass(frozen=True)
class Usage:
    """What a backend has computed since it was made, for progress and for measuring.

    `prefill_tokens` are prompt tokens that went through the model, `decoded_tokens` the model's own, `images` the
    pictures that went through the vision tower.
    """

    prefill_tokens: int = 0
    cached_tokens: int = 0
    decoded_tokens: int = 0
    images: int = 0
    requests: int = 0
    retries: int = 0


class VLM(Protocol):
    """A vision-language model that holds conversations."""

    version: ModelVersion

    def converse(
        self,
        talks: Iterable[Talk],
        sampling: Sampling,
        *,
        adapter: str | None = None,
        listen: Callable[[Event], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Iterator[Conversation]:
        """Hold the talks and yield each sample's conversation as it ends, in any order.

        `talks` is read lazily, a bounded number ahead. `adapter` names a folder with a LoRA adapter to use for all of
        them. `listen` hears of text as it comes. Once `stop` says so, or the iterator is closed, the model stops and
        unfinished conversations are dropped. Raises `UserError` when the model cannot be reached or used at all; what
        was yielded before stays good.
        """
        ...

    def usage(self) -> Usage:
        """Return what has been computed so far."""
        ...
