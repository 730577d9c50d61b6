"""The page Browse: questions as a grid with facets, search and sort; one of them opened is `question`."""

from collections.abc import Mapping
from dataclasses import fields, replace
from html import escape
from typing import Any
from urllib.parse import parse_qs

from app import render
from app.access import VIEWER, reading
from app.overview import score_bars
from app.pages import Project, address, model_names, section
from app.question import render_question
from insightv_core.store import Store
from insightv_core.store.browse import (
    PathFilter,
    QuestionRow,
    count_paths,
    facet_counts,
    filter_from_query,
    list_questions,
    score_histogram,
)

PAGE = 36
MOST_VALUES = 8
FACETS = {
    "family": "Family", "source": "Source", "outcome": "Answer", "status": "Path", "model": "Model", "run": "Run",
    "reviewed": "Reviewed",
}  # fmt: skip
SORTS = {"score": "best first", "lowest": "lowest score first", "newest": "newest first", "oldest": "oldest first"}


def add_browse_page(project: Project) -> None:
    """Add the page to the app."""

    def show(query: str) -> str:
        filter = filter_from_query(query)
        given = {name: values[-1] for name, values in parse_qs(query.removeprefix("?")).items()}
        with project.open() as store:
            if filter.question is not None:
                return render_question(store, filter, given)
            return render_browse(store, filter, given.get("after"))

    section("browse", [reading(VIEWER, show)])


def render_browse(store: Store, filter: PathFilter, after: str | None = None) -> str:
    """Return a page of the questions that a filter lets through, with everything to narrow it down."""
    page = list_questions(store, filter, after=after, limit=PAGE)
    if not page.rows and filter == PathFilter() and after is None:
        return (
            '<h1>Browse</h1><div class="empty"><p>This project has no questions yet.</p>'
            '<p><a href="?tab=overview">Import some from the overview</a>.</p></div>'
        )
    names = facet_names(store)
    count = count_paths(store, filter)
    grid = "".join(render_card(row, filter) for row in page.rows)
    if not page.rows:
        grid = '<p class="empty">Nothing fits. <a href="?tab=browse">Clear every filter</a>.</p>'
    return (
        f'<div class="browse-head"><h1>Questions</h1><span class="soft">{count} '
        f"path{'' if str(count) == '1' else 's'} fit{'s' if str(count) == '1' else ''}</span>"
        f'<span class="tools">{render.copy_button(notebook_cell(store, filter), "copy as notebook cell")}</span></div>'
        f'<div class="browse"><aside>{render_search(filter)}<details class="filters" open><summary>Filters</summary>'
        f"{render_score_filter(store, filter)}{render_facets(facet_counts(store, filter), filter, names)}</details>"
        f'</aside><div class="results">{render_chosen(filter, names)}<div class="grid">{grid}</div>'
        f"{render_pages(filter, after, page.next)}</div></div>"
    )


def render_card(row: QuestionRow, filter: PathFilter) -> str:
    """Return a question as a card: its picture, its text, and what its paths are worth."""
    if row.paths:
        css = "good" if row.correct else "bad"
        worth = (
            f'<span class="mark {css}">{row.correct} of {row.paths} correct</span>'
            f'<span class="number">{"" if row.best is None else f"best {row.best}"}</span>'
        )
    else:
        worth = '<span class="soft">no paths yet</span>'
    link = escape(address(replace(filter, question=row.id)))
    return (
        f'<a class="card" href="{link}" data-question="{escape(row.id)}"><span class="thumb">'
        f'<img src="{render.picture_address(row.image, 320)}" alt="" loading="lazy" decoding="async"></span>'
        f'<span class="card-text">{escape(row.text)}</span>'
        f'<span class="card-family soft">{render.words(row.family or row.source)}</span>'
        f'<span class="worth">{worth}</span></a>'
    )


def render_search(filter: PathFilter) -> str:
    """Return the search field and the order."""
    options = "".join(
        f'<option value="{sort}"{" selected" if sort == filter.sort else ""}>{label}</option>'
        for sort, label in SORTS.items()
    )
    return (
        '<form class="search" role="search" data-query><label class="unseen" for="search">Search questions and steps'
        f'</label><input id="search" name="search" type="search" value="{escape(filter.search)}" autocomplete="off" '
        'placeholder="Search questions, steps"><label class="unseen" for="sort">Order</label>'
        f'<select id="sort" name="sort">{options}</select></form>'
    )


def render_score_filter(store: Store, filter: PathFilter) -> str:
    """Return the range of scores: a histogram whose bars can be chosen, and two fields."""
    scores = score_histogram(store, replace(filter, score_low=None, score_high=None, scored=None))
    bars = score_bars({"paths": scores}, filter)
    unscored = scores.get(None, 0)
    none = (
        f'<a class="soft" href="{escape(address(replace(filter, score_low=None, score_high=None, scored=False)))}">'
        f"{unscored:,} without a score</a>"
        if unscored
        else ""
    )
    ends = "".join(
        f'<label>{label} <input name="{name}" type="number" min="1" max="100" inputmode="numeric" '
        f'value="{getattr(filter, name) or ""}"></label>'
        for name, label in (("score_low", "from"), ("score_high", "to"))
    )
    return (
        f'<fieldset class="facet"><legend>Score</legend>{render.render_bars(bars, "Score")}'
        f'<form class="range" data-query>{ends}<button class="quiet">set</button></form>{none}</fieldset>'
    )


