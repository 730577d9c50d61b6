"""Stage 5: how well each system answers held-out questions, with intervals, controls and paired differences."""

from insightv_core.evaluate.items import AS_IT_IS, BLANK, SHUFFLED, Item, held_out_items, with_pictures
from insightv_core.evaluate.statistics import (
    RESAMPLES,
    Estimate,
    PathTable,
    SystemReport,
    average_by_item,
    compare,
    count_paths,
    estimate,
    report,
    sign_flip,
    split_accuracy,
)
from insightv_core.evaluate.systems import (
    ANSWER_MARK,
    GREEDY_CHAINS,
    THINK_TOKENS,
    System,
    best_of,
    chain_alone,
    direct,
    exchange,
    grade,
    judged_chains,
    majority,
    one_model,
    read_thoughts,
    read_whole,
    thinking,
    two_agents,
    vote,
)
from insightv_core.evaluate.tables import write_csv, write_latex, write_markdown

__all__ = [
    "ANSWER_MARK", "AS_IT_IS", "BLANK", "GREEDY_CHAINS", "RESAMPLES", "SHUFFLED", "THINK_TOKENS", "Estimate", "Item",
    "PathTable", "System", "SystemReport", "average_by_item", "best_of", "chain_alone", "compare", "count_paths",
    "direct", "estimate", "exchange", "grade", "held_out_items", "judged_chains", "majority", "one_model",
    "read_thoughts", "read_whole", "report", "sign_flip", "split_accuracy", "thinking", "two_agents", "vote",
    "with_pictures", "write_csv", "write_latex", "write_markdown",
]  # fmt: skip
