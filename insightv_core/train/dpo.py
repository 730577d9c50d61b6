"""Preference training (DPO and its relatives) on TRL's trainer, with pictures and prompt computed once a pair.

Importing this module loads TRL, which takes seconds: import it where training starts.
"""

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from tqdm import tqdm
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

from insightv_core.errors import UserError
from insightv_core.train.arguments import (
    check_above_zero,
    check_lengths,
    context_length,
    measure_lengths,
    shared_arguments,
)
from insightv_core.train.dpo_loss import PLAIN_WAY, check_model, core_model, pair_logps, shared_prefix_forward
from insightv_core.train.failures import StopsOnNaN
from insightv_core.train.model_parts import freeze_vision, lora_config
from insightv_core.train.settings import DPOSettings
from insightv_core.train.shared_attention import use_shared_attention

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, ProcessorMixin, TrainerCallback

LOSS_TYPES = (
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sigmoid_norm",
)  # fmt: skip
REFERENCE_COLUMNS = ("ref_chosen_logps", "ref_rejected_logps")
TEXT_COLUMNS = ("prompt", "chosen", "rejected")
PICTURES = "pictures"  # what `images` is called while TRL has the rows, see `_hide_images`
LARGEST_GAP = 1e-3  # relative difference of shared and plain log-probabilities; rounding stays below
LARGEST_GAP_ROUNDED = 3e-2  # the same for bfloat16 and float16


