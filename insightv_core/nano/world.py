"""The nano world: examples drawn by seed, their reference chains, and the splits that keep them apart."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random

from insightv_core.errors import UserError
from insightv_core.nano.questions.charts import CHART_FAMILIES
from insightv_core.nano.questions.family import Family
from insightv_core.nano.questions.geometry import GEOMETRY_FAMILIES
from insightv_core.nano.questions.grids import GRID_FAMILIES
from insightv_core.nano.questions.tables import TABLE_FAMILIES
from insightv_core.nano.questions.writer import Writer
from insightv_core.nano.scenes import LEVELS, Scene, Style, content_hash, sample_style
from insightv_core.records import Step

FAMILIES: dict[str, Family] = {
    family.name: family for family in (*CHART_FAMILIES, *TABLE_FAMILIES, *GRID_FAMILIES, *GEOMETRY_FAMILIES)
}
REASONING = tuple(name for name, family in FAMILIES.items() if not family.perception)
PERCEPTION = tuple(name for name, family in FAMILIES.items() if family.perception)
SPLITS = ("train", "demo", "evaluation")
# Shares of the content hashes, in 256ths; the rest is for training.
EVALUATION_SHARE = 24
DEMO_SHARE = 8


@dataclass(frozen=True)
class Example:
    """One question about one picture, with everything known about both.

    `asked` holds the words that filled the phrasing; `options` the statements A to D of an option question.
    """

    split: str
    seed: int
    family: str
    level: int
    scene: Scene
    style: Style
    question: str
    answer: str
    answer_type: str
    asked: dict
    options: tuple[str, ...] = ()


def split_of(scene: Scene) -> str:
    """Return the split that a scene belongs to: it follows from its content alone, so splits never share a scene."""
    bucket = int(content_hash(scene)[:2], 16)
    if bucket < EVALUATION_SHARE:
        return "evaluation"
    return "demo" if bucket < EVALUATION_SHARE + DEMO_SHARE else "train"


def find_family(name: str) -> Family:
    """Return the family of that name.

    Raises UserError for a name that is none.
    """
    if name not in FAMILIES:
        raise UserError(f"Unknown question family {name!r}. Choose one of: {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def phrase_question(family: Family, asked: dict, rng: Random, split: str) -> str:
    """Word a question; the evaluation split uses the held-out phrasings only."""
    question = rng.choice(family.held_out if split == "evaluation" else family.phrasings).format(**asked)
    lettered = [f"{letter}. {text}" for letter, text in zip("ABCD", asked.get("options", ()), strict=False)]
    return "\n".join([question, *lettered])


def make_question(family: Family, scene: Scene, rng: Random, split: str) -> tuple[dict, str] | None:
    """Ask the family's question about a scene: what was asked and its wording, or None where it does not suit."""
    asked = family.ask(scene, rng)
    return None if asked is None else (asked, phrase_question(family, asked, rng, split))


def make_example(seed: int, *, split: str = "train", family: str | None = None, level: int | None = None) -> Example:
    """Draw the example of that seed: the same on every machine; family and level are drawn where they are not given.

    Raises UserError for an unknown split, family or level.
    """
    if split not in SPLITS:
        raise UserError(f"Unknown split {split!r}. Choose one of: {', '.join(SPLITS)}.")
    if level is not None and level not in LEVELS:
        raise UserError(f"Unknown difficulty level {level!r}. Choose one of: {', '.join(map(str, LEVELS))}.")
    rng = Random(f"nano:{split}:{seed}:{family}:{level}")
    chosen = find_family(family) if family else FAMILIES[rng.choice(list(FAMILIES))]
    level = level or rng.choice(LEVELS)
    while True:
        scene = chosen.sample(rng, level)
        if split_of(scene) != split:
            continue
        made = make_question(chosen, scene, rng, split)
        if made:
            break
    asked, question = made
    return Example(
        split, seed, chosen.name, level, scene, sample_style(rng), question, chosen.solve(scene, asked),
        chosen.answer_type, asked, tuple(asked.get("options", ())),
    )  # fmt: skip


def write_chain(
    example: Example, rng: Random, *, seen: Scene | None = None, slip_rate: float = 0.0
) -> tuple[tuple[Step, ...], str]:
    """Write one chain for an example and the answer it ends with.

    `seen` is what the solver takes the picture for (the true scene where None); `slip_rate` makes it miscalculate.
    """
    writer = Writer(rng, slip_rate)
    answer = FAMILIES[example.family].write(seen or example.scene, example.asked, writer)
    return writer.finish(answer), answer


def reference_chains(example: Example, count: int = 3) -> tuple[tuple[Step, ...], ...]:
    """Return up to `count` different correct chains, drawn by the example's own seed."""
    rng = Random(f"chains:{example.split}:{example.seed}:{example.family}")
    chains = list(dict.fromkeys(write_chain(example, rng)[0] for _ in range(12 * count)))
    by_wording = {tuple(step.content for step in chain): chain for chain in reversed(chains)}
    # Chains that say something else come before chains that only have other titles.
    different = [chain for chain in chains if chain in by_wording.values()]
    return tuple(dict.fromkeys([*different, *chains]))[:count]


def describe_example(example: Example) -> dict:
    """Return an example as plain data for JSON: scene, style and question."""
    plain = asdict(example)
    return plain | {
        "scene": {"kind": type(example.scene).__name__, **plain["scene"]},
        "id": content_hash(example.scene),
    }


def draw_examples(
    count: int, *, seed: int, split: str, families: Sequence[str], levels: Sequence[int] = LEVELS
) -> list[Example]:
    """Draw `count` examples balanced over families and levels, no two with the same scene and question."""
    examples: list[Example] = []
    known: set[tuple[str, str, str]] = set()
    number = 0
    while len(examples) < count:
        turn = len(examples)
        example = make_example(
            seed * 1_000_003 + number,
            split=split,
            family=families[turn % len(families)],
            level=levels[turn // len(families) % len(levels)],
        )
        number += 1
        key = (content_hash(example.scene), example.family, repr(example.asked))
        if key not in known:
            known.add(key)
            examples.append(example)
    return examples
