"""Direct lessons beside the conversations: what stands where, what stands beside it, where things are, where to look.

Answers alone teach a small model to read and to look things up, but it takes long. Each lesson here is a loss on what
the picture's features say or on where a head of the language model looks, and follows from the boxes of the words that
were drawn. Nothing of it is left in the trained model but weights.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from insightv_core.nano import model as nano
from insightv_core.nano.training.neighbours import make_head, neighbour_loss

if TYPE_CHECKING:
    import torch
    from transformers import LlavaForConditionalGeneration

    from insightv_core.nano.training.steps import Batch, StepData

READING, NEIGHBOURS, PLACE, FINDING, POINTING = "reading", "neighbours", "place", "finding", "pointing"
# With 0.2 for reading the tower forgets how to read while it learns the rest.
LESSON_WEIGHTS = {READING: 1.0, NEIGHBOURS: 0.5, PLACE: 0.5, FINDING: 0.3, POINTING: 0.5}
HEADS = "lesson_heads"  # the part of a model in training that only the lessons use
SCALE = 16.0  # sharpness of the comparison of features with word embeddings, and with places
PLACE_WIDTH = 0.6  # patches: places next to each other may be told alike
POINTING_KINDS = ("caption", "perception")  # what is said there stands in the picture; elsewhere it may be worked out
ASKING_KINDS = ("perception",)  # what is asked there stands beside what the question names
# A name is found first; what was found there says which place to look at, and a layer is left to say what stands there.
FINDING_LAYER, POINTING_LAYER = 0, -2
LOOKING_LAYERS = (FINDING_LAYER, POINTING_LAYER)
LOOKING_HEADS = 2  # of such a layer


def make_heads(hidden: int) -> "torch.nn.ModuleDict":
    """Return what reads neighbours and places out of features; it serves the lessons alone and is not kept."""
    import torch

    return torch.nn.ModuleDict(
        {NEIGHBOURS: make_head(hidden), PLACE: torch.nn.Linear(hidden, 2 * nano.IMAGE_SIDE, bias=False)}
    )


def reading_loss(
    model: "LlavaForConditionalGeneration", words: "torch.Tensor", features: "torch.Tensor"
) -> "torch.Tensor":
    """Return how badly the picture's features say which word stands where they look: the mean loss over all words.

    A feature should point the way of the embedding of its word. Such direct lessons teach the tower to read in a
    fraction of the pictures that captions alone need; and the language model finds the words it knows.
    """
    import torch

    if not words.numel():  # nothing but blank pictures
        return features.sum() * 0.0
    looked = torch.nn.functional.normalize(features.index_select(0, words[0]).float(), dim=-1)
    known = torch.nn.functional.normalize(model.get_input_embeddings().weight.detach().float(), dim=-1)
    return torch.nn.functional.cross_entropy(SCALE * looked @ known.T, words[1])


def place_loss(head: "torch.nn.Linear", features: "torch.Tensor") -> "torch.Tensor":
    """Return how badly the features tell their own column and row, as loudly as the word that stands there.

    The language model must get from a name to the number above it, so it has to know which features share a column. A
    tower that learns to read alone forgets it: half of the columns could then be told from the features.
    """
    import torch

    axis = torch.arange(float(nano.IMAGE_SIDE), device=features.device)
    near = torch.softmax(-((axis[:, None] - axis) ** 2) / (2 * PLACE_WIDTH**2), dim=1)
    at = torch.arange(len(features), device=features.device) % nano.IMAGE_TOKENS
    looked = torch.nn.functional.normalize(features.float(), dim=-1)
    told = SCALE * looked @ torch.nn.functional.normalize(head.weight.float(), dim=-1).T
    columns, rows = told.split(nano.IMAGE_SIDE, dim=1)
    cross_entropy = torch.nn.functional.cross_entropy
    return cross_entropy(columns, near[at % nano.IMAGE_SIDE]) + cross_entropy(rows, near[at // nano.IMAGE_SIDE])


def looking_losses(
    model: "LlavaForConditionalGeneration", data: "StepData", features: "torch.Tensor"
) -> "dict[str, torch.Tensor]":
    """Return the losses of the lessons that the features alone are taught."""
    losses = {READING: reading_loss(model, data.words, features)}
    if (heads := getattr(model, HEADS, None)) is not None:
        known = model.get_input_embeddings().weight
        losses[NEIGHBOURS] = neighbour_loss(heads[NEIGHBOURS], data.neighbours, features, known)
        losses[PLACE] = place_loss(heads[PLACE], features)
    return losses


def look_up(data: "StepData", batch: "Batch", attention: "Sequence[torch.Tensor | None]") -> "dict[str, torch.Tensor]":
    """Return the losses of the lessons on where the language model looks, as far as there is something to see."""
    losses: dict[str, torch.Tensor] = {}
    if not len(batch.scenes) or not data.words.numel():
        return losses
    for name, lesson, looks in zip((FINDING, POINTING), (finding_loss, pointing_loss), attention, strict=True):
        loss = None if looks is None else lesson(data, batch, looks)
        if loss is not None:
            losses[name] = loss
    return losses


def finding_loss(data: "StepData", batch: "Batch", attention: "torch.Tensor") -> "torch.Tensor | None":
    """Return how little the model looks at a thing in the picture where the text names it.

    A number is fetched in two looks: from its name in the text to the name in the picture, and from there along the
    column or row. Without this lesson the first look was never learned, and nano told bars apart by chance.
    """
    return _look(data, batch, attention, batch.named_at, batch.names)


def pointing_loss(data: "StepData", batch: "Batch", attention: "torch.Tensor") -> "torch.Tensor | None":
    """Return how little the model looks at the places where the words that it has to say stand in the picture.

    Over labels of `POINTING_KINDS` whose word stands in the picture. Finding the place is what a small model takes
    longest to discover by itself: without this lesson, captions stayed blind for 50,000 conversations. A question is
    looked up where it names a thing, just as a caption goes on after a name; the answer then only has to fetch it.
    """
    import torch

    pointed = torch.tensor([kind in POINTING_KINDS for kind in data.kinds], device=batch.labels.device)[batch.kinds]
    at, says = (
        torch.cat([known[pointed], asked])
        for known, asked in ((batch.label_at, batch.asked_at), (batch.says, batch.answers))
    )
    return _look(data, batch, attention, at, says)


def _look(
    data: "StepData", batch: "Batch", attention: "torch.Tensor", at: "torch.Tensor", says: "torch.Tensor"
) -> "torch.Tensor | None":
    """Return the mean of -log of the attention that positions pay to where their words stand; None without any.

    Attention is (rows, heads, length, all); its first `LOOKING_HEADS` heads are taught.
    """
    import torch

    row, column = at // batch.ids.shape[1], at % batch.ids.shape[1]
    scene, place = data.words[0] // nano.IMAGE_TOKENS, data.words[0] % nano.IMAGE_TOKENS
    stands = (batch.scenes[row][:, None] == scene) & (says[:, None] == data.words[2])
    allowed = stands.float() @ torch.nn.functional.one_hot(place, nano.IMAGE_TOKENS).float() > 0
    chosen = allowed.any(1).nonzero().squeeze(1)
    if not len(chosen):
        return None
    start = len(data.prefix) - nano.IMAGE_TOKENS
    looks = attention[row[chosen], :LOOKING_HEADS, column[chosen], start : len(data.prefix)].float()
    return -(looks * allowed[chosen, None]).sum(-1).clamp(min=1e-6).log().mean()
