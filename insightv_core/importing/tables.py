"""Where questions come from: JSONL, CSV, TSV and Parquet files, folders of them, and Hugging Face datasets.

A table yields its rows as they stand; what they mean is decided in `rows`.
"""

import csv
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from insightv_core.errors import UserError
from insightv_core.images import first_line

KINDS = (".jsonl", ".csv", ".tsv", ".parquet")
LONGEST_LINE = 100_000_000  # characters; a picture of 50 MB written as base64 has 67 million
ROWS_AT_ONCE = 16  # of a table that may hold its pictures itself
DATASET_MARKS = ("state.json", "dataset_dict.json")


@dataclass(frozen=True)
class Row:
    """One row: where it stands ("questions.jsonl:12"), its values by column, and why it cannot be read if so."""

    place: str
    values: dict
    problem: str = ""


@dataclass(frozen=True)
class Table:
    """Rows to read, the columns where the table declares them, their number where known, and where pictures may lie.

    Pictures are named relative to the first of the `folders`; absolute names are allowed only where `absolute` says
    so, and must then lie in one of them.
    """

    rows: Callable[[], Iterator[Row]]
    folders: tuple[Path, ...]
    columns: tuple[str, ...] | None = None
    total: int | None = None
    absolute: bool = False


@dataclass(frozen=True)
class Source:
    """Tables to import, under the name that their questions will carry."""

    name: str
    tables: tuple[Table, ...]

    @property
    def total(self) -> int | None:
        """The number of rows, None where a table does not tell."""
        totals = [table.total for table in self.tables]
        return None if None in totals else sum(total for total in totals if total is not None)


def open_source(source: str | Path) -> Source:
    """Open a folder, a file, a dataset saved on disk, or `hf:org/name[:config][:split]` of a hub.

    Raises `UserError` where there is nothing to read.
    """
    from insightv_core.importing import hub

    if str(source).startswith("hf:"):
        name = str(source).removeprefix("hf:")
        return Source(name, (hub.open_hub_dataset(name),))
    path = Path(source)
    if not path.exists():
        raise UserError(
            f"there is no file or folder {path}: give a folder with questions.jsonl, a {', '.join(KINDS)} file, "
            "or hf:ORGANISATION/NAME"
        )
    if not path.is_dir():
        return Source(path.stem, (open_table(path),))
    if any((path / mark).is_file() for mark in DATASET_MARKS):
        return Source(path.resolve().name, (hub.open_saved_dataset(path),))
    return Source(path.resolve().name, tuple(map(open_table, find_tables(path))))


