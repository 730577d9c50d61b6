"""The demo questions: `data/demo/`, a folder of pictures with one JSON line a question, ready to be imported."""

import json
from dataclasses import replace
from pathlib import Path

from insightv_core.nano.scenes import content_hash
from insightv_core.nano.world import PERCEPTION, REASONING, Example, draw_examples, make_example

DEMO_FOLDER = Path("data/demo")
DEMO_COUNT = 300
DEMO_SEED = 11
OVERVIEW = (
    ("bar_range", 4), ("line_rises", 2), ("pie_difference", 3), ("table_best_product", 1),
    ("grid_walk", 5), ("triangle_angle", 6), ("polygon_perimeter", 7), ("route_shortest", 8),
)  # fmt: skip


def write_demo(folder: Path, count: int = DEMO_COUNT, seed: int = DEMO_SEED) -> tuple[int, int]:
    """Write `questions.jsonl`, `images/` and `overview.png`: questions balanced over families and levels.

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
        # Without its noise a picture takes 5 kB in place of 90.
        picture = render(example.scene, replace(example.style, noise=0))
        picture.quantize(128, dither=Dither.NONE).save(folder / row["image"], optimize=True)
        rows.append(row)
    draw_overview(folder / "overview.png")
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return len(rows), sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def draw_overview(path: Path) -> None:
    """Write one picture of each of eight families side by side."""
    from PIL import Image

    from insightv_core.nano.render import render

    side, gap = 280, 12
    sheet = Image.new("RGB", (4 * side + 5 * gap, 2 * side + 3 * gap), "white")
    for place, (family, seed) in enumerate(OVERVIEW):
        example = make_example(seed, split="demo", family=family, level=2)
        picture = render(example.scene, replace(example.style, noise=0)).resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(picture, (gap + place % 4 * (side + gap), gap + place // 4 * (side + gap)))
    sheet.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


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
