"""What deserves a look in a run: pure functions of its progress and metrics; each alarm is a sentence with numbers."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median

Curves = Mapping[str, Sequence[tuple[float, float]]]
QUIET_MINUTES = 15
ENOUGH = 20  # steps, below which a trend says nothing
RAISED = {
    "chosen collapse": "At step {step} the chosen answers had lost {value:.2f} nats a token against the reference: "
    "lower the learning rate, or raise gamma.",
    "margin explosion": "At step {step} the mean reward margin was {value:.1f}, more than the loss can still teach: "
    "lower the learning rate, or raise beta.",
    "length bias": "The chosen answer is the longer one in {value:.0%} of the pairs: the policy may learn length.",
    "other policy": "{value:.0%} of the pairs were not written by the policy that is trained.",
}
WATCHED = ("loss", "rewards/margins", "rewards/accuracies", "grad_norm")


def progress_alarms(status: str, alive: bool | None, silent: float, message: str | None) -> list[str]:
    """Return what is wrong with the course of a run; `silent` is the seconds since its last progress."""
    if status == "failed":
        return [f"It failed: {message or 'no reason was noted'}. The same command starts it again."]
    if status != "running":
        return []
    if alive is False:
        return ["It says running, but its process is gone: it was killed. The same command continues it."]
    if silent > 60 * QUIET_MINUTES:
        return [f"No progress for {silent / 60:.0f} minutes, though its process is there."]
    return []


def training_alarms(curves: Curves) -> list[str]:
    """Return what is wrong with the curves of a training run, named as the trainers of TRL do; rewards are in nats."""
    broken = [
        f"{name} is not a number at step {step:g}: lower the learning rate."
        for name, curve in curves.items()
        for step, value in curve
        if not math.isfinite(value)
    ][:1]
    if broken:
        return broken
    found = [*loss_alarms(curves.get("loss", ())), *gradient_alarms(curves.get("grad_norm", ()))]
    return [*found, *reward_alarms(curves)]


def loss_alarms(loss: Sequence[tuple[float, float]]) -> list[str]:
    """Return whether the loss has come back up from its best."""
    if len(loss) < ENOUGH:
        return []
    size = max(len(loss) // 4, 2)
    values = [value for _, value in loss]
    best = min(fmean(values[start : start + size]) for start in range(len(values) - size + 1))
    last = fmean(values[-size:])
    if last <= max(1.2 * best, best + 0.02):
        return []
    return [f"The loss rose again: {last:.3g} over the last {size} steps, {best:.3g} at its best."]


def gradient_alarms(norms: Sequence[tuple[float, float]]) -> list[str]:
    """Return the step whose gradient stands out most, where one is ten times what was usual just before."""
    found = None
    for place in range(ENOUGH // 2, len(norms)):
        step, norm = norms[place]
        usual = median(value for _, value in norms[max(place - ENOUGH, 0) : place])
        if norm > 10 * usual > 0 and (found is None or norm > found[1]):
            found = (step, norm, usual)
    if found is None:
        return []
    return [f"The gradient jumped to {found[1]:.3g} at step {found[0]:g}; {found[2]:.3g} was usual before."]


def reward_alarms(curves: Curves) -> list[str]:
    """Return what is wrong with the rewards of preference training, over its last quarter."""
    if len(curves.get("rewards/margins", ())) < ENOUGH:
        return []
    size = max(len(curves["rewards/margins"]) // 4, 2)
    late = {name: fmean(value for _, value in curve[-size:]) for name, curve in curves.items() if curve}
    over, found = f"over the last {size} steps", []
    if late["rewards/margins"] < 0:
        found.append(f"The margin is {late['rewards/margins']:+.3g} {over}: the rejected chains gain more.")
    if late.get("rewards/accuracies", 1.0) < 0.5:
        found.append(f"Only {late['rewards/accuracies']:.0%} of the pairs are the right way round {over}.")
    return found


def raised_alarms(raised: Sequence[tuple[str, int, float]]) -> list[str]:
    """Return in words the alarms that training itself raised, given as (name, step, value)."""
    return [
        RAISED.get(name, f"{name.capitalize()}: {{value:.3g}} at step {{step}}.").format(value=value, step=step)
        for name, step, value in raised
    ]
