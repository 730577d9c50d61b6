"""What nano can do, measured on fresh evaluation scenes with held-out phrasings.

The measured figures are those of the model cards. Everything is counted exactly: answers against the scene, steps
against the exact verifier, and blank pictures against the best blind guess.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path as FilePath
from statistics import fmean
from typing import TYPE_CHECKING

from insightv_core import prompts
from insightv_core.assess import AssessSettings, split_evenly
from insightv_core.generate import GenerateSettings, follow, next_request
from insightv_core.judge import describe_scores
from insightv_core.nano.model import prepare_image
from insightv_core.nano.render import SIZE, render
from insightv_core.nano.verify import verify_step
from insightv_core.nano.world import PERCEPTION, REASONING, Example, draw_examples
from insightv_core.parse import Unparsed, parse_answer, parse_step, parse_verdicts
from insightv_core.records import SUMMARY, Sampling, Step
from insightv_core.vlm import VLM, Reply, Talk
from insightv_core.vlm.local import load_local

if TYPE_CHECKING:
    from PIL import Image

SAMPLES = 8
TEMPERATURE = 0.9
REPLY_TOKENS = 200  # nano's longest step has 90
JUDGE_TOKENS = 512  # four verdicts of paths with many steps take about 250
TARGETS = {
    "base_perception": (0.92, 1.0),
    "base_reasoning": (0.35, 0.65),
    "teacher_valid": (0.98, 1.0),
    "teacher_reasoning": (0.88, 1.0),
    "teacher_sampled": (0.40, 0.85),
    "teacher_distinct": (3.0, SAMPLES),
    "base_blank_gap": (-0.05, 0.05),
    "teacher_blank_gap": (-0.05, 0.05),
    "judge_auc": (0.85, 1.0),
    "load_seconds": (0.0, 2.0),
}
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Rollout:
    """What came out of one conversation of steps: the readable steps, the answer, and whether all was readable."""

    steps: tuple[Step, ...]
    answer: str | None
    valid: bool


@dataclass(frozen=True)
class Judged:
    """What the model made of one path: a score and a verdict for each step, or None and () where it was unreadable.

    `first_try` tells whether the reply could be read before it was held to its form.
    """

    example: Example
    path: Rollout
    score: int | None
    steps: tuple[str, ...]
    first_try: bool = True


def read_rollout(replies: Sequence[str]) -> Rollout:
    """Read the replies of a step-by-step conversation, the last of which should be the answer."""
    parsed = [parse_step(reply) for reply in replies[:-1]]
    steps = tuple(step for step in parsed if isinstance(step, Step))
    answer = parse_answer(replies[-1]) if replies else Unparsed("no reply", "")
    readable = None if isinstance(answer, Unparsed) else answer
    whole = bool(steps) and len(steps) == len(parsed) and steps[-1].action == SUMMARY
    return Rollout(steps, readable, whole and readable is not None)


def same_answer(given: str | None, truth: str) -> bool:
    """Compare answers of the nano world, where spelling is not in question."""
    return given is not None and given.strip().rstrip(".").lower() == truth.lower()


def grade(paths: Sequence[Rollout], examples: Sequence[Example]) -> list[bool]:
    """Tell which paths end with the right answer."""
    return [same_answer(path.answer, example.answer) for path, example in zip(paths, examples, strict=True)]


def accuracy(right: Sequence[bool]) -> float:
    """Return the share of right answers; 0 for none at all."""
    return fmean(right) if right else 0.0


def hold(
    vlm: VLM, openings: Sequence[list[dict]], images, sampling: Sampling, progress, forms: Sequence[dict] = (), **talk
) -> list[list[list[str]]]:
    """Hold a conversation about each picture, its replies in a JSON form where given; return those of each sample."""
    talks = (
        Talk(str(place), messages, (image,), schema=partial(_form_at, forms, place) if forms else None, **talk)
        for place, (messages, image) in enumerate(zip(openings, images, strict=True))
    )
    held: list[dict[int, list[str]]] = [{} for _ in openings]
    for conversation in vlm.converse(talks, sampling):
        several = held[int(conversation.key)]
        several[conversation.sample] = [reply.text for reply in conversation.replies]
        if len(several) == len(talk.get("samples", (0,))):
            progress(1)
    return [[several[sample] for sample in sorted(several)] for several in held]


def _form_at(forms: Sequence[dict], place: int, _replies: Sequence[Reply]) -> dict:
    """Return the form of a conversation's reply, which is the same whatever was said before."""
    return forms[place]


