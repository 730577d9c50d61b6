"""The two agents (arXiv 2411.14432, section 3.4): one reasons, the other judges the reasoning and answers.

The reasoning agent sees picture and question and writes the chain. The summary agent sees **picture**, question and
chain, says whether the chain is sound, and answers from it or without it. A chain that breaks off is still handed over,
marked so. The same functions serve app, notebooks, evaluation and terminal.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from insightv_core import prompts
from insightv_core.generate import GenerateSettings, follow, make_talk
from insightv_core.parse import SummaryReply, Unparsed, parse_summary
from insightv_core.records import Question, Sampling, Step, StepRecord
from insightv_core.vlm import ERROR, VLM, Event, Reply, Talk

if TYPE_CHECKING:
    from PIL import Image

REASONING, SUMMARIZING, ANSWERING = "reasoning", "summary", "direct"
TOGETHER = 512  # questions whose chains are written before their summaries are, so that both run in full batches
Listener = Callable[[str, Event], None]
Stopper = Callable[[], bool]


@dataclass(frozen=True)
class Agent:
    """A model in a role: with a LoRA adapter, or as it is."""

    vlm: VLM
    adapter: str | None = None


@dataclass(frozen=True)
class SolveSettings:
    """How both agents write: the reasoning agent's style and sampling, and the summary agent's sampling.

    The summary agent takes the likeliest tokens: it is to judge, not to explore.
    """

    reasoning: GenerateSettings = field(default_factory=lambda: GenerateSettings(Sampling((0.0,))))
    summary: Sampling = field(default_factory=lambda: Sampling((0.0,), max_tokens=128))


@dataclass(frozen=True)
class Solution:
    """What came of a question: the chain, the summary agent's word on it, the answer, and what it cost.

    `verdict` is "sound" or "flawed"; it and `answer` are None when the summary agent's reply could not be read, with
    the reason in `problem`. `chain_answer` is the reasoning agent's own answer, where its chain came to one.
    """

    question: str
    turns: tuple[StepRecord, ...]
    truncated: str | None
    chain_answer: str | None
    verdict: str | None
    answer: str | None
    problem: str | None
    summary_raw: str
    reasoning_tokens: int
    summary_tokens: int
    reasoning_seconds: float
    summary_seconds: float

    @property
    def steps(self) -> tuple[Step, ...]:
        """The chain's steps in order."""
        return tuple(turn.step for turn in self.turns if turn.accepted and turn.step is not None)


def solve(
    question: Question,
    image: "FilePath | Image.Image",
    reasoning: Agent,
    summary: Agent,
    settings: SolveSettings | None = None,
    *,
    listen: Listener | None = None,
    stop: Stopper | None = None,
) -> Solution | None:
    """Let both agents work on one question; None when `stop` said so before the end."""
    return next(solve_all([(question, image)], reasoning, summary, settings, listen=listen, stop=stop), None)


def solve_all(
    questions: "Iterable[tuple[Question, FilePath | Image.Image]]",
    reasoning: Agent,
    summary: Agent,
    settings: SolveSettings | None = None,
    *,
    listen: Listener | None = None,
    stop: Stopper | None = None,
) -> Iterator[Solution]:
    """Yield a solution for each question, some hundreds at a time; questions need ids of their own."""
    settings = settings or SolveSettings()
    waiting = iter(questions)
    while batch := list(islice(waiting, TOGETHER)):
        chains = write_chains(batch, reasoning, settings.reasoning, listen, stop)
        asked = [
            (question, image, read_chain(chains[question.id], settings.reasoning))
            for question, image in batch
            if question.id in chains
        ]
        said = judge_chains(asked, summary, settings.summary, listen, stop)
        for question, _, chain in asked:
            if question.id in said:
                yield make_solution(question, chains[question.id], chain, said[question.id])


