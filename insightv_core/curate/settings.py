"""Every band, ratio and threshold of curation, with what the paper states beside what is our choice."""

from dataclasses import dataclass

from insightv_core.errors import UserError

ANSWER, SCORE = PAIRS_BY = ("answer", "score")


@dataclass(frozen=True)
class CurateSettings:
    """What goes into the training sets; together with what it is made from these settings name the run.

    The paper (arXiv 2411.14432, sections 3.2 to 3.4) states which paths feed which set, and no number but the sizes:
    200,000 reasoning rows, 1.2 million summary rows with about 1 million plain questions among them, and 15,000 pairs.
    """

    # Reasoning set. Paper: the best path of a question, out of those called "high" in its figure 2; no cut-off given.
    # Ours: 70, from where nano's judge calls a path sound and right; `insightv judge-report` tells for another judge.
    # 0 takes any right answer, scored or not.
    reason_score: int = 70
    # Paper: the score alone. Ours: a path with a step that the judge itself calls flawed is not to be imitated.
    sound_steps: bool = True

    # Summary set. Paper: optimal paths, flawed ones "across score ranges" (middle and low) and from wrong answers, so
    # that the agent does not just copy. Its cut-off between middle and low is not given.
    mid_score: int = 40
    # Paper: no ratio. Ours: as many flawed as optimal chains, so that neither verdict is the better guess.
    flawed_per_optimal: float = 1.0
    # Paper: no share. Ours: half of the flawed chains lead to a wrong answer; the rest is split over the score bands.
    # Where one kind is short of paths the others fill up.
    wrong_share: float = 0.5
    # Paper: the summary agent also learns from the trained reasoning agent's own outputs; their number is not given.
    # Ours: one a question, drawn without regard to score, as it will meet them.
    own_per_question: int = 1
    # Paper: about 5 plain questions for each row with a chain, from a large general data set. Ours: 1, as a project
    # has only its own questions to ask plainly.
    plain_per_chain: float = 1.0

    # Preference pairs. "answer": a right answer beats a wrong one, then the higher score. "score": the judge's score
    # alone, whether answers are right or not, as where no truth is known (RLAIF, arXiv 2309.00267; the paper's table 4
    # holds its own pairs against such ones).
    pairs_by: str = "answer"
    # Paper: about 15,000 and no rule. Ours is that of LLaVA-OneVision-Chat: best against worst. Among
    # equals those that differ in the fewest words: what is left to learn is where one goes wrong. Both paths come from
    # one run, and each run has its own pairs.
    pairs_per_question: int = 1
    # Pairs that share their first steps and part where the rejected path goes wrong, in the manner of Step-DPO
    # (arXiv 2406.18629); not in the paper, so none unless asked for.
    step_pairs_per_question: int = 0
    # Two right answers make a pair when their scores lie at least so far apart. Ours: a fifth of the scale;
    # `measure_yield` tells for any margin how many pairs there are and how many of them a judge may have wrong.
    margin: int = 20
    # A right answer by a way that scores lower is luck, and not to be made likelier.
    chosen_score: int = 40

    # Decides every draw.
    seed: int = 0


def check_settings(settings: CurateSettings) -> CurateSettings:
    """Return the settings; raise `UserError` for those that nothing can be curated with."""
    if settings.pairs_by not in PAIRS_BY:
        raise UserError(f"pairs_by is {settings.pairs_by!r}: choose one of {', '.join(PAIRS_BY)}")
    for name in ("reason_score", "chosen_score", "mid_score", "margin"):
        low = 1 if name in ("mid_score", "margin") else 0
        value = getattr(settings, name)
        if not low <= value <= 100:
            raise UserError(f"{name} is {value}: scores go from 1 to 100, so give a whole number from {low} to 100")
    if settings.reason_score and settings.mid_score > settings.reason_score:
        raise UserError(
            f"mid_score is {settings.mid_score}, above reason_score {settings.reason_score}: the middle band lies "
            "below the paths that are good enough to imitate"
        )
    if not 0 <= settings.wrong_share <= 1:
        raise UserError(f"wrong_share is {settings.wrong_share}: give a share from 0 to 1")
    for name in ("flawed_per_optimal", "plain_per_chain", "own_per_question", "pairs_per_question",
                 "step_pairs_per_question"):  # fmt: skip
        if not 0 <= getattr(settings, name) < float("inf"):
            raise UserError(f"{name} is {getattr(settings, name)}: give 0 for none, or a number above it")
    return settings
