"""The study at work: its jobs in order of importance, each continued where it was stopped."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict

from insightv_core import __version__, prompts
from insightv_core.errors import UserError
from insightv_core.evaluate.items import Item, held_out_items
from insightv_core.records import ModelVersion, Run, identify
from insightv_core.store import Store
from insightv_core.store.curation import find_curation
from insightv_core.store.evaluations import load_note, save_note
from insightv_core.study.jobs import (
    ANSWERS,
    CHAINS,
    PERCEPTION,
    REASONING,
    STOPPED,
    TRAINING,
    Job,
    Workshop,
    list_jobs,
)
from insightv_core.study.progress import Meter
from insightv_core.study.sets import make_sets
from insightv_core.study.settings import StudySettings
from insightv_core.vlm import VLM

STAGE, LEFT_OUT, CALLS = "study", "left out", "calls"
EXPECTED_SECONDS = {TRAINING: 0.05, CHAINS: 0.06, ANSWERS: 0.02}  # a row, a chain and a short reply of nano, two cores


def name_study(base: ModelVersion, curation: str, settings: StudySettings) -> Run:
    """Return the run that a study stands for; more seeds belong to the same run."""
    described = {"curation": curation, **asdict(settings)}
    name = identify(STAGE, base.fingerprint, prompts.PROMPT_VERSION, described)
    return Run(name, STAGE, base, prompts.PROMPT_VERSION, described, __version__)


def run_study(
    store: Store,
    model: str,
    vlm: VLM,
    settings: StudySettings,
    *,
    seeds: int = 3,
    curation: str | None = None,
    stopped: Callable[[], bool] = lambda: False,
    minutes: float | None = None,
    command: str | None = None,
    quiet: bool = False,
) -> tuple[Run, bool]:
    """Train what is lacking and let every system answer what it has not answered; return the run and if it is whole.

    `model` is the name under which training loads the same weights as `vlm`. After `minutes`, or once `stopped` says
    so, nothing new is begun, though a round of DPO is finished; what is left out is noted with its reason. Raises
    `UserError` without curated sets.
    """
    curated = find_curation(store, curation)
    run = name_study(vlm.version, curated.id, settings)
    rows = make_sets(store, curated.id, settings.shares)
    until = time.monotonic() + 60 * minutes if minutes is not None else None
    shop = Workshop(
        store, model, vlm, run, curated.id, settings, Meter(EXPECTED_SECONDS, quiet=quiet),
        lambda: stopped() or (until is not None and time.monotonic() > until), draw_items(settings),
    )  # fmt: skip
    jobs = list_jobs(vlm, settings, rows, seeds)
    store.start_run(run, total=len(jobs), command=command)
    for job in jobs:
        shop.meter.plan(job.kind, job.units)
    try:
        with contextlib.closing(shop.meter):
            done = carry_out_jobs(shop, jobs)
    except BaseException as error:
        store.end_run(run.id, "failed", message=str(error))
        raise
    save_note(store, run.id, LEFT_OUT, shop.left_out)
    save_note(store, run.id, CALLS, load_note(store, run.id, CALLS) | shop.calls)
    store.end_run(run.id, "done" if done == len(jobs) else "stopped", done=done)
    return run, done == len(jobs)


def carry_out_jobs(shop: Workshop, jobs: list[Job]) -> int:
    """Do one job after the other; return how many were done before the study was to stop."""
    for done, job in enumerate(jobs):
        try:
            if shop.stopped():
                raise KeyboardInterrupt
            carry_out_job(shop, job)
        except KeyboardInterrupt:
            shop.left_out |= {each.system: STOPPED for each in jobs[done:] if each.system}
            return done
    return len(jobs)


def draw_items(settings: StudySettings) -> dict[str, list[Item]]:
    """Return the held-out questions by benchmark."""
    from insightv_core.nano.world import PERCEPTION as SEEING

    return {
        REASONING: held_out_items(settings.questions, seed=settings.scene_seed),
        PERCEPTION: held_out_items(settings.perception, seed=settings.scene_seed, families=SEEING),
    }


def carry_out_job(shop: Workshop, job: Job) -> None:
    """Do a job and move the display; what a user would have to mend leaves a system out, with its reason."""
    shop.meter.begin(job.title, job.kind, job.units)
    try:
        for units, fresh in job.work(shop):
            shop.meter.advance(units, fresh=fresh)
            if shop.stopped():
                raise KeyboardInterrupt
    except UserError as error:
        if job.system:
            shop.left_out[job.system] = str(error)
    shop.meter.end()
