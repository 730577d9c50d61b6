"""Which of several processes this is, where `accelerate launch` or `torchrun` started it."""

import os

from insightv_core.errors import UserError


def is_main() -> bool:
    """Tell whether this process is the one that writes to the project: the only one, or the first of several."""
    return int(os.environ.get("RANK", "0")) == 0


def count_processes() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def own_device() -> str | None:
    """Return the GPU of this process among several; None where there is one process or no GPU."""
    import torch

    place = os.environ.get("LOCAL_RANK")
    return f"cuda:{place}" if place is not None and torch.cuda.is_available() else None


def check_launch() -> None:
    """Raise `UserError` where a launcher was to start several processes and started one.

    `accelerate launch --cpu` does that without MPI: training would go on alone, with smaller batches than were meant.
    """
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
    started = {"WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"} & os.environ.keys()
    if on_cpu and "MASTER_ADDR" in os.environ and not started:
        raise UserError(
            "`accelerate launch --cpu` starts a single process, whatever --num_processes says: give --multi_gpu in its "
            "place, which works without a GPU too, or leave --num_processes out"
        )
