"""Measure preference training against TRL's DPOTrainer on the same pairs in one run: `python tests/bench/training.py`.

Pairs are demo pictures with a sound chain as chosen and one of a careless solver as rejected. Both trainers compute in
the same precision, with the same weights frozen, on the same batches in turn; a training step is collator, loss and
backward pass. The optimizer's step is the same for both and left out.

* speedup_vs_trl: TRL's training step against ours with stored reference log-probabilities, as pairs sampled from the
  policy bring them along; speedup_with_reference_pass adds our pass that computes them, for one epoch.
* ideal_speedup: what TRL computes a pair, in tokens of text and picture and in passes, against what has to be.
* images_per_pair: pictures that the vision tower takes in a training step.
* loss_error, grad_error: relative difference of loss and gradient, once the policy has moved away from the reference;
  grad_error_leaky_control the same where the rejected answer sees the chosen one, which must be large.
* step_seconds, tokens_per_second, tflops and, with --peak-tflops, mfu: of our training step alone. A multiplication and
  an addition for each weight and token count 2 in the forward pass; the backward pass counts the same again with
  adapters, twice that without, and recomputed layers once more with --checkpointing. Attention is left out.

With --random-weights a model of that shape is made from its configuration alone, so no weights have to be there.
"""

import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from datasets import Dataset, disable_progress_bars  # noqa: E402
from PIL import Image  # noqa: E402
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor  # noqa: E402
from trl import DPOTrainer  # noqa: E402

from insightv_core import prompts  # noqa: E402
from insightv_core.nano.model import MODELS_FOLDER, prepare_image  # noqa: E402
from insightv_core.nano.questions.slips import misread  # noqa: E402
from insightv_core.nano.world import REASONING, make_example, reference_chains, write_chain  # noqa: E402
from insightv_core.parse import write_step  # noqa: E402
from insightv_core.train import dpo_loss  # noqa: E402
from insightv_core.train.dpo import PreferenceTrainer, training_arguments  # noqa: E402
from insightv_core.train.dpo_loss import core_model  # noqa: E402
from insightv_core.train.model_parts import lora_config  # noqa: E402
from insightv_core.train.settings import DPOSettings  # noqa: E402

DEMO = ROOT / "data" / "demo"
TARGETS = {
    "speedup_vs_trl": ">= 1.8",
    "images_per_pair": "1",
    "loss_error": "< 1e-5",
    "grad_error": "< 1e-5",
    "grad_error_leaky_control": "> 0.01",
}


def draw_pairs(count: int, seed: int) -> Dataset:
    """Return preference pairs about the demo questions that take reasoning, in TRL's layout."""
    rows = [json.loads(line) for line in (DEMO / "questions.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["family"] in REASONING]
    return Dataset.from_list([draw_pair(rows[i % len(rows)], Random(f"{seed}:{i}")) for i in range(count)])


def draw_pair(row: dict, rng: Random) -> dict:
    """Return the pair of a demo question: its reference chain, and the chain of a solver who misreads the picture."""
    example = make_example(row["seed"], split="demo", family=row["family"], level=row["level"])
    flawed = write_chain(example, rng, seen=misread(example.scene, rng), slip_rate=0.2)[0]
    chains = {"chosen": reference_chains(example, 1)[0], "rejected": flawed}
    with Image.open(DEMO / row["image"]) as picture:
        images = [prepare_image(picture)]
    answers = {name: [prompts.assistant("\n".join(map(write_step, steps)))] for name, steps in chains.items()}
    return {"images": images, "prompt": prompts.ask(row["question"], prompts.REASON), **answers}


def make_trainers(options: argparse.Namespace, pairs: Dataset, folder: str) -> tuple[PreferenceTrainer, DPOTrainer]:
    """Return our trainer and TRL's, with equal settings and weights of their own."""
    dtype = torch.bfloat16 if options.device == "cuda" else torch.float32
    model = make_model(options, dtype)
    processor = AutoProcessor.from_pretrained(options.model)
    settings = DPOSettings(
        lora_rank=options.lora_rank, gradient_checkpointing=options.checkpointing, batch_size=options.batch,
        bf16=options.device == "cuda", seed=options.seed,
    )  # fmt: skip
    more = {"use_cpu": options.device == "cpu", "disable_tqdm": True}
    plain = copy.deepcopy(model)
    plain.get_encoder(modality="image").requires_grad_(False)
    adapters = lora_config(plain, settings.lora_rank, settings.lora_alpha) if settings.lora_rank else None
    reference = None if adapters else copy.deepcopy(model)
    trl = DPOTrainer(
        plain, reference, training_arguments(settings, folder, precompute_ref_log_probs=False, **more),
        train_dataset=pairs, processing_class=processor, peft_config=adapters,
    )  # fmt: skip
    ours = PreferenceTrainer(model, settings, pairs, processor, folder, **more)
    for trainer in (ours, trl):
        trainer.model.train()
        if options.checkpointing:
            trainer.model.activation_checkpointing_enable()
    return ours, trl


def make_model(options: argparse.Namespace, dtype: torch.dtype):
    """Return the model, or one of its shape whose weights are drawn."""
    if not options.random_weights:
        return AutoModelForImageTextToText.from_pretrained(options.model, dtype=dtype, attn_implementation="sdpa")
    torch.manual_seed(options.seed)
    config = AutoConfig.from_pretrained(options.model)
    with torch.device(options.device):
        return AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation="sdpa")


def train_step(trainer: DPOTrainer, places: Sequence[int]) -> float:
    """Compute loss and gradients of those pairs; returns the loss."""
    batch = trainer.data_collator([trainer.train_dataset[place] for place in places])
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, trainer._prepare_inputs(batch))
    trainer.accelerator.backward(loss)
    return loss.item()


