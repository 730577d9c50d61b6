"""Records as they look in a cell: the picture, the steps with their verdicts, the answer, and the way to the app."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from insightv_core.agents import Solution
from insightv_core.nano.world import Example
from insightv_core.records import Assessment, Path, Question, Step
from insightv_core.store import Store
from insightv_core.store.browse import PathFilter
from insightv_core.store.filters import filter_to_query
from insightv_core.teaching.truth import find_false, verify_chain

if TYPE_CHECKING:
    from PIL import Image

SIDE = 260  # pixels of a picture in a cell
# A sign and a word each, so that nothing is told by colour alone; both colours read on light and on dark pages.
VERDICTS = {"sound": ("✓", "#0d9488"), "flawed": ("✗", "#ea580c"), "unchecked": ("–", "#8b8b8b"), "": ("○", "#8b8b8b")}
OUTCOMES = {"correct": ("✓", "#0d9488"), "wrong": ("✗", "#ea580c"), "unparsed": ("–", "#8b8b8b")}
PORT = 7860
LONG = 30  # characters from which a cell of a table may take several lines


@dataclass(frozen=True)
class Html:
    """Something to look at in a cell; `text` says the same where nothing can be drawn."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def show_question(question: Question, image: "FilePath | Image.Image") -> Html:
    """Show a question: its picture, its text and its true answer."""
    body = f"<p><b>{lines(question.text)}</b></p><p>true answer: <b>{escape(question.answer)}</b></p>"
    return Html(beside(image, body), f"{question.text}\ntrue answer: {question.answer}")


def show_path(
    question: Question,
    image: "FilePath | Image.Image",
    path: Path,
    assessment: Assessment | None = None,
    verdicts: Sequence[str] = (),
) -> Html:
    """Show a path: each step with its verdict, the answer, and what the judge says where it has said something.

    `verdicts` are "sound", "flawed" or "unchecked" for each step; the judge's unless given.
    """
    marks = tuple(verdicts) or (assessment.verdicts if assessment else ())
    sign = f" {mark(OUTCOMES, assessment.outcome)}" if assessment else ""
    answer = escape(path.answer) if path.answer is not None else f"none: {escape(path.failure or '')}"
    score = "" if assessment is None or assessment.score is None else f", score <b>{assessment.score}</b>"
    body = (
        f"<p><b>{lines(question.text)}</b></p>{step_list(path.steps, marks)}"
        f"<p>answer <b>{answer}</b>{sign}{score}; true answer <b>{escape(question.answer)}</b></p>"
    )
    return Html(beside(image, body), write_plain(question.text, path.steps, path.answer))


def show_solution(question: Question, image: "FilePath | Image.Image", solution: Solution) -> Html:
    """Show what the two agents made of a question: the chain, the verdict on it, and the answer."""
    broken = f"<p>the chain breaks off: {escape(solution.truncated)}</p>" if solution.truncated else ""
    verdict = mark(VERDICTS, solution.verdict or "")
    body = (
        f"<p><b>{lines(question.text)}</b></p><p>Reasoning agent</p>{step_list(solution.steps)}{broken}"
        f"<p>Summary agent: the chain is {verdict or 'not judged'}, answer <b>{escape(solution.answer or 'none')}</b>"
        f"{f' ({escape(solution.problem)})' if solution.problem else ''}; "
        f"true answer <b>{escape(question.answer)}</b></p>"
    )
    return Html(beside(image, body), write_plain(question.text, solution.steps, solution.answer))


def show_flaws(example: Example, steps: Sequence[Step], *, told: bool = True) -> Html:
    """Show a chain about a nano scene and, when it is `told`, what the exact verifier calls false in it, and why."""
    from insightv_core.nano.render import render

    parts = []
    for step in steps:
        false = [f"“{escape(claim.text)}”: {escape(claim.reason)}" for claim in find_false(example, step)]
        parts.append(f"<br><small>{'; '.join(false)}</small>" if false else "")
    listed = step_list(steps, verify_chain(example, steps), parts) if told else step_list(steps)
    body = f"<p><b>{lines(example.question)}</b></p>{listed}"
    return Html(beside(render(example.scene, example.style), body), write_plain(example.question, steps, None))


def show_judged(
    question: Question, image: "FilePath | Image.Image", paths: Sequence[Path], assessments: Mapping[str, Assessment]
) -> Html:
    """Show all paths of a question as a table, the best first: score, answer, its outcome, and each step's verdict."""
    known = [(path, assessments[path.id]) for path in paths if path.id in assessments]
    rows = [
        {
            "score": "–" if judged.score is None else judged.score,
            "answer": "–" if path.answer is None else path.answer,
            "outcome": judged.outcome,
            "steps": " ".join(VERDICTS.get(each, VERDICTS[""])[0] for each in judged.verdicts),
            "titles": " › ".join(step.summary for step in path.steps),
        }
        for path, judged in sorted(known, key=lambda pair: -(pair[1].score or 0))
    ]
    table = show_table(rows)
    body = f"<p><b>{lines(question.text)}</b> true answer <b>{escape(question.answer)}</b></p>{table.html}"
    return Html(beside(image, body), f"{question.text}\n{table.text}")


