"""What the rules can say about an answer."""

from dataclasses import dataclass

CORRECT, WRONG, UNPARSED, OPEN = "correct", "wrong", "unparsed", "open"
SHOWN = 60


@dataclass(frozen=True)
class AnswerVerdict:
    """One answer held against the correct one: "correct", "wrong", "unparsed" or "open", and why, in plain words.

    "unparsed" means that no answer could be read; "open" that rules cannot settle it and a judge should.
    """

    outcome: str
    reason: str


def shorten(text: str) -> str:
    """Return the text on one line, cut where it is too long for a reason."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 3] + "..."
