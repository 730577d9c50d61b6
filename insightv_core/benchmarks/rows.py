"""Rows of public benchmarks as questions with pictures, read by the table of their columns."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from insightv_core.benchmarks.metrics import ANSWERS, option_letter
from insightv_core.benchmarks.table import (
    AS_LETTER,
    AS_PLACE,
    AS_POLARITY,
    AS_TEXTS,
    BENCHMARKS,
    IMAGES,
    IN_PICTURE,
    Benchmark,
)
from insightv_core.errors import UserError
from insightv_core.evaluate.items import Item
from insightv_core.images import encode_image, save_image
from insightv_core.importing import open_source
from insightv_core.importing.choices import (
    LETTERS,
    TYPES,
    Options,
    RowError,
    check_options,
    choose_option,
    clean_text,
    is_missing,
    parse_literal,
    read_options,
    to_text,
)
from insightv_core.importing.rows import find_picture, find_text
from insightv_core.importing.tables import Row, Source, Table
from insightv_core.records import Question, identify

if TYPE_CHECKING:
    from PIL import Image

IMAGE_NUMBER = re.compile(r"<image (\d)>")
GAP = 16  # pixels between pictures that are set side by side
NO_TEXT = "nan"  # how tables that went through pandas write nothing
UNKNOWN = "?"  # in place of the answers of a test split


@dataclass(frozen=True)
class Loaded:
    """The questions of a benchmark, the rows that none could be read from (place and reason), and how many rows it has.

    `rows` is None where the dataset does not tell.
    """

    items: tuple[Item, ...]
    refused: tuple[tuple[str, str], ...] = ()
    rows: int | None = None


def load_benchmark(
    name: str,
    images: Path,
    data: str | Path | Source | None = None,
    *,
    split: str | None = None,
    limit: int | None = None,
) -> Loaded:
    """Return the questions of the first rows of a benchmark, their pictures stored by their hashes under `images`.

    `data` is a folder that `datasets` saved, a Parquet file, or the hub id of a dataset with the same columns; by
    default the benchmark's own. Raises `UserError` where nothing can be read or the split has no answers.
    """
    if name not in BENCHMARKS:
        raise UserError(f"there is no benchmark {name!r}: choose one of {', '.join(BENCHMARKS)}")
    benchmark = BENCHMARKS[name]
    source = data if isinstance(data, Source) else open_data(benchmark, data, split)
    items: list[Item] = []
    refused: list[tuple[str, str]] = []
    rows = ((row, table) for table in source.tables for row in table.rows())
    for row, table in islice(rows, limit):
        try:
            items.append(read_item(name, benchmark, row, table, images))
        except (RowError, UserError) as error:
            refused.append((row.place, str(error)))
    if not items:
        why = f"; the first of {len(refused)} rows: {refused[0][1]}" if refused else ": it holds no rows"
        raise UserError(f"no question of {benchmark.title} could be read{why}")
    return Loaded(tuple(items), tuple(refused), source.total)


def open_data(benchmark: Benchmark, data: str | Path | None, split: str | None) -> Source:
    """Open a benchmark's dataset: a file or folder where there is one of that name, else from the hub."""
    wanted = split or benchmark.split
    if data is not None and Path(data).exists():
        inside = Path(data) / wanted
        return open_source(inside if inside.is_dir() else data)
    own = benchmark.dataset if data is None else str(data).removeprefix("hf:")
    return open_source(f"hf:{own}:{benchmark.config}:{wanted}" if ":" not in own else f"hf:{own}")


def read_item(name: str, benchmark: Benchmark, row: Row, table: Table, images: Path) -> Item:
    """Return the question of a row with its picture; several pictures are set side by side."""
    if row.problem:
        raise RowError(row.problem)
    several = [column for column in IMAGES if not is_missing(row.values.get(column))]
    found = [
        find_picture({"image": row.values.get(column)}, {"image": "image"}, table)
        for column in several or [benchmark.image]
    ]
    question = read_question(name, benchmark, row, numbered=len(found) > 1)
    encoded = encode_image(found[0] if len(found) == 1 else join_pictures([open_picture(each) for each in found]))
    sha256 = save_image(encoded, images).sha256
    return Item(question, images / sha256[:2] / f"{sha256}.png")


def read_question(name: str, benchmark: Benchmark, row: Row, *, numbered: bool = False) -> Question:
    """Return the question of a row: its text with options and suffix, the right answer, and what its metric needs."""
    values = row.values
    options = find_options(benchmark, values, numbered)
    answer, answers = find_answer(benchmark, values, options)
    kept = {column: values[column] for column in benchmark.kept if not is_missing(values.get(column))}
    family = values.get(benchmark.category) if benchmark.category else ""
    return Question(
        id=identify("benchmark", name, row.place),
        text=write_text(benchmark, values, options, numbered),
        answer=answer,
        image="",
        source=benchmark.title,
        answer_type=find_type(benchmark, values, options),
        family=family if isinstance(family, str) else "",
        options=options.texts if options else (),
        metadata=kept | ({ANSWERS: answers} if answers else {}),
    )


