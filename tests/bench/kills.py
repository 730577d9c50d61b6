"""Measure whether a killed round of DPO ends like one that was left alone: `python tests/bench/kills.py --kills 20`.

A small project gets an agent, and one whole `insightv dpo` is timed: sampling, assessing, pairing, training with a
checkpoint every few steps, and held-out questions. The same command runs in a fresh copy of the project, is killed by
SIGKILL at a random moment of the time that the whole run took, and is given again, until it ends; then the next copy
begins, until all kills are spent. Of the answers that the agent samples to a question the most frequent counts as the
truth, so that right and wrong ones meet however good the weights are.

* kills_during_training: how many hit a process while it trained; kills_by_stage tells what the others hit.
* copies: projects that it took; each was brought to its end.
* same_adapter: the weights of every copy's adapter have the hash of the undisturbed one's.
* adapter_moved: a control: that hash is not the one of the weights that the round started from.
* duplicates, missing: rows of any table that a copy has more or less of than the undisturbed project; surplus tells
  which.
* pairs: that the undisturbed round was trained on; same_pairs: every copy has as many.
* seconds: how long the undisturbed run took, the start of Python included.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from insightv_core import prompts  # noqa: E402
from insightv_core.curate.sets import REASON  # noqa: E402
from insightv_core.images import store_image  # noqa: E402
from insightv_core.nano.world import REASONING, make_example, reference_chains  # noqa: E402
from insightv_core.parse import write_step  # noqa: E402
from insightv_core.records import Question, Run, SetRow, identify  # noqa: E402
from insightv_core.store import open_store  # noqa: E402
from insightv_core.store.curation import save_curation  # noqa: E402

DEMO = ROOT / "data" / "demo"
FILE, WEIGHTS = "project.db", "adapter_model.safetensors"
SAMPLING = ["--temperature", "1.4", "--max-tokens", "160"]
TABLES = (
    "runs", "rounds", "models", "metrics", "paths", "steps", "assessments", "sets", "set_rows", "pairs",
    "pair_logprobs", "evaluation_items",
)  # fmt: skip
TARGETS = {
    "kills": "20",
    "kills_during_training": ">= 5",
    "same_adapter": "True",
    "adapter_moved": "True",
    "duplicates": "0",
    "missing": "0",
    "same_pairs": "True",
}


# -- the project -------------------------------------------------------------------------------------------------------


def make_project(folder: Path, options: argparse.Namespace) -> Path:
    """Return a project with an agent, and questions of whose sampled answers some are right."""
    folder.mkdir()
    file = folder / FILE
    rows = [json.loads(line) for line in (DEMO / "questions.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["family"] in REASONING][: options.questions]
    with open_store(file, create=True) as store:
        chains = []
        for number, row in enumerate(rows):
            stored = store_image(DEMO / row["image"], folder / "images")
            question = Question(identify(number), row["question"], row["answer"], stored.sha256, "demo", "text")
            store.add_questions([(question, stored)])
            example = make_example(row["seed"], split="demo", family=row["family"], level=row["level"])
            steps = "\n".join(map(write_step, reference_chains(example, 1)[0]))
            chains.append(SetRow(question.id, None, REASON, steps))
        run = Run("c" * 20, "curate", None, prompts.PROMPT_VERSION, {"inputs": {}}, "bench")
        store.start_run(run)
        save_curation(store, run.id, {"reason": chains}, [], {"inputs": {}})
        store.end_run(run.id, "done")
    agent = run_command("sft", "reason", "--epochs", "6", "--batch-size", "2", "--learning-rate", "2e-3", file=file)
    choose_truths(file, agent["folder"], options)
    return file


def choose_truths(file: Path, adapter: str, options: argparse.Namespace) -> None:
    """Make the most frequent answer that the agent will sample to each question the true one."""
    with tempfile.TemporaryDirectory(dir=file.parent.parent) as beside:
        scratch = Path(shutil.copytree(file.parent, Path(beside) / "scratch")) / FILE
        sampled = ["--model", "nano-base", "--adapter", adapter, "--paths", str(options.paths), *SAMPLING]
        run_command("generate", *sampled, file=scratch)
        with open_store(scratch) as store:
            answers: dict[str, Counter[str]] = {}
            for question, answer in store.tuples("SELECT question, answer FROM paths WHERE answer != '' ORDER BY id"):
                answers.setdefault(question, Counter())[answer] += 1
    with open_store(file) as store, store.transaction():
        for question, found in answers.items():
            store.db.conn.execute(
                "UPDATE questions SET answer = ? WHERE id = ?", (found.most_common(1)[0][0], question)
            )


# -- commands ----------------------------------------------------------------------------------------------------------


def start_command(*words: str, file: Path) -> subprocess.Popen:
    """Start a command on a project in a process of its own, with one thread."""
    command = [sys.executable, "-m", "insightv_core", *words, "--project", str(file), "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen) -> dict:
    """Wait for a command and return what it printed; exit with its last words where it failed."""
    said, complaints = process.communicate()
    if process.returncode:
        sys.exit(f"{' '.join(process.args[3:])} ended with {process.returncode}:\n{complaints[-2000:]}")
    return json.loads(said)


def run_command(*words: str, file: Path) -> dict:
    """Run a command on a project and return what it printed."""
    return finish(start_command(*words, file=file))


def start_round(file: Path, options: argparse.Namespace) -> subprocess.Popen:
    """Start the one command that everything here is about."""
    return start_command(
        "dpo", "--rounds", "1", "--questions", str(options.questions), "--paths", str(options.paths), *SAMPLING,
        "--no-judge", "--pairs", "4", "--evaluate", "2", "--batch-size", "1", "--gradient-accumulation", "1",
        "--learning-rate", "5e-4", "--epochs", str(options.epochs), "--save-steps", str(options.save_steps), file=file,
    )  # fmt: skip


# -- killing -----------------------------------------------------------------------------------------------------------


def kill_at(process: subprocess.Popen, seconds: float) -> bool:
    """Kill a process after so many seconds; tell whether it was still there."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    return False


