"""A small project with curated pairs whose secrets are words that nothing else says, for the tests of reviewing."""

from pathlib import Path as FilePath

from curation_project import DEMO

from insightv_core.curate import CurateSettings, curate, name_run
from insightv_core.images import store_image
from insightv_core.parse import write_step
from insightv_core.records import Assessment, ModelVersion, Path, Question, Run, Step, StepRecord, identify
from insightv_core.store import Store, open_store
from insightv_core.store.assessments import add_assessments
from insightv_core.store.curation import (
    assessed_questions,
    describe_inputs,
    load_edits,
    load_preferences,
    save_curation,
)
from insightv_core.store.reviews import load_queue

ATTACK = '<img src=x onerror="window.attacked=1"><script>window.attacked=1</script>'
MODEL = ModelVersion("hidden-model", "fe" * 10)
WRITING = Run("1a" * 10, "generate", MODEL, "1", {"style": "chain", "sampling": {}}, "0")
JUDGING = Run("2b" * 10, "assess", ModelVersion("hidden-judge", "ed" * 10), "1", {"mode": "single"}, "0")
AGAIN = Run("3c" * 10, "assess", ModelVersion("hidden-judge", "ed" * 10), "1", {"mode": "pointwise"}, "0")
SECRETS = (
    "hidden-model", "hidden-judge", "hidden reason", "truth-key", "97", "3.141", "sound", "flawed", "correct", "wrong",
    "chosen", "rejected", "score",
)  # fmt: skip


def build_project(folder: FilePath, pairs: int = 6, *, flipped: tuple[int, ...] = (), close: tuple[int, ...] = ()):
    """Make a project with a pair a question; a second judging flips those of `flipped`, `close` ones score alike."""
    file = folder / "project.db"
    pictures = sorted(DEMO.glob("*.png"))
    with open_store(file, create=True) as store:
        stored = [store_image(picture, folder / "images") for picture in pictures[: min(pairs, 12)]]
        asked = [make_question(number, stored[number % len(stored)].sha256) for number in range(pairs)]
        store.add_questions([(each, stored[number % len(stored)]) for number, each in enumerate(asked)])
        for run in (WRITING, JUDGING, AGAIN):
            store.start_run(run)
        for number, question in enumerate(asked):
            paths = [make_path(question, number, sample) for sample in (0, 1)]
            store.add_paths(paths)
            scores = (75, 70 - number % 3) if number in close else (97, 13 + number % 3)
            if number in flipped:
                add_assessments(store, judge(paths, scores[::-1], AGAIN))
            add_assessments(store, judge(paths, scores, JUDGING))
        curate_pairs(store)
    return file


def curate_pairs(store: Store) -> str:
    """Curate as the command does and return the run."""
    run = name_run(CurateSettings(), describe_inputs(store, assess_run=JUDGING.id))
    made = curate(
        assessed_questions(store, assess_run=JUDGING.id), run, CurateSettings(), preferences=load_preferences(store),
        edits=load_edits(store),
    )  # fmt: skip
    store.start_run(run)
    save_curation(store, run.id, {}, made.pairs, {})
    store.end_run(run.id, "done")
    return run.id


def make_question(number: int, image: str) -> Question:
    """Return a question whose true answer is no word of any path."""
    text = f"Which bar is taller, of {number}?{ATTACK if number == 0 else ''}"
    return Question(identify("rq", number), text, f"truth-key-{number}", image, "test", "text", "family", 1)


def make_path(question: Question, number: int, sample: int) -> Path:
    """Return a path that shares its first step with the other one."""
    steps = [
        Step("Read the bars", f"kiwi is {number}, apple is 9.{ATTACK if number == 0 else ''}"),
        Step("Compare", f"apple is taller by {'nine' if sample else 'eleven'}, so the answer follows."),
        *([] if sample else [Step("Answer", "It is apple.")]),
    ]
    steps[-1] = Step(steps[-1].summary, steps[-1].content, "summary")
    turns = tuple(StepRecord(write_step(step), step, True, 9, -3.141, 0.1) for step in steps)
    return Path(
        identify("rp", number, sample), question.id, WRITING.id, sample, "complete", turns,
        "kiwi" if sample else "apple", None, "", 20, -3.141, 0.2,
    )  # fmt: skip


def judge(paths, scores: tuple[int, int], run: Run) -> list[Assessment]:
    """Return what the judge said: the first path is right, the second is not."""
    return [
        Assessment(
            path.id, run.id, "wrong" if path.sample else "correct", "hidden reason", "rules", score, "",
            tuple("flawed" if path.sample and place else "sound" for place in range(len(path.steps))), None, None,
        )
        for path, score in zip(paths, scores, strict=True)
    ]  # fmt: skip


def pair_ids(store: Store) -> list[str]:
    """Return the pairs of the newest curating run in the order of the queue."""
    run = store.value("SELECT id FROM runs WHERE stage = 'curate' ORDER BY updated DESC")
    return [pair.id for pair in load_queue(store, run)]