def reference_step(trainer: PreferenceTrainer, places: Sequence[int]) -> None:
    """Compute the reference log-probabilities of those pairs, as the pass before training does."""
    batch = trainer.data_collator([trainer.train_dataset[place] for place in places])
    trainer.compute_ref_log_probs(trainer.model, trainer._prepare_inputs(batch))


def timed(device: str, work: Callable) -> tuple[float, float]:
    """Return the wall seconds that work takes and the CPU seconds, which other processes disturb less."""
    if device == "cuda":
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure_time(ours: PreferenceTrainer, trl: DPOTrainer, batches: list[list[int]], device: str) -> dict:
    """Return median seconds a pair of each kind of step, computed in turn so that all meet the same disturbances."""
    steps = {
        "trl": lambda places: train_step(trl, places),
        "ours": lambda places: train_step(ours, places),
        "ours_reference": lambda places: reference_step(ours, places),
    }
    for step in steps.values():
        step(batches[0])
    taken: dict = {name: [] for name in steps}
    for places in batches:
        for name, step in steps.items():
            taken[name].append([part / len(places) for part in timed(device, lambda: step(places))])  # noqa: B023
    wall = {name: statistics.median(part[0] for part in parts) for name, parts in taken.items()}
    cpu = {name: statistics.median(part[1] for part in parts) for name, parts in taken.items()}
    decides = wall if device == "cuda" else cpu
    return {
        "speedup_vs_trl": decides["trl"] / decides["ours"],
        "speedup_with_reference_pass": decides["trl"] / (decides["ours"] + decides["ours_reference"]),
        "seconds_per_pair": wall,
        "cpu_seconds_per_pair": cpu,
    }


def count_pictures(trainer: DPOTrainer, places: Sequence[int]) -> float:
    """Return the pictures that the vision towers of policy and reference take for a pair, in one training step."""
    seen: list[int] = []

    def count(module, arguments, keywords):
        pixels = arguments[0] if arguments else keywords["pixel_values"]
        seen.append(len(keywords.get("grid_thw", pixels)))

    models = [trainer.model, *([trainer.ref_model] if trainer.ref_model is not None else [])]
    towers = [core_model(model).get_encoder(modality="image") for model in models]
    handles = [tower.register_forward_pre_hook(count, with_kwargs=True) for tower in towers]
    train_step(trainer, places)
    for handle in handles:
        handle.remove()
    return sum(seen) / len(places)


def count_tokens(trainer: PreferenceTrainer, batches: list[list[int]], lora: bool) -> dict:
    """Return mean tokens of prompts and answers, and the speedup that their counts allow.

    A pass of the text model over a token counts 1 forward, and 1 backward with adapters or 2 without.
    """
    prompt = answers = 0
    for places in batches:
        batch = trainer.data_collator([trainer.train_dataset[place] for place in places])
        answers += batch["completion_mask"].sum().item() / 2
        prompt += (batch["attention_mask"].sum() - batch["completion_mask"].sum()).item() / 2
    pairs = sum(map(len, batches))
    prompt, answer = prompt / pairs, answers / pairs
    train = 2 if lora else 3
    ratio = (2 * prompt + 2 * answer) / (prompt + 2 * answer)
    return {
        "prompt_tokens": prompt,
        "answer_tokens": answer,
        "ideal_speedup": ratio * (train + 1) / train,
        "ideal_speedup_with_reference_pass": ratio,
    }


