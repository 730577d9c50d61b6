"""What clients ask for: chat-completions requests read and checked, nothing guessed and no address fetched."""

import hashlib
import io
import json
import uuid
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from insightv_core.agents import Agent
from insightv_core.errors import UserError
from insightv_core.generate import PROGRESSIVE
from insightv_core.images import MAX_MEGABYTES, encode_image
from insightv_core.importing.choices import RowError
from insightv_core.importing.rows import decode_picture, find_text
from insightv_core.records import Question, Sampling, identify

if TYPE_CHECKING:
    from PIL import Image

BOTH, REASONING = "insightv", "reasoning"
LARGEST_SEED = 1 << 63
MOST_STOPS = 16
SMALLEST_TOP_P = 1e-4  # keeps the likeliest token, which 0 would not


class Refused(Exception):
    """Say why a request is not answered, with what OpenAI's errors hold: HTTP status, parameter and code."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None):
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    def body(self) -> dict:
        """Return the error as OpenAI writes it."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


@dataclass(frozen=True)
class Served:
    """Who answers: the two agents, how the reasoning agent writes, and the base model without an agent's adapter."""

    reasoning: Agent
    summary: Agent
    base: Agent
    style: str = PROGRESSIVE

    @property
    def names(self) -> tuple[str, str, str]:
        """The models that clients can ask for: both agents, the reasoning agent alone, and the base model."""
        name = self.base.vlm.version.name
        return BOTH, REASONING, PurePath(name).name if name.startswith(("/", ".", "~")) else name


@dataclass(frozen=True)
class Ask:
    """A request as it was read. The question's id decides the draws: it follows from what is asked where a seed is."""

    model: str
    question: Question
    picture: "Image.Image"
    sampling: Sampling
    answer_tokens: int | None = None
    stops: tuple[str, ...] = ()
    stream: bool = False
    with_usage: bool = False


