"""The page Overview: how far the project has come, what its scores look like, and what to do next."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

from app import render
from app.access import ADMIN, VIEWER, reading
from app.next_action import next_action
from app.pages import Project, address, link, model_names, section
from insightv_core.importing import import_questions
from insightv_core.records import COMPLETE
from insightv_core.store import Store
from insightv_core.store.browse import PathFilter, facet_counts, funnel, score_histogram
from insightv_core.store.runs import RunRow, list_runs

DEMO = Path(__file__).parents[1] / "data" / "demo"
EVERYTHING = PathFilter()
RECENT = 8
MOST_MODELS = 12
FUNNEL = {
    "questions": ("questions", EVERYTHING),
    "paths": ("reasoning paths", EVERYTHING),
    "complete": ("complete paths", PathFilter(status=COMPLETE)),
    "correct": ("correct answers", PathFilter(outcome="correct")),
    "scored": ("scored by a judge", PathFilter(scored=True)),
    "pairs": ("preference pairs", None),
    "reviewed": ("pairs reviewed", None),
}


def add_overview_page(project: Project) -> None:
    """Add the page to the app."""

    def show(query: str) -> str:
        with project.open() as store:
            return render_overview(store)

    def import_demo(query: str) -> str:
        with project.open() as store:
            import_questions(store, DEMO)
            return render_overview(store)

    section("overview", [reading(VIEWER, show), reading(ADMIN, import_demo)])


def render_overview(store: Store) -> str:
    """Return the page of a project."""
    counts = funnel(store)
    head = f'<h1>Overview</h1><p class="soft">{escape(str(store.file))}</p>'
    if not counts["questions"]:
        return head + render_empty()
    parts = [head, f'<p class="next">{next_action(counts, store)}</p>', '<div class="two">', render_funnel(counts)]
    if counts["paths"]:
        parts.append(render_scores(store))
    parts.append("</div>")
    if counts["paths"]:
        parts.append(render_models(store))
    return "".join([*parts, render_runs(list_runs(store, limit=RECENT))])


def render_empty() -> str:
    """Return what an empty project shows: how to get questions into it."""
    return (
        '<div class="empty"><p>This project has no questions yet. Start with the demo: 300 questions about charts, '
        'tables and diagrams, with their pictures.</p><p><button class="main" data-action="import_demo" '
        'data-busy="Importing the demo questions …">Import the demo questions</button></p><p>Or bring your own, with '
        f'their pictures.</p><p><a class="button" href="{link("import")}">Import questions</a></p></div>'
    )


def render_funnel(counts: Mapping[str, int]) -> str:
    """Return the way from questions to reviewed pairs as bars; of the paths, each share is that of all paths."""
    rows = []
    for name, (label, filter) in FUNNEL.items():
        whole = counts["pairs"] if name in ("pairs", "reviewed") else counts["paths"]
        number = counts[name]
        width = 100.0 if name == "questions" else 100 * number / whole if whole else 0
        linked = f'<a href="{escape(address(filter))}">{label}</a>' if filter is not None and number else label
        rate = f"{number / whole:.0%}" if whole and name in ("complete", "correct", "scored", "reviewed") else ""
        rows.append(
            f'<tr data-funnel="{name}"><th scope="row">{linked}</th><td class="number">{number:,}</td>'
            f'<td class="number soft">{rate}</td><td class="bar" aria-hidden="true"><i class="{name}" '
            f'style="width:{width:.1f}%"></i></td></tr>'
        )
    return (
        '<section class="funnel" aria-labelledby="funnel-title"><h2 id="funnel-title">From questions to pairs</h2>'
        f"<table>{''.join(rows)}</table></section>"
    )


def render_scores(store: Store) -> str:
    """Return how the judge's scores spread over right and wrong answers."""
    by_outcome = {
        css: score_histogram(store, PathFilter(outcome=outcome))
        for css, outcome in (("good", "correct"), ("bad", "wrong"), ("none", "unparsed"))
    }
    bars = score_bars(by_outcome, EVERYTHING)
    scored = sum(number for _, parts, _ in bars for _, number in parts)
    if not scored:
        said = '<p class="soft">No path has a score yet.</p>'
    else:
        said = render.render_bars(bars, "Scores from 1 to 100") + render_legend(by_outcome)
    return (
        '<section class="scores" aria-labelledby="scores-title"><h2 id="scores-title">Scores of the judge '
        f'<span class="soft">n = {scored:,}</span></h2>{said}</section>'
    )


