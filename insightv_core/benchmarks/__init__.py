"""Public benchmarks: loaded by the columns of their datasets, and scored by their own metrics.

`load_benchmark` gives items that any system of an evaluation can answer, `score_planned` lets its answers be judged by
the benchmark's metric, and `report_scores` and `describe_benchmark` make the figures of what was answered.
"""

from insightv_core.benchmarks.rows import Loaded, load_benchmark
from insightv_core.benchmarks.scores import (
    describe_benchmark,
    report_scores,
    score_planned,
    score_system,
    total_scores,
    write_totals,
)
from insightv_core.benchmarks.table import BENCHMARKS, Benchmark

__all__ = [
    "BENCHMARKS", "Benchmark", "Loaded", "describe_benchmark", "load_benchmark", "report_scores", "score_planned",
    "score_system", "total_scores", "write_totals",
]  # fmt: skip
