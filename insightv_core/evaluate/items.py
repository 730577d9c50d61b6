"""What is asked: freshly drawn held-out scenes, and pictures that are taken away or exchanged as a control."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from insightv_core.records import Question, identify

if TYPE_CHECKING:
    from PIL import Image

AS_IT_IS, BLANK, SHUFFLED = "as it is", "blank", "shuffled"
HELD_OUT = "evaluation"  # the split whose scenes and phrasings no training saw


@dataclass(frozen=True)
class Item:
    """A question to answer, with its picture: a file, or one in memory."""

    question: Question
    image: "FilePath | Image.Image"


def held_out_items(count: int, *, seed: int = 1, families: Sequence[str] | None = None) -> list[Item]:
    """Return questions about freshly drawn scenes in phrasings that no training saw, balanced over families.

    Their metadata lets the exact verifier draw the scene again.
    """
    from insightv_core.nano.model import prepare_image
    from insightv_core.nano.render import render
    from insightv_core.nano.world import REASONING, draw_examples

    examples = draw_examples(count, seed=seed, split=HELD_OUT, families=list(families or REASONING))
    return [
        Item(
            Question(
                identify("held out", seed, place), example.question, example.answer, "", f"nano-{seed}",
                example.answer_type, example.family, example.level, tuple(example.options),
                metadata={"seed": example.seed, "split": example.split},
            ),
            prepare_image(render(example.scene, example.style)),
        )
        for place, example in enumerate(examples)
    ]  # fmt: skip


def with_pictures(items: Sequence[Item], control: str) -> list[Item]:
    """Return the items with their pictures as they are, blank, or each with the picture of the next item."""
    from PIL import Image

    if control == BLANK:
        return [replace(item, image=Image.new("RGB", (448, 448), (128, 128, 128))) for item in items]
    if control == SHUFFLED:
        return [replace(item, image=items[place - 1].image) for place, item in enumerate(items)]
    return list(items)
