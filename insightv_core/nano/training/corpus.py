"""What nano reads while it is trained: conversations about pictures and about scenes in words.

nano-base gets captions, perception questions and direct answers about pictures, and reasons about scenes in words
only: it never sees a multi-step chain about a picture. nano-teacher starts from nano-base and gets step-by-step chains
about pictures and the judging of several paths at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from insightv_core import prompts
from insightv_core.nano.questions.captions import describe
from insightv_core.nano.questions.slips import misread
from insightv_core.nano.questions.writer import compare
from insightv_core.nano.scenes import Scene, Style, sample_style
from insightv_core.nano.training.looks import ask_looks
from insightv_core.nano.training.lookup import converse_lookup
from insightv_core.nano.training.wordings import MORE_WORDINGS
from insightv_core.nano.verify import verify_step
from insightv_core.nano.world import FAMILIES, PERCEPTION, REASONING, Example, make_question, split_of, write_chain
from insightv_core.parse import (
    FLAWED,
    SOUND,
    PathVerdict,
    SummaryReply,
    write_answer,
    write_step,
    write_summary,
    write_verdicts,
)
from insightv_core.records import Step

CONVERSATIONS_PER_SCENE = 4
# The teacher is a strong solver, not a perfect one: this share of the chains it learns from holds a slip, so that its
# samples at temperature differ in truth as well as in wording, as a large model's do.
TEACHER_SLIPS = 0.15
BLANK_SHARE = 0.02
# Drawn more often than others: the angles of triangles, whose numbers are of another kind and which no perception
# family asks for, places in a grid, which are learned late, what else the teacher was weak in when its fifth run began,
# and counting for the base, which knows no steps for it.
SHOWN_MORE = {
    "base": ("triangle_angle", "count_few", "count_few"),
    "teacher": (
        "triangle_angle", "triangle_angle", "triangle_angle", "triangle_angle", "grid_walk", "grid_walk",
        "polygon_perimeter", "polygon_perimeter", "pie_difference", "table_column_difference", "production_false",
    ),
}  # fmt: skip
LOOKS = (2, 6)  # small questions in a row after those of the families
MAX_JUDGED_PATHS = 8
MARKED_PATHS = (3, 12)  # judged in a row in words, the last step of each
MARKED_SOUND = 0.2  # of these; the others are misread twice, so that two answers in five are wrong
BLIND_JUDGE_SHARE = 0.2  # of the passes, where the judge is not told the correct answer
JUDGED_WEIGHTS = (6, 5, 4, 3, 2, 2, 2, 3)  # of one to eight paths in a pass
# Of the paths to judge; with half of them, four of five steps are sound, and "sound" is a good guess.
JUDGED_FLAWED = 0.65
MISREADINGS = (1, 1, 2, 4)  # in a path to judge: nano's own chains that go wrong hold one wrong reading or many
LOOKS_SHARE = 0.2  # of the chains and of the judging, about what one look tells
MOST_SUMS = 16  # in a row: with six, the tens of "52 - 26" were lost where one is borrowed
MOST_CHECKS = 12  # comparisons in a row: 6,000 in all were too few to find out what equal means
MORE_QUESTIONS = {"perception": 7, "direct": 3}  # about one picture beside the first: its encoding costs the most
GIVEN = ("{}", "{}.", "The answer is {}.", "It is {}", "{} in all", "answer: {}", "So we get {}.")
MORE_WORDINGS_SHARE = 0.4  # of the questions
# Kinds of conversation and their weights. Text kinds come with no picture.
MIXES = {
    "base": {
        "caption": 3, "perception": 7, "direct": 7,
        "text chain": 2, "text reason": 1.5, "text think": 0.3, "text direct": 0.4, "text summarize": 1,
        "arithmetic": 1.5, "lookup": 3, "check": 0.8,
    },
    "teacher": {
        "caption": 1.2, "perception": 4, "direct": 0.5, "chain": 9, "repair": 0.2, "judge": 1.5,
        "text judge": 0.7, "text chain": 1, "text summarize": 0.2, "arithmetic": 1.6, "lookup": 3.5, "check": 0.4,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Conversation:
    """Chat messages to learn from, every assistant turn of them; `kind` names the skill, for a loss of its own."""

    kind: str
    messages: tuple[dict, ...]


@dataclass(frozen=True)
class TrainingScene:
    """One picture and the conversations about it; `blank` shows an empty picture in its place."""

    scene: Scene
    style: Style
    conversations: tuple[Conversation, ...]
    blank: bool = False


@dataclass(frozen=True)
class WrittenPath:
    """A path written for an example: its steps, its answer, and the exact verdict on each step."""

    steps: tuple[Step, ...]
    answer: str
    verdicts: tuple[str, ...]
    score: int


def training_scene(model: str, seed: int, index: int, progress: float) -> TrainingScene:
    """Return the `index`-th training scene for "tower", "base" or "teacher": a function of its arguments alone.

    The tower's scenes come without conversations: what stands where in the picture is its lesson. `progress` from 0
    to 1 drives the curriculum of `plan_lesson`.
    """
    rng = Random(f"corpus:{model}:{seed}:{index}")
    if model == "tower":
        example = draw_training_example(rng, rng.choice(list(FAMILIES)), rng.choice((1, 2, 3, 3)))
        return TrainingScene(example.scene, example.style, ())
    blank = rng.random() < BLANK_SHARE
    perception_share = 0.5 if model == "base" else 0.2
    kinds = PERCEPTION if rng.random() < perception_share else REASONING
    pool = (*kinds, *(name for name in SHOWN_MORE[model] if name in kinds))
    levels, mix = plan_lesson(model, progress)
    example = draw_training_example(rng, rng.choice(pool), rng.choice(levels))
    mix = {"direct": 1} if blank else mix
    lessons = rng.choices(list(mix), list(mix.values()), k=CONVERSATIONS_PER_SCENE)
    conversations = tuple(converse(kind, example, rng) for kind in lessons)
    return TrainingScene(example.scene, example.style, conversations, blank)


def plan_lesson(model: str, progress: float) -> tuple[tuple[int, ...], dict[str, float]]:
    """Return the levels of scenes to draw from and the mix of conversations at that point of a run.

    Small scenes come first. nano-base spends its first quarter on captions and perception alone: among many other
    lessons it would take far longer to discover that the picture says what comes next.
    """
    levels = ((1,), (1, 1, 2), (1, 2, 2, 3), (1, 2, 3, 3))[sum(progress >= edge for edge in (0.05, 0.15, 0.25))]
    mix = MIXES[model]
    if model == "base" and progress < 0.25:
        mix = {kind: mix[kind] for kind in ("caption", "perception")}
    return levels, mix


def draw_training_example(rng: Random, family: str, level: int) -> Example:
    """Draw an example of the training split; several questions can be asked about its scene."""
    while True:
        scene = FAMILIES[family].sample(rng, level)
        example = ask_about(scene, family, rng, level) if split_of(scene) == "train" else None
        if example:
            return example


def ask_about(scene: Scene, family: str, rng: Random, level: int = 0, style: Style | None = None) -> Example | None:
    """Ask a family's question about a scene, or return None where it does not suit."""
    made = make_question(FAMILIES[family], scene, rng, "train")
    if made is None:
        return None
    asked, question = made
    if rng.random() < MORE_WORDINGS_SHARE:
        # Options follow on lines of their own, whatever the words before them.
        question = "\n".join([rng.choice(MORE_WORDINGS[family]).format(**asked), *question.split("\n")[1:]])
    chosen = FAMILIES[family]
    return Example(
        "train", 0, family, level, scene, style or sample_style(rng), question, chosen.solve(scene, asked),
        chosen.answer_type, asked, tuple(asked.get("options", ())),
    )  # fmt: skip


