"""Uploaded questions: a table, alone or in a zip with its pictures, kept until it is imported.

No name that a client or a zip gives becomes a path: a zip is never unpacked, its pictures are read out of it by the
names that the table's rows give, and what is written carries names from here.
"""

import posixpath
import secrets
import tempfile
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from app.working import Work
from insightv_core.errors import UserError
from insightv_core.images import MAX_MEGABYTES, first_line
from insightv_core.importing import RefusedRow, Source
from insightv_core.importing.choices import RowError
from insightv_core.importing.rows import DATA_ADDRESS, LONGEST_PATH, map_columns
from insightv_core.importing.tables import KINDS, Row, Table, open_table

MOST_MEGABYTES = 500  # of an upload, and of the table in it once unpacked
MOST_FILES = 50_000  # in a zip
LARGEST_DIRECTORY = 16_000_000  # bytes of the list of a zip's files, which is read at once
ZIP = ".zip"
KEPT = 4  # uploads at a time
LONGEST_NAME = 80
LOOKED_AT = 50  # rows whose columns are those of a table that does not declare them
BROKEN = (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError, ValueError)
Columns = Mapping[str, str]


@dataclass
class Job(Work):
    """An import under way; its outcome is an `ImportResult`."""

    refused: list[RefusedRow] = field(default_factory=list)


@dataclass
class Upload:
    """A table to import; `members` are the files of its zip, by their place beside the table."""

    id: str
    name: str
    folder: tempfile.TemporaryDirectory
    table: Table
    archive: zipfile.ZipFile | None = None
    members: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    job: Job | None = None

    def columns(self) -> tuple[str, ...]:
        """Return the columns of the table, or those of its first rows."""
        if self.table.columns is not None:
            return self.table.columns
        found: dict[str, None] = {}
        for row, _ in zip(self.table.rows(), range(LOOKED_AT), strict=False):
            found |= dict.fromkeys(map(str, row.values))
        return tuple(found)

    def source(self, chosen: Columns) -> Source:
        """Return what is to be imported: the table's rows with their pictures from the zip."""

        def rows() -> Iterator[Row]:
            for row in self.table.rows():
                yield self.with_picture(row, tuple(chosen.items()))

        return Source(self.name, (replace(self.table, rows=rows),))

    def with_picture(self, row: Row, chosen: tuple[tuple[str, str], ...]) -> Row:
        """Return a row with its picture in place of the picture's name."""
        try:
            column = map_columns(tuple(row.values), chosen)["image"] if not row.problem else None
        except RowError:  # said where the row is read
            column = None
        name = name_of(row.values.get(column)) if column else None
        if column is None or name is None:
            return row
        try:
            return replace(row, values=row.values | {column: self.read_picture(name)})
        except RowError as error:
            return replace(row, problem=str(error))

    def read_picture(self, name: str) -> bytes:
        """Return a picture of the zip; `RowError` where it has none of that name, or not a sound one."""
        place = posixpath.normpath(name.replace("\\", "/"))
        member = self.members.get(place)
        if self.archive is None or member is None:
            where = "in the zip" if self.archive else "here: upload a zip with the table and its pictures"
            raise RowError(f"the picture {name[:80]!r} is not {where}")
        limit = int(MAX_MEGABYTES * 1e6)
        try:
            with self.archive.open(member) as stream:
                data = stream.read(limit + 1)
        except BROKEN as error:
            raise RowError(f"the picture {name[:80]!r} cannot be read from the zip ({first_line(error)})") from error
        if len(data) > limit:
            raise RowError(f"the picture {name[:80]!r} has over {MAX_MEGABYTES:g} MB: save it smaller")
        return data


def name_of(value: Any) -> str | None:
    """Return the file name that a picture's column gives; None where it holds the picture itself, or nothing."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        value = None if value.get("bytes") else value.get("path")
    if not isinstance(value, str) or not value.strip() or DATA_ADDRESS.match(value) or len(value) > LONGEST_PATH:
        return None
    return value


# -- taking one in -----------------------------------------------------------------------------------------------------


@dataclass
class Uploads:
    """The newest uploads, by their ids."""

    kept: OrderedDict[str, Upload] = field(default_factory=OrderedDict)

    async def take(self, name: str, chunks: AsyncIterator[bytes], later: Callable) -> str:
        """Write an upload into a folder of its own, look at it with `later`, which runs it elsewhere; return its id.

        Raises `UserError` for a file that is too large, of no known kind, or damaged.
        """
        kind, shown = kind_of(name), shown_name(name)
        folder = tempfile.TemporaryDirectory(prefix="insightv-upload-", ignore_cleanup_errors=True)
        try:
            file, size = Path(folder.name) / f"upload{kind}", 0
            with file.open("wb") as stream:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > MOST_MEGABYTES * 1e6:
                        raise UserError(f"{shown} has over {MOST_MEGABYTES} MB: import it with insightv import instead")
                    stream.write(chunk)
            upload = await later(open_upload, file, kind, shown, folder)
        except BaseException:
            folder.cleanup()
            raise
        self.kept[upload.id] = upload
        self.forget(KEPT)
        return upload.id

    def forget(self, most: int) -> None:
        """Remove the oldest uploads that are not being imported, down to so many."""
        for key, upload in list(self.kept.items()):
            if len(self.kept) > most and (upload.job is None or upload.job.over):
                del self.kept[key]
                if upload.archive:
                    upload.archive.close()
                upload.folder.cleanup()

    def find(self, key: str) -> Upload:
        """Return an upload; raise `UserError` where it is gone."""
        if key not in self.kept:
            raise UserError("This upload is no longer here: choose the file again.")
        return self.kept[key]


def kind_of(name: str) -> str:
    """Return the kind of a file by its name, one of those that are known."""
    for kind in (ZIP, *KINDS):
        if name.casefold().endswith(kind):
            return kind
    raise UserError(f"{shown_name(name)} cannot be imported: choose a {', '.join((ZIP, *KINDS))} file")


def shown_name(name: str) -> str:
    """Return the name of a file as it is shown: its last part, without what cannot be printed."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(each for each in last if each.isprintable()).strip()[-LONGEST_NAME:] or "the file"


