"""One row of a table as a question: which column means what, and what a row must hold."""

import base64
import binascii
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import takewhile
from pathlib import Path

from insightv_core.errors import UserError
from insightv_core.importing.choices import (
    LETTERS,
    TYPES,
    Options,
    RowError,
    apply_type,
    check_options,
    choose_option,
    clean_text,
    is_missing,
    is_unicode,
    read_answer,
    read_options,
)
from insightv_core.importing.tables import Table
from insightv_core.records import Question

# What a question is read from, and the column names tried for it, in this order.
TARGETS = {
    "question": ("question", "query", "prompt", "problem", "text"),
    "answer": ("answer", "label", "ground_truth", "gt_answer", "multiple_choice_answer"),
    "answer_text": ("answer_text",),
    "answer_index": ("answer_index", "answer_idx", "correct_choice_idx"),
    "image": (
        "decoded_image", "image", "img", "picture", "image_path", "img_path", "image_file", "file_name", "filename",
        "images", "image_1",
    ),
    "options": ("options", "choices"),
    "answer_type": ("answer_type", "question_type"),
    "family": ("family", "category", "subject", "subfield", "topic"),
    "level": ("level", "difficulty", "topic_difficulty"),
    "tolerance": ("tolerance",),
}  # fmt: skip
ANSWERS = ("answer", "answer_text", "answer_index")
LEVELS = {"easy": 1, "medium": 2, "hard": 3}
HIGHEST_LEVEL = 1000
OPTION_COLUMN = re.compile(r"(?:option_|choice_)?([a-z])", re.IGNORECASE)
FURTHER_IMAGE = re.compile(r"image_[2-9]", re.IGNORECASE)
IMAGE_MARK = re.compile(r"\s*<image(?:[ _]?1)?>(\w?)")
DATA_ADDRESS = re.compile(r"data:image/[\w.+-]+;base64,")
LONGEST_PATH = 1000  # characters; a longer text can only be a picture itself
LONGEST_METADATA = 500  # characters of a value
MOST_METADATA = 50


