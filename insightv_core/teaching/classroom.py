"""The project that the notebooks share: each continues what the others made, and runs alone as well.

Every stage is named by its settings, so a notebook that is run again, or after another one, adds nothing twice.
"""

import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from insightv_core.assess import AssessSettings
from insightv_core.curate import CurateSettings, Curation
from insightv_core.errors import UserError
from insightv_core.generate import GenerateSettings
from insightv_core.records import Assessment, Question, Run, Sampling
from insightv_core.store import Store, open_store
from insightv_core.train.settings import DPOSettings, SFTSettings
from insightv_core.vlm import VLM

if TYPE_CHECKING:
    from insightv_core.agents import Agent
    from insightv_core.rounds import RoundsSettings
    from insightv_core.train.run import Trained

ROOT = Path(__file__).resolve().parents[2]  # a notebook comes here by way of ".."
DEMO = ROOT / "data" / "demo"
STAGES = QUESTIONS, PATHS, SCORES, SETS, AGENTS = "questions", "paths", "scores", "sets", "agents"
REASON, SUMMARY = "reason", "summary"


@dataclass(frozen=True)
class Sizes:
    """Which models the notebooks use, and how much of everything."""

    teacher: str = "nano-teacher"
    base: str = "nano-base"
    file: Path = ROOT / "data" / "notebooks.db"
    questions: int = 40
    paths: int = 4
    epochs: float = 6.0
    learning_rate: float = 1e-3
    preference_rate: float = 2e-4
    held_out: int = 36
    chain_tokens: int = 320  # an agent that has learned little writes on and on
    round_judge: str | None = None  # nano's scores are no guide yet, so rounds pair by right and wrong answers


ON_CPU = Sizes()
ON_GPU = Sizes(
    teacher="Qwen/Qwen2.5-VL-7B-Instruct", base="Qwen/Qwen2.5-VL-7B-Instruct",
    file=ROOT / "data" / "notebooks-gpu.db", questions=300, paths=8, epochs=2.0, learning_rate=2e-4,
    preference_rate=5e-6, held_out=216, chain_tokens=2048, round_judge="Qwen/Qwen2.5-VL-7B-Instruct",
)  # fmt: skip

TINY = Sizes(questions=12, paths=4, epochs=2.0, held_out=6)


@dataclass(frozen=True)
class Classroom:
    """The open project of the notebooks, and the settings that they agree on."""

    store: Store
    sizes: Sizes

    @property
    def questions(self) -> list[Question]:
        """The questions that the notebooks work on."""
        return list(islice(self.store.questions(source=DEMO.name), self.sizes.questions))

    @cached_property
    def teacher(self) -> VLM:
        """The strong model: it writes the paths, and judges them."""
        return load(self.sizes.teacher)

    @cached_property
    def base(self) -> VLM:
        """The model that both agents are trained from."""
        return load(self.sizes.base)

    @property
    def generating(self) -> GenerateSettings:
        """How paths are sampled."""
        return GenerateSettings(Sampling((0.9,)))

    @property
    def assessing(self) -> AssessSettings:
        """How paths are judged."""
        return AssessSettings()

    @property
    def curating(self) -> CurateSettings:
        """What goes into the training sets."""
        return CurateSettings()

    @property
    def tuning(self) -> SFTSettings:
        """How both agents are fine-tuned."""
        return SFTSettings(learning_rate=self.sizes.learning_rate, epochs=self.sizes.epochs)

    def preferring(self, beta: float = 0.1) -> DPOSettings:
        """How the reasoning agent is trained on pairs: beta as in the paper, a higher rate for so few steps."""
        return DPOSettings(beta=beta, learning_rate=self.sizes.preference_rate, gradient_accumulation=1, warmup=0.0)

    def rounds(self, count: int, beta: float = 0.1) -> "RoundsSettings":
        """How many rounds of DPO, and of what; their judge's run is their own, so that the sets stay what they are."""
        from insightv_core.rounds import RoundsSettings

        return RoundsSettings(
            count, self.sizes.questions, self.sizes.paths, judge=self.sizes.round_judge, evaluate=0,
            sampling=Sampling((0.9,), max_tokens=self.sizes.chain_tokens),
            assess=replace(self.assessing, seed=1), curate=self.curating, training=self.preferring(beta),
        )  # fmt: skip

    def adapter(self, role: str) -> str:
        """Return the folder of the fine-tuned agent, "reason" or "summary", trained on the sets of this classroom."""
        return train(self, role).folder

    def agents(self) -> "tuple[Agent, Agent]":
        """Return both agents, trained on enough questions to tell: nano's come along, others are this classroom's."""
        from insightv_core.agents import Agent
        from insightv_core.team import find_team

        team = find_team(None)
        if team.adapter and team.model == self.sizes.base:
            return Agent(self.base, team.adapter), Agent(self.base, team.summary_adapter)
        prepare(self, AGENTS)
        return Agent(self.base, self.adapter(REASON)), Agent(self.base, self.adapter(SUMMARY))


