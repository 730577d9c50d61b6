"""What is true of a nano scene, as the notebooks ask for it."""

from collections.abc import Sequence

from insightv_core.nano.verify import Claim, find_claims, verify_step
from insightv_core.nano.world import Example
from insightv_core.records import Step


def verify_chain(example: Example, steps: Sequence[Step]) -> list[str]:
    """Return "sound", "flawed" or "unchecked" for each step of a chain about a scene."""
    return [verify_step(step, example.scene, answer=example.answer, statements=example.options) for step in steps]


def find_false(example: Example, step: Step) -> list[Claim]:
    """Return the claims of a step that are false, each with its reason."""
    text = f"{step.summary}.\n{step.content}"
    claims = find_claims(text, example.scene, answer=example.answer, statements=example.options)
    return [claim for claim in claims if claim.verdict == "false"]
