"""Measure stage 1 against the naive loop and against its floor, all in one run: `python tests/bench/generation.py`.

* naive: one path at a time; every step starts from the whole conversation, picture included (the published script).
* one shot: transformers' batched `generate` of as many tokens in one reply each: as if steps were free.
* logit error: step-by-step logits against a fresh pass, for six families of tiny random models, and the same with
  one thing broken, which must be large.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from insightv_core import prompts  # noqa: E402
from insightv_core.generate import GenerateSettings, follow, generate, name_run  # noqa: E402
from insightv_core.records import ModelVersion, Question, Sampling, identify  # noqa: E402
from insightv_core.vlm import Reply, Talk  # noqa: E402
from insightv_core.vlm.local import LocalVLM, load_local  # noqa: E402

DEMO = ROOT / "data" / "demo"
TARGETS = {
    "speedup_vs_naive": ">= 15",
    "ratio_to_one_shot": "<= 1.15",
    "prefill_ratio": "<= 1.05",
    "images_per_question": "1",
    "logit_error_max": "< 1e-4",
    "memory_growth": "< 0.10",
}


class Clock:
    """Measures wall seconds and the process's CPU seconds, which other processes on the machine disturb less."""

    def __init__(self):
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Return what has passed."""
        return {"seconds": time.perf_counter() - self.wall, "cpu_seconds": time.process_time() - self.cpu}


def read_questions(count: int) -> list[Question]:
    """Return that many questions, the demo's over and over."""
    rows = [json.loads(line) for line in (DEMO / "questions.jsonl").read_text().splitlines()]
    return [
        Question(identify(number), row["question"], row["answer"], row["image"], "demo", row["answer_type"])
        for number, row in ((number, rows[number % len(rows)]) for number in range(count))
    ]


def load(options: argparse.Namespace) -> LocalVLM:
    """Load the model, or build it with random weights from its configuration alone."""
    if not options.random_weights:
        return load_local(options.model, device=options.device, row_limit=options.rows)
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    config = AutoConfig.from_pretrained(options.model)
    dtype = torch.bfloat16 if (options.device or "").startswith("cuda") else torch.float32
    with torch.device(options.device or "cpu"):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    processor = AutoProcessor.from_pretrained(options.model)
    return LocalVLM(model, processor, ModelVersion(options.model, "random"), row_limit=options.rows)


def measure_ours(vlm: LocalVLM, questions: list[Question], paths: int, settings: GenerateSettings) -> dict:
    """Generate the paths and count what was computed."""
    run = name_run(vlm.version, settings)
    before = vlm.usage()
    started = Clock()
    made = list(
        generate(
            ((question, range(paths)) for question in questions),
            vlm,
            run,
            settings,
            image_file=lambda name: DEMO / name,
        )
    )
    used = vlm.usage()
    prefill = used.prefill_tokens - before.prefill_tokens
    return {
        **started.read(),
        "paths": len(made),
        "tokens": used.decoded_tokens - before.decoded_tokens,
        "turns": sum(len(path.turns) + bool(path.final_raw) for path in made),
        "prefill_tokens": prefill,
        "prefill_ratio": prefill / ideal_prefill(vlm, questions, made),
        "images_per_question": (used.images - before.images) / len(questions),
    }


def ideal_prefill(vlm: LocalVLM, questions: list[Question], made: list) -> int:
    """Return the prompt tokens that have to be computed at least: each prompt once, each user turn once."""
    total = sum(
        len(vlm.read_prompt(Talk("", prompts.ask(question.text, prompts.GENERATE), (DEMO / question.image,)))[0])
        for question in questions
    )
    for path in made:
        replies = [Reply(turn.raw, turn.tokens, turn.logprob, "stop", 0.0) for turn in path.turns]
        for count in range(1, len(replies) + 1):
            turn = follow(replies[:count], GenerateSettings()).next_turn
            if turn and (count < len(replies) or path.final_raw):
                total += len(vlm.turn_tokens(turn, ended=True))
    return total


def measure_naive(vlm: LocalVLM, questions: list[Question], settings: GenerateSettings) -> dict:
    """Generate one path a question as the published script does: alone, and every step from the start."""
    import torch
    from PIL import Image

    started = Clock()
    tokens = 0
    for question in questions:
        messages = prompts.ask(question.text, prompts.GENERATE)
        replies: list[Reply] = []
        while True:
            text = vlm.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            with Image.open(DEMO / question.image) as picture:
                inputs = vlm.processor(text=[text], images=[[picture.convert("RGB")]], return_tensors="pt")
            inputs = inputs.to(vlm.device)
            inputs["pixel_values"] = inputs["pixel_values"].to(vlm.model.dtype)
            with torch.inference_mode():
                output = vlm.model.generate(
                    **inputs, do_sample=True, temperature=settings.sampling.temperatures[0],
                    top_p=settings.sampling.top_p, max_new_tokens=settings.sampling.max_tokens,
                )[0, inputs["input_ids"].shape[1] :]  # fmt: skip
            tokens += len(output)
            said = vlm.tokenizer.decode(output, skip_special_tokens=True)
            replies.append(Reply(said, len(output), None, "stop", 0.0))
            progress = follow(replies, settings)
            if progress.failure or progress.answer is not None:
                break
            messages += [prompts.assistant(said), prompts.user(progress.next_turn)]
    return {**started.read(), "paths": len(questions), "tokens": tokens}