def write_text(benchmark: Benchmark, values: Mapping, options: Options | None, numbered: bool) -> str:
    """Return what is asked: text that goes before, the question, its options by letter, and how to answer."""
    if benchmark.question:
        text = name_pictures(clean_text(values.get(benchmark.question), "question"), numbered)
        lines = [text if numbered else find_text(text)]
    else:
        lines = [IN_PICTURE]
    before = values.get(benchmark.before) if benchmark.before else None
    if isinstance(before, str) and before.strip() and before != NO_TEXT:
        lines.insert(0, before.strip())
    unit = values.get("unit") if "unit" in benchmark.kept else None
    if isinstance(unit, str) and unit.strip():
        lines[-1] += f" (unit: {unit.strip()})"
    if options:
        lines += [f"{letter}. {text}" for letter, text in zip(LETTERS, options.texts, strict=False)]
    is_open = benchmark.open_suffix and not options
    return "\n".join(filter(None, [*lines, benchmark.open_suffix if is_open else benchmark.suffix]))


def name_pictures(text: str, numbered: bool) -> str:
    """Return a text whose marks for pictures say which of several they mean."""
    return IMAGE_NUMBER.sub(r"picture \1", text) if numbered else text


def find_options(benchmark: Benchmark, values: Mapping, numbered: bool) -> Options | None:
    """Return the options of a row, from a list or from a column each."""
    if isinstance(benchmark.options, tuple):
        pairs = [(column, values.get(column)) for column in benchmark.options]
        return check_options([(letter, None if text == NO_TEXT else text) for letter, text in pairs])
    found = values.get(benchmark.options) if benchmark.options else None
    return read_options(name_pictures(found, numbered) if isinstance(found, str) else found)


def find_answer(benchmark: Benchmark, values: Mapping, options: Options | None) -> tuple[str, list[str]]:
    """Return the right answer, a letter where there are options, and all answers where there may be several."""
    value = values.get(benchmark.answer)
    if is_missing(value) or value in ([], NO_TEXT, UNKNOWN):
        raise RowError("the row has no answer, as those of test splits that only their makers can score")
    if benchmark.written == AS_TEXTS or (benchmark.written == AS_LETTER and benchmark.open_suffix and not options):
        parsed = parse_literal(value)
        answers = [to_text(each).strip() for each in (parsed if isinstance(parsed, list) else [value])]
        return answers[0], answers
    text = to_text(value).strip()
    if benchmark.written == AS_LETTER:
        return find_letter(text, options), []
    if options:
        return choose_option(options, text, "answer_index" if benchmark.written == AS_PLACE else "answer_text"), []
    return find_polarity(text) if benchmark.written == AS_POLARITY else text, []


def find_letter(text: str, options: Options | None) -> str:
    """Return the letter of an option; `RowError` where there is no such option."""
    letter = text.upper().rstrip(".")
    known = LETTERS[: len(options.texts)] if options else LETTERS
    if len(letter) != 1 or letter not in known:
        raise RowError(f"the answer {text[:40]!r} is no letter of an option")
    return letter


def find_polarity(text: str) -> str:
    """Return yes or no; `RowError` for any other answer."""
    said = text.lower().rstrip(".")
    if said not in ("yes", "no"):
        raise RowError(f"the answer {text[:40]!r} is neither yes nor no")
    return said


def find_type(benchmark: Benchmark, values: Mapping, options: Options | None) -> str:
    """Return the type of a question's answer."""
    if options or benchmark.metric is option_letter:
        return "option"
    if benchmark.written == AS_POLARITY:
        return "yes/no"
    declared = values.get("answer_type") if "answer_type" in benchmark.kept else None
    return TYPES.get(declared, "text") if isinstance(declared, str) else "text"


def open_picture(source: Path | bytes) -> "Image.Image":
    """Return a picture file as RGB in memory."""
    from PIL import Image

    with Image.open(io.BytesIO(encode_image(source).png)) as picture:
        return picture.convert("RGB")


def join_pictures(pictures: "Sequence[Image.Image]") -> "Image.Image":
    """Return pictures side by side on white, in their order, scaled to the height of the lowest."""
    from PIL import Image

    height = min(picture.height for picture in pictures)
    scaled = [picture.resize((max(1, round(picture.width * height / picture.height)), height)) for picture in pictures]
    joined = Image.new("RGB", (sum(each.width for each in scaled) + GAP * (len(scaled) - 1), height), "white")
    left = 0
    for each in scaled:
        joined.paste(each, (left, 0))
        left += each.width + GAP
    return joined
