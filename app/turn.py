"""A turn of the chat: what both agents and the base model said so far, and how it looks while it grows."""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from itertools import zip_longest
from typing import TYPE_CHECKING

from app import render
from insightv_core.agents import REASONING, Chain, Solution
from insightv_core.answers import compare_answers
from insightv_core.parse import SummaryReply, Unparsed, parse_step
from insightv_core.records import Question, Step, StepRecord
from insightv_core.vlm import Event, Reply

if TYPE_CHECKING:
    from PIL import Image

LOADING, DIRECT, WRITING, JUDGING, DONE, STOPPED, FAILED = (
    "loading", "direct", "reasoning", "summary", "done", "stopped", "failed",
)  # fmt: skip
STRING = r'"{}"\s*:\s*"((?:[^"\\]|\\.)*)'


@dataclass(frozen=True)
class PlayedStep:
    """A step as it was said: from when to when, in seconds after the start, and whether it came to its end."""

    title: str
    content: str
    begins: float
    ends: float
    whole: bool = True


@dataclass(frozen=True)
class Recording:
    """A saved turn as the page plays it: who spoke and on which day, and when, in seconds after the start.

    `thought` is when the reasoning agent had ended, `summary` and `base` when these had answered, None where they did
    not. `spent` are times with the agents' tokens until then; nothing where they are not known. `note` says what is
    assumed where the recording does not tell.
    """

    saved: str
    models: str
    steps: tuple[PlayedStep, ...]
    thought: float
    summary: float | None
    base: float | None
    spent: tuple[tuple[float, int], ...]
    note: str

    @property
    def length(self) -> float:
        """Return how long it plays, in seconds."""
        return max(self.thought, self.summary or 0.0, self.base or 0.0)


@dataclass
class Turn:
    """One question to the agents; a working thread fills it in while the page shows it."""

    question: Question
    picture: "Image.Image"
    phase: str = LOADING
    problem: str | None = None
    direct: Reply | None = None
    replies: dict[tuple[int, int], tuple[str, bool, float]] = field(default_factory=dict)
    started: float = 0.0
    solution: Solution | None = None
    edited: tuple[int, ...] = ()
    steps: tuple[Step, ...] = ()
    again: SummaryReply | Unparsed | None = None
    again_reply: Reply | None = None
    models: dict[str, str] = field(default_factory=dict)  # who spoke, by speaker
    chat: str | None = None  # where it is saved
    image: str | None = None  # the picture's sha256 once it is stored
    at: dict[str, float] = field(default_factory=dict)  # when somebody had answered, in seconds after the start
    tokens: tuple[int | None, ...] = ()  # of each reply, where they are known
    recording: Recording | None = None  # once it is saved

    def hear(self, speaker: str, event: Event) -> None:
        """Note what an agent says: text so far, whether it is whole, and the seconds since the reply before."""
        if speaker != REASONING:
            self.phase = JUDGING
            return
        self.phase = WRITING
        now = time.perf_counter()
        for number, (text, done) in enumerate(split_steps(event.text, event.done)):
            place = (event.turn, number)
            if place not in self.replies or not self.replies[place][1]:
                before = sum(seconds for at, (_, _, seconds) in self.replies.items() if at < place)
                self.replies[place] = (text, done, now - self.started - before)

    @property
    def over(self) -> bool:
        """Whether nothing more comes by itself."""
        return self.phase in (DONE, STOPPED, FAILED)

    def edited_chain(self, contents: Sequence[str]) -> Chain:
        """Return the chain with other contents, one for each of its steps, and remember which of them changed."""
        assert self.solution is not None
        old = self.solution.steps
        self.steps = tuple(
            Step(step.summary, content, step.action) for step, content in zip(old, contents, strict=True)
        )
        self.edited = tuple(place for place, step in enumerate(self.steps) if step != old[place])
        turns = tuple(StepRecord("", step, True, 0, None, 0.0) for step in self.steps)
        return Chain(turns, self.solution.truncated, self.solution.chain_answer)


def split_steps(text: str, done: bool) -> list[tuple[str, bool]]:
    """Return a reply piece by piece, and whether each is whole: a trained agent writes a step a line, all in one reply.

    >>> split_steps('{"summary": "Add", "content": "5", "action": "continue"}\\n{"summary": "E', False)
    [('{"summary": "Add", "content": "5", "action": "continue"}', True), ('{"summary": "E', False)]
    """
    first, *others = text.splitlines() or [""]
    if not others or not isinstance(parse_step(first), Step):
        return [(text, done)]
    return [(line, True) for line in (first, *others[:-1])] + [(others[-1], done)]


