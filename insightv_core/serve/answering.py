"""Requests answered in batches: who is told what as it is written, and how each ends."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from insightv_core.agents import Chain, answer_directly, judge_chains, make_solution, read_chain
from insightv_core.generate import PROGRESSIVE, GenerateSettings, make_talk
from insightv_core.parse import Unparsed, parse_step
from insightv_core.records import Sampling
from insightv_core.serve.asks import BOTH, REASONING, Ask, Refused, Served
from insightv_core.vlm import ERROR, LENGTH, STOP, Event, Reply, Talk

THOUGHT, ANSWER = "reasoning_content", "content"
DIRECT_TOKENS = 256
SUMMARY_TOKENS = 128
FORM_TOKENS = 64  # of the summary agent's reply beside the answer: its JSON form and the verdict
REPLACEMENT = "\ufffd"  # stands for a character whose last bytes have not come yet


@dataclass(frozen=True)
class Said:
    """More text of the chain (`reasoning_content`) or of the answer (`content`)."""

    where: str
    text: str


@dataclass(frozen=True)
class Done:
    """How an answer ended: "stop" or "length", its tokens, and what the agents said beside it."""

    finish: str
    prompt_tokens: int
    reasoning_tokens: int
    answer_tokens: int
    details: dict


@dataclass
class Job:
    """A request under way: whom to tell what is said, and how far that has come."""

    ask: Ask
    tell: Callable[[Said | Done | Refused], None]
    gone: threading.Event = field(default_factory=threading.Event)
    ended: bool = False
    steps: int = 0
    lines: dict[int, int] = field(default_factory=dict)
    answer: str = ""

    def hear_chain(self, event: Event, style: str) -> None:
        """Tell the steps that have become whole."""
        if style == PROGRESSIVE:
            lines = [event.text] if event.done else []
        else:
            whole = event.text if event.done else event.text.rpartition("\n")[0]
            lines = whole.splitlines()
        for line in lines[self.lines.get(event.turn, 0) :]:
            step = parse_step(line)
            if not isinstance(step, Unparsed):
                self.steps += 1
                self.tell(Said(THOUGHT, f"Step {self.steps}: {step.summary}: {step.content}\n"))
        self.lines[event.turn] = len(lines)

    def hear_answer(self, text: str, done: bool) -> bool:
        """Tell what is new of the answer, up to the first stop text; return whether there was one."""
        shown = cut(text, self.ask.stops)
        stopped = len(shown) < len(text)
        if not done and not stopped:
            held = max((len(stop) - 1 for stop in self.ask.stops), default=0)
            shown = shown[: len(shown) - held].rstrip(REPLACEMENT)
        if shown.startswith(self.answer) and len(shown) > len(self.answer):
            self.tell(Said(ANSWER, shown[len(self.answer) :]))
            self.answer = shown
        return stopped

    def end(self, how: Done | Refused) -> None:
        """Tell how it ended."""
        self.ended = True
        self.tell(how)


def cut(text: str, stops: Sequence[str]) -> str:
    """Return the text before the first of the stop texts.

    >>> cut("7 apples. Or 8.", (".", "Or"))
    '7 apples'
    """
    places = [place for place in map(text.find, stops) if place >= 0]
    return text[: min(places)] if places else text


def answer_batch(jobs: Sequence[Job], served: Served, stop: Callable[[], bool]) -> None:
    """Answer requests for the same model with the same sampling; each is told as its own answer comes."""
    model = jobs[0].ask.model
    if model == BOTH:
        answer_by_both(jobs, served, stop)
    elif model == REASONING:
        before = read_tokens(served)
        for job, replies, chain in reason(jobs, served, stop):
            end_with_chain(job, replies, chain, (read_tokens(served) - before) // len(jobs))
    else:
        answer_by_base(jobs, served, stop)


def read_tokens(served: Served) -> int:
    """Return the prompt tokens that the models have read so far."""
    models = {id(agent.vlm): agent.vlm for agent in (served.reasoning, served.summary, served.base)}
    return sum(vlm.usage().prefill_tokens for vlm in models.values())


def reason(
    jobs: Sequence[Job], served: Served, stop: Callable[[], bool]
) -> Iterator[tuple[Job, tuple[Reply, ...], Chain]]:
    """Yield each job with the reasoning agent's replies and its chain, as they end."""
    settings = GenerateSettings(jobs[0].ask.sampling, style=served.style)
    known = {job.ask.question.id: job for job in jobs}
    talks = [end_when_gone(make_talk(job.ask.question, job.ask.picture, (0,), settings), job) for job in jobs]
    agent = served.reasoning
    for held in agent.vlm.converse(
        talks, settings.sampling, adapter=agent.adapter, stop=stop,
        listen=lambda event: known[event.key].hear_chain(event, served.style),
    ):  # fmt: skip
        yield known[held.key], held.replies, read_chain(held.replies, settings)


