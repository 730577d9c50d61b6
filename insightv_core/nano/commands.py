"""`insightv nano ...`: show the world, measure the models, draw the demo questions, train the models."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from insightv_core.commands.common import add_command
from insightv_core.nano.demo import DEMO_COUNT, DEMO_FOLDER, DEMO_SEED

if TYPE_CHECKING:
    from tqdm import tqdm


def add_nano_commands(commands) -> None:
    """Add `nano` and its subcommands."""
    nano = commands.add_parser("nano", help="the embedded world and model")
    actions = nano.add_subparsers(title="actions", required=True, metavar="ACTION")
    add_show(actions)
    add_measure(actions)
    add_demo(actions)
    add_pretrain(actions)
    add_curve(actions)


# -- show ----------------------------------------------------------------------------------------------------------


def add_show(actions) -> None:
    parser = add_command(
        actions, "show", run_show, "draw an example: picture, question, reference chains and the exact verifier's word",
        "insightv nano show --seed 7 --family bar_total",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=7, help="which example (%(default)s)")
    parser.add_argument("--family", help="question family; any unless given")
    parser.add_argument("--level", type=int, help="difficulty from 1 to 3; any unless given")
    parser.add_argument("--split", default="train", help="train, demo or evaluation (%(default)s)")
    parser.add_argument("--chains", type=int, default=3, help="number of reference chains (%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("nano_scene.png"), help="where to write the picture (%(default)s)"
    )
    parser.add_argument("--flawed", action="store_true", help="also show a chain with a slip, as the verifier sees it")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")


def run_show(options: argparse.Namespace) -> int:
    """Print one example and write its picture."""
    from random import Random

    from insightv_core.nano.render import render
    from insightv_core.nano.training.corpus import write_flawed_path
    from insightv_core.nano.world import describe_example, make_example, reference_chains

    example = make_example(options.seed, split=options.split, family=options.family, level=options.level)
    chains = reference_chains(example, options.chains)
    titles = [f"reference chain {number}" for number in range(1, len(chains) + 1)]
    if options.flawed:
        chains = (*chains, write_flawed_path(example, Random(options.seed))[0])
        titles.append("a chain with a slip")
    picture = render(example.scene, example.style)
    save_picture(picture, options.out)
    if options.json:
        checked = [
            {"title": title, "steps": check_chain(example, chain)} for title, chain in zip(titles, chains, strict=True)
        ]
        print(json.dumps(describe_example(example) | {"image": str(options.out), "chains": checked}))
        return 0
    print(f"{example.family}, level {example.level}, {example.split} seed {example.seed}; picture in {options.out}")
    print(f"\n{example.question}\nanswer: {example.answer} ({example.answer_type})")
    for title, chain in zip(titles, chains, strict=True):
        print(f"\n{title}")
        print_chain(check_chain(example, chain))
    return 0


def save_picture(picture, path: Path) -> None:
    """Write a picture; UserError where the path cannot be written or has no picture's ending."""
    from insightv_core.errors import UserError

    try:
        picture.save(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot write the picture to {path} ({error}); give --out a .png file in an existing folder"
        ) from error


def check_chain(example, chain) -> list[dict]:
    """Return each step of a chain with its verdict and claims."""
    from insightv_core.nano.verify import find_claims, verify_step

    truth = {"answer": example.answer, "statements": example.options}
    return [
        asdict(step)
        | {"verdict": verify_step(step, example.scene, **truth)}
        | {"claims": [asdict(claim) for claim in find_claims(step.content, example.scene, **truth)]}
        for step in chain
    ]


MARKS = {"true": "✓", "false": "✕", "unknown": "–"}


def print_chain(steps: list[dict]) -> None:
    """Print the steps of a chain, each claim with the verifier's word."""
    for number, step in enumerate(steps, 1):
        print(f"  {number}. {step['summary']}: {step['content']}")
        for claim in step["claims"]:
            print(
                f"       {MARKS[claim['verdict']]} {claim['text']}"
                + f"  ({claim['reason']})" * (claim["verdict"] != "true")
            )


# -- measure -------------------------------------------------------------------------------------------------------


def add_measure(actions) -> None:
    parser = add_command(
        actions, "measure", run_measure, "measure nano-base and nano-teacher on fresh scenes with held-out phrasings",
        "insightv nano measure --seed 1 --n 2000",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, help="seed of the scenes and of the samples (%(default)s)")
    parser.add_argument("--n", type=int, default=2000, help="number of questions (%(default)s)")
    parser.add_argument("--base", default="nano-base", help="name or folder of the base (%(default)s)")
    parser.add_argument("--teacher", default="nano-teacher", help="name or folder of the teacher (%(default)s)")
    parser.add_argument("--device", help="torch device; the first GPU, else the CPU, unless given")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def run_measure(options: argparse.Namespace) -> int:
    """Print the figures of both models beside their targets."""
    from insightv_core.errors import UserError
    from insightv_core.nano.measure import measure

    if options.n < 100:
        raise UserError(f"--n is {options.n}; give at least 100, so that each family has a few questions")
    with ProgressLine() as progress:
        figures = measure(
            seed=options.seed, n=options.n, base=options.base, teacher=options.teacher, device=options.device,
            progress=progress,
        )  # fmt: skip
    print(json.dumps(figures) if options.json else format_figures(figures))
    return 0