def answer_directly(vlm: VLM, examples: Sequence[Example], images, progress=lambda done: None) -> list[bool]:
    """Ask every question for a direct answer and tell which are right."""
    openings = [prompts.ask(example.question, prompts.DIRECT) for example in examples]
    held = hold(vlm, openings, images, Sampling((0.0,), max_tokens=12), progress)
    return [same_answer(replies[0], example.answer) for (replies,), example in zip(held, examples, strict=True)]


def reason(
    vlm: VLM, examples: Sequence[Example], images, *, samples: int = 1, temperature: float = 0.0, seed: int = 0,
    progress=lambda done: None,
) -> list[list[Rollout]]:  # fmt: skip
    """Let the model reason step by step about every question, `samples` times each."""
    openings = [prompts.ask(example.question, prompts.GENERATE) for example in examples]
    sampling = Sampling((temperature,), top_p=1.0, max_tokens=REPLY_TOKENS, seed=seed)
    held = hold(vlm, openings, images, sampling, progress, samples=tuple(range(samples)), next_turn=reason_step_by_step)
    return [[read_rollout(replies) for replies in several] for several in held]


def reason_step_by_step(replies: Sequence[Reply]) -> str | None:
    """Ask for steps until one says `summary`, then for the answer; the first unreadable reply ends it."""
    return next_request(follow(replies, GenerateSettings(tries=1)))


def blind_answers(seed: int, count: int = 150) -> dict[str, str]:
    """Return the best blind guess of each family: the most frequent answer on training scenes."""
    guesses = {}
    for family in (*REASONING, *PERCEPTION):
        drawn = draw_examples(count, seed=seed + 1, split="train", families=[family])
        guesses[family] = Counter(example.answer for example in drawn).most_common(1)[0][0]
    return guesses


def judge_paths(
    vlm, examples: Sequence[Example], images, paths: Sequence[list[Rollout]], progress=lambda done: None
) -> list[Judged]:
    """Let the model judge the paths of each pass.

    As in `insightv assess`, a reply that cannot be read is asked for again, held to its form; where one such try fails
    too, its paths are unscored.
    """
    counts = [[len(path.steps) for path in several] for several in paths]
    first = ask_judge(vlm, examples, images, paths, progress)
    verdicts = [parse_verdicts(reply, counted) for reply, counted in zip(first, counts, strict=True)]
    unread = [place for place, each in enumerate(verdicts) if isinstance(each, Unparsed)]
    again = ask_judge(
        vlm, [examples[k] for k in unread], [images[k] for k in unread], [paths[k] for k in unread],
        forms=[describe_scores(counts[k]) for k in unread],
    )  # fmt: skip
    for place, reply in zip(unread, again, strict=True):
        verdicts[place] = parse_verdicts(reply, counts[place])
    judged: list[Judged] = []
    for place, (example, several, each) in enumerate(zip(examples, paths, verdicts, strict=True)):
        for number, path in enumerate(several):
            score, steps = (None, ()) if isinstance(each, Unparsed) else (each[number].score, each[number].steps)
            judged.append(Judged(example, path, score, steps, first_try=place not in unread))
    return judged


def ask_judge(
    vlm, examples: Sequence[Example], images, paths: Sequence[list[Rollout]], progress=lambda done: None, forms=()
) -> list[str]:
    """Return the judge's reply about each question's paths."""
    talks = [
        prompts.judge(example.question, example.answer, [(path.steps, path.answer or "") for path in several])
        for example, several in zip(examples, paths, strict=True)
    ]
    held = hold(vlm, talks, images, Sampling((0.0,), max_tokens=JUDGE_TOKENS), progress, forms)
    return [replies[0][0] for replies in held]


def area_under_curve(scores: Sequence[float], positive: Sequence[bool]) -> float | None:
    """Return the chance that a positive scores higher than a negative, ties counting half; None without both kinds."""
    ups = [score for score, up in zip(scores, positive, strict=True) if up]
    downs = [score for score, up in zip(scores, positive, strict=True) if not up]
    if not ups or not downs:
        return None
    wins = sum((up > down) + 0.5 * (up == down) for up in ups for down in downs)
    return wins / (len(ups) * len(downs))


