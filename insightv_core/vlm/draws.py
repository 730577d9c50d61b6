"""Drawing tokens, so that each conversation's draws depend on its own seed alone, whatever runs beside it."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

    from insightv_core.records import Sampling

CANDIDATES = (16, 512)  # so many of the likeliest tokens are looked at with `top_p`: more where the first lack its mass


def seed_of(seed: int, key: str, sample: int) -> int:
    """Return the 64-bit seed of one sample of a talk."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{key}:{sample}".encode()).digest()[:8], "big")


def uniforms(seeds: "np.ndarray", counts: "np.ndarray") -> "np.ndarray":
    """Return a number in 0..1 for each row: the `counts`-th draw of its seed, by the SplitMix64 mixing function."""
    import numpy as np

    with np.errstate(over="ignore"):
        mixed = seeds + (counts.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def draw_tokens(
    logits: "torch.Tensor", temperatures: "torch.Tensor", draws: "torch.Tensor", sampling: "Sampling"
) -> "torch.Tensor":
    """Return a token for each row of (rows, vocabulary) logits by inverting the cumulative distribution at `draws`.

    Rows with temperature 0 take the likeliest token.
    """
    import torch

    likeliest = logits.argmax(-1)
    if not temperatures.any():
        return likeliest
    scaled = logits / temperatures.clamp(min=1e-4)[:, None]
    candidates, cumulative = rank_candidates(scaled, sampling)
    mass = cumulative[:, -1:]
    if sampling.top_p < 1:
        # The likeliest tokens up to the first that reaches top_p, that one included.
        last = cumulative.shape[-1] - 1
        mass = cumulative.gather(-1, (cumulative < sampling.top_p).sum(-1, keepdim=True).clamp(max=last))
    places = torch.searchsorted(cumulative, draws[:, None] * mass, right=True).clamp(max=cumulative.shape[-1] - 1)
    drawn = (places if candidates is None else candidates.gather(-1, places)).squeeze(-1)
    return torch.where(temperatures > 0, drawn, likeliest)


def rank_candidates(scaled: "torch.Tensor", sampling: "Sampling") -> "tuple[torch.Tensor | None, torch.Tensor]":
    """Return the tokens that may be drawn, the likeliest first, and their cumulative probabilities: (rows, candidates).

    Without `top_p` and `top_k` the tokens are None: all of the vocabulary in its order.
    """
    vocabulary = scaled.shape[-1]
    if sampling.top_k > 0:
        values, tokens = scaled.topk(min(sampling.top_k, vocabulary), dim=-1)
        return tokens, values.double().softmax(-1).cumsum(-1)
    if sampling.top_p >= 1:
        return None, scaled.double().softmax(-1).cumsum(-1)
    total = scaled.logsumexp(-1, keepdim=True)
    for count in CANDIDATES:  # sorting a whole vocabulary costs more than all else of a draw
        values, tokens = scaled.topk(min(count, vocabulary), dim=-1)
        cumulative = (values - total).double().exp().cumsum(-1)
        if (cumulative[:, -1] >= sampling.top_p).all():
            break
    return tokens, cumulative


def penalize_repetition(logits: "torch.Tensor", seen: "torch.Tensor", penalty: float) -> "torch.Tensor":
    """Make tokens that were seen less likely: positive logits are divided by the penalty, negative ones multiplied."""
    import torch

    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
