"""The page Export: what a curation holds, what was left out and why, its rows with pictures, and writing it."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from itertools import islice
from pathlib import Path

from app import render
from app.access import ADMIN, VIEWER, reading
from app.overview import ago
from app.pages import Project, link, read_query, section
from insightv_core.curate import SETS
from insightv_core.curate.rows import TrainingRow, training_rows
from insightv_core.errors import UserError
from insightv_core.export import FORMATS, LLAMA_FACTORY, MANIFEST, PARQUET, TRL, export_set
from insightv_core.parse import Step, parse_step
from insightv_core.store import Store
from insightv_core.store.curation import count_rows, find_curation, load_manifest
from insightv_core.store.runs import RunRow, list_runs

EXPORTS = "exports"
SHOWN, MOST = 4, 200  # rows of a preview, and how far it goes
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
    """What is looked at: a curating run, one of its sets, a format, and which rows of the preview."""

    run: str
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


def add_export_page(project: Project) -> None:
    """Add the page to the app."""

    def show(query: str) -> str:
        with project.open() as store:
            return render_export(store, query)

    def write(query: str) -> str:
        with project.open() as store:
            return write_export(store, query)

    section("export", [reading(VIEWER, show), reading(ADMIN, write)])


def read_choice(store: Store, query: str) -> Choice:
    """Return what an address asks for; `UserError` where there is no such curation, set or format."""
    given = read_query(query)
    run = find_curation(store, given.get("run"))
    counts = count_rows(store, run.id)
    first = next((name for name in ("pairs", "reason", "summary") if counts.get(name, {}).get("rows")), "pairs")
    name, form = given.get("set", first), given.get("format", TRL)
    if name not in SETS or form not in FORMATS:
        raise UserError(f"there is no set {name!r} in the format {form!r}: open Export from its first page")
    start = given.get("from", "0")
    if not (start.isascii() and start.isdigit() and int(start[:9]) < MOST):
        raise UserError(f"the preview goes to row {MOST}, not to {start!r}: the export holds every row")
    return Choice(run.id, name, form, int(start))


def render_export(store: Store, query: str, notice: str = "") -> str:
    """Return the page: sets, what was left out, preview, format, command, and what is written already."""
    curations = list_runs(store, stage="curate", limit=20)
    if not any(run.status == "done" for run in curations):
        command = render.render_command(f"insightv curate --project {store.file}")
        said = f"<p>Nothing is curated yet. Choose training sets first:</p>{command}"
        return f'<h1>Export</h1><div class="empty">{said}</div>'
    choice = read_choice(store, query)
    counts = count_rows(store, choice.run)
    return (
        f"<h1>Export</h1>{notice}{render_curations(choice, curations)}{render_sets(choice, counts)}"
        f'<div class="export"><div>{render_left_out(store, choice, counts[choice.name])}</div>'
        f"<div>{render_formats(choice)}{render_writing(store, choice, counts[choice.name])}</div></div>"
        f"{render_preview(store, choice)}{render_written(store)}"
    )


def render_curations(choice: Choice, curations: list[RunRow]) -> str:
    """Return the newest curating runs, to choose one."""
    items = "".join(
        f'<a class="chip" href="{link("export", run=run.id, set=choice.name, format=choice.form)}"'
        f"{CURRENT if run.id == choice.run else ''}>{escape(run.id[: render.SHORT_ID])}, {escape(ago(run.updated))}</a>"
        for run in curations
        if run.status == "done"
    )
    return (
        f'<p class="chips stages"><span class="soft">Curated by run</span>{items}'
        f'<a href="{link("runs", run=choice.run)}">its settings</a></p>'
    )


CURRENT = ' aria-current="true"'


def render_sets(choice: Choice, counts: Mapping[str, Mapping[str, Mapping[str, int]]]) -> str:
    """Return the sets of a curation with the numbers of their rows, to choose one."""
    cards = []
    for name in SETS:
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


def render_writing(store: Store, choice: Choice, counts: Mapping[str, Mapping[str, int]]) -> str:
    """Return the button that writes the export, and the command that does the same."""
    if not counts["rows"]:
        return '<p class="soft">This set has no rows to write. Choose another, or curate with lower thresholds.</p>'
    folder = choice.folder(store)
    command = shlex.join([
        "insightv", "export", "--set", choice.name, "--format", choice.form, "--run", choice.run, "--out", str(folder),
        "--project", str(store.file),
    ])  # fmt: skip
    if folder.exists():
        act = f'<p>This is written already: <code class="place">{escape(str(folder))}</code></p>'
    else:
        number = sum(counts["rows"].values())
        act = (
            f'<p><button class="main" data-action="write" data-busy="Writing …">Write {render.plural(number, "row")}'
            f'</button></p><p class="soft">to <code class="place">{escape(str(folder))}</code></p>'
        )
    return f'{act}<p class="soft">The command that does the same:</p><p>{render.render_command(command)}</p>'


# -- writing -----------------------------------------------------------------------------------------------------------


def write_export(store: Store, query: str) -> str:
    """Write what an address asks for beside the project, and return the page with where it lies and its manifest.

    Nothing is ever written over: a folder that is there already stays as it is, and the page says so.
    """
    choice = read_choice(store, query)
    folder = choice.folder(store)
    try:
        manifest = export_set(store, choice.run, choice.name, choice.form, folder)
    except UserError as error:
        return render_export(store, query, render.render_problem(str(error)))
    said = (
        f'<div class="notice" role="status"><p>Wrote {render.plural(manifest["rows"], "row")} and '
        f'{render.plural(len(manifest["files"]), "file")} to <code class="place">{escape(str(folder))}</code> '
        f"{render.copy_button(str(folder), 'copy path')}</p>{render_manifest(manifest)}</div>"
    )
    return render_export(store, query, said)


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
