"""Pre-train nano on drawn scenes: one picture and its conversations at a time, many scenes a step.

A step is a pure function of (seed, step number), made ahead of time by worker processes. Each picture is encoded
once and shared by all its conversations, and only positions that are trained on reach the language model's head.
A run that was stopped continues with the same command and ends with the same weights.
"""

import argparse
import contextlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from insightv_core.errors import UserError
from insightv_core.nano import model as nano
from insightv_core.nano.training.aim import aim_heads
from insightv_core.nano.training.lessons import HEADS, READING, make_heads
from insightv_core.nano.training.muon import Muon
from insightv_core.nano.training.neighbours import locate_neighbours
from insightv_core.nano.training.settings import (
    FREE_SETTINGS,
    PretrainSettings,
    add_arguments,
    check_settings,
    count_cores,
    learning_rate_at,
    resolve_settings,
    settings_from,
)
from insightv_core.nano.training.steps import (
    StepData,
    Vocabulary,
    add_gradients,
    encode_conversations,
    locate_words,
    pack_rows,
    read_vocabulary,
    shrink_picture,
)

if TYPE_CHECKING:
    import torch
    from transformers import LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast

TOKENIZER_TEXTS = 3_000
AIMING_PICTURES = 96
GRADIENT_NORM = 1.0
GREY = (128, 128, 128)


@dataclass(frozen=True)
class PretrainResult:
    """Where a run stands: `model_folder` is None unless all steps are done."""

    step: int
    loss: float | None
    model_folder: Path | None


@dataclass
class StepDataset:
    """The steps of a run by number, as a map-style data set for a data loader."""

    settings: PretrainSettings
    tokenizer: "PreTrainedTokenizerFast"

    def __len__(self) -> int:
        return self.settings.steps

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What a step has to know of each token."""
        return read_vocabulary(self.tokenizer)

    def __getitem__(self, step: int) -> StepData:
        import numpy as np
        import torch
        from PIL import Image

        from insightv_core.nano.render import render_with_words
        from insightv_core.nano.training.corpus import training_scene

        settings = self.settings
        first = step * settings.scenes_per_step
        progress = step / settings.steps if settings.curriculum else 1.0
        scenes = [
            training_scene(settings.model, settings.seed, first + place, progress)
            for place in range(settings.scenes_per_step)
        ]
        blank = Image.new("RGB", (nano.IMAGE_SIZE, nano.IMAGE_SIZE), GREY)
        drawn = [(blank, []) if item.blank else render_with_words(item.scene, item.style) for item in scenes]
        pictures = [shrink_picture(picture) for picture, _ in drawn]
        groups = [item.conversations for item in scenes]
        words = locate_words(self.tokenizer, [words for _, words in drawn])
        return pack_rows(
            encode_conversations(self.tokenizer, groups),
            torch.from_numpy(np.stack(pictures)),
            words,
            locate_neighbours([words for _, words in drawn], words.tolist()),
            sorted({talk.kind for talks in groups for talk in talks}),
            limit=settings.micro_batch_tokens,
            pad=self.tokenizer.pad_token_id,
            vocabulary=self.vocabulary,
            multiple=64 if settings.compile else 8,  # few distinct shapes when each one is compiled
        )


def _start_worker(_worker: int) -> None:
    """Leave stopping to the main process, which ends its workers, and use one thread: each core has its worker."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)


def load_steps(
    settings: PretrainSettings, tokenizer: "PreTrainedTokenizerFast", start: int
) -> "Generator[StepData, None, None]":
    """Yield the steps from `start` on, made ahead of time by `settings.workers` processes."""
    from torch.utils.data import DataLoader

    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the tokenizer's own threads would not survive the fork
    workers = {"worker_init_fn": _start_worker, "prefetch_factor": 3} if settings.workers else {}
    steps = iter(
        DataLoader(
            StepDataset(settings, tokenizer),
            batch_size=None,
            sampler=range(start, settings.steps),
            num_workers=settings.workers,
            pin_memory=settings.device.startswith("cuda"),
            **workers,
        )
    )
    try:
        yield from steps
    finally:
        if settings.workers:
            # After an error in a worker, Python would first wait for all of them, and they do not hear its SIGTERM.
            steps._shutdown_workers()


