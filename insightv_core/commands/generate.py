"""`insightv generate`: many reasoning paths for each question of a project."""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass

from insightv_core.commands.common import (
    Saver,
    add_command,
    add_model_options,
    add_project_options,
    command_line,
    load_model,
    open_project,
    positive,
    print_result,
    progress_bar,
    stop_on_signal,
)
from insightv_core.errors import UserError
from insightv_core.generate import (
    ALWAYS,
    CHAIN,
    NEVER,
    PROGRESSIVE,
    RETRY,
    GenerateSettings,
    generate,
    name_run,
)
from insightv_core.records import COMPLETE, Path, Question, Run, Sampling
from insightv_core.store import Store
from insightv_core.vlm import VLM


def add_generate_command(commands) -> None:
    """Add `insightv generate`."""
    parser = add_command(
        commands, "generate", run_generate,
        "sample reasoning paths for every question, step by step; the same command continues where it stopped",
        "insightv generate --paths 8 --temperature 0.9",
    )  # fmt: skip
    add_project_options(parser, limit=True)
    add_model_options(parser)
    parser.add_argument("--paths", type=positive, default=8, help="paths for each question (%(default)s)")
    parser.add_argument(
        "--temperature", type=read_temperatures, default=(0.9,), metavar="T[,T...]",
        help="sampling temperature; several are taken in turn by a question's paths (0.9)",
    )  # fmt: skip
    parser.add_argument("--top-p", type=float, default=0.95, help="share of the likeliest tokens (%(default)s)")
    parser.add_argument("--top-k", type=int, default=0, help="number of the likeliest tokens, 0 for all (%(default)s)")
    parser.add_argument("--repetition-penalty", type=float, default=1.0, help="above 1: say less twice (%(default)s)")
    parser.add_argument("--max-tokens", type=positive, default=1024, help="longest reply (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="decides every draw (%(default)s)")
    parser.add_argument("--max-steps", type=positive, default=16, help="steps after which a path fails (%(default)s)")
    parser.add_argument("--tries", type=positive, default=3, help="tries for an unreadable reply (%(default)s)")
    parser.add_argument(
        "--style", choices=(PROGRESSIVE, CHAIN),
        help=f"one step a turn, or the whole chain in one reply as a trained reasoning agent does ({PROGRESSIVE}; "
        f"{CHAIN} with --adapter)",
    )  # fmt: skip
    parser.add_argument(
        "--adapter", metavar="FOLDER|HASH", help="LoRA adapter of the model that writes, such as a reasoning agent's"
    )
    parser.add_argument(
        "--constrain", choices=(ALWAYS, RETRY, NEVER), default=RETRY,
        help="when to hold replies to the JSON form by a grammar (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--source", help="only questions of this source")


def read_temperatures(text: str) -> tuple[float, ...]:
    """Read temperatures separated by commas."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, or several separated by commas") from error
    if not all(0 <= each <= 5 for each in found):
        raise argparse.ArgumentTypeError(f"{text!r}: temperatures lie between 0 and 5")
    return found


def read_settings(options: argparse.Namespace) -> GenerateSettings:
    """Return the settings that the options stand for."""
    if not 0 < options.top_p <= 1:
        raise UserError(f"--top-p is {options.top_p}: give a share above 0 and at most 1")
    sampling = Sampling(
        options.temperature, options.top_p, options.top_k, options.repetition_penalty, options.max_tokens, options.seed
    )
    style = options.style or (CHAIN if options.adapter else PROGRESSIVE)
    return GenerateSettings(sampling, style, options.max_steps, options.tries, options.constrain)


def run_generate(options: argparse.Namespace) -> int:
    """Generate the paths that are still missing and print what came of them."""
    settings = read_settings(options)
    with open_project(options) as store:
        if not store.question_count(options.source):
            raise UserError(f"no questions in {store.file}: add some with `insightv import data/demo`")
        vlm = load_model(options)
        writer, adapter = vlm.version, None
        if options.adapter:
            from insightv_core.train.adapters import open_adapter, register

            on_server = options.model.startswith(("http://", "https://"))
            found = open_adapter(store, options.adapter, None if on_server else vlm.version)
            register(store, found, vlm.version)
            writer, adapter = found.version, str(found.folder)
        wanted = Wanted(name_run(writer, settings), settings, options.paths, options.limit, options.source, adapter)
        started = time.perf_counter()
        saver = generate_missing(store, vlm, wanted, quiet=options.json)
        result = describe(store, wanted.run.id, saver, vlm.usage(), time.perf_counter() - started)
        print_result(options, result, write_words(result, store))
        return 130 if saver.done < wanted.count(store) else 0


@dataclass(frozen=True)
class Wanted:
    """What a run is to make: `paths` for each of the first `limit` questions of a source, with an adapter or without.

    The run's model is whoever writes: the adapter where there is one.
    """

    run: Run
    settings: GenerateSettings
    paths: int
    limit: int | None = None
    source: str | None = None
    adapter: str | None = None

    def count(self, store: Store) -> int:
        """Return the number of paths there should be in the end."""
        return min(store.question_count(self.source), self.limit or 1 << 60) * self.paths


def generate_missing(store: Store, vlm: VLM, wanted: Wanted, *, quiet: bool) -> "Saver[Path]":
    """Generate the paths that are still missing, until they are there or a signal asks to stop."""
    run, total = wanted.run, wanted.count(store)
    made = store.samples_of(run.id)
    store.start_run(run, total=total, command=command_line())
    already = sum(sum(sample < wanted.paths for sample in samples) for samples in made.values())
    questions = list_missing(store, made, wanted)
    saver = Saver(
        store, run.id, already, store.add_paths, lambda path: {"paths": 1, "complete": path.status == COMPLETE}
    )
    with stop_on_signal() as stopped, saver:
        bar = progress_bar(total, "paths", already, quiet=quiet)
        paths = generate(
            questions, vlm, run, wanted.settings, image_file=store.image_file, adapter=wanted.adapter, stop=stopped
        )
        for path in paths:
            saver.add(path)
            bar.update()
        bar.close()
    store.end_run(run.id, "stopped" if saver.done < total else "done", done=saver.done)
    return saver


def list_missing(store: Store, made: dict[str, set[int]], wanted: Wanted) -> Iterator[tuple[Question, list[int]]]:
    """Yield each question with the sample numbers that are still missing."""
    for question in store.questions(limit=wanted.limit, source=wanted.source):
        done = made.get(question.id, set())
        missing = [sample for sample in range(wanted.paths) if sample not in done]
        if missing:
            yield question, missing


def describe(store: Store, run: str, saver: Saver, usage, seconds: float) -> dict:
    """Return what came of a run, as plain values."""
    return {
        "run": run,
        "paths": saver.done,
        "new_paths": saver.counts["paths"],
        "new_complete": saver.counts["complete"],
        "new_failed": saver.counts["paths"] - saver.counts["complete"],
        "seconds": round(seconds, 2),
        "paths_per_second": round(saver.counts["paths"] / seconds, 2),
        "tokens": usage.decoded_tokens,
        "prompt_tokens": usage.prefill_tokens,
        "images_encoded": usage.images,
        "first_path": store.first_path(run),
    }


def write_words(result: dict, store: Store) -> str:
    """Return the result in words."""
    if not result["new_paths"]:
        return f"run {result['run']}: all {result['paths']} paths are there already"
    lines = [
        f"run {result['run']}: {result['new_paths']} new paths in {result['seconds']:.0f} s "
        f"({result['paths_per_second']:.1f} paths/s), {result['new_complete']} complete, {result['new_failed']} failed",
        f"{result['paths']} paths of this run in {store.file}",
        f"look at one: insightv show {result['first_path'][:8]} --project {store.file}",
    ]
    return "\n".join(lines)
