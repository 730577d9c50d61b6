"""What both trainers are told alike: TRL's arguments for our settings, and conversations that fit the model.

Importing this module loads TRL, which takes seconds: import it where training starts.
"""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from trl import apply_chat_template, prepare_multimodal_messages

from insightv_core.errors import UserError
from insightv_core.train.settings import TrainingSettings

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, ProcessorMixin


def shared_arguments(settings: TrainingSettings, folder: str | Path) -> dict[str, Any]:
    """Return those of TRL's arguments that both trainers share."""
    has_bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return {
        "output_dir": str(folder),
        "learning_rate": settings.learning_rate,
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "warmup_steps": settings.warmup,
        "lr_scheduler_type": "cosine",
        "max_grad_norm": settings.max_gradient_norm,
        "activation_checkpointing": settings.gradient_checkpointing,
        "bf16": has_bf16 if settings.bf16 is None else settings.bf16,
        # Unless told, accelerate looks for GPUs alone: several processes without one would each train by themselves.
        "use_cpu": not torch.cuda.is_available(),
        "seed": settings.seed,
        "logging_steps": settings.logging_steps,
        "save_steps": settings.save_steps,
        "save_total_limit": settings.keep_checkpoints,
        "max_length": None,  # TRL's default cuts at 1024, through answers and picture tokens alike
        "remove_unused_columns": False,  # TRL counts columns that it does not know as unused
        "dataloader_pin_memory": torch.cuda.is_available(),
        "report_to": "none",
    }


def check_above_zero(settings: TrainingSettings, names: Sequence[str]) -> None:
    """Raise `UserError` for the first of these settings that would train nothing."""
    for name in names:
        if not getattr(settings, name) > 0:
            raise UserError(f"{name} is {getattr(settings, name)}, which trains nothing: set it above 0")


def measure_lengths(
    rows: "Dataset", processor: "ProcessorMixin", answers: Sequence[str], pictures: Callable[[dict], list]
) -> list[int]:
    """Return for each row the tokens of prompt, pictures and its longest answer together.

    `answers` names their columns. Pictures are processed once for each combination of sizes, on which alone their
    number of tokens depends.
    """
    from datasets import Image

    added: dict[tuple, int] = {}
    lengths = []
    for row in read_undecoded(rows):
        images = pictures(row)
        messages = {name: prepare_multimodal_messages(row[name]) for name in answers}
        messages["prompt"] = prepare_multimodal_messages(row["prompt"], images=images)
        text = apply_chat_template(messages, processor)
        prompt, *replies = (
            len(processor.tokenizer(text[name], add_special_tokens=False).input_ids) for name in ("prompt", *answers)
        )
        sizes = tuple(map(read_size, images))
        if images and sizes not in added:
            decoded = [Image().decode_example(image) for image in images]
            whole = processor(images=[decoded], text=[text["prompt"]], add_special_tokens=False)
            added[sizes] = len(whole["input_ids"][0]) - prompt
        lengths.append(prompt + added.get(sizes, 0) + max(replies))
    return lengths


def read_undecoded(rows: "Dataset") -> Iterator[dict]:
    """Yield rows whose pictures are as they are stored, {"bytes", "path"}: to decode one takes longer than its text."""
    for batch in rows.with_format("arrow").iter(64):
        yield from batch.to_pylist()


def read_size(picture: dict) -> tuple[int, int]:
    """Return width and height of a stored picture from its first bytes, as it is once it is decoded."""
    from PIL import ExifTags, Image

    source = picture["path"] if picture["bytes"] is None else io.BytesIO(picture["bytes"])
    with Image.open(source) as image:
        # A PNG would have to be decoded for it, and cameras write none.
        turned = image.format != "PNG" and image.getexif().get(ExifTags.Base.Orientation, 1) > 4
        return image.size[::-1] if turned else image.size


def check_lengths(lengths: Sequence[int], most: float, noun: str, advice: str) -> None:
    """Raise `UserError` if a row is longer than `most`: a cut answer would be learned as a whole one."""
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    if lengths[longest] > most:
        count = sum(length > most for length in lengths)
        raise UserError(
            f"{count} of {len(lengths)} {noun}s are longer than {most} tokens, {noun} {longest} with "
            f"{lengths[longest]}: {advice}, or raise max_tokens if the model has room for it"
        )


def context_length(model: "PreTrainedModel") -> float:
    """Return the longest conversation that a model takes."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or math.inf
