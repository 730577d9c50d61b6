"""How far the judge can be trusted, on Results: its report, and what margins between scores buy and cost."""

from collections.abc import Mapping
from html import escape

from app import render
from app.curves import render_curves
from app.pages import link
from insightv_core.commands.judge_report import WORDS
from insightv_core.curate import CurateSettings
from insightv_core.errors import UserError
from insightv_core.store import Store
from insightv_core.store.runs import RunRow, list_runs

AGAINST = {"exact": "the exact verifier", "reviews": "human reviews", None: "nothing, as no truth is known"}
Cards = dict[tuple[str, int], dict]


def newest_judge(store: Store) -> tuple[RunRow, int] | None:
    """Return the newest run of a judge with a model, and how much it has assessed."""
    for run in list_runs(store, stage="assess", limit=200):
        if run.model is not None:
            return run, run.done
    return None


def measure_judge(store: Store, cards: Cards) -> None:
    """Measure the newest judge and what it would curate, and keep that in `cards`."""
    from insightv_core.curate import measure_yield
    from insightv_core.judge_report import report_judge
    from insightv_core.store.curation import assessed_questions

    found = newest_judge(store)
    if found is None:
        raise UserError("no judge has scored paths yet: run `insightv assess` first")
    run, done = found
    report = report_judge(store, run.id)
    known = report if report["against"] else None
    rows = measure_yield(assessed_questions(store, assess_run=run.id), CurateSettings(), report=known)
    cards[run.id, done] = {"report": report, "yield": rows}


def render_judge(store: Store, cards: Cards) -> str:
    """Return what is known of the newest judge, or the button that measures it."""
    found = newest_judge(store)
    if found is None:
        return ""
    run, done = found
    card = cards.get((run.id, done))
    name = f'<a href="{link("runs", run=run.id)}">{escape(str(run.model))}, run {escape(run.id[: render.SHORT_ID])}</a>'
    if card is None:
        said = (
            f'<p class="soft">{name} scored {render.plural(done, "path")}. Hold its scores against the truth:</p>'
            '<p><button data-action="measure" data-busy="Measuring the judge …">Measure the judge</button></p>'
        )
        return f'<section class="judge-card"><h2>The judge</h2>{said}</section>'
    report = card["report"]
    copied = render.copy_button(write_judge(report), "copy as Markdown")
    rows = [
        (escape(words), number(report[key], "value"), number(report[key], "low", "high"), f"{report[key]['n']:,}")
        for key, words in WORDS.items()
        if key in report
    ]
    heads = (("figure", False), ("value", True), ("95% interval", True), ("n", True))
    return (
        f'<section class="judge-card"><h2>The judge <span class="tools">{copied}</span></h2><p class="soft">{name}, '
        f"{escape(report['mode'])} mode: {render.plural(report['paths'], 'path')} of "
        f"{render.plural(report['questions'], 'question')}, held against {AGAINST[report['against']]}.</p>"
        f'<div class="two"><div>{render.render_table(heads, rows, "Figures of the judge")}</div>'
        f'<div class="charts">{render_calibration(report)}{render_yield(card["yield"], str(store.file))}</div></div>'
        "</section>"
    )


def number(figure: Mapping, *names: str) -> str:
    """Return values of a figure joined by "to", a dash where one cannot be computed."""
    values = [figure[name] for name in names]
    return "–" if None in values else " to ".join(f"{value:.2f}" for value in values)


def render_calibration(report: Mapping) -> str:
    """Return the share of sound paths, or of agreement, by band of score, with n in the words of each dot."""
    bands = [band for band in report["calibration"] if band["n"]]
    curve = [((band["from"] + band["to"]) / 2, band["value"]) for band in bands if band["value"] is not None]
    title = "Share where reviewers agree" if report["against"] == "reviews" else "Share of sound paths"
    counted = ", ".join(f"{band['from']}–{band['to']}: {band['n']:,}" for band in bands)
    drawn = render_curves(title, {"share": curve}, x_name="score", zero=True)
    return f'<div>{drawn}<p class="soft note">n by score: {counted}</p></div>'


def render_yield(rows: list[dict], file: str) -> str:
    """Return what each margin between scores buys and costs: two curves, and a slider that prices one margin."""
    if not any(row["pairs"] for row in rows):
        return ""
    pairs = [(float(row["margin"]), float(row["pairs"])) for row in rows]
    noise = [(float(row["margin"]), row["noise"]) for row in rows if row["noise"] is not None]
    drawn = render_curves("Pairs by margin", {"pairs": pairs}, x_name="margin", zero=True)
    drawn += render_curves("Pairs that may be the wrong way round", {"share": noise}, x_name="margin", zero=True)
    chosen = min(range(len(rows)), key=lambda place: abs(rows[place]["margin"] - CurateSettings().margin))
    lines = "".join(
        f'<li data-price="{place}"{"" if place == chosen else " hidden"}>{price_margin(row, file)}</li>'
        for place, row in enumerate(rows)
    )
    return (
        f'{drawn}<div class="price"><label for="margin">Margin between the scores of two right answers</label>'
        f'<input id="margin" type="range" min="0" max="{len(rows) - 1}" value="{chosen}" data-prices>'
        f'<ul aria-live="polite">{lines}</ul></div>'
    )


def price_margin(row: Mapping, file: str) -> str:
    """Say how many pairs a margin leaves and how many of them may be the wrong way round, with the command for it."""
    known = "" if row["noise"] is None else f", of which {row['noise']:.1%} may be the wrong way round"
    command = render.render_command(f"insightv curate --margin {row['margin']} --project {file}")
    return (
        f"<strong>{row['margin']}</strong>: {render.plural(row['pairs'], 'pair')}, {row['by_answer']:,} of right "
        f"against wrong answers and {row['by_score']:,} by score{known}. {command}"
    )


def write_judge(report: Mapping) -> str:
    """Return the figures of a judge as a Markdown table."""
    lines = [f"| judge {report['model']}, {report['mode']} mode | value | 95% interval | n |", "|---|---|---|---|"]
    for key, words in WORDS.items():
        if key in report:
            value, span = number(report[key], "value"), number(report[key], "low", "high")
            lines.append(f"| {words} | {value} | {span} | {report[key]['n']} |")
    return "\n".join(lines)
