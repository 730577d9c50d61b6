"""Work that a page waits for, in a thread of its own: how far it is, in what is shown anew until it is over."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from insightv_core.errors import UserError

REFRESH = 1  # seconds


@dataclass
class Work:
    """Rows that are gone through: how many there are, how many are done, and how it ended.

    `name` says what fails where it does, and `kept` what is left of it then. `stopping` is for the work to look at.
    """

    name: str
    kept: str
    total: int | None
    started: float = field(default_factory=time.monotonic)
    done: int = 0
    outcome: Any = None
    problem: str = ""
    stopping: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return self.outcome is not None or bool(self.problem)

    def start(self, work: Callable[[], Any]) -> threading.Thread:
        """Begin the work, whose result becomes the outcome; return its thread."""

        def run() -> None:
            try:
                self.outcome = work()
            except UserError as error:
                self.problem = str(error)
            except Exception as error:  # said on the page, where else it would wait for ever
                self.problem = f"{self.name} failed ({type(error).__name__}: {error}). {self.kept}"

        thread = threading.Thread(target=run, name=self.name, daemon=True)
        thread.start()
        return thread


def render_work(work: Work) -> str:
    """Return rows done, rate and time left of what is under way, and the button that stops it."""
    bar = ""
    if work.total is not None:
        bar = f'<progress max="{max(work.total, 1)}" value="{work.done}" aria-label="rows done"></progress>'
    ending = work.stopping or work.done == work.total
    button = "" if ending else '<p><button data-action="halt" data-busy="stopping …">Stop</button></p>'
    said = f'<p class="working" role="status">{bar}{tell_progress(work)}</p>'
    return f'<div class="under-way" data-refresh="{REFRESH}">{said}{button}</div>'


def tell_progress(work: Work) -> str:
    """Return how far work is, in words."""
    if work.stopping:
        return "stopping …"
    if work.done == work.total:
        return f"{work.total:,} rows, finishing …"
    rate = work.done / max(time.monotonic() - work.started, 1e-6)
    whole = f" / {work.total:,}" if work.total is not None else ""
    left = f", {duration((work.total - work.done) / rate)} left" if work.total and work.done else ""
    return f"{work.done:,}{whole} rows, {rate:,.0f} a second{left}"


def duration(seconds: float | None) -> str:
    """Return a duration in the two units that matter.

    >>> duration(0.2), duration(9.25), duration(75), duration(3700), duration(90000)
    ('under 1 s', '9.2 s', '1 min 15 s', '1 h 1 min', '1 d 1 h')
    """
    if seconds is None or not isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds >= 1 else "under 1 s"
    for size, unit, smaller, below in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} {int(seconds % size // smaller)} {below}"
    return "–"
