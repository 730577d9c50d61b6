"""Where the paths of preference pairs come from: which model wrote them, and what it thought of them then."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from insightv_core.records import Path
from insightv_core.store import Store
from insightv_core.store.training import writing_models

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import ProcessorMixin

TOGETHER = 500  # paths that are read at once


def load_paths(store: Store, rows: "Dataset") -> dict[str, Path]:
    """Return both paths of every pair by id; `rows` has the columns `path` and `rejected_path`."""
    wanted = sorted({*rows["path"], *rows["rejected_path"]})
    found: dict[str, Path] = {}
    for start in range(0, len(wanted), TOGETHER):
        some = json.dumps(wanted[start : start + TOGETHER])
        found |= {path.id: path for path in store.load_paths("id IN (SELECT value FROM json_each(?))", [some])}
    return found


def writers(store: Store, paths: Mapping[str, Path]) -> dict[str, str | None]:
    """Return by path the fingerprint of the model that wrote it."""
    models = writing_models(store)
    return {name: models.get(path.run) for name, path in paths.items()}


def count_foreign(rows: "Dataset", written_by: Mapping[str, str | None], policy: str) -> int:
    """Return how many pairs hold a path that another model than `policy` wrote."""
    pairs = zip(rows["path"], rows["rejected_path"], strict=True)
    return sum({written_by[chosen], written_by[rejected]} != {policy} for chosen, rejected in pairs)


def answer_lengths(rows: "Dataset", processor: "ProcessorMixin") -> tuple[list[int], list[int]]:
    """Return the tokens of the chosen and of the rejected answers as they are trained on, end marks included."""
    found: tuple[list[int], list[int]] = ([], [])
    for row in rows.select_columns(["prompt", "chosen", "rejected"]):
        asked = processor.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
        for lengths, side in zip(found, ("chosen", "rejected"), strict=True):
            whole = processor.apply_chat_template([*row["prompt"], *row[side]], tokenize=False)
            lengths.append(len(processor.tokenizer(whole[len(asked) :], add_special_tokens=False)["input_ids"]))
    return found


def kept_logprobs(
    rows: "Dataset",
    paths: Mapping[str, Path],
    written_by: Mapping[str, str | None],
    reference: str,
    lengths: tuple[Sequence[int], Sequence[int]],
) -> list[tuple[float, float] | None]:
    """Return (chosen, rejected) log-probabilities of each pair as kept while `reference` sampled it, None where unfit.

    `lengths` are of `answer_lengths`.
    """
    found: list[tuple[float, float] | None] = []
    columns = (rows[name] for name in ("path", "chosen", "rejected_path", "rejected"))
    for chosen, text, rejected, other, tokens, other_tokens in zip(*columns, *lengths, strict=True):
        values = [
            kept_logprob(paths[path], said[0]["content"], count) if written_by[path] == reference else None
            for path, said, count in ((chosen, text, tokens), (rejected, other, other_tokens))
        ]
        known = [value for value in values if value is not None]
        found.append((known[0], known[1]) if len(known) == 2 else None)
    return found


def kept_logprob(path: Path, text: str, tokens: int) -> float | None:
    """Return the log-probability of a chain as it was kept while sampling, None where it is of something else.

    What was summed while sampling are the tokens of the first reply, its end mark included, under the unscaled and
    unmasked model. It is of the tokens that are trained on only where

    * the chain is the first reply: one that was asked for again follows upon the reply that could not be read;
    * it is one reply: in the style "progressive" each step has a turn of its own, with the user's words between;
    * the text is the reply byte for byte: training writes the steps anew, so other spaces, keys or order differ, and
      so does a chain that a reviewer rewrote;
    * the number of tokens is the same: a model may spell a text in another way than its tokenizer does, and chat
      templates may add tokens behind the end mark (Qwen's add a line break), which were never sampled.

    Replies held to a grammar are summed without its mask, but none of these is a whole chain.
    """
    first, *others = path.turns or (None,)
    if first is None or not all(turn.accepted for turn in path.turns) or any(turn.tokens for turn in others):
        return None
    same = "\n".join(turn.raw for turn in path.turns) == text and first.tokens == tokens
    return first.logprob if same else None
