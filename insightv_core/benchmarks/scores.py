"""Answers scored by a benchmark's own metric, and figures made of the scores.

The outcome of an answer is "correct" where it scores at least a half, which for most metrics is 1. Reports take the
scores themselves, as ANLS and VQA accuracy give parts of a point.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from insightv_core.answers import CORRECT, UNPARSED
from insightv_core.answers.verdict import WRONG
from insightv_core.benchmarks.rows import Loaded
from insightv_core.benchmarks.table import Benchmark
from insightv_core.evaluate.items import Item
from insightv_core.evaluate.plan import Planned
from insightv_core.evaluate.statistics import SystemReport, estimate, report, sign_flip
from insightv_core.evaluate.systems import System
from insightv_core.records import Answered, Question

SCORE = "score"
ENOUGH = 0.5
SHOWN = 5  # refused rows in words


def score_system(system: System, benchmark: Benchmark) -> System:
    """Return the system with its answers judged by the benchmark's metric; details keep the score."""

    def answer(items: Sequence[Item]) -> Iterator[Answered]:
        known = {item.question.id: item.question for item in items}
        for answered in system(items):
            yield score_answer(answered, known[answered.item], benchmark)

    return answer


def score_answer(answered: Answered, question: Question, benchmark: Benchmark) -> Answered:
    """Return an answer judged by the benchmark's metric."""
    given = (answered.answer or "").strip()
    score = benchmark.metric(question, given) if given else None
    outcome = UNPARSED if score is None else CORRECT if score >= ENOUGH else WRONG
    reason = f"{benchmark.metric.__name__.replace('_', ' ')}: {'not readable' if score is None else f'{score:.2f}'}"
    return replace(answered, outcome=outcome, reason=reason, details={**answered.details, SCORE: score or 0.0})


def score_planned(planned: Planned, benchmark: Benchmark) -> Planned:
    """Return a planned system whose answers are judged by the benchmark's metric."""
    return replace(planned, make=lambda known, items: score_system(planned.make(known, items), benchmark))


def report_scores(
    answered: Iterable[Answered], system: str, benchmark: str, *, against: Sequence[Answered] = (), seed: int = 0
) -> SystemReport:
    """Return a system's figures with the mean score, from 0 to 1, in place of the share of right answers."""
    found = list(answered)
    scores = {each.item: each.details[SCORE] for each in found}
    other = {each.item: each.details[SCORE] for each in against}
    accuracy = estimate(list(scores.values()), seed)
    figures = replace(report(found, system, benchmark, seed=seed), accuracy=accuracy, by_seed=(accuracy.value,))
    differences = [score - other[item] for item, score in scores.items() if item in other]
    if not differences:
        return figures
    return replace(figures, difference=estimate(differences, seed), p=sign_flip(differences, seed))


def total_scores(answered: Iterable[Answered], items: Sequence[Item], benchmark: Benchmark) -> dict[str, float]:
    """Return the figures that the benchmark publishes, on its own scale."""
    known = {item.question.id: item.question for item in items}
    return benchmark.total([(known[each.item], each.details[SCORE]) for each in answered])


def describe_benchmark(benchmark: Benchmark, loaded: Loaded, found: Mapping[str, Sequence[Answered]]) -> dict:
    """Return what goes with a benchmark's reports: its scale, its published figures by system, and what was asked."""
    return {
        "title": benchmark.title,
        "scale": benchmark.scale,
        "totals": {system: total_scores(answered, loaded.items, benchmark) for system, answered in found.items()},
        "questions": len(loaded.items),
        "rows": loaded.rows,
        "refused": [list(each) for each in loaded.refused],
    }


def write_totals(described: dict) -> str:
    """Return in words what `describe_benchmark` tells."""
    asked = described["questions"] + len(described["refused"])
    part = f", of the first {asked} of {described['rows']} rows" if described["rows"] not in (None, asked) else ""
    lines = [f"{described['title']}: {described['scale']}; {described['questions']} questions{part}"]
    for system, total in described["totals"].items():
        figures = ", ".join(
            f"{name} {value if isinstance(value, int) else format(value, '.2f')}" for name, value in total.items()
        )
        lines.append(f"  {system}: {figures}")
    lines += [f"  refused {place}: {reason}" for place, reason in described["refused"][:SHOWN]]
    if len(described["refused"]) > SHOWN:
        lines.append(f"  and {len(described['refused']) - SHOWN} more refused rows; --json lists all")
    return "\n".join(lines)
