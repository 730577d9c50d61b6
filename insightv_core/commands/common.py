"""What commands share: their parsers, the options that they have in common, progress bars and stopping."""

import argparse
import contextlib
import json
import os
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from insightv_core.errors import UserError
from insightv_core.generate import CHAIN, PROGRESSIVE
from insightv_core.store import DEFAULT_PROJECT, Store, open_store, project_file
from insightv_core.team import STRONG, Team, find_team, read_base

if TYPE_CHECKING:
    from tqdm import tqdm

    from insightv_core.agents import Agent
    from insightv_core.vlm import VLM


SAVE_EVERY = 0.5  # seconds
SAVE_AT = 500  # paths
Made = TypeVar("Made")


def add_command(commands, name: str, run, text: str, example: str) -> argparse.ArgumentParser:
    """Add a command with its help text and an example of its use."""
    parser = commands.add_parser(
        name, help=text, description=text, epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(run=run)
    return parser


def add_project_options(parser: argparse.ArgumentParser, *, limit: bool = False) -> None:
    """Add --project and --json, and --limit for a command that goes over questions."""
    parser.add_argument(
        "--project", type=Path, metavar="FILE",
        help=f"project file (INSIGHTV_PROJECT where that is set, else {DEFAULT_PROJECT})",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of words")
    if limit:
        parser.add_argument("--limit", type=positive, metavar="N", help="take the first N questions only")


def add_model_options(
    parser: argparse.ArgumentParser, default: str | None = "nano-teacher", unless: str = "%(default)s"
) -> None:
    """Add --model and where and how it runs; `unless` says which model is taken where none is named."""
    parser.add_argument(
        "--model", default=default, metavar="MODEL",
        help=f"nano-teacher, nano-base, a model folder, a hub id, or servers' addresses with commas ({unless})",
    )  # fmt: skip
    parser.add_argument("--device", help="torch device; the first GPU, else the CPU, unless given")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="what the machine is fast at")
    parser.add_argument("--rows", type=positive, help="conversations that decode together (as memory allows)")


def load_model(options: argparse.Namespace) -> "VLM":
    """Load the model that the options of `add_model_options` name."""
    from insightv_core.vlm.loading import load_vlm

    return load_vlm(options.model, device=options.device, dtype=options.dtype, rows=options.rows)


def add_team_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say who plays the two agents."""
    add_model_options(parser, None, "that of the adapters; without any, the project's newest agents, else nano's own")
    parser.add_argument("--adapter", metavar="FOLDER", help="LoRA adapter of the reasoning agent")
    parser.add_argument("--summary-model", metavar="MODEL", help="model of the summary agent (the same)")
    parser.add_argument("--summary-adapter", metavar="FOLDER", help="LoRA adapter of the summary agent")
    parser.add_argument(
        "--project", type=Path, metavar="FILE",
        help=f"whose agents to take (INSIGHTV_PROJECT where that is set, else {DEFAULT_PROJECT} where there is one)",
    )  # fmt: skip
    parser.add_argument(
        "--style", choices=(PROGRESSIVE, CHAIN),
        help="one step a turn, or the whole chain in one reply as trained reasoning agents do (what suits the agent)",
    )  # fmt: skip


def choose_team(options: argparse.Namespace) -> Team:
    """Return the team that options of `add_team_options` name; raise `UserError` for an adapter that is not there."""
    for folder in filter(None, (options.adapter, options.summary_adapter)):
        if not Path(folder).is_dir():
            raise UserError(f"no adapter at {folder}: train one with `insightv sft`, or check the folder")
    if any((options.model, options.adapter, options.summary_model, options.summary_adapter)):
        own = options.model or (read_base(Path(options.adapter)) if options.adapter else STRONG)
        return Team(own, options.adapter, options.summary_model or own, options.summary_adapter, "as named")
    file = project_file(options.project)
    if options.project is None and not file.exists():
        return find_team(None)
    with open_store(file) as store:
        return find_team(store)


def load_team(options: argparse.Namespace, team: Team) -> "tuple[Agent, Agent]":
    """Load both agents of a team where and how the options say."""
    from insightv_core.vlm.loading import load_vlm

    return team.load(lambda name: load_vlm(name, device=options.device, dtype=options.dtype, rows=options.rows))


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def open_project(options: argparse.Namespace, *, create: bool = False) -> Store:
    """Open the project file that the options name."""
    return open_store(options.project, create=create)


def command_line() -> str:
    """Return the command as it was typed, ready to be copied."""
    return shlex.join(["insightv", *sys.argv[1:]])


def progress_bar(total: int | None, unit: str, done: int = 0, *, quiet: bool = False) -> "tqdm":
    """Return a progress bar with rate and remaining time; silent where nobody watches or JSON is wanted."""
    from tqdm import tqdm

    quiet = quiet and not os.environ.get("INSIGHTV_PROGRESS")
    return tqdm(total=total, initial=done, unit=f" {unit}", disable=quiet, file=sys.stderr, smoothing=0.1)


def print_result(options: argparse.Namespace, result: dict, words: str) -> None:
    """Print the result as one JSON object where that is asked for, else in words."""
    print(json.dumps(result, ensure_ascii=False) if options.json else words)


@contextlib.contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether Ctrl-C or SIGTERM asked to stop; a second Ctrl-C stops at once."""
    stopped = False

    def ask_to_stop(number, frame) -> None:
        nonlocal stopped
        if stopped:
            raise KeyboardInterrupt
        stopped = True
        print("stopping after what is under way; the same command continues", file=sys.stderr)

    before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Saver(Generic[Made]):
    """Saves what a run makes in batches: at most half a second of work is lost when the process is killed.

    `keep` saves a batch. `count` tells what one thing made counts as, its "paths" among that; `counts` adds it up.
    `done` is how many paths of the run are saved.
    """

    def __init__(
        self, store: Store, run: str, done: int, keep: Callable[[list[Made]], object],
        count: Callable[[Made], Mapping[str, int]],
    ):  # fmt: skip
        self.store, self.run, self.done, self.keep, self.count = store, run, done, keep, count
        self.counts: Counter[str] = Counter()
        self.waiting: list[Made] = []
        self.begun = done
        self.saved_at = time.monotonic()

    def __enter__(self) -> "Saver[Made]":
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.save()
        if error is not None:
            self.store.end_run(self.run, "failed", done=self.done, message=str(error) or kind.__name__)

    def add(self, made: Made) -> None:
        """Take what was made, and save what waits when it is time."""
        self.waiting.append(made)
        self.counts.update(self.count(made))
        unsaved = self.begun + self.counts["paths"] - self.done
        if unsaved >= SAVE_AT or time.monotonic() - self.saved_at > SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Save what waits."""
        self.keep(self.waiting)
        self.waiting = []
        self.done = self.begun + self.counts["paths"]
        self.store.note_progress(self.run, self.done)
        self.saved_at = time.monotonic()
