"""The study at work: its jobs in order of importance, each continued where it was stopped.

Several processes may carry out the same study: a job is done by who claims it first, and the others go on to the next.
"""

import contextlib
import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from insightv_core import __version__, prompts
from insightv_core.errors import UserError
from insightv_core.evaluate.items import Item, held_out_items
from insightv_core.records import ModelVersion, Run, identify
from insightv_core.store import Store
from insightv_core.store.curation import find_curation
from insightv_core.store.evaluations import load_note, plan_order, save_note
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
from insightv_core.study.sets import count_sets, make_sets
from insightv_core.study.settings import StudySettings
from insightv_core.vlm import VLM

if TYPE_CHECKING:
    from filelock import BaseFileLock

STAGE, LEFT_OUT, CALLS = "study", "left out", "calls"
WAIT = 0.5  # seconds, while others are at everything that is left
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
    workers: int = 1,
    quiet: bool = False,
) -> tuple[Run, bool]:
    """Train what is lacking and let every system answer what it has not answered; return the run and if it is whole.

    `model` is the name under which training loads the same weights as `vlm`. After `minutes`, or once `stopped` says
    so, nothing new is begun, though a round of DPO is finished; what is left out is noted with its reason. `workers`
    is how many processes share the work, for the time that the display foretells. Raises `UserError` without curated
    sets.
    """
    curated = find_curation(store, curation)
    run = name_study(vlm.version, curated.id, settings)
    jobs = list_jobs(vlm, settings, make_sets(store, curated.id, settings.shares), seeds)
    until = time.monotonic() + 60 * minutes if minutes is not None else None
    shop = Workshop(
        store, model, vlm, run, curated.id, settings, Meter(EXPECTED_SECONDS, workers=workers, quiet=quiet),
        lambda: stopped() or (until is not None and time.monotonic() > until), draw_items(settings),
    )  # fmt: skip
    store.start_run(run, total=len(jobs), command=command)
    plan_order(store, run.id, list_names(jobs, shop))
    try:
        done = carry_out_jobs(shop, jobs, lambda count: store.note_progress(run.id, count))
    except BaseException as error:
        store.end_run(run.id, "failed", message=str(error))
        raise
    save_note(store, run.id, LEFT_OUT, shop.left_out)
    save_note(store, run.id, CALLS, load_note(store, run.id, CALLS) | shop.calls)
    plan_order(store, run.id, list_names(jobs, shop))
    store.end_run(run.id, "done" if done == len(jobs) else "stopped", done=done)
    return run, done == len(jobs)


def list_names(jobs: list[Job], shop: Workshop) -> list[str]:
    """Return the systems in the order of their jobs, by the names that they answered under where these are known."""
    names = {title: name for name, (_, _, title) in shop.calls.items()}
    return list(dict.fromkeys(names.get(job.system, job.system) for job in jobs if job.system))


def assist_study(
    store: Store, model: str, vlm: VLM, settings: StudySettings, *, seeds: int, curation: str,
    stopped: Callable[[], bool],
) -> None:  # fmt: skip
    """Take part in a study that another process has begun, until all of it is done or `stopped` says so."""
    run = name_study(vlm.version, curation, settings)
    meter = Meter(EXPECTED_SECONDS, quiet=True)
    shop = Workshop(store, model, vlm, run, curation, settings, meter, stopped, draw_items(settings))
    carry_out_jobs(shop, list_jobs(vlm, settings, count_sets(store, curation), seeds))


def carry_out_jobs(shop: Workshop, jobs: list[Job], tell: Callable[[int], object] = lambda done: None) -> int:
    """Do every job that nobody else is at; return how many were over before the study was to stop.

    A job that another process has done is carried out once more, which finds everything there already. `tell` hears how
    many are over after each.
    """
    left, over = list(jobs), set[str]()
    for job in jobs:
        shop.meter.plan(job.kind, job.units)
    try:
        with contextlib.closing(shop.meter):
            while left:
                if shop.stopped():
                    raise KeyboardInterrupt
                ready = (job for job in left if over.issuperset(job.needs))
                done = next((job for job in ready if carry_out_if_free(shop, job)), None)
                if done is None:
                    time.sleep(WAIT)
                    continue
                left.remove(done)
                over.add(done.title)
                tell(len(over))
    except KeyboardInterrupt:
        shop.left_out |= {each.system: STOPPED for each in left if each.system}
    return len(jobs) - len(left)


def carry_out_if_free(shop: Workshop, job: Job) -> bool:
    """Do a job unless another process is at it; return whether it is over. A claim ends with its process."""
    from filelock import Timeout

    claim = claim_of(shop.store, shop.run.id, job.title)
    try:
        claim.acquire(blocking=False)
    except Timeout:
        return False
    try:
        carry_out_job(shop, job)
    finally:
        claim.release()
    return True


def claim_of(store: Store, run: str, title: str) -> "BaseFileLock":
    """Return the lock of a job of a study, which the process holds that is at it."""
    from filelock import FileLock

    folder = claims_folder(store, run)
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{hashlib.sha256(title.encode()).hexdigest()[:16]}.lock")


def claims_folder(store: Store, run: str) -> Path:
    """Return where the claims of a study lie; nobody needs them once it is whole and its processes have ended."""
    return store.folder / "runs" / run


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
