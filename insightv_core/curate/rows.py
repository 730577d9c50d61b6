"""Rows to train on, in full: what is asked, what is to be replied, and where both come from."""

from collections.abc import Iterator
from dataclasses import dataclass

from insightv_core import prompts
from insightv_core.curate.sets import PLAIN, REASON, write_chain
from insightv_core.errors import UserError
from insightv_core.prompts import Message
from insightv_core.records import Question
from insightv_core.store import Store
from insightv_core.store.curation import StoredChain, load_pairs, load_rows


@dataclass(frozen=True)
class TrainingRow:
    """One row of a training set or one preference pair, where `rejected` is not None.

    `number` is the row's number in its set, or the key of a pair. `prompt` holds messages with a place for the
    picture of `question`; `completion` is the reply to learn, or the chosen one. `path` and `rejected_path` are where
    the chains come from, `outcome` tells whether the answer of `path` is right by its newest assessment.
    """

    id: str
    number: int
    kind: str
    question: Question
    prompt: tuple[Message, ...]
    completion: str
    rejected: str | None = None
    path: str | None = None
    rejected_path: str | None = None
    outcome: str | None = None
    reason: str | None = None
    margin: float | None = None
    shared_steps: int | None = None
    excluded: str | None = None


def training_rows(store: Store, run: str, name: str, *, excluded: bool = False) -> Iterator[TrainingRow]:
    """Yield the rows of "reason" or "summary", or the "pairs", of a curating run; the excluded ones too if asked for.

    Raises `UserError` where the run was made with other prompts than those of this version.
    """
    version = store.run(run).prompt_version
    if version != prompts.PROMPT_VERSION:
        raise UserError(
            f"run {run} was curated for prompts of version {version}, this is version {prompts.PROMPT_VERSION}: run "
            "`insightv curate` again"
        )
    rows = read_pairs(store, run) if name == "pairs" else read_set(store, run, name)
    return (row for row in rows if excluded or row.excluded is None)


def read_set(store: Store, run: str, name: str) -> Iterator[TrainingRow]:
    """Yield every row of a training set."""
    for number, row, question, chain in load_rows(store, run, name):
        yield TrainingRow(
            f"{name}-{number}", number, row.kind, question, tuple(ask_row(row.kind, question, chain)), row.target,
            path=row.path, outcome=chain.outcome if chain else None, excluded=row.excluded,
        )  # fmt: skip


def ask_row(kind: str, question: Question, chain: StoredChain | None) -> list[Message]:
    """Return the messages that a row of that kind replies to: the same as the agents see when they work."""
    text = prompts.write_question(question)
    if kind == REASON:
        return prompts.ask(text, prompts.REASON)
    if kind == PLAIN or chain is None:
        return prompts.ask(text, prompts.DIRECT)
    return prompts.summarize(text, prompts.format_chain(chain.steps))


def read_pairs(store: Store, run: str) -> Iterator[TrainingRow]:
    """Yield every preference pair of a curating run."""
    for key, pair, question, chosen, rejected in load_pairs(store, run):
        yield TrainingRow(
            pair.id, key, pair.kind, question, tuple(ask_row(REASON, question, chosen)),
            pair.edited if pair.edited is not None else write_chain(chosen.steps), write_chain(rejected.steps),
            pair.chosen, pair.rejected, chosen.outcome, pair.reason, pair.margin, pair.shared_steps, pair.excluded,
        )  # fmt: skip
