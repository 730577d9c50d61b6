"""`insightv curate` and `insightv export`: training sets and preference pairs from assessed paths, and out of here."""

import argparse
import time
from dataclasses import fields
from pathlib import Path

from insightv_core.commands.common import (
    add_command,
    add_project_options,
    command_line,
    open_project,
    positive,
    print_result,
    progress_bar,
)
from insightv_core.curate import PAIRS, REASON_SET, SETS, SUMMARY_SET, CurateSettings, Curation, curate, name_run
from insightv_core.curate.settings import PAIRS_BY
from insightv_core.errors import UserError
from insightv_core.export import FORMATS, LAYOUTS, export_set
from insightv_core.preflight import Refusal, check_set, load_processor
from insightv_core.records import Run
from insightv_core.store import Store
from insightv_core.store.curation import (
    assessed_questions,
    count_rows,
    describe_inputs,
    find_set_run,
    find_stage_run,
    load_edits,
    load_preferences,
    save_curation,
)

SHOWN = 10  # refused rows in the words; --json gives all
NUMBERS = {
    "reason_score": ("--reason-score", int, "lowest score of a path to imitate, 0 for any right answer"),
    "mid_score": ("--mid-score", int, "where the middle band of scores begins, below it lies the low one"),
    "flawed_per_optimal": ("--flawed", float, "flawed chains for each optimal one in the summary set"),
    "wrong_share": ("--wrong-share", float, "share of wrong answers among the flawed chains"),
    "own_per_question": ("--own", int, "of the reasoning agent's own chains, how many a question"),
    "plain_per_chain": ("--plain", float, "plain questions for each row with a chain"),
    "pairs_per_question": ("--pairs", int, "pairs of a question and run, best against worst first"),
    "step_pairs_per_question": ("--step-pairs", int, "pairs that part at the first flawed step"),
    "margin": ("--margin", int, "distance of the scores of two right answers that makes them a pair"),
    "chosen_score": ("--chosen-score", int, "lowest score of a chosen path"),
    "seed": ("--seed", int, "decides every draw"),
}


def add_curate_command(commands) -> None:
    """Add `insightv curate`."""
    parser = add_command(
        commands, "curate", run_curate,
        "choose paths for the training sets of both agents, and preference pairs, by score, answer and review",
        "insightv curate --reason-score 70 --pairs 2 --exclude",
    )  # fmt: skip
    add_project_options(parser, limit=True)
    parser.add_argument(
        "--run", dest="runs", action="append", metavar="RUN",
        help="only paths that this run of `generate` made; may be given again for another run",
    )  # fmt: skip
    parser.add_argument("--assess-run", metavar="RUN", help="the run of `assess` that counts (of each path the newest)")
    parser.add_argument("--source", help="only questions of this source")
    defaults = CurateSettings()
    for name, (option, kind, text) in NUMBERS.items():
        parser.add_argument(
            option, dest=name, type=kind, default=getattr(defaults, name), metavar="N", help=f"{text} (%(default)s)"
        )
    parser.add_argument(
        "--allow-flawed-steps", dest="sound_steps", action="store_false",
        help="imitate by the score alone as in the paper, even where the judge calls a step flawed",
    )  # fmt: skip
    parser.add_argument(
        "--pairs-by", choices=PAIRS_BY, default=defaults.pairs_by,
        help="prefer right answers, then higher scores, or go by the judge's score alone as in RLAIF, which wants "
        "`insightv assess --blind` (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--check", action="store_true", help="name the rows that training would refuse")
    parser.add_argument("--exclude", action="store_true", help="check, and leave those rows out for their reason")
    parser.add_argument(
        "--model", default="nano-base", help="model to be trained, whose processor checks the rows (%(default)s)"
    )
    parser.add_argument(
        "--max-length", type=positive, metavar="TOKENS", help="longest row to train on (the context of the model)"
    )


def add_export_command(commands) -> None:
    """Add `insightv export`."""
    parser = add_command(
        commands, "export", run_export, "write a curated set to a folder, for other trainers or to publish",
        "insightv export --set pairs --format trl --out pairs",
    )  # fmt: skip
    add_project_options(parser)
    parser.add_argument("--set", dest="name", choices=SETS, required=True, help="what to export")
    parser.add_argument("--format", choices=FORMATS, required=True, help="layout of the folder")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to write, new or empty")
    parser.add_argument(
        "--run", dest="run_id", metavar="RUN",
        help="run of `curate` (the newest), or for pairs a run that paired the paths of a round of `dpo`",
    )  # fmt: skip
    parser.add_argument(
        "--layout", choices=LAYOUTS, default=LAYOUTS[0],
        help="question and reply apart, so that the reply alone is learned, or as one conversation (%(default)s)",
    )  # fmt: skip


def read_settings(options: argparse.Namespace) -> CurateSettings:
    """Return the settings that the options stand for."""
    return CurateSettings(**{field.name: getattr(options, field.name) for field in fields(CurateSettings)})


def run_curate(options: argparse.Namespace) -> int:
    """Curate, save what is new, and print how far paths got and why others did not."""
    settings = read_settings(options)
    started = time.perf_counter()
    with open_project(options) as store:
        run, curation = curate_project(store, settings, options)
        seconds = time.perf_counter() - started
        refusals = check_project(store, run.id, options) if options.check or options.exclude else None
        result = describe(store, run, curation, refusals, seconds)
        print_result(options, result, write_words(result, store))
    return 0