def measure_one_shot(vlm: LocalVLM, questions: list[Question], paths: int, tokens: int) -> dict:
    """Generate as many tokens a path in one reply each, with as many rows at once."""
    import torch
    from PIL import Image

    started = Clock()
    together = max(1, vlm.row_limit // paths)
    each = round(tokens / (len(questions) * paths))
    for start in range(0, len(questions), together):
        batch = questions[start : start + together]
        texts = [
            vlm.processor.apply_chat_template(
                prompts.ask(question.text, prompts.GENERATE), add_generation_prompt=True, tokenize=False
            )
            for question in batch
        ]
        pictures = [[Image.open(DEMO / question.image).convert("RGB")] for question in batch]
        inputs = vlm.processor(text=texts, images=pictures, padding=True, padding_side="left", return_tensors="pt").to(
            vlm.device
        )
        inputs["pixel_values"] = inputs["pixel_values"].to(vlm.model.dtype)
        with torch.inference_mode():
            vlm.model.generate(
                **inputs, do_sample=True, temperature=0.9, top_p=0.95, num_return_sequences=paths,
                min_new_tokens=each, max_new_tokens=each,
            )  # fmt: skip
    return {**started.read(), "paths": len(questions) * paths, "tokens": each * len(questions) * paths}


def three_turns(replies) -> str | None:
    """End after three replies; a long turn follows the first, a short one the second."""
    return (prompts.CONTINUE * 2, "go on", None)[min(len(replies), 3) - 1]


def measure_logit_errors() -> dict:
    """Return the greatest relative logit error of each tiny family, and the smallest that a broken control shows."""
    from reuse import CONTROLS, break_reuse, record, reuse_error
    from tiny_models import build_tiny

    def talks():
        for question in read_questions(3):
            messages = prompts.ask(question.text, prompts.GENERATE)
            yield Talk(question.id, messages, (DEMO / question.image,), (0, 1, 2), three_turns)

    errors, controls = {}, {}
    for family in ("llava", "llava-next", "llava-onevision", "qwen2.5-vl", "qwen3-vl", "smolvlm"):
        for control in (None, *CONTROLS):
            model, processor = build_tiny(family)
            vlm = LocalVLM(model, processor, ModelVersion(family, "0"), row_limit=4)
            if control:
                break_reuse(vlm, control)
            error = reuse_error(vlm, record(vlm, talks(), Sampling((1.0,), max_tokens=12)))
            (controls if control else errors)[f"{family} {control or ''}".strip()] = error
    return {
        "logit_errors": errors,
        "logit_error_max": max(errors.values()),
        "control_error_min": min(controls.values()),
    }


def measure_memory(options: argparse.Namespace, questions: int) -> int:
    """Return the peak memory in KiB of a process that generates one path for each of so many questions."""
    command = [sys.executable, __file__, "--memory-of", str(questions), "--model", options.model]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def generate_into_store(vlm: LocalVLM, count: int) -> None:
    """Generate one path for each question into a project file, and drop it."""
    from insightv_core.records import StoredImage
    from insightv_core.store import open_store

    settings = GenerateSettings(Sampling((0.9,)))
    run = name_run(vlm.version, settings)
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "memory.db", create=True) as store:
        store.add_questions((question, StoredImage(question.image, 1, 1, 1)) for question in read_questions(count))
        store.start_run(run)
        questions = ((question, (0,)) for question in store.questions())
        for path in generate(questions, vlm, run, settings, image_file=lambda name: DEMO / name):
            store.add_paths([path])


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--model", default="nano-teacher", help="model name, folder or hub id (%(default)s)")
    parser.add_argument("--device", help="torch device")
    parser.add_argument("--random-weights", action="store_true", help="build the model from its configuration alone")
    parser.add_argument("--rows", type=int, help="conversations that decode together")
    parser.add_argument("--questions", type=int, default=32, help="questions (%(default)s)")
    parser.add_argument("--naive-questions", type=int, default=12, help="questions of the naive loop (%(default)s)")
    parser.add_argument("--paths", type=int, default=8, help="paths a question (%(default)s)")
    parser.add_argument("--max-tokens", type=int, default=1024, help="longest reply (%(default)s)")
    parser.add_argument("--memory", action="store_true", help="also compare 100 with 1,000 questions (minutes)")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = read_options()
    vlm = load(options)
    if options.memory_of:
        generate_into_store(vlm, options.memory_of)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    questions = read_questions(options.questions)
    settings = GenerateSettings(Sampling((0.9,), max_tokens=options.max_tokens))
    measure_ours(vlm, questions[:4], options.paths, settings)  # warm up
    ours = measure_ours(vlm, questions, options.paths, settings)
    naive = measure_naive(vlm, questions[: options.naive_questions], settings)
    one_shot = measure_one_shot(vlm, questions, options.paths, ours["tokens"])
    figures = {
        "ours": ours,
        "naive": naive,
        "one_shot": one_shot,
        "paths_per_second": ours["paths"] / ours["seconds"],
        "naive_paths_per_second": naive["paths"] / naive["seconds"],
        "tokens_per_second": ours["tokens"] / ours["seconds"],
        "speedup_vs_naive": ours["paths"] / ours["seconds"] / (naive["paths"] / naive["seconds"]),
        "ratio_to_one_shot": ours["seconds"] / one_shot["seconds"],
        "speedup_vs_naive_cpu": ours["paths"] / ours["cpu_seconds"] / (naive["paths"] / naive["cpu_seconds"]),
        "ratio_to_one_shot_cpu": ours["cpu_seconds"] / one_shot["cpu_seconds"],
        "prefill_ratio": ours["prefill_ratio"],
        "images_per_question": ours["images_per_question"],
        **measure_logit_errors(),
    }
    if options.memory:
        few, many = (measure_memory(options, count) for count in (100, 1000))
        figures |= {"memory_growth": many / few - 1, "memory_mib": many / 1024}
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        if isinstance(value, float):
            print(f"{name:<24}{value:>14.6g}   {TARGETS.get(name, '')}")


if __name__ == "__main__":
    main()
