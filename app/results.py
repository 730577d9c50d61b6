"""The page Results: what each system is worth on held-out questions, and how far the judge can be trusted."""

from collections.abc import Mapping, Sequence
from html import escape
from math import isfinite
from typing import TYPE_CHECKING

from app import render
from app.access import VIEWER, reading
from app.judge_card import Cards, measure_judge, render_judge
from app.overview import ago
from app.pages import Project, link, read_query, section
from insightv_core.errors import UserError
from insightv_core.store import Store
from insightv_core.store.evaluations import family_table, list_evaluations, load_reports, path_tables

if TYPE_CHECKING:
    from insightv_core.evaluate import Estimate, PathTable, SystemReport

MOST = 12  # evaluations to choose from
SPAN, TALL = 160, 24  # of the drawing of an interval
GROUPS = {"family": "By family", "level": "By difficulty"}


def add_results_page(project: Project) -> None:
    """Add the page to the app."""
    measured: Cards = {}  # by run and number of assessments, while the app runs

    def show(query: str) -> str:
        with project.open() as store:
            return render_results(store, read_query(query)) + render_judge(store, measured)

    def measure(query: str) -> str:
        with project.open() as store:
            measure_judge(store, measured)
            return render_results(store, read_query(query)) + render_judge(store, measured)

    section("results", [reading(VIEWER, show), reading(VIEWER, measure)])


def render_results(store: Store, given: Mapping[str, str]) -> str:
    """Return the tables of an evaluation: the one that the address names, or the newest."""
    evaluations = list_evaluations(store)
    if not evaluations:
        command = render.render_command(f"insightv evaluate --project {store.file}")
        said = f"<p>Nothing was evaluated yet. Answer held-out questions with every system:</p>{command}"
        return f'<h1>Results</h1><div class="empty">{said}</div>'
    chosen = next(
        (
            each
            for each in evaluations
            if given.get("run") in (None, each["run"]) and given.get("benchmark") in (None, each["benchmark"])
        ),
        None,
    )
    if chosen is None:
        raise UserError(f"run {given.get('run')} has no answers here: choose another from Results")
    against = given.get("against")
    if against is not None and against not in chosen["systems"]:
        raise UserError(f"{against!r} is no system of this evaluation: choose another from Results")
    place = (chosen["run"], chosen["benchmark"])
    reports = load_reports(store, *place, against=against)
    groups = "".join(render_groups(title, family_table(store, *place, by=by)) for by, title in GROUPS.items())
    return (
        f"<h1>Results</h1>{render_choices(chosen, evaluations)}{render_head(chosen)}"
        f"{render_systems(chosen, reports, against)}{render_paths(path_tables(store, *place))}{groups}"
    )


def render_choices(chosen: Mapping, evaluations: Sequence[Mapping]) -> str:
    """Return the newest evaluations, to choose one."""
    items = "".join(
        f'<a class="chip" href="{link("results", run=each["run"], benchmark=each["benchmark"])}"'
        f"{CURRENT if each is chosen else ''}>{escape(each['benchmark'])} {escape(each['run'][: render.SHORT_ID])}, "
        f"{escape(ago(each['updated']))}</a>"
        for each in evaluations[:MOST]
    )
    return f'<p class="chips stages">{items}</p>'


CURRENT = ' aria-current="true"'


def render_head(chosen: Mapping) -> str:
    """Say what was answered, by which model, and how far that is."""
    parts = [
        render.plural(chosen["questions"], "held-out question"),
        render.plural(chosen["seeds"], "seed"),
        render.plural(chosen["answers"], "answer"),
        f"base model {escape(chosen['model'] or '–')}",
        "" if chosen["status"] == "done" else f"<strong>{escape(chosen['status'])}, so not every answer is in</strong>",
        f'<a href="{link("runs", run=chosen["run"])}">the run</a>',
    ]
    return f'<p class="soft">{" · ".join(filter(None, parts))}</p>'


# -- systems -----------------------------------------------------------------------------------------------------------


def render_systems(chosen: Mapping, reports: "Sequence[SystemReport]", against: str | None) -> str:
    """Return the accuracy of each system with its interval, and its paired difference from the first one."""
    from insightv_core.evaluate import write_csv, write_latex, write_markdown
    from insightv_core.evaluate.tables import write_chance

    first = against or chosen["systems"][0]
    rows = [
        (
            f"<strong>{escape(each.system)}</strong>" if each.system == first else compare_link(chosen, each.system),
            draw_interval(each.accuracy), rate(each.accuracy.value), interval(each.accuracy), f"{each.accuracy.n:,}",
            difference(each.difference), escape(write_chance(each.p)), rate(each.unparsed),
            f"{each.tokens:.0f}", f"{each.seconds:.2g}",
        )
        for each in reports
    ]  # fmt: skip
    heads = (
        ("system", False), ("0 to 1", False), ("accuracy", True), ("95% interval", True), ("n", True),
        (f"against {first}", True), ("p", True), ("unparsed", True), ("tokens", True), ("seconds", True),
    )  # fmt: skip
    copies = "".join(
        render.copy_button(write(reports), f"copy as {name}")
        for name, write in (("Markdown", write_markdown), ("CSV", write_csv), ("LaTeX", write_latex))
    )
    return (
        f'<section class="systems"><h2>Accuracy <span class="tools">{copies}</span></h2>'
        f"{render.render_table(heads, rows, 'Accuracy of each system')}"
        '<p class="soft note">Right answers by rules; an answer that cannot be read counts as wrong. Intervals are '
        "bootstrapped over questions, differences are paired by question, p is that of a sign-flip test. "
        "Tokens and seconds are means of an answer. Choose a system to compare the others with it.</p></section>"
    )


