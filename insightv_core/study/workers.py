"""More processes for a study: each takes the jobs that no other is at."""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from insightv_core.nano.training.settings import count_cores
from insightv_core.study.settings import StudySettings
from insightv_core.vlm import VLM

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event


@dataclass(frozen=True)
class Help:
    """What a process must know to take part in a study; `load` loads the model under test and can be pickled."""

    project: Path
    run: str
    curation: str
    settings: StudySettings
    seeds: int
    model: str
    load: Callable[[], VLM]
    threads: int


@contextlib.contextmanager
def share_work(help: Help, count: int) -> Iterator[None]:
    """Let `count` more processes take part while the block runs; they end with it, after what they are at."""
    context = multiprocessing.get_context("spawn")  # a fork would share the model's threads, which do not survive it
    halt = context.Event()
    helpers = [context.Process(target=take_part, args=(help, halt), daemon=True) for _ in range(count)]
    for each in helpers:
        each.start()
    try:
        with few_threads(help.threads) if count else contextlib.nullcontext():
            yield
    finally:
        halt.set()
        for each in helpers:
            each.join()


def take_part(help: Help, halt: "Event") -> None:
    """Carry out jobs of a study once it has begun, until `halt` is set or the process that began it is gone."""
    from insightv_core.commands.study import quiet_transformers
    from insightv_core.store import open_store
    from insightv_core.study.run import WAIT, assist_study

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of them: who began the study decides
    parent = os.getppid()

    def stopped() -> bool:
        return halt.is_set() or os.getppid() != parent

    quiet_transformers()
    with open_store(help.project) as store, few_threads(help.threads):
        while store.status(help.run) != "running":
            if stopped():
                return
            time.sleep(WAIT)
        vlm = help.load()
        assist_study(
            store, help.model, vlm, help.settings, seeds=help.seeds, curation=help.curation, stopped=stopped
        )  # fmt: skip


def count_threads(workers: int) -> int:
    """Return how many threads each of so many processes may have."""
    return max(1, count_cores() // workers)


@contextlib.contextmanager
def few_threads(count: int) -> Iterator[None]:
    """Compute with at most `count` threads in the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(min(count, before))
    try:
        yield
    finally:
        torch.set_num_threads(before)
