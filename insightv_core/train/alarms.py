"""Signs of preference training that goes wrong, each as one line with its number and what to do.

DPO only pushes chosen and rejected answers apart, so both may become unlikely, the margin may run away once every
pair is won, and where the chosen answers are mostly the longer ones it is length that is learned. The thresholds are
ours: they lie outside what sound runs on nano show.
"""

import math
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from insightv_core.store import Store
from insightv_core.store.training import add_metrics, load_metrics

if TYPE_CHECKING:
    from transformers import TrainerCallback

COLLAPSE, EXPLOSION, LENGTH, ORIGIN = "chosen collapse", "margin explosion", "length bias", "other policy"
REWARDS, MARGINS = "rewards/chosen", "rewards/margins"  # as the trainer logs them
METRIC = "alarm/"  # what the metrics of alarms begin with
LARGEST_FALL = 0.1  # nats a token that the chosen answers may lose: 100 tokens are then 20 000 times less likely
LARGEST_MARGIN = 8.0  # of rewards; the sigmoid loss has lost 99.97% of its slope there
LARGEST_BIAS = 0.2  # of the share of pairs whose chosen answer is the longer one, from a half
LARGEST_FOREIGN = 0.2  # share of pairs that another policy wrote
RECENT = 5  # logged steps that a mean is taken over, as single batches jump


@dataclass(frozen=True)
class Alarm:
    """What looks wrong: its name, the number that says so, and a line for people."""

    name: str
    value: float
    text: str


def check_lengths(chosen: Sequence[int], rejected: Sequence[int]) -> Alarm | None:
    """Say whether chosen answers are mostly the longer or mostly the shorter ones, in tokens, beyond chance."""
    longer = [(a > b) + 0.5 * (a == b) for a, b in zip(chosen, rejected, strict=True)]
    share = sum(longer) / len(longer)
    if abs(share - 0.5) <= max(LARGEST_BIAS, 1 / math.sqrt(len(longer))):
        return None
    means = f"{sum(chosen) / len(chosen):.0f} against {sum(rejected) / len(rejected):.0f} tokens"
    learned = "long" if share > 0.5 else "short"
    return Alarm(
        LENGTH,
        share,
        f"the chosen answer is the longer one in {share:.0%} of the pairs ({means}): the policy may learn to write "
        f"{learned} answers; curate more pairs a question, or take --loss-type sigmoid_norm",
    )


def check_origin(foreign: int, pairs: int) -> Alarm | None:
    """Say whether many pairs hold a path that the policy to be trained did not write."""
    share = foreign / pairs
    if share <= LARGEST_FOREIGN:
        return None
    return Alarm(
        ORIGIN,
        share,
        f"{foreign} of {pairs} pairs ({share:.0%}) were not written by the policy that is trained: it learns less from "
        "the mistakes of others; `insightv dpo` without --run samples from the policy first",
    )


class Watch:
    """Follow the logged rewards of a run with `beta`, whose chosen answers have `tokens` on average."""

    def __init__(self, beta: float, tokens: float):
        self.beta, self.tokens = beta, tokens
        self.rewards: deque[float] = deque(maxlen=RECENT)
        self.margins: deque[float] = deque(maxlen=RECENT)
        self.raised: set[str] = set()

    def look(self, logs: Mapping[str, float]) -> list[Alarm]:
        """Take what a step logged; return the alarms that are raised for the first time."""
        for values, name in ((self.rewards, REWARDS), (self.margins, MARGINS)):
            if name in logs:
                values.append(float(logs[name]))
        found = [alarm for alarm in (self._collapse(), self._explosion()) if alarm and alarm.name not in self.raised]
        self.raised |= {alarm.name for alarm in found}
        return found

    def _collapse(self) -> Alarm | None:
        # A reward is beta times how much likelier than under the reference, whichever pairs the batch holds.
        fall = -sum(self.rewards) / len(self.rewards) / self.beta / self.tokens if self.rewards else 0.0
        if fall <= LARGEST_FALL:
            return None
        return Alarm(
            COLLAPSE,
            fall,
            f"the chosen answers lost {fall:.2f} nats a token against the reference: lower --learning-rate, or hold "
            "them with --gamma 1",
        )

    def _explosion(self) -> Alarm | None:
        margin = sum(self.margins) / len(self.margins) if self.margins else 0.0
        if margin <= LARGEST_MARGIN:
            return None
        return Alarm(
            EXPLOSION,
            margin,
            f"the mean reward margin is {margin:.1f}, far beyond what the loss can still teach: lower --learning-rate "
            "or --epochs, or raise --beta",
        )


def load_logs(store: Store, run: str, upto: int) -> list[dict[str, float]]:
    """Return what a run has logged of its rewards, step by step up to one."""
    logs: dict[int, dict[str, float]] = {}
    for name, values in load_metrics(store, run, (REWARDS, MARGINS)).items():
        for step, value in values:
            if step <= upto:
                logs.setdefault(step, {})[name] = value
    return [logs[step] for step in sorted(logs)]


def make_watcher(store: Store, run: str, watch: Watch, first: Sequence[Alarm]) -> "TrainerCallback":
    """Return a callback that says each alarm once and saves its number as a metric; `first` are known before.

    A run that is resumed at a checkpoint looks first at what was logged up to there, so its alarms are raised where
    those of an uninterrupted run are.
    """
    from tqdm import tqdm
    from transformers import TrainerCallback

    def tell(step: int, alarms: Sequence[Alarm]) -> None:
        if alarms:
            add_metrics(store, run, step, {METRIC + alarm.name: alarm.value for alarm in alarms})
        for alarm in alarms:
            tqdm.write(f"warning, {alarm.name}: {alarm.text}", file=sys.stderr)

    class Watcher(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            if state.is_world_process_zero:
                tell(0, first)
                for logs in load_logs(store, run, state.global_step):
                    watch.look(logs)

        def on_log(self, args, state, control, logs=None, **kwargs):
            if state.is_world_process_zero and logs:
                tell(state.global_step, watch.look(logs))

    return Watcher()
