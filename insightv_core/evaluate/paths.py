"""Is a reasoning path right? The exact verifier tells where the scene is known, else the path's own answer does."""

from collections.abc import Sequence

from insightv_core.answers import CORRECT
from insightv_core.evaluate.statistics import PATH_BY, PATH_RIGHT
from insightv_core.records import Question, Step

BY_VERIFIER, BY_ANSWER = "exact verifier", "the path's own answer"


def judge_path(question: Question, steps: Sequence[Step], truncated: str | None, outcome: str | None) -> dict:
    """Return as details whether a path is right, and what decided; nothing where neither can tell.

    By the verifier a path is right when it is whole, no step makes a false claim, and the first step that makes any
    makes a true one: sums are true of any picture, so what is read before them must be true of this one. `outcome` is
    that of the path's own answer, None where it has none.
    """
    from insightv_core.judge_report import draw_again
    from insightv_core.nano.verify import find_claims

    example = draw_again(question)
    if example is None:
        return {} if outcome is None else {PATH_RIGHT: outcome == CORRECT and not truncated, PATH_BY: BY_ANSWER}
    found = [
        {
            claim.verdict
            for claim in find_claims(
                f"{step.summary}.\n{step.content}", example.scene, answer=example.answer, statements=example.options
            )
        }
        for step in steps
    ]
    claiming = [verdicts for verdicts in found if verdicts]
    borne_out = bool(claiming) and "true" in claiming[0] and not any("false" in verdicts for verdicts in claiming)
    return {PATH_RIGHT: borne_out and not truncated, PATH_BY: BY_VERIFIER}
