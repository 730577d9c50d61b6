"""Reply text to records, and back: pure functions that never guess.

A reply that cannot be read is `Unparsed`, a third outcome beside right and wrong, with its reason and its raw text.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from insightv_core.records import CONTINUE, SUMMARY, Step

# The official code's names are read as ours.
STEP_KEYS = {"title": "summary", "next_action": "action"}
ACTIONS = {CONTINUE: CONTINUE, SUMMARY: SUMMARY, "final_answer": SUMMARY}
SOUND, FLAWED = "sound", "flawed"


@dataclass(frozen=True)
class Unparsed:
    """A reply we could not read: why, and the reply itself."""

    reason: str
    raw: str


@dataclass(frozen=True)
class PathVerdict:
    """A judge's word on one path of a question: "sound" or "flawed" for each step, and a score from 1 to 100.

    A judge is asked to say first what the path answers and whether that is right, so that its score can follow from
    it. It is not held to that: where it leaves them out they are None.
    """

    path: int
    steps: tuple[str, ...]
    score: int
    answer: str | None = None
    right: bool | None = None


@dataclass(frozen=True)
class SummaryReply:
    """The summary agent's word: whether the chain is "sound" or "flawed", and the answer."""

    verdict: str
    answer: str


def write_step(step: Step) -> str:
    """Return the step as the JSON object that `parse_step` reads."""
    return json.dumps({"summary": step.summary, "content": step.content, "action": step.action}, ensure_ascii=False)


def write_answer(answer: str) -> str:
    """Return the answer as the JSON object that `parse_answer` reads."""
    return json.dumps({"answer": answer}, ensure_ascii=False)


def write_verdicts(verdicts: Sequence[PathVerdict]) -> str:
    """Return the verdicts as the JSON object that `parse_verdicts` reads."""
    paths = [
        {"id": verdict.path}
        | {name: said for name in ("answer", "right") if (said := getattr(verdict, name)) is not None}
        | {"steps": list(verdict.steps), "score": verdict.score}
        for verdict in verdicts
    ]
    return json.dumps({"paths": paths}, ensure_ascii=False)


def write_summary(reply: SummaryReply) -> str:
    """Return the summary agent's reply as the JSON object that `parse_summary` reads."""
    return json.dumps({"verdict": reply.verdict, "answer": reply.answer}, ensure_ascii=False)


def parse_object(reply: str) -> dict | Unparsed:
    """Read the first JSON object of a reply; text and code fences around it are allowed."""
    decoder, start = json.JSONDecoder(), reply.find("{")
    problem = "no JSON object"
    while start >= 0:
        try:
            found, _ = decoder.raw_decode(reply, start)
        except (ValueError, RecursionError) as error:
            problem = f"broken JSON: {error}"
            start = -1
        else:
            return found
    return Unparsed(problem, reply)


def text_of(found: dict, key: str) -> str:
    """Return a value as stripped text; numbers count as text, anything else as missing."""
    value = found.get(key, "")
    return str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


@lru_cache(maxsize=4096)  # a conversation is read again after each of its turns
def parse_step(reply: str) -> Step | Unparsed:
    """Read one step of a path.

    >>> parse_step('{"summary": "Add", "content": "2 + 3 = 5.", "action": "summary"}')
    Step(summary='Add', content='2 + 3 = 5.', action='summary')
    >>> parse_step('{"title": "Add", "content": "2 + 3 = 5.", "next_action": "final_answer"}').action
    'summary'
    >>> parse_step("Two and three make five.").reason
    'no JSON object'
    """
    found = parse_object(reply)
    if isinstance(found, Unparsed):
        return found
    found = {STEP_KEYS.get(key, key): value for key, value in found.items()}
    missing = [key for key in ("summary", "content", "action") if not text_of(found, key)]
    if missing:
        return Unparsed(f"no {', '.join(missing)} in the JSON object", reply)
    action = ACTIONS.get(text_of(found, "action").lower())
    if action is None:
        return Unparsed(f"action {found['action']!r} is neither continue nor summary", reply)
    return Step(text_of(found, "summary"), text_of(found, "content"), action)


def parse_chain(reply: str) -> list[tuple[str, Step]] | Unparsed:
    """Read a whole chain, one step a line: each line with its step; one unreadable line makes the reply unparsed."""
    steps: list[tuple[str, Step]] = []
    for line in filter(str.strip, reply.splitlines()):
        step = parse_step(line)
        if isinstance(step, Unparsed):
            return Unparsed(f"line {len(steps) + 1}: {step.reason}", reply)
        steps.append((line, step))
    return steps or Unparsed("no step", reply)


def parse_answer(reply: str) -> str | Unparsed:
    """Read the final answer of a path; the official code's title and content are accepted.

    >>> parse_answer('{"answer": 6}')
    '6'
    """
    found = parse_object(reply)
    if isinstance(found, Unparsed):
        return found
    answer = text_of(found, "answer") or text_of(found, "final_answer") or text_of(found, "content")
    return answer or Unparsed("no answer in the JSON object", reply)


def parse_summary(reply: str) -> SummaryReply | Unparsed:
    """Read the summary agent's verdict and answer."""
    found = parse_object(reply)
    if isinstance(found, Unparsed):
        return found
    verdict, answer = text_of(found, "verdict").lower(), text_of(found, "answer")
    if verdict not in (SOUND, FLAWED):
        return Unparsed(f"verdict {found.get('verdict')!r} is neither sound nor flawed", reply)
    return SummaryReply(verdict, answer) if answer else Unparsed("no answer in the JSON object", reply)


def parse_verdicts(reply: str, step_counts: Sequence[int]) -> tuple[PathVerdict, ...] | Unparsed:
    """Read a judge's verdicts on paths 1..n whose numbers of steps are `step_counts`, in the order of their ids.

    A missing, repeated or unknown id, a verdict too many or too few, or a score outside 1 to 100 makes the whole
    reply unparsed: verdicts are never guessed.
    """
    found = parse_object(reply)
    if isinstance(found, Unparsed):
        return found
    rows = found.get("paths")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return Unparsed("no list of paths in the JSON object", reply)
    ids = [row.get("id") for row in rows]
    if any(type(each) is not int for each in ids) or sorted(ids) != list(range(1, len(step_counts) + 1)):
        return Unparsed(f"path ids {ids} are not 1 to {len(step_counts)}, each once", reply)
    verdicts = []
    for row in sorted(rows, key=lambda row: row["id"]):
        verdict = read_verdict(row, step_counts[row["id"] - 1])
        if isinstance(verdict, str):
            return Unparsed(f"path {row['id']}: {verdict}", reply)
        verdicts.append(verdict)
    return tuple(verdicts)


def read_verdict(row: dict, step_count: int) -> PathVerdict | str:
    """Read one path's verdict, or say what is wrong with it."""
    steps, score = row.get("steps"), row.get("score")
    if not isinstance(steps, list) or any(step not in (SOUND, FLAWED) for step in steps):
        return f"steps {steps!r} are not a list of sound and flawed"
    if len(steps) != step_count:
        return f"{len(steps)} step verdicts for {step_count} steps"
    if type(score) is not int or not 1 <= score <= 100:
        return f"score {score!r} is not a whole number from 1 to 100"
    answer, right = row.get("answer"), row.get("right")
    return PathVerdict(
        row["id"],
        tuple(steps),
        score,
        answer if isinstance(answer, str) else None,
        right if type(right) is bool else None,
    )