def end_when_gone(talk: Talk, job: Job) -> Talk:
    """Return the talk with an end as soon as its client has gone."""
    return replace(talk, next_turn=lambda replies: None if job.gone.is_set() else talk.next_turn(replies))


def end_with_chain(job: Job, replies: Sequence[Reply], chain: Chain, prompt_tokens: int) -> None:
    """End a request for the reasoning agent alone with the answer that its chain came to."""
    if replies[-1].finish == ERROR and not chain.steps:
        job.end(refuse_reply(replies[-1].text))
        return
    job.hear_answer(chain.answer or "", True)
    tokens = sum(reply.tokens for reply in replies)
    answer_tokens = replies[-1].tokens if chain.answer is not None else 0
    finish = LENGTH if replies[-1].finish == LENGTH else STOP
    details = {"truncated": chain.truncated}
    job.end(Done(finish, prompt_tokens, tokens - answer_tokens, answer_tokens, details))


def answer_by_both(jobs: Sequence[Job], served: Served, stop: Callable[[], bool]) -> None:
    """Let the reasoning agent write all chains, then the summary agent judge them and answer."""
    before = read_tokens(served)
    known = {job.ask.question.id: (job, replies, chain) for job, replies, chain in reason(jobs, served, stop)}
    asked = [(job.ask.question, job.ask.picture, chain) for job, _, chain in known.values() if not job.gone.is_set()]
    if not asked:
        return
    limit = jobs[0].ask.answer_tokens
    sampling = Sampling((0.0,), max_tokens=limit + FORM_TOKENS if limit else SUMMARY_TOKENS)
    said = judge_chains(asked, served.summary, sampling, None, stop)
    prompt_tokens = (read_tokens(served) - before) // len(jobs)
    for key, reply in said.items():
        job, replies, chain = known[key]
        if reply.finish == ERROR:
            job.end(refuse_reply(reply.text))
            continue
        solution = make_solution(job.ask.question, replies, chain, reply)
        job.hear_answer(solution.answer or "", True)
        details = {
            "verdict": solution.verdict, "chain_answer": solution.chain_answer, "truncated": solution.truncated,
            "problem": solution.problem,
        }  # fmt: skip
        finish = LENGTH if solution.answer is None and reply.finish == LENGTH else STOP
        job.end(Done(finish, prompt_tokens, solution.reasoning_tokens, solution.summary_tokens, details))


def answer_by_base(jobs: Sequence[Job], served: Served, stop: Callable[[], bool]) -> None:
    """Let the base model answer at once, as the first system of an evaluation does."""
    before = read_tokens(served)
    known = {job.ask.question.id: job for job in jobs}
    ask = jobs[0].ask
    sampling = replace(ask.sampling, max_tokens=ask.answer_tokens or DIRECT_TOKENS)

    def listen(_, event: Event) -> None:
        if not event.done:
            known[event.key].hear_answer(event.text, False)

    asked = ((job.ask.question, job.ask.picture) for job in jobs)
    for key, reply in answer_directly(asked, served.base, sampling, listen=listen, stop=stop):
        job = known[key]
        if reply.finish == ERROR:
            job.end(refuse_reply(reply.text))
            continue
        stopped = job.hear_answer(reply.text, True)
        prompt_tokens = (read_tokens(served) - before) // len(jobs)
        job.end(Done(STOP if stopped else reply.finish, prompt_tokens, 0, reply.tokens, {}))


def refuse_reply(problem: str) -> Refused:
    """Return the error for a reply that failed: the request's own fault where it does not fit the model's context."""
    if "context" in problem:
        return Refused(f"{problem}: ask a shorter question", param="messages", code="context_length_exceeded")
    return Refused(f"the model failed: {problem}", status=500)
