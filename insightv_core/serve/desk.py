"""The thread that owns the models: requests wait for it, and it answers them batch by batch."""

import queue
import sys
import threading
import time
import traceback
from collections.abc import Sequence

from insightv_core.errors import UserError
from insightv_core.serve.answering import Job, answer_batch
from insightv_core.serve.asks import Ask, Refused, Served

TOGETHER = 64  # requests of one batch
MOST_WAITING = 256  # requests, each with its picture in memory
GATHERED = 0.01  # seconds in which requests that are sent together arrive


class Desk:
    """The requests that wait, and the thread that answers them batch by batch until it is closed."""

    def __init__(self, served: Served):
        self.served = served
        self.queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.waiting: list[Job] = []
        self.closing = False
        self.thread = threading.Thread(target=self._work, name="agents", daemon=True)
        self.thread.start()

    def take(self, job: Job) -> None:
        """Let a request wait for its turn; raise `Refused` where too many do."""
        if self.closing:
            raise Refused("the server is stopping", status=503)
        if self.queue.qsize() + len(self.waiting) >= MOST_WAITING:
            raise Refused(f"{MOST_WAITING} requests are waiting already; try again later", status=429)
        self.queue.put(job)

    def close(self) -> None:
        """Stop what is under way and refuse what waits; safe to call from a signal handler."""
        self.closing = True
        self.queue.put(None)

    def _work(self) -> None:
        while not self.closing:
            if not self.waiting:
                self._gather(self.queue.get())
            time.sleep(GATHERED)
            while not self.queue.empty():
                self._gather(self.queue.get())
            batch, self.waiting = choose_batch(drop_gone(self.waiting))
            self._answer(batch)
        while not self.queue.empty():
            self._gather(self.queue.get())
        for job in self.waiting:
            job.end(Refused("the server is stopping", status=503))

    def _gather(self, job: Job | None) -> None:
        if job is not None:
            self.waiting.append(job)

    def _answer(self, batch: list[Job]) -> None:
        if not batch:
            return
        failure = Refused("the server is stopping", status=503)
        try:
            answer_batch(batch, self.served, lambda: self.closing or all(map(is_gone, batch)))
        except UserError as error:
            failure = Refused(str(error), status=500)
        except Exception:  # whatever a model does, the requests that wait are still to be answered
            traceback.print_exc(file=sys.stderr)
            failure = Refused("the model failed; the server's own output says why", status=500)
        for job in batch:
            if not job.ended:
                job.end(failure)


def drop_gone(waiting: Sequence[Job]) -> list[Job]:
    """Return the requests whose clients are still there, and end the others."""
    here: list[Job] = []
    for job in waiting:
        if is_gone(job):
            job.end(Refused("the client has gone", status=499))
        else:
            here.append(job)
    return here


def choose_batch(waiting: Sequence[Job]) -> tuple[list[Job], list[Job]]:
    """Return the requests to answer now and those that wait on: the first one, and all that can share its batch.

    The same question with the same seed twice would be one conversation to the model, so the second waits.
    """
    batch: list[Job] = []
    left: list[Job] = []
    for job in waiting:
        ids = [other.ask.question.id for other in batch]
        alike = not batch or same_work(job.ask, batch[0].ask)
        fits = alike and job.ask.question.id not in ids and len(batch) < TOGETHER
        (batch if fits else left).append(job)
    return batch, left


def same_work(one: Ask, other: Ask) -> bool:
    """Tell whether two requests can be answered in one batch."""
    return (one.model, one.sampling, one.answer_tokens) == (other.model, other.sampling, other.answer_tokens)


def is_gone(job: Job) -> bool:
    """Tell whether the client of a request has gone."""
    return job.gone.is_set()
