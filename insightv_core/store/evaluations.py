"""Answers of evaluated systems in a project: saved one by one, so that an evaluation can be continued."""

import json
from collections.abc import Iterable

from insightv_core.records import Answered
from insightv_core.store.project import Store


def add_answers(store: Store, run: str, benchmark: str, system: str, answered: Iterable[Answered]) -> None:
    """Save answers; one that is there already stays."""
    with store.transaction():
        store.db.conn.executemany(
            "INSERT OR IGNORE INTO evaluation_items (run, benchmark, system, item, seed, answer, outcome, tokens, "
            "seconds, details) VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?)",
            [
                (
                    run, benchmark, system, each.item, each.answer, each.outcome, each.tokens, each.seconds,
                    json.dumps({"reason": each.reason, **each.details}, ensure_ascii=False),
                )
                for each in answered
            ],
        )  # fmt: skip


def load_answers(store: Store, run: str, benchmark: str, system: str) -> list[Answered]:
    """Return the answers of a system on a benchmark, in the order of their items."""
    rows = store.rows(
        "SELECT * FROM evaluation_items WHERE run = ? AND benchmark = ? AND system = ? ORDER BY item",
        [run, benchmark, system],
    )
    found = []
    for row in rows:
        details = json.loads(row["details"])
        reason = details.pop("reason")
        found.append(
            Answered(row["item"], row["answer"], row["outcome"], reason, row["tokens"], row["seconds"], details)
        )
    return found