def is_trained(name: str, settings: PretrainSettings) -> bool:
    """Tell whether a weight changes: learning to read pictures leaves the language model as it is."""
    return settings.model != "tower" or not name.startswith(("model.language_model", "lm_head"))


class Training:
    """The changing state of a run: weights, running average, optimizer state and the number of steps done."""

    def __init__(self, model: "LlavaForConditionalGeneration", settings: PretrainSettings):
        import torch

        self.model, self.settings, self.step = model.train(), settings, 0
        named = dict(model.named_parameters())
        # The tower's last norm lies behind the features that LLaVA takes, so it gets no gradient.
        self.names = [name for name in named if "post_layernorm" not in name and is_trained(name, settings)]
        self.weights = [named[name] for name in self.names]
        self.average = [weight.detach().clone() for weight in self.weights]
        hidden = {
            n for n in self.names if named[n].ndim == 2 and not n.endswith(("embed_tokens.weight", "embedding.weight"))
        }
        by_muon = hidden if settings.optimizer == "muon" else set()
        decays = [named[n] for n in self.names if n in hidden - by_muon]
        rest = [named[n] for n in self.names if n not in hidden]
        self.muon = Muon([named[n] for n in self.names if n in by_muon], settings.weight_decay)
        groups = [{"params": decays, "weight_decay": settings.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        self.adamw = torch.optim.AdamW([g for g in groups if g["params"]], lr=1.0, betas=(0.9, 0.95), fused=True)
        self.autocast = _autocast(settings)

    def take_step(self, data: StepData) -> "tuple[torch.Tensor, dict, torch.Tensor]":
        """Learn from one step's data; return its loss sums by kind, its lessons' losses and its gradient's norm."""
        import torch

        for weight in self.weights:
            weight.grad = None
        sums, lessons = add_gradients(self.model, data, self.autocast)
        for weight in self.weights:
            if weight.grad is None:  # a step without pictures leaves the tower without gradients
                weight.grad = torch.zeros_like(weight)
        norm = torch.nn.utils.clip_grad_norm_(self.weights, GRADIENT_NORM)
        rate = learning_rate_at(self.settings, self.step)
        self.muon.step(rate)
        for group in self.adamw.param_groups:
            group["lr"] = rate
        self.adamw.step()
        if self.settings.ema:  # early steps count for less, so that the average forgets the random start
            keep = min(self.settings.ema_decay, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                torch._foreach_lerp_(self.average, self.weights, 1 - keep)
        self.step += 1
        return sums, lessons, norm

    def state(self) -> dict:
        """Return all that a continued run needs."""
        return {
            "settings": asdict(self.settings),
            "step": self.step,
            "weights": dict(zip(self.names, [w.detach() for w in self.weights], strict=True)),
            "average": self.average,
            "muon": self.muon.buffers,
            "adamw": self.adamw.state_dict(),
        }

    def restore(self, state: dict) -> None:
        """Continue from what `state` returned."""
        import torch

        self.step = state["step"]
        with torch.no_grad():
            torch._foreach_copy_(self.weights, [state["weights"][name] for name in self.names])
            torch._foreach_copy_(self.average, state["average"])
            for buffer, saved in zip(self.muon.buffers, state["muon"], strict=True):
                buffer.copy_(saved)
        self.adamw.load_state_dict(state["adamw"])

    def final_model(self) -> "LlavaForConditionalGeneration":
        """Return the model with the weights to keep: the running average, unless that is switched off."""
        import torch

        if self.settings.ema:
            with torch.no_grad():
                torch._foreach_copy_(self.weights, self.average)
        delattr(self.model, HEADS)
        return self.model.eval()


def _autocast(settings: PretrainSettings):
    import torch

    kind = torch.device(settings.device).type
    enabled = settings.precision == "bfloat16"
    return lambda: torch.autocast(kind, torch.bfloat16, enabled=enabled)


def pretrain(settings: PretrainSettings) -> PretrainResult:
    """Train until all steps are done or SIGINT or SIGTERM asks to stop; the same call continues a stopped run.

    Writes `checkpoint.pt` and `log.jsonl` into `settings.out` and, once done, the folder `model`. Raises `UserError`
    for settings that cannot work or differ from those of the run that is to be continued.
    """
    import torch

    check_settings(settings)
    out = Path(settings.out)
    saved = _load_checkpoint(out / "checkpoint.pt", settings)
    resolved = resolve_settings(settings)
    torch.set_float32_matmul_precision("high")
    if resolved.device == "cpu":
        _use_cores()
    out.mkdir(parents=True, exist_ok=True)
    training, processor = _start_training(resolved, out)
    if saved is not None:
        training.restore(saved)
    loss = _train(training, processor, settings)
    if training.step < settings.steps:
        return PretrainResult(training.step, loss, None)
    nano.save_model(out / "model", training.final_model(), processor)
    return PretrainResult(training.step, loss, out / "model")


def _use_cores() -> None:
    """Let torch use every core, unless OMP_NUM_THREADS says how many: by itself it may take one thread of two."""
    import torch

    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(count_cores())


def _load_checkpoint(path: Path, settings: PretrainSettings) -> dict | None:
    import torch

    if not path.exists():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"the checkpoint {path} is damaged: delete it to start again") from error
    for name, value in asdict(settings).items():
        if name not in FREE_SETTINGS and saved["settings"].get(name) != value:
            raise UserError(
                f"{name} is {value!r}, but the run in {path.parent} was started with {saved['settings'].get(name)!r}: "
                f"continue it with the same {name}, or choose another folder"
            )
    return saved


def _start_training(settings: PretrainSettings, out: Path) -> "tuple[Training, LlavaProcessor]":
    """Return the run at step 0: from `settings.init` when given, else new, with a tokenizer learned on the corpus."""
    import torch

    if settings.init:
        model, processor = nano.load_nano(settings.init, device=settings.device, dtype=torch.float32)
    else:
        processor = _learn_processor(out / "processor")
        model = nano.build_model(processor.tokenizer, settings.seed).to(settings.device)
    if settings.aim:
        pictures = replace(settings, model="tower", scenes_per_step=AIMING_PICTURES)
        aim_heads(model, StepDataset(pictures, processor.tokenizer)[0].to(settings.device))
    # The pointing lesson looks at attention weights, which fused attention hides; and at these lengths, plain matrix
    # products are as fast on the CPU.
    model.set_attn_implementation("eager")
    counts = nano.count_parameters(model)
    print(f"{sum(counts.values()):,} parameters: {', '.join(f'{part} {n:,}' for part, n in counts.items())}")
    if settings.compile:
        model.model.language_model.compile()
        model.model.vision_tower.compile()
    torch.manual_seed(settings.seed)
    model.add_module(HEADS, make_heads(nano.HIDDEN_SIZE).to(settings.device))
    return Training(model, settings), processor


def _learn_processor(folder: Path) -> "LlavaProcessor":
    """Return the run's processor; its tokenizer is learned once and kept, so that a continued run has the same."""
    from insightv_core.nano.training.corpus import tokenizer_texts

    if not folder.exists():
        processor = nano.build_processor(nano.build_tokenizer(tokenizer_texts(TOKENIZER_TEXTS)))
        unfinished = folder.with_suffix(".unfinished")
        processor.save_pretrained(unfinished)
        unfinished.rename(folder)
    return nano.load_processor(folder)


def _train(training: Training, processor: "LlavaProcessor", settings: PretrainSettings) -> float | None:
    """Take the steps that are left, with a log, a progress bar and checkpoints; return the last logged loss."""
    from tqdm import tqdm

    out = Path(settings.out)
    log = StepLog(out / "log.jsonl", training)
    bar = tqdm(total=settings.steps, initial=training.step, unit="step", disable=None)
    steps = load_steps(training.settings, processor.tokenizer, training.step)
    with _stop_on_signals() as stop, contextlib.closing(steps), bar:
        for data in steps:
            sums, lessons, norm = training.take_step(data.to(training.weights[0].device))
            log.add(data, sums, lessons)
            bar.update()
            last = stop.is_set() or training.step == settings.steps
            if last or training.step % settings.log_every == 0:
                bar.set_postfix(loss=f"{log.write(norm):.4f}")
            if last or training.step % settings.checkpoint_every == 0:
                _save_checkpoint(out / "checkpoint.pt", training, settings)
            if last:
                break
    return log.loss


def _save_checkpoint(path: Path, training: Training, settings: PretrainSettings) -> None:
    """Write the checkpoint beside its place and move it there, so that a kill never leaves half of one."""
    import torch

    unfinished = path.with_suffix(".unfinished")
    torch.save(training.state() | {"settings": asdict(settings)}, unfinished)
    os.replace(unfinished, path)


@contextlib.contextmanager
def _stop_on_signals() -> "Iterator[threading.Event]":
    """Yield an event that the first SIGINT or SIGTERM sets; a second one acts as it did before."""
    stop = threading.Event()
    main = threading.current_thread() is threading.main_thread()  # others may not set handlers
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM) if main}

    def ask(_number, _frame):
        stop.set()
        _put_back()

    def _put_back():
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        _put_back()


