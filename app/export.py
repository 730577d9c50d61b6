"""The page Export: what a curation holds, what was left out and why, its rows with pictures, and writing it."""

import json
import shlex
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from itertools import islice
from pathlib import Path

from app import render
from app.access import ADMIN, VIEWER, reading
from app.overview import ago
from app.pages import Project, link, read_query, section
from app.working import Work, render_work
from insightv_core.curate import SETS
from insightv_core.curate.rows import TrainingRow, training_rows
from insightv_core.errors import UserError
from insightv_core.export import FORMATS, LLAMA_FACTORY, MANIFEST, PARQUET, TRL, export_set
from insightv_core.parse import Step, parse_step
from insightv_core.store import Store, open_store
from insightv_core.store.curation import CURATE, ROUND_PAIRS, count_rows, find_round, find_set_run, load_manifest
from insightv_core.store.project import DONE
from insightv_core.store.runs import RunRow, list_runs

EXPORTS = "exports"
SHOWN, MOST = 4, 200  # rows of a preview, and how far it goes
LISTED = 20  # runs of each stage to choose from
SOON = 0.5  # seconds; what is written by then needs no bar
NAMES = {"reason": "Reasoning set", "summary": "Summary set", "pairs": "Preference pairs"}
UNITS = {"reason": "questions", "summary": "paths", "pairs": "questions"}
FORMS = {
    TRL: ("TRL", "a datasets folder: load_from_disk, then SFTTrainer or DPOTrainer"),
    LLAMA_FACTORY: ("LLaMA-Factory", "a dataset_dir with dataset_info.json, in sharegpt's layout"),
    PARQUET: ("Parquet", "one file with the pictures inside: load_dataset, from here or from a hub"),
    "jsonl": ("JSONL", "one object a line, beside a folder of pictures"),
}


@dataclass(frozen=True)
class Choice:
    """What is looked at: a run that has sets, its stage, one of its sets, a format, and which rows of the preview."""

    run: str
    stage: str
    name: str = "pairs"
    form: str = TRL
    first: int = 0

    def link(self, **changed: object) -> str:
        """Return the address of this choice, or of another."""
        values = {"run": self.run, "set": self.name, "format": self.form, "from": self.first or None}
        return link("export", **(values | changed))

    def folder(self, store: Store) -> Path:
        """Return where the app writes it, beside the project file."""
        return store.folder / EXPORTS / f"{self.name}-{self.form}-{self.run[:8]}"


STOPPED = "Stopped: nothing of this export was kept."

# What is being written, or was and is not yet told of, by folder; the outcome of each is a manifest.
Writings = dict[Path, Work]


def add_export_page(project: Project) -> None:
    """Add the page to the app."""
    writings: Writings = {}

    def show(query: str) -> str:
        with project.open() as store:
            return render_export(store, query, writings)

    def write(query: str) -> str:
        with project.open() as store:
            return write_export(store, query, writings)

    def halt(query: str) -> str:
        with project.open() as store:
            writing = writings.get(read_choice(store, query).folder(store))
            if writing:
                writing.stopping = True
            return render_export(store, query, writings)

    section("export", [reading(VIEWER, show), reading(ADMIN, write), reading(ADMIN, halt)])


def read_choice(store: Store, query: str) -> Choice:
    """Return what an address asks for; `UserError` where there is no such run, set or format."""
    given = read_query(query)
    wanted = given.get("run") or next((run.id for run in list_choices(store)), None)
    counts = count_rows(store, store.run(wanted).id) if wanted else {}
    first = next((name for name in ("pairs", "reason", "summary") if counts.get(name, {}).get("rows")), "pairs")
    name, form = given.get("set", first), given.get("format", TRL)
    if name not in SETS or form not in FORMATS:
        raise UserError(f"there is no set {name!r} in the format {form!r}: open Export from its first page")
    run = find_set_run(store, name, wanted)
    start = given.get("from", "0")
    if not (start.isascii() and start.isdigit() and int(start[:9]) < MOST):
        raise UserError(f"the preview goes to row {MOST}, not to {start!r}: the export holds every row")
    return Choice(run.id, run.stage, name, form, int(start))


