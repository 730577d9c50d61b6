"""A study in words: the table for a terminal, and a folder with a report, tables and figures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from insightv_core.evaluate.plan import BASE, BOTH, ONE_MODEL
from insightv_core.evaluate.statistics import SystemReport
from insightv_core.evaluate.tables import write_chance, write_csv, write_latex, write_markdown
from insightv_core.store import Store
from insightv_core.store.evaluations import list_evaluations, load_reports, path_tables
from insightv_core.study.jobs import PERCEPTION, REASONING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


MUCH_UNREAD = 0.2  # share of answers
BASE_NAME = "base, "
SYSTEMS_NOTE = (
    "Direct SFT learns the chains of the reasoning set with the answer after each, multi-turn SFT the sets of both "
    "agents in one model. Rounds of DPO start at the reasoning agent, sample their own paths, and pair right with "
    "wrong answers. A majority is of sampled answers; the best is the first sampled chain that the summary agent calls "
    "sound. Both are given the tokens of the sampled chains of the reasoning agent, so "
    "fewer chains where verdicts cost some."
)
READING_NOTE = (
    "Accuracy is the share of right answers by rules; what could not be read counts as not right and is also shown as "
    "unparsed. Intervals are 95% bootstrap intervals over questions, several seeds of training averaged first; "
    "differences are paired, with the p-value of a sign-flip test. Tokens are those of an answer, seconds those of its "
    "conversations, which decode beside others."
)
SCALING_NOTE = "Every share is trained on for the same number of epochs, so a smaller one takes fewer steps."


def write_claims(results: dict) -> str:
    """Return what the paper would lead one to expect beside what was found, a line each in columns."""
    rows = [("   expected", "in the paper", "found", "so it")]
    rows += [
        (f"{each['number']}. {each['words']}", each["paper"], write_found(each), write_verdict(each))
        for each in results["claims"]
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def write_found(claim: dict) -> str:
    """Return a difference in points with its interval."""
    if claim["difference"] is None:
        return "-"
    chance = write_chance(claim["p"])
    return (
        f"{100 * claim['difference']:+.1f} points ({100 * claim['low']:+.1f} to {100 * claim['high']:+.1f}, "
        f"n = {claim['n']}, p {chance if chance.startswith('<') else f'= {chance}'})"
    )


def write_verdict(claim: dict) -> str:
    """Return what a claim came to in words."""
    lacking = f": no answers of {', '.join(claim['missing'])}" if claim["missing"] else ""
    return f"{claim['verdict']}{lacking}"


def write_summary(results: dict, reports: Sequence[SystemReport]) -> str:
    """Return the whole study as a terminal shows it."""
    calls = results["calls"]
    lines = [write_markdown(reports) + "\n", write_claims(results) + "\n"]
    lines += [
        *(f"left out: {each}" for each in group_reasons(results["left_out"])),
        write_unread(results),
        f"{calls['made']} conversations with models; {calls['saved']} more were saved as systems share their chains",
    ]
    return "\n".join(filter(None, lines))


def write_brief(results: dict) -> str:
    """Return both tables in short, as the README shows them: systems on the reasoning families, and the claims."""
    lines = ["| system | accuracy | 95% interval | against the base |", "|---|---|---|---|"]
    for each in results["systems"]:
        if each["benchmark"] == REASONING:
            gain = "" if each["difference"] is None else f"{100 * each['difference']:+.1f} points"
            lines.append(
                f"| {each['name']} | {each['accuracy']:.3f} | {each['low']:.3f} to {each['high']:.3f} | {gain} |"
            )
    return "\n".join([*lines, "", write_claim_table(results)])


def write_report(results: dict, reports: Sequence[SystemReport]) -> str:
    """Return the report in Markdown."""
    settings, calls = results["settings"], results["calls"]
    parts = [
        "# Study: do two agents reason better than one model?",
        f"Model {results['model']}, run `{results['run']}`, curated sets `{settings['curation']}`, "
        f"{settings['questions']} held-out questions of the reasoning families and {settings['perception']} of the "
        f"perception families (scenes of seed {settings['scene_seed']}). Training: rate "
        f"{settings['learning_rate']:g}, epochs {settings['epochs']:g}; rows to train on: "
        f"{', '.join(f'{count} in {name}' for name, count in results['sets'].items())}. "
        f"Command: `{results['command']}`.",
        f"## Systems\n\n{READING_NOTE}\n\n{SYSTEMS_NOTE}\n\n{write_markdown(reports)}",
        f"## What the paper would lead one to expect\n\n{write_claim_table(results)}",
        f"## By family\n\n{write_groups(results['families'])}",
        f"## By difficulty\n\n{write_groups(results['levels'])}",
        f"## Right path, right answer\n\n{write_paths(results['paths'])}",
        f"## Share of the reasoning set\n\n{write_scaling(results['scaling'])}",
        f"## Left out, and hard to read\n\n{write_left_out(results['left_out'])}\n{write_unread(results)}",
        f"Models held {calls['made']} conversations; {calls['saved']} more were saved as both agents, always copying "
        "and the chain of another question work on one chain, and majority vote and best-of-N on the same samples.",
    ]
    return "\n\n".join(parts) + "\n"


def write_claim_table(results: dict) -> str:
    """Return the claims as a Markdown table."""
    rows = [
        f"| {each['number']} | {each['words']} | {each['paper']} | {write_found(each)} | {write_verdict(each)} |"
        for each in results["claims"]
    ]
    return "\n".join(["| | expected | in the paper | found | so it |", "|---|---|---|---|---|", *rows])


def write_groups(rows: Sequence[dict], systems: Sequence[str] = (BASE, ONE_MODEL, BOTH)) -> str:
    """Return the accuracy of the main systems by group as a Markdown table."""
    shown = [name for name in systems if any(row["system"] == name for row in rows)]
    lines = [f"| | n | {' | '.join(shown)} |", "|---|---|" + "---|" * len(shown)]
    for name in dict.fromkeys(row["group"] for row in rows):
        found = {row["system"]: row for row in rows if row["group"] == name}
        cells = [f"{found[each]['accuracy']:.3f}" if each in found else "" for each in shown]
        lines.append(f"| {name} | {max(row['n'] for row in found.values())} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_paths(tables: Sequence[dict]) -> str:
    """Return how often path and answer are right as a Markdown table."""
    lines = [
        "What decides whether a path is right is named; the exact verifier holds every claim of a path against the "
        "scene.", "",
        "| system | both right | only the path | only the answer | neither | right after a right path | "
        "right after a wrong path | decided by |", "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for each in tables:
        shares = [
            "" if each[name] is None else f"{each[name]:.3f}" for name in ("right_after_right", "right_after_wrong")
        ]
        lines.append(
            f"| {each['system']} | {each['both']} | {each['path_only']} | {each['answer_only']} | {each['neither']} | "
            f"{' | '.join(shares)} | {each['by']} |"
        )
    return "\n".join(lines)


def write_scaling(points: Sequence[dict]) -> str:
    """Return accuracy by the share of the reasoning set as a Markdown table."""
    rows = [
        f"| {100 * each['share']:g}% | {each['accuracy']:.3f} | {each['low']:.3f} to {each['high']:.3f} | "
        f"{each['n']} | {each['seeds']} |"
        for each in points
    ]
    return "\n".join(
        [SCALING_NOTE, "", "| share | accuracy | 95% interval | n | seeds |", "|---|---|---|---|---|", *rows]
    )


def write_left_out(left_out: dict[str, str]) -> str:
    """Return what was left out and why as a Markdown list."""
    return "\n".join(f"* {each}" for each in group_reasons(left_out)) or "Nothing."


def group_reasons(left_out: dict[str, str]) -> list[str]:
    """Return each reason after the systems that it keeps out.

    >>> group_reasons({"a": "no time", "b": "no pairs", "c": "no time"})
    ['a; c: no time', 'b: no pairs']
    """
    return [
        f"{'; '.join(system for system, why in left_out.items() if why == reason)}: {reason}"
        for reason in dict.fromkeys(left_out.values())
    ]


def write_unread(results: dict) -> str:
    """Return which trained systems wrote much that could not be read, and what that says; nothing where none did."""
    unread = [
        each for each in results["systems"] if each["unparsed"] > MUCH_UNREAD and not each["name"].startswith(BASE_NAME)
    ]
    if not unread:
        return ""
    named = ", ".join(f"{each['name']} on {each['benchmark']} {each['unparsed']:.0%}" for each in unread)
    return (
        f"Could often not be read: {named}. What a model has not learned to write says nothing of the method: train "
        "longer with --epochs, or on more rows."
    )


# -- the folder --------------------------------------------------------------------------------------------------------


def write_folder(store: Store, results: dict, folder: Path) -> list[Path]:
    """Write report.md, results.csv, results.tex, results.json and the figures; return the files."""
    reports = load_all(store, results["run"])
    contents = {
        "report.md": write_report(results, reports),
        "results.csv": write_csv(reports),
        "results.tex": write_latex(reports) + "\n",
        "results.json": json.dumps(results, indent=1, ensure_ascii=False) + "\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")
        files.append(folder / name)
    for name, figure in draw_figures(store, results, reports).items():
        figure.write_json(folder / f"{name}.json")
        figure.write_html(folder / f"{name}.html", include_plotlyjs="directory")
        files += [folder / f"{name}.json", folder / f"{name}.html"]
    return files


def load_all(store: Store, run: str) -> list[SystemReport]:
    """Return the reports of both benchmarks."""
    known = {each["benchmark"] for each in list_evaluations(store) if each["run"] == run}
    return [
        each for benchmark in (REASONING, PERCEPTION) if benchmark in known
        for each in load_reports(store, run, benchmark)
    ]  # fmt: skip


def draw_figures(store: Store, results: dict, reports: Sequence[SystemReport]) -> "dict[str, Figure]":
    """Return the figures by name of their files."""
    from insightv_core.figures import plot_paths, plot_scaling, plot_systems

    figures = {"systems": plot_systems([each for each in reports if each.benchmark == REASONING])}
    tables = path_tables(store, results["run"], REASONING)
    if tables:
        figures["paths"] = plot_paths(tables)
    if len(results["scaling"]) > 1:
        figures["scaling"] = plot_scaling(results["scaling"])
    return figures