class StepLog:
    """Sums up steps without waiting for the device, and writes a JSON line when asked."""

    def __init__(self, path: Path, training: Training):
        self.path, self.training = path, training
        self.loss: float | None = None
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        # Steps after the checkpoint are done again, so their lines go.
        path.write_text("".join(line for line in lines if json.loads(line)["step"] <= training.step))
        self._restart()

    def _restart(self) -> None:
        self.sums: list[tuple[tuple[str, ...], torch.Tensor]] = []
        self.lessons: dict[str, list[torch.Tensor]] = {}
        self.rows, self.tokens, self.started = 0, 0, time.perf_counter()

    def add(self, data: StepData, sums: "torch.Tensor", lessons: "dict[str, torch.Tensor]") -> None:
        """Take in a step that was just queued."""
        self.sums.append((data.kinds, sums))
        for name, loss in lessons.items():
            self.lessons.setdefault(name, []).append(loss)
        self.rows += data.rows or len(data.images)
        self.tokens += data.token_count

    def write(self, norm: "torch.Tensor") -> float:
        """Write the mean of the steps since the last line; `UserError` when the loss is no longer a number."""
        import torch

        totals: dict[str, list[float]] = {}
        for kinds, sums in self.sums:
            for kind, (part, count) in zip(kinds, sums.tolist(), strict=True):
                total = totals.setdefault(kind, [0.0, 0.0])
                total[0] += part
                total[1] += count
        lessons = {name: torch.stack(losses).mean().item() for name, losses in self.lessons.items()}
        counted = sum(t[1] for t in totals.values())
        loss = sum(t[0] for t in totals.values()) / counted if counted else lessons[READING]
        self.loss = loss
        step, seconds = self.training.step, time.perf_counter() - self.started
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} at step {step}: start again in a new folder with a lower learning rate"
            )
        line = {
            "step": step,
            "loss": round(loss, 5),
            "lessons": {name: round(value, 5) for name, value in lessons.items()},
            "losses": {kind: round(total / count, 5) for kind, (total, count) in sorted(totals.items()) if count},
            "learning_rate": learning_rate_at(self.training.settings, step - 1),
            "gradient_norm": round(norm.item(), 4),
            "samples_per_second": round(self.rows / seconds, 1),
            "tokens_per_second": round(self.tokens / seconds),
            "seconds": round(seconds, 3),
            "gpu_memory": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0,
        }
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._restart()
        return loss


def main() -> None:
    """Run `python -m insightv_core.nano.training.pretrain`."""
    parser = argparse.ArgumentParser(description="Pre-train the embedded model on drawn scenes.")
    add_arguments(parser)
    settings = settings_from(parser.parse_args())
    try:
        result = pretrain(settings)
    except UserError as error:
        parser.exit(1, f"{error}\n")
    if result.model_folder is None:
        parser.exit(130, f"stopped after step {result.step} of {settings.steps}; the same command continues\n")
    print(f"trained {result.step} steps, model in {result.model_folder}")


if __name__ == "__main__":
    main()