def facet_names(store: Store) -> dict[str, Mapping]:
    """Return how values of facets are called where their own text says little."""
    models = model_names(store)
    runs = {
        str(run): f"{(found.model.name if found.model else found.stage)} {found.id[:6]}"
        for run, _ in facet_counts(store, PathFilter())["run"]
        for found in [store.run(str(run))]
    }
    return {
        "outcome": {"": "not judged"}, "model": {"": "no model", **models}, "run": runs,
        "reviewed": {True: "reviewed", False: "not reviewed"}, "family": {"": "no family"},
    }  # fmt: skip


def value_name(facet: str, value: str | bool, names: Mapping[str, Mapping]) -> str:
    """Return how a value of a facet is called, as HTML."""
    return render.words(str(names.get(facet, {}).get(value, value)))


def render_facets(
    counts: Mapping[str, list[tuple[str | bool, int]]], filter: PathFilter, names: Mapping[str, Mapping]
) -> str:
    """Return every facet that can narrow the view, with the number of paths behind each value."""
    parts = []
    for facet, label in FACETS.items():
        chosen, values = getattr(filter, facet), counts[facet]
        if len(values) < 2 and chosen is None:
            continue
        lines = [render_value(facet, value, number, filter, names) for value, number in values]
        more = lines[MOST_VALUES:]
        folded = (
            f'<details class="fold"><summary>{len(more)} more</summary><ul>{"".join(more)}</ul></details>'
            if more
            else ""
        )
        parts.append(
            f'<fieldset class="facet" data-facet="{facet}"><legend>{label}</legend>'
            f"<ul>{''.join(lines[:MOST_VALUES])}</ul>{folded}</fieldset>"
        )
    return "".join(parts)


def render_value(facet: str, value: str | bool, number: int, filter: PathFilter, names: Mapping[str, Mapping]) -> str:
    """Return one value of a facet as a link that chooses it, or gives it up where it is chosen."""
    chosen = getattr(filter, facet) == value
    link = escape(address(with_facet(filter, facet, None if chosen else value)))
    glyph = render.mark(render.OUTCOMES, str(value)) if facet == "outcome" else ""
    current = ' aria-current="true"' if chosen else ""
    return (
        f'<li><a href="{link}"{current}><span>{glyph}{value_name(facet, value, names)}</span>'
        f'<span class="number soft">{number:,}</span></a></li>'
    )


def with_facet(filter: PathFilter, facet: str, value: str | bool | None) -> PathFilter:
    """Return a filter that asks for another value of a facet, None for any."""
    changed: dict[str, Any] = {facet: value}
    return replace(filter, **changed)


def render_chosen(filter: PathFilter, names: Mapping[str, Mapping]) -> str:
    """Return what narrows the view, each with a way to give it up."""
    chips = []
    for facet, label in FACETS.items():
        value = getattr(filter, facet)
        if value is not None:
            chips.append((f"{label.lower()}: {value_name(facet, value, names)}", with_facet(filter, facet, None)))
    if filter.search:
        chips.append((f"“{escape(filter.search)}”", replace(filter, search="")))
    if filter.score_low is not None or filter.score_high is not None:
        span = f"score {filter.score_low or 1}–{filter.score_high or 100}"
        chips.append((span, replace(filter, score_low=None, score_high=None)))
    if filter.scored is not None:
        chips.append(("with a score" if filter.scored else "without a score", replace(filter, scored=None)))
    if not chips:
        return ""
    links = "".join(
        f'<a class="chip" href="{escape(address(without))}" aria-label="Remove {words}">{words} '
        f'<span aria-hidden="true">×</span></a>'
        for words, without in chips
    )
    return f'<p class="chips">{links}<a href="?tab=browse">clear all</a></p>'


def render_pages(filter: PathFilter, after: str | None, following: str | None) -> str:
    """Return the way to the next page, and back to the first."""
    first = f'<a href="{escape(address(filter))}">« first page</a>' if after else ""
    then = f'<a href="{escape(address(filter, after=following))}" rel="next">next page ›</a>' if following else ""
    return f'<nav class="pages" aria-label="Pages">{first}{then}</nav>' if first or then else ""


def notebook_cell(store: Store, filter: PathFilter) -> str:
    """Return Python code that lists the same questions in a notebook."""
    changed = ", ".join(
        f"{field.name}={getattr(filter, field.name)!r}"
        for field in fields(filter)
        if getattr(filter, field.name) != field.default
    )
    return (
        "from insightv_core.store import open_store\n"
        "from insightv_core.store.browse import PathFilter, list_questions\n\n"
        f"store = open_store({str(store.file)!r})\n"
        f"list_questions(store, PathFilter({changed})).rows\n"
    )
