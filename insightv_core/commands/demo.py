"""`insightv demo`: every stage once, on the demo questions and the embedded model, and the app on what came of it."""

import argparse
import sys
import time
from pathlib import Path

from insightv_core.commands.common import add_command
from insightv_core.nano.demo import DEMO_FOLDER

DEFAULT_FILE = Path("data/demo.db")
# Questions, paths a question, rows a step of the reasoning agent, epochs of the summary agent, held-out questions.
SIZES = {"quick": (100, 2, 4, 2, 36), "whole": (300, 4, 8, 3, 108)}
# A small model learns from few chains at a rate that would spoil a large one.
NANO = ["--epochs", "8", "--learning-rate", "3e-3"]


def add_demo_command(commands) -> None:
    """Add `insightv demo`."""
    parser = add_command(
        commands, "demo", run_demo,
        "run every stage on the demo questions and open the app; safe to interrupt and to run again",
        "insightv demo --quick",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="the same with fewer questions and paths")
    parser.add_argument("--project", type=Path, default=DEFAULT_FILE, metavar="FILE", help="project file (%(default)s)")
    parser.add_argument("--no-app", action="store_true", help="stop after the tables, without opening the app")


def list_stages(project: Path, *, quick: bool) -> list[tuple[str, list[str]]]:
    """Return the title and the command of each stage."""
    questions, paths, rows, summary_epochs, held_out = SIZES["quick" if quick else "whole"]
    file = ["--project", str(project)]
    return [
        ("Import questions and pictures", ["import", str(DEMO_FOLDER), *file]),
        ("Generate reasoning paths", ["generate", "--limit", str(questions), "--paths", str(paths), *file]),
        ("Assess them", ["assess", "--limit", str(questions), *file]),
        ("Curate training sets", ["curate", "--reason-score", "0", "--flawed", "0.4", "--plain", "0.3", *file]),
        ("Train the reasoning agent", ["sft", "reason", *NANO, "--batch-size", str(rows), *file]),
        ("Train the summary agent", ["sft", "summary", "--epochs", str(summary_epochs), *file]),
        # A whole chain of nano's has few nats to lose: held as loosely as a large model's, it unlearns in one round.
        (
            "Train a round of DPO",
            ["dpo", "--run", "--beta", "1", "--gradient-accumulation", "1", "--learning-rate", "2e-4", *file],
        ),
        ("Evaluate on held-out scenes", ["evaluate", "--n", str(held_out), *file]),
    ]


def run_demo(options: argparse.Namespace) -> int:
    """Run the stages one after the other; each continues where it was interrupted."""
    from insightv_core.cli import main

    started = time.perf_counter()
    stages = list_stages(options.project, quick=options.quick)
    for number, (title, command) in enumerate(stages, 1):
        print(f"\n[{number}/{len(stages)}] {title}: insightv {' '.join(command)}", flush=True)
        status = main(command)
        if status:
            print(f"insightv: stopped at stage {number}; the same command continues there", file=sys.stderr)
            return status
    print(f"\nall {len(stages)} stages in {time.perf_counter() - started:.0f} s, kept in {options.project}")
    return 0 if options.no_app else main(["app", str(options.project)])