def another_question(example: Example, rng: Random, families: tuple[str, ...]) -> Example:
    """Ask another question about the example's picture, of one of the families where one suits."""
    fitting = [name for name in families if isinstance(example.scene, FAMILIES[name].pictures)]
    for family in rng.sample(fitting, len(fitting)):
        asked = ask_about(example.scene, family, rng, example.level, example.style)
        if asked:
            return asked
    return example


def converse(kind: str, example: Example, rng: Random) -> Conversation:
    """Write one conversation of that kind about the example's scene."""
    if kind == "caption":
        return Conversation(kind, (*prompts.caption(), prompts.assistant(describe(example.scene, rng))))
    if kind == "arithmetic":
        return converse_arithmetic(rng)
    if kind == "lookup":
        return Conversation(kind, converse_lookup(rng))
    looks = kind == "perception" or (kind in ("chain", "judge") and rng.random() < LOOKS_SHARE)
    example = another_question(example, rng, PERCEPTION if looks else REASONING)
    if kind == "check":
        return converse_check(example, rng)
    described = describe(example.scene, rng) if kind.startswith("text") else None
    if kind in ("perception", "direct", "text direct"):
        return converse_direct(kind, example, rng, described)
    if kind == "judge":
        return converse_judge(example, rng)
    if kind == "text judge":
        return converse_marking(example, rng, described)
    if kind == "text summarize":
        return converse_summarize(example, rng, described)
    flawed = kind in ("chain", "repair") and rng.random() < TEACHER_SLIPS
    path = write_flawed_path(example, rng) if flawed else write_chain(example, rng)
    return Conversation(kind, tuple(converse_chain(kind, example, path, rng, described)))


