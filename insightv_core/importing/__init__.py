"""Bringing questions and their pictures into a project, from files, folders and Hugging Face datasets.

A row that cannot be imported is refused by name and with its reason; the rest goes in. Ids are content hashes, so
importing twice, or again after a stop, adds only what is missing.
"""

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from insightv_core.errors import UserError
from insightv_core.images import MAX_MEGABYTES, PictureError, encode_image, read_file, save_image
from insightv_core.importing.choices import RowError
from insightv_core.importing.rows import TARGETS, check_columns, find_picture, map_columns, read_question
from insightv_core.importing.tables import Row, Source, Table, open_source
from insightv_core.records import Question, StoredImage, identify
from insightv_core.store import Store

__all__ = ["ImportResult", "ImportedRow", "RefusedRow", "import_questions", "open_source", "read_questions"]

BATCH = 200  # questions a transaction
TOLERANCE = 0.05  # of numbers, as charts are read off
MOST_REMEMBERED = 4096  # pictures whose hashes are kept, for tables that ask much about each
MOST_THREADS = 4

Remembered = dict[str, tuple[StoredImage, tuple[str, ...]]]


@dataclass(frozen=True)
class ImportedRow:
    """A row that became a question: where it stood, its stored picture, and what was changed about the picture."""

    place: str
    question: Question
    image: StoredImage
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RefusedRow:
    """A row that was left out: where it stands ("questions.jsonl:12"), and why."""

    place: str
    reason: str


@dataclass(frozen=True)
class ImportResult:
    """What an import did: questions read, how many of them were new, rows refused, and changed pictures by note."""

    read: int
    added: int
    refused: tuple[RefusedRow, ...]
    notes: dict[str, int]
    stopped: bool = False


def import_questions(
    store: Store,
    source: str | Path | Source,
    *,
    name: str | None = None,
    columns: Mapping[str, str] | None = None,
    tolerance: float = TOLERANCE,
    max_megabytes: float = MAX_MEGABYTES,
    limit: int | None = None,
    report: Callable[[ImportedRow | RefusedRow], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> ImportResult:
    """Save the questions of a source with their pictures in the project; the arguments are those of `read_questions`.

    `report` sees every row as it is read; once `stop` says so, what was read is saved and the import ends.
    """
    batch: list[ImportedRow] = []
    refused: list[RefusedRow] = []
    notes: Counter[str] = Counter()
    read = added = 0
    stopped = False
    rows = read_questions(
        source, store.folder / "images", name=name, columns=columns, tolerance=tolerance,
        max_megabytes=max_megabytes, limit=limit,
    )  # fmt: skip
    with closing(rows):
        for row in rows:
            if isinstance(row, ImportedRow):
                batch.append(row)
                notes.update(row.notes)
                read += 1
            else:
                refused.append(row)
            if report:
                report(row)
            stopped = stop()
            if stopped:
                break
            if len(batch) == BATCH:
                added += save_batch(store, batch)
                batch = []
    added += save_batch(store, batch)
    return ImportResult(read, added, tuple(refused), dict(notes), stopped)


def save_batch(store: Store, batch: list[ImportedRow]) -> int:
    """Save rows in one transaction; return how many questions were new."""
    return store.add_questions([(row.question, row.image) for row in batch]) if batch else 0


def read_questions(
    source: str | Path | Source,
    images: Path,
    *,
    name: str | None = None,
    columns: Mapping[str, str] | None = None,
    tolerance: float = TOLERANCE,
    max_megabytes: float = MAX_MEGABYTES,
    limit: int | None = None,
) -> Generator[ImportedRow | RefusedRow]:
    """Yield every row of a source as a question whose picture is stored under `images`, or as a refusal.

    `source` is what `open_source` takes or returned; `name` is what the questions carry as their source. `columns`
    names the column of each target whose name is not a usual one, such as {"question": "query"}. `tolerance` is the
    relative error allowed for answers of type "number" where a row does not say. `limit` counts rows. Raises
    `UserError` where nothing can be read at all, or a picture cannot be written.
    """
    chosen = check_targets(columns or {})
    source = source if isinstance(source, Source) else open_source(source)
    for opened in source.tables:
        check_columns(opened, chosen)
    remembered: Remembered = {}

    def import_row(row: Row, table: Table) -> ImportedRow | RefusedRow:
        try:
            question, picture = read_row(row, table, chosen, name or source.name, tolerance)
            image, notes = store_once(picture, images, max_megabytes, remembered)
        except (RowError, PictureError) as error:
            return RefusedRow(printable(row.place), printable(str(error)))
        return ImportedRow(row.place, complete(question, image), image, notes)

    rows = ((row, table) for table in source.tables for row in table.rows())
    yield from work_ahead(import_row, islice(rows, limit))


def work_ahead(work: Callable, arguments: Iterable[tuple]) -> Iterator:
    """Yield what `work` returns, in order, while threads work on the next few: Pillow encodes beside Python."""
    threads = min(MOST_THREADS, os.cpu_count() or 1)
    ahead: deque[Future] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="import")
    try:
        for each in arguments:
            ahead.append(pool.submit(work, *each))
            if len(ahead) > 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def printable(text: str) -> str:
    """Return a text that any terminal can show: half surrogate pairs, from odd file names, are spelled out."""
    return text.encode(errors="backslashreplace").decode()


def check_targets(columns: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the chosen columns; `UserError` for a target that there is none of."""
    for target in columns:
        if target not in TARGETS:
            raise UserError(f"{target!r} is nothing a question has; a column can be named for {', '.join(TARGETS)}")
    return tuple(columns.items())


def read_row(
    row: Row, table: Table, chosen: tuple[tuple[str, str], ...], source: str, tolerance: float
) -> tuple[Question, Path | bytes]:
    """Return the question of a row and its picture; `RowError` where it has not both."""
    if row.problem:
        raise RowError(row.problem)
    mapping = map_columns(tuple(row.values), chosen)
    return read_question(row.values, mapping, source, tolerance), find_picture(row.values, mapping, table)


def store_once(
    picture: Path | bytes,
    images: Path,
    max_megabytes: float,
    remembered: Remembered,
) -> tuple[StoredImage, tuple[str, ...]]:
    """Store a picture, or take it from those of the last few thousand rows; return it with what was changed."""
    data = read_file(picture, max_megabytes) if isinstance(picture, Path) else picture
    name = f"the picture {picture.name}" if isinstance(picture, Path) else "the picture"
    key = hashlib.sha256(data).hexdigest()
    found = remembered.get(key)
    if found is None:
        encoded = encode_image(data, max_megabytes=max_megabytes, name=name)
        if len(remembered) >= MOST_REMEMBERED:
            remembered.clear()
        found = remembered[key] = save_image(encoded, images), encoded.notes
    return found


def complete(question: Question, image: StoredImage) -> Question:
    """Return the question with its picture and the id that follows from what it asks."""
    key = identify("question", image.sha256, question.text, question.answer, *question.options)
    return replace(question, id=key, image=image.sha256)