def curate_project(store: Store, settings: CurateSettings, options: argparse.Namespace) -> tuple[Run, Curation]:
    """Curate what the options name and save it."""
    runs = [find_stage_run(store, "generate", run) for run in options.runs] if options.runs else None
    assess_run = find_stage_run(store, "assess", options.assess_run) if options.assess_run else None
    chosen = {"runs": runs, "assess_run": assess_run, "source": options.source, "limit": options.limit}
    with store.snapshot():
        inputs = describe_inputs(store, **chosen)
        if not inputs["questions"] or not inputs["paths"]:
            raise UserError(f"no paths to curate in {store.file}: make some with `insightv generate`")
        if not inputs["assessments"]:
            raise UserError(f"no path is assessed in {store.file}: run `insightv assess` first")
        run = name_run(settings, inputs)
        with progress_bar(min(inputs["questions"], options.limit or 1 << 60), "questions", quiet=options.json) as bar:
            curation = curate(
                watch(assessed_questions(store, **chosen), bar), run, settings,
                preferences=load_preferences(store), edits=load_edits(store),
            )  # fmt: skip
    store.start_run(run, total=curation.funnel["questions"], command=command_line())
    manifest = {
        "funnel": dict(curation.funnel),
        "left_out": {name: dict(counts.most_common()) for name, counts in curation.left_out.items()},
    }
    rows = {REASON_SET: curation.reason, SUMMARY_SET: curation.summary}
    save_curation(store, run.id, rows, curation.pairs, manifest)
    store.end_run(run.id, "done", done=curation.funnel["questions"])
    return run, curation


def watch(material, bar):
    """Pass on questions and move the bar."""
    for each in material:
        yield each
        bar.update()


def check_project(store: Store, run: str, options: argparse.Namespace) -> list[Refusal]:
    """Let the processor read every row of the run; note what it refuses where that is asked for."""
    processor, limit = load_processor(options.model)
    limit = min(options.max_length or limit, limit)
    refusals = []
    for name in SETS:
        with progress_bar(None, f"rows of {name}", quiet=options.json) as bar:
            refusals += check_set(
                store, run, name, processor, max_length=limit, exclude=options.exclude, progress=bar.update
            )
    return refusals


def describe(store: Store, run: Run, curation: Curation, refusals: list[Refusal] | None, seconds: float) -> dict:
    """Return what came of curating, as plain values."""
    counts = count_rows(store, run.id)
    return {
        "run": run.id,
        "funnel": {name: curation.funnel[name] for name in
                   ("questions", "with_paths", "paths", "complete", "correct", "scored")},
        "reason": sum(counts[REASON_SET]["rows"].values()),
        "summary": counts[SUMMARY_SET]["rows"],
        "pairs": counts[PAIRS]["rows"],
        "excluded": {name: counts[name]["excluded"] for name in SETS},
        "left_out": {name: dict(found.most_common()) for name, found in curation.left_out.items()},
        "refused": None if refusals is None else [vars(refusal) for refusal in refusals],
        "seconds": round(seconds, 2),
    }  # fmt: skip


def write_words(result: dict, store: Store) -> str:
    """Return the funnel and what was left out, in words."""
    funnel = result["funnel"]
    lines = [
        f"run {result['run']}, {result['seconds']:.1f} s",
        f"{funnel['questions']:>8} questions, {funnel['with_paths']} of them with paths",
        f"{funnel['paths']:>8} paths",
        f"{funnel['complete']:>8} complete",
        f"{funnel['correct']:>8} with the right answer",
        f"{funnel['scored']:>8} of these with a score",
        f"{result['reason']:>8} rows for the reasoning agent",
        f"{sum(result['summary'].values()):>8} rows for the summary agent{write_counts(result['summary'])}",
        f"{sum(result['pairs'].values()):>8} preference pairs{write_counts(result['pairs'])}",
    ]
    units = {REASON_SET: "questions", SUMMARY_SET: "paths", PAIRS: "questions"}
    for name, counts in result["left_out"].items():
        if counts:
            lines.append(f"without a row in {name}, {units[name]}{write_counts(counts)}")
    for name, counts in result["excluded"].items():
        if counts:
            lines.append(f"excluded from {name}{write_counts(counts)}")
    return "\n".join([*lines, *write_refusals(result), f"write them out: insightv export --set reason --format trl "
                      f"--out reason --project {store.file}"])  # fmt: skip


def write_counts(counts: dict[str, int]) -> str:
    """Return counts by name after a colon."""
    return ": " + ", ".join(f"{count} {name}" for name, count in counts.items()) if counts else ""


def write_refusals(result: dict) -> list[str]:
    """Return the first refused rows as lines."""
    refused = result["refused"]
    if refused is None:
        return ["rows are not checked yet: add --check to name what training would refuse, --exclude to leave it out"]
    lines = [f"{len(refused)} rows refused before training" if refused else "every row can be trained on"]
    lines += [f"  {each['set']} {each['row']}: {each['reason']}{each['detail']}" for each in refused[:SHOWN]]
    return [*lines, f"  and {len(refused) - SHOWN} more; --json lists all"] if len(refused) > SHOWN else lines


def run_export(options: argparse.Namespace) -> int:
    """Write a set to a folder and say what is in it."""
    with open_project(options) as store:
        run = find_set_run(store, options.name, options.run_id)
        counts = count_rows(store, run.id).get(options.name, {"rows": {}})
        with progress_bar(sum(counts["rows"].values()), "rows", quiet=options.json) as bar:
            manifest = export_set(
                store, run.id, options.name, options.format, options.out, layout=options.layout, progress=bar.update
            )
        words = (
            f"{manifest['rows']} rows of {options.name}, run {run.id[:8]}, in {options.out} ({options.format}); "
            f"README.md there tells how to load them"
        )
        print_result(options, manifest, words)
    return 0
