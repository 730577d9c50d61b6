"""Stage 1: many reasoning paths for each question, step by step (arXiv 2411.14432, section 3.2).

R_t = M(I, Q, [R_1 .. R_{t-1}], A): each turn of the conversation gives one step as a JSON object with a title, the
reasoning and the next action; after the action "summary" the same model answers from the chain alone. The limits of 16
steps and 3 tries a step are those of the official code; unlike there, a chain that cannot be read is marked as failed,
with its raw text, and never counts as solved.

A reasoning agent that was trained on whole chains writes them in one reply: the style "chain".
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from insightv_core import __version__, prompts
from insightv_core.parse import Unparsed, parse_answer, parse_chain, parse_step
from insightv_core.records import (
    COMPLETE,
    FAILED,
    SUMMARY,
    ModelVersion,
    Path,
    Question,
    Run,
    Sampling,
    Step,
    StepRecord,
    identify,
)
from insightv_core.vlm import ERROR, LENGTH, VLM, Event, Reply, Talk

if TYPE_CHECKING:
    from PIL import Image

PROGRESSIVE, CHAIN = "progressive", "chain"
ALWAYS, RETRY, NEVER = "always", "retry", "never"
STEP_SCHEMA = {
    "type": "object",
    "properties": {
        "summary": {"type": "string", "minLength": 1, "maxLength": 200},
        "content": {"type": "string", "minLength": 1, "maxLength": 4000},
        "action": {"enum": ["continue", "summary"]},
    },
    "required": ["summary", "content", "action"],
    "additionalProperties": False,
}
ANSWER_SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "minLength": 1, "maxLength": 200}},
    "required": ["answer"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class GenerateSettings:
    """How paths are generated; together with model and prompts these settings name the run.

    `constrain` says when replies are held to the JSON form by a grammar: "always", on a "retry" only (the model's own
    distribution is kept where it can write JSON by itself), or "never".
    """

    sampling: Sampling = field(default_factory=Sampling)
    style: str = PROGRESSIVE
    max_steps: int = 16
    tries: int = 3
    constrain: str = RETRY


@dataclass(frozen=True)
class Progress:
    """Where a conversation stands after its replies so far: what to ask next, or how it ended."""

    turns: tuple[StepRecord, ...] = ()
    answer: str | None = None
    failure: str | None = None
    next_turn: str | None = None
    final_raw: str = ""
    answering: bool = False


def name_run(model: ModelVersion, settings: GenerateSettings) -> Run:
    """Return the run that these settings stand for: the same work has the same id."""
    described = asdict(settings)
    run = identify("generate", model.fingerprint, prompts.PROMPT_VERSION, described)
    return Run(run, "generate", model, prompts.PROMPT_VERSION, described, __version__)


def follow(replies: Sequence[Reply], settings: GenerateSettings) -> Progress:
    """Read a conversation so far and say what comes next: a pure function of the replies."""
    turns: list[StepRecord] = []
    unread = 0
    answering = False
    progress = Progress()
    for reply in replies:
        if reply.finish == ERROR:
            return Progress(tuple(turns), failure=f"the model failed: {reply.text}")
        found = parse_answer(reply.text) if answering else read_steps(reply, settings, turns)
        if isinstance(found, Unparsed):
            unread += 1
            reason = f"cut off after {reply.tokens} tokens" if reply.finish == LENGTH else found.reason
            if not answering:
                turns.append(StepRecord(reply.text, None, False, reply.tokens, reply.logprob, reply.seconds))
            what = "the answer" if answering else f"step {sum(turn.accepted for turn in turns) + 1}"
            failure = f"{what} could not be read in {unread} tries: {reason}" if unread >= settings.tries else None
            raw = reply.text if answering else ""
            progress = Progress(
                tuple(turns), failure=failure, next_turn=prompts.REPAIR, final_raw=raw, answering=answering
            )
        elif isinstance(found, str):
            return Progress(tuple(turns), answer=found, final_raw=reply.text, answering=True)
        else:
            unread = 0
            turns += found
            progress = judge_steps(tuple(turns), settings)
            answering = progress.answering
        if progress.failure:
            return progress
    return progress


def read_steps(reply: Reply, settings: GenerateSettings, before: Sequence[StepRecord]) -> list[StepRecord] | Unparsed:
    """Read the steps of a reply: one, or in the style "chain" all of them, one a line."""
    if settings.style == PROGRESSIVE:
        step = parse_step(reply.text)
        if isinstance(step, Unparsed):
            return step
        return [StepRecord(reply.text, step, True, reply.tokens, reply.logprob, reply.seconds)]
    steps = parse_chain(reply.text)
    if isinstance(steps, Unparsed):
        return steps
    # Tokens, log-probability and time are known for the reply as a whole: its first step carries them.
    shares = [(reply.tokens, reply.logprob, reply.seconds), *[(0, None, 0.0)] * (len(steps) - 1)]
    return [StepRecord(raw, step, True, *share) for (raw, step), share in zip(steps, shares, strict=True)]


def judge_steps(turns: tuple[StepRecord, ...], settings: GenerateSettings) -> Progress:
    """Say how a chain goes on after readable steps: another step, the answer, or failure."""
    steps = [turn.step for turn in turns if turn.accepted and turn.step is not None]
    repeated = find_repetition(steps)
    if repeated is not None:
        return Progress(turns, failure=f"step {repeated[1]} repeats step {repeated[0]}")
    if steps[-1].action == SUMMARY:
        return Progress(turns, next_turn=prompts.FINAL, answering=True)
    if settings.style == CHAIN:
        return Progress(turns, failure="the chain ends without the action summary")
    if len(steps) >= settings.max_steps:
        return Progress(turns, failure=f"no action summary within {settings.max_steps} steps")
    return Progress(turns, next_turn=prompts.CONTINUE)


def find_repetition(steps: Sequence[Step]) -> tuple[int, int] | None:
    """Return the numbers of the first two steps that say the same."""
    seen: dict[str, int] = {}
    for number, step in enumerate(steps, 1):
        if seen.setdefault(step.content, number) != number:
            return seen[step.content], number
    return None


def choose_schema(replies: Sequence[Reply], settings: GenerateSettings) -> dict | None:
    """Return the JSON schema that the next reply should keep to, or None to leave it free.

    A whole chain has no schema, as it is several objects; the answer that follows it has one.
    """
    if settings.constrain == NEVER:
        return None
    progress = follow(replies, settings)
    if settings.constrain == RETRY and progress.next_turn != prompts.REPAIR:
        return None
    if progress.answering:
        return ANSWER_SCHEMA
    return None if settings.style == CHAIN else STEP_SCHEMA


def make_talk(
    question: Question, image: "FilePath | Image.Image", samples: Sequence[int], settings: GenerateSettings
) -> Talk:
    """Return the conversation that generates paths of a question."""
    instruction = prompts.GENERATE if settings.style == PROGRESSIVE else prompts.REASON
    return Talk(
        key=question.id,
        messages=prompts.ask(prompts.write_question(question), instruction),
        images=(image,),
        samples=tuple(samples),
        next_turn=lambda replies: next_request(follow(replies, settings)),
        schema=None if settings.constrain == NEVER else lambda replies: choose_schema(replies, settings),
    )


def next_request(progress: Progress) -> str | None:
    """Return what to ask next, or None when the path has ended."""
    return None if progress.failure or progress.answer is not None else progress.next_turn


def read_path(question: str, run: str, sample: int, replies: Sequence[Reply], settings: GenerateSettings) -> Path:
    """Return the path that a finished conversation holds."""
    progress = follow(replies, settings)
    failure = progress.failure
    if failure is None and progress.answer is None:
        failure = "the model stopped before the chain was complete"
    accepted = [turn.logprob for turn in progress.turns if turn.accepted and turn.tokens]
    known = [value for value in accepted if value is not None]
    return Path(
        id=identify("path", run, question, sample),
        question=question,
        run=run,
        sample=sample,
        status=FAILED if failure else COMPLETE,
        turns=progress.turns,
        answer=None if failure else progress.answer,
        failure=failure,
        final_raw=progress.final_raw,
        tokens=sum(reply.tokens for reply in replies),
        logprob=sum(known) if known and len(known) == len(accepted) else None,
        seconds=sum(reply.seconds for reply in replies),
    )


def generate(
    questions: Iterable[tuple[Question, Sequence[int]]],
    vlm: VLM,
    run: Run,
    settings: GenerateSettings,
    *,
    image_file: Callable[[str], FilePath],
    adapter: str | None = None,
    listen: Callable[[Event], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Iterator[Path]:
    """Yield a path for each question and wanted sample number, in the order in which they end.

    `image_file` gives the file of a stored picture. The model reads questions lazily, so their number is not limited
    by memory. Raises `UserError` when the model cannot be used any more; paths yielded before stay good.
    """
    talks = (
        make_talk(question, image_file(question.image), samples, settings)
        for question, samples in questions
        if len(samples)
    )
    for conversation in vlm.converse(talks, settings.sampling, adapter=adapter, listen=listen, stop=stop):
        yield read_path(conversation.key, run.id, conversation.sample, conversation.replies, settings)
