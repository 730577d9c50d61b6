"""What a project needs next, in one sentence with the command for it."""

from collections.abc import Mapping
from html import escape

from app import render
from app.pages import address, link
from insightv_core.store import Store
from insightv_core.store.browse import PathFilter, facet_counts
from insightv_core.store.curation import count_rows, find_curation
from insightv_core.store.project import DONE
from insightv_core.store.runs import list_runs

MOST_RUNS = 1000
HIGH = 81  # a score that a wrong answer should not have


def next_action(counts: Mapping[str, int], store: Store) -> str:
    """Say in one sentence what the project needs next; `counts` are those of its funnel."""
    if not counts["paths"]:
        said = "No reasoning paths yet. Write some for the first 40 questions:"
        return command(store, said, "generate", "--limit 40 --paths 4")
    waiting = dict(facet_counts(store, PathFilter())["outcome"]).get("", 0)
    if waiting:
        is_or_are = "is" if waiting == 1 else "are"
        said = f"{render.plural(waiting, 'path')} {is_or_are} not judged yet. Judge them:"
        return command(store, said, "assess")
    return next_stage(store) + compare_pairs(counts) + look_first(store)


def next_stage(store: Store) -> str:
    """Say which stage comes after assessing: each that is not yet done with what the one before made last."""
    done = [run for run in list_runs(store, limit=MOST_RUNS) if run.status == DONE]
    ended = {run.stage: run.updated for run in reversed(done)}
    if ended.get("curate", -1.0) < ended.get("assess", 0.0):
        return command(store, "Every path is judged. Choose training sets and preference pairs:", "curate")
    curation = find_curation(store).id
    rows = set_sizes(store, curation)
    trained = {run.settings.get("role", run.stage) for run in done if run.settings.get("curation") == curation}
    reasoning = max((run.updated for run in done if run.settings.get("role") == "reason"), default=0.0)
    if rows.get("reason") and "reason" not in trained:
        return command(store, "The sets are curated. Train the reasoning agent:", "sft reason")
    if rows.get("summary") and "summary" not in trained:
        return command(store, "Now train the summary agent:", "sft summary")
    if "reason" in trained and ended.get("dpo", -1.0) < reasoning:
        return command(store, "Both agents are trained. Train the reasoning agent on preference pairs:", "dpo")
    if not trained:
        link_to = f'<a href="{link("export", run=curation)}">why paths were left out</a>'
        return f"Every path is judged, and too few are good enough to train on: see {link_to}."
    if ended.get("evaluate", -1.0) < max(ended.get("sft", 0.0), ended.get("dpo", 0.0)):
        return command(store, "Training is done. See what it is worth on held-out questions:", "evaluate")
    return f'Every stage is done. See <a href="{link("results")}">what the agents are worth</a>.'


def set_sizes(store: Store, curation: str) -> dict[str, int]:
    """Return the number of rows to train on in each set of a curating run."""
    counts = count_rows(store, curation)
    return {name: sum(each["rows"].values()) for name, each in counts.items()}


def compare_pairs(counts: Mapping[str, int]) -> str:
    """Point at the pairs that wait for a reviewer, where there are any."""
    waiting = counts["pairs"] - counts["reviewed"]
    if waiting <= 0:
        return ""
    waits = "waits" if waiting == 1 else "wait"
    return f'<br>{render.plural(waiting, "pair")} {waits} for a reviewer: <a href="{link("review")}">compare them</a>.'


def look_first(store: Store) -> str:
    """Point at wrong answers that the judge likes, where there are any."""
    filter = PathFilter(outcome="wrong", score_low=HIGH)
    number = dict(facet_counts(store, filter)["outcome"]).get("wrong")
    if number:
        words = f"{render.plural(number, 'wrong answer')} with a score above {HIGH - 1}"
        return (
            f'<br>Look at <a href="{escape(address(filter))}">{words}</a>: there the judge may have missed something.'
        )
    return ""


def command(store: Store, said: str, stage: str, options: str = "") -> str:
    """Return a sentence with the command that it asks for."""
    line = " ".join(filter(None, ("insightv", stage, f"--project {store.file}", options)))
    return f'{said} {render.render_command(line)} <a href="{start_link(stage, options)}">start it here</a>'


def start_link(stage: str, options: str) -> str:
    """Return the way to the form of a stage with these options, such as "sft reason" or "--limit 40"."""
    name, _, role = stage.partition(" ")
    words = options.split()
    values = {option.lstrip("-"): value for option, value in zip(words[::2], words[1::2], strict=True)}
    return link("runs", start=name, role=role or None, **values)