def converse_direct(kind: str, example: Example, rng: Random, described: str | None) -> Conversation:
    """Write direct answers: about a picture several, to different questions in a row."""
    looks = ask_looks(example.scene, rng, rng.randint(*LOOKS)) if kind == "perception" else []
    # Of some pictures no family asks what one look tells; then the small questions stand alone.
    asked = {} if looks and example.family not in PERCEPTION else {example.question: example.answer}
    for _ in range(rng.randint(0, MORE_QUESTIONS.get(kind, 0)) if asked else 0):
        example = another_question(example, rng, PERCEPTION if kind == "perception" else REASONING)
        asked.setdefault(example.question, example.answer)
    turns = [*asked.items(), *looks]
    messages = [*prompts.ask(turns[0][0], prompts.DIRECT, described=described), prompts.assistant(turns[0][1])]
    for turn in turns[1:]:
        messages += another_turn(*turn)
    return Conversation(kind, tuple(messages))


def another_turn(question: str, answer: str) -> list[dict]:
    """Return a direct question and its answer without the picture and the system prompt, which stand before."""
    return [prompts.user(f"{question}\n{prompts.DIRECT}"), prompts.assistant(answer)]


def converse_chain(kind: str, example: Example, path: tuple, rng: Random, described: str | None) -> list[dict]:
    """Write a path as step-by-step turns, as one reply of JSON lines, or as plain thinking."""
    steps, answer = path
    if kind == "text reason":
        lines = "\n".join(map(write_step, steps))
        return [*prompts.ask(example.question, prompts.REASON, described=described), prompts.assistant(lines)]
    if kind == "text think":
        thoughts = " ".join(step.content for step in steps) + f"\nAnswer: {answer}"
        return [*prompts.ask(example.question, prompts.THINK, described=described), prompts.assistant(thoughts)]
    messages = prompts.ask(example.question, prompts.GENERATE, described=described)
    broken_at = rng.randrange(len(steps)) if kind == "repair" else -1
    for number, step in enumerate(steps):
        if number:
            messages.append(prompts.user(prompts.CONTINUE))
        if number == broken_at:
            messages += [unlearned(break_reply(write_step(step), rng)), prompts.user(prompts.REPAIR)]
        messages.append(prompts.assistant(write_step(step)))
    return [*messages, prompts.user(prompts.FINAL), prompts.assistant(write_answer(answer))]


def unlearned(text: str) -> dict:
    """Return an assistant turn to read but not to learn: the trainer masks turns marked so."""
    return prompts.assistant(text) | {"learn": False}