def name_stage(file: Path, pid: int) -> str:
    """Return the stage that a killed process was in: of what it ran and did not end, the one begun last."""
    with open_store(file) as store:
        stages = store.column(
            "SELECT stage FROM runs WHERE pid = ? AND status = 'running' ORDER BY stage = 'rounds', updated DESC", [pid]
        )
    return (
        {"dpo": "training", "rounds": "evaluating or between stages"}.get(stages[0], stages[0]) if stages else "start"
    )


def run_killed(ready: Path, seconds: float, options: argparse.Namespace) -> tuple[Counter[str], list[dict]]:
    """Return how many kills hit each stage, and how every copy of the project ended."""
    rng, stages, ends = Random(options.seed), Counter[str](), []
    while stages.total() < options.kills:
        copy = Path(shutil.copytree(ready.parent, ready.parent.parent / f"copy-{len(ends)}")) / FILE
        begun, before = time.perf_counter(), stages.total()
        while True:
            process = start_round(copy, options)
            moment = rng.uniform(0, seconds)
            if stages.total() >= options.kills or not kill_at(process, moment):
                break
            stage = name_stage(copy, process.pid)
            stages[stage] += 1
            tell(f"kill {stages.total()} of {options.kills} after {moment:.1f} s, in {stage}")
        ends.append(describe_end(copy, finish(process)))
        tell(f"copy {len(ends)} ended with the weights {ends[-1]['weights'][:12]}")
        if stages.total() == before:  # the machine has become faster, and most moments would come too late
            seconds = min(seconds, time.perf_counter() - begun)
        shutil.rmtree(copy.parent)
    return stages, ends


def describe_end(file: Path, result: dict) -> dict:
    """Return what a round came to: the hash of its weights, its pairs, and the rows of each table."""
    (made,) = result["rounds"]
    with open_store(file) as store:
        rows = {table: store.value(f"SELECT count(*) FROM {table}") for table in TABLES}
    return {"weights": hash_weights(made["trained"]["folder"]), "pairs": made["pairs"], "rows": rows}


def hash_weights(folder: str | Path) -> str:
    """Return the sha256 of an adapter's weights."""
    return hashlib.sha256((Path(folder) / WEIGHTS).read_bytes()).hexdigest()


def tell(line: str) -> None:
    """Say how far the measurement is."""
    print(line, file=sys.stderr, flush=True)


def measure(options: argparse.Namespace) -> dict:
    """Return every figure."""
    with tempfile.TemporaryDirectory() as folder:
        ready = make_project(Path(folder) / "ready", options)
        whole = Path(shutil.copytree(ready.parent, Path(folder) / "whole")) / FILE
        started = time.perf_counter()
        result = finish(start_round(whole, options))
        seconds = time.perf_counter() - started
        expected = describe_end(whole, result)
        tell(f"undisturbed: {expected['pairs']} pairs in {seconds:.1f} s, the weights {expected['weights'][:12]}")
        (start,) = (ready.parent / "adapters").iterdir()
        before = hash_weights(start)
        stages, ends = run_killed(ready, seconds, options)
    surplus = {
        f"{table} of copy {number}": each["rows"][table] - expected["rows"][table]
        for number, each in enumerate(ends, 1) for table in TABLES
    }  # fmt: skip
    return {
        "kills": stages.total(),
        "kills_during_training": stages["training"],
        "kills_by_stage": dict(stages),
        "copies": len(ends),
        "same_adapter": all(each["weights"] == expected["weights"] for each in ends),
        "adapter_moved": expected["weights"] != before,
        "duplicates": sum(max(0, count) for count in surplus.values()),
        "missing": sum(max(0, -count) for count in surplus.values()),
        "surplus": {name: count for name, count in surplus.items() if count},
        "pairs": expected["pairs"],
        "same_pairs": all(each["pairs"] == expected["pairs"] for each in ends),
        "seconds": seconds,
    }


def main() -> None:
    """Measure, and print the figures as a table or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="how often to kill, over all copies")
    parser.add_argument("--questions", type=int, default=12, help="questions that the round asks")
    parser.add_argument("--paths", type=int, default=8, help="paths a question")
    parser.add_argument("--epochs", type=int, default=3, help="times over the pairs, which is most of the time")
    parser.add_argument("--save-steps", type=int, default=4, help="steps between checkpoints")
    parser.add_argument("--seed", type=int, default=0, help="decides the moments")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    options = parser.parse_args()
    if options.kills < 1:
        parser.error("--kills has to be at least 1")
    figures = measure(options)
    if options.json:
        print(json.dumps({"settings": vars(options), "figures": figures, "targets": TARGETS}, indent=2))
        return
    for name, value in figures.items():
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        print(f"{name:24} {shown:>12}  {TARGETS.get(name, '')}")


if __name__ == "__main__":
    main()
