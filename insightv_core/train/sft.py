"""Supervised fine-tuning of an agent on TRL's trainer, its loss on the replies alone.

Importing this module loads TRL, which takes seconds: import it where training starts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl import SFTConfig, SFTTrainer

from insightv_core.errors import UserError
from insightv_core.train.arguments import (
    check_above_zero,
    check_lengths,
    context_length,
    measure_lengths,
    shared_arguments,
)
from insightv_core.train.failures import StopsOnNaN
from insightv_core.train.model_parts import freeze_vision, lora_config
from insightv_core.train.settings import SFTSettings

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, ProcessorMixin, TrainerCallback

COLUMNS = ("images", "prompt", "completion")


class AgentTrainer(StopsOnNaN, SFTTrainer):
    """TRL's trainer, without the message that it sends to the hub about model, data and device."""

    def _send_telemetry(self):
        return


def make_trainer(
    model: "PreTrainedModel",
    settings: SFTSettings,
    rows: "Dataset",
    processor: "ProcessorMixin",
    folder: str | Path,
    *,
    callbacks: "Sequence[TrainerCallback]" = (),
    **more: Any,
) -> AgentTrainer:
    """Return TRL's trainer for rows with `images`, and `prompt` and `completion` as messages.

    Rows without a picture have an empty list of images. More keywords go to `trl.SFTConfig`. Raises `UserError` for
    settings or rows that cannot be trained.
    """
    check_rows(rows)
    lengths = measure_lengths(rows, processor, ("completion",), lambda row: row["images"])
    advice = "leave them out with `insightv curate --exclude`"
    check_lengths(lengths, settings.max_tokens or context_length(model), "row", advice)
    if not settings.train_vision:
        freeze_vision(model)
    return AgentTrainer(
        model=model,
        args=training_arguments(settings, folder, **more),
        train_dataset=rows.select_columns(list(COLUMNS)),
        processing_class=processor,
        callbacks=list(callbacks),
        peft_config=None if settings.lora_rank is None else lora_config(model, settings.lora_rank, settings.lora_alpha),
    )


def training_arguments(settings: SFTSettings, folder: str | Path, **more: Any) -> SFTConfig:
    """Return TRL's settings for ours; `more` wins. Raises `UserError` for values that cannot be trained with."""
    check_above_zero(settings, ("learning_rate", "epochs", "batch_size", "gradient_accumulation"))
    return SFTConfig(
        **{
            **shared_arguments(settings, folder),
            "weight_decay": 0.0,
            "completion_only_loss": True,
            **more,
        }
    )


def check_rows(rows: "Dataset") -> None:
    """Raise `UserError` for rows that would be trained on in another sense than they are meant."""
    if not len(rows):
        raise UserError("there are no rows to train on: curate a set from assessed paths first")
    missing = [name for name in COLUMNS if name not in rows.column_names]
    if missing:
        raise UserError(f"the rows lack {', '.join(missing)}: each needs {', '.join(COLUMNS)}")
    if isinstance(rows[0]["completion"], str):
        raise UserError("the completions are plain text, which would be trained without an end mark: give messages")
