"""The demo questions: `data/demo/`, a folder of pictures with one JSON line a question, ready to be imported."""

import json
from dataclasses import replace
from pathlib import Path

from insightv_core.nano.scenes import content_hash
from insightv_core.nano.world import PERCEPTION, REASONING, Example, draw_examples

DEMO_FOLDER = Path("data/demo")
DEMO_COUNT = 300
DEMO_SEED = 11


def write_demo(folder: Path, count: int = DEMO_COUNT, seed: int = DEMO_SEED) -> tuple[int, int]:
    """Write `questions.jsonl` and `images/` with questions balanced over families and levels.

    Returns the number of questions and the size in bytes.
    """
    from PIL.Image import Dither

    from insightv_core.nano.render import render

    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    for old in images.glob("*.png"):
        old.unlink()
    rows = []
    for example in draw_examples(count, seed=seed, split="demo", families=(*REASONING, *PERCEPTION)):
        row = demo_row(example)
        # Without its noise a picture takes 9 kB in place of 90.
        picture = render(example.scene, replace(example.style, noise=0))
        picture.quantize(128, dither=Dither.NONE).save(folder / row["image"], optimize=True)
        rows.append(row)
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return len(rows), sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def demo_row(example: Example) -> dict:
    """Return a question as a row to import; `seed` and `split` let the exact verifier find its scene again."""
    return {
        "id": f"{example.family}-{example.level}-{example.seed}",
        "image": f"images/{content_hash(example.scene)[:12]}-{example.seed}.png",
        "question": example.question,
        "answer": example.answer,
        "answer_type": example.answer_type,
        "family": example.family,
        "level": example.level,
        "split": example.split,
        "seed": example.seed,
    }
