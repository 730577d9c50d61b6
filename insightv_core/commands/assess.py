"""`insightv assess`: is each path's answer right, and how good is the way there."""

import argparse
import time
from collections.abc import Iterator

from insightv_core.assess import (
    ALL_COMPLETE,
    ONLY_CORRECT,
    POINTWISE,
    RULES,
    SINGLE,
    Assessed,
    AssessSettings,
    assess,
    doubt_judge,
    name_run,
)
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
from insightv_core.generate import ALWAYS, NEVER, RETRY
from insightv_core.records import Path, Question, Run
from insightv_core.store import Store
from insightv_core.store.assessments import (
    Missing,
    add_assessments,
    count_assessed,
    count_missing,
    missing_paths,
    scores_of,
)
from insightv_core.vlm import VLM


def add_assess_command(commands) -> None:
    """Add `insightv assess`."""
    parser = add_command(
        commands, "assess", run_assess,
        "tell right from wrong answers and let a model score every path; the same command continues where it stopped",
        "insightv assess --model nano-teacher --mode single",
    )  # fmt: skip
    add_project_options(parser, limit=True)
    add_model_options(parser)
    parser.add_argument(
        "--mode", choices=(SINGLE, POINTWISE, RULES), default=SINGLE,
        help="several paths of a question in one call as in the paper, one path a call, or rules for the answers "
        "alone, without a model (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--run", dest="run_id", metavar="RUN", help="only paths that this run of `generate` made")
    parser.add_argument("--source", help="only questions of this source")
    parser.add_argument(
        "--judged", choices=(ALL_COMPLETE, ONLY_CORRECT), default=ALL_COMPLETE,
        help="score all complete paths, or as in the paper only those with a correct answer (%(default)s)",
    )  # fmt: skip
    defaults = AssessSettings()
    parser.add_argument(
        "--paths-per-call", type=positive, default=defaults.paths_per_call, metavar="N",
        help="paths that are judged together; more are split evenly (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--blind", action="store_true", help="do not tell the judge the correct answer, as in RLAIF; the answer filter "
        "still knows it",
    )  # fmt: skip
    parser.add_argument("--tries", type=positive, default=defaults.tries, help="tries for a call (%(default)s)")
    parser.add_argument("--temperature", type=float, default=defaults.temperature, help="of first tries (%(default)s)")
    parser.add_argument(
        "--retry-temperature", type=float, default=defaults.retry_temperature, metavar="T",
        help="of further tries, above 0 so that they differ (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--max-tokens", type=positive, default=defaults.max_tokens, help="longest reply (%(default)s)")
    parser.add_argument(
        "--constrain", choices=(ALWAYS, RETRY, NEVER), default=defaults.constrain,
        help="when to hold replies to the JSON form by a grammar (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=defaults.seed,
        help="decides the order of the paths; with another seed, `insightv judge-report` tells what order does to "
        "scores (%(default)s)",
    )  # fmt: skip


def read_settings(options: argparse.Namespace) -> AssessSettings:
    """Return the settings that the options stand for."""
    for name in ("temperature", "retry_temperature"):
        if not 0 <= getattr(options, name) <= 5:
            shown = name.replace("_", "-")
            raise UserError(f"--{shown} is {getattr(options, name)}: give a temperature between 0 and 5")
    return AssessSettings(
        options.mode, options.judged, options.paths_per_call, options.tries, options.temperature,
        options.retry_temperature, max_tokens=options.max_tokens, constrain=options.constrain, seed=options.seed,
        blind=options.blind,
    )  # fmt: skip


def run_assess(options: argparse.Namespace) -> int:
    """Assess the paths that are not assessed yet and print what came of them."""
    settings = read_settings(options)
    with open_project(options) as store:
        paths_run = find_paths_run(store, options.run_id)
        # Whatever the run will be called, there has to be something to assess before a model is loaded.
        if not count_missing(store, "", paths_run=paths_run, limit=options.limit, source=options.source):
            raise UserError(f"no paths to assess in {store.file}: make some with `insightv generate`")
        judge = None if settings.mode == RULES else load_model(options)
        run = name_run(judge.version if judge else None, settings)
        found = count_missing(store, run.id, paths_run=paths_run, limit=options.limit, source=options.source)
        started = time.perf_counter()
        saver, doubt = assess_missing(
            store, judge, run, settings, found, paths_run=paths_run, command=command_line(), quiet=options.json
        )
        result = describe(store, run.id, saver, judge.usage().decoded_tokens if judge else 0, started)
        result["doubt"] = doubt
        print_result(options, result, write_words(result, store))
        return 130 if saver.done < sum(each.paths for each in found.values()) else 0


