"""Training under two processes ends with the weights of one process with the same batches."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from safetensors.torch import load_file
from test_dpo_rounds import project as pairs_project
from test_sft import project as sets_project

from insightv_core.store import open_store
from insightv_core.store.training import list_rounds, load_metrics, load_pair_logprobs

__all__ = ["pairs_project", "sets_project"]
TOLERANCE = 2e-5  # of weights of about 0.05 that moved by about 1e-3: the sums of two processes round otherwise


def launch(processes, *command):
    """Run a command in its own processes and return what it printed as JSON."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1", "HF_HUB_OFFLINE": "1"}
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--nproc_per_node", str(processes), "--standalone", "-m", "--"]
    done = subprocess.run(
        [*start, "insightv_core", *command, "--json"], env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))


def copy_project(file, folder):
    shutil.copytree(file.parent, folder)
    return folder / file.name


def largest_difference(one, other):
    first, second = (load_file(f"{each['folder']}/adapter_model.safetensors") for each in (one, other))
    assert first.keys() == second.keys()
    assert any(name.endswith("lora_B.weight") and weight.abs().max() > 1e-4 for name, weight in first.items())
    return max((first[name] - second[name]).abs().max().item() for name in first)


@pytest.mark.slow
def test_sft_in_two_processes_gives_the_weights_of_one(sets_project, tmp_path):
    command = ["sft", "summary", "--epochs", "2", "--learning-rate", "1e-3"]
    trained = {
        count: launch(
            count, *command, "--project", str(copy_project(sets_project, tmp_path / f"by-{count}")),
            "--batch-size", str(2 // count),
        )
        for count in (1, 2)
    }  # fmt: skip
    assert trained[1]["rows"] == trained[2]["rows"] == 6 and trained[1]["steps"] == trained[2]["steps"] == 6
    assert largest_difference(trained[1], trained[2]) < TOLERANCE


@pytest.mark.slow
def test_dpo_in_two_processes_gives_the_weights_of_one(pairs_project, tmp_path):
    launch(1, "sft", "reason", "--epochs", "1", "--batch-size", "2", "--project", str(pairs_project))
    found = {}
    for count in (1, 2):
        file = copy_project(pairs_project, tmp_path / f"by-{count}")
        found[count] = launch(
            count, "dpo", "--run", "c" * 20, "--learning-rate", "1e-3", "--gradient-accumulation", "1", "--epochs", "2",
            "--batch-size", str(2 // count), "--project", str(file),
        )  # fmt: skip
        with open_store(file) as store:
            (made,) = list_rounds(store)
            assert (
                len(load_pair_logprobs(store, made["reference"])) == len(load_pair_logprobs(store, made["policy"])) == 6
            )
            assert len(load_metrics(store, made["run"])["loss"]) == 6
    assert largest_difference(found[1], found[2]) < TOLERANCE
    assert found[1]["mean_margin"] == pytest.approx(found[2]["mean_margin"], abs=1e-3)
