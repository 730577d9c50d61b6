"""From records to HTML: pure functions that pages and notebooks share.

Whatever a model, a file or a person wrote is text: every function escapes what it is given, and returns HTML.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import zip_longest

from insightv_core.parse import FLAWED, SOUND
from insightv_core.records import COMPLETE, Assessment, Path, Step, StepRecord
from insightv_core.store.browse import PathRow

OUTCOMES = {
    "correct": ("good", "✓", "correct"),
    "wrong": ("bad", "✕", "wrong"),
    "unparsed": ("none", "–", "unparsed"),
    "": ("hollow", "○", "not judged"),
}
VERDICTS = {SOUND: ("good", "✓", "sound"), FLAWED: ("bad", "✕", "flawed"), "": ("hollow", "○", "not judged")}
SURE = "How sure the model was: the geometric mean of its tokens' probabilities"
SHORT_ID = 8


def words(name: str) -> str:
    """Return a name of the code as words: "bar_total" as "bar total"."""
    return escape(name.replace("_", " "))


def plural(count: int, thing: str) -> str:
    """Return a count with its thing: "1 path", "1,204 paths"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def share(part: int, whole: int) -> str:
    """Return a rate in per cent with its n, a dash where there is nothing to count."""
    if not whole:
        return '<span class="soft">–</span>'
    return f'{part / whole:.0%} <span class="soft">n = {whole:,}</span>'


def mark(kinds: Mapping[str, tuple[str, str, str]], kind: str | None, *, word: bool = False) -> str:
    """Return the glyph of an outcome or verdict, never colour alone: the word is shown, or said to screen readers."""
    css, glyph, name = kinds.get(kind or "", kinds[""])
    said = f" {name}" if word else f'<span class="unseen">{name}</span>'
    return f'<span class="mark {css}" title="{name}"><span aria-hidden="true">{glyph}</span>{said}</span>'


def outcome_mark(outcome: str | None, *, word: bool = False) -> str:
    """Return the glyph of an answer's outcome: correct, wrong, unparsed, or hollow for not judged."""
    return mark(OUTCOMES, outcome, word=word)


def verdict_mark(verdict: str | None) -> str:
    """Return the glyph of a step's verdict: sound, flawed, or hollow for not judged."""
    return mark(VERDICTS, verdict)


def picture_address(sha256: str, width: int | None = None) -> str:
    """Return where the app serves a stored picture, whole or as a thumbnail of that width in pixels."""
    return escape(f"/picture/{sha256}" + (f"?width={width}" if width else ""))


def render_picture(sha256: str, description: str) -> str:
    """Return a picture that opens in its full size when it is chosen."""
    address = picture_address(sha256)
    return (
        f'<button class="picture" data-zoom="{address}" aria-label="Open the picture in full size">'
        f'<img src="{address}" alt="{escape(description)}"></button>'
    )


def confidence(turn: StepRecord) -> float | None:
    """Return the geometric mean of the probabilities of a turn's tokens, None where they are not known.

    >>> round(confidence(StepRecord("", None, True, tokens=2, logprob=math.log(0.25), seconds=0)), 3)
    0.5
    """
    if turn.logprob is None or not turn.tokens:
        return None
    return math.exp(min(turn.logprob / turn.tokens, 0.0))


def render_confidence(turn: StepRecord) -> str:
    """Return how sure the model was of a turn, as a number from 0 to 1."""
    sure = confidence(turn)
    return f'<span class="sure" title="{SURE}">{"" if sure is None else f"{sure:.2f}"}</span>'


def render_step(number: int, step: Step, before: str, after: str = "", css: str = "") -> str:
    """Return one step of a timeline; `before` and `after` are HTML: its verdict, and its confidence or time."""
    return (
        f'<li class="step {css}"><span class="step-number">{number}</span>{before}<div class="step-text">'
        f'<div class="step-title">{escape(step.summary)}</div><p>{escape(step.content)}</p></div>{after}</li>'
    )


