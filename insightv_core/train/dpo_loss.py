"""Log-probabilities of preference pairs with pictures and prompt computed once for both answers.

TRL lays a pair out as two rows, prompt + chosen and prompt + rejected, and so computes the prompt and its pictures
twice. Here a pair is one row of three segments:

    prefix    the prompt without its last token, padded on the left
    chosen    the last token of the prompt, then the chosen answer without its last token, padded on the right
    rejected  the same for the rejected answer

Each position of a branch predicts the token that follows, so the end of the row holds all that is scored and each
answer token has a position of its own. A mask hides the branches from each other and the positions of both continue
the prompt's, so the values are those of two separate rows. Sharing a prefix in this way is known for text (Wang and
Hegde, arXiv 2410.20305); here it holds for pictures, padding and gradient checkpointing.

The functions read and write TRL's layout: 2B rows, the chosen answers first.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from insightv_core.errors import UserError
from insightv_core.train.model_parts import find_vision
from insightv_core.train.shared_attention import SHARED_PREFIX, Segments

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

IGNORED = -100  # the label of a position that is not scored, as everywhere in transformers
PLAIN_WAY = "set share_prefix=False to compute both answers in full, in about twice the time"


@dataclass(frozen=True)
class PackedPairs:
    """B pairs as B rows of L columns: those of `segments`, the last two of which are scored.

    `attention_mask` is additive, (B, 1, L, L); `position_ids` is (B, L), or (3, B, L) where pictures have positions in
    three dimensions; `labels` is (B, chosen + rejected), the token that each scored position is to predict.
    """

    input_ids: "torch.Tensor"
    attention_mask: "torch.Tensor"
    position_ids: "torch.Tensor"
    labels: "torch.Tensor"
    segments: Segments


def pair_logps(forward: Callable, batch: dict) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return the summed log-probabilities of the chosen and of the rejected answers, each of shape (B,).

    `batch` is what TRL's collators return. `forward` is a model with TRL's fused head
    (`trl.trainer.utils.add_fused_lm_head`), or `functools.partial(shared_prefix_forward, model)` for the shared way.
    """
    inputs = {key: value for key, value in batch.items() if key != "completion_mask" and not key.startswith("ref_")}
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, IGNORED)
    chosen, rejected = forward(**inputs, labels=labels, fused_lm_head=True).log_probs.sum(dim=1).chunk(2)
    return chosen, rejected


def shared_prefix_forward(
    model: "PreTrainedModel",
    *,
    input_ids: "torch.Tensor",
    attention_mask: "torch.Tensor",
    labels: "torch.Tensor",
    mm_token_type_ids: "torch.Tensor | None" = None,
    fused_lm_head: bool = True,
    use_cache: bool = False,
    **pictures: "torch.Tensor",
):
    """Return what TRL's `model(..., labels=labels, fused_lm_head=True)` returns for 2B rows, from B packed rows.

    Text is (2B, length), flushed left, with `labels` IGNORED outside the answers; `pictures` are the processor's
    tensors, those of the chosen rows first. Values per token are (2B, length - 1), zero where nothing is scored.
    Raises `UserError` for inputs whose meaning a packed row would lose.
    """
    core = core_model(model)
    pictures = _first_half(pictures, input_ids)
    packed = pack_pairs(core, input_ids, attention_mask, labels, mm_token_type_ids, pictures)
    extra = dict(pictures)
    if core.get_decoder().config._attn_implementation == SHARED_PREFIX:
        extra["segments"] = packed.segments
    with _only_answers_scored(core, packed.segments.prefix), _no_graph_of_frozen_vision(core):
        output = model(
            input_ids=packed.input_ids,
            attention_mask=packed.attention_mask,
            position_ids=packed.position_ids,
            shift_labels=packed.labels,
            fused_lm_head=fused_lm_head,
            use_cache=use_cache,
            **extra,
        )
    scored = labels[:, 1:] != IGNORED
    per_token = {
        name: _to_rows(value, packed, scored)
        for name, value in output.items()
        if getattr(value, "shape", None) == packed.labels.shape
    }
    return type(output)(loss=output.loss, **per_token)


