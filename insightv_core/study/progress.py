"""One display for a long piece of work of several kinds: what it is at, and how long it will still take."""

import sys
import time
from collections.abc import Mapping


class Meter:
    """A progress bar over kinds of work whose speeds differ and are measured while they go on.

    `expected` are seconds a unit by kind before anything is measured; only how they compare with one another matters
    once some kind was. Work that was done before this start, or by another of the `workers`, counts as done and not
    towards the speed.
    """

    def __init__(self, expected: Mapping[str, float], *, workers: int = 1, quiet: bool = False):
        from tqdm import tqdm

        self.expected, self.workers, self.quiet = dict(expected), workers, quiet
        self.left: dict[str, float] = dict.fromkeys(expected, 0.0)
        self.done: dict[str, float] = dict.fromkeys(expected, 0.0)
        self.seconds: dict[str, float] = dict.fromkeys(expected, 0.0)
        self.before = 0.0
        self.title, self.kind, self.since, self.afterwards = "", "", time.perf_counter(), 0.0
        self.bar = tqdm(
            total=1.0, disable=quiet, file=sys.stderr, bar_format="{percentage:3.0f}%|{bar:24}| {elapsed}, {desc}"
        )

    def plan(self, kind: str, units: float) -> None:
        """Add work that is to be done."""
        self.left[kind] += units

    def begin(self, title: str, kind: str, units: float) -> None:
        """Say what is done now, and how much of what was planned that is."""
        self.title, self.kind, self.since = title, kind, time.perf_counter()
        self.afterwards = self.left[kind] - units
        self.show()

    def advance(self, units: float, *, fresh: bool = True) -> None:
        """Note that some of it is done; not `fresh` is what was done before this start."""
        now = time.perf_counter()
        self.left[self.kind] -= units
        if fresh:
            self.done[self.kind] += units
            self.seconds[self.kind] += now - self.since
        else:
            self.before += units * self.expected[self.kind]
        self.since = now
        self.show()

    def ignore_time(self) -> None:
        """Do not count the time since the last advance: loading says nothing of the speed."""
        self.since = time.perf_counter()

    def end(self) -> None:
        """Note that it is over, however much of it was to be done."""
        skipped = self.left[self.kind] - self.afterwards
        self.before += max(0.0, skipped) * self.expected[self.kind]
        self.left[self.kind] = self.afterwards
        self.show()

    def remaining(self) -> float | None:
        """Return the seconds that are left, None before anything is measured."""
        usual = sum(self.done[kind] * self.expected[kind] for kind in self.done)
        if not usual:
            return None
        pace = sum(self.seconds.values()) / usual
        speeds = {
            kind: self.seconds[kind] / self.done[kind] if self.done[kind] else pace * seconds
            for kind, seconds in self.expected.items()
        }
        return sum(max(0.0, units) * speeds[kind] for kind, units in self.left.items()) / self.workers

    def show(self) -> None:
        """Redraw the bar."""
        done = sum(self.done[kind] * self.expected[kind] for kind in self.done) + self.before
        left = sum(max(0.0, units) * self.expected[kind] for kind, units in self.left.items())
        self.bar.n = done / (done + left) if done + left else 0.0
        self.bar.set_description_str(f"{write_remaining(self.remaining())}: {self.title}", refresh=False)
        self.bar.refresh()

    def close(self) -> None:
        """Leave the bar as it is."""
        self.bar.close()


def write_remaining(seconds: float | None) -> str:
    """Return a remaining time in words.

    >>> write_remaining(50), write_remaining(700), write_remaining(9000)
    ('less than a minute left', 'about 12 minutes left', 'about 2.5 hours left')
    """
    if seconds is None:
        return "remaining time not known yet"
    if seconds < 60:
        return "less than a minute left"
    return f"about {round(seconds / 60)} minutes left" if seconds < 5400 else f"about {seconds / 3600:.1f} hours left"