def read_ask(body: bytes, served: Served, max_megabytes: float = MAX_MEGABYTES) -> Ask:
    """Return the request in a body; raise `Refused` for one that cannot be answered."""
    values = read_object(body)
    model = values.get("model")
    if model not in served.names:
        raise Refused(
            f"there is no model {model!r}: ask for one of {', '.join(served.names)}",
            status=404, param="model", code="model_not_found",
        )  # fmt: skip
    refuse_unsupported(values)
    text, picture = read_messages(values.get("messages"), max_megabytes)
    seed = read_number(values, "seed", 0, LARGEST_SEED, whole=True)
    key = uuid.uuid4().hex if seed is None else identify("asked", hashlib.sha256(picture).hexdigest(), text)
    top_p = read_number(values, "top_p", 0, 1)
    options = values.get("stream_options")
    return Ask(
        model=str(model),
        question=Question(key, text, "", "", "served"),
        picture=open_png(picture),
        sampling=Sampling(
            (read_number(values, "temperature", 0, 2) or 0.0,),
            top_p=Sampling().top_p if top_p is None else max(top_p, SMALLEST_TOP_P),
            seed=int(seed or 0),
        ),
        answer_tokens=read_limit(values, served, str(model)),
        stops=read_stops(values.get("stop")),
        stream=values.get("stream") is True,
        with_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def read_object(body: bytes) -> dict:
    """Return the JSON object of a body."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the body is no JSON ({error}): send an object with model and messages") from error
    if not isinstance(values, dict):
        raise Refused(f"the body is a JSON {type(values).__name__}: send an object with model and messages")
    return values


def refuse_unsupported(values: dict) -> None:
    """Raise `Refused` for what would change the answer and cannot be done."""
    form = values.get("response_format")
    asked = {
        "n": values.get("n") not in (None, 1),
        "tools": bool(values.get("tools")),
        "logprobs": bool(values.get("logprobs")),
        "response_format": isinstance(form, dict) and form.get("type") not in (None, "text"),
    }
    for name in filter(asked.get, asked):
        raise Refused(f"{name} is not supported: leave it out", param=name, code="unsupported_parameter")


def read_number(values: dict, name: str, low: float, high: float, *, whole: bool = False) -> float | None:
    """Return a number of a request, None where it is left out."""
    value = values.get(name)
    if value is None:
        return None
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        kind = "whole number" if whole else "number"
        raise Refused(f"{name} is {str(value)[:40]!r}: give a {kind} from {low} to {high}", param=name)
    return value


def read_limit(values: dict, served: Served, model: str) -> int | None:
    """Return how many tokens the answer may have; `max_completion_tokens` is the newer name of `max_tokens`."""
    name = "max_completion_tokens" if values.get("max_completion_tokens") is not None else "max_tokens"
    limit = read_number(values, name, 1, 1 << 31, whole=True)
    agent = {BOTH: served.summary, REASONING: served.reasoning}.get(model, served.base)
    context = getattr(agent.vlm, "context_length", None)
    if limit is not None and context is not None and limit > context:
        raise Refused(
            f"{name} is {limit}, but prompt and answer together have {context} tokens at most: ask for fewer",
            param=name, code="context_length_exceeded",
        )  # fmt: skip
    return None if limit is None else int(limit)


def read_stops(value: object) -> tuple[str, ...]:
    """Return the texts before which an answer ends."""
    stops = [value] if isinstance(value, str) else value or []
    if not isinstance(stops, list) or len(stops) > MOST_STOPS or not all(isinstance(each, str) for each in stops):
        raise Refused(f"stop is no text and no list of at most {MOST_STOPS} texts", param="stop")
    return tuple(each for each in stops if each)


def read_messages(messages: object, max_megabytes: float) -> tuple[str, bytes]:
    """Return the text of the last user message, and the newest picture as a PNG file."""
    asked = find_user_parts(messages)
    text = "\n".join(str(part["text"]) for part in asked[-1] if part["type"] == "text")
    try:
        question = find_text(text)
    except RowError as error:
        raise Refused(f"{error}: write it as text into the last user message", param="messages") from error
    for parts in reversed(asked):
        pictures = [part["image_url"] for part in parts if part["type"] == "image_url"]
        if len(pictures) > 1:
            raise Refused(f"a message has {len(pictures)} pictures; only one can be asked about", param="messages")
        if pictures:
            return question, read_picture(pictures[0], max_megabytes)
    raise Refused(
        "there is no picture: send one as a part of the user message, "
        '{"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}',
        param="messages",
    )


def find_user_parts(messages: object) -> list[list[dict]]:
    """Return the parts of each user message; a plain text counts as one part."""
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise Refused("messages is no list of objects with role and content", param="messages")
    contents = [message.get("content") for message in messages if message.get("role") == "user"]
    if not contents:
        raise Refused("there is no message with the role user", param="messages")
    return [[check_part(part) for part in as_parts(content)] for content in contents]


def as_parts(content: object) -> list:
    """Return the content of a message as a list of parts."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise Refused("the content of a user message is neither text nor a list of parts", param="messages")
    return content


def check_part(part: object) -> dict:
    """Return a part that is text or a picture; raise `Refused` for any other."""
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or kind not in ("text", "image_url"):
        raise Refused(
            f"a part of the type {str(kind)[:40]!r} cannot be read: send text and image_url", param="messages"
        )
    if kind == "text" and not isinstance(part.get("text"), str):
        raise Refused("a part of the type text has no text", param="messages")
    return {"image_url": None} | part


def read_picture(value: object, max_megabytes: float) -> bytes:
    """Return the picture of a data URL as a PNG file; no address is ever fetched."""
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str) or not url.startswith("data:"):
        raise Refused(
            f"the picture {str(url)[:60]!r} is no data URL, and addresses are not fetched: "
            "send data:image/png;base64,...",
            param="messages",
        )
    try:
        return encode_image(decode_picture(url), max_megabytes=max_megabytes).png
    except (RowError, UserError) as error:
        raise Refused(str(error), param="messages", code="invalid_image") from error


def open_png(content: bytes) -> "Image.Image":
    """Return a PNG file that we wrote ourselves as a picture, not unpacked before its turn."""
    from PIL import Image

    return Image.open(io.BytesIO(content))