def open_classroom(
    upto: str = QUESTIONS, *, real_gpu: bool = False, questions: int | None = None, file: Path | None = None
) -> Classroom:
    """Open the notebooks' project and do what is still missing up to a stage: what earlier notebooks would have made.

    `upto` is "questions", "paths", "scores", "sets" or "agents". The file is that of INSIGHTV_PROJECT where it is set,
    else `data/notebooks.db`; `real_gpu` takes another model, other sizes and a file of its own. Where the environment
    variable INSIGHTV_TINY is set, everything is as small as it can be, for trying the notebooks out. `questions` takes
    that many of them only.
    """
    if "ipykernel" in sys.modules:
        quieten(downloads=real_gpu)
    if upto not in STAGES:
        raise UserError(f"there is no stage {upto!r}: choose one of {', '.join(STAGES)}")
    sizes = ON_GPU if real_gpu else TINY if os.environ.get("INSIGHTV_TINY") else ON_CPU
    sizes = replace(sizes, questions=questions or sizes.questions)
    chosen = Path(file or os.environ.get("INSIGHTV_PROJECT") or sizes.file)
    chosen.parent.mkdir(parents=True, exist_ok=True)
    room = Classroom(open_store(chosen, create=True), sizes)
    prepare(room, upto)
    return room


def prepare(room: Classroom, upto: str) -> None:
    """Do what is still missing up to a stage."""
    wanted = STAGES[: STAGES.index(upto) + 1]
    if not room.store.question_count(DEMO.name):
        from insightv_core.importing import import_questions

        import_questions(room.store, DEMO, name=DEMO.name)
    if PATHS in wanted:
        make_paths(room, room.teacher, room.generating)
    if SCORES in wanted:
        assess_paths(room, room.teacher, room.assessing)
    if SETS in wanted:
        make_sets(room, room.curating)
    if AGENTS in wanted:
        for role in (REASON, SUMMARY):
            train(room, role)