def render_timeline(turns: Sequence[StepRecord], verdicts: Sequence[str] = ()) -> str:
    """Return a chain as a timeline, step by step with verdicts and confidence; unreadable replies are shown as such."""
    items, number = [], 0
    for turn in turns:
        if turn.step is None or not turn.accepted:
            items.append(
                '<li class="step unread"><span class="step-number"></span><span class="mark none" aria-hidden="true">–'
                f'</span><div class="step-text"><div class="step-title">A reply that could not be read</div>'
                f"<pre>{escape(turn.raw)}</pre></div></li>"
            )
            continue
        number += 1
        verdict = verdicts[number - 1] if number <= len(verdicts) else None
        css = "flawed" if verdict == FLAWED else ""
        items.append(render_step(number, turn.step, verdict_mark(verdict), render_confidence(turn), css))
    return f'<ol class="steps">{"".join(items)}</ol>' if items else '<p class="soft">No step could be read.</p>'


def render_ending(path: Path, assessment: Assessment | None) -> str:
    """Return how a path ended: its answer, or why it has none, and what rules and judge say of it."""
    if path.status == COMPLETE:
        ending = f'<p class="answer">Answer <strong>{escape(str(path.answer))}</strong></p>'
    else:
        ending = f'<p class="answer">No answer: {escape(path.failure or "it was stopped")}</p>'
    if assessment is None:
        return ending
    by = {"judge": "Judge", "rules": "Rules"}[assessment.outcome_by]
    said = {by: assessment.outcome_reason, "Score": assessment.score_reason}
    words = " · ".join(f"{who}: {escape(reason)}" for who, reason in said.items() if reason)
    return f'{ending}<p class="soft judge">{words}</p>' if words else ending


def render_raw(path: Path, judge_reply: str | None = None) -> str:
    """Return every reply of a path byte for byte, and the judge's, folded away."""
    replies = [*(turn.raw for turn in path.turns), *([path.final_raw] if path.final_raw else [])]
    blocks = "".join(f"<pre>{escape(raw)}</pre>" for raw in replies)
    if judge_reply is not None:
        blocks += f'<div class="label">The judge\'s reply</div><pre>{escape(judge_reply)}</pre>'
    return f'<details class="fold"><summary>raw replies</summary>{blocks}</details>'


def render_facts(facts: Mapping[str, str]) -> str:
    """Return names and values as a list; the values are HTML."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in facts.items())
    return f'<dl class="facts">{rows}</dl>'


def render_summary(number: int, row: PathRow, extra: str = "") -> str:
    """Return the line that stands for a path in a ranking: score, outcome, its steps' titles."""
    score = "--" if row.score is None else str(row.score)
    titles = " · ".join(escape(title) for title in row.titles) or escape(row.failure or "")
    return (
        f'<span class="rank">#{number}</span><span class="score" title="score of the judge, 1 to 100">{score}</span>'
        f"{outcome_mark(row.outcome, word=True)}"
        f'<span class="given">{escape(row.answer if row.answer is not None else "no answer")}</span>'
        f'<span class="count soft">{plural(row.step_count, "step")}</span>'
        f'<span class="titles soft">{titles}</span>{extra}'
    )


def same_step(left: Step, right: Step) -> bool:
    """Tell whether two steps say the same; what comes next does not matter."""
    return (left.summary, left.content) == (right.summary, right.content)


def shared_steps(left: Sequence[Step], right: Sequence[Step]) -> int:
    """Return how many steps two chains have in common from the beginning.

    >>> shared_steps([Step("a", "b"), Step("c", "d")], [Step("a", "b"), Step("c", "e")])
    1
    """
    count = 0
    for one, other in zip(left, right, strict=False):
        if not same_step(one, other):
            break
        count += 1
    return count


def describe_parting(left: Sequence[Step], right: Sequence[Step]) -> str:
    """Say where two chains part, in words."""
    shared = shared_steps(left, right)
    if shared == len(left) == len(right):
        return "the chains are the same"
    if shared in (len(left), len(right)):
        return f"one chain ends after step {shared}" if shared else "one chain has no steps"
    return f"parts at step {shared + 1}"


