"""`insightv sft`: train the reasoning agent or the summary agent on a curated set."""

import argparse
from typing import TYPE_CHECKING

from insightv_core.commands.common import (
    add_command,
    add_project_options,
    command_line,
    open_project,
    positive,
    print_result,
)
from insightv_core.train.settings import SFTSettings

if TYPE_CHECKING:
    from insightv_core.train.run import Trained

ROLES = ("reason", "summary")


def add_sft_command(commands) -> None:
    """Add `insightv sft`."""
    parser = add_command(
        commands, "sft", run_sft,
        "train the reasoning agent or the summary agent; the same command continues, and trains nothing twice",
        "insightv sft reason --model nano-base --epochs 4",
    )  # fmt: skip
    defaults = SFTSettings()
    parser.add_argument("role", choices=ROLES, help="which agent, and which curated set")
    add_project_options(parser)
    parser.add_argument(
        "--model", default="nano-base", help="what to start from: a name, folder or hub id (%(default)s)"
    )
    parser.add_argument("--run", dest="run_id", metavar="RUN", help="run of `insightv curate` (the newest)")
    parser.add_argument("--epochs", type=float, default=defaults.epochs, help="times over the set (%(default)s)")
    parser.add_argument("--learning-rate", type=float, help=f"highest rate ({defaults.learning_rate:g})")
    parser.add_argument("--batch-size", type=positive, default=defaults.batch_size, help="rows a step (%(default)s)")
    parser.add_argument("--gradient-accumulation", type=positive, default=1, help="batches to each step (%(default)s)")
    parser.add_argument("--lora-rank", type=positive, default=defaults.lora_rank, help="of the adapter (%(default)s)")
    parser.add_argument("--full", action="store_true", help="train all weights of the text model, without an adapter")
    parser.add_argument("--seed", type=int, default=0, help="decides the order of the rows (%(default)s)")
    parser.add_argument("--save-steps", type=positive, default=defaults.save_steps, help="between checkpoints")


def read_settings(options: argparse.Namespace) -> SFTSettings:
    """Return the settings that the options stand for."""
    defaults = SFTSettings()
    return SFTSettings(
        learning_rate=options.learning_rate or defaults.learning_rate,
        epochs=options.epochs,
        batch_size=options.batch_size,
        gradient_accumulation=options.gradient_accumulation,
        lora_rank=None if options.full else options.lora_rank,
        save_steps=options.save_steps,
        seed=options.seed,
    )


def run_sft(options: argparse.Namespace) -> int:
    """Train one agent and print where it lies."""
    from insightv_core.train.processes import is_main
    from insightv_core.train.run import train_agent

    with open_project(options) as store:
        trained = train_agent(
            store, options.role, options.model, read_settings(options), curation=options.run_id, command=command_line(),
            quiet=options.json,
        )  # fmt: skip
        if is_main():
            print_result(options, trained.describe(), write_words(trained))
    return 0


def write_words(trained: "Trained") -> str:
    """Return what was trained, now or before, and where it lies."""
    went = f"{trained.rows} rows, {trained.steps} steps, loss {trained.first_loss:.3f} to {trained.last_loss:.3f}"
    made = f"{trained.kind} {trained.model} in {trained.folder}"
    if trained.already:
        return f"already trained: {made} (run {trained.run}, {went})"
    return f"run {trained.run}: {went} in {trained.seconds:.0f} s\n{made}"
