"""The page Import: a table is uploaded, its columns are looked at, and its questions go into the project."""

import base64
import io
from collections.abc import Iterator
from html import escape
from itertools import islice

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app import render
from app.access import ADMIN, VIEWER, account_of, check, marked, reading
from app.pages import Project, address, link, read_query, section
from app.uploads import MOST_MEGABYTES, ZIP, Columns, Job, Upload, Uploads
from app.working import render_work
from insightv_core.errors import UserError
from insightv_core.images import MAX_MEGABYTES, PictureError, encode_image
from insightv_core.importing import (
    TOLERANCE,
    ImportedRow,
    ImportResult,
    RefusedRow,
    check_targets,
    import_questions,
    read_row,
)
from insightv_core.importing.choices import RowError
from insightv_core.importing.rows import TARGETS, map_columns
from insightv_core.importing.tables import KINDS
from insightv_core.records import Question
from insightv_core.store import Store, open_store
from insightv_core.store.browse import PathFilter

SHOWN = 6  # rows of the preview
LISTED = 200  # refused rows
SIDE = 160  # pixels of a picture in the preview
UPLOAD = "/import/upload"
NAMES = {
    "question": "question", "answer": "answer", "image": "picture", "options": "options",
    "answer_type": "type of answer", "family": "family", "level": "difficulty", "answer_text": "answer as text",
    "answer_index": "number of the answer", "tolerance": "tolerance",
}  # fmt: skip
EXAMPLE = "image,question,answer\nimages/1.png,How many bars are there?,4"


def add_import_page(project: Project, uploads: Uploads) -> None:
    """Add the page to the app."""

    def show(query: str) -> str:
        with project.open() as store:
            return render_import(store, uploads, query)

    def begin(query: str) -> str:
        with project.open() as store:
            begin_import(store, uploads.find(read_query(query).get("upload", "")), query)
            return render_import(store, uploads, query)

    def halt(query: str) -> str:
        job = uploads.find(read_query(query).get("upload", "")).job
        if job:
            job.stopping = True
        return show(query)

    section("import", [reading(VIEWER, show), reading(ADMIN, begin), reading(ADMIN, halt)])


def upload_route(uploads: Uploads) -> Route:
    """Return the route that takes a file, its bytes as they are, and answers with the id of the upload."""

    async def take(request: Request) -> Response:
        try:
            check(account_of(request), ADMIN)
            name = request.query_params.get("name", "")
            return JSONResponse({"upload": await uploads.take(name, request.stream(), run_in_threadpool)})
        except UserError as error:
            return JSONResponse({"problem": str(error)}, 400)

    return Route(UPLOAD, marked(take, take, ADMIN), methods=["POST"])


# -- importing ---------------------------------------------------------------------------------------------------------


def begin_import(store: Store, upload: Upload, query: str) -> None:
    """Start to import an upload in a thread; raise `UserError` where that is going on, or columns are missing."""
    if upload.job and not upload.job.over:
        raise UserError(f"{upload.name} is being imported already")
    chosen = read_columns(upload, query)
    map_columns_or_say(upload, chosen)
    job = upload.job = Job("The import", "What was read before is saved.", upload.table.total)

    def report(row: ImportedRow | RefusedRow) -> None:
        if isinstance(row, RefusedRow):
            job.refused.append(row)
        job.done += 1

    def work() -> ImportResult:
        with open_store(store.file) as own:
            return import_questions(
                own, upload.source(chosen), columns=chosen, report=report, stop=lambda: job.stopping
            )

    job.start(work)


def read_columns(upload: Upload, query: str) -> dict[str, str]:
    """Return the columns that an address chooses by target; `UserError` for one that the table has not."""
    given, columns = read_query(query), upload.columns()
    chosen = {target: given[f"c_{target}"] for target in TARGETS if f"c_{target}" in given}
    for target, column in chosen.items():
        if column not in columns:
            raise UserError(f"there is no column {column!r} in {upload.name}: choose another for the {target}")
    return chosen