class PreferenceTrainer(StopsOnNaN, DPOTrainer):
    """Train a policy on preference pairs; everything of TRL's `DPOTrainer` that is not named below is as it comes.

    `pairs` has TRL's columns: `images` (or `image`), and `prompt`, `chosen`, `rejected` as messages. With the columns
    `ref_chosen_logps` and `ref_rejected_logps` (summed log-probabilities under the reference) no reference is
    computed; without them one pass before training adds them to `train_dataset`, from the policy as it is given, or
    from the base model where a plain model gets new adapters. That pass leaves out pairs whose values are `known`,
    (chosen, rejected) or None for each, once a batch of them has shown that they agree with it.

    A plain `model` gets adapters or is trained whole, by `settings`; a `PeftModel` goes on with its adapter "default".
    More keywords go to `trl.DPOConfig`. Raises `UserError` for settings, rows or models that cannot be trained.
    """

    def __init__(
        self,
        model: "PreTrainedModel | PeftModel",
        settings: DPOSettings,
        pairs: "Dataset",
        processor: "ProcessorMixin",
        folder: str | Path,
        *,
        eval_pairs: "Dataset | None" = None,
        known: Sequence[tuple[float, float] | None] = (),
        callbacks: "Sequence[TrainerCallback]" = (),
        **more: Any,
    ):
        core = core_model(model)
        for rows in (pairs, *([] if eval_pairs is None else [eval_pairs])):
            check_pairs(rows)
            advice = "leave them out (`pair_lengths` tells which), shrink their pictures"
            most = settings.max_tokens or context_length(core)
            check_lengths(pair_lengths(rows, processor), most, "pair", advice)
        if settings.share_prefix:
            check_model(model)
            use_shared_attention(core.get_decoder())
        if not settings.train_vision:
            freeze_vision(core)
        is_adapted = isinstance(model, PeftModel)
        if is_adapted:
            _check_adapter(model)
        self._share_prefix, self._sharing_checked, self._reference_closed = settings.share_prefix, False, False
        self._known = known
        super().__init__(
            model=model,
            args=training_arguments(settings, folder, **more),
            data_collator=PairCollator(processor),
            train_dataset=_hide_images(pairs),
            eval_dataset=eval_pairs,
            processing_class=processor,
            callbacks=list(callbacks),
            peft_config=None
            if is_adapted or settings.lora_rank is None
            else lora_config(core, settings.lora_rank, settings.lora_alpha),
        )
        self._reference_closed = True
        # TRL copies the adapter it is given to be the reference. Its values are in the rows by now; kept, the copy
        # would be written into every checkpoint.
        if isinstance(self.model, PeftModel) and "ref" in self.model.peft_config:
            self.model.delete_adapter("ref")

    def score(self, pairs: "Dataset") -> tuple[list[float], list[float]]:
        """Return the summed log-probabilities of chosen and rejected under the policy as it is now.

        A pair's reward margin is beta x ((chosen - ref_chosen) - (rejected - ref_rejected)).
        """

        def compute(inputs):
            with torch.no_grad(), self.accelerator.autocast():
                return pair_logps(self._forward(self.model, inputs), inputs)

        return self._go_through(_hide_images(pairs), compute, "Scoring pairs")

    def _go_through(self, rows: "Dataset", compute: Callable, title: str) -> tuple[list[float], list[float]]:
        """Return the two values that `compute` gives for each row, on all processes together."""
        found: tuple[list[float], list[float]] = ([], [])
        hidden = self.args.disable_tqdm or not self.accelerator.is_main_process
        self.model.eval()
        for batch in tqdm(self.get_eval_dataloader(rows), desc=title, disable=hidden, leave=False):
            halves = self.accelerator.gather_for_metrics(compute(self._prepare_inputs(batch)))
            for values, half in zip(found, halves, strict=True):
                values.extend(half.tolist())
        return found

    # TRL: runs the policy over 2B rows. Here the callable that it runs computes B packed rows and answers in the
    # layout of 2B, so that all of TRL's losses and metrics work on it unchanged.
    def _compute_loss(self, model, inputs, return_outputs):
        return super()._compute_loss(self._forward(model, inputs), inputs, return_outputs)

    # TRL: the same for the reference, with the adapter switched off or to the copy that TRL made.
    def compute_ref_log_probs(self, model, inputs):
        return super().compute_ref_log_probs(self._forward(model, inputs), inputs)

    # TRL: tokenizes text rows, or leaves rows with pictures as they are. All rows are left as they are here, and
    # the collator of rows with pictures reads text alone as well.
    def _prepare_dataset(self, dataset, processing_class, args, dataset_name):
        return _hide_images(dataset)

    # TRL: always computes the reference, and again for a dataset given to `evaluate`, when the policy has moved. Stored
    # values are enough. It also keeps what it computes in a cache file, which for rows in memory lies where the other
    # processes of a distributed run do not look.
    def _precompute_ref_logps(self, dataset, name, batch_size):
        if set(REFERENCE_COLUMNS) <= set(dataset.column_names):
            return dataset
        if self._reference_closed:
            raise UserError(
                f"the {name} pairs have no reference log-probabilities and the reference is no longer at hand: give "
                f"them as eval_pairs when the trainer is made, or add the columns {' and '.join(REFERENCE_COLUMNS)}"
            )
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:  # there the model is not whole yet, and TRL sees to it
            return super()._precompute_ref_logps(dataset, name, batch_size)
        values = self._reference_values(dataset, self._known if name == "train" else ())
        for side, column in enumerate(REFERENCE_COLUMNS):
            dataset = dataset.add_column(column, [pair[side] for pair in values])
        return dataset

    def _reference_values(
        self, dataset: "Dataset", known: Sequence[tuple[float, float] | None]
    ) -> list[tuple[float, float]]:
        """Return (chosen, rejected) of every pair under the reference, `known` ones as they are if a batch agrees."""
        compute = functools.partial(self.compute_ref_log_probs, self.model)

        def afresh(places: list[int]) -> dict[int, tuple[float, float]]:
            if not places:
                return {}
            chosen, rejected = self._go_through(dataset.select(places), compute, "Reference")
            return {place: (one, other) for place, one, other in zip(places, chosen, rejected, strict=True)}

        given = {place: pair for place, pair in enumerate(known) if pair is not None}
        found = afresh(list(given)[: self.args.per_device_eval_batch_size * self.accelerator.num_processes])
        gap = largest_gap(found, given)
        if given and gap > self._largest_gap():
            warnings.warn(
                f"log-probabilities kept while sampling differ from a fresh pass (relative difference {gap:.2g}), so "
                "the reference is computed for all pairs", stacklevel=2,
            )  # fmt: skip
            given = {}
        found = given | afresh([place for place in range(len(dataset)) if place not in given])
        return [found[place] for place in range(len(dataset))]

    def _largest_gap(self) -> float:
        exact = core_model(self.model).dtype == torch.float32 and not self.args.bf16
        return LARGEST_GAP if exact else LARGEST_GAP_ROUNDED

    # TRL: tells the Hub which model, data source and device are used. Nobody asked this workbench to.
    def _send_telemetry(self):
        return

    def _forward(self, model, inputs: dict) -> Callable:
        """Return what computes a batch; the first one is computed in both ways, to see that they agree."""
        if not self._share_prefix:
            return model
        shared = functools.partial(shared_prefix_forward, model)
        if not self._sharing_checked:
            with torch.no_grad(), self.accelerator.autocast():
                self._compare(torch.cat(pair_logps(model, inputs)), torch.cat(pair_logps(shared, inputs)))
            self._sharing_checked = True
        return shared

    def _compare(self, plain: torch.Tensor, shared: torch.Tensor) -> None:
        name = type(core_model(self.model)).__name__
        if not plain.isfinite().all():
            raise UserError(
                f"{name} gives log-probabilities that are not numbers: its weights are damaged, or need bf16=True or "
                "float32 where float16 is too narrow for them"
            )
        gap = ((plain - shared).abs() / plain.abs().clamp(min=1)).max().item()
        if not gap <= self._largest_gap():
            raise UserError(
                f"with a shared prompt {name} gives other log-probabilities than without (relative difference "
                f"{gap:.2g}), so its attention needs more than a mask: {PLAIN_WAY}"
            )


