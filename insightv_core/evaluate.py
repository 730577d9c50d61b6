"""Stage 5: how well each system answers held-out questions, with intervals, controls and paired differences.

A system is a way to answer: the base model directly, the base model thinking aloud, or the two agents. Every answer is
judged by the same rules (`insightv_core.answers`); what they leave open or cannot read counts as not correct and is
reported beside. Intervals are 95% bootstrap intervals over questions; differences are paired, with the p-value of a
sign-flip test (the share of random sign changes of the paired differences that are at least as large).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from insightv_core import prompts
from insightv_core.agents import Agent, SolveSettings, answer_directly, solve_all
from insightv_core.answers import CORRECT, UNPARSED, compare_answers
from insightv_core.records import Answered, Question, Sampling, identify
from insightv_core.vlm import ERROR

if TYPE_CHECKING:
    from PIL import Image

RESAMPLES = 2000
THINK_TOKENS = 512
ANSWER_MARK = "Answer:"
AS_IT_IS, BLANK, SHUFFLED = "as it is", "blank", "shuffled"


@dataclass(frozen=True)
class Item:
    """A question to answer, with its picture: a file, or one in memory."""

    question: Question
    image: "FilePath | Image.Image"


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval and the number of questions behind it."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class SystemReport:
    """The figures of one system on one benchmark; `difference` and `p` compare it with the first system, if paired."""

    system: str
    benchmark: str
    accuracy: Estimate
    unparsed: float
    tokens: float
    seconds: float
    difference: Estimate | None = None
    p: float | None = None


System = Callable[[Sequence[Item]], Iterator[Answered]]

# -- systems -----------------------------------------------------------------------------------------------------------


def direct(agent: Agent) -> System:
    """Return the system that answers at once."""
    return lambda items: _answer(items, agent, prompts.DIRECT, Sampling((0.0,), max_tokens=64), lambda text: text)


def thinking(agent: Agent) -> System:
    """Return the system that thinks aloud before it answers, without agents: the chain-of-thought baseline."""
    sampling = Sampling((0.0,), max_tokens=THINK_TOKENS)
    return lambda items: _answer(items, agent, prompts.THINK, sampling, read_thoughts)


def two_agents(reasoning: Agent, summary: Agent, settings: SolveSettings | None = None) -> System:
    """Return the paper's system: a chain by one agent, the verdict and the answer by the other."""

    def answer(items: Sequence[Item]) -> Iterator[Answered]:
        known = {item.question.id: item.question for item in items}
        asked = ((item.question, item.image) for item in items)
        for solution in solve_all(asked, reasoning, summary, settings):
            details = {
                "chain_answer": solution.chain_answer,
                "verdict": solution.verdict,
                "truncated": solution.truncated,
                "steps": [[step.summary, step.content] for step in solution.steps],
            }
            tokens = solution.reasoning_tokens + solution.summary_tokens
            seconds = solution.reasoning_seconds + solution.summary_seconds
            yield grade(known[solution.question], solution.answer, tokens, seconds, details)

    return answer


def chain_alone(reasoning: Agent, settings: SolveSettings | None = None) -> System:
    """Return the system that takes the reasoning agent's own answer, whatever the chain is worth."""
    from insightv_core.agents import read_chain, write_chains

    chosen = settings or SolveSettings()

    def answer(items: Sequence[Item]) -> Iterator[Answered]:
        written = write_chains([(item.question, item.image) for item in items], reasoning, chosen.reasoning, None, None)
        for item in items:
            replies = written[item.question.id]
            chain = read_chain(replies, chosen.reasoning)
            tokens, seconds = sum(reply.tokens for reply in replies), sum(reply.seconds for reply in replies)
            yield grade(item.question, chain.answer, tokens, seconds, {"truncated": chain.truncated})

    return answer


def _answer(items: Sequence[Item], agent: Agent, instruction: str, sampling: Sampling, read) -> Iterator[Answered]:
    known = {item.question.id: item.question for item in items}
    asked = ((item.question, item.image) for item in items)
    for key, reply in answer_directly(asked, agent, sampling, instruction=instruction):
        answer = None if reply.finish == ERROR else read(reply.text)
        yield grade(known[key], answer, reply.tokens, reply.seconds, {"raw": reply.text})


def read_thoughts(text: str) -> str | None:
    """Return the answer after the last "Answer:", None where there is none.

    >>> read_thoughts("Red is 3, blue is 4.\\nAnswer: 7")
    '7'
    """
    _, mark, answer = text.rpartition(ANSWER_MARK)
    return answer.strip() or None if mark else None