def open_upload(file: Path, kind: str, shown: str, folder: tempfile.TemporaryDirectory) -> Upload:
    """Open an upload; `UserError` where there is no one table in it."""
    key, name = secrets.token_hex(16), PurePosixPath(shown).stem
    if kind != ZIP:
        questions = file.rename(file.with_name(f"questions{kind}"))
        return Upload(key, name, folder, open_safely(questions, shown))
    archive = open_zip(file, shown)
    files = [member for member in archive.infolist() if member.filename and not member.is_dir()]
    table = choose_table(files, shown)
    questions = file.with_name(f"questions{kind_of(table.filename)}")
    unpack(archive, table, questions)
    beside = posixpath.dirname(table.filename)
    members = {posixpath.relpath(member.filename, beside or "."): member for member in reversed(files)}
    return Upload(key, name, folder, open_safely(questions, shown), archive, members)


def open_safely(questions: Path, shown: str) -> Table:
    """Open a table; what is wrong with it is said under the name of the upload."""
    try:
        return open_table(questions)
    except UserError as error:
        raise UserError(str(error).replace(str(questions), shown)) from error


def open_zip(file: Path, shown: str) -> zipfile.ZipFile:
    """Open a zip whose list of files is of a sensible length."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(file.stat().st_size - (1 << 16) - 64, 0))
            end = stream.read()
        place = end.rfind(b"PK\x05\x06")
        # A list longer than 4 GB, or one that says so, is marked just before its end.
        long = place < 0 or end[max(place - 20, 0) : place].startswith(b"PK\x06\x07")
        if long or int.from_bytes(end[place + 12 : place + 16], "little") > LARGEST_DIRECTORY:
            raise UserError(f"{shown} is no zip, or one of too many files: import its folder with insightv import")
        archive = zipfile.ZipFile(file)
        if len(archive.infolist()) > MOST_FILES:
            raise UserError(f"{shown} holds over {MOST_FILES:,} files: import its folder with insightv import")
        return archive
    except BROKEN as error:
        raise UserError(f"{shown} is no zip, or a damaged one ({first_line(error)}): pack it again") from error


def choose_table(files: list[zipfile.ZipInfo], shown: str) -> zipfile.ZipInfo:
    """Return the file of a zip that holds the questions: `questions.*` where there is one, else the only table."""
    paths = [(PurePosixPath(member.filename), member) for member in files]
    tables = [
        (path, member)
        for path, member in paths
        if path.suffix.casefold() in KINDS and not path.name.startswith(".") and "__MACOSX" not in path.parts
    ]
    found = [each for each in tables if each[0].stem.casefold() == "questions"] or tables
    if len(found) != 1:
        names = ", ".join(shown_name(str(path)) for path, _ in found[:4])
        said = f"holds {len(found)} tables ({names})" if found else f"holds no {', '.join(KINDS)} file"
        raise UserError(f"{shown} {said}: put one table into it, named questions.csv for example")
    return found[0][1]


def unpack(archive: zipfile.ZipFile, table: zipfile.ZipInfo, questions: Path) -> None:
    """Write the table of a zip, as far as it has a sensible size, whatever the zip says of it."""
    left = int(MOST_MEGABYTES * 1e6)
    try:
        with archive.open(table) as source, questions.open("wb") as target:
            while chunk := source.read(1 << 20):
                left -= len(chunk)
                if left < 0:
                    said = f"the table in the zip has over {MOST_MEGABYTES} MB once unpacked"
                    raise UserError(f"{said}: import it with insightv import instead")
                target.write(chunk)
    except BROKEN as error:
        raise UserError(f"the table in the zip cannot be read ({first_line(error)}): pack it again") from error
