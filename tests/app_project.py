"""A small project for tests of the app, made by hand, and a model that says its lines slowly."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from PIL import Image, ImageDraw

from insightv_core.images import store_image
from insightv_core.records import (
    Assessment,
    JudgeCall,
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
from insightv_core.vlm import STOP, Conversation, Event, Reply, Usage

ATTACK = '<img src=x onerror="window.attacked=1"><script>window.attacked=1</script>'
MODEL = ModelVersion("handmade", "f" * 20)
SAMPLING = {"sampling": {"temperatures": [0.9], "seed": 11}}
WRITING = Run("a" * 20, "generate", MODEL, "1", SAMPLING, "0.1.0")
JUDGING = Run("b" * 20, "assess", MODEL, "1", {}, "0.1.0")
QUESTIONS = 60


def make_project(folder: FilePath, questions: int = QUESTIONS) -> FilePath:
    """Write a project with pictures, four paths for every second question, and a judge's word on most of them."""
    file = folder / "project.db"
    with open_store(file, create=True) as store:
        added = [make_question(store, number) for number in range(questions)]
        store.start_run(WRITING, command="insightv generate")
        store.start_run(JUDGING, command="insightv assess")
        for number, question in enumerate(added[::2]):
            paths = [make_path(question, sample) for sample in range(4)]
            store.add_paths(paths)
            add_assessments(store, *judge(number, question, paths))
        store.end_run(WRITING.id, "done", done=2 * questions)
    return file


def make_question(store: Store, number: int) -> Question:
    """Add a question about a picture of its own."""
    picture = Image.new("RGB", (64, 48), "white")
    ImageDraw.Draw(picture).rectangle((8, 40 - number % 30, 24 + number % 20, 44), fill=(number * 4 % 256, 80, 160))
    image = store_image(picture, store.folder / "images")
    family = "bar_total" if number % 3 else "table_sum"
    text = f"What is the total of chart {number}?" if number else f"Is {ATTACK} a bar?"
    question = Question(identify("q", number), text, str(number), image.sha256, "demo", "integer", family, 1)
    store.add_questions([(question, image)])
    return question


def make_path(question: Question, sample: int) -> Path:
    """Return a path: samples 0 to 2 share their first step and part then, sample 3 could not be read."""
    first = Step("Read the bars", f"red is {question.answer}, blue is 0.")
    second = Step("Add them up", f"the sum is {int(question.answer) + sample} on path {sample}.", "summary")
    turns = [StepRecord(json.dumps(vars(step)), step, True, 10, -2.0, 0.5) for step in (first, second)]
    if sample == 3:
        turns = [StepRecord(f"no JSON here {ATTACK}", None, False, 5, -9.0, 0.1)]
    return Path(
        identify("p", question.id, sample), question.id, WRITING.id, sample, "failed" if sample == 3 else "complete",
        tuple(turns), None if sample == 3 else str(int(question.answer) + sample),
        "step 1 could not be read in 3 tries: no JSON object" if sample == 3 else None,
        "" if sample == 3 else '{"answer": "1"}', 25, None if sample == 3 else -4.0, 1.1,
    )  # fmt: skip


def judge(number: int, question: Question, paths: list[Path]) -> tuple[list[Assessment], list[JudgeCall]]:
    """Return a judge's word on the first three paths; the last question's stay unjudged."""
    if number == QUESTIONS // 2 - 1:
        return [], []
    call = JudgeCall(
        identify("c", question.id), JUDGING.id, question.id, "single", 0, tuple(p.id for p in paths[:3]),
        f'{{"paths": "the judge said {number}"}}', None, 9, 0.2,
    )  # fmt: skip
    found = [
        Assessment(
            path.id, JUDGING.id, "wrong" if sample else "correct", f"answer {path.answer} against {question.answer}",
            "rules", (90, 40, 12)[sample], "", ("sound", "flawed" if sample else "sound"), sample + 1, call.id,
        )
        for sample, path in enumerate(paths[:3])
    ]  # fmt: skip
    return found, [call]


@dataclass
class SlowVLM:
    """A model that writes three steps, an answer and a verdict, a few letters at a time, until it is stopped."""

    version: ModelVersion = ModelVersion("slow", "slow")
    pause: float = 0.01
    asked: list = field(default_factory=list)
    stopped: bool = False
    letters: int = 0

    def converse(self, talks, sampling, *, adapter=None, listen=None, stop=None) -> Iterator[Conversation]:
        """Hold the talks."""
        for talk in talks:
            self.asked.append(talk)
            replies: list[Reply] = []
            while True:
                text = self.line(talk, len(replies))
                if not self.speak(talk.key, len(replies), text, listen, stop or (lambda: False)):
                    self.stopped = True
                    return
                replies.append(Reply(text, len(text) // 4, -1.0, STOP, 0.1))
                if talk.next_turn(replies) is None:
                    break
            yield Conversation(talk.key, 0, tuple(replies))

    def speak(self, key: str, turn: int, text: str, listen, stop: Callable[[], bool]) -> bool:
        """Say a text little by little; return whether it came to its end."""
        for end in range(6, len(text) + 6, 6):
            if stop():
                return False
            time.sleep(self.pause)
            self.letters += 6
            if listen:
                listen(Event(key, 0, turn, text[:end], end >= len(text)))
        return True

    def line(self, talk, turn: int) -> str:
        """Return what to say next; the verdict depends on whether the chain says "wrong on purpose"."""
        prompt = talk.messages[-1]["content"][-1]["text"]
        if "reasoning process for this question" in prompt:
            verdict = "flawed" if "wrong on purpose" in prompt else "sound"
            return json.dumps({"verdict": verdict, "answer": "12"})
        if "nothing else" in prompt:
            return "5"
        if turn == 3:
            return '{"answer": "12"}'
        steps = (("Read the bars", f"red is 3, {ATTACK}"), ("Compare", "blue is larger."), ("Add", "3 and 9 make 12."))
        action = "summary" if turn == 2 else "continue"
        return json.dumps({"summary": steps[turn][0], "content": steps[turn][1], "action": action})

    def usage(self) -> Usage:
        """Return nothing computed."""
        return Usage()
