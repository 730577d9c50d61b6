"""Talks as bodies of OpenAI-compatible chat-completions requests, and answers as replies; nothing is sent from here."""

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from insightv_core.records import Sampling, identify
from insightv_core.vlm import ERROR, LENGTH, STOP, Reply, Talk, load_picture

if TYPE_CHECKING:
    from PIL import Image

OPTIONAL = ("n", "response_format", "logprobs", "top_k", "repetition_penalty", "seed", "stream_options")
PNG = b"\x89PNG\r\n\x1a\n"
MOST_TOKENS = 1 << 31
SHOWN = 300  # characters of a server's words that are passed on


@dataclass(frozen=True)
class Answer:
    """The replies of one request, and the tokens that its server counted."""

    replies: tuple[Reply, ...]
    prompt_tokens: int
    cached_tokens: int
    decoded_tokens: int


# -- requests ----------------------------------------------------------------------------------------------------------


def write_messages(talk: Talk) -> list[dict]:
    """Return a talk's opening with its pictures as data URLs, the same bytes for the same talk.

    Raises ValueError when a picture cannot be read, or there are not as many pictures as placeholders.
    """
    pictures = iter(talk.images)
    messages = [
        {"role": message["role"], "content": write_content(message["content"], pictures)} for message in talk.messages
    ]
    if next(pictures, None) is not None:
        raise ValueError(f"{talk.key}: there are more pictures than placeholders in the messages")
    return messages


def write_content(parts: Sequence[dict], pictures: "Iterator[Path | Image.Image]") -> str | list[dict]:
    """Return the content of one message, taking a picture for each placeholder.

    A single text becomes a plain string, which every server and chat template takes.
    """
    if len(parts) == 1 and parts[0]["type"] == "text":
        return parts[0]["text"]
    written = []
    for part in parts:
        if part["type"] != "image":
            written.append(part)
            continue
        picture = next(pictures, None)
        if picture is None:
            raise ValueError("there are fewer pictures than placeholders in the messages")
        written.append({"type": "image_url", "image_url": {"url": write_picture(picture)}})
    return written


def write_picture(source: "Path | Image.Image") -> str:
    """Return a picture as a data URL: the bytes of a PNG file as they are, any other picture as a PNG of its pixels."""
    from PIL import Image

    try:
        content = source.read_bytes() if isinstance(source, Path) else b""
        if not content.startswith(PNG):
            buffer = io.BytesIO()
            load_picture(source).save(buffer, "PNG")
            content = buffer.getvalue()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        name = source.name if isinstance(source, Path) else "in memory"
        raise ValueError(f"the picture {name} cannot be read: {error}") from error
    return "data:image/png;base64," + base64.b64encode(content).decode()


def write_body(
    model: str, messages: Sequence[dict], sampling: Sampling, *, key: str, turn: int, samples: Sequence[int]
) -> dict:
    """Return the body of a request for the replies of these samples, all of one temperature, in one turn."""
    temperatures = sampling.temperatures
    body = {
        "model": model,
        "messages": messages,
        "temperature": temperatures[samples[0] % len(temperatures)],
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": request_seed(sampling, key, turn, samples[0]),
    }
    if len(samples) > 1:
        body["n"] = len(samples)
    if sampling.top_k > 0:
        body["top_k"] = sampling.top_k
    if sampling.repetition_penalty != 1:
        body["repetition_penalty"] = sampling.repetition_penalty
    return body


def write_schema(schema: dict) -> dict:
    """Return the `response_format` that asks for replies of this JSON schema."""
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema, "strict": True}}


def request_seed(sampling: Sampling, key: str, turn: int, sample: int) -> int:
    """Return the seed of one sample's turn, below 2**31.

    Samples of one temperature have seeds in a row: vLLM gives seed, seed + 1 ... to the replies of one request, so a
    sample has the same seed whether it is asked for alone or with others.
    """
    kinds = len(sampling.temperatures)
    return int(identify(sampling.seed, key, turn, sample % kinds)[:7], 16) + sample // kinds


def group_samples(samples: Iterable[int], sampling: Sampling) -> list[list[int]]:
    """Return the samples in groups that one request can ask for: of one temperature, with seeds in a row.

    >>> group_samples(range(6), Sampling(temperatures=(0.2, 0.8)))
    [[0, 2, 4], [1, 3, 5]]
    """
    kinds = len(sampling.temperatures)
    groups: list[list[int]] = []
    for sample in sorted(samples, key=lambda sample: (sample % kinds, sample)):
        if groups and sample == groups[-1][-1] + kinds:
            groups[-1].append(sample)
        else:
            groups.append([sample])
    return groups


# -- answers -----------------------------------------------------------------------------------------------------------


