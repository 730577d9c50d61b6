"""`insightv spread` and `insightv merge`: generate on many machines, and bring the paths back."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from insightv_core import prompts
from insightv_core.commands.common import (
    add_command,
    add_project_options,
    command_line,
    open_project,
    positive,
    print_result,
)
from insightv_core.errors import UserError
from insightv_core.records import identify
from insightv_core.scale.merge import Merged, merge_shards
from insightv_core.scale.shards import Shard, split_questions
from insightv_core.store import Store

EXECUTORS = ("local", "slurm", "ray")
SUBMITS = "slurm"  # the only one that returns before its tasks end
MISSING = "`insightv spread` needs datatrove: pip install datatrove==0.10.1, or pip install -e '.[cluster]'"


def add_spread_command(commands) -> None:
    """Add `insightv spread`."""
    parser = add_command(
        commands, "spread", run_spread,
        "run `insightv generate` in many tasks, here or on a Slurm or Ray cluster, each on its own part of the "
        "questions; the same command continues",
        "insightv spread --tasks 8 --workers 2 generate --paths 8\n"
        "  insightv spread --tasks 64 --executor slurm --with partition=gpu --with time=04:00:00 \\\n"
        "      --with gpus_per_task=1 generate --model Qwen/Qwen2.5-VL-7B-Instruct --paths 8\n"
        "  insightv merge data/insightv-shards\n\n"
        "Each task has a project file of its own, a shard, on a disk that all machines share; datatrove starts the\n"
        "tasks and keeps logs. Merge when they are done. What goes to Slurm was tried with stand-ins of its programs\n"
        "only; on Ray it was run once, on one machine, and gave the paths of an ordinary run.",
    )  # fmt: skip
    add_project_options(parser, limit=True)
    parser.add_argument("--tasks", type=positive, required=True, metavar="N", help="tasks, and shards")
    parser.add_argument("--workers", type=positive, metavar="N", help="tasks at once (1 here, all on a cluster)")
    parser.add_argument("--executor", choices=EXECUTORS, default=EXECUTORS[0], help="where tasks run (%(default)s)")
    parser.add_argument(
        "--with", dest="more", type=key_value, action="append", default=[], metavar="KEY=VALUE",
        help="any keyword of datatrove's executor, such as time, partition or gpus_per_task; may be repeated",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder of the shards (beside the project)")
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="generate ...", help="`generate` with its own options"
    )


def add_merge_command(commands) -> None:
    """Add `insightv merge`."""
    parser = add_command(
        commands, "merge", run_merge,
        "bring the paths that `insightv generate` made in shards, or in copies of a project, into the project; "
        "merging again adds nothing",
        "insightv merge data/insightv-shards --project data/insightv.db",
    )  # fmt: skip
    add_project_options(parser)
    parser.add_argument(
        "shards", nargs="+", type=Path, metavar="SHARD", help="project files, or folders that hold them"
    )


def key_value(text: str) -> tuple[str, object]:
    """Read "time=04:00:00" or "gpus_per_task=1": the value as JSON where it is that, else as text."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def run_spread(options: argparse.Namespace) -> int:
    """Split the questions, start the tasks, and say how many are done."""
    try:
        from insightv_core.scale.tasks import check_keywords, run_tasks
    except ImportError as error:
        raise UserError(MISSING) from error
    with open_project(options) as store:
        more = dict(options.more)
        check_keywords(options.executor, more)
        arguments, writer, source = read_command(store, options.command)
        if not store.question_count(source):
            raise UserError(f"no questions in {store.file}: add some with `insightv import data/demo`")
        folder = (options.out or store.folder / f"{store.file.stem}-shards").resolve()
        shards = split_questions(store, folder, options.tasks, limit=options.limit, source=source)
        logs = folder / "logs" / name_work(writer, arguments, shards)
        done = run_tasks(shards, arguments, logs, executor=options.executor, workers=options.workers, more=more)
        result = {
            "tasks": len(shards), "done": done, "questions": sum(shard.questions for shard in shards),
            "folder": str(folder), "logs": str(logs), "shards": [str(shard.file) for shard in shards],
        }  # fmt: skip
        print_result(options, result, write_words(result, store, options.executor))
    return 0 if done == len(shards) or options.executor == SUBMITS else 1


def read_command(store: Store, command: Sequence[str]) -> tuple[list[str], str, str | None]:
    """Return the options of `generate` as every task is to have them, the fingerprint of whoever writes, the source.

    Raises `UserError` where they cannot be used, before a task is started.
    """
    from insightv_core.cli import build_parser
    from insightv_core.commands.generate import read_settings
    from insightv_core.train.adapters import open_adapter, read_version

    if not command or command[0] != "generate":
        raise UserError("end the command with `generate` and its options, such as `generate --paths 8`")
    parsed = build_parser().parse_args(command)
    given = [name for name in ("project", "limit", "json") if getattr(parsed, name)]
    if given:
        raise UserError(f"--{given[0]} is for all tasks: give it before the word generate")
    read_settings(parsed)
    base, options = read_version(parsed.model), list(command[1:])
    if not parsed.adapter:
        return options, base.fingerprint, parsed.source
    # A shard does not know the adapters of the project: their folder is what every task finds.
    adapter = open_adapter(store, parsed.adapter, None if "://" in parsed.model else base)
    return [*options, "--adapter", str(adapter.folder.resolve())], adapter.version.fingerprint, parsed.source


def name_work(writer: str, options: Sequence[str], shards: Sequence[Shard]) -> str:
    """Return a name that changes with all that can make a completed task incomplete again."""
    parts = [(shard.file.name, shard.questions) for shard in shards]
    return identify("spread", writer, prompts.PROMPT_VERSION, list(options), parts)[:8]


def write_words(result: dict, store: Store, executor: str) -> str:
    """Return how the tasks stand, in words."""
    state = f"{result['done']} of {result['tasks']} tasks done"
    if result["done"] < result["tasks"]:
        state += ", Slurm has the others" if executor == SUBMITS else "; the same command goes on with the others"
    return (
        f"{state}; {result['questions']} questions in the shards of {result['folder']}, logs in {result['logs']}\n"
        f"bring their paths back: insightv merge {result['folder']} --project {store.file}"
    )


def run_merge(options: argparse.Namespace) -> int:
    """Merge shards and print what was new."""
    with open_project(options) as store:
        merged = merge_shards(store, list_files(options.shards), command=command_line())
        result = {"project": str(store.file), "runs": [asdict(each) for each in merged]}
        words = "\n".join(map(describe, merged)) or "no paths in the shards yet"
        print_result(options, result, words)
    return 0


def list_files(places: Sequence[Path]) -> list[Path]:
    """Return the project files that are named, or lie in the folders that are."""
    files = []
    for place in places:
        found = sorted(place.glob("*.db")) if place.is_dir() else [place]
        if not found:
            raise UserError(f"no project files in {place}: name the shards that `insightv spread` made")
        files += found
    return list(dict.fromkeys(files))


def describe(merged: Merged) -> str:
    """Return what became of a run, in words."""
    missing = merged.wanted - merged.paths
    rest = f"; {missing} are still missing: let the shards go on, then merge again" if missing > 0 else ""
    return (
        f"run {merged.run}: {merged.new_paths} new paths from {merged.shards} shards, "
        f"{merged.paths} of {merged.wanted} here{rest}"
    )
