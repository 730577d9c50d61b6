"""Training under two processes ends with the weights of one process with the same batches, and only one of them writes.

`accelerate launch --multi_gpu` starts gloo processes where there is no GPU; `--cpu` would start a single one.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from test_dpo_rounds import project as pairs_project
from test_sft import project as sets_project

from insightv_core.cli import main
from insightv_core.store import open_store
from insightv_core.store.training import list_rounds, load_metrics, load_pair_logprobs

__all__ = ["pairs_project", "sets_project"]
TOLERANCE = 2e-5  # of weights of about 0.05 that moved by about 1e-3: the sums of two processes round otherwise
WRITTEN = ("runs", "models", "metrics", "rounds", "pair_logprobs")
ALONE = ("-m", "insightv_core")
LAUNCHERS = {
    "alone": ALONE,
    "accelerate": (
        "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0", *ALONE,
    ),
    "torchrun": ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", "-m", "--", "insightv_core"),
}  # fmt: skip


def launch(launcher, *command):
    """Run a command as a launcher starts it, and return what it printed: one line of JSON, by one process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE_")}
    done = subprocess.run(
        [sys.executable, *LAUNCHERS[launcher], *command, "--json"],
        env=environment | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = done.stdout.splitlines()
    return json.loads(line)


def copy_project(file, folder):
    """Copy a project, and let the copy count every row that is written to it from now on."""
    shutil.copytree(file.parent, folder)
    with open_store(folder / file.name) as store, store.transaction():
        store.db.conn.execute("CREATE TABLE written (what TEXT)")
        for table in WRITTEN:
            for event in ("INSERT", "UPDATE"):
                store.db.conn.execute(
                    f"CREATE TRIGGER note_{event}_{table} AFTER {event} ON {table} "
                    f"BEGIN INSERT INTO written VALUES ('{event} {table}'); END"
                )
    return folder / file.name


def written(file):
    with open_store(file) as store:
        return store.tuples("SELECT what, count(*) FROM written GROUP BY what ORDER BY what")


def largest_difference(one, other):
    first, second = (load_file(f"{each['folder']}/adapter_model.safetensors") for each in (one, other))
    assert first.keys() == second.keys()
    assert any(name.endswith("lora_B.weight") and weight.abs().max() > 1e-4 for name, weight in first.items())
    return max((first[name] - second[name]).abs().max().item() for name in first)


@pytest.mark.slow
def test_sft_in_two_processes_gives_the_weights_of_one(sets_project, tmp_path):
    command = ["sft", "summary", "--epochs", "2", "--learning-rate", "1e-3"]
    files = {launcher: copy_project(sets_project, tmp_path / launcher) for launcher in LAUNCHERS}
    trained = {
        launcher: launch(
            launcher, *command, "--batch-size", "2" if launcher == "alone" else "1", "--project", str(file)
        )
        for launcher, file in files.items()
    }
    assert {(each["rows"], each["steps"]) for each in trained.values()} == {(6, 6)}
    for launcher in ("accelerate", "torchrun"):
        assert largest_difference(trained["alone"], trained[launcher]) < TOLERANCE
        assert written(files[launcher]) == written(files["alone"])
        assert len(list((files[launcher].parent / "adapters").iterdir())) == 1


@pytest.mark.slow
def test_dpo_in_two_processes_gives_the_weights_of_one(pairs_project, tmp_path):
    launch("alone", "sft", "reason", "--epochs", "1", "--batch-size", "2", "--project", str(pairs_project))
    found, wrote = {}, {}
    for launcher in ("alone", "accelerate"):
        file = copy_project(pairs_project, tmp_path / launcher)
        found[launcher] = launch(
            launcher, "dpo", "--run", "c" * 20, "--learning-rate", "1e-3", "--gradient-accumulation", "1",
            "--epochs", "2", "--batch-size", "2" if launcher == "alone" else "1", "--project", str(file),
        )  # fmt: skip
        wrote[launcher] = written(file)
        with open_store(file) as store:
            (made,) = list_rounds(store)
            assert (
                len(load_pair_logprobs(store, made["reference"])) == len(load_pair_logprobs(store, made["policy"])) == 6
            )
            assert len(load_metrics(store, made["run"])["loss"]) == 6
    assert wrote["alone"] == wrote["accelerate"]
    assert largest_difference(found["alone"], found["accelerate"]) < TOLERANCE
    assert found["alone"]["mean_margin"] == pytest.approx(found["accelerate"]["mean_margin"], abs=1e-3)


def test_a_launcher_that_starts_one_process_for_several_is_named(sets_project, capsys, monkeypatch):
    """What `accelerate launch --cpu --num_processes 2` leaves in the environment of its only process."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert main(["sft", "summary", "--project", str(sets_project)]) == 1
    assert "--multi_gpu" in capsys.readouterr().err
    with open_store(sets_project) as store:
        assert store.status("c" * 20) == "done" and store.value("SELECT count(*) FROM runs") == 1


def test_the_readme_starts_processes_as_these_tests_do():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    options = " ".join(LAUNCHERS["accelerate"][2:5])
    assert f"accelerate launch {options} {' '.join(ALONE)} sft reason" in readme
