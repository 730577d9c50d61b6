"""Which of several processes this is, where `accelerate launch` or `torchrun` started it."""

import os


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
