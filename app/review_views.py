"""The frame of the page Review, and its other views: what reviewers disagree on, and how they do."""

from collections.abc import Mapping
from html import escape

from app import render
from app.pages import link, read_query
from app.pair import TAGS, describe_choice
from insightv_core.errors import UserError
from insightv_core.review import State, chosen_left, has_decided
from insightv_core.review_report import Figure, describe_reviewers, list_disagreements, measure_agreement
from insightv_core.store import Store
from insightv_core.store.curation import find_curation

VIEWS = {"pairs": "Pairs", "disagreements": "Disagreements", "reviewers": "Reviewers"}
CHOICES = (("1", "is better"), ("2", "is better"), ("0", "tie"), ("X", "both bad"))
ACTIONS = (("S", "skip"), ("F", "flag"), ("E", "edit"), ("U", "undo"))
KEYS = {
    "1 2": "this response is better", "0": "a tie: as good as each other", "X": "both are bad",
    "S": "skip: it comes back at the end", "F": "flag: something is wrong with the question or the picture",
    "U": "undo the last thing you did, again and again", "J K": "next, previous step: a vote then names the step",
    "4 – 8": "what is wrong with the worse one", "E": "prefer a response and rewrite it", "Z": "picture in full size",
    "A": "after the vote, go on by itself or wait for a key", "?": "these keys", "Esc": "close, or forget the step",
}  # fmt: skip
MOST_LISTED = 200
CURRENT = ' aria-current="page"'


def render_shell(store: Store, query: str) -> str:
    """Return the page without a pair: the script asks for these."""
    view = read_query(query).get("view", "pairs")
    view = view if view in VIEWS else "pairs"
    try:
        find_curation(store)
    except UserError:
        command = render.render_command(f"insightv curate --project {store.file}")
        return f'<h1>Review</h1><div class="empty"><p>There are no pairs yet. Make some: {command}</p></div>'
    links = "".join(
        f'<a href="{link("review", view=None if name == "pairs" else name)}"'
        f"{CURRENT if name == view else ''}>{label}</a>"
        for name, label in VIEWS.items()
    )
    return (
        f'<div class="review" data-view="{view}"><h1 class="unseen">Review</h1><div class="review-head">'
        f'<nav class="views" aria-label="Views">{links}</nav><span class="count"></span>'
        '<span class="badge" role="status"></span><span class="tools"><span class="pace soft"></span>'
        '<button class="quiet" data-press="?">? keys</button><button class="quiet" data-name hidden></button></span>'
        "</div>"
        f'{render_name_form()}<div class="stage"></div>{render_dock()}{render_legend()}</div>'
    )


def render_name_form() -> str:
    """Return the form that asks a reviewer's name."""
    return (
        '<form class="who" hidden><label for="reviewer">Your name, as votes will carry it</label><div class="buttons">'
        '<input id="reviewer" name="name" maxlength="40" autocomplete="name" required><button class="main">Begin'
        '</button></div><p class="problem" role="alert" hidden></p></form>'
    )


def render_dock() -> str:
    """Return the buttons that do what the keys do, and the place for what follows a vote."""
    buttons = "".join(press_button(key, name, "decide") for key, name in CHOICES)
    actions = "".join(press_button(key, name, "") for key, name in ACTIONS)
    tags = "".join(
        f'<button data-press="{number}" data-tag="{tag}" aria-pressed="false"><kbd>{number}</kbd> {name}</button>'
        for number, (tag, name) in enumerate(TAGS.items(), 4)
    )
    return (
        '<div class="dock" hidden><div class="toolbar"><p class="hint" hidden></p><div class="tags" role="group" '
        f'aria-label="What is wrong with the worse one">{tags}<span class="because" hidden></span></div>'
        f'<div class="choices">{buttons}{actions}</div></div><div class="panel" role="status" hidden></div></div>'
    )


def press_button(key: str, name: str, css: str) -> str:
    """Return a button that does what a key does."""
    return f'<button class="{css}" data-press="{key.lower()}"><kbd>{key}</kbd> {name}</button>'


def render_legend() -> str:
    """Return every key with what it does."""
    rows = "".join(f"<dt><kbd>{keys}</kbd></dt><dd>{escape(words)}</dd>" for keys, words in KEYS.items())
    close = '<button data-press="?">Close</button>'
    return f'<dialog class="keys" aria-label="Keys"><h2>Keys</h2><dl class="facts">{rows}</dl>{close}</dialog>'


# -- other views -------------------------------------------------------------------------------------------------------