def measure(
    *,
    seed: int = 1,
    n: int = 2000,
    base: str | FilePath = "nano-base",
    teacher: str | FilePath = "nano-teacher",
    device: str | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> dict:
    """Measure both models on `n` fresh evaluation questions, balanced over families and levels.

    Returns the figures of `TARGETS`, `n`, `seed`, the number of cases behind each figure under `counts`, and a table
    per family under `families`. Sampling and judging use a quarter of the reasoning questions, 8 paths each;
    as many go to the judge together as in `insightv assess`.
    """
    examples = draw_examples(n, seed=seed, split="evaluation", families=(*REASONING, *PERCEPTION))
    images = [prepare_image(render(example.scene, example.style)) for example in examples]
    import_seconds = time_import()
    started = time.perf_counter()
    loaded = load_local(str(teacher), device=device)
    teacher_seconds = time.perf_counter() - started
    figures = measure_teacher(loaded, examples, images, seed, progress)
    started = time.perf_counter()
    loaded = load_local(str(base), device=device)
    load_seconds = max(teacher_seconds, time.perf_counter() - started)
    figures = merge_figures(figures, measure_base(loaded, examples, images, seed, progress))
    return figures | {"load_seconds": load_seconds, "import_seconds": import_seconds, "n": n, "seed": seed}


def time_import() -> float:
    """Return the seconds that importing torch and nano's model class takes, which every model of any size pays."""
    started = time.perf_counter()
    import torch  # noqa: F401
    from transformers import LlavaForConditionalGeneration, LlavaProcessor  # noqa: F401

    return time.perf_counter() - started


def merge_figures(one: dict, two: dict) -> dict:
    """Join two sets of figures with their tables per family."""
    families = {name: one["families"][name] | two["families"][name] for name in one["families"]}
    return one | two | {"counts": one["counts"] | two["counts"], "families": families}


def measure_base(vlm, examples, images, seed: int, progress: Progress) -> dict:
    """Measure nano-base: direct answers with the picture and with a blank one."""
    told = step_through(progress, "base, direct answers", len(examples))
    right = answer_directly(vlm, examples, images, told)
    told = step_through(progress, "base, blank picture", len(examples))
    blind = answer_directly(vlm, examples, blanks(len(examples)), told)
    reasoning = [ok for ok, example in zip(right, examples, strict=True) if example.family in REASONING]
    perception = [ok for ok, example in zip(right, examples, strict=True) if example.family in PERCEPTION]
    return {
        "base_perception": accuracy(perception),
        "base_reasoning": accuracy(reasoning),
        "base_blank_gap": accuracy(blind) - guess_blindly(examples, seed),
        "counts": {
            "base_perception": len(perception),
            "base_reasoning": len(reasoning),
            "base_blank_gap": len(examples),
        },
        "families": by_family(examples, {"base_direct": right}),
    }


def measure_teacher(vlm, examples, images, seed: int, progress: Progress) -> dict:
    """Measure nano-teacher: greedy chains, sampled chains, chains on a blank picture, and judging."""
    chosen = [k for k, example in enumerate(examples) if example.family in REASONING]
    asked, shown = [examples[k] for k in chosen], [images[k] for k in chosen]
    told = step_through(progress, "teacher, chains", len(asked))
    greedy = [path for (path,) in reason(vlm, asked, shown, progress=told)]
    right = grade(greedy, asked)
    half, quarter = asked[: len(asked) // 2], asked[: len(asked) // 4]
    told = step_through(progress, "teacher, blank picture", len(half))
    blind = grade([path for (path,) in reason(vlm, half, blanks(len(half)), progress=told)], half)
    sampled = measure_sampled(vlm, quarter, shown[: len(quarter)], seed, progress)
    return sampled | {
        "teacher_valid": accuracy([path.valid for path in greedy]),
        "teacher_reasoning": accuracy(right),
        "teacher_steps": fmean(len(path.steps) for path in greedy),
        "teacher_sound": accuracy([path_is_sound(path, example) for path, example in zip(greedy, asked, strict=True)]),
        "teacher_blank_gap": accuracy(blind) - guess_blindly(half, seed),
        "counts": sampled["counts"]
        | {"teacher_valid": len(asked), "teacher_reasoning": len(asked), "teacher_blank_gap": len(half)},
        "families": by_family(examples, {}) | by_family(asked, {"teacher_chain": right}),
    }


def measure_sampled(vlm, asked, shown, seed: int, progress: Progress) -> dict:
    """Sample several paths a question, then let the model judge them."""
    several = reason(
        vlm, asked, shown, samples=SAMPLES, temperature=TEMPERATURE, seed=seed,
        progress=step_through(progress, "teacher, samples", len(asked)),
    )  # fmt: skip
    right = [
        same_answer(path.answer, example.answer)
        for paths, example in zip(several, asked, strict=True)
        for path in paths
    ]
    distinct = [len({tuple(step.content for step in path.steps) for path in paths}) for paths in several]
    passes = [
        (k, list(group))
        for k, paths in enumerate(several)
        for group in split_evenly([path for path in paths if path.valid], AssessSettings.paths_per_call)
    ]
    judged = judge_paths(
        vlm, [asked[k] for k, _ in passes], [shown[k] for k, _ in passes], [group for _, group in passes],
        step_through(progress, "teacher, judging", len(passes)),
    )  # fmt: skip
    return {
        "teacher_sampled": accuracy(right),
        "teacher_distinct": fmean(distinct) if distinct else 0.0,
    } | judge_figures(judged, len(right), len(distinct))


def judge_figures(judged: Sequence[Judged], sampled: int, questions: int) -> dict:
    """Return how well scores tell right from wrong paths, and step verdicts sound from flawed steps.

    `judge_auc_sound` looks only at paths whose answer is right and asks whether their steps are: there the ground truth
    in the prompt is no help.
    """
    scored = [each for each in judged if each.score is not None]
    right = [same_answer(each.path.answer, each.example.answer) for each in scored]
    sound = [path_is_sound(each.path, each.example) for each in scored]
    scores = [each.score for each in judged if each.score is not None]
    hard = [k for k, ok in enumerate(right) if ok]
    steps = [
        (
            verdict == "flawed",
            verify_step(step, each.example.scene, answer=each.example.answer, statements=each.example.options)
            == "flawed",
        )
        for each in scored
        for step, verdict in zip(each.path.steps, each.steps, strict=True)
    ]
    return {
        "judge_auc": area_under_curve(scores, right),
        "judge_auc_sound": area_under_curve([scores[k] for k in hard], [sound[k] for k in hard]),
        "judge_step_accuracy": accuracy([said == true for said, true in steps]),
        "judge_step_recall": accuracy([said for said, true in steps if true]),
        "judge_first_try": accuracy([each.first_try for each in judged]),
        "judge_unscored": 1 - len(scored) / len(judged) if judged else 0.0,
        "counts": {
            "teacher_sampled": sampled, "teacher_distinct": questions, "judge_auc": len(scored),
            "judge_auc_sound": len(hard), "judge_step_accuracy": len(steps),
        },
    }  # fmt: skip


def path_is_sound(path: Rollout, example: Example) -> bool:
    """Tell whether no step of a path states something false."""
    return all(
        verify_step(step, example.scene, answer=example.answer, statements=example.options) != "flawed"
        for step in path.steps
    )


def guess_blindly(examples: Sequence[Example], seed: int) -> float:
    """Return how many answers the best guess without a picture gets right: each family's most frequent answer."""
    guesses = blind_answers(seed)
    return accuracy([guesses[example.family] == example.answer for example in examples])


def blanks(count: int) -> "list[Image.Image]":
    """Return plain grey pictures."""
    from PIL import Image

    return [Image.new("RGB", (SIZE, SIZE), (128, 128, 128))] * count


def by_family(examples: Sequence[Example], columns: dict[str, Sequence[bool]]) -> dict[str, dict]:
    """Return accuracies per family, with the number of questions."""
    places = defaultdict(list)
    for place, example in enumerate(examples):
        places[example.family].append(place)
    return {
        family: {"n": len(where), **{name: accuracy([values[k] for k in where]) for name, values in columns.items()}}
        for family, where in places.items()
    }


def step_through(progress: Progress, stage: str, total: int) -> Callable[[int], None]:
    """Turn a callback of (stage, done, total) into one that counts what was done."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(stage, done, total)

    return advance
