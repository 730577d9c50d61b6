"""Conversations with models whose cache cannot be kept in rows: one at a time, each reply from a fresh prompt.

Sliding windows and recurrent layers forget what a shared or rolled-back cache would need. What comes out is the same
as in `engine`; pictures and prompts are computed again for every reply.
"""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from insightv_core.records import Sampling
from insightv_core.vlm import ERROR, LENGTH, STOP, Conversation, Event, Reply, Talk
from insightv_core.vlm.draws import draw_tokens, penalize_repetition, seed_of, uniforms

if TYPE_CHECKING:
    import torch

    from insightv_core.vlm.local import LocalVLM


def hold_talks(
    vlm: "LocalVLM",
    talks: Iterator[Talk],
    sampling: Sampling,
    listen: Callable[[Event], None] | None,
    stop: Callable[[], bool],
) -> Iterator[Conversation]:
    """Yield the conversations of all talks, one after the other."""
    for talk in talks:
        for sample in talk.samples:
            replies = hold(vlm, talk, sample, sampling, listen, stop)
            if stop():
                return
            yield Conversation(talk.key, sample, tuple(replies))


def hold(vlm: "LocalVLM", talk: Talk, sample: int, sampling: Sampling, listen, stop) -> list[Reply]:
    """Return the replies of one sample."""
    try:
        ids, pictures = vlm.read_prompt(talk)
    except ValueError as error:
        return [Reply(str(error), 0, None, ERROR, 0.0)]
    replies: list[Reply] = []
    draws = 0
    while not stop():
        if len(ids) + 2 > vlm.context_length:
            return [*replies, Reply("the conversation fills the model's context", 0, None, ERROR, 0.0)]
        schema = talk.schema(replies) if talk.schema is not None else None
        matcher = vlm.grammar().match(schema) if schema is not None else None
        reply, tokens = speak(vlm, talk, sample, sampling, ids, pictures, draws, matcher, stop)
        replies.append(reply)
        draws += len(tokens)
        if listen is not None:
            listen(Event(talk.key, sample, len(replies) - 1, reply.text, True))
        turn = talk.next_turn(replies)
        if turn is None:
            break
        ids = [*ids, *tokens, *vlm.turn_tokens(turn, ended=reply.finish == STOP)]
    return replies


def speak(
    vlm: "LocalVLM", talk: Talk, sample: int, sampling: Sampling, ids: list[int], pictures: dict, draws: int, matcher,
    stop: Callable[[], bool],
) -> tuple[Reply, list[int]]:  # fmt: skip
    """Return one reply and its tokens, from a fresh prompt."""
    import numpy as np
    import torch
    from transformers import DynamicCache

    started = time.perf_counter()
    seed = np.array([seed_of(sampling.seed, talk.key, sample)], dtype=np.uint64)
    temperature = torch.tensor([sampling.temperatures[sample % len(sampling.temperatures)]], device=vlm.device)
    seen = vlm.count_seen(ids)
    tokens: list[int] = []
    logprob = 0.0
    room = min(sampling.max_tokens, vlm.context_length - len(ids) - 1)
    with torch.inference_mode():
        cache = DynamicCache(config=vlm.text_config)
        logits = pass_prompt(vlm, ids, pictures, cache)
        while len(tokens) < room and not stop():
            allowed = penalize_repetition(logits, seen, sampling.repetition_penalty)
            if matcher is not None:
                allowed = vlm.grammar().mask(allowed, [matcher])
            draw = torch.from_numpy(uniforms(seed, np.array([draws + len(tokens)]))).to(vlm.device)
            token = int(draw_tokens(allowed, temperature, draw, sampling)[0])
            logprob += float(logits[0, token] - logits[0].logsumexp(-1))
            tokens.append(token)
            seen[token] = True
            vlm.count(decoded_tokens=1)
            if token in vlm.ends:
                break
            if matcher is not None:
                matcher.consume_token(token)
            fed = torch.tensor([[token]], device=vlm.device)
            logits = vlm.model(input_ids=fed, past_key_values=cache, use_cache=True).logits[:, -1].float()
    over = bool(tokens) and tokens[-1] in vlm.ends
    text = vlm.decode_text(tokens[:-1] if over else tokens)
    return Reply(text, len(tokens), logprob, STOP if over else LENGTH, time.perf_counter() - started), tokens


def pass_prompt(vlm: "LocalVLM", ids: list[int], pictures: dict, cache) -> "torch.Tensor":
    """Pass the whole conversation so far through the model; return the logits after it."""
    import torch

    given = {}
    for name, value in pictures.items():
        if name.endswith("token_type_ids"):  # one for each token; what came after the opening is text
            value = torch.nn.functional.pad(value, (0, len(ids) - value.shape[1]))
        value = value.to(vlm.device)
        given[name] = value.to(vlm.model.dtype) if value.is_floating_point() else value
    vlm.count(prefill_tokens=len(ids), images=len(pictures.get("pixel_values", ())))
    fed = torch.tensor([ids], device=vlm.device)
    output = vlm.model(input_ids=fed, **given, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return output.logits[:, -1].float()