def assess_missing(
    store: Store,
    judge: VLM | None,
    run: Run,
    settings: AssessSettings,
    found: dict[str, Missing],
    *,
    paths_run: str | None,
    unit: str = "paths",
    command: str | None = None,
    quiet: bool,
) -> tuple[Saver[Assessed], str | None]:
    """Assess what `count_missing` found missing, until it is done or a signal asks to stop.

    Returns what was saved, and why the judge's word on answers was not taken, None where it was or nobody was asked.
    """
    wanted = sum(each.paths for each in found.values())
    already = wanted - sum(each.missing for each in found.values())
    store.start_run(run, total=wanted, command=command)
    questions = list_missing(store, found, run.id, paths_run)
    doubt = doubt_judge(judge) if already < wanted else None
    saver: Saver[Assessed] = Saver(
        store, run.id, already, lambda batch: keep_assessed(store, batch),
        lambda assessed: {"paths": len(assessed[0]), "calls": len(assessed[1])},
    )  # fmt: skip
    bar = progress_bar(wanted, unit, already, quiet=quiet)
    with stop_on_signal() as stopped, saver, bar:
        for assessed in assess(questions, judge, run, settings, image_file=store.image_file, doubt=doubt, stop=stopped):
            saver.add(assessed)
            bar.update(len(assessed[0]))
    store.end_run(run.id, "stopped" if saver.done < wanted else "done", done=saver.done)
    return saver, doubt


def keep_assessed(store: Store, batch: list[Assessed]) -> None:
    """Save whole questions' assessments and the calls that they rest on, all or nothing."""
    assessments = [each for made, _ in batch for each in made]
    add_assessments(store, assessments, [call for _, calls in batch for call in calls])


def find_paths_run(store: Store, run: str | None) -> str | None:
    """Return the full id of the run of `generate` that was asked for."""
    if run is None:
        return None
    found = store.run(run)
    if found.stage != "generate":
        raise UserError(f"run {found.id} is of {found.stage}: give a run of generate, whose paths are to be assessed")
    return found.id


def list_missing(
    store: Store, found: dict[str, Missing], run: str, paths_run: str | None
) -> Iterator[tuple[Question, list[Path]]]:
    """Yield each question with its paths that are still to be assessed."""
    for question, each in found.items():
        if each.missing:
            yield store.question(question), missing_paths(store, run, question, paths_run=paths_run)


def describe(store: Store, run: str, saver: Saver, tokens: int, started: float) -> dict:
    """Return what a run has made of all its paths, as plain values; `seconds`, `new_...` and `tokens` are of this time.

    A path that was shown to the judge and has no readable verdict counts as unscored; failed paths and others that
    were not shown count as not judged.
    """
    seconds = time.perf_counter() - started
    counts = count_assessed(store, run)
    outcomes = {outcome: counts[outcome] for outcome in ("correct", "wrong", "unparsed")}
    return {
        "run": run,
        "paths": sum(outcomes.values()),
        "new_paths": saver.counts["paths"],
        "outcomes": outcomes,
        "settled_by_judge": counts["settled_by_judge"],
        "scores": summarize(scores_of(store, run))
        | {"n_unscored": counts["unscored"], "n_not_judged": counts["not_judged"]},
        "questions": counts["questions"],
        "calls": counts["calls"],
        "retries": counts["retries"],
        "new_calls": saver.counts["calls"],
        "seconds": round(seconds, 2),
        "tokens": tokens,
    }


def summarize(scores: list[int]) -> dict:
    """Return number, mean and quartiles of sorted scores; None where there are none."""
    if not scores:
        return {"n": 0, "mean": None, "quartiles": None}
    quartiles = [scores[round(share * (len(scores) - 1))] for share in (0.25, 0.5, 0.75)]
    return {"n": len(scores), "mean": round(sum(scores) / len(scores), 1), "quartiles": quartiles}


def write_words(result: dict, store: Store) -> str:
    """Return the result in words."""
    outcomes, scores = result["outcomes"], result["scores"]
    first = f"run {result['run']}: all {result['paths']} paths are assessed already"
    if result["new_paths"]:
        first = (
            f"run {result['run']}: {result['new_paths']} new assessments in {result['seconds']:.0f} s, "
            f"{result['new_calls']} calls of the judge"
        )
    lines = [
        first,
        f"answers of {result['paths']} paths: {outcomes['correct']} correct, {outcomes['wrong']} wrong, "
        f"{outcomes['unparsed']} unparsed; {result['settled_by_judge']} settled by the judge",
    ]
    shown = f"n {scores['n']}, n_unscored {scores['n_unscored']}, not judged {scores['n_not_judged']}"
    if scores["n"]:
        low, middle, high = scores["quartiles"]
        shown = f"mean {scores['mean']}, median {middle}, half between {low} and {high}; {shown}"
    lines.append(f"scores: {shown}")
    if result["doubt"]:
        lines.append(f"what rules leave open counts as unparsed, as the judge's word is not taken: {result['doubt']}")
    if result["calls"]:
        lines.append(
            f"{result['calls']} calls for {result['questions']} questions, {result['retries']} of them retries; how "
            f"far to trust this judge: insightv judge-report --run {result['run'][:8]} --project {store.file}"
        )
    return "\n".join(lines)
