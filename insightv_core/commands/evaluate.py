"""`insightv evaluate`: base model, thinking aloud and the two agents on the same held-out questions."""

import argparse
from dataclasses import asdict
from pathlib import Path

from insightv_core import __version__, prompts
from insightv_core.agents import Agent
from insightv_core.benchmarks import BENCHMARKS as PUBLIC
from insightv_core.benchmarks import (
    Loaded,
    describe_benchmark,
    load_benchmark,
    report_scores,
    score_planned,
    write_totals,
)
from insightv_core.commands.common import (
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
from insightv_core.evaluate import Item, held_out_items, report, write_markdown
from insightv_core.evaluate.plan import Planned, carry_out, list_policies, plan_agents, plan_base, plan_pair
from insightv_core.records import Run, identify
from insightv_core.store import Store
from insightv_core.store.evaluations import load_answers

BENCHMARKS = ("reasoning", "perception", *PUBLIC)


def add_evaluate_command(commands) -> None:
    """Add `insightv evaluate`."""
    parser = add_command(
        commands, "evaluate", run_evaluate,
        "answer held-out questions with the base model, aloud and with the two agents; the same command continues",
        "insightv evaluate --model nano-base --n 200",
    )  # fmt: skip
    add_project_options(parser)
    add_model_options(parser, default="nano-base")
    parser.add_argument(
        "--benchmark", choices=BENCHMARKS, default="reasoning", metavar="NAME",
        help=f"families of scenes, reasoning or perception, or a public one: {', '.join(PUBLIC)} (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--data", metavar="FOLDER",
        help="a public benchmark's questions: a folder that datasets saved, a Parquet file or a hub id (its own)",
    )  # fmt: skip
    parser.add_argument("--split", help="split of a public benchmark (the one that is usually reported)")
    parser.add_argument(
        "--n", type=positive, default=200, help="questions, of a public benchmark the first (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="decides the scenes (%(default)s)")
    parser.add_argument("--reason-adapter", metavar="FOLDER", help="of the reasoning agent (the project's newest)")
    parser.add_argument("--summary-adapter", metavar="FOLDER", help="of the summary agent (the project's newest)")
    parser.add_argument("--no-agents", action="store_true", help="the base model alone")
    parser.add_argument("--controls", action="store_true", help="also pictures and chains taken away or exchanged")
    parser.add_argument("--rounds", action="store_true", help="also the reasoning agent before each round of DPO")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table into a file as well")


def run_evaluate(options: argparse.Namespace) -> int:
    """Let every system answer and print the table."""
    public = PUBLIC.get(options.benchmark)
    with open_project(options) as store:
        folders = find_folders(store, options)
        items, loaded = load_items(store, options)
        vlm = load_model(options)
        systems = list_systems(store, vlm, folders, controls=options.controls, rounds=options.rounds)
        described = {"adapters": [fingerprint(folder) for folder in folders], "seed": options.seed, "n": options.n}
        if public:
            systems = [score_planned(each, public) for each in systems]
            described |= {"data": options.data, "split": options.split}
        name = identify("evaluate", vlm.version.fingerprint, prompts.PROMPT_VERSION, options.benchmark, described)
        run = Run(name, "evaluate", vlm.version, prompts.PROMPT_VERSION, described, __version__)
        total = len(items) * len(systems)
        store.start_run(run, total=total, command=command_line())
        with stop_on_signal() as stopped:
            bar = progress_bar(total, "answers", quiet=options.json)
            for planned in systems:
                for count in carry_out(store, run.id, options.benchmark, planned, items):
                    bar.update(count)
                    if stopped():
                        break
                if stopped():
                    break
            bar.close()
        found = {each.name: load_answers(store, run.id, options.benchmark, each.name) for each in systems}
        status = "done" if sum(map(len, found.values())) == total else "stopped"
        store.end_run(run.id, status, done=sum(map(len, found.values())))
        first = next(iter(found.values()))
        reports = [
            (report_scores if public else report)(
                each, system, options.benchmark, against=() if each is first else first
            )
            for system, each in found.items()
        ]
        table = write_markdown(reports)
        more = describe_benchmark(public, loaded, found) if public and loaded else {}
        if more:
            table = f"{table}\n\n{write_totals(more)}"
        if options.markdown:
            options.markdown.write_text(table + "\n")
        print_result(options, {"run": run.id, "systems": [asdict(each) for each in reports]} | more, table)
    return 0 if status == "done" else 130


def load_items(store: Store, options: argparse.Namespace) -> tuple[list[Item], Loaded | None]:
    """Return the questions to ask, and for a public benchmark what was loaded."""
    from insightv_core.nano.world import PERCEPTION, REASONING

    if options.benchmark in PUBLIC:
        images = store.folder / "benchmarks"
        loaded = load_benchmark(options.benchmark, images, options.data, split=options.split, limit=options.n)
        return list(loaded.items), loaded
    if options.data or options.split:
        raise UserError("--data and --split say where a public benchmark lies: name it with --benchmark")
    families = REASONING if options.benchmark == "reasoning" else PERCEPTION
    return held_out_items(options.n, seed=options.seed, families=families), None


def find_folders(store: Store, options: argparse.Namespace) -> list[str]:
    """Return the folders of both agents' adapters, none for the base model alone."""
    if options.no_agents:
        return []
    from insightv_core.train.run import find_adapter

    given = (options.reason_adapter, options.summary_adapter)
    folders = [folder or find_adapter(store, role) for folder, role in zip(given, ("reason", "summary"), strict=True)]
    for folder in folders:
        if not Path(folder).is_dir():
            raise UserError(f"no adapter at {folder}: train one with `insightv sft`, or give --no-agents")
    return folders


def fingerprint(folder: str) -> str:
    """Return the hash of an adapter's content."""
    from insightv_core.vlm.local import hash_files

    return hash_files(Path(folder))


def list_systems(
    store: Store, vlm, folders: list[str], *, controls: bool = False, rounds: bool = False
) -> list[Planned]:
    """Return the systems to run; the first is what others are compared with."""
    systems = plan_base(Agent(vlm), controls=controls)
    if folders:
        reasoning, summary = (Agent(vlm, folder) for folder in folders)
        systems += plan_agents(reasoning, summary, controls=controls)
        policies = list_policies(store, fingerprint(folders[0]))[:-1] if rounds else []
        systems += [plan_pair(name, Agent(vlm, folder), summary) for name, folder in policies]
    return systems
