"""Stage 2: is a path's answer right, and how good is the way there (arXiv 2411.14432, section 3.2).

The answer filter comes first: rules, and the judge only where rules cannot settle it. Then the judge sees the image,
the question, the correct answer and several paths of the question in a single pass, shuffled, and scores each from 1
to 100, with a verdict on each step. As in the paper, one pass makes scores comparable; the pointwise mode, one path a
call, is there to compare with.

Two choices of ours. The paper scores only paths whose answer is right; here all complete paths are scored unless asked
otherwise, because flawed paths are to be drawn across score bands later and preference pairs want the first flawed step
of wrong paths, and it costs no further call. And a verdict that is missing, repeated, unknown or out of range makes
the whole reply unreadable: it is asked for again, and in the end the paths stay unscored with the reason. Nothing is
guessed.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path as FilePath
from typing import TypeVar

from insightv_core import __version__, prompts
from insightv_core.answers import CORRECT, OPEN, UNPARSED, WRONG, compare_answers
from insightv_core.errors import UserError
from insightv_core.generate import ALWAYS, RETRY
from insightv_core.judge import (
    SAME_SCHEMA,
    ask_controls,
    ask_same,
    ask_scores,
    describe_scores,
    find_doubt,
    flatten,
    read_same,
    read_scores,
)
from insightv_core.parse import PathVerdict
from insightv_core.records import (
    COMPLETE,
    Assessment,
    JudgeCall,
    ModelVersion,
    Path,
    Question,
    Run,
    Sampling,
    identify,
)
from insightv_core.vlm import VLM, Conversation, Reply, Talk

SINGLE, POINTWISE, RULES = "single", "pointwise", "rules"
CHECK = "check"
CONTROL_TOKENS = 256
ALL_COMPLETE, ONLY_CORRECT = "complete", "correct"
BY_RULES, BY_JUDGE = "rules", "judge"
Item = TypeVar("Item")


@dataclass(frozen=True)
class AssessSettings:
    """How paths are assessed; together with model and prompts these settings name the run.

    `mode` is "single" (the paper's single pass), "pointwise", or "rules" (the answer filter alone, without a judge).
    `judged` says which paths get a score: all "complete" ones, or as in the paper only those with a "correct" answer.
    A question with more than `paths_per_call` paths takes several calls of about equal size. Four are few enough for a
    small judge to keep apart (nano-teacher tells right from wrong paths among four almost as surely as alone, among
    eight not) and enough to compare. The first of the `tries` is at `temperature`, the others at `retry_temperature`,
    as the same draw would fail again; `constrain` says when replies are held to the JSON form by a grammar: "always",
    on a "retry" only, or "never". `seed` decides the order of the paths and every draw. A `blind` judge is not told the
    correct answer, as where preferences come of a model's word alone (RLAIF); what the answer filter says stays.
    """

    mode: str = SINGLE
    judged: str = ALL_COMPLETE
    paths_per_call: int = 4
    tries: int = 3
    temperature: float = 0.0
    retry_temperature: float = 0.3
    top_p: float = 0.95
    max_tokens: int = 2048
    constrain: str = RETRY
    seed: int = 0
    blind: bool = False

    @property
    def sampling(self) -> Sampling:
        """How the judge's replies are drawn: its k-th try is the k-th sample of a conversation."""
        temperatures = (self.temperature, *[self.retry_temperature] * (self.tries - 1))
        return Sampling(temperatures, self.top_p, max_tokens=self.max_tokens, seed=self.seed)


@dataclass(frozen=True)
class Outcome:
    """What the answer filter says of a path."""

    outcome: str
    reason: str
    by: str = BY_RULES


@dataclass(frozen=True)
class Scoring:
    """What the judge says of a path, or why it says nothing."""

    score: int | None = None
    reason: str = ""
    verdicts: tuple[str, ...] = ()
    position: int | None = None
    call: str | None = None


@dataclass(frozen=True)
class Request:
    """Something to ask the judge: paths to score, or paths with the same answer to hold against the correct one."""

    key: str
    mode: str
    case: "Case"
    paths: tuple[Path, ...]
    attempt: int = 0


@dataclass(eq=False)
class Case:
    """One question while it is assessed: what is known of its paths, and how many requests are not answered yet."""

    question: Question
    paths: tuple[Path, ...]
    outcomes: dict[str, Outcome]
    scorings: dict[str, Scoring] = field(default_factory=dict)
    calls: list[JudgeCall] = field(default_factory=list)
    pending: int = 0
    scored: bool = False


Assessed = tuple[list[Assessment], list[JudgeCall]]
Said = tuple[PathVerdict, ...] | bool | str  # verdicts, whether answers are the same, or what is wrong with the reply


def name_run(model: ModelVersion | None, settings: AssessSettings) -> Run:
    """Return the run that these settings stand for: the same work has the same id. Rules alone have no model."""
    if settings.mode == RULES:
        model, described = None, {"mode": RULES}
    else:
        described = asdict(settings) | ({"paths_per_call": 1} if settings.mode == POINTWISE else {})
        if not settings.blind:  # runs keep the names that they had before there were blind judges
            del described["blind"]
    run = identify("assess", model.fingerprint if model else None, prompts.PROMPT_VERSION, described)
    return Run(run, "assess", model, prompts.PROMPT_VERSION, described, __version__)


def assess(
    questions: Iterable[tuple[Question, Sequence[Path]]],
    judge: VLM | None,
    run: Run,
    settings: AssessSettings,
    *,
    image_file: Callable[[str], FilePath],
    doubt: str | None = None,
    stop: Callable[[], bool] | None = None,
) -> Iterator[Assessed]:
    """Yield for each question its paths' assessments and the judge's calls that they rest on, as questions end.

    `image_file` gives the file of a stored picture; the judge is not needed in the mode "rules". With a `doubt`, which
    `doubt_judge` finds, the judge scores paths and is not asked about answers. Questions are read lazily. Failed paths
    are not judged: their outcome is "unparsed". Raises `UserError` when the judge cannot be used any more; what was
    yielded before stays good.
    """
    stop = stop or (lambda: False)
    desk = Desk(iter(questions), run, settings, image_file, doubt)
    if settings.mode == RULES:
        for question, paths in desk.questions:
            if stop():
                return
            yield close_case(open_case(question, paths), run), []
        return
    if judge is None:
        raise UserError(f"the mode {settings.mode!r} needs a judge: name a model, or choose the mode {RULES!r}")
    while desk.has_work() and not stop():
        for conversation in judge.converse(desk.talks(), settings.sampling, stop=stop):
            desk.take(conversation)
            yield from desk.finished()
        yield from desk.finished()


def doubt_judge(judge: VLM | None) -> str | None:
    """Ask the judge about answers whose relation is known; say why its word is not to be taken, None where it may be.

    Young and small models call any two answers the same. Their scores may still be of use, and are measured otherwise.
    """
    if judge is None:
        return None
    talks = [Talk(f"control {number}", messages) for number, messages in enumerate(ask_controls())]
    said: dict[str, bool | str] = {}
    for conversation in judge.converse(iter(talks), Sampling((0.0,), max_tokens=CONTROL_TOKENS)):
        said[conversation.key] = read_same(conversation.replies[0])
    return find_doubt([said.get(talk.key, "no reply") for talk in talks])


# -- the answer filter -------------------------------------------------------------------------------------------------


def filter_answer(question: Question, path: Path) -> Outcome:
    """Say by rules whether a path's answer is right; "open" where they cannot settle it."""
    if path.status != COMPLETE:
        return Outcome(UNPARSED, f"the path failed: {path.failure}")
    verdict = compare_answers(
        path.answer,
        question.answer,
        answer_type=question.answer_type,
        options=question.options,
        tolerance=question.tolerance,
    )
    return Outcome(verdict.outcome, verdict.reason)


def read_outcome(said: Said, call: JudgeCall) -> Outcome:
    """Return what the judge's word makes of an answer that rules could not settle."""
    if isinstance(said, bool):
        meaning = "means" if said else "does not mean"
        reason = f"the judge says that it {meaning} the same as the correct answer"
        return Outcome(CORRECT if said else WRONG, reason, BY_JUDGE)
    reason = f"the rules cannot settle it, and no word of the judge could be read in {call.attempt + 1} tries: {said}"
    return Outcome(UNPARSED, reason, BY_JUDGE)


# -- a question's way through ------------------------------------------------------------------------------------------


def open_case(question: Question, paths: Sequence[Path]) -> Case:
    """Return the case of a question, with what rules can say of its paths."""
    return Case(question, tuple(paths), {path.id: filter_answer(question, path) for path in paths})


def leave_open(case: Case, doubt: str) -> None:
    """Let what rules cannot settle count as unparsed, as the judge's word on answers is not to be taken."""
    for path, outcome in case.outcomes.items():
        if outcome.outcome == OPEN:
            reason = f"the rules cannot settle it, and the judge was not asked: {doubt}"
            case.outcomes[path] = Outcome(UNPARSED, reason)


def list_checks(case: Case) -> list[Request]:
    """Return a request for each different answer that rules could not settle."""
    by_answer: dict[str, list[Path]] = {}
    for path in case.paths:
        if case.outcomes[path.id].outcome == OPEN:
            by_answer.setdefault(flatten(path.answer or ""), []).append(path)
    return [
        Request(identify("check", case.question.id, answer), CHECK, case, tuple(paths))
        for answer, paths in by_answer.items()
    ]


def list_scorings(case: Case, settings: AssessSettings) -> list[Request]:
    """Return the requests that score the paths of a question, and note why the others are not scored."""
    judged = []
    for path in case.paths:
        outcome = case.outcomes[path.id].outcome
        if path.status != COMPLETE:
            case.scorings[path.id] = Scoring(reason="not judged: the path failed")
        elif settings.judged == ONLY_CORRECT and outcome != CORRECT:
            case.scorings[path.id] = Scoring(reason=f"not judged: its answer is {outcome}")
        else:
            judged.append(path)
    judged.sort(key=lambda path: identify("order", settings.seed, path.id))
    groups = split_evenly(judged, 1 if settings.mode == POINTWISE else settings.paths_per_call)
    return [
        Request(identify("judge", case.question.id, [path.id for path in group]), settings.mode, case, group)
        for group in groups
    ]


def split_evenly(paths: Sequence[Item], most: int) -> list[tuple[Item, ...]]:
    """Split paths in their order into as few groups of at most `most` as possible, of about equal size."""
    count = -(-len(paths) // most)
    return [tuple(paths[len(paths) * k // count : len(paths) * (k + 1) // count]) for k in range(count)]


def close_case(case: Case, run: Run) -> list[Assessment]:
    """Return the assessments of a question's paths."""
    assessments = []
    for path in case.paths:
        outcome = case.outcomes[path.id]
        if outcome.outcome == OPEN:
            outcome = Outcome(UNPARSED, f"the rules cannot settle it, and no judge was asked: {outcome.reason}")
        scoring = case.scorings.get(path.id, Scoring(reason="not judged: rules alone give no score"))
        assessments.append(
            Assessment(
                path.id, run.id, outcome.outcome, outcome.reason, outcome.by, scoring.score, scoring.reason,
                scoring.verdicts, scoring.position, scoring.call,
            )
        )  # fmt: skip
    return assessments


class Desk:
    """Where questions wait for the judge: hands out talks, takes replies in, asks again, and gives out what is done.

    Requests that came of a reply go out before the next question is read, so that only the questions under way are
    in memory.
    """

    def __init__(
        self,
        questions: Iterator[tuple[Question, Sequence[Path]]],
        run: Run,
        settings: AssessSettings,
        image_file: Callable[[str], FilePath],
        doubt: str | None = None,
    ):
        self.questions, self.run, self.settings, self.image_file = questions, run, settings, image_file
        self.doubt = doubt
        self.waiting: deque[Request] = deque()
        self.asked: dict[tuple[str, int], Request] = {}
        self.closed: deque[Assessed] = deque()
        self.exhausted = False

    def has_work(self) -> bool:
        """Tell whether there is anything left to ask."""
        return bool(self.waiting) or not self.exhausted

    def talks(self) -> Iterator[Talk]:
        """Yield what is to be asked, reading questions as they are needed."""
        while True:
            while self.waiting:
                request = self.waiting.popleft()
                self.asked[request.key, request.attempt] = request
                yield make_talk(request, self.settings, self.image_file)
            following = next(self.questions, None)
            if following is None:
                self.exhausted = True
                return
            case = open_case(*following)
            if self.doubt:
                leave_open(case, self.doubt)
            self._add(case, list_checks(case))

    def finished(self) -> Iterator[Assessed]:
        """Yield the questions that are done since the last call."""
        while self.closed:
            yield self.closed.popleft()

    def take(self, conversation: Conversation) -> None:
        """Read the judge's reply to a request."""
        request = self.asked.pop((conversation.key, conversation.sample))
        reply, case = conversation.replies[0], request.case
        said = read_reply(reply, request)
        problem = said if isinstance(said, str) else None
        call = JudgeCall(
            identify("call", self.run.id, request.key, request.attempt), self.run.id, case.question.id, request.mode,
            request.attempt, tuple(path.id for path in request.paths), reply.text, problem, reply.tokens, reply.seconds,
        )  # fmt: skip
        case.calls.append(call)
        if problem is not None and request.attempt + 1 < self.settings.tries:
            self.waiting.append(replace(request, attempt=request.attempt + 1))
            return
        note_reply(request, said, call)
        case.pending -= 1
        self._go_on(case)

    def _add(self, case: Case, requests: Sequence[Request]) -> None:
        case.pending += len(requests)
        self.waiting.extend(requests)
        self._go_on(case)

    def _go_on(self, case: Case) -> None:
        """Score the paths once the answers are settled, and close the case once they are scored."""
        if case.pending:
            return
        if case.scored:
            self.closed.append((close_case(case, self.run), case.calls))
            return
        case.scored = True
        self._add(case, list_scorings(case, self.settings))


# -- one call of the judge ---------------------------------------------------------------------------------------------


def make_talk(request: Request, settings: AssessSettings, image_file: Callable[[str], FilePath]) -> Talk:
    """Return the conversation of one turn that asks the judge."""
    question = request.case.question
    checking = request.mode == CHECK
    held = settings.constrain == ALWAYS or (settings.constrain == RETRY and request.attempt > 0)
    return Talk(
        key=request.key,
        messages=(
            ask_same(question, request.paths[0].answer or "")
            if checking
            else ask_scores(question, request.paths, blind=settings.blind)
        ),
        images=() if checking else (image_file(question.image),),
        samples=(request.attempt,),
        schema=(lambda replies: choose_schema(request)) if held else None,
    )


def choose_schema(request: Request) -> dict:
    """Return the JSON schema that the reply to a request should keep to."""
    return SAME_SCHEMA if request.mode == CHECK else describe_scores([len(path.steps) for path in request.paths])


def read_reply(reply: Reply, request: Request) -> Said:
    """Return what the judge's reply to a request says, or what is wrong with it."""
    if request.mode == CHECK:
        return read_same(reply)
    return read_scores(reply, [len(path.steps) for path in request.paths])


def note_reply(request: Request, said: Said, call: JudgeCall) -> None:
    """Note what a call, the last on its paths, says of them, or why it says nothing."""
    case = request.case
    for position, path in enumerate(request.paths, 1):
        if request.mode == CHECK:
            case.outcomes[path.id] = read_outcome(said, call)
        elif isinstance(said, tuple):
            verdict = said[position - 1]
            case.scorings[path.id] = Scoring(verdict.score, "", verdict.steps, position, call.id)
        else:
            reason = f"no verdict could be read in {call.attempt + 1} tries: {said}"
            case.scorings[path.id] = Scoring(reason=reason, position=position, call=call.id)