def compare_link(chosen: Mapping, system: str) -> str:
    """Return a system's name as the way to compare the others with it."""
    address = link("results", run=chosen["run"], benchmark=chosen["benchmark"], against=system)
    return f'<a href="{address}" title="compare the others with it">{escape(system)}</a>'


def draw_interval(found: "Estimate") -> str:
    """Return a share and its interval as a drawing from 0 to 1; the numbers stand beside it."""
    if not all(map(isfinite, (found.value, found.low, found.high))):
        return ""
    low, value, high = (2 + (SPAN - 4) * min(max(each, 0.0), 1.0) for each in (found.low, found.value, found.high))
    middle = TALL / 2
    return (
        f'<svg class="interval" viewBox="0 0 {SPAN} {TALL}" width="{SPAN}" height="{TALL}" aria-hidden="true">'
        f'<line class="rule" x1="2" x2="{SPAN - 2}" y1="{middle}" y2="{middle}"/>'
        f'<line class="span" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>'
        f'<circle cx="{value:.1f}" cy="{middle}" r="4"/></svg>'
    )


def rate(value: float) -> str:
    """Return a share in three digits, a dash where there is none."""
    return f"{value:.3f}" if isfinite(value) else "–"


def interval(found: "Estimate") -> str:
    """Return the 95% interval in words."""
    return f"{rate(found.low)} to {rate(found.high)}"


def difference(found: "Estimate | None") -> str:
    """Return a paired difference with its interval, and whether it leaves 0 out."""
    if found is None:
        return ""
    clear = found.low > 0 or found.high < 0
    css = ("mark good" if found.value > 0 else "mark bad") if clear else ""
    return (
        f'<span class="{css}">{found.value:+.3f}</span> <span class="soft">{found.low:+.3f} to {found.high:+.3f}, '
        f"n = {found.n:,}</span>"
    )


# -- groups and paths --------------------------------------------------------------------------------------------------


def render_groups(title: str, rows: Sequence[Mapping]) -> str:
    """Return the accuracy of each system in each group of questions, with its interval and n."""
    groups = list(dict.fromkeys(row["group"] for row in rows))
    systems = list(dict.fromkeys(row["system"] for row in rows))
    if len(groups) < 2:
        return ""
    found = {(row["group"], row["system"]): row for row in rows}
    lines = [(render.words(name), *(group_cell(found.get((name, system))) for system in systems)) for name in groups]
    heads = (("questions", False), *((system, True) for system in systems))
    copied = render.copy_button(write_groups(groups, systems, found), "copy as Markdown")
    return (
        f'<section class="groups"><h2>{title} <span class="tools">{copied}</span></h2>'
        f"{render.render_table(heads, lines, title)}</section>"
    )


def group_cell(row: Mapping | None) -> str:
    """Return an accuracy with its interval and n, and a bar behind."""
    if row is None or not row["n"]:
        return '<span class="soft">–</span>'
    return (
        f'<span class="share" style="--share:{row["accuracy"]:.3f}">{row["accuracy"]:.2f}</span> '
        f'<span class="soft">{row["low"]:.2f}–{row["high"]:.2f}, n = {row["n"]:,}</span>'
    )


def write_groups(groups: Sequence[str], systems: Sequence[str], found: Mapping[tuple[str, str], Mapping]) -> str:
    """Return the accuracy by group as a Markdown table."""
    lines = [f"| questions | {' | '.join(systems)} |", "|---" * (len(systems) + 1) + "|"]
    for name in groups:
        cells = [
            f"{row['accuracy']:.3f} ({row['low']:.3f} to {row['high']:.3f}), n = {row['n']}" if row else ""
            for row in (found.get((name, system)) for system in systems)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def render_paths(tables: "Sequence[PathTable]") -> str:
    """Return for each system that reasons how often path and answer are right: four counts, and two shares."""
    if not tables:
        return ""
    rows = [
        (
            escape(each.system), f"{each.both:,}", f"{each.path_only:,}", f"{each.answer_only:,}", f"{each.neither:,}",
            render.share(each.both, each.both + each.path_only),
            render.share(each.answer_only, each.answer_only + each.neither),
        )
        for each in tables
    ]  # fmt: skip
    heads = (
        ("system", False), ("path ✓ answer ✓", True), ("path ✓ answer ✕", True), ("path ✕ answer ✓", True),
        ("path ✕ answer ✕", True), ("right after a right path", True), ("right after a wrong path", True),
    )  # fmt: skip
    by = " and ".join(sorted({each.by for each in tables}))
    return (
        '<section class="path-counts"><h2>Path and answer</h2>'
        f"{render.render_table(heads, rows, 'Path and answer')}"
        f'<p class="soft note">Answers counted by whether the reasoning path is right, by {escape(by)}, and whether '
        "the answer is. A summary agent that does not just copy is often right after a wrong path.</p></section>"
    )