def break_reply(reply: str, rng: Random) -> str:
    """Spoil a JSON reply the way a model does: cut off, unquoted, or plain text."""
    return rng.choice(
        (reply[: rng.randrange(1, len(reply))], reply.replace('"', ""), reply[1:], "I will think about it.")
    )


def converse_arithmetic(rng: Random) -> Conversation:
    """Write up to `MOST_SUMS` bare sums, differences, products or comparisons in a row."""
    question, answer = draw_sum(rng)
    system = prompts.ask(question, prompts.DIRECT)[0]
    messages = [system, *another_turn(question, answer)]
    for _ in range(rng.randint(0, MOST_SUMS - 1)):
        question, answer = draw_sum(rng)
        messages += another_turn(question, answer)
    return Conversation("arithmetic", tuple(messages))


def draw_sum(rng: Random) -> tuple[str, str]:
    """Draw a question of arithmetic of the size that chains need, and its answer."""
    kind = rng.choice(("+", "+", "+", "-", "-", "-", "x", "largest", "smallest", "more", "against", "against"))
    if kind in ("largest", "smallest"):
        numbers = [rng.randint(1, 20) for _ in range(rng.randint(3, 6))]
        answer = max(numbers) if kind == "largest" else min(numbers)
        return f"Which is the {kind} of {', '.join(map(str, numbers))}?", str(answer)
    if kind == "more":
        left = rng.randint(1, 40)
        right = max(1, left + rng.choice((-9, -3, -2, -1, 0, 1, 2, 3, 9)))
        return f"Is {left} more than {right}?", "yes" if left > right else "no"
    if kind == "against":
        left = rng.randint(1, 99 if rng.random() < 0.5 else 20)
        right = max(1, left + rng.choice((-30, -10, -7, -4, -2, -1, 0, 0, 0, 0, 1, 2, 4, 7, 10, 30)))
        return f"Set {left} against {right}.", f"{left} against {right} is {compare(left, right)}"
    if kind == "x":
        left, right = rng.randint(1, 30), rng.randint(1, 12)
        return f"What is {left} x {right}?", str(left * right)
    left, right = rng.randint(0, 90), rng.randint(0, rng.choice((15, 60)))
    if kind == "+":
        return f"What is {left} + {right}?", str(left + right)
    left = 180 if rng.random() < 0.25 else max(left, right)
    return f"What is {left} - {right}?", str(left - right)


def converse_check(example: Example, rng: Random) -> Conversation:
    """Write comparisons of two answers, right or wrong, in other words."""
    messages: list[dict] = []
    for number in range(rng.randint(1, MOST_CHECKS)):
        example = another_question(example, rng, REASONING) if number else example
        same = rng.random() < 0.5
        given = rng.choice(GIVEN).format(example.answer if same else other_answer(example, rng))
        asked = prompts.check(example.question, example.answer, given)
        messages += asked[1:] if number else asked  # the system prompt stands once
        messages.append(prompts.assistant('{"same": true}' if same else '{"same": false}'))
    return Conversation("check", tuple(messages))


def other_answer(example: Example, rng: Random) -> str:
    """Return a wrong answer of the right kind."""
    if example.answer_type == "integer":
        return str(max(0, int(example.answer) + rng.choice((-10, -2, -1, 1, 2, 3, 10))) or int(example.answer) + 1)
    pool = {"yes/no": ("yes", "no"), "option": tuple("ABCD")}.get(example.answer_type)
    if pool is None:
        pool = tuple(ask.answer for ask in (draw_training_example(rng, example.family, 2) for _ in range(4)))
        pool = tuple(word for word in pool if word != example.answer) or ("none",)
    return rng.choice([each for each in pool if each != example.answer])


def write_flawed_path(example: Example, rng: Random, misreadings: int = 1) -> tuple[tuple[Step, ...], str]:
    """Write a path with a misreading or several, a slip, or both; its answer may still be right."""
    kind, seen = rng.random(), example.scene
    for _ in range(misreadings if kind < 0.7 else 0):
        seen = misread(seen, rng)
    return write_chain(example, rng, seen=seen, slip_rate=0.35 if kind > 0.55 else 0.0)