def render_disagreements(store: Store, state: State, reviewer: str) -> str:
    """Return the pairs on which reviewers prefer different paths; votes are shown to who has voted on the pair."""
    found = list_disagreements(state)
    if not found:
        return '<div class="empty"><p>No two reviewers prefer different paths of a pair.</p></div>'
    rows = []
    for matter, held, settled in found[:MOST_LISTED]:
        event = next(iter(held.values())).event
        ids = [event.chosen, event.rejected] if chosen_left(event.pair, reviewer) else [event.rejected, event.chosen]
        text = escape(store.question(event.question).text)
        if has_decided(state.get((matter, reviewer), ())):
            said = "<br>".join(f"{escape(name)}: {describe_choice(deed.event, ids)}" for name, deed in held.items())
            todo = f"{escape(settled.reviewer)}: {describe_choice(settled, ids)}" if settled else "settle it"
        else:
            said = f"{len(held)} votes, shown after yours"
            todo = "settled" if settled else "vote on it"
        rows.append(
            (
                f'<span class="question-cell">{text}</span>',
                said,
                f'<a href="{link("review", pair=event.pair)}">{todo}</a>',
            )
        )
    more = f'<p class="soft">The first {MOST_LISTED} of {len(found):,}.</p>' if len(found) > MOST_LISTED else ""
    heads = (("question", False), ("votes", False), ("decision", False))
    return f"<h2>Where reviewers disagree</h2>{render.render_table(heads, rows, 'Disagreements')}{more}"


def render_reviewers(state: State, events) -> str:
    """Return agreement, and for each reviewer speed, biases, and what became of the votes."""
    agreement = measure_agreement(state)
    people = describe_reviewers(state, events)
    if not people:
        return '<div class="empty"><p>Nobody has reviewed a pair yet. <a href="?tab=review">Begin</a>.</p></div>'
    rows = [
        (
            escape(one["reviewer"]), f"{one['votes']:,}",
            "–" if one["seconds"] is None else f"{one['seconds']:.3g} s",
            rate(one["left"]) + (' <span class="mark bad">✕ one-sided</span>' if one["one_sided"] else ""),
            rate(one["longer"]), rate(one["judge"]), f"{one['edits']:,}",
        )
        for one in people
    ]  # fmt: skip
    heads = (
        ("reviewer", False), ("votes", True), ("median time", True), ("prefers the left", True),
        ("prefers the longer", True), ("agrees with the judge", True), ("rewrote", True),
    )  # fmt: skip
    fates = "".join(render_fates(one["reviewer"], one["fates"]) for one in people)
    return (
        f"<section><h2>Agreement</h2><p>{describe_agreement(agreement)}</p></section><section><h2>Reviewers</h2>"
        f"{render.render_table(heads, rows, 'Reviewers')}<p class='soft'>In brackets a 95% interval. Sides are drawn, "
        "so without a habit a reviewer prefers the left one half of the time.</p></section>"
        f'<section><h2>Counted and not counted</h2>{fates}<p class="soft">Votes go into training sets with the next '
        "<code>insightv curate</code>.</p></section>"
    )


def describe_agreement(agreement: Figure) -> str:
    """Say how far reviewers agree."""
    if agreement["value"] is None:
        return (
            f"Not known yet: {render.plural(agreement['n'], 'pair')} with votes of two reviewers. "
            '<span class="soft">It takes two such pairs and more than one kind of vote.</span>'
        )
    return (
        f"Krippendorff's alpha <strong>{agreement['value']:.2f}</strong> "
        f'<span class="soft">[{agreement["low"]:.2f}, {agreement["high"]:.2f}], n = {agreement["n"]:,} pairs with '
        "two or more votes; 1 is full agreement, 0 is what chance gives</span>"
    )


def rate(figure: Figure) -> str:
    """Return a share with interval and n."""
    if figure["value"] is None:
        return '<span class="soft">–</span>'
    interval = f"[{figure['low']:.0%}, {figure['high']:.0%}] n = {figure['n']:,}"
    return f'{figure["value"]:.0%} <span class="soft">{interval}</span>'


def render_fates(reviewer: str, fates: Mapping[str, int]) -> str:
    """Return what became of a reviewer's votes, and why some do not count."""
    items = "".join(
        f'<li><span class="number">{number:,}</span> {escape(reason)}</li>'
        for reason, number in sorted(fates.items(), key=lambda each: -each[1])
        if number
    )
    return f'<h3>{escape(reviewer)}</h3><ul class="fates">{items}</ul>'