def show_table(rows: Sequence[Mapping[str, Any]]) -> Html:
    """Show rows as a table: numbers to the right, with at most three decimal digits."""
    if not rows:
        return Html("<p>no rows</p>", "no rows")
    heads = list(rows[0])
    cells = [[write_cell(row.get(head)) for head in heads] for row in rows]
    right = [all(isinstance(row.get(head), int | float | None) for row in rows) for head in heads]
    styles = [f"text-align:{'right' if each else 'left'};padding:2px 10px" for each in right]
    long = [max(map(len, column)) > LONG for column in zip(*cells, strict=True)]
    styles = [style if wraps else f"{style};white-space:nowrap" for style, wraps in zip(styles, long, strict=True)]

    def line(values: Sequence[str], tag: str) -> str:
        parts = (f'<{tag} style="{style}">{escape(each)}</{tag}>' for each, style in zip(values, styles, strict=True))
        return f"<tr>{''.join(parts)}</tr>"

    body = "".join(line(each, "td") for each in cells)
    widths = [max(len(line_[k]) for line_ in [heads, *cells]) for k in range(len(heads))]
    text = "\n".join(
        "  ".join(each.ljust(width) for each, width in zip(row, widths, strict=True)) for row in [heads, *cells]
    )
    return Html(f'<table style="font-variant-numeric:tabular-nums">{line(heads, "th")}{body}</table>', text)


def app_link(store: Store, **chosen: Any) -> Html:
    """Show where the app opens what is stored: filters of `PathFilter` such as question, run or family, and `path`."""
    path = chosen.pop("path", None)
    query = filter_to_query(PathFilter(**chosen))
    parts = ["tab=browse", *([query] if query else []), *([f"path={path}"] if path else [])]
    address = f"http://127.0.0.1:{PORT}/?{'&'.join(parts)}"
    command = f"python -m insightv_core app {shown_file(store.file)}"
    html = (
        f'<p>In the app: <a href="{escape(address)}" target="_blank">{escape(address)}</a><br>'
        f"<small>it is served by <code>{escape(command)}</code></small></p>"
    )
    return Html(html, f"in the app: {address}\nit is served by: {command}")


# -- parts -------------------------------------------------------------------------------------------------------------


def shown_file(file: FilePath) -> str:
    """Return a file as one would type it in the folder of the workbench."""
    from insightv_core.teaching.classroom import ROOT

    return str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else str(file)


def beside(image: "FilePath | Image.Image", body: str) -> str:
    """Return a picture with something to its right."""
    return (
        '<div style="display:flex;gap:24px;align-items:flex-start;line-height:1.5">'
        f'<img src="{data_address(image)}" width="{SIDE}" alt="the picture of the question">'
        f'<div style="max-width:42em">{body}</div></div>'
    )


def data_address(image: "FilePath | Image.Image") -> str:
    """Return a small copy of a picture as an address that holds it."""
    from PIL import Image

    from insightv_core.vlm import load_picture

    picture = load_picture(image)
    picture.thumbnail((SIDE, SIDE))
    buffer = BytesIO()
    picture.quantize(128, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"


def step_list(steps: Sequence[Step], verdicts: Sequence[str] = (), after: Sequence[str] = ()) -> str:
    """Return a chain as a numbered list; `after` is HTML for each step."""
    items = []
    for place, step in enumerate(steps):
        sign = mark(VERDICTS, verdicts[place]) + " " if place < len(verdicts) else ""
        more = after[place] if place < len(after) else ""
        items.append(f"<li>{sign}<b>{escape(step.summary)}</b>: {escape(step.content)}{more}</li>")
    return f'<ol style="margin:0;padding-left:1.6em">{"".join(items)}</ol>'


def mark(kinds: Mapping[str, tuple[str, str]], kind: str) -> str:
    """Return the sign and the word of a verdict or an outcome."""
    if kind not in kinds or not kind:
        return ""
    sign, colour = kinds[kind]
    return f'<span style="color:{colour}">{sign} {kind}</span>'


def lines(text: str) -> str:
    """Return a text as HTML that keeps its lines."""
    return escape(text).replace("\n", "<br>")


def write_cell(value: object) -> str:
    """Return a value as a table shows it."""
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def write_plain(question: str, steps: Sequence[Step], answer: str | None) -> str:
    """Return a path as plain text."""
    from insightv_core.prompts import format_chain

    return "\n".join([question, format_chain(steps), *([f"answer: {answer}"] if answer is not None else [])])