def render_comparison(
    left: Path, right: Path, verdicts: Mapping[str, Sequence[str]], names: tuple[str, str] = ("left", "right")
) -> str:
    """Return two paths side by side, aligned: what they share is greyed, the first step where they part is marked."""
    shared = shared_steps(left.steps, right.steps)
    rows = []
    for place, pair in enumerate(zip_longest(accepted(left), accepted(right))):
        if place < shared:
            step = render_step(place + 1, left.steps[place], verdict_of(verdicts, left, place), "", "same")
            rows.append(f'<div class="both"><ol class="steps">{step}</ol><span class="soft">same in both</span></div>')
            continue
        css = "parting" if place == shared else ""
        cells = "".join(
            compared_cell(turn, place, path, verdicts, name)
            for turn, path, name in zip(pair, (left, right), names, strict=True)
        )
        rows.append(f'<div class="aside {css}"{PARTING if css else ""}>{cells}</div>')
    answers = "".join(
        f'<div class="cell"><p class="answer"><span class="label">{escape(name)}</span> '
        f"{'Answer' if path.answer is not None else 'No answer:'} "
        f"<strong>{escape(path.answer if path.answer is not None else path.failure or '')}</strong></p></div>"
        for path, name in zip((left, right), names, strict=True)
    )
    note = "" if shared < max(len(left.steps), len(right.steps)) else '<p class="soft">The chains are the same.</p>'
    return f'<div class="comparison">{"".join(rows)}{note}<div class="aside">{answers}</div></div>'


PARTING = ' id="parting" tabindex="-1" aria-label="The first step where the paths part"'


def accepted(path: Path) -> list[StepRecord]:
    """Return the turns of a path that hold its steps."""
    return [turn for turn in path.turns if turn.accepted and turn.step is not None]


def verdict_of(verdicts: Mapping[str, Sequence[str]], path: Path, place: int) -> str:
    """Return the glyph of the verdict on a path's step at that place, counted from 0."""
    known = verdicts.get(path.id, ())
    return verdict_mark(known[place] if place < len(known) else None)


def compared_cell(
    turn: StepRecord | None, place: int, path: Path, verdicts: Mapping[str, Sequence[str]], name: str
) -> str:
    """Return one side of a row of a comparison, empty where that chain is over already."""
    if turn is None or turn.step is None:
        return '<div class="cell over soft">the chain is over</div>'
    step = render_step(place + 1, turn.step, verdict_of(verdicts, path, place), render_confidence(turn))
    return f'<div class="cell"><span class="label">{escape(name)}</span><ol class="steps">{step}</ol></div>'


def render_bars(bars: Sequence[tuple[str, Sequence[tuple[str, int]], str | None]], label: str) -> str:
    """Return a histogram: for each bar its name, its parts as (CSS class, number), and where it leads.

    >>> "1" in render_bars([("1-10", [("good", 1)], None)], "Scores")
    True
    """
    highest = max((sum(number for _, number in parts) for _, parts, _ in bars), default=0) or 1
    columns = []
    for name, parts, address in bars:
        total = sum(number for _, number in parts)
        stack = "".join(
            f'<i class="{css}" style="height:{100 * number / highest:.2f}%"></i>' for css, number in parts if number
        )
        said = f"{name}: {', '.join(f'{number:,} {css_words(css)}' for css, number in parts if number) or 'none'}"
        inside = f'<span class="stack">{stack}</span><span class="bar-name">{escape(name.split("–")[0])}</span>'
        if address and total:
            columns.append(
                f'<a href="{escape(address)}" title="{escape(said)}" aria-label="{escape(said)}">{inside}</a>'
            )
        else:
            columns.append(f'<span title="{escape(said)}">{inside}</span>')
    return f'<div class="bars" role="group" aria-label="{escape(label)}">{"".join(columns)}</div>'


def css_words(css: str) -> str:
    """Return what a part of a bar stands for, by its class."""
    return {"good": "correct", "bad": "wrong", "none": "unparsed", "hollow": "not judged"}.get(css, "paths")


def render_table(heads: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]], label: str) -> str:
    """Return a table; each head comes with whether its column holds numbers, the cells are HTML."""
    top = "".join(f'<th scope="col" class="{"number" if number else ""}">{escape(name)}</th>' for name, number in heads)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="{"number" if number else ""}">{cell}</td>'
            for cell, (_, number) in zip(row, heads, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(label)}"><table>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def render_problem(message: str) -> str:
    """Return a sentence that says what is wrong and what to do next."""
    return f'<p class="problem" role="alert">{escape(message)}</p>'


def render_command(command: str) -> str:
    """Return a command line that can be copied."""
    return f'<span class="command"><code>{escape(command)}</code>{copy_button(command, "copy")}</span>'


def copy_button(text: str, name: str) -> str:
    """Return a button that copies a text."""
    return f'<button class="quiet" data-copy="{escape(text)}">{escape(name)}</button>'