@lru_cache(maxsize=256)
def map_columns(names: tuple[str, ...], chosen: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return the column of each target: the chosen one, else the first of the usual names in any case.

    Raises `RowError` where a chosen column is missing, or one for question, answer or picture cannot be found.
    """
    lower = {name.casefold(): name for name in reversed(names)}
    mapping = {}
    for target, column in chosen:
        if column not in names:
            raise RowError(f"there is no column {column!r} for the {target}; the columns are {list_names(names)}")
        mapping[target] = column
    for target, usual in TARGETS.items():
        answered = target in ANSWERS and any(other in mapping for other in ANSWERS)
        found = next((lower[name] for name in usual if name in lower and lower[name] not in mapping.values()), None)
        if target not in mapping and found and not answered:
            mapping[target] = found
    for target, known in (("question", ("question",)), ("answer", ANSWERS), ("image", ("image",))):
        if not any(name in mapping for name in known):
            raise RowError(
                f"no column for the {target} among {list_names(names)}: name it with --columns {target}=COLUMN"
            )
    return mapping


def list_names(names: tuple[str, ...]) -> str:
    """Return the first names of columns, for a message."""
    return ", ".join(repr(name[:40]) for name in names[:20]) + (" ..." if len(names) > 20 else "")


def check_columns(table: Table, chosen: tuple[tuple[str, str], ...]) -> None:
    """Raise `UserError` where a table that declares its columns lacks one that every row needs."""
    if table.columns is not None:
        try:
            map_columns(table.columns, chosen)
        except RowError as error:
            raise UserError(str(error)) from error


def read_question(values: Mapping, mapping: Mapping[str, str], source: str, tolerance: float) -> Question:
    """Return the question of a row, without id and image; `RowError` where it is none."""
    text = find_text(take(values, mapping, "question"))
    options, option_columns = find_options(values, mapping)
    answer, answer_type = find_answer(values, mapping, options)
    family = find_family(values, mapping)
    level = find_level(take(values, mapping, "level"))
    used = {*mapping.values(), *option_columns} - ({mapping.get("level")} if level is None else set())
    if declared_type(values, mapping) is None:
        used -= {mapping.get("answer_type")}
    return Question(
        id="", text=text, answer=answer, image="", source=source, answer_type=answer_type, family=family, level=level,
        options=options.texts if options else (),
        tolerance=find_tolerance(take(values, mapping, "tolerance"), answer_type, tolerance),
        metadata=find_metadata(values, used),
    )  # fmt: skip


def take(values: Mapping, mapping: Mapping[str, str], target: str):
    """Return a row's value for a target, None where it has none."""
    value = values.get(mapping[target]) if target in mapping else None
    return None if is_missing(value) else value


def find_text(value: object) -> str:
    """Return the text of a question without the marks that stand for its picture, which models would misread."""
    text = "" if value is None else clean_text(value, "question")
    text = IMAGE_MARK.sub(lambda mark: f" {mark[1]}" if mark[1] else "", text).strip()
    if not text:
        raise RowError("the question is empty")
    return text


def find_options(values: Mapping, mapping: Mapping[str, str]) -> tuple[Options | None, set[str]]:
    """Return the options from their column, or from one column each ("A", "B" ...), and those columns."""
    named = {}
    for name in values:
        match = OPTION_COLUMN.fullmatch(name)
        if match and name not in mapping.values():
            named[match[1].upper()] = name
    letters = list(takewhile(named.__contains__, LETTERS))
    if len(letters) < 2:
        letters = []
    options = read_options(take(values, mapping, "options"))
    if options is None:
        options = check_options([(letter, values[named[letter]]) for letter in letters])
    return options, {named[letter] for letter in letters}


def find_answer(values: Mapping, mapping: Mapping[str, str], options: Options | None) -> tuple[str, str]:
    """Return the answer and its type: as declared where it can be so, else what it looks like."""
    target = next(name for name in ANSWERS if name in mapping)
    value = take(values, mapping, target)
    if value is None or value == []:
        raise RowError("the answer is empty")
    if options:
        if isinstance(value, list | tuple) and len(value) == 1:
            value = value[0]
        return choose_option(options, value, target), "option"
    if target == "answer_index":
        raise RowError("the row has the number of an option, but no options")
    answer, inferred = read_answer(value)
    if not answer:
        raise RowError("the answer is empty")
    declared = declared_type(values, mapping)
    return apply_type(answer, inferred, declared) if declared else (answer, inferred)


def declared_type(values: Mapping, mapping: Mapping[str, str]) -> str | None:
    """Return the answer type that a row declares, None where it declares none that we know."""
    value = take(values, mapping, "answer_type")
    return TYPES.get(value.strip().casefold().replace("-", "_").replace(" ", "_")) if isinstance(value, str) else None


def find_family(values: Mapping, mapping: Mapping[str, str]) -> str:
    """Return the family of a row, empty where it names none."""
    value = take(values, mapping, "family")
    return value.strip()[:100] if isinstance(value, str) and is_storable(value) else ""


def find_level(value: object) -> int | None:
    """Return the difficulty as a number; easy, medium and hard count as 1, 2 and 3; None for anything else."""
    if isinstance(value, str):
        value = value.strip().casefold()
        return int(value) if re.fullmatch("[0-9]{1,3}", value) else LEVELS.get(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= HIGHEST_LEVEL:
        return int(value) if value == int(value) else None
    return None


def find_tolerance(value: object, answer_type: str, default: float) -> float:
    """Return the row's tolerance, else the default for numbers and 0 for whatever is counted or named."""
    if value is None:
        return default if answer_type == "number" else 0.0
    try:
        tolerance = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        tolerance = math.nan
    if not 0 <= tolerance < 1:
        raise RowError(f"the tolerance {str(value)[:40]!r} is no number from 0 to below 1")
    return tolerance


def find_metadata(values: Mapping, used: set) -> dict:
    """Return the small plain values of the columns that nothing else was read from."""
    inner = values.get("metadata")
    rest = {name: value for name, value in values.items() if name not in used}
    if isinstance(inner, dict):
        rest = inner | rest
    kept = {
        name: value
        for name, value in rest.items()
        if isinstance(name, str) and 0 < len(name) <= 100 and is_storable(name) and is_small(value)
    }
    return dict(list(kept.items())[:MOST_METADATA])


def is_small(value: object) -> bool:
    """Tell whether a value is a short text, a number or a truth value."""
    if isinstance(value, str):
        return 0 < len(value) <= LONGEST_METADATA and is_storable(value)
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and abs(value) < 1 << 63


def is_storable(text: str) -> bool:
    """Tell whether a text is whole Unicode without NUL."""
    return "\0" not in text and is_unicode(text)


def find_picture(values: Mapping, mapping: Mapping[str, str], table: Table) -> Path | bytes:
    """Return the picture of a row as a file within the table's folders, or as bytes."""
    further = [name for name in values if FURTHER_IMAGE.fullmatch(name) and not is_missing(values[name])]
    if further:
        raise RowError(f"the row has several pictures ({', '.join(further)} as well); only one can be asked about")
    value = take(values, mapping, "image")
    if isinstance(value, list | tuple):
        if len(value) > 1:
            raise RowError(f"the row has {len(value)} pictures; only one can be asked about")
        value = value[0] if value else None
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if is_missing(value):
        raise RowError("the row has no picture")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise RowError(f"the picture is a {type(value).__name__}, not a path or bytes")
    if DATA_ADDRESS.match(value) or len(value) > LONGEST_PATH:
        return decode_picture(value)
    return locate_picture(value, table)


def decode_picture(value: str) -> bytes:
    """Return the bytes of a picture written as base64."""
    mark = DATA_ADDRESS.match(value)
    try:
        return base64.b64decode("".join(value[mark.end() if mark else 0 :].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RowError(f"the picture {value[:40]!r}... is neither a path nor base64") from error


def locate_picture(value: str, table: Table) -> Path:
    """Return the file that a row names; `RowError` where it lies outside the table's folders, symbolic links followed.

    Windows' backslashes are read as slashes where no file has them in its name.
    """
    if re.match(r"[a-z][a-z0-9+.-]+://", value, re.IGNORECASE):
        raise RowError(f"the picture {value[:80]!r} is a web address: download it and give its path")
    for name in dict.fromkeys((value, value.replace("\\", "/"))):
        if Path(name).is_absolute() and not table.absolute:
            raise RowError(f"the picture {value[:80]!r} has an absolute path: give it relative to the table")
        try:
            file = (table.folders[0] / name).resolve()
            inside = any(file.is_relative_to(folder.resolve()) for folder in table.folders)
            there = inside and file.is_file()
        except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL character, links in a circle
            raise RowError(f"the picture {value[:80]!r} is no path") from error
        if not inside:
            raise RowError(f"the picture {value[:80]!r} leads out of the folder {table.folders[0]}")
        if there:
            return file
    raise RowError(f"the picture {value[:80]!r} is not in {table.folders[0]}")
