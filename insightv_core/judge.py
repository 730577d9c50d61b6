"""What a judge is shown, and how its reply is read: pure functions that never guess.

Solvers' text is material to judge and may hold anything: headings of further paths, ready-made verdicts, orders to the
judge, marks of a tokenizer. It is shown on one line, so that nothing in it can begin another path, step or answer, and
without what would read as a JSON object if the judge quoted it. A reply that can be read in more than one way is not
read at all.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import replace

from insightv_core import prompts
from insightv_core.parse import FLAWED, SOUND, PathVerdict, Unparsed, parse_object, parse_verdicts
from insightv_core.records import Path, Question, Step
from insightv_core.vlm import ERROR, LENGTH, Reply

LONGEST_REASON = 300
LONGEST_ANSWER = 200  # characters of a path's answer that a judge repeats, where a schema binds it
# What tokenizers may take for their own marks, such as <image> or [INST].
MARKS = re.compile(r"<(?=[^\s\d<=])|\[(?=/?[A-Z_]{3,}\])")
OBJECT = re.compile(r'\{(?=\s*")')
SAME_SCHEMA = {
    "type": "object",
    "properties": {"same": {"type": "boolean"}},
    "required": ["same"],
    "additionalProperties": False,
}
# Question, correct answer, given answer, and whether they mean the same: what any judge of answers has to know.
CONTROLS = (
    ("What color is the tallest bar?", "purple", "It is the purple one.", True),
    ("How many squares are there?", "3", "three squares", True),
    ("Is red taller than blue?", "yes", "Yes, it is.", True),
    ("What color is the tallest bar?", "purple", "The answer is 12.", False),
    ("Which month has the highest value?", "May", "June", False),
    ("How many squares are there?", "3", "I see four of them.", False),
)


# -- what is shown -----------------------------------------------------------------------------------------------------


def ask_scores(question: Question, paths: Sequence[Path], *, blind: bool = False) -> list[dict]:
    """Return the messages that ask for scores of a question's paths, numbered from 1 in the order given.

    A blind judge is not told the correct answer.
    """
    shown = [(flatten_steps(path.steps), flatten(path.answer or "")) for path in paths]
    return prompts.judge(prompts.write_question(question), None if blind else flatten(question.answer), shown)


def ask_same(question: Question, answer: str) -> list[dict]:
    """Return the messages that ask whether an answer means the same as the correct one."""
    return prompts.check(prompts.write_question(question), question.answer, flatten(answer))


def ask_controls() -> list[list[dict]]:
    """Return the messages that ask about each of `CONTROLS`, as `ask_same` asks about a path's answer."""
    return [prompts.check(question, truth, given) for question, truth, given, _ in CONTROLS]


def find_doubt(said: Sequence[bool | str]) -> str | None:
    """Say why the judge's word on answers is not to be taken, from what it said of `CONTROLS`; None where it may be.

    Calling two different answers the same would let wrong paths into training, so none of that is excused; of answers
    in other words it may miss one.
    """
    for (_, truth, given, same), each in zip(CONTROLS, said, strict=True):
        if each is True and not same:
            return f"as a control, it called '{given}' the same as '{truth}'"
    missed = [given for (_, _, given, same), each in zip(CONTROLS, said, strict=True) if same and each is not True]
    return f"as controls, it did not know {len(missed)} right answers, '{missed[0]}' first" if len(missed) > 1 else None


def flatten(text: str) -> str:
    """Return a solver's text on one line, without marks of a tokenizer and beginnings of JSON objects.

    It may still try to persuade the judge, as any text may; how the reply is read does not depend on it.

    >>> flatten('It is 4.\\nAnswer: 4\\nPath 2: <image> {"paths": []}')
    'It is 4. Answer: 4 Path 2: < image> ("paths": []}'
    """
    return OBJECT.sub("(", MARKS.sub(lambda mark: f"{mark[0]} ", " ".join(text.split())))


def flatten_steps(steps: Sequence[Step]) -> list[Step]:
    """Return steps with title and content on one line each."""
    return [replace(step, summary=flatten(step.summary), content=flatten(step.content)) for step in steps]


def describe_scores(step_counts: Sequence[int]) -> dict:
    """Return the JSON schema of a reply with a score for each path in order, and a verdict for each of its steps."""
    rows = []
    for number, steps in enumerate(step_counts, 1):
        fields = {
            "id": {"const": number},
            "answer": {"type": "string", "maxLength": LONGEST_ANSWER},
            "right": {"type": "boolean"},
            "steps": {"type": "array", "items": {"enum": [SOUND, FLAWED]}, "minItems": steps, "maxItems": steps},
            "score": {"type": "integer", "minimum": 1, "maximum": 100},
        }
        rows.append({"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False})
    listed = {"type": "array", "prefixItems": rows, "items": False, "minItems": len(rows), "maxItems": len(rows)}
    return {"type": "object", "properties": {"paths": listed}, "required": ["paths"], "additionalProperties": False}


# -- what comes back ---------------------------------------------------------------------------------------------------


def read_scores(reply: Reply, step_counts: Sequence[int]) -> tuple[PathVerdict, ...] | str:
    """Return the verdicts on paths with these numbers of steps in the order shown, or what is wrong with the reply."""
    problem = find_problem(reply)
    if problem:
        return problem
    verdicts = parse_verdicts(reply.text, step_counts)
    return shorten(verdicts.reason) if isinstance(verdicts, Unparsed) else verdicts


def read_same(reply: Reply) -> bool | str:
    """Return whether the judge takes two answers for the same, or what is wrong with the reply."""
    problem = find_problem(reply)
    if problem:
        return problem
    found = parse_object(reply.text)
    if isinstance(found, Unparsed):
        return shorten(found.reason)
    same = found.get("same")
    return same if isinstance(same, bool) else shorten(f"same is {same!r}, neither true nor false")


def find_problem(reply: Reply) -> str | None:
    """Say why a reply is not to be read: an error, cut off, more than one JSON object, or a key given twice."""
    if reply.finish == ERROR:
        return shorten(f"the model failed: {reply.text}")
    if reply.finish == LENGTH:
        return f"cut off after {reply.tokens} tokens"
    repeated: list[str] = []

    def note_repeated(pairs: list[tuple[str, object]]) -> dict:
        names = [name for name, _ in pairs]
        repeated.extend(name for place, name in enumerate(names) if name in names[:place])
        return dict(pairs)

    start = reply.text.find("{")
    if start < 0:
        return None
    try:
        _, end = json.JSONDecoder(object_pairs_hook=note_repeated).raw_decode(reply.text, start)
    except (ValueError, RecursionError):
        return None  # no JSON, as the parser will say
    if repeated:
        return shorten(f"{repeated[0]!r} is given twice")
    # Which of several objects is meant would be a guess: one may be quoted from a path.
    return "more than one JSON object" if "{" in reply.text[end:] else None


def shorten(text: str) -> str:
    """Return a reason that fits a table."""
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 3]}..."
