"""The lesson of neighbours: what stands around a word in the picture should be known where the word is.

A name at the foot of a bar says nothing about its height. The language model can look from the one to the other
(`lessons.py`), or the tower can carry it, which is the lesson here. Left to itself, nano learned in 1,500 steps to find
a slice of a pie by its colour, where both stand at one place, and not a bar by its name. Which words are neighbours
follows from their boxes alone, whatever the picture shows.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

SLOTS = (
    "above", "second above", "right", "second right", "left", "first of the row", "top of the column",
    "foot of the column", "nearest of the other kind", "second nearest of the other kind",
)  # fmt: skip
SAME_COLUMN, SAME_ROW, SAME_PLACE = 16, 12, 10  # pixels between the middles of two words
SCALE = 16.0  # sharpness of the comparison with word embeddings


def find_neighbours(words: Sequence[tuple[str, tuple]]) -> list[tuple[int, int, int]]:
    """Return (word, slot, neighbour) for the words of a picture with their boxes; words at one place share a slot."""
    import numpy as np

    if not words:
        return []
    boxes = np.array([box for _, box in words], dtype=float)
    across, down = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    numbers = np.array([any(map(str.isdigit, word)) for word, _ in words])
    right, below = across[None] - across[:, None], down[None] - down[:, None]
    column, row = np.abs(right) <= SAME_COLUMN, np.abs(below) <= SAME_ROW
    distance = np.hypot(right, below)
    apart = distance > SAME_PLACE
    other = numbers[:, None] != numbers[None]
    above, beside = column & apart & (below < 0), row & apart
    ranked = (
        (above, -below, 0), (above, -below, 1), (beside & (right > 0), right, 0), (beside & (right > 0), right, 1),
        (beside & (right < 0), -right, 0), (beside & (right < 0), right, 0), (above, below, 0),
        (column & apart & (below > 0), -below, 0), (other & apart, distance, 0), (other & apart, distance, 1),
    )  # fmt: skip
    return [
        (word, slot, int(neighbour))
        for slot, (allowed, order, rank) in enumerate(ranked)
        for word in range(len(words))
        for neighbour in _pick(allowed[word], order[word], rank, across, down)
    ]


def _pick(allowed: "np.ndarray", order: "np.ndarray", rank: int, across: "np.ndarray", down: "np.ndarray") -> list[int]:
    """Return the words at the place that comes first, or second, in the order."""
    import numpy as np

    candidates = np.flatnonzero(allowed)
    candidates = candidates[np.argsort(order[candidates], kind="stable")]
    for _ in range(rank + 1):
        if not len(candidates):
            return []
        first = candidates[0]
        here = np.hypot(across[candidates] - across[first], down[candidates] - down[first]) <= SAME_PLACE
        chosen, candidates = candidates[here], candidates[~here]
    return chosen.tolist()


def locate_neighbours(drawn: Sequence[Sequence[tuple[str, tuple]]], words: "Sequence[Sequence[int]]") -> "torch.Tensor":
    """Return (3, count): for each neighbour the flat place of the word that it stands beside, its slot, and its token.

    `words` are places, tokens and word numbers as `locate_words` gives them. A neighbour of several tokens counts once
    for each.
    """
    import torch

    tokens: dict[int, list[tuple[int, int]]] = {}
    for place, token, number in zip(*words, strict=True):
        tokens.setdefault(number, []).append((place, token))
    found, start = [], 0
    for each in drawn:
        for word, slot, neighbour in find_neighbours(each):
            place = tokens[start + word][0][0]
            found += [(place, slot, token) for _, token in tokens[start + neighbour]]
        start += len(each)
    return torch.tensor(found, dtype=torch.long).view(-1, 3).T


def make_head(hidden: int) -> "torch.nn.Linear":
    """Return the layer that reads all slots out of a feature; it serves the lesson alone and is not kept."""
    import torch

    return torch.nn.Linear(hidden, len(SLOTS) * hidden, bias=False)


def neighbour_loss(
    head: "torch.nn.Linear", neighbours: "torch.Tensor", features: "torch.Tensor", embeddings: "torch.Tensor"
) -> "torch.Tensor":
    """Return how badly the features at words tell their neighbours: the mean loss over all of them."""
    import torch

    if not neighbours.numel():  # nothing but blank pictures
        return features.sum() * 0.0 + head.weight.sum() * 0.0
    places, position = neighbours[0].unique(return_inverse=True)
    told = head(features.index_select(0, places).float()).view(len(places), len(SLOTS), -1)
    said = torch.nn.functional.normalize(told[position, neighbours[1]], dim=-1)
    known = torch.nn.functional.normalize(embeddings.detach().float(), dim=-1)
    return torch.nn.functional.cross_entropy(SCALE * said @ known.T, neighbours[2])
