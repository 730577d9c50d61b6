"""`insightv show`: one path of a project, readably."""

import argparse
import math
import textwrap
from dataclasses import asdict

from insightv_core.commands.common import add_command, add_project_options, open_project, print_result
from insightv_core.records import Path, Question, StepRecord
from insightv_core.store import Store

WIDTH = 100


def add_show_command(commands) -> None:
    """Add `insightv show`."""
    parser = add_command(
        commands, "show", run_show, "print a path: its question, its steps and how it ended", "insightv show 4f2a91c0"
    )
    parser.add_argument("path", help="id of the path, or how it begins")
    parser.add_argument("--raw", action="store_true", help="print the model's replies byte for byte as well")
    add_project_options(parser)


def run_show(options: argparse.Namespace) -> int:
    """Print one path."""
    with open_project(options) as store:
        path = store.path(options.path)
        question = store.question(path.question)
        result = {"question": asdict(question), "path": asdict(path), "run": asdict(store.run(path.run))}
        print_result(options, result, write_path(path, question, store, raw=options.raw))
    return 0


def write_path(path: Path, question: Question, store: Store, *, raw: bool = False) -> str:
    """Return a path as text for a terminal."""
    run = store.run(path.run)
    sampling = run.settings["sampling"]
    temperatures = sampling["temperatures"]
    lines = [
        f"{question.text}",
        f"truth {question.answer} · {question.family or question.source} · picture {store.image_file(question.image)}",
        f"path {path.id} · sample {path.sample} · {run.model.name if run.model else 'no model'}, "
        f"T {temperatures[path.sample % len(temperatures)]:g}, seed {sampling['seed']} · {path.tokens} tokens",
        "",
    ]
    number = 0
    for turn in path.turns:
        number += turn.accepted
        lines += write_turn(turn, number, raw)
    lines.append(f"answer {path.answer}" if path.answer is not None else f"failed: {path.failure}")
    if raw and path.final_raw:
        lines.append(textwrap.indent(path.final_raw, "     | "))
    return "\n".join(lines)


def write_turn(turn: StepRecord, number: int, raw: bool) -> list[str]:
    """Return one turn as lines: title, confidence and reasoning, or the raw reply where no step could be read."""
    if turn.step is None:
        return ["  ?  unreadable reply", textwrap.indent(turn.raw, "     | ")]
    sure = f"{math.exp(turn.logprob / turn.tokens):.2f}" if turn.logprob is not None and turn.tokens else ""
    lines = [f"{number:>3}  {turn.step.summary:<{WIDTH - 12}} {sure:>5}".rstrip()]
    lines += textwrap.wrap(turn.step.content, WIDTH - 5, initial_indent=" " * 5, subsequent_indent=" " * 5)
    if raw:
        lines.append(textwrap.indent(turn.raw, "     | "))
    return lines