def map_columns_or_say(upload: Upload, chosen: Columns) -> dict[str, str]:
    """Return the column of each target; `UserError` where one that every row needs is missing."""
    try:
        return map_columns(upload.columns(), check_targets(chosen))
    except RowError as error:
        raise UserError(f"{str(error).partition(': name it with')[0]}: choose its column below") from error


# -- the page ----------------------------------------------------------------------------------------------------------


def render_import(store: Store, uploads: Uploads, query: str) -> str:
    """Return the page: where to put a file, what an upload holds, or how its import goes."""
    given = read_query(query)
    if "upload" not in given:
        return f"<h1>Import</h1>{render_drop(store)}"
    upload = uploads.find(given["upload"])
    head = f'<h1>Import <span class="soft">{escape(upload.name)}</span></h1>'
    if upload.job:
        return head + render_job(upload, upload.job)
    return f"{head}{render_columns(upload, query)}"


def render_drop(store: Store) -> str:
    """Return where to put a file, what it may hold, and the command that takes folders and hubs as well."""
    kinds = ",".join((ZIP, *KINDS))
    command = render.render_command(f"insightv import my_questions.csv --project {store.file}")
    return (
        '<div class="import"><div><label class="drop bring"><input type="file" class="unseen" data-needs="begin" '
        f'accept="{kinds}" aria-label="Choose a file of questions"><span class="soft">Drop a file of questions here, '
        f"or choose one</span></label><p class='upload-note' role='status'></p></div><div class='how'>"
        f"<p>A <strong>zip</strong> with one table and its pictures, or a single <strong>{', '.join(KINDS)}</strong> "
        f"file whose rows hold their pictures. Up to {MOST_MEGABYTES} MB.</p><p>One row a question, with columns for "
        f"the picture, the question and the answer:</p><pre>{EXAMPLE}</pre><p class='soft'>You see the first rows "
        f"before anything is imported. What is in the project already is not added twice.</p><p class='soft'>A folder "
        f"on this machine, or a dataset of a hub, goes in by command:</p><p>{command}</p></div></div>"
    )


def render_columns(upload: Upload, query: str) -> str:
    """Return which column means what, the first rows as they would be imported, and the button that imports them."""
    columns, chosen = upload.columns(), read_columns(upload, query)
    try:
        mapping, problem = map_columns_or_say(upload, chosen), ""
    except UserError as error:
        mapping, problem = {}, render.render_problem(str(error))
    fields = "".join(render_choice(target, columns, chosen, mapping) for target in NAMES)
    rows = "" if problem else "".join(render_row(*each) for each in preview(upload, chosen))
    count = render.plural(upload.table.total, "row") if upload.table.total is not None else "every row"
    button = (
        ""
        if problem
        else f'<p class="buttons"><button class="main" data-action="begin" data-busy="begins …">Import {count}</button>'
        f'<a class="aside-link" href="{link("import")}">another file</a></p>'
    )
    shown = (
        f'<section class="preview"><h2>The first rows, as they would be imported</h2>{rows}</section>' if rows else ""
    )
    return (
        f'{problem}<form data-query data-soon class="columns" aria-label="Columns"><p class="soft">Which column is '
        f'what</p><div class="fields">{fields}</div></form>{button}{shown}'
    )


def render_choice(target: str, columns: tuple[str, ...], chosen: Columns, mapping: Columns) -> str:
    """Return the choice of a column for a target."""
    found = mapping.get(target) if target not in chosen else None
    automatic = escape(found[:60]) if found else "none"
    items = "".join(
        f'<option value="{escape(column)}"{" selected" if chosen.get(target) == column else ""}>{escape(column[:60])}'
        "</option>"
        for column in columns[:200]
    )
    return (
        f'<label><span>{NAMES[target]}</span><select name="c_{target}"><option value="">{automatic}</option>{items}'
        "</select></label>"
    )