def list_choices(store: Store) -> list[RunRow]:
    """Return the runs that have sets: the newest curations, then the newest that paired the paths of a round."""
    found = [run for stage in (CURATE, ROUND_PAIRS) for run in list_runs(store, stage=stage, limit=LISTED)]
    return [run for run in found if run.status == DONE]


def render_export(store: Store, query: str, writings: Writings, problem: str = "") -> str:
    """Return the page: sets, what was left out, preview, format, command, and what is written already."""
    choices = list_choices(store)
    if not choices:
        command = render.render_command(f"insightv curate --project {store.file}")
        said = f"<p>Nothing is curated yet. Choose training sets first:</p>{command}"
        return f'<h1>Export</h1><div class="empty">{said}</div>'
    choice = read_choice(store, query)
    counts, folder = count_rows(store, choice.run), choice.folder(store)
    notice, writing = render.render_problem(problem) if problem else "", writings.get(folder)
    if writing is not None and writing.over:
        notice, writing = render_ending(folder, writing), None
        writings.pop(folder, None)  # told once
    return (
        f"<h1>Export</h1>{notice}{render_choices(store, choice, choices)}{render_sets(choice, counts)}"
        f'<div class="export"><div>{render_left_out(store, choice, counts[choice.name])}</div>'
        f"<div>{render_formats(choice)}{render_writing(store, choice, counts[choice.name], writing)}</div></div>"
        f"{render_preview(store, choice)}{render_written(store)}"
    )


def render_choices(store: Store, choice: Choice, choices: list[RunRow]) -> str:
    """Return the runs that have sets, to choose one: those that curated, and those that paired paths for a round."""
    parts = []
    for title, stage in (("Curated by run", CURATE), ("Pairs of a round of DPO", ROUND_PAIRS)):
        items = "".join(render_run(store, choice, run) for run in choices if run.stage == stage)
        settings = f'<a href="{link("runs", run=choice.run)}">its settings</a>' if CURRENT in items else ""
        if items:
            parts.append(f'<p class="chips stages"><span class="soft">{title}</span>{items}{settings}</p>')
    return "".join(parts)


def render_run(store: Store, choice: Choice, run: RunRow) -> str:
    """Return a run to choose; one of a round by the number of that, and with its pairs alone."""
    number = find_round(store, run.id) if run.stage == ROUND_PAIRS else None
    name = f"round {number}, " if number else ""
    chosen = "pairs" if run.stage == ROUND_PAIRS else choice.name
    return (
        f'<a class="chip" href="{link("export", run=run.id, set=chosen, format=choice.form)}"'
        f"{CURRENT if run.id == choice.run else ''}>{name}{escape(run.id[: render.SHORT_ID])}, "
        f"{escape(ago(run.updated))}</a>"
    )


CURRENT = ' aria-current="true"'


def render_sets(choice: Choice, counts: Mapping[str, Mapping[str, Mapping[str, int]]]) -> str:
    """Return the sets of a run with the numbers of their rows, to choose one."""
    cards = []
    for name in SETS if choice.stage == CURATE else ("pairs",):
        rows = counts.get(name, {"rows": {}})["rows"]
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in rows.items()) or "none"
        cards.append(
            f'<a class="set" href="{choice.link(set=name, **{"from": None})}"{CURRENT if name == choice.name else ""}>'
            f'<span class="label">{NAMES[name]}</span><span class="big">{sum(rows.values()):,}</span>'
            f'<span class="soft">{escape(kinds)}</span></a>'
        )
    return f'<nav class="sets" aria-label="Sets">{"".join(cards)}</nav>'


def render_left_out(store: Store, choice: Choice, counts: Mapping[str, Mapping[str, int]]) -> str:
    """Return what has no row in the set, and which rows are excluded, each by reason."""
    noted = load_manifest(store, choice.run).get("left_out", {}).get(choice.name, {})
    parts = []
    for title, reasons in ((f"Left out, in {UNITS[choice.name]}", noted), ("Excluded, in rows", counts["excluded"])):
        if reasons:
            rows = [(escape(reason), f"{number:,}") for reason, number in reasons.items()]
            table = render.render_table((("reason", False), ("number", True)), rows, title)
            parts.append(f'<h2>{title} <span class="soft">n = {sum(reasons.values()):,}</span></h2>{table}')
    return "".join(parts) or '<p class="soft">Nothing was left out of this set.</p>'


