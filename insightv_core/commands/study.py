"""`insightv study`: does the method work here as the paper says? Trains, answers and reports, with one command."""

import argparse
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

from insightv_core.commands.common import (
    add_command,
    add_model_options,
    add_project_options,
    command_line,
    load_model,
    open_project,
    positive,
    print_result,
    stop_on_signal,
)
from insightv_core.store import Store
from insightv_core.study.results import build_results
from insightv_core.study.settings import QUICK, StudySettings
from insightv_core.study.writing import load_all, write_folder, write_summary

NOBODY = "none"


def add_study_command(commands) -> None:
    """Add `insightv study`."""
    parser = add_command(
        commands, "study", run_study_command,
        "train and compare every system on the same held-out questions, and hold it against the paper; the same "
        "command continues",
        "insightv study --project data/demo.db --quick",
    )  # fmt: skip
    whole = StudySettings()
    add_project_options(parser)
    add_model_options(parser, default="nano-base")
    parser.add_argument("--run", dest="run_id", metavar="RUN", help="run of `insightv curate` (the newest)")
    parser.add_argument("--n", type=positive, help=f"held-out questions ({whole.questions}, quick {QUICK.questions})")
    parser.add_argument("--seeds", type=positive, help="trainings of every agent (3, quick 1)")
    parser.add_argument("--epochs", type=float, help=f"of every agent ({whole.epochs:g}, quick {QUICK.epochs:g})")
    parser.add_argument("--learning-rate", type=float, help=f"of every agent ({whole.learning_rate:g})")
    parser.add_argument("--rounds", type=none_or_more, help=f"of DPO ({whole.rounds}, quick {QUICK.rounds})")
    parser.add_argument(
        "--judge", metavar="MODEL", help="scores paths without the correct answer, for DPO on its word alone, or "
        f"{NOBODY} ({whole.judge})",
    )  # fmt: skip
    parser.add_argument("--samples", type=positive, help=f"of majority and best-of-N ({whole.samples})")
    parser.add_argument(
        "--workers", type=positive, default=1, metavar="N", help="processes that share the work; without a GPU as many "
        "as cores are quickest, if memory holds so many models (1)",
    )  # fmt: skip
    parser.add_argument("--budget-minutes", type=float, metavar="M", help="begin nothing new after that long")
    parser.add_argument("--quick", action="store_true", help="few questions, one seed: minutes on two cores")
    parser.add_argument("--report", action="store_true", help="train and ask nothing: report what is there")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder of the report (beside the project)")


def none_or_more(text: str) -> int:
    """Read a whole number of at least 0."""
    return 0 if text.strip() == "0" else positive(text)


def run_study_command(options: argparse.Namespace) -> int:
    """Carry the study on, write its folder and print the tables."""
    with open_project(options) as store:
        run, whole, interrupted = (None, True, False) if options.report else carry_on(store, options)
        results = build_results(store, run)
        folder = options.out or store.folder / f"{store.file.stem}-study"
        write_folder(store, results, folder)
        words = f"{write_summary(results, load_all(store, results['run']))}\nreport, tables and figures in {folder}"
        if not whole:
            words += "\nnot whole yet: the same command goes on"
        print_result(options, results | {"folder": str(folder), "whole": whole}, words)
    return 130 if interrupted else 0


def carry_on(store: Store, options: argparse.Namespace) -> tuple[str, bool, bool]:
    """Train and answer what is lacking; return the run, whether all is done, and whether it was interrupted."""
    from insightv_core.store.curation import find_curation
    from insightv_core.study.run import claims_folder, name_study, run_study
    from insightv_core.study.workers import Help, count_threads, share_work

    settings, seeds = read_settings(options), options.seeds or (1 if options.quick else 3)
    curation = find_curation(store, options.run_id).id
    vlm = load_model(options)
    quiet_transformers()
    help = Help(
        store.file, name_study(vlm.version, curation, settings).id, curation, settings, seeds, options.model,
        partial(load_model, options), count_threads(options.workers),
    )  # fmt: skip
    with stop_on_signal() as stopped, share_work(help, options.workers - 1):
        run, whole = run_study(
            store, options.model, vlm, settings, seeds=seeds, curation=curation, stopped=stopped,
            minutes=options.budget_minutes, command=command_line(), workers=options.workers, quiet=options.json,
        )  # fmt: skip
        interrupted = stopped()
    if whole:
        shutil.rmtree(claims_folder(store, run.id), ignore_errors=True)
    return run.id, whole, interrupted


def read_settings(options: argparse.Namespace) -> StudySettings:
    """Return the settings that the options stand for."""
    given = {
        "questions": options.n, "perception": max(1, options.n // 4) if options.n else None, "epochs": options.epochs,
        "learning_rate": options.learning_rate, "rounds": options.rounds, "samples": options.samples,
    }  # fmt: skip
    chosen = {name: value for name, value in given.items() if value is not None}
    if options.judge:
        chosen["judge"] = None if options.judge == NOBODY else options.judge
    return replace(QUICK if options.quick else StudySettings(), **chosen)


def quiet_transformers() -> None:
    """Keep libraries' bars, warnings, and lists of weights that another adapter has, out of the one display."""
    import warnings

    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for module in ("transformers", "peft"):
        warnings.filterwarnings("ignore", module=module)