class ProgressLine:
    """A progress bar for each stage in turn, with rate and remaining time, on standard error."""

    def __enter__(self) -> "ProgressLine":
        self.stage: str | None = None
        self.bar: tqdm | None = None
        return self

    def __call__(self, stage: str, done: int, total: int) -> None:
        from tqdm import tqdm

        bar = self.bar
        if bar is None or stage != self.stage:
            self.__exit__()
            bar = tqdm(total=total, desc=stage, file=sys.stderr, unit="question")
            self.stage, self.bar = stage, bar
        bar.update(done - bar.n)

    def __exit__(self, *_) -> None:
        if self.bar is not None:
            self.bar.close()


def format_figures(figures: dict) -> str:
    """Lay the figures out as two tables: against their targets, and by family."""
    from insightv_core.nano.measure import TARGETS

    counts = figures["counts"]
    lines = [f"{'figure':<20}{'value':>8}{'target':>16}{'n':>7}"]
    for name, (low, high) in TARGETS.items():
        value = figures[name]
        shown = "-" if value is None else f"{value:.3f}"
        met = "" if value is not None and low <= value <= high else "  missed"
        lines.append(f"{name:<20}{shown:>8}{f'{low:g} to {high:g}':>16}{counts.get(name, ''):>7}{met}")
    for name in (
        "teacher_steps",
        "teacher_sound",
        "judge_auc_sound",
        "judge_step_accuracy",
        "judge_step_recall",
        "judge_first_try",
        "judge_unscored",
        "import_seconds",
    ):
        value = figures[name]
        lines.append(f"{name:<20}{'-' if value is None else f'{value:.3f}':>8}{'':>16}{counts.get(name, ''):>7}")
    lines.append(f"\n{'family':<26}{'n':>5}{'base direct':>13}{'teacher chain':>15}")
    for family, row in figures["families"].items():
        chain = f"{row['teacher_chain']:.2f}" if "teacher_chain" in row else ""
        lines.append(f"{family:<26}{row['n']:>5}{row['base_direct']:>13.2f}{chain:>15}")
    return "\n".join(lines)


# -- demo ----------------------------------------------------------------------------------------------------------


def add_demo(actions) -> None:
    parser = add_command(
        actions, "demo", run_demo, "draw the demo questions and their pictures again",
        "insightv nano demo --out data/demo",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=DEMO_FOLDER, help="folder to write (%(default)s)")
    parser.add_argument("--n", type=int, default=DEMO_COUNT, help="number of questions (%(default)s)")
    parser.add_argument("--seed", type=int, default=DEMO_SEED, help="seed of the questions (%(default)s)")


def run_demo(options: argparse.Namespace) -> int:
    """Write the demo folder."""
    from insightv_core.nano.demo import write_demo

    count, size = write_demo(options.out, options.n, options.seed)
    print(f"{count} questions with pictures in {options.out}, {size / 1e6:.1f} MB")
    return 0


# -- pretrain ------------------------------------------------------------------------------------------------------


def add_pretrain(actions) -> None:
    from insightv_core.nano.training.settings import add_arguments

    parser = add_command(
        actions, "pretrain", run_pretrain, "train the tower, nano-base or nano-teacher; the same command continues",
        "insightv nano pretrain --model base --out runs/nano-base",
    )  # fmt: skip
    add_arguments(parser)


def run_pretrain(options: argparse.Namespace) -> int:
    """Train a model, then say where it is."""
    from insightv_core.nano.training.pretrain import pretrain
    from insightv_core.nano.training.settings import settings_from

    result = pretrain(settings_from(options))
    if result.model_folder is None:
        print(f"stopped after step {result.step} of {options.steps}; the same command continues")
        return 130
    print(f"trained {result.step} steps; model in {result.model_folder}")
    return 0


# -- curve ---------------------------------------------------------------------------------------------------------


def add_curve(actions) -> None:
    parser = add_command(
        actions, "curve", run_curve, "draw the losses of a training run as a page", "insightv nano curve runs/nano-base"
    )
    parser.add_argument("folder", type=Path, help="folder of the run, which holds log.jsonl")


def run_curve(options: argparse.Namespace) -> int:
    """Write `curve.html` beside the log of a run."""
    from insightv_core.figures import plot_training, read_log

    path = options.folder / "curve.html"
    plot_training(read_log(options.folder / "log.jsonl")).write_html(path, include_plotlyjs=True)
    print(f"curve in {path}")
    return 0
