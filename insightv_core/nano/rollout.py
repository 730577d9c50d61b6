"""Many nano conversations at once: rows decode together, and the fixed turns between replies are fed as they come due.

Built for measuring nano: its fixed turns are a handful of tokens, so feeding them one by one costs nothing and no
token is ever computed twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from insightv_core import prompts
from insightv_core.nano.model import ASSISTANT, END, USER
from insightv_core.parse import Unparsed, parse_step
from insightv_core.records import SUMMARY

if TYPE_CHECKING:
    import torch
    from PIL import Image

# What a conversation does next, from its replies so far: the next user turn, or None when it is over.
NextTurn = Callable[[list[str]], str | None]
MAX_STEPS = 16


@dataclass
class Row:
    """One conversation as it is decoded: finished replies, tokens of the current one, tokens still to be fed."""

    replies: list[str] = field(default_factory=list)
    current: list[int] = field(default_factory=list)
    queue: list[int] = field(default_factory=list)
    done: bool = False


def answer_once(replies: list[str]) -> str | None:
    """End the conversation after the first reply."""
    return None


def reason_step_by_step(replies: list[str]) -> str | None:
    """Ask for steps until one says `summary`, then for the answer; an unreadable step ends the conversation."""
    if len(replies) > 1 and replies[-1].startswith('{"answer"'):
        return None
    step = parse_step(replies[-1])
    if isinstance(step, Unparsed):
        return None
    return prompts.FINAL if step.action == SUMMARY or len(replies) >= MAX_STEPS else prompts.CONTINUE


def roll_out(
    model,
    processor,
    conversations: Sequence[list[dict]],
    images: "Sequence[Image.Image | None]",
    *,
    next_turn: NextTurn = answer_once,
    samples: int = 1,
    temperature: float = 0.0,
    seed: int = 0,
    max_tokens: int = 700,
    rows_at_once: int = 64,
    progress: Callable[[int], None] = lambda done: None,
) -> list[list[list[str]]]:
    """Return, for each conversation, `samples` lists of replies; temperature 0 takes the likeliest token.

    `images` holds one picture for each conversation, or None for one without.
    """
    import torch

    order = sorted(range(len(conversations)), key=lambda k: _text_length(conversations[k]))
    chunk = max(1, rows_at_once // samples)
    results: list[list[list[str]]] = [[] for _ in conversations]
    generator = torch.Generator(device=model.device).manual_seed(seed)
    for start in range(0, len(order), chunk):
        picked = order[start : start + chunk]
        rows = _decode_chunk(
            model, processor, [conversations[k] for k in picked], [images[k] for k in picked],
            next_turn, samples, temperature, generator, max_tokens,
        )  # fmt: skip
        for place, index in enumerate(picked):
            results[index] = [row.replies for row in rows[place * samples : (place + 1) * samples]]
        progress(len(picked))
    return results


def _text_length(conversation: list[dict]) -> int:
    return sum(len(part.get("text", "")) for message in conversation for part in message["content"])


def _prefill(model, processor, conversations, images):
    """Run the prompts once; return the cache, the mask and the logits after the last token."""
    import torch
    from transformers import DynamicCache

    texts = [processor.apply_chat_template(talk, add_generation_prompt=True) for talk in conversations]
    pictures = [[image] for image in images if image is not None]
    inputs = processor(text=texts, images=pictures or None, padding=True, padding_side="left", return_tensors="pt").to(
        model.device
    )
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    mask = inputs["attention_mask"]
    cache = DynamicCache(config=model.config.get_text_config())
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    output = model(**inputs, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return cache, mask, output.logits[:, -1].float(), torch.as_tensor(positions[:, -1])


def _decode_chunk(
    model, processor, conversations, images, next_turn, samples, temperature, generator, max_tokens
) -> list[Row]:
    import torch

    tokenizer = processor.tokenizer
    end = tokenizer.convert_tokens_to_ids(END)
    with torch.inference_mode():
        cache, mask, logits, position = _prefill(model, processor, conversations, images)
        if samples > 1:
            cache.batch_repeat_interleave(samples)
            mask, logits, position = (each.repeat_interleave(samples, 0) for each in (mask, logits, position))
        rows = [Row() for _ in range(len(logits))]
        live = list(range(len(rows)))
        for _ in range(max_tokens):
            tokens = _choose(logits, temperature, generator)
            fed = [
                _advance(rows[index], token, end, tokenizer, next_turn)
                for index, token in zip(live, tokens, strict=True)
            ]
            keep = [place for place, index in enumerate(live) if not rows[index].done]
            if not keep:
                break
            if len(keep) < len(live) and len(keep) <= 0.75 * len(live):
                chosen = torch.tensor(keep, device=model.device)
                cache.batch_select_indices(chosen)
                mask, position = mask[chosen], position[chosen]
                fed, live = [fed[place] for place in keep], [live[place] for place in keep]
            ids = torch.tensor(fed, device=model.device).unsqueeze(1)
            mask = torch.cat([mask, mask.new_ones(len(live), 1)], dim=1)
            position = position + 1
            output = model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=position.unsqueeze(1),
                past_key_values=cache,
                use_cache=True,
            )
            logits = output.logits[:, -1].float()
    return rows


def _choose(logits: "torch.Tensor", temperature: float, generator: "torch.Generator") -> list[int]:
    import torch

    if temperature == 0:
        return logits.argmax(-1).tolist()
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator).squeeze(1).tolist()


def _advance(row: Row, token: int, end: int, tokenizer, next_turn: NextTurn) -> int:
    """Take the model's token, or the next queued one in its place; return the token to feed."""
    if row.done:
        return end
    if row.queue:
        return row.queue.pop(0)
    row.current.append(token)
    if token != end:
        return token
    row.replies.append(tokenizer.decode(row.current[:-1]))
    row.current = []
    turn = next_turn(row.replies)
    row.done = turn is None
    if turn is not None:
        row.queue = tokenizer.encode(f"{USER}{turn}{ASSISTANT}", add_special_tokens=False)
    return token
