"""Iterative DPO of the reasoning agent (arXiv 2411.14432, section 3.4): sample, assess, pair, train, evaluate, again.

Each round samples from the policy as it is, so its pairs are of the policy's own mistakes. Every stage is the one that
its own command runs, has a run that is named after what goes in, and goes on where it was killed; so the same call
finds what is done, continues the rest, and ends with the same adapters.
"""

import gc
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from insightv_core import __version__, prompts
from insightv_core.assess import RULES, AssessSettings
from insightv_core.curate.settings import CurateSettings, check_settings
from insightv_core.errors import UserError
from insightv_core.generate import CHAIN, GenerateSettings
from insightv_core.records import ModelVersion, Run, Sampling, identify
from insightv_core.store import Store
from insightv_core.train.settings import DPOSettings

if TYPE_CHECKING:
    from insightv_core.evaluate import Estimate
    from insightv_core.train.adapters import Adapter
    from insightv_core.train.run import Trained
    from insightv_core.vlm import VLM

PREVIOUS, INITIAL = "previous", "initial"
STAGE, BENCHMARK, BEFORE = "rounds", "reasoning", "before the rounds"


@dataclass(frozen=True)
class RoundsSettings:
    """What rounds are made of. The paper: three rounds, each from the last policy, which is its reference as well.

    Each round samples `paths` for the first `questions` of the project. `judge` None pairs by right and wrong answers
    alone. `reference` is "previous", or "initial" for the policy before the first round. After each round `evaluate`
    held-out questions are answered by greedy chains, 0 for none.
    """

    rounds: int = 3
    questions: int = 300
    paths: int = 8
    reference: str = PREVIOUS
    judge: str | None = "nano-teacher"
    evaluate: int = 100
    sampling: Sampling = field(default_factory=lambda: Sampling((0.9,)))
    assess: AssessSettings = field(default_factory=AssessSettings)
    curate: CurateSettings = field(default_factory=CurateSettings)
    training: DPOSettings = field(default_factory=DPOSettings)


@dataclass(frozen=True)
class RoundResult:
    """What a round came to: its runs, how many pairs, the mean reward margin after it, and the policy's accuracy."""

    number: int
    sampling: str
    assessing: str
    curating: str
    questions: int
    pairs: int
    margin: float | None
    accuracy: "Estimate | None"
    trained: "Trained"

    def describe(self) -> dict:
        """Return everything as plain values."""
        return asdict(self) | {"trained": self.trained.describe()}


@dataclass(frozen=True)
class Series:
    """Rounds that belong together: where they start, on which base, who judges, and the run that stands for them."""

    run: Run
    model: str
    base: ModelVersion
    start: "Adapter"
    judge: ModelVersion | None
    settings: RoundsSettings
    command: str | None
    quiet: bool


