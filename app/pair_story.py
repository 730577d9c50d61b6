"""A preference pair through its life: where it comes from, why it is one, and its margin in each round of DPO."""

from html import escape

from app import render
from app.curves import render_curves
from app.pages import address, link
from insightv_core.store import Store
from insightv_core.store.assessments import latest_assessments
from insightv_core.store.browse import PathFilter
from insightv_core.store.margins import PairMargin, find_pair, margins_of

REASONS = {
    "answer": "The chosen chain has the right answer, the rejected one a wrong answer.",
    "score": "Both answers are right; the judge scores the chosen chain higher.",
    "judge": "The judge scores the chosen chain higher; whether answers are right did not count.",
    "human": "Reviewers prefer the chosen chain.",
}


def render_pair(store: Store, pair_id: str) -> str:
    """Return a pair with its question, both chains side by side, and its margins."""
    pair = find_pair(store, pair_id)
    question, margins = store.question(pair["question"]), margins_of(store, pair["key"])
    chosen, rejected = store.path(pair["chosen"]), store.path(pair["rejected"])
    verdicts = {path: said.verdicts for path, said in latest_assessments(store, question.id).items()}
    compared = address(PathFilter(question=question.id), path=chosen.id, compare=rejected.id)
    facts = {
        "pair": f"<code>{escape(pair['id'])}</code>",
        "curated by": f'<a href="{link("runs", run=pair["run"])}">run {escape(pair["run"][:8])}</a>',
        "kind": "parts at a flawed step" if pair["kind"] == "step" else "whole chains",
        "score margin": "–" if pair["margin"] is None else f"{pair['margin']:g}",
        "edited": "by a reviewer" if pair["edited"] else "",
        "left out": escape(pair["excluded"] or ""),
        "both paths": f'<a href="{escape(compared)}">in Browse</a>',
    }
    return (
        '<nav class="crumbs" aria-label="Where you are"><a href="?tab=runs">Runs</a> › '
        f'<a href="{link("runs", stage="dpo")}">DPO</a> › pair <code>{escape(pair["id"][:8])}</code>'
        '<span class="tools"><button class="quiet" data-copy-address>copy link</button></span></nav>'
        '<div class="question"><div class="side">'
        f"{render.render_picture(question.image, question.text)}"
        f"{render.render_facts({name: value for name, value in facts.items() if value})}</div>"
        f'<div class="main-side"><div class="question-head"><h1>{escape(question.text)}</h1>'
        f'<p class="truth">truth <strong>{escape(question.answer)}</strong></p></div>'
        f'<p class="soft">{REASONS.get(pair["reason"], escape(pair["reason"]))}</p>{render_margins(margins)}'
        f"<h2>Both chains</h2>{render.render_comparison(chosen, rejected, verdicts, ('chosen', 'rejected'))}"
        "</div></div>"
    )


def render_margins(margins: list[PairMargin]) -> str:
    """Return the margins of a pair by round, as a table, and as a curve where there are several rounds."""
    if not margins:
        return '<p class="soft">No round of DPO has trained on this pair yet.</p>'
    total, rows, sums = 0.0, [], []
    for each in margins:
        total += each.margin
        sums.append((float(each.number), total))
        rows.append(
            (
                f'<a href="{link("runs", run=each.run)}">round {each.number}</a>', f"{each.before[0]:.1f}",
                f"{each.after[0]:.1f}", f"{each.before[1]:.1f}", f"{each.after[1]:.1f}", f"{each.margin:+.3g}",
                f"{total:+.3g}",
            )
        )  # fmt: skip
    heads = (
        ("", False), ("chosen before", True), ("after", True), ("rejected before", True), ("after", True),
        ("margin", True), ("in all", True),
    )  # fmt: skip
    curve = [(sums[0][0] - 1, 0.0), *sums]
    chart = render_curves("Margin in all", {"margin": curve}, x_name="round", zero=True) if len(sums) > 1 else ""
    table = render.render_table(heads, rows, "Margins by round")
    return f'<section class="rounds"><h2>Margin by round</h2>{table}{chart}</section>'