def assess_exactly(example: Example, steps: tuple[Step, ...], answer: str) -> WrittenPath:
    """Judge a path by the exact verifier: each step's verdict and the score that the judge learns to give."""
    verdicts = tuple(
        FLAWED
        if verify_step(step, example.scene, answer=example.answer, statements=example.options) == "flawed"
        else SOUND
        for step in steps
    )
    return WrittenPath(steps, answer, verdicts, score_path(verdicts, answer == example.answer))


def score_path(verdicts: tuple[str, ...], right: bool) -> int:
    """Return the 1-100 score of a path from its step verdicts and its answer.

    Sound paths with the right answer get 70 and 5 a step (detail) up to 100; a right answer by a flawed way 30 to 60,
    and a wrong answer 5 to 30, less the larger the share of flawed steps.
    """
    flawed = verdicts.count(FLAWED) / len(verdicts)
    if right and not flawed:
        return min(100, 70 + 5 * len(verdicts))
    return round(60 - 30 * flawed if right else 30 - 25 * flawed)


def write_paths(example: Example, rng: Random, count: int) -> list[WrittenPath]:
    """Write paths for one question, two thirds of them flawed."""
    paths = []
    for _ in range(count):
        if rng.random() < JUDGED_FLAWED:
            steps, answer = write_flawed_path(example, rng, rng.choice(MISREADINGS))
        else:
            steps, answer = write_chain(example, rng)
        paths.append(assess_exactly(example, steps, answer))
    return paths


def converse_judge(example: Example, rng: Random) -> Conversation:
    """Write the judging of one to eight paths of a question in one pass."""
    count = rng.choices(range(1, MAX_JUDGED_PATHS + 1), JUDGED_WEIGHTS)[0]
    truth = None if rng.random() < BLIND_JUDGE_SHARE else example.answer
    return write_judging("judge", example, write_paths(example, rng, count), truth)


def converse_marking(example: Example, rng: Random, described: str | None) -> Conversation:
    """Write the judging of many last steps about a scene in words: most of it is comparing answers with the truth."""
    paths = []
    for _ in range(rng.randint(*MARKED_PATHS)):
        steps, answer = write_chain(example, rng) if rng.random() < MARKED_SOUND else write_flawed_path(example, rng, 2)
        paths.append(assess_exactly(example, steps[-1:], answer))
    return write_judging("text judge", example, paths, example.answer, described)


def write_judging(
    kind: str, example: Example, paths: list[WrittenPath], truth: str | None, described: str | None = None
) -> Conversation:
    """Write a judge's pass over paths whose verdicts are known; `truth` None leaves the correct answer out."""
    shown = [(path.steps, path.answer) for path in paths]
    messages = prompts.judge(example.question, truth, shown, described=described)
    verdicts = [
        PathVerdict(number, path.verdicts, path.score, path.answer, path.answer == example.answer)
        for number, path in enumerate(paths, 1)
    ]
    return Conversation(kind, (*messages, prompts.assistant(write_verdicts(verdicts))))


def converse_summarize(example: Example, rng: Random, described: str | None) -> Conversation:
    """Write the summary agent's task on a scene in words: is the chain sound, and what is the answer."""
    path = write_paths(example, rng, 1)[0]
    verdict = FLAWED if FLAWED in path.verdicts or path.answer != example.answer else SOUND
    messages = prompts.summarize(example.question, prompts.format_chain(path.steps), described=described)
    return Conversation(
        "text summarize", (*messages, prompts.assistant(write_summary(SummaryReply(verdict, example.answer))))
    )


def tokenizer_texts(count: int) -> Iterator[str]:
    """Yield texts of training conversations, for the tokenizer to learn its merges from."""
    for index in range(count):
        model = ("base", "teacher")[index % 2]
        for conversation in training_scene(model, 99, index, 1.0).conversations:
            for message in conversation.messages:
                yield from (part["text"] for part in message["content"] if part["type"] == "text")
