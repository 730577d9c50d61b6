"""Fine-tuning an agent from a project's curated set: what is learned, what is kept, and continuing after a kill."""

import json
import math
import shutil

import PIL.ExifTags
import PIL.Image
import pytest
import torch
from datasets import Dataset, Features, Image, List
from safetensors.torch import load_file
from test_generate import make_project

from insightv_core import prompts
from insightv_core.cli import main
from insightv_core.curate.sets import PLAIN, REASON
from insightv_core.parse import write_step
from insightv_core.records import ModelVersion, Run, SetRow, Step
from insightv_core.store import open_store
from insightv_core.store.curation import save_curation
from insightv_core.store.training import add_metrics, add_model, add_round, list_models, load_metrics
from insightv_core.train import run as training
from insightv_core.train.arguments import read_size, read_undecoded
from insightv_core.vlm.local import hash_files, load_local

CHAIN = "\n".join(
    [write_step(Step("Read the bars", "red is 3, blue is 9.")), write_step(Step("Subtract", "9 - 3 = 6.", "summary"))]
)


@pytest.fixture
def project(tmp_path):
    file = make_project(tmp_path, 6)
    with open_store(file) as store:
        curate_by_hand(store, "c" * 20)
    return file


def curate_by_hand(store, name):
    """Save a curation of every question, the last of them excluded from the reasoning set."""
    questions = list(store.questions())
    run = Run(name, "curate", None, prompts.PROMPT_VERSION, {"inputs": {}}, "0")
    store.start_run(run)
    reason = [SetRow(question.id, None, REASON, CHAIN) for question in questions]
    reason[-1] = SetRow(questions[-1].id, None, REASON, CHAIN, excluded="a flawed step")
    summary = [SetRow(question.id, None, PLAIN, question.answer) for question in questions]
    save_curation(store, run.id, {"reason": reason, "summary": summary}, [], {"inputs": {}})
    store.end_run(run.id, "done")


def count_training(monkeypatch):
    """Return a list that gets what is trained, in place of training: each run keeps an adapter at once."""
    works = []

    def carry_out(store, work, make, *, note=None, command=None, quiet=False):
        works.append(work)
        store.start_run(work.run, command=command)
        folder = store.folder / "adapters" / f"{work.role}-{len(works)}"
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text(json.dumps({"made_by": work.run.id}))
        made = ModelVersion(folder.name, hash_files(folder))
        base = work.base.fingerprint
        add_model(store, made, kind="adapter", base=base, folder=str(folder), run=work.run.id)
        add_metrics(store, work.run.id, 7, {"loss": 0.25, "rows": len(work.rows), "seconds": 3.0})
        if work.run.stage == "dpo":
            adapter, curation = (work.run.settings[name] for name in ("adapter", "curation"))
            add_round(store, work.run.id, before=adapter, after=made.fingerprint, curation=curation)
        store.end_run(work.run.id, "done", done=7)
        return training.find_finished(store, work.run, work.role)

    monkeypatch.setattr(training, "_carry_out", carry_out)
    monkeypatch.setattr("insightv_core.vlm.local.load_local", lambda name, **more: None)
    return works


def train(file, *more, role="reason"):
    return main(["sft", role, "--project", str(file), "--batch-size", "2", "--json", *more])


@pytest.mark.slow
def test_an_agent_learns_its_set_and_its_adapter_is_kept(project, capsys):
    assert train(project, "--epochs", "8", "--learning-rate", "3e-3") == 0
    trained = json.loads(capsys.readouterr().out)
    assert trained["rows"] == 5 and trained["steps"] == 24  # the excluded row is left out
    assert trained["last_loss"] < 0.5 * trained["first_loss"]
    assert trained["folder"].endswith(trained["fingerprint"][:8])
    with open_store(project) as store:
        (model,) = list_models(store, "adapter")
        assert model["fingerprint"] == trained["fingerprint"] and model["run"] == trained["run"]
        assert model["base"] == load_local("nano-base").version.fingerprint
        losses = load_metrics(store, trained["run"])["loss"]
        assert len(losses) == 24 and all(math.isfinite(value) for _, value in losses)
        assert store.value("SELECT status FROM runs WHERE id = ?", [trained["run"]]) == "done"
    assert train(project, "--epochs", "8", "--learning-rate", "3e-3") == 0  # is not trained again
    assert json.loads(capsys.readouterr().out) == trained
    with open_store(project) as store:
        curate_by_hand(store, "d" * 20)  # has the same rows, and would end with the same weights
    assert train(project, "--epochs", "8", "--learning-rate", "3e-3", "--save-steps", "5") == 0
    assert json.loads(capsys.readouterr().out) == trained
    assert says(trained["folder"], project) == CHAIN.splitlines()[0]


def says(adapter, project):
    """What the adapted model says first about a question it was trained on."""
    from insightv_core.records import Sampling
    from insightv_core.vlm import Talk

    with open_store(project) as store:
        question = next(store.questions())
        talk = Talk("q", prompts.ask(question.text, prompts.REASON), (store.image_file(question.image),))
        told = load_local("nano-base").converse([talk], Sampling((0.0,), max_tokens=120), adapter=adapter)
        return next(told).replies[0].text.splitlines()[0]


