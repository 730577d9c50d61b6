"""Training sets of the study that no stage needs otherwise, made of a curated reasoning and summary set.

They are kept beside the two sets of the same curating run, so every row of every model can be traced.
"""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from insightv_core.curate.sets import REASON
from insightv_core.errors import UserError
from insightv_core.parse import write_answer
from insightv_core.records import Question, SetRow
from insightv_core.store import Store
from insightv_core.store.curation import count_rows, load_manifest, load_rows, save_curation

STUDY = "study-"
REASON_SET, SUMMARY_SET, DIRECT_SET, MULTI_TURN_SET = (
    "study-reason",
    "study-summary",
    "study-direct",
    "study-multi-turn",
)


def share_set(share: float) -> str:
    """Return the name of the set with a share of the reasoning set.

    >>> share_set(0.125), share_set(1)
    ('study-reason-12.5', 'study-reason')
    """
    return REASON_SET if share == 1 else f"{REASON_SET}-{100 * share:g}"


def make_sets(store: Store, curation: str, shares: Sequence[float] = ()) -> dict[str, int]:
    """Save the study's sets of a curating run; return how many rows to train on each has.

    Smaller shares are parts of larger ones. For direct fine-tuning the reply is the chain with the answer after it; for
    multi-turn fine-tuning one model learns the rows of both agents. Raises `UserError` where a set has no rows.
    """
    reason = [(row, question) for _, row, question, _ in load_rows(store, curation, "reason") if row.excluded is None]
    summary = [row for _, row, _, _ in load_rows(store, curation, "summary") if row.excluded is None]
    for name, rows in (("reasoning", reason), ("summary", summary)):
        if not rows:
            raise UserError(
                f"the {name} set of curating run {curation} has no rows: assess more paths with "
                "`insightv assess`, then run `insightv curate` again"
            )
    # In an order of their own: the same rows in the same order, trained on for `insightv sft`, would make the same
    # adapter again.
    reason.sort(key=lambda pair: shuffle_key(pair[0]))
    summary.sort(key=shuffle_key)
    chains = [row for row, _ in reason]
    sets = {
        REASON_SET: chains,
        SUMMARY_SET: summary,
        DIRECT_SET: [add_answer(row, question) for row, question in reason],
        MULTI_TURN_SET: [*chains, *summary],
        **{share_set(share): chains[: max(1, round(share * len(chains)))] for share in shares},
    }
    save_curation(store, curation, sets, [], load_manifest(store, curation))
    return {name: len(rows) for name, rows in sets.items()}


def count_sets(store: Store, curation: str) -> dict[str, int]:
    """Return how many rows to train on each of the study's sets has."""
    counts = count_rows(store, curation)
    return {name: sum(counts[name]["rows"].values()) for name in counts if name.startswith(STUDY)}


def shuffle_key(row: SetRow) -> str:
    """Return what the order of rows goes by."""
    return sha256(f"{row.question} {row.path} {row.kind}".encode()).hexdigest()


def add_answer(row: SetRow, question: Question) -> SetRow:
    """Return a row whose reply goes on to the answer."""
    return replace(row, kind=REASON, target=f"{row.target}\n{write_answer(question.answer)}")
