"""What stops a training run from outside, said so that it can be mended: memory, disk, and numbers that are none."""

import contextlib
import errno
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from insightv_core.errors import UserError
from insightv_core.train.settings import DPOSettings, SFTSettings

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")
# Weights are written by libraries that wrap what the system says in errors of their own; torch leaves it out.
DISK_FULL = (
    "no space left on device", "disk quota exceeded", "os error 28", "os error 122", "failed writing file",
    "iostream error", "inline_container.cc",
)  # fmt: skip
NUMBERS = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def explain_failures(settings: DPOSettings | SFTSettings, folder: Path) -> Iterator[None]:
    """Turn a lack of memory or disk into a `UserError` that names the setting to change; `folder` is the run's."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        said = f"{type(error).__name__} {error}".lower()
        if isinstance(error, MemoryError) or any(sign in said for sign in OUT_OF_MEMORY):
            raise UserError(f"out of memory: {advise_memory(settings)}") from error
        if getattr(error, "errno", None) in NUMBERS or any(sign in said for sign in DISK_FULL):
            raise UserError(
                f"the disk of {folder} is full or cannot be written: make room and run the same command again; "
                f"{describe_kept(folder)}"
            ) from error
        raise


def advise_memory(settings: DPOSettings | SFTSettings) -> str:
    """Return which setting to lower next, the one that costs least first."""
    if settings.batch_size > 1:
        raised = settings.gradient_accumulation * 2
        return (
            f"lower --batch-size from {settings.batch_size} to {max(1, settings.batch_size // 2)} and raise "
            f"--gradient-accumulation from {settings.gradient_accumulation} to {raised}, which trains the same"
        )
    if not settings.gradient_checkpointing:
        return "set gradient_checkpointing (--gradient-checkpointing), which takes about a third longer"
    if settings.lora_rank is None:
        return "train an adapter, without --full"
    return "leave long rows out with `insightv curate --exclude --max-length TOKENS`, or take a smaller --model"


def describe_kept(folder: Path) -> str:
    """Say where a run will go on from."""
    kept = last_checkpoint(folder)
    return "nothing is saved yet" if kept is None else f"everything up to {Path(kept).name} is kept in {folder}"


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint that is whole, None where there is none.

    The trainer writes its state last, so a checkpoint without it was cut off by a kill or a full disk.
    """
    found = {}
    for state in folder.glob("checkpoint-*/trainer_state.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            found[json.loads(state.read_text())["global_step"]] = str(state.parent)
    return found[max(found)] if found else None


class StopsOnNaN:
    """A part of trainers: stop before a step whose gradient is no number could spoil the weights.

    Whatever is not a number in the loss is not one in the gradient either; this comes after the gradients of all
    processes are put together, so that all of them stop, and before the optimizer's step, so that no checkpoint is
    ever written of spoilt weights.
    """

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[misc]
        if norm is not None and not math.isfinite(float(norm)):
            state, arguments = self.state, self.args  # type: ignore[attr-defined]
            raise UserError(
                f"the gradient is no number at step {state.global_step + 1} of {state.max_steps}, so training stopped; "
                f"{describe_kept(Path(arguments.output_dir))}. Lower --learning-rate (now "
                f"{arguments.learning_rate:g}), and look for rows with damaged pictures with `insightv curate --check`"
            )
        return norm
