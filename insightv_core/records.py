"""The plain records that cross stage boundaries: frozen dataclasses, nothing else.

Ids are content hashes (`identify`): the same work has the same id wherever and whenever it is done, so repeating a
command adds nothing and a resumed run cannot duplicate.
"""

import hashlib
import json
from dataclasses import dataclass, field

CONTINUE = "continue"
SUMMARY = "summary"

COMPLETE = "complete"
FAILED = "failed"

ANSWER_TYPES = ("integer", "number", "word", "yes/no", "option", "list", "latex", "text")


def identify(*parts: object) -> str:
    """Return 20 hexadecimal digits that depend on the parts alone.

    >>> identify("demo", 1) == identify("demo", 1) != identify("demo", "1")
    True
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Step:
    """One step of a reasoning path: a short title, the reasoning itself, and what comes next.

    `action` is "continue" (another step follows) or "summary" (the chain is complete).
    """

    summary: str
    content: str
    action: str = CONTINUE


@dataclass(frozen=True)
class Question:
    """A question about an image, with its true answer.

    `image` is the sha256 of the stored picture; `options` are the texts of options A, B, C ... of multiple choice;
    `level` is the difficulty where it is known; `tolerance` is the relative error that counts as right for numbers.
    """

    id: str
    text: str
    answer: str
    image: str
    source: str
    answer_type: str = "text"
    family: str = ""
    level: int | None = None
    options: tuple[str, ...] = ()
    tolerance: float = 0.0
    metadata: dict = field(default_factory=dict)


@dataclass(frozen=True)
class StoredImage:
    """A picture of the project: its sha256, which is its name on disk, and its size in pixels and bytes."""

    sha256: str
    width: int
    height: int
    bytes: int


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn: temperature 0 takes the likeliest token; `top_p` keeps the likeliest tokens of that mass.

    Several temperatures are taken in turn by the samples of a conversation, for more varied paths. `seed` with the
    names of question and sample decides every draw.
    """

    temperatures: tuple[float, ...] = (0.7,)
    top_p: float = 0.95
    top_k: int = 0
    repetition_penalty: float = 1.0
    max_tokens: int = 1024
    seed: int = 0


@dataclass(frozen=True)
class ModelVersion:
    """Which weights were used: a name people know, and a hash of the content or the revision of a hub."""

    name: str
    fingerprint: str


@dataclass(frozen=True)
class Run:
    """One piece of work of a stage: what every row that it makes points to.

    `settings` are all that changes what it makes, sampling and seed included. The id is their hash, so the same
    command continues the same run.
    """

    id: str
    stage: str
    model: ModelVersion | None
    prompt_version: str
    settings: dict
    code_version: str


@dataclass(frozen=True)
class StepRecord:
    """One turn of a path as it was generated: the raw reply, and the step read from it, None where none could be.

    `logprob` is the sum of the natural log-probabilities of the reply's tokens under the unscaled, unmasked model;
    None where the backend does not tell. `accepted` is False for a reply that was asked for again.
    """

    raw: str
    step: Step | None
    accepted: bool
    tokens: int
    logprob: float | None
    seconds: float


@dataclass(frozen=True)
class Path:
    """One reasoning path of a question: every reply in order, the answer, and how it ended.

    `status` is "complete", or "failed" with the reason in `failure`; a failed path never counts as solved. `sample`
    numbers the paths of a question within a run. `final_raw` is the raw reply that holds the answer.
    """

    id: str
    question: str
    run: str
    sample: int
    status: str
    turns: tuple[StepRecord, ...]
    answer: str | None
    failure: str | None
    final_raw: str
    tokens: int
    logprob: float | None
    seconds: float

    @property
    def steps(self) -> tuple[Step, ...]:
        """The accepted steps in order."""
        return tuple(turn.step for turn in self.turns if turn.accepted and turn.step is not None)


@dataclass(frozen=True)
class Assessment:
    """What an assessing run made of one path: is its answer right, and how good is the way there.

    `outcome` is "correct", "wrong" or "unparsed", by "rules" or by the "judge". `score` is 1 to 100, or None for the
    reason in `score_reason`; `verdicts` are "sound" or "flawed" for each step of a scored path. `position` is the
    path's number in the prompt of `call`, the judge's last call on it; both are None for a path that was not shown.
    """

    path: str
    run: str
    outcome: str
    outcome_reason: str
    outcome_by: str
    score: int | None
    score_reason: str
    verdicts: tuple[str, ...]
    position: int | None
    call: str | None


@dataclass(frozen=True)
class JudgeCall:
    """One reply of a judge, byte for byte, and what was wrong with it, None where it could be read.

    `mode` is "single" or "pointwise" for paths to score, "check" for an answer to hold against the correct one;
    `paths` are the paths' ids in the order shown, and `attempt` counts from 0.
    """

    id: str
    run: str
    question: str
    mode: str
    attempt: int
    paths: tuple[str, ...]
    raw: str
    problem: str | None
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Candidate:
    """A path as curating sees it: its chain, whether its answer is right, and what the judge thinks of it.

    `style` is that of its run, "progressive" for a generator and "chain" for a trained reasoning agent. `outcome` is
    None for a path that nobody has assessed; `assessed_by` is the assessing run, as only its own scores compare.
    """

    path: str
    run: str
    style: str
    status: str
    steps: tuple[Step, ...]
    outcome: str | None = None
    score: int | None = None
    verdicts: tuple[str, ...] = ()
    assessed_by: str | None = None


@dataclass(frozen=True)
class Preference:
    """What reviewers made of two paths of a question: `better` beats `worse`, or neither does where they are `tied`."""

    better: str
    worse: str
    tied: bool = False


@dataclass(frozen=True)
class SetRow:
    """A row of a training set: what is asked follows from `kind`, question and path, what to reply is `target`.

    `path` is None where no chain is asked about or replied. `excluded` says why a row is not to be trained on.
    """

    question: str
    path: str | None
    kind: str
    target: str
    excluded: str | None = None


@dataclass(frozen=True)
class Pair:
    """Two paths of a question, of which the chain of `chosen` is to become likelier than that of `rejected`.

    `kind` is "path", or "step" for chains whose first `shared_steps` steps are the same and of which `rejected` goes
    wrong at the next. `reason` is what decided: "answer", "score" or "human". `margin` is the distance of the scores,
    None where they do not compare. `edited` is the chosen chain as a reviewer rewrote it, as JSON lines.
    """

    id: str
    run: str
    question: str
    chosen: str
    rejected: str
    kind: str
    shared_steps: int
    reason: str
    margin: float | None
    edited: str | None = None
    excluded: str | None = None


@dataclass(frozen=True)
class ReviewEvent:
    """One thing that a reviewer did with a pair, never changed: `insightv_core.review` tells what events add up to.

    `event` is "vote", "skip", "flag", "edit", "reply", "settle" or "undo". The `choice` of a vote is "chosen" or
    "rejected", the side of the pair as it was curated, "tie" or "both_bad"; `step` is the one that decided, from 1.
    `details` hold, as plain data, what was seen: which path stood left, reason tags, a rewritten chain.
    """

    key: int
    pair: str
    question: str
    chosen: str
    rejected: str
    reviewer: str
    event: str
    choice: str | None = None
    step: int | None = None
    details: dict = field(default_factory=dict)
    seconds: float | None = None
    created: float = 0.0


@dataclass(frozen=True)
class Answered:
    """What an evaluated system made of an item: `outcome` is "correct", "wrong", "unparsed" or "open"."""

    item: str
    answer: str | None
    outcome: str
    reason: str
    tokens: int
    seconds: float
    details: dict
