"""Supervised fine-tuning of an agent on TRL's trainer, its loss on the replies alone.

Importing this module loads TRL, which takes seconds: import it where training starts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from trl import SFTConfig, SFTTrainer, apply_chat_template, prepare_multimodal_messages

from insightv_core.errors import UserError
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
    check_lengths(rows, processor, settings.max_tokens or context_length(model))
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
    for name in ("learning_rate", "epochs", "batch_size", "gradient_accumulation"):
        if not getattr(settings, name) > 0:
            raise UserError(f"{name} is {getattr(settings, name)}, which trains nothing: set it above 0")
    on_gpu = torch.cuda.is_available()
    return SFTConfig(
        **{
            "output_dir": str(folder),
            "learning_rate": settings.learning_rate,
            "num_train_epochs": settings.epochs,
            "per_device_train_batch_size": settings.batch_size,
            "gradient_accumulation_steps": settings.gradient_accumulation,
            "warmup_steps": settings.warmup,
            "lr_scheduler_type": "cosine",
            "max_grad_norm": settings.max_gradient_norm,
            "weight_decay": 0.0,
            "activation_checkpointing": settings.gradient_checkpointing,
            "bf16": on_gpu and torch.cuda.is_bf16_supported() if settings.bf16 is None else settings.bf16,
            "use_cpu": not on_gpu,
            "seed": settings.seed,
            "logging_steps": settings.logging_steps,
            "save_steps": settings.save_steps,
            "save_total_limit": settings.keep_checkpoints,
            "max_length": None,  # TRL cuts at 1024 by default, through replies and picture tokens alike
            "completion_only_loss": True,
            "remove_unused_columns": False,
            "dataloader_pin_memory": on_gpu,
            "report_to": "none",
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


def row_lengths(rows: "Dataset", processor: "ProcessorMixin") -> list[int]:
    """Return the tokens of each row, prompt, pictures and completion together.

    Pictures are processed once for each combination of sizes, on which alone their number of tokens depends.
    """
    added: dict[tuple, int] = {}
    lengths = []
    for row in rows:
        messages = {
            "prompt": prepare_multimodal_messages(row["prompt"], images=row["images"]),
            "completion": prepare_multimodal_messages(row["completion"]),
        }
        text = apply_chat_template(messages, processor)
        tokens = [len(processor.tokenizer(part, add_special_tokens=False).input_ids) for part in text.values()]
        sizes = tuple(picture.size for picture in row["images"])
        if sizes and sizes not in added:
            whole = processor(images=[row["images"]], text=[text["prompt"]], add_special_tokens=False)
            added[sizes] = len(whole["input_ids"][0]) - tokens[0]
        lengths.append(sum(tokens) + added.get(sizes, 0))
    return lengths


def check_lengths(rows: "Dataset", processor: "ProcessorMixin", most: float) -> None:
    """Raise `UserError` if a row has more than `most` tokens: a cut reply would be learned as a whole one."""
    lengths = row_lengths(rows, processor)
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    if lengths[longest] > most:
        count = sum(length > most for length in lengths)
        raise UserError(
            f"{count} of {len(lengths)} rows are longer than {most} tokens, row {longest} with {lengths[longest]}: "
            "leave them out with `insightv curate --exclude`, or raise max_tokens if the model has room for it"
        )


def context_length(model: "PreTrainedModel") -> float:
    """Return the longest conversation that a model takes."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or float("inf")
