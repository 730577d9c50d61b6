"""Attention over a shared prefix and two branches that never computes what the mask would hide.

With one mask over the whole row a branch is multiplied with the other branch and the prefix with both, only to be
masked; with pictures in the prompt that is about a third of the work of attention. This is an attention function of
transformers (`AttentionInterface`), so models need no change; without segments it is plain `sdpa`.
"""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

SHARED_PREFIX = "shared_prefix"


class Segments(NamedTuple):
    """Columns of each part of a packed row: the shared prefix, then the branch of each answer."""

    prefix: int
    chosen: int
    rejected: int


def use_shared_attention(decoder: "PreTrainedModel") -> None:
    """Let a text model that runs on `sdpa` skip what packed rows hide; it computes everything else as before."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if decoder.config._attn_implementation == "sdpa":
        AttentionInterface.register(SHARED_PREFIX, shared_prefix_attention)
        AttentionMaskInterface.register(SHARED_PREFIX, sdpa_mask)
        decoder.set_attn_implementation(SHARED_PREFIX)


def shared_prefix_attention(
    module: "torch.nn.Module",
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: "torch.Tensor | None",
    segments: Segments | None = None,
    **options,
):
    """Attend as transformers' `sdpa` does, segment by segment where `segments` are given.

    query, key and value are (batch, heads, L, size), `attention_mask` is additive, (batch, 1, L, L); returns
    (batch, L, heads, size) and None, as attention functions of transformers do.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if segments is None or attention_mask is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    queries, keys, values = (tensor.split(segments, dim=2) for tensor in (query, key, value))
    rows = attention_mask.split(segments, dim=2)
    # A single pair has no padding, so its prefix is plainly causal and may take a kernel that reads no mask.
    prefix_mask = None if len(query) == 1 else rows[0][..., : segments.prefix]
    parts = [sdpa_attention_forward(module, queries[0], keys[0], values[0], prefix_mask, **options)[0]]
    for branch in (1, 2):
        columns = rows[branch].split(segments, dim=3)
        parts.append(
            sdpa_attention_forward(
                module,
                queries[branch],
                torch.cat([keys[0], keys[branch]], dim=2),
                torch.cat([values[0], values[branch]], dim=2),
                torch.cat([columns[0], columns[branch]], dim=3),
                **options,
            )[0]
        )
    return torch.cat(parts, dim=1), None
