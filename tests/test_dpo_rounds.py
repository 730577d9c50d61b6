"""DPO on the pairs of a curating run, again and again: the policy moves, and every round can be traced."""

import json

import pytest
from test_generate import make_project
from test_sft import CHAIN, count_training, train

from insightv_core import prompts
from insightv_core.cli import main
from insightv_core.curate.sets import REASON
from insightv_core.generate import GenerateSettings, generate, name_run
from insightv_core.parse import write_answer, write_step
from insightv_core.records import Pair, Run, SetRow, Step, identify
from insightv_core.store import open_store
from insightv_core.store.curation import save_curation
from insightv_core.store.training import list_models, list_rounds, load_pair_logprobs, mean_margin
from insightv_core.vlm.scripted import ScriptedVLM


@pytest.fixture
def project(tmp_path):
    """A project with two chains a question, a pair of each, and a set to train the first agent on."""
    file = make_project(tmp_path, 6)
    steps = {
        0: [*CHAIN.splitlines(), write_answer("6")],
        1: [write_step(Step("Guess", "It could be 4.", "summary")), write_answer("4")],
    }
    vlm = ScriptedVLM(lambda talk, sample: steps[sample])
    settings = GenerateSettings()
    with open_store(file) as store:
        questions = list(store.questions())
        sampling = name_run(vlm.version, settings)
        store.start_run(sampling)
        asked = ((question, (0, 1)) for question in questions)
        paths = list(generate(asked, vlm, sampling, settings, image_file=store.image_file))
        store.add_paths(paths)
        run = Run("c" * 20, "curate", None, prompts.PROMPT_VERSION, {"inputs": {}}, "0")
        store.start_run(run)
        ids = {(path.question, path.sample): path.id for path in paths}
        pairs = [
            Pair(
                identify(question.id), run.id, question.id, ids[question.id, 0], ids[question.id, 1], "path", 0,
                "answer", None,
            )
            for question in questions
        ]  # fmt: skip
        rows = [SetRow(question.id, None, REASON, CHAIN) for question in questions]
        save_curation(store, run.id, {"reason": rows}, pairs, {"inputs": {}})
        store.end_run(run.id, "done")
    return file


SETTINGS = ["--batch-size", "2", "--gradient-accumulation", "1", "--learning-rate", "1e-3", "--epochs", "2"]


def run_round(file, *more):
    return main(["dpo", "--project", str(file), "--run", "--json", *SETTINGS, *more])


@pytest.mark.slow
def test_rounds_follow_each_other_and_margins_can_be_read(project, capsys):
    assert train(project, "--epochs", "1") == 0
    first = json.loads(capsys.readouterr().out)
    assert run_round(project) == 0
    one = json.loads(capsys.readouterr().out)
    assert one["rows"] == 6 and one["steps"] == 6 and one["round"] == 1 and one["mean_margin"] > 0.1
    assert run_round(project) == 0 and run_round(project, "--save-steps", "3") == 0  # again: nothing is trained
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [one, one]
    assert run_round(project, "--adapter", one["folder"]) == 0
    two = json.loads(capsys.readouterr().out)
    assert two["round"] == 2 and two["mean_margin"] > 0.1
    with open_store(project) as store:
        rounds = list_rounds(store)
        assert [each["reference"] for each in rounds] == [first["fingerprint"], one["fingerprint"]]
        assert [each["policy"] for each in rounds] == [one["fingerprint"], two["fingerprint"]]
        assert [each["previous"] for each in rounds] == [None, one["run"]]
        for each in (first, one, two):
            assert len(load_pair_logprobs(store, each["fingerprint"])) == 6
        both = mean_margin(store, two["fingerprint"], first["fingerprint"], 0.1)
        assert both == pytest.approx(one["mean_margin"] + two["mean_margin"], abs=1e-3)
        assert {model["fingerprint"] for model in list_models(store, "adapter")} == {
            first["fingerprint"], one["fingerprint"], two["fingerprint"],
        }  # fmt: skip
    assert run_round(project, "--gradient-accumulation", "16", "--epochs", "1") == 1
    assert "ended after 1 steps with the weights of reason-" in capsys.readouterr().err


def test_a_round_that_is_trained_already_is_named_and_not_trained_again(project, monkeypatch, capsys):
    works = count_training(monkeypatch)
    assert train(project) == 0 and run_round(project) == 0
    one = json.loads(capsys.readouterr().out.splitlines()[1])
    for more in ([], ["--save-steps", "3"], ["--run", "cccc"]):
        assert run_round(project, *more) == 0
        assert json.loads(capsys.readouterr().out) == one
    assert main(["dpo", "--project", str(project), "--run", *SETTINGS]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"already trained: adapter reason-2 in {one['folder']} (round 1, run {one['run']}, 6 pairs,")
    assert [work.run.stage for work in works] == ["sft", "dpo"]
    assert run_round(project, "--adapter", one["folder"]) == 0  # another policy is another round
    assert json.loads(capsys.readouterr().out)["round"] == 2 and len(works) == 3


def test_a_policy_that_is_not_there_is_named(project, capsys):
    assert main(["dpo", "--project", str(project)]) == 1
    assert "insightv sft reason" in capsys.readouterr().err
    assert main(["dpo", "--project", str(project), "--adapter", "nowhere"]) == 1
    assert "no adapter at nowhere" in capsys.readouterr().err