def preview(upload: Upload, chosen: Columns) -> Iterator[tuple[str, Question | None, str, str]]:
    """Yield place, question, picture and what is wrong with it of the first rows; nothing is saved."""
    table = upload.source(chosen).tables[0]
    for row in islice(table.rows(), SHOWN):
        question, picture, problem = None, "", ""
        try:
            question, data = read_row(row, table, check_targets(chosen), upload.name, TOLERANCE)
            if isinstance(data, bytes):
                picture = thumbnail(data)
        except (RowError, PictureError) as error:
            problem = str(error)
        yield row.place, question, picture, problem


def thumbnail(data: bytes) -> str:
    """Return a picture as a small data address, encoded anew; `PictureError` where it would be refused."""
    from PIL import Image

    with Image.open(io.BytesIO(encode_image(data, max_megabytes=MAX_MEGABYTES).png)) as picture:
        picture.thumbnail((2 * SIDE, 2 * SIDE))
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def render_row(place: str, question: Question | None, picture: str, problem: str) -> str:
    """Return a row of the preview: what is asked, or why it is left out."""
    image = f'<img src="{picture}" alt="">' if picture else '<span class="no-picture"></span>'
    facts: dict[str, str] = {}
    if question is not None:
        facts = {
            "answer": f"{escape(question.answer)} <span class='soft'>{render.words(question.answer_type)}</span>",
            "options": escape(", ".join(question.options)), "family": escape(question.family),
            "difficulty": "" if question.level is None else str(question.level),
        }  # fmt: skip
    said = f"<strong>{escape(question.text)}</strong>" if question else ""
    refused = f'<p><span class="mark bad">✕ left out</span> {escape(problem)}</p>' if problem else ""
    return (
        f'<article class="row">{image}<div><p class="row-head">{said} <span class="soft">{escape(place)}</span></p>'
        f"{refused}{render.render_facts({name: value for name, value in facts.items() if value})}</div></article>"
    )


def render_job(upload: Upload, job: Job) -> str:
    """Return how an import goes, or what it did."""
    another = f'<a href="{link("import")}">import another file</a>'
    if job.problem:
        return f"{render.render_problem(job.problem)}<p>{another}</p>{render_refused(job.refused)}"
    if not job.over:
        return render_work(job) + render_refused(job.refused)
    result, refused = job.outcome, len(job.outcome.refused)
    known = result.read - result.added
    parts = [f"<strong>{render.plural(result.added, 'new question')}</strong>"]
    parts += [f"{known:,} in the project already"] if known else []
    parts += [f"{render.plural(refused, 'row')} left out"] if refused else []
    notes = "".join(f"<li>{count:,} pictures {escape(note)}</li>" for note, count in result.notes.items())
    stopped = "<p>Stopped before the end: import the file again, and only what is missing is added.</p>"
    source = escape(address(PathFilter(source=upload.name)))
    return (
        f'<div class="notice" role="status"><p>{", ".join(parts)}</p>{stopped if result.stopped else ""}'
        f'<ul>{notes}</ul></div><p class="next-links"><a href="{source}">its questions in Browse</a> · '
        f'<a href="?tab=overview">what to do next</a> · {another}</p>{render_refused(list(result.refused))}'
    )


def render_refused(refused: list[RefusedRow]) -> str:
    """Return the rows that were left out, by name and with their reasons."""
    if not refused:
        return ""
    rows = [(f"<code>{escape(row.place)}</code>", escape(row.reason)) for row in refused[:LISTED]]
    more = f'<p class="soft">The first {LISTED} of {len(refused):,}.</p>' if len(refused) > LISTED else ""
    table = render.render_table((("row", False), ("why", False)), rows, "Rows left out")
    title = f'<h2>Left out <span class="soft">n = {len(refused):,}</span></h2>'
    return f'<section class="left-out">{title}{table}{more}</section>'