def quieten(*, downloads: bool) -> None:
    """Keep what libraries tell their developers out of the cells; bars of downloads stay where there are any."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not downloads:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # Bars of text are meant: they need no extension of the notebook and stay readable where it is only looked at.
    warnings.filterwarnings("ignore", message="IProgress not found")
    warnings.filterwarnings("ignore", message="Already found a `peft_config`")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def load(name: str) -> VLM:
    """Load a model, or connect to the servers that the name gives."""
    from insightv_core.vlm.loading import load_vlm

    return load_vlm(name)


# -- the stages, saved -------------------------------------------------------------------------------------------------


def make_paths(
    room: Classroom,
    vlm: VLM,
    settings: GenerateSettings,
    *,
    questions: Sequence[Question] | None = None,
    count: int | None = None,
) -> Run:
    """Generate what is missing of `count` paths for each question, save each as it ends, and return the run."""
    from insightv_core.generate import generate, name_run

    run = name_run(vlm.version, settings)
    asked = room.questions if questions is None else questions
    samples = range(count or room.sizes.paths)
    made = room.store.samples_of(run.id)
    missing = [(each, [k for k in samples if k not in made.get(each.id, ())]) for each in asked]
    left = sum(len(wanted) for _, wanted in missing)
    if left:
        room.store.start_run(run, total=len(asked) * len(samples))
        found = generate(missing, vlm, run, settings, image_file=room.store.image_file)
        for path in bar(found, left, "paths"):
            room.store.add_paths([path])
        room.store.end_run(run.id, "done", done=len(asked) * len(samples))
    return run


def assess_paths(
    room: Classroom,
    judge: VLM | None,
    settings: AssessSettings,
    *,
    questions: Sequence[Question] | None = None,
) -> Run:
    """Assess the teacher's paths that this judge has not assessed yet with these settings, and return the run.

    Paths of others, such as the agents' in rounds of DPO, stay out of it: the sets would change with them.
    """
    from insightv_core import generate
    from insightv_core.assess import assess, doubt_judge, name_run
    from insightv_core.store.assessments import add_assessments, missing_paths

    run = name_run(judge.version if judge else None, settings)
    asked = room.questions if questions is None else questions
    written = generate.name_run(room.teacher.version, room.generating).id
    missing = [(each, missing_paths(room.store, run.id, each.id, paths_run=written)) for each in asked]
    missing = [(question, paths) for question, paths in missing if paths]
    if missing:
        total = sum(len(paths) for _, paths in missing)
        room.store.start_run(run, total=total)
        assessed = assess(
            missing, judge, run, settings, image_file=room.store.image_file, doubt=doubt_judge(judge)
        )  # fmt: skip
        for assessments, calls in bar(assessed, len(missing), "questions judged"):
            add_assessments(room.store, assessments, calls)
        room.store.end_run(run.id, "done", done=total)
    return run


def make_sets(room: Classroom, settings: CurateSettings) -> tuple[Run, Curation]:
    """Curate the teacher's paths and save the sets.

    Only the classroom's own assessing run counts, so that what is judged beside it does not change the sets.
    """
    from insightv_core import assess, generate
    from insightv_core.curate import curate, name_run
    from insightv_core.store.curation import (
        assessed_questions,
        describe_inputs,
        load_edits,
        load_preferences,
        save_curation,
    )

    store = room.store
    written = generate.name_run(room.teacher.version, room.generating).id
    judged = assess.name_run(room.teacher.version, room.assessing).id
    chosen: dict[str, Any] = {
        "runs": [written], "assess_run": judged, "source": DEMO.name, "limit": room.sizes.questions,
    }  # fmt: skip
    material = list(assessed_questions(store, **chosen))
    counts = Counter(each.assessed_by for _, candidates in material for each in candidates)
    # What is there of other questions is no input: the same sets keep their name when more is generated and judged.
    inputs = describe_inputs(store, **chosen) | {
        "paths": {written: counts.total()}, "assessments": {judged: counts[judged]},
    }  # fmt: skip
    run = name_run(settings, inputs)
    found = curate(material, run, settings, preferences=load_preferences(store), edits=load_edits(store))
    store.start_run(run, total=found.funnel["questions"])
    manifest = {"funnel": dict(found.funnel), "left_out": {name: dict(each) for name, each in found.left_out.items()}}
    save_curation(store, run.id, {REASON: found.reason, SUMMARY: found.summary}, found.pairs, manifest)
    store.end_run(run.id, "done", done=found.funnel["questions"])
    return run, found


def train(room: Classroom, role: str) -> "Trained":
    """Return the fine-tuned agent of a role, "reason" or "summary", training it where that is not done yet."""
    from insightv_core.train.run import train_agent

    curated, _ = make_sets(room, room.curating)
    return train_agent(room.store, role, room.sizes.base, room.tuning, curation=curated.id)


def play_rounds(room: Classroom, rounds: int = 3, *, beta: float = 0.1) -> "list[Trained]":
    """Train the reasoning agent in rounds of DPO, and say in a line what each came to; return what was trained.

    A weak agent may write chains of which no two make a pair. The rounds end there, and where there was none at all,
    one on the teacher's pairs takes their place.
    """
    from insightv_core.rounds import run_rounds
    from insightv_core.train.run import train_round

    start = room.adapter(REASON)
    tell: Callable[[str], None] = print
    for count in range(rounds, 0, -1):  # a round that cannot be trained leaves those before it, which are kept
        try:
            played = run_rounds(room.store, room.sizes.base, start, room.rounds(count, beta), tell=tell)
            return [each.trained for each in played]
        except UserError as error:
            tell(f"the agent's own chains end the rounds: {error}")
            tell = say_nothing
    curated, _ = make_sets(room, room.curating)
    print("one round on the teacher's pairs takes their place")
    return [train_round(room.store, room.sizes.base, start, room.preferring(beta), curation=curated.id)]


def say_nothing(line: str) -> None:
    """Take a line and leave it at that."""


def bar(iterable: Iterable, total: int, unit: str) -> Iterator[Any]:
    """Pass on what comes under a progress bar."""
    from tqdm import tqdm

    return iter(tqdm(iterable, total=total, unit=f" {unit}"))


def assessments_by_path(room: Classroom, run: str) -> dict[str, Assessment]:
    """Return the assessments of an assessing run by path id."""
    from insightv_core.store.assessments import assessments_of

    return {each.path: each for each in assessments_of(room.store, run=run)}
