"""Every prompt of the workbench, and the messages that carry it.

Order inside a conversation is constant system prompt, image, question, then the words of the role: so the
image and the question are one shared prefix for generating, judging and summarising, and caches hit.

What the paper states: one step a turn, each a JSON object with a short title, the reasoning and the next
action; the final answer from the chain alone; all paths of a question scored from 1 to 100 in one pass, by the
accuracy of the steps and the level of detail; a summary agent that judges the chain before it answers. The
wording, the JSON keys, the per-step verdicts and the order above are our choice.

nano's tokenizer holds each constant of `CONSTANTS` as one token, so changing one means training nano again; add a
new constant outside it instead, and raise `PROMPT_VERSION`.
"""

from collections.abc import Sequence

from insightv_core.records import Question, Step

PROMPT_VERSION = "2"

SYSTEM = (
    "You are a careful assistant for questions about images. Look closely at the image, rely only on what it shows, "
    "and keep exactly to the output format that is asked for."
)
CAPTION = "Describe everything in the image: each object with its name, its colour, its place and its value."
DIRECT = "Answer the question with a single number, word or option letter, and nothing else."
THINK = (
    'Think step by step about what the image shows, then end with a line that starts with "Answer:" and gives a single '
    "number, word or option letter."
)
GENERATE = (
    "Reason about the question step by step. Reply with the first step only, as one JSON object with three keys: "
    '"summary", a short title of the step; "content", the reasoning of the step, with what you read from the image '
    'and what you work out; "action", "continue" if another step is needed or "summary" if the reasoning is complete. '
    "Use at least two steps, check your readings, and do not give the final answer outside the JSON object."
)
CONTINUE = (
    "Write exactly one more step that adds something new to the steps above, in the same JSON form. Set "
    '"action" to "summary" only when the reasoning is complete.'
)
FINAL = (
    "Answer the question from the reasoning above alone. Reply with one JSON object with the key "
    '"answer", a single number, word or option letter.'
)
REPAIR = (
    "That reply could not be read. Write it again as one JSON object with the keys that were asked for, starting with "
    "{ and ending with }."
)
REASON = (
    "Work through the question step by step and write only the reasoning process: one JSON object per line, each with "
    'the keys "summary", "content" and "action"; the last one has the action "summary".'
)
SUMMARIZE = (
    "Below is a reasoning process for this question. Judge against the image whether it is correct. If it is sound, "
    "answer from it; if it is flawed, ignore it and answer from the image yourself. Reply with one JSON object with "
    'the keys "verdict", "sound" or "flawed", and "answer", a single number, word or option letter.'
)
JUDGE = (
    "Below are reasoning paths that different solvers wrote for this question, and its correct answer. Compare every "
    'step of every path with the image. Reply with one JSON object with the key "paths", a list with one object for '
    'each path: "id", the number of the path; "answer", the answer that it gives; "right", true if that is the correct '
    'answer, else false; "steps", a list with "sound" or "flawed" for each of its steps; "score", a whole number from '
    "1 to 100 for the accuracy of the steps and their level of detail together."
)
CHECK = (
    "Below are the correct answer to this question and the answer that somebody gave. Do they mean the same? Reply "
    'with one JSON object with the key "same", true or false.'
)
DESCRIBED = "The image is given in words:"
TRUTH = "Correct answer:"
UNKNOWN = "not known, go by the image alone"
GIVEN = "Given answer:"
TRUNCATED = "The reasoning breaks off here."
NO_CHAIN = "No step of the reasoning could be read."

CONSTANTS = (
    SYSTEM, CAPTION, DIRECT, THINK, GENERATE, CONTINUE, FINAL, REPAIR, REASON, SUMMARIZE, JUDGE, CHECK,
    DESCRIBED, TRUTH, GIVEN,
)  # fmt: skip

Message = dict


def user(text: str, image: bool = False) -> Message:
    """Return a user turn, with a placeholder for the picture before the text when `image` is set."""
    content = [{"type": "image"}] if image else []
    return {"role": "user", "content": [*content, {"type": "text", "text": text}]}


def assistant(text: str) -> Message:
    """Return an assistant turn that says `text`, byte for byte."""
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def ask(question: str, instruction: str, *, described: str | None = None) -> list[Message]:
    """Return the opening messages for a question: about the image, or about a scene described in words."""
    system = {"role": "system", "content": [{"type": "text", "text": SYSTEM}]}
    if described is None:
        return [system, user(f"{question}\n{instruction}", image=True)]
    return [system, user(f"{DESCRIBED}\n{described}\n{question}\n{instruction}")]


def write_question(question: Question) -> str:
    """Return a question as models read it: its text, and its options on lines of their own unless it has them."""
    if not question.options or all(option in question.text for option in question.options):
        return question.text
    listed = "\n".join(f"{chr(ord('A') + place)}. {option}" for place, option in enumerate(question.options))
    return f"{question.text}\n{listed}"


def caption() -> list[Message]:
    """Return the messages that ask for a description of the image."""
    system = {"role": "system", "content": [{"type": "text", "text": SYSTEM}]}
    return [system, user(CAPTION, image=True)]


def format_chain(steps: Sequence[Step]) -> str:
    """Write a chain as numbered lines, as the summary agent and the judge read it."""
    return "\n".join(f"Step {n}: {step.summary}: {step.content}" for n, step in enumerate(steps, 1))


def summarize(question: str, chain: str, *, described: str | None = None) -> list[Message]:
    """Return the summary agent's messages for a question and a chain from `format_chain`."""
    return ask(question, f"{SUMMARIZE}\n{chain}", described=described)


def judge(
    question: str, truth: str | None, paths: Sequence[tuple[Sequence[Step], str]], *, described: str | None = None
) -> list[Message]:
    """Return the judge's messages for (steps, answer) paths of one question, numbered from 1 in the order given.

    The correct answer stands once before them all and again beside each path's own, in the words of `check`: what is
    to be compared should stand together. A judge that is to be blind gets None for the truth.
    """
    beside = "" if truth is None else f"{TRUTH} {truth}\n"
    listed = "\n".join(
        f"Path {n}:\n{format_chain(steps)}\n{beside}{GIVEN} {answer}" for n, (steps, answer) in enumerate(paths, 1)
    )
    known = UNKNOWN if truth is None else truth
    return ask(question, f"{JUDGE}\n{TRUTH} {known}\n{listed}", described=described)


def check(question: str, truth: str, given: str) -> list[Message]:
    """Return the messages that ask whether two answers to a question mean the same; the image is not needed."""
    system = {"role": "system", "content": [{"type": "text", "text": SYSTEM}]}
    return [system, user(f"{question}\n{CHECK}\n{TRUTH} {truth}\n{GIVEN} {given}")]
