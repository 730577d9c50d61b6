"""Heads of the tower that begin by looking along their own column and their own row of the picture.

What belongs together in a chart or a table mostly stands above or beside it. A head could learn to look there by
itself, but it takes long: nothing tells it to match columns before it knows what to carry, nor what to carry before
it matches columns. So two heads of each late layer are set to match places, and left to learn what to carry.
"""

from typing import TYPE_CHECKING

from insightv_core.nano import model as nano
from insightv_core.nano.training.lessons import reading_loss
from insightv_core.nano.training.steps import StepData, encode_pictures

if TYPE_CHECKING:
    import torch
    from transformers import LlavaForConditionalGeneration

AIMED_LAYERS = 2  # the last ones: by then most words are read
WIDTH = 0.8  # patches: how far a place still counts as the same column or row
SHARPNESS = 7.5  # at this, about half of a head's attention is on its own column and 0.85 on that and the next ones
KEPT = 0.2  # of what the head compared before


def aim_heads(model: "LlavaForConditionalGeneration", data: StepData) -> list[tuple[int, int, str]]:
    """Aim two heads of each late layer at their own column and row; return (layer, head, what) of each.

    The heads that reading misses least are taken. What they compare is fitted to the pictures of `data`; what they
    pass on begins at zero, so that the rest of the tower is not disturbed.
    """
    import torch

    layers = tower_layers(model)
    aimed = []
    with torch.no_grad():
        for layer in range(len(layers))[-AIMED_LAYERS:]:
            attention = layers[layer].self_attn
            missed = [_loss_without(model, data, layer, head) for head in range(nano.HEADS)]
            seen = _watch(model, data, layer)
            for head, what in zip(sorted(range(nano.HEADS), key=missed.__getitem__), ("column", "row"), strict=False):
                _aim(attention, head, seen, what)
                aimed.append((layer, head, what))
    return aimed


def tower_layers(model: "LlavaForConditionalGeneration") -> "torch.nn.ModuleList":
    """Return the layers of the vision tower."""
    tower = model.model.vision_tower
    return getattr(tower, "vision_model", tower).encoder.layers


def _columns(head: int) -> slice:
    """Return where the head's own numbers stand among those of all heads."""
    size = nano.HIDDEN_SIZE // nano.HEADS
    return slice(head * size, (head + 1) * size)


def _loss_without(model: "LlavaForConditionalGeneration", data: StepData, layer: int, head: int) -> float:
    passed = tower_layers(model)[layer].self_attn.out_proj.weight[:, _columns(head)]
    kept = passed.clone()
    passed.zero_()
    loss = float(reading_loss(model, data.words, encode_pictures(model, data.images)))
    passed.copy_(kept)
    return loss


def _watch(model: "LlavaForConditionalGeneration", data: StepData, layer: int) -> "torch.Tensor":
    """Return what the heads of the layer see: (pictures * IMAGE_TOKENS, hidden)."""
    seen: list[torch.Tensor] = []
    hook = tower_layers(model)[layer].self_attn.q_proj.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    encode_pictures(model, data.images)
    hook.remove()
    return seen[0].flatten(0, 1)


def _aim(attention: "torch.nn.Module", head: int, seen: "torch.Tensor", what: str) -> None:
    """Let the head compare where places are: each column or row as a bump, fitted to what it sees by least squares."""
    import torch

    axis = torch.arange(float(nano.IMAGE_SIDE), device=seen.device)
    bumps = torch.exp(-((axis[:, None] - axis) ** 2) / (2 * WIDTH**2))
    place = torch.arange(nano.IMAGE_TOKENS, device=seen.device)
    wanted = bumps[place % nano.IMAGE_SIDE if what == "column" else place // nano.IMAGE_SIDE].repeat(
        len(seen) // nano.IMAGE_TOKENS, 1
    )
    given = torch.cat([seen, torch.ones_like(seen[:, :1])], dim=1)
    ridge = torch.eye(given.shape[1], device=seen.device)
    fitted = SHARPNESS * torch.linalg.solve(given.T @ given + ridge, given.T @ wanted)
    own = _columns(head)
    for layer in (attention.q_proj, attention.k_proj):
        weight, bias = layer.weight[own], layer.bias[own]
        weight[: nano.IMAGE_SIDE], bias[: nano.IMAGE_SIDE] = fitted[:-1].T, fitted[-1]
        weight[nano.IMAGE_SIDE :] *= KEPT
        bias[nano.IMAGE_SIDE :] *= KEPT
    attention.out_proj.weight[:, own] = 0
