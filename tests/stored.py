"""Records to fill a project with, for the tests of the store and of what reads it."""

from insightv_core.records import ModelVersion, Path, Question, Run, Step, StepRecord, StoredImage, identify

MODEL = ModelVersion("nano-teacher", "f" * 20)


def make_question(number, **changes):
    image = StoredImage(identify("image", number), 32, 24, 900)
    values = {"text": f"How many bars are above {number}?", "answer": "3", "image": image.sha256, "source": "demo"}
    return Question(**{"id": identify("question", number), "family": "bars"} | values | changes), image


def make_run(number=0, model=MODEL):
    return Run(identify("run", number), "generate", model, "1", {"temperature": 0.7, "seed": number}, "test")


def make_turn(content="Red is 3.", summary="Read the bars", accepted=True):
    return StepRecord(f'{{"content": "{content}"}}', Step(summary, content), accepted, 12, -3.5, 0.25)


def make_path(number, question, run, turns=None, **changes):
    turns = (make_turn(), make_turn("The sum is 7.")) if turns is None else turns
    values = {"sample": number, "status": "complete", "answer": "7", "failure": None, "final_raw": '{"answer": "7"}'}
    numbers = {"tokens": 30, "logprob": -7.0, "seconds": 0.5}
    return Path(identify("path", number), question.id, run.id, turns=turns, **values | numbers | changes)


def add_all(store, questions=3, runs=1, paths=6):
    """Fill a store and return what was put in: questions, runs and paths."""
    pairs = [make_question(number) for number in range(questions)]
    store.add_questions(pairs)
    made_runs = [make_run(number) for number in range(runs)]
    for run in made_runs:
        store.start_run(run)
    made = [make_path(n, pairs[n % questions][0], made_runs[n % runs]) for n in range(paths)]
    store.add_paths(made)
    return [question for question, _ in pairs], made_runs, made
