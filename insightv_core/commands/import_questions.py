"""`insightv import`: questions and their pictures into a project file."""

import argparse
import dataclasses
import time
import warnings

from insightv_core.commands.common import (
    add_command,
    add_project_options,
    open_project,
    print_result,
    progress_bar,
    stop_on_signal,
)
from insightv_core.errors import UserError
from insightv_core.images import MAX_MEGABYTES
from insightv_core.importing import TOLERANCE, ImportResult, Source, import_questions, open_source
from insightv_core.importing.rows import TARGETS
from insightv_core.store import Store

SHOWN = 10  # refused rows in the words; --json gives all


def add_import_command(commands) -> None:
    """Add `insightv import`."""
    parser = add_command(
        commands, "import", run_import, "bring questions and pictures into a project",
        "insightv import my_questions.csv --columns question=query,image=chart",
    )  # fmt: skip
    parser.add_argument(
        "source", metavar="SOURCE",
        help="folder with questions.jsonl or other tables, a .jsonl, .csv, .tsv or .parquet file, a folder that "
        "datasets saved, or hf:ORGANISATION/NAME[:CONFIG][:SPLIT]",
    )  # fmt: skip
    add_project_options(parser, limit=True)
    parser.add_argument("--source", dest="name", metavar="NAME", help="what to call the source (its file or folder)")
    parser.add_argument(
        "--columns", type=column_pairs, action="extend", metavar="TARGET=COLUMN,...",
        help=f"columns that have unusual names; targets: {', '.join(TARGETS)}",
    )  # fmt: skip
    parser.add_argument(
        "--tolerance", type=fraction, default=TOLERANCE, metavar="X",
        help="relative error allowed for answers that are decimal numbers (%(default)s); whole numbers must be exact",
    )  # fmt: skip
    parser.add_argument(
        "--max-image-mb", type=megabytes, default=MAX_MEGABYTES, metavar="MB",
        help="refuse larger picture files (%(default)g)",
    )  # fmt: skip


def column_pairs(text: str) -> list[tuple[str, str]]:
    """Read "question=query,answer=label"."""
    pairs = [tuple(part.strip() for part in pair.split("=", 1)) for pair in text.split(",")]
    for pair in pairs:
        if len(pair) != 2 or not all(pair) or pair[0] not in TARGETS:
            raise argparse.ArgumentTypeError(f"{text!r} is not TARGET=COLUMN,... with targets of {', '.join(TARGETS)}")
    return [(target, column) for target, column in pairs]


def fraction(text: str) -> float:
    """Read a number from 0 to below 1."""
    value = number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to below 1")
    return value


def megabytes(text: str) -> float:
    """Read a number above 0."""
    value = number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def number(text: str) -> float:
    """Read a number; not-a-number for anything else, which every range refuses."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def run_import(options: argparse.Namespace) -> int:
    """Import what the options name; 1 where no row could be read, 130 where it was stopped."""
    # Pillow warns of large pictures and odd camera data; what cannot be used is refused with its reason.
    warnings.filterwarnings("ignore", module="PIL")
    source = open_source(options.source)
    started = time.perf_counter()
    with open_project(options, create=True) as store, stop_on_signal() as stopped:
        result = import_with_bar(options, store, source, stopped)
        seconds = time.perf_counter() - started
        if not result.read and not result.refused and not result.stopped:
            raise UserError(f"{options.source} holds no rows: write one row per question")
        name = options.name or source.name
        found = {
            "project": str(store.file), "source": name, "questions": result.read, "new": result.added,
            "refused": len(result.refused), "notes": result.notes, "stopped": result.stopped,
            "seconds": round(seconds, 3), "refusals": [dataclasses.asdict(row) for row in result.refused],
        }  # fmt: skip
        print_result(options, found, in_words(result, found))
    if result.stopped:
        return 130
    return 0 if result.read else 1


def import_with_bar(options: argparse.Namespace, store: Store, source: Source, stopped) -> ImportResult:
    """Import a source under a progress bar."""
    totals = [total for total in (source.total, options.limit) if total is not None]
    total = min(totals) if source.total is not None else None
    with progress_bar(total, "questions", quiet=options.json) as bar:
        return import_questions(
            store, source, name=options.name, columns=dict(options.columns or []), tolerance=options.tolerance,
            max_megabytes=options.max_image_mb, limit=options.limit, report=lambda row: bar.update(), stop=stopped,
        )  # fmt: skip


def in_words(result: ImportResult, found: dict) -> str:
    """Say what an import did, with the first rows that were refused."""
    lines = [
        f"{result.read} questions, {result.added} new, {len(result.refused)} refused, in {found['seconds']:.1f} s; "
        f"source {found['source']!r} in {found['project']}"
    ]
    lines += [f"  {count} pictures {note}" for note, count in result.notes.items()]
    lines += [f"  {row.place}: {row.reason}" for row in result.refused[:SHOWN]]
    if len(result.refused) > SHOWN:
        lines.append(f"  and {len(result.refused) - SHOWN} more refused rows; --json lists all")
    if result.stopped:
        lines.append("stopped early; the same command continues")
    return "\n".join(lines)