def read_partial(text: str) -> tuple[str, str]:
    """Return title and content of a step that is still being written, as far as they are there.

    >>> read_partial('{"summary": "Add", "content": "2 + ')
    ('Add', '2 + ')
    """
    found = (re.search(STRING.format(key), text) for key in ("summary", "content"))
    title, content = (match.group(1).replace('\\"', '"').replace("\\n", "\n") if match else "" for match in found)
    return title, content


def render_turn(turn: Turn) -> str:
    """Return a turn as far as it has come: the agents on the left, the base model beside them."""
    problem = render.render_problem(turn.problem) if turn.problem else ""
    return (
        f'<div class="turn" data-phase="{turn.phase}"{saved_as(turn)}><div class="asked-head"><p class="asked">'
        f"{escape(turn.question.text)}</p>{render_known(turn)}</div>{render_recording(turn)}{problem}"
        f'<div class="agents"><div class="agent"><h2>Reasoning agent</h2>{render_chain(turn)}</div>'
        f'<div class="agent base"><h2>Base model <span class="soft">no reasoning</span></h2>{render_direct(turn)}</div>'
        f"</div>{render_verdicts(turn)}</div>"
    )


def saved_as(turn: Turn) -> str:
    """Return where a turn is saved, and its picture, as attributes for the script."""
    if turn.chat is None or turn.image is None:
        return ""
    return f' data-chat="{escape(turn.chat)}" data-source="{render.picture_address(turn.image)}"'


SPEEDS = {"1": "1×", "2": "2×", "4": "4×", "0": "at once"}


def render_recording(turn: Turn) -> str:
    """Return who was recorded and when, and what plays it; the script shows the badge where nothing is said live."""
    recording = turn.recording
    if recording is None or not turn.over:
        return ""
    head = (
        '<p class="recorded-who"><span class="recorded" hidden>recorded</span> '
        f'<span class="soft">{escape(recording.saved)} · {escape(recording.models)}</span></p>'
    )
    if recording.length <= 0:
        return f'<div class="recording">{head}<p class="soft">No times were recorded, so it cannot be played.</p></div>'
    speeds = "".join(f'<option value="{factor}">{name}</option>' for factor, name in SPEEDS.items())
    note = f'<p class="soft">{escape(recording.note)}</p>' if recording.note else ""
    played = escape(json.dumps(asdict(recording) | {"length": recording.length}, ensure_ascii=False))
    return (
        f'<div class="recording" role="group" aria-label="Recording" data-recording="{played}">{head}'
        '<div class="player"><button type="button" data-play>Play</button>'
        '<button type="button" data-halt hidden>Stop</button><label class="speed"><span class="label">Speed</span> '
        f'<select data-speed>{speeds}</select></label><span class="clock soft">{recording.length:.1f} s</span>'
        f'<span class="unseen" role="status"></span></div>{note}</div>'
    )


def render_chain(turn: Turn) -> str:
    """Return the reasoning agent's steps, the one being written included."""
    if turn.phase == LOADING:
        return '<p class="soft waiting">loading the models …</p>'
    if turn.solution is not None:
        return render_finished(turn)
    items: list[str] = []
    for text, done, seconds in list(turn.replies.values()):
        step = parse_step(text)
        if isinstance(step, Step):
            items.append(render.render_step(len(items) + 1, step, STEP_DONE, in_seconds(seconds)))
        elif not done:
            title, content = read_partial(text)
            if title or not items:
                step = Step(title, content)
                items.append(render.render_step(len(items) + 1, step, STEP_WRITING, "", "writing"))
    waiting = '<p class="soft waiting">looking at the picture …</p>' if not items and not turn.over else ""
    return f'<ol class="steps">{"".join(items)}</ol>{waiting}'


STEP_DONE = '<span class="mark hollow" aria-hidden="true">·</span>'
STEP_WRITING = '<span class="mark hollow" title="being written">…</span>'


def in_seconds(seconds: float, tokens: int | None = None) -> str:
    """Return what a step took, for its right edge: its tokens where they are known, and its seconds."""
    count = "" if tokens is None else f'<span class="tokens">{render.plural(tokens, "token")} · </span>'
    return f'<span class="sure">{count}{seconds:.1f} s</span>'


