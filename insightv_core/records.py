"""The plain records that cross stage boundaries: frozen dataclasses, nothing else."""

from dataclasses import dataclass

CONTINUE = "continue"
SUMMARY = "summary"


@dataclass(frozen=True)
class Step:
    """One step of a reasoning path: a short title, the reasoning itself, and what comes next.

    `action` is "continue" (another step follows) or "summary" (the chain is complete).
    """

    summary: str
    content: str
    action: str = CONTINUE
