"""`insightv evaluate`: base model, thinking aloud and the two agents on the same held-out questions."""

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from insightv_core import __version__, prompts
from insightv_core.agents import Agent, SolveSettings
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
from insightv_core.evaluate import (
    AS_IT_IS,
    BLANK,
    SHUFFLED,
    Item,
    System,
    chain_alone,
    direct,
    held_out_items,
    report,
    thinking,
    two_agents,
    with_pictures,
    write_markdown,
)
from insightv_core.generate import CHAIN, GenerateSettings
from insightv_core.records import Answered, Run, Sampling, identify
from insightv_core.store import Store
from insightv_core.store.evaluations import add_answers, load_answers

TOGETHER = 64  # items between two saves
BENCHMARKS = ("reasoning", "perception")
CONTROLS = {BLANK: "blank picture", SHUFFLED: "picture of another question"}


def add_evaluate_command(commands) -> None:
    """Add `insightv evaluate`."""
    parser = add_command(
        commands, "evaluate", run_evaluate,
        "answer held-out questions with the base model, aloud and with the two agents; the same command continues",
        "insightv evaluate --model nano-base --n 200",
    )  # fmt: skip
    add_project_options(parser)
    add_model_options(parser, default="nano-base")
    parser.add_argument("--benchmark", choices=BENCHMARKS, default="reasoning", help="families of scenes (%(default)s)")
    parser.add_argument("--n", type=positive, default=200, help="questions (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="decides the scenes (%(default)s)")
    parser.add_argument("--reason-adapter", metavar="FOLDER", help="of the reasoning agent (the project's newest)")
    parser.add_argument("--summary-adapter", metavar="FOLDER", help="of the summary agent (the project's newest)")
    parser.add_argument("--no-agents", action="store_true", help="the base model alone")
    parser.add_argument("--controls", action="store_true", help="also blank pictures and those of other questions")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table into a file as well")


def run_evaluate(options: argparse.Namespace) -> int:
    """Let every system answer and print the table."""
    from insightv_core.nano.world import PERCEPTION, REASONING

    families = REASONING if options.benchmark == "reasoning" else PERCEPTION
    with open_project(options) as store:
        folders = find_folders(store, options)
        vlm = load_model(options)
        systems = list_systems(vlm, folders, controls=options.controls)
        described = {"adapters": [fingerprint(folder) for folder in folders], "seed": options.seed, "n": options.n}
        name = identify("evaluate", vlm.version.fingerprint, prompts.PROMPT_VERSION, options.benchmark, described)
        run = Run(name, "evaluate", vlm.version, prompts.PROMPT_VERSION, described, __version__)
        items = held_out_items(options.n, seed=options.seed, families=families)
        total = len(items) * len(systems)
        store.start_run(run, total=total, command=command_line())
        with stop_on_signal() as stopped:
            bar = progress_bar(total, "answers", quiet=options.json)
            for system, (pictures, answer) in systems.items():
                shown = with_pictures(items, pictures)
                for count in answer_missing(store, run.id, options.benchmark, system, shown, answer):
                    bar.update(count)
                    if stopped():
                        break
            bar.close()
        found = {system: load_answers(store, run.id, options.benchmark, system) for system in systems}
        status = "done" if sum(map(len, found.values())) == total else "stopped"
        store.end_run(run.id, status, done=sum(map(len, found.values())))
        first = next(iter(found.values()))
        reports = [
            report(each, system, options.benchmark, against=() if each is first else first)
            for system, each in found.items()
        ]
        table = write_markdown(reports)
        if options.markdown:
            options.markdown.write_text(table + "\n")
        print_result(options, {"run": run.id, "systems": [asdict(each) for each in reports]}, table)
    return 0 if status == "done" else 130


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


def list_systems(vlm, folders: list[str], *, controls: bool) -> dict[str, tuple[str, System]]:
    """Return for each system what pictures it is shown, and how it answers; the first is what others compare with."""
    base = Agent(vlm)
    systems = {"base, direct": (AS_IT_IS, direct(base)), "base, thinking aloud": (AS_IT_IS, thinking(base))}
    if folders:
        reasoning, summary = (Agent(vlm, folder) for folder in folders)
        settings = SolveSettings(GenerateSettings(Sampling((0.0,)), style=CHAIN))
        systems |= {
            "summary agent, no chain": (AS_IT_IS, direct(summary)),
            "reasoning agent alone": (AS_IT_IS, chain_alone(reasoning, settings)),
            "two agents": (AS_IT_IS, two_agents(reasoning, summary, settings)),
        }
    last = list(systems)[-1]
    if controls:
        systems |= {f"{last}, {words}": (control, systems[last][1]) for control, words in CONTROLS.items()}
    return systems


def answer_missing(
    store: Store, run: str, benchmark: str, system: str, items: list[Item], answer: System
) -> Iterator[int]:
    """Answer what is not answered yet, some items at a time; yield how many were done or there already."""
    done = {each.item for each in load_answers(store, run, benchmark, system)}
    if done:
        yield len(done)
    left = [item for item in items if item.question.id not in done]
    for start in range(0, len(left), TOGETHER):
        answered: list[Answered] = list(answer(left[start : start + TOGETHER]))
        add_answers(store, run, benchmark, system, answered)
        yield len(answered)
