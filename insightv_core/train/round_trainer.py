"""The trainer of one round of DPO: reference, policy and alarms put together.

Importing this module loads TRL, which takes seconds: import it where training starts.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from peft import PeftModel, load_peft_weights, set_peft_model_state_dict

from insightv_core.store import Store
from insightv_core.train.adapters import Adapter
from insightv_core.train.alarms import Watch, check_lengths, check_origin, make_watcher
from insightv_core.train.dpo import PreferenceTrainer
from insightv_core.train.origin import answer_lengths, count_foreign, kept_logprobs, load_paths, writers
from insightv_core.train.processes import is_main
from insightv_core.train.settings import DPOSettings

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import ProcessorMixin, TrainerCallback

COLUMNS = ["images", "prompt", "chosen", "rejected"]


def make_round_trainer(
    store: Store,
    run: str,
    rows: "Dataset",
    model: PeftModel,
    policy: Adapter,
    reference: Adapter,
    settings: DPOSettings,
    processor: "ProcessorMixin",
    folder: Path,
    *,
    callbacks: "Sequence[TrainerCallback]" = (),
) -> PreferenceTrainer:
    """Return the trainer of `policy` against `reference`, the adapter that `model` comes with.

    `rows` are pairs as `export.to_dataset` gives them. Raises `UserError` for what cannot be trained.
    """
    paths = load_paths(store, rows)
    written_by = writers(store, paths)
    lengths = answer_lengths(rows, processor)
    known: Sequence[tuple[float, float] | None] = ()
    if settings.free_reference:
        known = kept_logprobs(rows, paths, written_by, reference.version.fingerprint, lengths)
        if is_main():
            fit = sum(pair is not None for pair in known)
            print(f"reference log-probabilities kept while sampling fit {fit} of {len(rows)} pairs", file=sys.stderr)
    foreign = count_foreign(rows, written_by, policy.version.fingerprint)
    alarms = [alarm for alarm in (check_lengths(*lengths), check_origin(foreign, len(rows))) if alarm is not None]
    watch = Watch(settings.beta, sum(lengths[0]) / len(rows))
    trainer = PreferenceTrainer(
        model.train(), settings, rows.select_columns(COLUMNS), processor, folder, known=known,
        callbacks=[*callbacks, make_watcher(store, run, watch, alarms)],
    )  # fmt: skip
    if policy != reference:  # the reference is in the rows by now, so its weights make room for those to be trained
        set_peft_model_state_dict(trainer.model, load_peft_weights(str(policy.folder), device="cpu"))
    return trainer