class Shelf:
    """The one model that is in memory: two large ones would not fit beside each other."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.vlm: VLM | None = None

    def take(self, name: str) -> "VLM":
        """Return a model, loaded unless it is the one at hand."""
        from insightv_core.vlm.loading import load_vlm

        if self.vlm is None or self.name != name:
            self.clear()
            self.name, self.vlm = name, load_vlm(name)
        return self.vlm

    def clear(self) -> None:
        """Give the memory back, for training or another model."""
        if self.vlm is None:
            return
        import torch

        self.name, self.vlm = None, None
        if torch.cuda.is_available():
            gc.collect()
            torch.cuda.empty_cache()


def run_rounds(
    store: Store,
    model: str,
    adapter: str,
    settings: RoundsSettings,
    *,
    command: str | None = None,
    quiet: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> list[RoundResult]:
    """Train the reasoning agent `adapter` of `model` for whole rounds of DPO; what is done already is not done again.

    `tell` gets a line after each round. Raises `UserError` where there are no questions, or a round has no pairs.
    """
    from insightv_core.train.adapters import open_adapter, read_version, register

    if settings.rounds < 1:
        raise UserError(f"--rounds is {settings.rounds}: give at least 1")
    if not store.question_count():
        raise UserError(f"no questions in {store.file}: add some with `insightv import data/demo`")
    base = read_version(model)
    start = open_adapter(store, adapter, base)
    judge = None if settings.judge is None else read_version(settings.judge)
    register(store, start, base)
    run = name_series(base, start.version, judge, settings)
    series = Series(run, model, base, start, judge, settings, command, quiet)
    store.start_run(run, total=settings.rounds, command=command)
    try:
        results = _go_through(store, series, tell)
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        store.end_run(run.id, "stopped" if stopped else "failed", message=None if stopped else str(error))
        raise
    store.end_run(run.id, "done", done=len(results))
    return results


def name_series(
    base: ModelVersion, start: ModelVersion, judge: ModelVersion | None, settings: RoundsSettings
) -> Run:  # fmt: skip
    """Return the run that stands for rounds with these settings, however many: more of them continue the same."""
    described = asdict(settings) | {"start": start.fingerprint, "judge": judge.fingerprint if judge else None}
    del described["rounds"]
    run = identify(STAGE, base.fingerprint, prompts.PROMPT_VERSION, described)
    return Run(run, STAGE, base, prompts.PROMPT_VERSION, described, __version__)


def _go_through(store: Store, series: Series, tell: Callable[[str], None]) -> list[RoundResult]:
    from insightv_core.train.adapters import open_adapter

    shelf, results, policy = Shelf(), [], series.start
    before = evaluate_policy(store, series, shelf, BEFORE, policy)
    if before is not None:
        tell(f"{BEFORE}: accuracy {write_estimate(before)}")
    for number in range(1, series.settings.rounds + 1):
        result = play_round(store, series, shelf, number, policy)
        results.append(result)
        store.note_progress(series.run.id, number)
        tell(write_line(result, series.settings))
        policy = open_adapter(store, result.trained.folder, series.base)
    return results


def play_round(store: Store, series: Series, shelf: Shelf, number: int, policy: "Adapter") -> RoundResult:
    """Carry out one round from a policy, stage by stage."""
    from insightv_core.store.training import mean_margin
    from insightv_core.train.adapters import open_adapter
    from insightv_core.train.run import train_round

    settings = series.settings
    reference = series.start if settings.reference == INITIAL else policy
    sampling = sample_paths(store, series, shelf, policy)
    assessing = assess_paths(store, series, shelf, sampling)
    curating = pair_paths(store, series, sampling, assessing)
    shelf.clear()
    trained = train_round(
        store, series.model, str(policy.folder), settings.training, curation=curating.id,
        reference=str(reference.folder), sampling=sampling.id, assessing=assessing.id, command=series.command,
        quiet=series.quiet,
    )  # fmt: skip
    made = open_adapter(store, trained.folder, series.base)
    accuracy = evaluate_policy(store, series, shelf, f"after round {number}", made)
    return RoundResult(
        number, sampling.id, assessing.id, curating.id, min(settings.questions, store.question_count()), trained.rows,
        mean_margin(store, trained.fingerprint, reference.version.fingerprint, settings.training.beta), accuracy,
        trained,
    )  # fmt: skip


# -- the stages of a round ---------------------------------------------------------------------------------------------


def sample_paths(store: Store, series: Series, shelf: Shelf, policy: "Adapter") -> Run:
    """Let the policy write whole chains for every question; return the run of `generate` that holds them."""
    from insightv_core.commands.generate import Wanted, generate_missing, list_missing
    from insightv_core.generate import name_run

    settings = GenerateSettings(series.settings.sampling, style=CHAIN)
    run = name_run(policy.version, settings)
    wanted = Wanted(
        run, settings, series.settings.paths, series.settings.questions, adapter=str(policy.folder)
    )  # fmt: skip
    if next(list_missing(store, store.samples_of(run.id), wanted), None) is not None:
        saver = generate_missing(store, shelf.take(series.model), wanted, quiet=series.quiet)
        if saver.done < wanted.count(store):
            raise KeyboardInterrupt
    return run


def assess_paths(store: Store, series: Series, shelf: Shelf, sampling: Run) -> Run:
    """Tell right from wrong answers, and let the judge score the paths; return the run of `assess`."""
    from insightv_core.assess import name_run
    from insightv_core.commands.assess import assess_missing
    from insightv_core.store.assessments import count_missing

    settings = series.settings.assess if series.judge else replace(series.settings.assess, mode=RULES)
    run = name_run(series.judge, settings)
    found = count_missing(store, run.id, paths_run=sampling.id, limit=series.settings.questions)
    if not any(each.missing for each in found.values()):
        return run
    judge = shelf.take(series.settings.judge) if series.settings.judge else None
    saver, _ = assess_missing(
        store, judge, run, settings, found, paths_run=sampling.id, unit="assessed", quiet=series.quiet
    )  # fmt: skip
    if saver.done < sum(each.paths for each in found.values()):
        raise KeyboardInterrupt
    return run


def pair_paths(store: Store, series: Series, sampling: Run, assessing: Run) -> Run:
    """Pair the paths of a round, best against worst, and leave out what training would refuse.

    The run is none of `insightv curate`: the newest of those is what `insightv sft` trains on, and paths of an agent
    are no examples for it. What goes in are the paths of one run alone, so later assessments change nothing.
    """
    from insightv_core.curate import PAIRS, REASON_SET, SUMMARY_SET, curate
    from insightv_core.preflight import check_set, load_processor
    from insightv_core.store.curation import assessed_questions, count_rows, save_curation
    from insightv_core.store.project import DONE

    run = name_pairs(store, series, sampling, assessing)
    if store.status(run.id) == DONE:
        return run
    material = assessed_questions(
        store, runs=[sampling.id], assess_run=assessing.id, limit=series.settings.questions
    )  # fmt: skip
    curation = curate(material, run, series.settings.curate)
    manifest = {"funnel": dict(curation.funnel), "left_out": {PAIRS: dict(curation.left_out[PAIRS].most_common())}}
    store.start_run(run, total=curation.funnel["questions"])
    save_curation(store, run.id, {REASON_SET: [], SUMMARY_SET: []}, curation.pairs, manifest)
    processor, limit = load_processor(series.model)
    longest = series.settings.training.max_tokens or limit
    refused = check_set(store, run.id, PAIRS, processor, max_length=longest, exclude=True)
    if not sum(count_rows(store, run.id)[PAIRS]["rows"].values()):
        why = ", ".join(f"{count} {reason}" for reason, count in curation.left_out[PAIRS].most_common())
        why += f"; {len(refused)} pairs are refused: {refused[0].reason}" if refused else ""
        message = (
            f"no pairs among {curation.funnel['paths']} paths of {curation.funnel['questions']} questions ({why}): "
            "give more --questions or --paths, or a higher --temperature, so that right and wrong answers meet"
        )
        store.end_run(run.id, "failed", message=message)
        raise UserError(message)
    store.end_run(run.id, "done", done=curation.funnel["questions"])
    return run


def name_pairs(store: Store, series: Series, sampling: Run, assessing: Run) -> Run:
    """Return the run that pairs the paths of a round: the same paths and scores have the same id."""
    from insightv_core.store.curation import ROUND_PAIRS

    count = sum(map(len, store.samples_of(sampling.id).values()))
    inputs = {
        "questions": min(series.settings.questions, store.question_count()), "limit": series.settings.questions,
        "paths": {sampling.id: count}, "assessments": {assessing.id: count},
    }  # fmt: skip
    described = {**asdict(check_settings(series.settings.curate)), "inputs": inputs}
    name = identify(ROUND_PAIRS, prompts.PROMPT_VERSION, described)
    return Run(name, ROUND_PAIRS, None, prompts.PROMPT_VERSION, described, __version__)


def evaluate_policy(
    store: Store, series: Series, shelf: Shelf, system: str, policy: "Adapter"
) -> "Estimate | None":  # fmt: skip
    """Return how many held-out questions the policy's own chains answer rightly; None where none are asked."""
    from insightv_core.agents import Agent
    from insightv_core.commands.common import progress_bar
    from insightv_core.evaluate import GREEDY_CHAINS, chain_alone, held_out_items, report
    from insightv_core.evaluate.plan import Planned, carry_out
    from insightv_core.store.evaluations import load_answers

    if not series.settings.evaluate:
        return None
    items = held_out_items(series.settings.evaluate)
    planned = Planned(
        system,
        lambda known, items: chain_alone(Agent(shelf.take(series.model), str(policy.folder)), GREEDY_CHAINS),
        writes=True,
    )
    with progress_bar(len(items), "held-out answers", quiet=series.quiet) as bar:
        for count in carry_out(store, series.run.id, BENCHMARK, planned, items):
            bar.update(count)
    return report(load_answers(store, series.run.id, BENCHMARK, system), system, BENCHMARK).accuracy


# -- words -------------------------------------------------------------------------------------------------------------


def write_line(result: RoundResult, settings: RoundsSettings) -> str:
    """Return what a round came to as one line."""
    line = (
        f"round {result.number} of {settings.rounds}: {result.questions} questions x {settings.paths} paths, "
        f"{result.pairs} pairs"
    )
    if result.margin is not None:
        line += f", margin {result.margin:+.2f}"
    if result.accuracy is not None:
        line += f", accuracy {write_estimate(result.accuracy)}"
    return line


def write_estimate(estimate: "Estimate") -> str:
    """Return a share with its 95% interval."""
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
