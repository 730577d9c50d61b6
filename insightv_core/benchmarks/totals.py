"""The figures that benchmarks publish, made of the scores of their questions."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

from insightv_core.records import Question

Scored = Sequence[tuple[Question, float]]
Total = Callable[[Scored], dict[str, float]]

PERCEPTION = (
    "existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR",
)  # fmt: skip
ROTATION = 1_000_000  # between the indices of a question of MMBench and of its rotations


def mean(scored: Scored) -> dict[str, float]:
    """Return the mean in percent."""
    return {"percent": 100 * _mean([score for _, score in scored])}


def count_of_1000(scored: Scored) -> dict[str, float]:
    """Return OCRBench's score: right answers, which are of 1000 where all questions were asked."""
    return {"right": sum(score for _, score in scored), "asked": len(scored)}


def whole_circles(scored: Scored) -> dict[str, float]:
    """Return MMBench's CircularEval (arXiv 2307.06281, section 4): questions right in every rotation, in percent.

    Beside it stand the number of questions and of rotations asked: only with all of them it is the published figure.
    """
    circles = _group(scored, lambda question: int(question.metadata["index"]) % ROTATION)
    whole = [float(all(score == 1 for score in scores)) for scores in circles.values()]
    return {"circular percent": 100 * _mean(whole), "questions": len(circles), "rotations": len(scored)}


def mme_score(scored: Scored) -> dict[str, float]:
    """Return MME's scores (arXiv 2306.13394, section 2.2): over subtasks, the sum of accuracy and accuracy+ in percent.

    Accuracy counts questions, accuracy+ pictures whose two questions are both right. Pictures of which only one
    question was asked are left out.
    """
    pairs = _group(scored, lambda question: (question.family, question.metadata["question_id"]))
    tasks: dict[str, list[float]] = defaultdict(list)
    for (task, _), scores in pairs.items():
        if len(scores) == 2:
            tasks[task].append(100 * _mean(scores) + 100 * (scores == [1, 1]))
    sums = {"perception": 0.0, "cognition": 0.0}
    for task, found in tasks.items():
        sums["perception" if task in PERCEPTION else "cognition"] += _mean(found)
    return {**sums, "total": sum(sums.values()), "subtasks": len(tasks), "pictures": sum(map(len, tasks.values()))}


def _group(scored: Scored, key: Callable[[Question], Hashable]) -> dict:
    found: dict[Hashable, list[float]] = defaultdict(list)
    for question, score in scored:
        found[key(question)].append(score)
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
