"""What a study came to, worked out from the answers in the project: the object that every report is written from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from insightv_core.errors import UserError
from insightv_core.evaluate.plan import BOTH
from insightv_core.evaluate.statistics import (
    FAMILY,
    LEVEL,
    PathTable,
    average_by_item,
    count_paths,
    estimate,
    split_accuracy,
)
from insightv_core.evaluate.tables import describe_report
from insightv_core.records import Answered
from insightv_core.store import Store
from insightv_core.store.evaluations import load_note, load_outcomes, load_reports
from insightv_core.store.runs import find_run, list_runs
from insightv_core.study.claims import list_expectations, settle
from insightv_core.study.jobs import PERCEPTION, REASONING, name_share
from insightv_core.study.run import CALLS, LEFT_OUT, STAGE
from insightv_core.study.sets import count_sets


def build_results(store: Store, run: str | None = None) -> dict:
    """Return a study's results as plain values: systems, claims, families, levels, paths, scaling, what was left out.

    Without `run` it is the study that was active last. Raises `UserError` where there is none with answers.
    """
    run = run or find_study(store)
    found = store.run(run)
    outcomes = {benchmark: load_outcomes(store, run, benchmark) for benchmark in (REASONING, PERCEPTION)}
    if not outcomes[REASONING]:
        raise UserError(f"study {run} has no answers yet: run `insightv study` again, with more time")
    reports = [
        each for benchmark, systems in outcomes.items() if systems for each in load_reports(store, run, benchmark)
    ]
    shares, rounds = found.settings["shares"], found.settings["rounds"]
    judged = found.settings.get("judge") is not None
    calls, left_out = load_note(store, run, CALLS), load_note(store, run, LEFT_OUT)
    names = [system for systems in outcomes.values() for system in systems]
    answered = {*names, *(calls[system][2] for system in names if system in calls)}
    return {
        "run": run,
        "command": find_run(store, run).command,
        "model": found.model.name if found.model else None,
        "prompt_version": found.prompt_version,
        "settings": found.settings,
        "sets": count_sets(store, found.settings["curation"]),
        "systems": [{"name": each.system, **describe_report(each), "by_seed": list(each.by_seed)} for each in reports],
        "claims": [settle(each, outcomes).describe() for each in list_expectations(shares, rounds, judged=judged)],
        "families": split_accuracy(outcomes[REASONING], FAMILY) + split_accuracy(outcomes[PERCEPTION], FAMILY),
        "levels": split_accuracy(outcomes[REASONING], LEVEL),
        "paths": [
            describe_paths(table)
            for system, each in outcomes[REASONING].items()
            if (table := count_paths(each, system)) is not None
        ],
        "scaling": measure_scaling(outcomes[REASONING], shares),
        "left_out": {system: reason for system, reason in left_out.items() if system not in answered},
        "calls": count_calls(outcomes, calls),
    }


def find_study(store: Store) -> str:
    """Return the study that was active last; `UserError` where there is none."""
    for newest in list_runs(store, stage=STAGE, limit=1):
        return newest.id
    raise UserError(f"no study in {store.file}: run `insightv study` first")


def describe_paths(table: PathTable) -> dict:
    """Return how often path and answer are right as plain values, with both shares."""
    return asdict(table) | {"right_after_right": table.right_after_right, "right_after_wrong": table.right_after_wrong}


def measure_scaling(outcomes: Mapping[str, Sequence[Answered]], shares: Sequence[float]) -> list[dict]:
    """Return the accuracy of both agents by the share of the reasoning set (the paper's Figure 4)."""
    points = []
    for share in [*sorted(shares), 1.0]:
        answers = outcomes.get(BOTH if share == 1 else name_share(share))
        if answers:
            accuracy = estimate(list(average_by_item(answers).values()))
            points.append({"share": share, "accuracy": accuracy.value, "low": accuracy.low, "high": accuracy.high,
                           "n": accuracy.n, "seeds": len({each.details["seed"] for each in answers})})  # fmt: skip
    return points


def count_calls(
    outcomes: Mapping[str, Mapping[str, Sequence[Answered]]], calls: Mapping[str, tuple[int, int, str]]
) -> dict[str, int]:
    """Return the conversations that models held, and those that were saved because systems share chains."""
    counted = {"made": 0, "saved": 0}
    for systems in outcomes.values():
        for system, answers in systems.items():
            made, alone, _ = calls.get(system, (1, 1, system))
            counted["made"] += made * len(answers)
            counted["saved"] += (alone - made) * len(answers)
    return counted