def core_model(model: "PreTrainedModel") -> "PreTrainedModel":
    """Return the transformers model inside what accelerate and PEFT wrap around it."""
    from accelerate.utils import extract_model_from_parallel
    from peft import PeftModel
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel | PeftModel):  # asking accelerate takes milliseconds, each step
        model = extract_model_from_parallel(model)
    return model.get_base_model() if isinstance(model, PeftModel) else model


def check_model(model: "PreTrainedModel") -> None:
    """Raise `UserError` for a model whose attention would not read the mask of packed rows as it is meant."""
    from peft import PeftModel

    core = core_model(model)
    config = core.get_decoder().config
    attention = config._attn_implementation
    if attention not in ("sdpa", "eager", SHARED_PREFIX):
        raise UserError(
            f"{type(core).__name__} is loaded with attn_implementation={attention!r}, which cannot hide one answer "
            f"from the other: load it with attn_implementation='sdpa', or {PLAIN_WAY}"
        )
    kinds = set(getattr(config, "layer_types", None) or ())
    window = None if kinds else getattr(config, "sliding_window", None)
    problem = None
    if kinds - {"full_attention"}:
        problem = f"it has layers of the kind {', '.join(sorted(kinds - {'full_attention'}))}"
    elif window is not None:
        problem = f"its attention reaches back {window} tokens only"
    elif isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning:
        problem = "its adapter puts tokens of its own before the text"
    if problem:
        raise UserError(f"{type(core).__name__} cannot share a prompt between two answers, as {problem}: {PLAIN_WAY}")


def pack_pairs(
    core: "PreTrainedModel",
    input_ids: "torch.Tensor",
    attention_mask: "torch.Tensor",
    labels: "torch.Tensor",
    token_types: "torch.Tensor | None" = None,
    pictures: "dict[str, torch.Tensor] | None" = None,
) -> PackedPairs:
    """Lay 2B rows out as B packed rows, with the positions that `core` gives to the prompts.

    `pictures` are those of B rows; `token_types` marks image tokens, (2B, length), where the model asks for it.
    """
    import torch

    pairs = len(input_ids) // 2
    in_answer = labels != IGNORED
    in_prompt = (attention_mask.bool() & ~in_answer)[:pairs]
    prompts, is_prompt = _cut(input_ids[:pairs], in_prompt, "left")
    types = None if token_types is None else _cut(token_types[:pairs], in_prompt, "left")[0]
    positions = _prompt_positions(core, prompts, is_prompt, types, pictures or {})
    columns, kept, targets, places = [prompts[:, :-1]], [is_prompt[:, :-1]], [], [positions[..., :-1]]
    for half in (slice(pairs), slice(pairs, None)):
        answers, is_answer = _cut(input_ids[half], in_answer[half], "right")
        columns.append(torch.cat([prompts[:, -1:], answers], dim=1)[:, :-1])
        kept.append(is_answer)
        targets.append(answers.masked_fill(~is_answer, IGNORED))
        places.append(positions[..., -1:] + torch.arange(answers.shape[1], device=answers.device))
    segments = Segments(*(part.shape[1] for part in columns))
    return PackedPairs(
        input_ids=torch.cat(columns, dim=1),
        attention_mask=build_mask(torch.cat(kept, dim=1), segments, core.get_input_embeddings().weight.dtype),
        position_ids=torch.cat(places, dim=-1),
        labels=torch.cat(targets, dim=1),
        segments=segments,
    )