def measure_speed(
    ours: PreferenceTrainer, figures: dict, seconds: float, options: argparse.Namespace
) -> dict:  # fmt: skip
    """Return how fast our training step is, and how much of the device's peak that uses, for `seconds` a pair."""
    tokens = figures["prompt_tokens"] + 2 * figures["answer_tokens"]
    weights = sum(weight.numel() for weight in core_model(ours.model).get_decoder().parameters())
    passes = 2 + (2 if options.lora_rank else 4) + (2 if options.checkpointing else 0)
    rate = tokens / seconds
    speed = {
        "step_seconds": seconds * options.batch,
        "tokens_per_second": rate,
        "tflops": rate * weights * passes / 1e12,
    }
    return speed | ({"mfu": speed["tflops"] / options.peak_tflops} if options.peak_tflops else {})


def measure_errors(ours: PreferenceTrainer, trl: DPOTrainer, places: Sequence[int], seed: int) -> dict:
    """Return the relative errors of loss and gradient, and of the gradient where the answers of a pair leak."""
    for trainer in (ours, trl):
        generator = torch.Generator().manual_seed(seed)
        for weight in trainer.model.parameters():
            if weight.requires_grad:
                weight.data += 0.01 * torch.randn(weight.shape, generator=generator).to(weight)
    true_loss, true_gradient = train_step(trl, places), gradient(trl)
    loss, found = train_step(ours, places), gradient(ours)
    # The mask alone decides only where attention runs over the whole row.
    core_model(ours.model).get_decoder().set_attn_implementation("sdpa")
    true_mask = dpo_loss.build_mask
    with mock.patch.object(
        dpo_loss, "build_mask", lambda kept, segments, dtype: true_mask(kept, (kept.shape[1], 0, 0), dtype)
    ):
        train_step(ours, places)
    return {
        "loss_error": abs(loss - true_loss) / abs(true_loss),
        "grad_error": ((found - true_gradient).norm() / true_gradient.norm()).item(),
        "grad_error_leaky_control": ((gradient(ours) - true_gradient).norm() / true_gradient.norm()).item(),
    }


def gradient(trainer: DPOTrainer) -> torch.Tensor:
    """Return the gradient of all trained weights as one vector."""
    grads = [weight.grad.float().flatten() for weight in trainer.model.parameters() if weight.grad is not None]
    return torch.cat(grads)


def measure(options: argparse.Namespace) -> dict:
    """Return every figure."""
    pairs = draw_pairs(options.pairs, options.seed)
    places = list(range(len(pairs)))
    batches = [places[start : start + options.batch] for start in range(0, len(places), options.batch)]
    with tempfile.TemporaryDirectory() as folder:
        ours, trl = make_trainers(options, pairs, folder)
        figures = measure_time(ours, trl, batches, options.device) | count_tokens(
            ours, batches, bool(options.lora_rank)
        )
        figures |= measure_speed(ours, figures, figures["seconds_per_pair"]["ours"], options)
        figures |= {
            "images_per_pair": count_pictures(ours, batches[0]),
            "trl_images_per_pair": count_pictures(trl, batches[0]),
        }
        figures |= measure_errors(ours, trl, batches[0], options.seed)
    if options.device == "cuda":
        figures["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return figures


def main() -> None:
    """Measure, and print the figures as a table or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=24, help="pairs to time")
    parser.add_argument("--batch", type=int, default=2, help="pairs in a batch")
    parser.add_argument("--model", default=str(MODELS_FOLDER / "nano-base"), help="folder or id of a model")
    parser.add_argument("--random-weights", action="store_true", help="draw the weights, from the configuration alone")
    parser.add_argument("--peak-tflops", type=float, help="of the device, for mfu: 989 for an H100 in bfloat16")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--lora-rank", type=int, default=None, help="train adapters of that rank, not all weights")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing, in both trainers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    options = parser.parse_args()
    disable_progress_bars()
    figures = measure(options)
    if options.json:
        print(json.dumps({"settings": vars(options), "figures": figures, "targets": TARGETS}, indent=2))
        return
    for name, value in figures.items():
        shown = {key: round(part, 4) for key, part in value.items()} if isinstance(value, dict) else f"{value:.4g}"
        print(f"{name:34} {shown!s:>12}  {TARGETS.get(name, '')}")


if __name__ == "__main__":
    main()