def render_finished(turn: Turn) -> str:
    """Return the finished chain, each step of which can be edited once nothing more comes."""
    assert turn.solution is not None
    steps = turn.steps or turn.solution.steps
    taken = [
        (reply[2], tokens)
        for reply, tokens in zip_longest(turn.replies.values(), turn.tokens[: len(turn.replies)])
        if isinstance(parse_step(reply[0]), Step)
    ]
    items = []
    for place, step in enumerate(steps):
        css = "edited" if place in turn.edited else ""
        note = '<span class="label">edited</span> ' if css else ""
        button = f'<button class="quiet" type="button" data-edit aria-label="Edit step {place + 1}">edit</button>'
        edit = button if turn.over else ""
        time_taken = in_seconds(*taken[place]) if place < len(taken) else ""
        after = f'<span class="step-tools">{note}{edit}{time_taken}</span>'
        items.append(render.render_step(place + 1, step, STEP_DONE, after, css))
    broken = (
        f'<p class="soft">The chain breaks off: {escape(turn.solution.truncated)}.</p>'
        if turn.solution.truncated
        else ""
    )
    button = '<p class="again" hidden><button type="button" data-judge>Judge again</button></p>' if steps else ""
    return f'<ol class="steps">{"".join(items)}</ol>{broken}{button}'


def render_direct(turn: Turn) -> str:
    """Return the base model's answer without reasoning."""
    reply = turn.direct
    if reply is None:
        return f'<p class="soft waiting">{"not asked" if turn.over else "waits for its turn …"}</p>'
    return (
        f'<p class="said">{escape(reply.text)} {render_truth(turn, reply.text)}</p>{cost(reply.tokens, reply.seconds)}'
    )


def render_truth(turn: Turn, answer: str) -> str:
    """Return whether an answer is right, where the true one is known."""
    if not turn.question.answer:
        return ""
    outcome = compare_answers(
        answer, turn.question.answer, answer_type=turn.question.answer_type,
        options=turn.question.options, tolerance=turn.question.tolerance,
    ).outcome  # fmt: skip
    return render.outcome_mark(outcome if outcome in render.OUTCOMES else None, word=True)


def render_verdicts(turn: Turn) -> str:
    """Return the summary agent's word on the chain, and on the edited chain beside it."""
    if turn.solution is None:
        if turn.phase != JUDGING:
            return '<p class="soft">Stopped.</p>' if turn.phase == STOPPED else ""
        return '<div class="agent summary"><h2>Summary agent</h2><p class="soft waiting">reads the chain …</p></div>'
    solution = turn.solution
    first = render_verdict(turn, solution.verdict, solution.answer, solution.problem)
    tokens = solution.reasoning_tokens + solution.summary_tokens
    seconds = solution.reasoning_seconds + solution.summary_seconds
    costs = cost(tokens, seconds, "both agents")
    words = f'<div class="agent summary"><h2>Summary agent</h2>{first}{costs}</div>'
    if not turn.edited:
        return words
    title = '<h2>Summary agent <span class="soft">on the edited chain</span></h2>'
    if turn.again is None:
        said = f'<p class="soft waiting">{"stopped" if turn.over else "reads the edited chain …"}</p>'
    elif isinstance(turn.again, Unparsed):
        said = render_verdict(turn, None, None, turn.again.reason)
    else:
        said = render_verdict(turn, turn.again.verdict, turn.again.answer, None)
    if turn.again_reply is not None:
        said += cost(turn.again_reply.tokens, turn.again_reply.seconds)
    return f'<div class="agents">{words}<div class="agent summary">{title}{said}</div></div>'


def render_verdict(turn: Turn, verdict: str | None, answer: str | None, problem: str | None) -> str:
    """Return one word of the summary agent on a chain."""
    if answer is None:
        return f'<p class="said">Its reply could not be read: {escape(problem or "")}.</p>'
    return (
        f'<p class="said">{render.verdict_mark(verdict)} The chain is {escape(verdict or "")}. Answer '
        f"<strong>{escape(answer)}</strong> {render_truth(turn, answer)}</p>"
    )


def render_known(turn: Turn) -> str:
    """Return the true answer of an example."""
    answer = turn.question.answer
    return f'<p class="truth">truth <strong>{escape(answer)}</strong></p>' if answer else ""


def cost(tokens: int, seconds: float, whose: str = "") -> str:
    """Return what a reply cost: tokens, seconds, and tokens a second."""
    rate = f" · {tokens / seconds:.3g} tokens/s" if seconds > 0 else ""
    name = f"{whose}: " if whose else ""
    return f'<p class="soft cost">{name}{tokens:,} token{"" if tokens == 1 else "s"} · {seconds:.2g} s{rate}</p>'