def build_mask(kept: "torch.Tensor", segments: Segments, dtype: "torch.dtype") -> "torch.Tensor":
    """Return the additive mask (B, 1, L, L) of packed rows: 0 where a token is seen, the lowest number where not.

    Each token sees what comes before it in the prefix and in its own segment, as far as `kept` (B, L) is True there.
    A token of padding sees itself, since a row of attention that sees nothing is not a number.
    """
    import torch

    length = kept.shape[1]
    number = torch.repeat_interleave(torch.arange(3), torch.tensor(segments)).to(kept.device)
    own = (number[:, None] == number) | (number == 0)
    causal = torch.ones(length, length, dtype=torch.bool, device=kept.device).tril()
    seen = (own & causal & kept[:, None, :]) | torch.eye(length, dtype=torch.bool, device=kept.device)
    return torch.zeros(seen.shape, dtype=dtype, device=kept.device).masked_fill(~seen, torch.finfo(dtype).min)[:, None]


def _first_half(pictures: dict, input_ids: "torch.Tensor") -> "dict[str, torch.Tensor]":
    """Return the pictures of the chosen rows; TRL gives each picture twice, the rejected rows' after the chosen's."""
    for name, value in pictures.items():
        if value.shape[:2] == input_ids.shape:
            raise UserError(
                f"the model takes {name!r} for every token, which a shared prompt cannot carry along: {PLAIN_WAY}"
            )
    return {name: value[: len(value) // 2] for name, value in pictures.items()}


def _cut(values: "torch.Tensor", keep: "torch.Tensor", padding_side: str) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return what each row keeps, padded with zeros on one side, and where the result is no padding."""
    from torch.nn.utils.rnn import pad_sequence

    rows = [row[kept] for row, kept in zip(values, keep, strict=True)]
    padded = pad_sequence(rows, batch_first=True, padding_side=padding_side)
    real = pad_sequence([row.new_ones(len(row)) for row in rows], batch_first=True, padding_side=padding_side)
    return padded, real.bool()


def _prompt_positions(
    core: "PreTrainedModel",
    prompts: "torch.Tensor",
    is_prompt: "torch.Tensor",
    token_types: "torch.Tensor | None",
    pictures: dict,
) -> "torch.Tensor":
    """Return the positions of left-padded prompts: (B, P), or (3, B, P) where pictures span height and width."""
    find = getattr(core.base_model, "get_rope_index", None)
    if find is None or token_types is None or not pictures:
        return (is_prompt.cumsum(dim=-1) - 1).clamp(min=0)
    known = {"input_ids": prompts, "attention_mask": is_prompt.long(), "mm_token_type_ids": token_types, **pictures}
    return find(**{name: known[name] for name in inspect.signature(find).parameters if name in known})[0]


@contextlib.contextmanager
def _only_answers_scored(core: "PreTrainedModel", start: int) -> Iterator[None]:
    """Pass only the columns from `start` on to the head: without Triton, TRL's head scores every column it is given."""

    def cut(module, arguments, output):
        output.last_hidden_state = output.last_hidden_state[:, start:]
        return output

    handle = core.base_model.register_forward_hook(cut)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _no_graph_of_frozen_vision(core: "PreTrainedModel") -> Iterator[None]:
    """Keep a frozen vision tower out of the backward pass.

    For gradient checkpointing, transformers makes the output of every embedding require gradients, that of the tower
    too, and a frozen tower would be computed a second time and walked back for nothing.
    """
    import torch

    tower = find_vision(core)
    if tower is None or any(weight.requires_grad for weight in tower.parameters()):
        yield
        return
    before = torch.is_grad_enabled()

    def switch(on, *ignored):
        torch.set_grad_enabled(on)

    handles = (
        tower.register_forward_pre_hook(functools.partial(switch, False)),
        tower.register_forward_hook(functools.partial(switch, before)),
    )
    try:
        yield
    finally:
        torch.set_grad_enabled(before)
        for handle in handles:
            handle.remove()


def _to_rows(values: "torch.Tensor", packed: PackedPairs, scored: "torch.Tensor") -> "torch.Tensor":
    """Move values (B, chosen + rejected) of packed rows to where TRL expects them, (2B, length - 1)."""
    import torch

    widths = packed.segments[1:]
    kept = [
        part[label != IGNORED]
        for part, label in zip(values.split(widths, 1), packed.labels.split(widths, 1), strict=True)
    ]
    return values.new_zeros(scored.shape).masked_scatter(scored, torch.cat(kept))