def read_answer(data: object, seconds: float) -> Answer:
    """Return the replies of an answer; one without text is an error reply. Raises ValueError when none can be read."""
    if not isinstance(data, dict):
        raise ValueError("the answer is no JSON object")
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError(f"the answer holds no choices: {find_words(data)}")
    choices = [choice if isinstance(choice, dict) else {} for choice in choices]
    choices.sort(key=lambda choice: read_count(choice.get("index")))
    usage = data.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    decoded = read_count(usage.get("completion_tokens"))
    counts = count_tokens(choices, decoded)
    return Answer(
        tuple(read_choice(choice, count, seconds) for choice, count in zip(choices, counts, strict=True)),
        read_count(usage.get("prompt_tokens")),
        read_count(details.get("cached_tokens")) if isinstance(details, dict) else 0,
        decoded or sum(counts),
    )


def read_choice(choice: dict, tokens: int, seconds: float) -> Reply:
    """Return one choice as a reply: an error reply where it holds no text or says that it was broken off."""
    text, reason = read_text(choice), choice.get("finish_reason")
    trouble = None
    if not text.strip():
        trouble = f"the reply holds no text; the server says that it ended by {reason!r}"
    elif reason in ("content_filter", "error", "abort"):
        trouble = f"the server broke the reply off: {reason}"
    elif not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        trouble = "the reply holds halves of characters, which cannot be written down"
    if trouble:
        return Reply(trouble, tokens, None, ERROR, seconds)
    values = read_logprobs(choice)
    return Reply(text, tokens, float(sum(values)) if values else None, LENGTH if reason == "length" else STOP, seconds)


def read_text(choice: dict) -> str:
    """Return the text of a choice, whether it is a string or a list of parts; "" where there is none."""
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def read_logprobs(choice: dict) -> list[float]:
    """Return the log-probability of each token of a choice, or nothing where it does not hold them all."""
    logprobs = choice.get("logprobs")
    entries = logprobs.get("content") if isinstance(logprobs, dict) else None
    entries = entries if isinstance(entries, list) else []
    values = [entry.get("logprob") if isinstance(entry, dict) else None for entry in entries]
    numbers = [value for value in values if isinstance(value, int | float) and abs(value) < 1e9]
    return numbers if len(numbers) == len(values) else []


def read_count(value: object) -> int:
    """Return a number of tokens as servers report it; 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < MOST_TOKENS else 0


def count_tokens(choices: Sequence[dict], total: int) -> list[int]:
    """Return the tokens of each choice.

    Servers count the choices of a request together; without log-probabilities to count, the sum is shared out by the
    length of the texts.
    """
    counted = [len(read_logprobs(choice)) for choice in choices]
    if all(counted):
        return counted
    lengths = [len(read_text(choice).encode(errors="replace")) for choice in choices]
    whole = sum(lengths) or 1
    ends = [0, *(round(total * length / whole) for length in accumulate(lengths))]
    return [end - start for start, end in pairwise(ends)]


def find_words(data: object) -> str:
    """Return what a server's error says, on one line of at most 300 characters."""
    words = data
    for name in ("error", "detail", "message"):
        if isinstance(words, dict) and words.get(name):
            words = words[name]
    return " ".join(str(words).split())[:SHOWN]


class StreamedAnswer:
    """An answer that comes in chunks, put together in the form of one that comes whole."""

    def __init__(self) -> None:
        self.texts: dict[int, list[str]] = {}
        self.logprobs: dict[int, list] = {}
        self.finishes: dict[int, str] = {}
        self.usage: object = None

    def add(self, chunk: object) -> set[int]:
        """Take in a chunk and return which choices have more text. Raises ValueError when it reports an error."""
        if not isinstance(chunk, dict) or chunk.get("error"):
            raise ValueError(f"the stream broke off: {find_words(chunk)}")
        self.usage = chunk.get("usage") or self.usage
        grown = set()
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            place = read_count(choice.get("index"))
            text = read_text({"message": choice.get("delta")})
            self.texts.setdefault(place, []).append(text)
            if text:
                grown.add(place)
            logprobs = choice.get("logprobs")
            if isinstance(logprobs, dict) and isinstance(logprobs.get("content"), list):
                self.logprobs.setdefault(place, []).extend(logprobs["content"])
            if choice.get("finish_reason"):
                self.finishes[place] = choice["finish_reason"]
        return grown

    def text(self, place: int) -> str:
        """Return the text of a choice so far."""
        return "".join(self.texts[place])

    def ended(self) -> bool:
        """Tell whether every choice has said why it ended."""
        return bool(self.texts) and set(self.texts) == set(self.finishes)

    def whole(self) -> dict:
        """Return the answer as it would have come in one piece."""
        choices = [
            {
                "index": place,
                "message": {"content": self.text(place)},
                "finish_reason": self.finishes.get(place),
                "logprobs": {"content": self.logprobs.get(place)},
            }
            for place in self.texts
        ]
        return {"choices": choices, "usage": self.usage}