def render_formats(choice: Choice) -> str:
    """Return the formats, to choose one."""
    items = "".join(
        f'<li><a href="{choice.link(format=form)}"{CURRENT if form == choice.form else ""}>{name}</a> '
        f'<span class="soft">{words}</span></li>'
        for form, (name, words) in FORMS.items()
    )
    return f'<h2>Format</h2><ul class="formats">{items}</ul>'


def render_writing(store: Store, choice: Choice, counts: Mapping[str, Mapping[str, int]], writing: Work | None) -> str:
    """Return the button that writes the export, or how far it is, and the command that does the same."""
    if not counts["rows"]:
        return '<p class="soft">This set has no rows to write. Choose another, or curate with lower thresholds.</p>'
    folder = choice.folder(store)
    command = shlex.join([
        "insightv", "export", "--set", choice.name, "--format", choice.form, "--run", choice.run, "--out", str(folder),
        "--project", str(store.file),
    ])  # fmt: skip
    if writing:
        act = render_work(writing)
    elif folder.exists():
        act = f'<p>This is written already: <code class="place">{escape(str(folder))}</code></p>'
    else:
        number = sum(counts["rows"].values())
        act = (
            f'<p><button class="main" data-action="write" data-busy="Writing …">Write {render.plural(number, "row")}'
            f'</button></p><p class="soft">to <code class="place">{escape(str(folder))}</code></p>'
        )
    return f'{act}<p class="soft">The command that does the same:</p><p>{render.render_command(command)}</p>'


# -- writing -----------------------------------------------------------------------------------------------------------


def write_export(store: Store, query: str, writings: Writings) -> str:
    """Write what an address asks for beside the project, and return the page: how it goes, or where it lies.

    Nothing is ever written over: a folder that is there already stays as it is, and the page says so.
    """
    choice = read_choice(store, query)
    folder = choice.folder(store)
    if folder not in writings and folder.exists():
        return render_export(store, query, writings, f"{folder} is there already, and stays as it is")
    counts = count_rows(store, choice.run)[choice.name]["rows"]
    writing = Work("The export", "Nothing of it was kept.", sum(counts.values()))
    if writings.setdefault(folder, writing) is writing:
        begin_writing(store.file, choice, folder, writing).join(SOON)
    return render_export(store, query, writings)


def begin_writing(file: Path, choice: Choice, folder: Path, writing: Work) -> threading.Thread:
    """Start to write an export in a thread, and return that."""

    def count(rows: int) -> None:
        writing.done += rows
        if writing.stopping:
            raise UserError(STOPPED)

    def work() -> dict:
        with open_store(file) as own:
            return export_set(own, choice.run, choice.name, choice.form, folder, progress=count)

    return writing.start(work)


def render_ending(folder: Path, writing: Work) -> str:
    """Return where an export lies that was written, with its manifest, or why it could not be."""
    manifest = writing.outcome
    if writing.problem == STOPPED:
        return f'<p class="notice" role="status">{STOPPED}</p>'
    if manifest is None:
        return render.render_problem(writing.problem)
    return (
        f'<div class="notice" role="status"><p>Wrote {render.plural(manifest["rows"], "row")} and '
        f'{render.plural(len(manifest["files"]), "file")} to <code class="place">{escape(str(folder))}</code> '
        f"{render.copy_button(str(folder), 'copy path')}</p>{render_manifest(manifest)}</div>"
    )


def render_manifest(manifest: Mapping) -> str:
    """Return what a manifest says of an export, and the whole of it folded away."""
    facts = {
        "set": f"{NAMES.get(manifest['set'], escape(manifest['set']))}, {render.words(manifest['format'])}",
        "rows": f"{manifest['rows']:,}",
        "sha256 of the rows": f"<code>{escape(manifest['rows_sha256'])}</code>",
    }
    whole = escape(json.dumps(manifest, ensure_ascii=False, indent=2))
    return f'{render.render_facts(facts)}<details class="fold"><summary>manifest</summary><pre>{whole}</pre></details>'


