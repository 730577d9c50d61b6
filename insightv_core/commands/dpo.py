"""`insightv dpo`: preference training of the reasoning agent, in whole rounds or on given pairs."""

import argparse

from insightv_core.assess import AssessSettings
from insightv_core.commands.common import (
    add_command,
    add_project_options,
    command_line,
    open_project,
    positive,
    print_result,
)
from insightv_core.commands.generate import read_temperatures
from insightv_core.curate.settings import PAIRS_BY, SCORE, CurateSettings
from insightv_core.errors import UserError
from insightv_core.records import Sampling
from insightv_core.rounds import INITIAL, PREVIOUS, RoundsSettings, run_rounds
from insightv_core.store import Store
from insightv_core.train.settings import DPOSettings

NEWEST = "newest"


def add_dpo_command(commands) -> None:
    """Add `insightv dpo`."""
    parser = add_command(
        commands, "dpo", run_dpo,
        "train the reasoning agent in rounds of DPO: sample its paths, assess, pair, train, evaluate; with --run on "
        "the pairs of one curating run; the same command continues",
        "insightv dpo --rounds 3 --questions 300 --paths 8 --learning-rate 1e-4",
    )  # fmt: skip
    add_project_options(parser)
    parser.add_argument("--model", default="nano-base", help="the model that the adapter belongs to (%(default)s)")
    parser.add_argument(
        "--adapter", metavar="FOLDER|HASH",
        help="policy to start from, such as the last round's (the newest of `insightv sft reason`)",
    )  # fmt: skip
    parser.add_argument(
        "--run", dest="run_id", metavar="RUN", nargs="?", const=NEWEST,
        help="train once, on the pairs of this run of `insightv curate` or of a round only (of the newest run of "
        "`insightv curate` where none is named)",
    )  # fmt: skip
    add_round_options(parser)
    add_training_options(parser)


