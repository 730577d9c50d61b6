"""What a pre-training run depends on: its settings, their check, and the options of the command line."""

import argparse
import os
from dataclasses import dataclass, field, fields, replace

from insightv_core.errors import UserError

# These say where and how a run is carried out, not what is learned: a stopped run may change them.
FREE_SETTINGS = ("out", "device", "workers", "compile", "checkpoint_every", "log_every")


def _setting(default, text: str):
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class PretrainSettings:
    """Everything that a pre-training run depends on."""

    out: str = _setting("runs/nano", "folder of the run: checkpoint, log and, at the end, `model`")
    model: str = _setting("base", "what to learn: tower (to read pictures), then base, then teacher")
    init: str = _setting("", "model to start from, a name or folder; a teacher starts from nano-base unless given")
    aim: bool = _setting(False, "begin with heads of the tower that look along their own column and row")
    steps: int = _setting(20_000, "number of optimizer steps")
    curriculum: bool = _setting(True, "begin with small scenes and captions; switch off to continue a trained model")
    scenes_per_step: int = _setting(64, "pictures a step, each with all its conversations")
    learning_rate: float = _setting(5e-3, "learning rate between warm-up and decay")
    warmup_steps: int = _setting(200, "steps over which the learning rate rises to its full value")
    decay_fraction: float = _setting(0.3, "last part of the run over which the learning rate falls to zero")
    weight_decay: float = _setting(0.05, "weight decay of the matrices")
    optimizer: str = _setting("muon", "muon (AdamW for all but the hidden matrices) or adamw")
    ema: bool = _setting(True, "save a running average of the weights instead of the last ones")
    ema_decay: float = _setting(0.999, "share of the running average that a step keeps")
    seed: int = _setting(0, "seed of the weights and of the scenes")
    micro_batch_tokens: int = _setting(0, "padded tokens a forward pass; 0 means 65536 on a GPU and 8192 on the CPU")
    precision: str = _setting("auto", "float32, bfloat16, or auto: bfloat16 where the device is fast at it")
    compile: bool = _setting(False, "compile the model with torch.compile")
    device: str = _setting("", "torch device; the first GPU, else the CPU, unless given")
    workers: int = _setting(-1, "processes that draw and tokenize; -1 means all cores but two, 0 none")
    checkpoint_every: int = _setting(500, "steps between checkpoints")
    log_every: int = _setting(20, "steps between lines of log.jsonl")


def learning_rate_at(settings: PretrainSettings, step: int) -> float:
    """Return the learning rate of a step: a linear rise, a plateau, and a linear fall to zero."""
    rise = (step + 1) / max(settings.warmup_steps, 1)
    fall = (settings.steps - step) / max(settings.steps * settings.decay_fraction, 1)
    return settings.learning_rate * min(1.0, rise, fall)


def check_settings(settings: PretrainSettings) -> None:
    """Raise `UserError` for a setting that cannot work."""
    choices = {
        "model": ("tower", "base", "teacher"),
        "optimizer": ("muon", "adamw"),
        "precision": ("auto", "float32", "bfloat16"),
    }
    for name, allowed in choices.items():
        if getattr(settings, name) not in allowed:
            raise UserError(f"{name} is {getattr(settings, name)!r}: choose one of {', '.join(allowed)}")
    for name in ("steps", "scenes_per_step", "checkpoint_every", "log_every"):
        if getattr(settings, name) < 1:
            raise UserError(f"{name} is {getattr(settings, name)}: give a whole number of at least 1")
    if not 0 <= settings.decay_fraction <= 1 or not 0 <= settings.ema_decay < 1:
        raise UserError("decay_fraction must lie in 0..1 and ema_decay in 0..1 without 1")


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resolve_settings(settings: PretrainSettings) -> PretrainSettings:
    """Fill in what is left to the machine: device, workers, precision and batch size."""
    import torch

    device = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = device.startswith("cuda")
    fast_bfloat16 = (
        torch.cuda.is_bf16_supported() if on_gpu else getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
    )
    return replace(
        settings,
        device=device,
        workers=settings.workers if settings.workers >= 0 else max(count_cores() - 2, 1),
        precision=settings.precision if settings.precision != "auto" else "bfloat16" if fast_bfloat16 else "float32",
        micro_batch_tokens=settings.micro_batch_tokens or (65536 if on_gpu else 8192),
        init=settings.init or ("nano-base" if settings.model == "teacher" else ""),
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one option for each setting."""
    for setting in fields(PretrainSettings):
        kind = {"action": argparse.BooleanOptionalAction} if setting.type is bool else {"type": setting.type}
        option = "--" + setting.name.replace("_", "-")
        parser.add_argument(option, default=setting.default, help=setting.metadata["help"] + " (%(default)s)", **kind)


def settings_from(arguments: argparse.Namespace) -> PretrainSettings:
    """Return the settings that options of `add_arguments` stand for."""
    return PretrainSettings(**{setting.name: getattr(arguments, setting.name) for setting in fields(PretrainSettings)})