class PairCollator(DataCollatorForVisionPreference):
    """TRL's collator for rows with pictures, in half its time and with stored reference log-probabilities.

    TRL's own drops these columns, as it never stores the reference of rows with pictures, and it has the processor
    prepare every picture and prompt twice.
    """

    def __init__(self, processor: "ProcessorMixin"):
        super().__init__(_OncePerPair(processor))

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [{"images": _pictures(row), **{name: row[name] for name in TEXT_COLUMNS}} for row in examples]
        batch = super().torch_call(rows)
        for name in REFERENCE_COLUMNS:
            if name in examples[0]:
                batch[name] = torch.tensor([row[name] for row in examples], dtype=torch.float32)
        return batch


class _OncePerPair:
    """A processor that prepares the first half of a batch with pictures and repeats it: the second half is the same."""

    def __init__(self, processor: "ProcessorMixin"):
        self._processor = processor

    def __call__(self, text: list[str], images: list | None = None, **options: Any):
        if images is None:
            return self._processor(text=text, **options)
        pairs = len(text) // 2
        output = self._processor(text=text[:pairs], images=images[:pairs], **options)
        for name, values in output.items():
            output[name] = torch.cat([values, values])
        return output

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # asked for before there is a processor, when a copy is made for a worker
            raise AttributeError(name)
        return getattr(self._processor, name)


def largest_gap(fresh: dict[int, tuple[float, float]], known: dict[int, tuple[float, float]]) -> float:
    """Return the largest relative difference of log-probabilities of the pairs that both hold; 0 where none."""
    both = [(a, b) for place, pair in fresh.items() for a, b in zip(pair, known[place], strict=True)]
    return max((abs(a - b) / max(1.0, abs(a)) for a, b in both), default=0.0)


def training_arguments(settings: DPOSettings, folder: str | Path, **more: Any) -> DPOConfig:
    """Return TRL's settings for ours; `more` wins. Raises `UserError` for values that cannot be trained with."""
    _check_settings(settings)
    chosen_term = settings.gamma > 0
    return DPOConfig(
        **{
            **shared_arguments(settings, folder),
            "beta": settings.beta,
            "loss_type": [settings.loss_type, *(["sft"] if chosen_term else [])],
            "loss_weights": [1.0, *([settings.gamma] if chosen_term else [])],
            "label_smoothing": settings.label_smoothing,
            "per_device_eval_batch_size": settings.batch_size,
            "precompute_ref_log_probs": True,
            "prediction_loss_only": True,
            "router_aux_loss_coef": 0.0,  # the load balance of experts is not defined for packed rows
            **more,
        }
    )


