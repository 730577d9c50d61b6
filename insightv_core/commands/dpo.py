"""`insightv dpo`: one round of preference training of the reasoning agent."""

import argparse

from insightv_core.commands.common import (
    add_command,
    add_project_options,
    command_line,
    open_project,
    positive,
    print_result,
)
from insightv_core.train.settings import DPOSettings


def add_dpo_command(commands) -> None:
    """Add `insightv dpo`."""
    parser = add_command(
        commands, "dpo", run_dpo,
        "train the reasoning agent for one round of DPO on curated pairs; the same command continues",
        "insightv dpo --beta 0.1 --learning-rate 1e-4",
    )  # fmt: skip
    defaults = DPOSettings()
    add_project_options(parser)
    parser.add_argument("--model", default="nano-base", help="the model that the adapter belongs to (%(default)s)")
    parser.add_argument("--adapter", metavar="FOLDER", help="policy to go on from, and reference (the newest agent's)")
    parser.add_argument("--run", dest="run_id", metavar="RUN", help="run of `insightv curate` (the newest)")
    parser.add_argument("--beta", type=float, default=defaults.beta, help="how close to the reference (%(default)s)")
    parser.add_argument("--loss-type", default=defaults.loss_type, help="of TRL: sigmoid, ipo, hinge ... (%(default)s)")
    parser.add_argument("--gamma", type=float, default=defaults.gamma, help="weight of an SFT term (%(default)s)")
    parser.add_argument("--epochs", type=float, default=defaults.epochs, help="times over the pairs (%(default)s)")
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate, help="highest (%(default)s)")
    parser.add_argument("--batch-size", type=positive, default=defaults.batch_size, help="pairs a batch (%(default)s)")
    parser.add_argument(
        "--gradient-accumulation", type=positive, default=defaults.gradient_accumulation,
        help="batches a step (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=defaults.seed, help="decides the order of the pairs (%(default)s)")


def run_dpo(options: argparse.Namespace) -> int:
    """Train one round and print what became of the margins."""
    from insightv_core.store.training import list_rounds, mean_margin
    from insightv_core.train.run import REASONING, find_adapter, train_round

    settings = DPOSettings(
        beta=options.beta, loss_type=options.loss_type, gamma=options.gamma, epochs=options.epochs,
        learning_rate=options.learning_rate, batch_size=options.batch_size,
        gradient_accumulation=options.gradient_accumulation, seed=options.seed,
    )  # fmt: skip
    with open_project(options) as store:
        adapter = options.adapter or find_adapter(store, REASONING)
        trained = train_round(
            store, options.model, adapter, settings, curation=options.run_id, command=command_line(),
            quiet=options.json,
        )  # fmt: skip
        (made,) = (each for each in list_rounds(store) if each["run"] == trained.run)
        margin = mean_margin(store, made["policy"], made["reference"], settings.beta)
        shown = "" if margin is None else f", mean reward margin {margin:+.3f}"
        words = (
            f"round {made['number']}, run {trained.run}: {trained.rows} pairs, {trained.steps} steps, loss "
            f"{trained.first_loss:.3f} to {trained.last_loss:.3f}{shown} in {trained.seconds:.0f} s\n"
            f"adapter {trained.model} in {trained.folder}"
        )
        print_result(options, trained.describe() | {"round": made["number"], "mean_margin": margin}, words)
    return 0