def add_round_options(parser: argparse.ArgumentParser) -> None:
    """Add what whole rounds take besides training."""
    defaults = RoundsSettings()
    group = parser.add_argument_group("rounds")
    group.add_argument("--rounds", type=positive, help=f"rounds, each from the policy of the last ({defaults.rounds})")
    group.add_argument(
        "--questions", type=positive, default=defaults.questions, metavar="N",
        help="the first N questions of the project are asked in each round (%(default)s)",
    )  # fmt: skip
    group.add_argument("--paths", type=positive, default=defaults.paths, help="paths a question (%(default)s)")
    group.add_argument(
        "--temperature", type=read_temperatures, default=defaults.sampling.temperatures, metavar="T[,T...]",
        help=f"of sampling; several are taken in turn ({defaults.sampling.temperatures[0]})",
    )  # fmt: skip
    group.add_argument(
        "--max-tokens", type=positive, default=defaults.sampling.max_tokens, help="longest chain (%(default)s)"
    )
    judges = group.add_mutually_exclusive_group()
    judges.add_argument("--judge", metavar="MODEL", default=defaults.judge, help="scores the paths (%(default)s)")
    judges.add_argument("--no-judge", action="store_true", help="pair by right and wrong answers alone")
    group.add_argument(
        "--pairs-by", choices=PAIRS_BY, default=defaults.curate.pairs_by,
        help="prefer right answers, then higher scores, or go by the score alone of a judge that is not told the "
        "correct answer, as in RLAIF (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--pairs", type=positive, default=defaults.curate.pairs_per_question, metavar="N",
        help="pairs a question, best against worst first (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--reference", choices=(PREVIOUS, INITIAL), default=PREVIOUS,
        help="what a round is held to: the policy that it starts from, or the first one (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--evaluate", type=int, default=defaults.evaluate, metavar="N",
        help="held-out nano scenes to ask after each round, 0 for none (%(default)s)",
    )  # fmt: skip


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add what a round of training takes."""
    defaults = DPOSettings()
    group = parser.add_argument_group("training")
    group.add_argument(
        "--beta", type=float, default=defaults.beta,
        help="how close to the reference; nano, whose chains are short and sure, wants 1 (%(default)s)",
    )  # fmt: skip
    group.add_argument("--loss-type", default=defaults.loss_type, help="of TRL: sigmoid, ipo, hinge ... (%(default)s)")
    group.add_argument(
        "--gamma", type=float, default=defaults.gamma,
        help="weight of an SFT term on the chosen chains, a mean over their tokens; nano wants 20 (%(default)s)",
    )  # fmt: skip
    group.add_argument("--epochs", type=float, default=defaults.epochs, help="times over the pairs (%(default)s)")
    group.add_argument("--learning-rate", type=float, default=defaults.learning_rate, help="highest (%(default)s)")
    group.add_argument("--batch-size", type=positive, default=defaults.batch_size, help="pairs a batch (%(default)s)")
    group.add_argument(
        "--gradient-accumulation", type=positive, default=defaults.gradient_accumulation,
        help="batches a step (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--gradient-checkpointing", action="store_true", help="less memory for about a third more time"
    )  # fmt: skip
    group.add_argument("--max-length", type=positive, metavar="TOKENS", help="longest pair (the model's context)")
    group.add_argument(
        "--free-reference", action="store_true",
        help="take the reference's log-probabilities from sampling where they are of the same tokens: saves a pass, "
        "but their last digits change with what was sampled beside, so a killed run may end with other ones",
    )  # fmt: skip
    group.add_argument("--save-steps", type=positive, default=defaults.save_steps, help="between checkpoints")
    group.add_argument("--seed", type=int, default=defaults.seed, help="decides every draw and order (%(default)s)")


def read_training(options: argparse.Namespace) -> DPOSettings:
    """Return the settings of training that the options stand for."""
    return DPOSettings(
        beta=options.beta, loss_type=options.loss_type, gamma=options.gamma, epochs=options.epochs,
        learning_rate=options.learning_rate, batch_size=options.batch_size,
        gradient_accumulation=options.gradient_accumulation, gradient_checkpointing=options.gradient_checkpointing,
        max_tokens=options.max_length, free_reference=options.free_reference, save_steps=options.save_steps,
        seed=options.seed,
    )  # fmt: skip


def read_settings(options: argparse.Namespace) -> RoundsSettings:
    """Return the settings of whole rounds that the options stand for."""
    defaults = RoundsSettings()
    blind = options.pairs_by == SCORE
    if blind and options.no_judge:
        raise UserError(f"--pairs-by {SCORE} goes by a judge's scores: leave out --no-judge")
    return RoundsSettings(
        rounds=options.rounds or defaults.rounds, questions=options.questions, paths=options.paths,
        reference=options.reference, judge=None if options.no_judge else options.judge,
        evaluate=max(0, options.evaluate),
        sampling=Sampling(options.temperature, max_tokens=options.max_tokens, seed=options.seed),
        assess=AssessSettings(blind=blind),
        curate=CurateSettings(pairs_per_question=options.pairs, pairs_by=options.pairs_by, seed=options.seed),
        training=read_training(options),
    )  # fmt: skip


def run_dpo(options: argparse.Namespace) -> int:
    """Train, and print what became of margins and accuracy."""
    from insightv_core.train.processes import count_processes

    with open_project(options) as store:
        if options.run_id is not None:
            return train_on_pairs(store, options)
        if count_processes() > 1:
            raise UserError(
                "whole rounds run in one process: give --run to train on the pairs of one curating run with several"
            )
        return train_in_rounds(store, options)


def train_in_rounds(store: Store, options: argparse.Namespace) -> int:
    """Carry out whole rounds, telling of each as it ends."""
    from insightv_core.train.run import find_first_adapter

    def tell(line: str) -> None:
        if not options.json:
            print(line, flush=True)

    adapter = options.adapter or find_first_adapter(store)
    results = run_rounds(
        store, options.model, adapter, read_settings(options), command=command_line(), quiet=options.json, tell=tell
    )
    last = results[-1].trained
    lead = "already trained: " if all(each.trained.already for each in results) else ""
    pairs = ", ".join(f"{each.curating} (round {each.number})" for each in results)
    words = (
        f"{lead}adapter {last.model} in {last.folder}\nhow it does with the summary agent: insightv evaluate --rounds\n"
        f"its pairs: insightv export --set pairs --format trl --out pairs --project {store.file} --run RUN, "
        f"which is {pairs}"
    )
    print_result(options, {"rounds": [each.describe() for each in results], "adapter": last.fingerprint}, words)
    return 0


def train_on_pairs(store: Store, options: argparse.Namespace) -> int:
    """Train once on the pairs of a curating run."""
    from insightv_core.store.training import list_rounds, mean_margin
    from insightv_core.train.processes import is_main
    from insightv_core.train.run import find_first_adapter, train_round

    if (options.rounds or 1) > 1 or options.reference == INITIAL:
        raise UserError("--run trains once on given pairs: leave --rounds and --reference out, or leave --run out")
    settings = read_training(options)
    trained = train_round(
        store, options.model, options.adapter or find_first_adapter(store), settings,
        curation=None if options.run_id == NEWEST else options.run_id, command=command_line(), quiet=options.json,
    )  # fmt: skip
    if not is_main():
        return 0
    (made,) = (each for each in list_rounds(store) if each["run"] == trained.run)
    margin = mean_margin(store, made["policy"], made["reference"], settings.beta)
    shown = "" if margin is None else f", mean reward margin {margin:+.3f}"
    went = (
        f"{trained.rows} pairs, {trained.steps} steps, loss {trained.first_loss:.3f} to {trained.last_loss:.3f}{shown}"
    )
    place = f"adapter {trained.model} in {trained.folder}"
    if trained.already:
        words = f"already trained: {place} (round {made['number']}, run {trained.run}, {went})"
    else:
        words = f"round {made['number']}, run {trained.run}: {went} in {trained.seconds:.0f} s\n{place}"
    print_result(options, trained.describe() | {"round": made["number"], "mean_margin": margin}, words)
    return 0