def list_written(store: Store) -> list[tuple[Path, dict]]:
    """Return the exports beside the project with their manifests, the newest first; others' folders are left out."""
    found = []
    for file in (store.folder / EXPORTS).glob(f"*/{MANIFEST}"):
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"))
            found.append((file.stat().st_mtime, file.parent, manifest))
        except (OSError, ValueError):
            continue
    return [(folder, manifest) for _, folder, manifest in sorted(found, key=lambda each: each[0], reverse=True)]


def render_written(store: Store) -> str:
    """Return the exports that lie beside the project."""
    rows = [
        (
            f'<code class="place">{escape(str(folder))}</code>', f"{manifest['rows']:,}",
            f"<code>{escape(manifest['run'][: render.SHORT_ID])}</code>",
            f"<code>{escape(manifest['rows_sha256'][: render.SHORT_ID])}</code>",
        )
        for folder, manifest in list_written(store)
    ]  # fmt: skip
    if not rows:
        return ""
    heads = (("folder", False), ("rows", True), ("curated by", False), ("sha256 of the rows", False))
    return f"<section><h2>Written so far</h2>{render.render_table(heads, rows, 'Written so far')}</section>"


# -- preview -----------------------------------------------------------------------------------------------------------


def render_preview(store: Store, choice: Choice) -> str:
    """Return some rows as they would be written, with their pictures."""
    rows = list(islice(training_rows(store, choice.run, choice.name), choice.first, choice.first + SHOWN + 1))
    if not rows:
        return ""
    nav = f'<a href="{choice.link(**{"from": None})}">« first rows</a>' if choice.first else ""
    following = choice.first + SHOWN
    if len(rows) > SHOWN and following < MOST:
        nav += f'<a href="{choice.link(**{"from": following})}" rel="next">next rows ›</a>'
    cards = "".join(render_row(choice.first + place, row) for place, row in enumerate(rows[:SHOWN], 1))
    return (
        f'<section class="preview"><h2>Rows <span class="soft">{choice.first + 1} to '
        f"{choice.first + min(len(rows), SHOWN)}, as they are written</span></h2>{cards}"
        f'<nav class="pages" aria-label="Rows">{nav}</nav></section>'
    )


def render_row(number: int, row: TrainingRow) -> str:
    """Return a row: its picture, what is asked, and what is to be replied."""
    replies = [("chosen", row.completion), ("rejected", row.rejected)] if row.rejected is not None else []
    columns = replies or [("reply", row.completion)]
    said = "".join(f'<div><p class="label">{label}</p>{render_reply(str(text))}</div>' for label, text in columns)
    why = f", chosen by {row.reason}" if row.reason else ""
    asked = "".join(
        f'<div class="label">{escape(message["role"])}</div><pre>{escape(write_content(message))}</pre>'
        for message in row.prompt
    )
    return (
        f'<article class="row"><img src="{render.picture_address(row.question.image, 320)}" alt="" loading="lazy">'
        f'<div><p class="row-head"><strong>{escape(row.question.text)}</strong> <span class="soft">row {number}, '
        f"{escape(row.kind)}{escape(why)}, truth {escape(row.question.answer)}</span></p>"
        f'<div class="replies{" both-sides" if replies else ""}">{said}</div>'
        f'<details class="fold"><summary>prompt</summary>{asked}</details></div></article>'
    )


def write_content(message: Mapping) -> str:
    """Return the text of a message with a mark where the picture goes."""
    return "".join("[picture]\n" if part["type"] == "image" else part["text"] for part in message["content"])


def render_reply(text: str) -> str:
    """Return a reply: a chain as its steps, anything else as it is."""
    lines = [parse_step(line) for line in text.splitlines() if line.strip()]
    steps = [step for step in lines if isinstance(step, Step)]
    if not steps:
        return f"<pre>{escape(text)}</pre>"
    items = "".join(render.render_step(number, step, "<span></span>") for number, step in enumerate(steps, 1))
    rest = "" if len(steps) == len(lines) else f"<pre>{escape(text.splitlines()[-1])}</pre>"
    return f'<ol class="steps">{items}</ol>{rest}'
