"""A pair on the page Review: the blind card, what the judge says after the vote, and the form to rewrite a response.

The card holds what a reviewer may know before the vote and nothing else: picture, question, both chains, both answers.
"""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import zip_longest

from app import render
from app.question import render_options
from insightv_core.parse import FLAWED
from insightv_core.records import Assessment, Path, Question, ReviewEvent, Step
from insightv_core.review import CHOSEN, REJECTED, SETTLE, Deed, preferred

TAGS = {
    "misread": "misreads the picture", "arithmetic": "wrong arithmetic", "logic": "does not follow",
    "missing": "a step is missing", "vague": "vague or wordy",
}  # fmt: skip
SIDES = ("1", "2")


def render_card(question: Question, sides: Sequence[Path], reason: str, note: str = "") -> str:
    """Return a pair as a reviewer sees it before the vote; `sides` are the left path and the right one."""
    left, right = sides[0].steps, sides[1].steps
    shared = render.shared_steps(left, right)
    rows = "".join(
        render_row(place, steps, shared) for place, steps in enumerate(zip_longest(left, right)) if any(steps)
    )
    answers = "".join(
        f'<div class="cell"><p class="answer"><span class="label">{name}</span> {answer_words(path)}</p></div>'
        for name, path in zip(SIDES, sides, strict=True)
    )
    noted = f' <span class="note">{escape(note)}</span>' if note else ""
    return (
        f'<article class="pair" aria-label="A pair to compare"><p class="why soft">Why this pair: {escape(reason)}.'
        f'{noted}</p><div class="pair-body"><div class="side">'
        f"{render.render_picture(question.image, question.text)}"
        '<p class="soft zoom-hint"><kbd>Z</kbd> full size</p></div>'
        f'<div class="main-side"><h2 class="asked">{escape(question.text)}</h2>{render_options(question)}'
        f'<div class="responses"><div class="aside names" aria-hidden="true"><span>1</span><span>2</span></div>'
        f'{rows}<div class="aside ends">{answers}</div></div></div></div></article>'
    )


def render_row(place: int, steps: Sequence[Step | None], shared: int) -> str:
    """Return one step of both chains: once where they share it, side by side from where they part."""
    number = place + 1
    if place < shared and steps[0] is not None:
        body = f"{render_step(number, steps[0])}<span class='soft'>same in both</span>"
        return f'<div class="pair-row both same" data-step="{number}">{body}</div>'
    parts = " parts" if place == shared else ""
    cells = "".join(
        f'<div class="cell{"" if step else " over soft"}"><span class="label">{name}</span>'
        f"{render_step(number, step) if step else 'the chain is over'}</div>"
        for name, step in zip(SIDES, steps, strict=True)
    )
    return f'<div class="pair-row aside{parts}" data-step="{number}">{cells}</div>'


def render_step(number: int, step: Step) -> str:
    """Return a step without anything that a judge or a model's own numbers say of it."""
    return f'<ol class="steps" start="{number}">{render.render_step(number, step, "")}</ol>'


def answer_words(path: Path) -> str:
    """Return how a path ended, as HTML."""
    return f"Answer <strong>{escape(path.answer)}</strong>" if path.answer is not None else "No answer"


# -- after the vote ----------------------------------------------------------------------------------------------------


def render_reveal(
    question: Question,
    sides: Sequence[Path],
    assessments: Mapping[str, Assessment],
    models: Sequence[str],
    held: Mapping[str, Deed],
    event: ReviewEvent | None,
) -> str:
    """Return what the judge and other reviewers say of a pair that its reviewer has decided.

    `held` are the opinions of all reviewers that count, `event` is this reviewer's own.
    """
    ids = [path.id for path in sides]
    mine = f"You: <strong>{describe_choice(event, ids)}</strong>. " if event else ""
    cells = "".join(
        f'<div class="cell"><span class="label">{name}</span> {render_judged(path, assessments.get(path.id))} '
        f'<span class="soft">by {escape(model)}</span></div>'
        for name, path, model in zip(SIDES, sides, models, strict=True)
    )
    others = ", ".join(
        f"{escape(reviewer)}: {describe_choice(deed.event, ids)}"
        for reviewer, deed in held.items()
        if event is None or reviewer != event.reviewer
    )
    said = f'<p class="soft">Other reviewers: {others}.</p>' if others else ""
    return (
        f'<p>{mine}<span class="soft">The true answer is</span> <strong>{escape(question.answer)}</strong>.</p>'
        f'<div class="aside judged">{cells}</div>{said}'
    )


def render_judged(path: Path, assessment: Assessment | None) -> str:
    """Return score, outcome and step verdicts of a path in one line."""
    if assessment is None:
        return "not judged"
    flawed = [number for number, verdict in enumerate(assessment.verdicts, 1) if verdict == FLAWED]
    steps = f"step {', '.join(map(str, flawed))} flawed" if flawed else "every step sound"
    score = "no score" if assessment.score is None else f"score <strong>{assessment.score}</strong>"
    return f"{score} {render.outcome_mark(assessment.outcome, word=True)} {steps if assessment.verdicts else ''}"


def describe_choice(event: ReviewEvent, ids: Sequence[str]) -> str:
    """Say what an event chose, by the sides that a reader sees."""
    path = preferred(event)
    if path is not None:
        step = f", because of step {event.step}" if event.step else ""
        return f"{ids.index(path) + 1} is better{step}"
    if event.event == SETTLE or event.choice == "tie":
        return "neither is better" if event.event == SETTLE else "a tie"
    return "both bad" if event.choice == "both_bad" else "flagged"


def judge_prefers(sides: Sequence[Path], assessments: Mapping[str, Assessment]) -> str | None:
    """Return the path with the higher score, None where two scores of one run do not tell."""
    one, other = (assessments.get(path.id) for path in sides)
    if one is None or other is None or one.run != other.run or one.score is None or other.score is None:
        return None
    if one.score == other.score:
        return None
    return (one if one.score > other.score else other).path


def longer_path(sides: Sequence[Path]) -> str | None:
    """Return the path with more characters, None where both have as many."""
    lengths = [sum(len(step.summary) + len(step.content) for step in path.steps) for path in sides]
    return None if lengths[0] == lengths[1] else sides[lengths.index(max(lengths))].id


def choice_of(side: str, sides: Sequence[Path], chosen: str) -> str | None:
    """Return "chosen" or "rejected" for a side as a reviewer sees it, None for anything but a side."""
    if side not in SIDES:
        return None
    return CHOSEN if sides[SIDES.index(side)].id == chosen else REJECTED


# -- rewriting ---------------------------------------------------------------------------------------------------------


def render_editor(side: str, steps: Sequence[Step]) -> str:
    """Return the form in which a reviewer rewrites the response that they prefer."""
    fields = "".join(
        f'<li><span class="step-number">{number}</span><label class="unseen" for="title-{number}">Title of step '
        f'{number}</label><input id="title-{number}" name="title" value="{escape(step.summary)}" autocomplete="off">'
        f'<label class="unseen" for="content-{number}">Step {number}</label><textarea id="content-{number}" '
        f'name="content" rows="{max(2, len(step.content) // 70 + 1)}">{escape(step.content)}</textarea></li>'
        for number, step in enumerate(steps, 1)
    )
    return (
        f'<form class="editor"><p>Rewrite response {side}. Training learns your words in place of the model\'s.</p>'
        f'<ol>{fields}</ol><p class="buttons"><button class="main">Save <kbd>Ctrl Enter</kbd></button>'
        '<button type="button" data-press="Escape">Leave it <kbd>Esc</kbd></button></p></form>'
    )
