"""What a threshold costs and what it buys: pairs gained by margin, with how many of them a judge may have wrong."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from insightv_core.curate.pairs import BY_ANSWER, find_pairs
from insightv_core.curate.settings import CurateSettings
from insightv_core.records import Candidate, Question

MARGINS = tuple(range(5, 100, 5))


def measure_yield(
    material: Iterable[tuple[Question, Sequence[Candidate]]],
    settings: CurateSettings,
    margins: Sequence[int] = MARGINS,
    report: dict | None = None,
) -> list[dict]:
    """Return for each margin the number of pairs, and the share of them that may be the wrong way round.

    `report` is that of `judge_report.report_judge`; without one `noise` is None. The rows are what
    `figures.plot_yield` draws: {"margin", "pairs", "by_answer", "by_score", "noise"}.
    """
    rows = [{"margin": margin, "pairs": 0, "by_answer": 0, "by_score": 0} for margin in margins]
    wrong = [0.0] * len(rows)
    for question, candidates in material:
        scores = {each.path: each.score for each in candidates}
        for place, margin in enumerate(margins):
            for pair in find_pairs("", question.id, candidates, replace(settings, margin=margin)):
                rows[place]["pairs"] += 1
                rows[place]["by_answer" if pair.reason == BY_ANSWER else "by_score"] += 1
                if report is not None and pair.reason != BY_ANSWER:
                    wrong[place] += estimate_noise(scores[pair.chosen] or 0, scores[pair.rejected] or 0, report)
    return [
        row | {"noise": share / row["pairs"] if report is not None and row["pairs"] else None}
        for row, share in zip(rows, wrong, strict=True)
    ]


def estimate_noise(chosen: int, rejected: int, report: dict) -> float:
    """Return the chance that a pair by score is the wrong way round, given what a judge report says.

    Against reviews the report tells how often reviewers agree at this distance. Against the exact verifier it tells
    what share of paths with each score is sound: of pairs with one sound and one flawed path, taken as independent,
    this is the share in which the sound one is rejected. Where a band holds no path the chance is 1/2. Pairs by answer
    count as right in `measure_yield`, as rules settle them.
    """
    if report["against"] == "reviews":
        agreed = read_calibration(report, abs(chosen - rejected))
        return 0.5 if agreed is None else 1 - agreed
    sound, sound_rejected = read_calibration(report, chosen), read_calibration(report, rejected)
    if sound is None or sound_rejected is None:
        return 0.5
    right, wrong = sound * (1 - sound_rejected), (1 - sound) * sound_rejected
    return wrong / (right + wrong) if right + wrong else 0.5


def read_calibration(report: dict, value: float) -> float | None:
    """Return what the report says of the band that a score or distance lies in."""
    return next((band["value"] for band in report["calibration"] if band["from"] <= value <= band["to"]), None)