def grade(question: Question, answer: str | None, tokens: int, seconds: float, details: dict) -> Answered:
    """Judge an answer by the rules."""
    verdict = compare_answers(
        answer, question.answer, answer_type=question.answer_type, options=question.options,
        tolerance=question.tolerance,
    )  # fmt: skip
    return Answered(question.id, answer, verdict.outcome, verdict.reason, tokens, seconds, details)


# -- items -------------------------------------------------------------------------------------------------------------


def held_out_items(count: int, *, seed: int = 1, families: Sequence[str] | None = None) -> list[Item]:
    """Return questions about freshly drawn scenes in phrasings that no training saw, balanced over families."""
    from insightv_core.nano.model import prepare_image
    from insightv_core.nano.render import render
    from insightv_core.nano.world import REASONING, draw_examples

    examples = draw_examples(count, seed=seed, split="evaluation", families=list(families or REASONING))
    return [
        Item(
            Question(
                identify("held out", seed, place), example.question, example.answer, "", f"nano-{seed}",
                example.answer_type, example.family, example.level, tuple(example.options),
            ),
            prepare_image(render(example.scene, example.style)),
        )
        for place, example in enumerate(examples)
    ]  # fmt: skip


def with_pictures(items: Sequence[Item], control: str) -> list[Item]:
    """Return the items with their pictures as they are, blank, or each with the picture of the next item."""
    from PIL import Image

    if control == BLANK:
        return [replace(item, image=Image.new("RGB", (448, 448), (128, 128, 128))) for item in items]
    if control == SHUFFLED:
        return [replace(item, image=items[place - 1].image) for place, item in enumerate(items)]
    return list(items)


# -- figures -----------------------------------------------------------------------------------------------------------


def report(
    answered: Iterable[Answered], system: str, benchmark: str, *, against: Sequence[Answered] = (), seed: int = 0
) -> SystemReport:
    """Return a system's figures, compared with the answers of another system to the same items where given."""
    found = list(answered)
    hits = [float(each.outcome == CORRECT) for each in found]
    figures = SystemReport(
        system=system,
        benchmark=benchmark,
        accuracy=estimate(hits, seed),
        unparsed=_mean([float(each.outcome == UNPARSED) for each in found]),
        tokens=_mean([float(each.tokens) for each in found]),
        seconds=_mean([each.seconds for each in found]),
    )
    other = {each.item: float(each.outcome == CORRECT) for each in against}
    differences = [hit - other[each.item] for each, hit in zip(found, hits, strict=True) if each.item in other]
    if not differences:
        return figures
    return replace(figures, difference=estimate(differences, seed), p=sign_flip(differences, seed))


def estimate(values: Sequence[float], seed: int = 0) -> Estimate:
    """Return the mean and its 95% bootstrap interval."""
    import numpy as np

    if not values:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    sample = np.asarray(values)
    drawn = np.random.default_rng(seed).integers(0, len(sample), (RESAMPLES, len(sample)))
    low, high = np.quantile(sample[drawn].mean(1), (0.025, 0.975))
    return Estimate(float(sample.mean()), float(low), float(high), len(sample))


def sign_flip(differences: Sequence[float], seed: int = 0) -> float:
    """Return the two-sided p-value of a paired difference under random changes of sign."""
    import numpy as np

    sample = np.asarray(differences)
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), (RESAMPLES, len(sample)))
    extreme = (np.abs((signs * sample).mean(1)) >= abs(sample.mean()) - 1e-12).sum()
    return float((extreme + 1) / (RESAMPLES + 1))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


# -- tables ------------------------------------------------------------------------------------------------------------


def write_markdown(reports: Sequence[SystemReport]) -> str:
    """Return the reports as a Markdown table."""
    lines = [
        "| system | benchmark | accuracy | 95% interval | n | against the first | p | unparsed | tokens |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in reports:
        accuracy, difference = each.accuracy, each.difference
        compared = f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})" if difference else ""
        chance = f"{each.p:.3f}" if each.p is not None else ""
        lines.append(
            f"| {each.system} | {each.benchmark} | {accuracy.value:.3f} | {accuracy.low:.3f} to {accuracy.high:.3f} | "
            f"{accuracy.n} | {compared} | {chance} | {each.unparsed:.3f} | {each.tokens:.0f} |"
        )
    return "\n".join(lines)
