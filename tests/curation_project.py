"""A small project whose paths and scores are known by heart, for the tests of curating, pre-flight and export."""

from pathlib import Path as FilePath

from insightv_core.images import store_image
from insightv_core.parse import write_step
from insightv_core.records import (
    COMPLETE,
    FAILED,
    Assessment,
    Candidate,
    ModelVersion,
    Path,
    Question,
    Run,
    Step,
    StepRecord,
    identify,
)
from insightv_core.store import Store, open_store
from insightv_core.store.assessments import add_assessments

DEMO = FilePath(__file__).resolve().parents[1] / "data" / "demo" / "images"
MAKER = Run("maker-run", "generate", ModelVersion("maker", "maker"), "1", {"style": "progressive"}, "0")
AGENT = Run("agent-run", "generate", ModelVersion("agent", "agent"), "1", {"style": "chain"}, "0")
JUDGE = Run("judge-run", "assess", ModelVersion("judge", "judge"), "1", {"mode": "single"}, "0")
RULES = Run("rules-run", "assess", None, "1", {"mode": "rules"}, "0")

# Of each question: run, answer, score and which steps are flawed.
PATHS = (
    (MAKER, "right", 95, ()),
    (MAKER, "right", 55, (1,)),
    (MAKER, "right", 20, (0, 1)),
    (MAKER, "wrong", 30, (1,)),
    (MAKER, "wrong", 10, (0,)),
    (MAKER, None, None, ()),
    (AGENT, "right", 80, ()),
    (AGENT, "wrong", 15, (1,)),
)


def chain_of(sample: int, question: int) -> tuple[Step, ...]:
    """Return the chain of a path; all samples of a question begin alike, but for the fifth."""
    first = Step("Read the bars", f"kiwi is {question}, apple is {5 if sample == 4 else 9}.")
    return first, Step("Subtract", f"9 - {question} = {sample}.", "summary")


def candidate(name: str, outcome: str | None = "correct", score: int | None = 80, **more) -> Candidate:
    """Return a candidate with a chain of its own unless `chain` names one that others share."""
    texts = more.pop("chain", (f"{name} looks", f"{name} adds"))
    steps = tuple(Step("Think", text, "summary" if text == texts[-1] else "continue") for text in texts)
    given = {"run": "r", "style": "progressive", "status": COMPLETE, "assessed_by": "j"} | more
    return Candidate(path=name, steps=steps, outcome=outcome, score=score, **given)


def make_question(number: int, image: str = "0" * 64) -> Question:
    """Return a question whose true answer is "right"."""
    text = f"Which bar, of {number}?"
    return Question(f"question-{number}", text, "right", image, "test", "text", f"family {number % 2}", number % 3)


def make_path(question: Question, number: int, sample: int, run: Run, answer: str | None) -> Path:
    """Return a path as `generate` saves it."""
    steps = chain_of(sample, number) if answer else chain_of(sample, number)[:1]
    turns = tuple(StepRecord(write_step(step), step, True, 9, -1.0, 0.1) for step in steps)
    return Path(
        f"path-{number}-{sample}", question.id, run.id, sample, COMPLETE if answer else FAILED, turns, answer,
        None if answer else "no answer", "", 20, -2.0, 0.2,
    )  # fmt: skip


def make_assessment(path: Path, score: int | None, flawed: tuple[int, ...], run: Run = JUDGE) -> Assessment:
    """Return what the judge said of a path."""
    outcome = {"right": "correct", "wrong": "wrong"}.get(path.answer or "", "unparsed")
    verdicts = tuple("flawed" if place in flawed else "sound" for place in range(len(path.steps)))
    return Assessment(
        path.id, run.id, outcome, "", "rules", score, "", verdicts if score is not None else (), None, None
    )


def build_project(folder: FilePath, questions: int = 6) -> FilePath:
    """Make a project with pictures, paths of a generator and of an agent, and their assessments; return its file."""
    file = folder / "project.db"
    pictures = sorted(DEMO.glob("*.png"))
    with open_store(file, create=True) as store:
        stored = [store_image(pictures[number], folder / "images") for number in range(questions)]
        asked = [make_question(number, stored[number].sha256) for number in range(questions)]
        store.add_questions(zip(asked, stored, strict=True))
        for run in (MAKER, AGENT, JUDGE, RULES):
            store.start_run(run)
        for number, question in enumerate(asked):
            add_paths(store, question, number)
    return file


def add_paths(store: Store, question: Question, number: int) -> None:
    """Save the paths of a question with their assessments."""
    paths = [make_path(question, number, sample, PATHS[sample][0], PATHS[sample][1]) for sample in range(len(PATHS))]
    store.add_paths(paths)
    add_assessments(store, [make_assessment(path, *PATHS[path.sample][2:]) for path in paths])


def vote(store: Store, pair: str, choice: str, reviewer: str = "ann", event: str = "vote") -> None:
    """Save what a reviewer did with a pair."""
    with store.transaction():
        store.db.conn.execute("INSERT OR IGNORE INTO reviewers VALUES (?, 'reviewer', NULL, 0)", [reviewer])
        store.db.conn.execute(
            "INSERT INTO reviews (pair, reviewer, event, choice, details, created) "
            "SELECT key, ?, ?, ?, '{}', 0 FROM pairs WHERE id = ?",
            [reviewer, event, choice, pair],
        )


def name_pair(run: str, chosen: str, rejected: str, kind: str = "path") -> str:
    """Return the id of a pair."""
    return identify("pair", run, chosen, rejected, kind)