def pair_lengths(pairs: "Dataset", processor: "ProcessorMixin") -> list[int]:
    """Return for each pair the tokens of prompt, pictures and the longer answer together."""
    return measure_lengths(pairs, processor, TEXT_COLUMNS[1:], _pictures)


def check_pairs(pairs: "Dataset") -> None:
    """Raise `UserError` for rows that would be trained on in another sense than they are meant."""
    if not len(pairs):
        raise UserError("there are no preference pairs: make some from paths of different scores first")
    missing = [name for name in TEXT_COLUMNS if name not in pairs.column_names]
    if missing:
        raise UserError(f"the pairs lack {', '.join(missing)}: each row needs {', '.join(TEXT_COLUMNS)} and images")
    if any(isinstance(pairs[0][name], str) for name in TEXT_COLUMNS):
        raise UserError(
            "the pairs are plain text, which would be trained without an end mark: write prompt, chosen and rejected "
            'as messages, like [{"role": "assistant", "content": "..."}]'
        )
    stored = [name for name in REFERENCE_COLUMNS if name in pairs.column_names]
    if len(stored) == 1:
        raise UserError(f"the pairs hold {stored[0]} alone: add {' and '.join(REFERENCE_COLUMNS)}, or neither")
    for name in stored:
        wrong = [index for index, value in enumerate(pairs[name]) if value is None or not math.isfinite(value)]
        if wrong:
            raise UserError(
                f"{name} of pair {wrong[0]} is {pairs[name][wrong[0]]} ({len(wrong)} such pairs): leave both columns "
                "out to have the reference computed"
            )


def _check_settings(settings: DPOSettings) -> None:
    if settings.loss_type not in LOSS_TYPES:
        raise UserError(f"loss_type {settings.loss_type!r} is not known: take one of {', '.join(LOSS_TYPES)}")
    if settings.loss_type == "exo_pair" and not settings.label_smoothing > 0:
        raise UserError(
            "exo_pair takes the logarithm of label_smoothing, which is 0: set it above 0, for example to 0.001"
        )
    if settings.lora_rank is not None and settings.lora_rank < 1:
        raise UserError(f"lora_rank is {settings.lora_rank}: set it above 0, or to None to train all weights")
    check_above_zero(settings, ("beta", "learning_rate", "epochs", "batch_size", "gradient_accumulation"))
    if not settings.gamma >= 0:
        raise UserError(f"gamma is {settings.gamma}: set it to 0, or above 0 to also learn the chosen answers by heart")


def _check_adapter(model: PeftModel) -> None:
    if "default" not in model.peft_config:
        raise UserError(
            f"the adapter is named {', '.join(model.peft_config)}, and TRL trains one named default: load it with "
            "PeftModel.from_pretrained(base, folder, is_trainable=True), without a name"
        )
    if not any(weight.requires_grad for weight in model.parameters()):
        raise UserError("the adapter is loaded for use only: load it with is_trainable=True")


def _pictures(row: dict[str, Any]) -> list:
    found: Any = next((row[name] for name in (PICTURES, "images", "image") if row.get(name) is not None), [])
    return found if isinstance(found, list) else [found]


def _hide_images(pairs: "Dataset") -> "Dataset":
    """Rename the column of the pictures, so that TRL takes the rows for text.

    By the name alone TRL decides to refuse stored reference log-probabilities, and in full training to load the model
    a second time for the reference. What it does with pictures beyond that is in the collator, which we give it.
    """
    for name in ("images", "image"):
        if name in pairs.column_names:
            return pairs.rename_column(name, PICTURES)
    return pairs