@pytest.mark.slow
def test_a_stopped_run_continues_to_the_same_weights(project, tmp_path, capsys, monkeypatch):
    from transformers import TrainerCallback

    from insightv_core.train.settings import SFTSettings

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 5:
                raise KeyboardInterrupt

    settings = SFTSettings(batch_size=2, epochs=3, save_steps=2, learning_rate=1e-3)

    def weights(trained):
        return load_file(f"{trained.folder}/adapter_model.safetensors")

    with open_store(project) as store:
        with pytest.raises(KeyboardInterrupt):
            training.train_agent(store, "reason", "nano-base", settings, quiet=True, callbacks=[Stop()])
        assert store.value("SELECT status FROM runs WHERE stage = 'sft'") == "stopped"
        continued = training.train_agent(store, "reason", "nano-base", settings, quiet=True)
        assert [step for step, _ in load_metrics(store, continued.run)["loss"]] == list(range(1, 10))
    other = tmp_path / "other"
    other.mkdir()
    for name in ("project.db", "images"):
        (other / name).symlink_to(project.parent / name)
    with open_store(project) as store, store.transaction():
        store.db.conn.execute("UPDATE runs SET status = 'stopped' WHERE stage = 'sft'")
    with open_store(other / "project.db") as store:  # without the folder of the run, so from the start
        whole = training.train_agent(store, "reason", "nano-base", settings, quiet=True)
    first, second = weights(continued), weights(whole)
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert any(name.endswith("lora_B.weight") and weight.abs().sum() > 0 for name, weight in first.items())
    assert not any("vision" in name for name in first)


@pytest.mark.slow
def test_all_weights_can_be_trained(project, capsys):
    assert train(project, "--full", "--epochs", "1", "--learning-rate", "1e-3", role="summary") == 0
    trained = json.loads(capsys.readouterr().out)
    assert trained["kind"] == "whole" and trained["rows"] == 6
    weights = load_file(f"{trained['folder']}/model.safetensors")
    from insightv_core.nano.model import find_model

    before = load_file(find_model("nano-base") / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name].float(), weights[name].float())}
    assert changed and not any("vision_tower" in name for name in changed)


def test_what_is_trained_already_is_named_and_not_trained_again(project, monkeypatch, capsys):
    works = count_training(monkeypatch)
    assert train(project) == 0
    trained = json.loads(capsys.readouterr().out)
    assert "already" not in trained and trained["rows"] == 5
    with open_store(project) as store:
        curate_by_hand(store, "d" * 20)
    for more in ([], ["--save-steps", "7"], ["--run", "cccc"]):
        assert train(project, *more) == 0
        assert json.loads(capsys.readouterr().out) == trained
    assert main(["sft", "reason", "--project", str(project), "--batch-size", "2"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"already trained: adapter reason-1 in {trained['folder']} (run {trained['run']}, 5 rows, ")
    assert "7 steps, loss 0.250 to 0.250)" in said and len(works) == 1
    assert main(["sft", "summary", "--project", str(project)]) == 0
    assert capsys.readouterr().out.startswith("run ") and len(works) == 2


def test_other_rows_settings_or_lost_weights_are_trained(project, monkeypatch, capsys):
    works = count_training(monkeypatch)
    assert train(project) == 0
    first = json.loads(capsys.readouterr().out)
    assert train(project, "--epochs", "3") == 0 and train(project, "--seed", "1") == 0 and len(works) == 3
    exclude(project, "'too long'")
    assert train(project) == 0 and [len(work.rows) for work in works] == [5, 5, 5, 4]
    exclude(project, "NULL")
    assert train(project) == 0 and len(works) == 4
    shutil.rmtree(first["folder"])
    assert train(project) == 0 and works[4].run.id == first["run"]


def exclude(project, reason):
    with open_store(project) as store, store.transaction():
        store.db.conn.execute(f"UPDATE set_rows SET excluded = {reason} WHERE number = 1")


def test_what_an_earlier_version_trained_is_known_by_its_curation(project, monkeypatch, capsys):
    works = count_training(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(training, "hash_rows", lambda rows: "not a part of the id")
        assert train(project) == 0
    first = json.loads(capsys.readouterr().out)
    with open_store(project) as store, store.transaction():
        store.db.conn.execute("UPDATE runs SET settings = json_remove(settings, '$.rows_sha256') WHERE stage = 'sft'")
    assert train(project) == 0
    assert json.loads(capsys.readouterr().out) == first and len(works) == 1


def test_without_a_curated_set_the_command_says_what_to_do(tmp_path, capsys):
    file = make_project(tmp_path, 1)
    assert train(file) == 1
    assert "insightv curate" in capsys.readouterr().err


def test_metrics_of_a_repeated_step_take_the_place_of_the_first(tmp_path):
    with open_store(tmp_path / "a.db", create=True) as store:
        store.start_run(Run("r" * 20, "sft", None, "1", {}, "0"))
        add_metrics(store, "r" * 20, 1, {"loss": 2.0})
        add_metrics(store, "r" * 20, 1, {"loss": 1.5, "rate": 0.1})
        assert load_metrics(store, "r" * 20) == {"loss": [(1, 1.5)], "rate": [(1, 0.1)]}
        assert load_metrics(store, "r" * 20, ["rate"]) == {"rate": [(1, 0.1)]}


def test_pictures_are_measured_without_being_decoded(monkeypatch, tmp_path):
    turned = PIL.Image.new("RGB", (40, 20))
    exif = turned.getexif()
    exif[PIL.ExifTags.Base.Orientation] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    PIL.Image.new("RGB", (30, 10)).save(tmp_path / "plain.png")
    files = [str(tmp_path / name) for name in ("turned.jpg", "plain.png")]
    rows = Dataset.from_dict({"images": [files]}, features=Features({"images": List(Image())}))
    decoded = [image.size for image in rows[0]["images"]]
    monkeypatch.setattr(PIL.Image.Image, "load", lambda *arguments: pytest.fail("a picture was decoded"))
    (row,) = read_undecoded(rows)
    assert [read_size(picture) for picture in row["images"]] == decoded == [(20, 40), (30, 10)]
