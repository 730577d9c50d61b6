"""What clients are sent: chat completions whole and in chunks, and the list of models."""

import json
from collections.abc import Iterator, Sequence

from insightv_core.serve.answering import ANSWER, THOUGHT, Done, Said
from insightv_core.serve.asks import Ask, Refused, Served


def write_completion(ask: Ask, pieces: Sequence[Said], done: Done, name: str, created: int) -> dict:
    """Return a whole chat completion."""
    message = {"role": "assistant"} | {
        where: "".join(piece.text for piece in pieces if piece.where == where) for where in (ANSWER, THOUGHT)
    }
    return {
        "id": name, "object": "chat.completion", "created": created, "model": ask.model,
        "choices": [{"index": 0, "message": message, "finish_reason": done.finish, "logprobs": None}],
        "usage": write_usage(done), "insightv": done.details,
    }  # fmt: skip


def write_usage(done: Done) -> dict:
    """Return the tokens of an answer; those of a batch's prompts are shared equally."""
    total = done.reasoning_tokens + done.answer_tokens
    return {
        "prompt_tokens": done.prompt_tokens, "completion_tokens": total, "total_tokens": done.prompt_tokens + total,
        "completion_tokens_details": {"reasoning_tokens": done.reasoning_tokens},
    }  # fmt: skip


def write_chunks(ask: Ask, piece: Said | Done | Refused, name: str, created: int) -> Iterator[str]:
    """Yield what a streaming client is sent for a piece, as server-sent events."""
    head = {"id": name, "object": "chat.completion.chunk", "created": created, "model": ask.model}
    if isinstance(piece, Refused):
        yield write_event(piece.body())
        return
    delta = {piece.where: piece.text} if isinstance(piece, Said) else {}
    finish = piece.finish if isinstance(piece, Done) else None
    more = {"insightv": piece.details} if isinstance(piece, Done) else {}
    yield write_event(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} | more)
    if isinstance(piece, Done):
        if ask.with_usage:
            yield write_event(head | {"choices": [], "usage": write_usage(piece)})
        yield "data: [DONE]\n\n"


def write_event(data: dict) -> str:
    """Return an object as a server-sent event."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def list_models(served: Served, created: int) -> list[dict]:
    """Return the entries of the model list."""
    return [{"id": name, "object": "model", "created": created, "owned_by": "insightv"} for name in served.names]