def find_tables(folder: Path) -> list[Path]:
    """Return the files of a folder that hold questions: `questions.*` where there is one, else all of them."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in KINDS and file.is_file())
    if not files:
        raise UserError(
            f"the folder {folder} holds no {', '.join(KINDS)} file: write one row per question with the columns "
            "image, question and answer to questions.jsonl in it"
        )
    return [file for file in files if file.stem == "questions"] or files


def open_table(file: Path) -> Table:
    """Open a file by its ending."""
    kind = file.suffix.lower()
    if kind not in KINDS:
        raise UserError(f"{file} cannot be imported: give a {', '.join(KINDS)} file, or a folder with one")
    try:
        if kind == ".jsonl":
            return Table(lambda: read_jsonl(file), (file.parent,), total=count_lines(file))
        if kind == ".parquet":
            return open_parquet(file)
        delimiter, columns = read_header(file)
        return Table(lambda: read_csv(file, delimiter, columns), (file.parent,), columns)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {first_line(error)}") from error


def open_text(file: Path) -> IO[str]:
    """Open a text file with its line ends kept, as the UTF-8 or UTF-16 that its first bytes say.

    Bytes that are no UTF-8 become lone surrogates, so that the row they stand in is refused and the rest is read.
    """
    with file.open("rb") as raw:
        mark = raw.read(2)
    encoding = "utf-16" if mark in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return file.open(encoding=encoding, errors="surrogateescape", newline="")


def count_lines(file: Path) -> int:
    """Return the number of lines, a last one without an end included."""
    lines, last = 0, b"\n"
    with file.open("rb") as raw:
        while chunk := raw.read(1 << 20):
            lines, last = lines + chunk.count(b"\n"), chunk
    return lines + (not last.endswith(b"\n"))


def read_lines(text: IO[str]) -> Iterator[str | None]:
    """Yield the lines of a text; None in place of a line that is too long to hold."""
    while line := text.readline(LONGEST_LINE):
        if len(line) < LONGEST_LINE or line.endswith("\n"):
            yield line
            continue
        while line and not line.endswith("\n"):
            line = text.readline(LONGEST_LINE)
        yield None


def read_jsonl(file: Path) -> Iterator[Row]:
    """Yield a row for each line of a JSONL file that is not blank."""
    with open_text(file) as text:
        for number, line in enumerate(keep_readable(read_lines(text)), 1):
            if not isinstance(line, str) or line.strip():
                yield read_json_row(f"{file.name}:{number}", line)


def keep_readable(lines: Iterator) -> Iterator:
    """Yield what an iterator yields; end with the error where it fails midway."""
    try:
        yield from lines
    except (OSError, ValueError) as error:
        yield error


def read_json_row(place: str, line: str | Exception | None) -> Row:
    """Read one line of a JSONL file."""
    if line is None:
        return Row(place, {}, f"the line has more than {LONGEST_LINE // 1_000_000} million characters")
    if isinstance(line, Exception):
        return Row(place, {}, f"from here on the file cannot be read: {first_line(line)}")
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Row(place, {}, f"the line is no JSON ({first_line(error)})")
    if not isinstance(values, dict):
        return Row(place, {}, f"the line is a JSON {type(values).__name__}, not an object")
    return Row(place, values)


def read_header(file: Path) -> tuple[str, tuple[str, ...]]:
    """Return the delimiter and the columns of a CSV or TSV file."""
    with open_text(file) as text:
        try:
            first = text.readline(LONGEST_LINE)
            delimiter = "\t" if file.suffix.lower() == ".tsv" else ";" if ";" in first and "," not in first else ","
            text.seek(0)
            header = next(csv.reader(text, delimiter=delimiter, strict=True), [])
        except (ValueError, csv.Error) as error:
            raise UserError(f"{file} has a first line that cannot be read: {first_line(error)}") from error
    columns = tuple(column.strip() for column in header)
    if not any(columns):
        raise UserError(f"{file} has no header: its first line must name the columns")
    double = next((column for column in columns if column and columns.count(column) > 1), None)
    if double:
        raise UserError(f"{file} has two columns {double!r}: rename one of them")
    return delimiter, columns


def read_csv(file: Path, delimiter: str, columns: tuple[str, ...]) -> Iterator[Row]:
    """Yield a row for each record of a CSV file; its place is the line where the record starts."""
    csv.field_size_limit(LONGEST_LINE)
    with open_text(file) as text:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        next(reader)
        record: list[str] | None = []
        while record is not None:
            place = f"{file.name}:{reader.line_num + 1}"
            try:
                record = next(reader, None)
            except csv.Error as error:
                yield Row(place, {}, f"the row is no CSV ({error}): look for a quote too many or too few")
            except (OSError, ValueError) as error:
                yield Row(place, {}, f"from here on the file cannot be read: {first_line(error)}")
                return
            else:
                if record:
                    yield read_record(place, record, columns)


def read_record(place: str, record: list[str], columns: tuple[str, ...]) -> Row:
    """Name the fields of a record."""
    if len(record) != len(columns):
        return Row(place, {}, f"the row has {len(record)} fields where the header has {len(columns)}")
    return Row(place, dict(zip(columns, record, strict=True)))


def open_parquet(file: Path) -> Table:
    """Open a Parquet file."""
    import pyarrow
    from pyarrow import parquet

    try:
        opened = parquet.ParquetFile(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{file} is no Parquet file, or a damaged one ({first_line(error)})") from error
    columns, total = tuple(opened.schema_arrow.names), opened.metadata.num_rows
    opened.close()

    def batches() -> Iterator[list[dict]]:
        with parquet.ParquetFile(file) as reader:
            for batch in reader.iter_batches(ROWS_AT_ONCE):
                yield batch.to_pylist()

    return Table(lambda: number_rows(file.name, batches()), (file.parent,), columns, total)


def number_rows(name: str, batches: Iterator[list[dict]]) -> Iterator[Row]:
    """Yield the rows of batches with their places, counted from 1; end with a refused row where reading fails."""
    numbers = itertools.count(1)
    try:
        for batch in batches:
            for values in batch:
                yield Row(f"{name}:{next(numbers)}", values)
    except Exception as error:  # pyarrow's own kinds of error are not all OSError or ValueError
        yield Row(f"{name}:{next(numbers)}", {}, f"from here on the data cannot be read: {first_line(error)}")