def score_bars(
    by_outcome: Mapping[str, Mapping[int | None, int]], filter: PathFilter
) -> list[tuple[str, list[tuple[str, int]], str]]:
    """Return ten bars of scores, each split by outcome and leading to its paths."""
    bars = []
    for low in range(1, 101, 10):
        parts = [
            (css, sum(number for score, number in scores.items() if score is not None and low <= score <= low + 9))
            for css, scores in by_outcome.items()
        ]
        bars.append((f"{low}–{low + 9}", parts, address(replace(filter, score_low=low, score_high=low + 9))))
    return bars


def render_legend(by_outcome: Mapping[str, Mapping[int | None, int]]) -> str:
    """Return what the colours of the histogram mean, with the number of scored paths of each."""
    items = []
    for css, outcome in (("good", "correct"), ("bad", "wrong"), ("none", "unparsed")):
        number = sum(count for score, count in by_outcome.get(css, {}).items() if score is not None)
        if number:
            items.append(f'<li>{render.outcome_mark(outcome, word=True)} <span class="number">{number:,}</span></li>')
    return f'<ul class="legend">{"".join(items)}</ul>'


def render_models(store: Store) -> str:
    """Return what each model's paths are worth."""
    names = model_names(store)
    rows = []
    for fingerprint, paths in facet_counts(store, EVERYTHING)["model"][:MOST_MODELS]:
        filter = PathFilter(model=str(fingerprint))
        outcomes = dict(facet_counts(store, filter)["outcome"])
        correct = outcomes.get("correct", 0)
        name = escape(names.get(str(fingerprint), "no model"))
        short = escape(str(fingerprint)[: render.SHORT_ID])
        rows.append(
            (
                f'<a href="{escape(address(filter))}">{name}</a> <code class="soft">{short}</code>',
                f"{paths:,}", render.share(correct, paths - outcomes.get("", 0)),
            )
        )  # fmt: skip
    heads = (("model", False), ("paths", True), ("correct, of those judged", True))
    return f"<section><h2>Models</h2>{render.render_table(heads, rows, 'Models')}</section>"


def render_runs(runs: Sequence[RunRow]) -> str:
    """Return the newest runs as a table."""
    if not runs:
        return ""
    rows = [
        (
            f'<a href="{link("runs", run=run.id)}">{escape(run.stage)}</a>',
            f'<code class="soft">{escape(run.id[: render.SHORT_ID])}</code>', escape(run.model or "–"),
            "killed" if run.alive is False else escape(run.status),
            f"{run.done:,}" + (f" / {run.total:,}" if run.total else ""),
            escape(ago(run.updated)),
        )
        for run in runs
    ]  # fmt: skip
    heads = (("stage", False), ("run", False), ("model", False), ("state", False), ("done", True), ("last seen", True))
    return f"<section><h2>Recent runs</h2>{render.render_table(heads, rows, 'Recent runs')}</section>"


def ago(then: float, now: float | None = None) -> str:
    """Say how long ago a moment was, in seconds since 1970.

    >>> ago(0, 90), ago(0, 7200)
    ('1 min ago', '2 h ago')
    """
    seconds = max((time.time() if now is None else now) - then, 0)
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago" if (unit, int(seconds // size)) != ("days", 1) else "1 day ago"
    return "just now"