@dataclass(frozen=True)
class Chain:
    """A chain as it is handed over: its turns, and where it breaks off."""

    turns: tuple[StepRecord, ...]
    truncated: str | None
    answer: str | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps in order."""
        return tuple(turn.step for turn in self.turns if turn.accepted and turn.step is not None)


def write_chains(
    batch: Sequence[tuple], agent: Agent, settings: GenerateSettings, listen: Listener | None, stop: Stopper | None
) -> dict[str, tuple[Reply, ...]]:
    """Return the reasoning agent's replies by question."""
    talks = (make_talk(question, image, (0,), settings) for question, image in batch)
    heard = (lambda event: listen(REASONING, event)) if listen else None
    held = agent.vlm.converse(talks, settings.sampling, adapter=agent.adapter, listen=heard, stop=stop)
    return {conversation.key: conversation.replies for conversation in held}


def read_chain(replies: Sequence[Reply], settings: GenerateSettings) -> Chain:
    """Return the chain in an agent's replies, with the reason where it broke off."""
    progress = follow(replies, settings)
    over = progress.answer is not None or progress.answering
    return Chain(progress.turns, None if over else progress.failure or "it was stopped", progress.answer)


def summary_talk(question: Question, image: "FilePath | Image.Image", chain: Chain) -> Talk:
    """Return the conversation in which the summary agent judges a chain and answers."""
    written = prompts.format_chain(chain.steps) or prompts.NO_CHAIN
    if chain.truncated:
        written = f"{written}\n{prompts.TRUNCATED}"
    return Talk(question.id, prompts.summarize(prompts.write_question(question), written), (image,))


def judge_chains(
    asked: "Iterable[tuple[Question, FilePath | Image.Image, Chain]]",
    agent: Agent,
    sampling: Sampling,
    listen: Listener | None = None,
    stop: Stopper | None = None,
) -> dict[str, Reply]:
    """Return the summary agent's reply to each question and chain: also to one that somebody edited."""
    talks = (summary_talk(question, image, chain) for question, image, chain in asked)
    heard = (lambda event: listen(SUMMARIZING, event)) if listen else None
    held = agent.vlm.converse(talks, sampling, adapter=agent.adapter, listen=heard, stop=stop)
    return {conversation.key: conversation.replies[0] for conversation in held}


def make_solution(question: Question, replies: Sequence[Reply], chain: Chain, said: Reply) -> Solution:
    """Return what both agents' replies come to."""
    found = Unparsed(f"the model failed: {said.text}", "") if said.finish == ERROR else parse_summary(said.text)
    read = found if isinstance(found, SummaryReply) else None
    return Solution(
        question=question.id,
        turns=chain.turns,
        truncated=chain.truncated,
        chain_answer=chain.answer,
        verdict=read.verdict if read else None,
        answer=read.answer if read else None,
        problem=found.reason if isinstance(found, Unparsed) else None,
        summary_raw=said.text,
        reasoning_tokens=sum(reply.tokens for reply in replies),
        summary_tokens=said.tokens,
        reasoning_seconds=sum(reply.seconds for reply in replies),
        summary_seconds=said.seconds,
    )


def answer_directly(
    questions: "Iterable[tuple[Question, FilePath | Image.Image]]",
    agent: Agent,
    sampling: Sampling | None = None,
    *,
    instruction: str = prompts.DIRECT,
    listen: Listener | None = None,
    stop: Stopper | None = None,
) -> Iterator[tuple[str, Reply]]:
    """Yield each question's id and the model's reply without an agent's chain: the baseline."""
    talks = (
        Talk(question.id, prompts.ask(prompts.write_question(question), instruction), (image,))
        for question, image in questions
    )
    heard = (lambda event: listen(ANSWERING, event)) if listen else None
    sampling = sampling or Sampling((0.0,), max_tokens=64)
    for conversation in agent.vlm.converse(talks, sampling, adapter=agent.adapter, listen=heard, stop=stop):
        yield conversation.key, conversation.replies[0]
