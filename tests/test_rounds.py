"""Whole rounds of DPO: each samples from the policy before it, and whatever is done already is not done again."""

import functools
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from test_generate import DEMO
from test_sft import CHAIN, train

from insightv_core import prompts
from insightv_core.cli import main
from insightv_core.curate.sets import REASON
from insightv_core.errors import UserError
from insightv_core.export import FORMATS, read_export
from insightv_core.images import store_image
from insightv_core.parse import PathVerdict, write_answer, write_step, write_verdicts
from insightv_core.preflight import load_processor
from insightv_core.records import ModelVersion, Question, Run, Sampling, SetRow, Step, identify
from insightv_core.rounds import BEFORE, INITIAL, RoundsSettings, name_series, run_rounds
from insightv_core.store import open_store
from insightv_core.store.curation import save_curation
from insightv_core.store.training import add_model, list_models, list_rounds
from insightv_core.train import run as training
from insightv_core.train.adapters import note_base, open_adapter, read_version
from insightv_core.vlm.local import hash_files
from insightv_core.vlm.scripted import ScriptedVLM

SETTINGS = RoundsSettings(rounds=3, questions=4, paths=2, judge=None, evaluate=2)
WRONG = write_step(Step("Guess", "It could be 4.", "summary"))


load_once = functools.cache(load_processor)


class Policy(ScriptedVLM):
    """Say the right chain in the first sample and a wrong one in the second; note which adapter wrote how many."""

    def converse(self, talks, sampling, *, adapter=None, listen=None, stop=None):
        for conversation in super().converse(talks, sampling, adapter=adapter, listen=listen, stop=stop):
            if adapter is not None:
                self.wrote.append(Path(adapter).name)
            yield conversation


def like_guesses(asked):
    """Return the verdicts of a judge that is not told the truth and likes what could be."""
    assert f"{prompts.TRUTH} {prompts.UNKNOWN}\n" in asked
    shown = [part.splitlines() for part in re.split(r"^Path \d+:\n", asked, flags=re.M)[1:]]
    paths = [
        PathVerdict(number, ("sound",) * (len(lines) - 1), 90 if "could be" in lines[0] else 20)
        for number, lines in enumerate(shown, 1)
    ]
    return write_verdicts(paths)


def make_project(folder, count):
    """A project of questions about numbers, whose pictures are what their names say."""
    folder.mkdir(exist_ok=True)
    rows = [json.loads(line) for line in (DEMO / "questions.jsonl").read_text().splitlines()][:count]
    with open_store(folder / "project.db", create=True) as store:
        for number, row in enumerate(rows):
            stored = store_image(DEMO / row["image"], folder / "images")
            question = Question(identify(number), row["question"], str(number), stored.sha256, "demo", "integer")
            store.add_questions([(question, stored)])
    return folder / "project.db"


def make_adapter(folder, text):
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"says": text}))
    return folder


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """A project with an adapter, a scripted model in place of any other, and training that makes up adapters."""
    file = make_project(tmp_path, 5)
    with open_store(file) as store:
        answers = {question.id: question.answer for question in store.questions()}

        def script(talk, sample):
            asked = talk.messages[-1]["content"][-1]["text"]
            if prompts.JUDGE in asked:
                return [like_guesses(asked)]
            return [WRONG, write_answer("999")] if sample else [CHAIN, write_answer(answers.get(talk.key, ""))]

        policy = Policy(script)
        policy.wrote, policy.trained = [], []
        monkeypatch.setattr("insightv_core.vlm.loading.load_vlm", lambda name, **more: policy)
        monkeypatch.setattr("insightv_core.preflight.load_processor", load_once)

        def train_round(store, model, adapter, settings, *, curation, reference, sampling, assessing, **more):
            policy.trained.append((Path(adapter).name, Path(reference).name))
            before = open_adapter(store, adapter, read_version(model))
            name = f"{before.folder.name}+"
            folder = store.folder / "adapters" / name
            if not folder.exists():
                make_adapter(folder, name)
            made = ModelVersion(name, hash_files(folder))
            add_model(store, made, kind="adapter", base=None, folder=str(folder), run=None, known=True)
            return training.Trained(
                "run", "reason", "adapter", name, made.fingerprint, str(folder), 4, 2, 0.7, 0.6, 1.0
            )  # fmt: skip

        monkeypatch.setattr(training, "train_round", train_round)
        start = make_adapter(tmp_path / "start", "start")
        yield store, start, policy


def paths_by_model(store):
    return {
        row["name"]: row["n"]
        for row in store.rows(
            "SELECT models.name, count(*) AS n FROM paths JOIN runs ON runs.id = paths.run "
            "JOIN models ON models.fingerprint = runs.model GROUP BY models.name"
        )
    }


def test_each_round_samples_from_the_policy_before_it(stage):
    store, start, policy = stage
    lines = []
    results = run_rounds(store, "nano-base", str(start), SETTINGS, quiet=True, tell=lines.append)
    assert paths_by_model(store) == {"start": 8, "start+": 8, "start++": 8}
    assert [each.trained.model for each in results] == ["start+", "start++", "start+++"]
    assert policy.trained == [("start", "start"), ("start+", "start+"), ("start++", "start++")]
    assert lines[0].startswith(f"{BEFORE}: accuracy 0.")
    assert lines[1].startswith("round 1 of 3: 4 questions x 2 paths, 4 pairs, accuracy 0.00 (")
    for each in results:
        assert store.value("SELECT count(*) FROM pairs WHERE run = ?", [each.curating]) == 4
        assert store.run(each.sampling).settings["style"] == "chain" and store.run(each.assessing).stage == "assess"
    systems = store.column("SELECT DISTINCT system FROM evaluation_items ORDER BY rowid")
    assert systems == [BEFORE, "after round 1", "after round 2", "after round 3"]
    assert store.value("SELECT count(*) FROM runs WHERE status != 'done'") == 0
    assert store.value("SELECT count(*) FROM runs WHERE stage = 'curate'") == 0  # `insightv sft` takes the newest


def test_a_blind_judges_word_alone_can_make_the_pairs(stage, capsys):
    store, start, _ = stage
    command = ["dpo", "--project", str(store.file), "--adapter", str(start), "--rounds", "1", "--questions", "4"]
    command += ["--paths", "2", "--evaluate", "0", "--pairs-by", "score", "--json"]
    assert main(command) == 0
    (result,) = json.loads(capsys.readouterr().out)["rounds"]
    pairs = store.tuples(
        "SELECT pairs.reason, one.outcome, other.outcome, pairs.excluded FROM pairs JOIN paths AS one ON "
        "one.key = chosen JOIN paths AS other ON other.key = rejected WHERE pairs.run = ?",
        [result["curating"]],
    )
    assert pairs == [("judge", "wrong", "correct", None)] * 4
    assert main([*command, "--no-judge"]) == 1
    assert "leave out --no-judge" in capsys.readouterr().err


@pytest.mark.slow
def test_the_first_policy_can_stay_the_reference(stage):
    store, start, policy = stage
    run_rounds(store, "nano-base", str(start), replace(SETTINGS, reference=INITIAL, evaluate=0), quiet=True)
    assert policy.trained == [("start", "start"), ("start+", "start"), ("start++", "start")]


@pytest.mark.parametrize(
    "moment",
    [
        "training",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("sampling", "assessing", "pairing", "evaluating")),
    ],
)
def test_rounds_that_were_stopped_go_on_and_end_the_same(stage, monkeypatch, moment):
    store, start, policy = stage
    targets = {
        "sampling": "insightv_core.commands.generate.generate", "assessing": "insightv_core.commands.assess.assess",
        "pairing": "insightv_core.preflight.check_set", "training": "insightv_core.train.run.train_round",
        "evaluating": "insightv_core.store.evaluations.load_answers",
    }  # fmt: skip
    calls = []

    def stop(*arguments, **more):
        calls.append(moment)
        if len(calls) >= 2:
            raise KeyboardInterrupt
        return true(*arguments, **more)

    module, _, name = targets[moment].rpartition(".")
    true = getattr(sys.modules.get(module) or __import__(module, fromlist=[name]), name)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(targets[moment], stop)
        run_rounds(store, "nano-base", str(start), SETTINGS, quiet=True)
    assert store.value("SELECT status FROM runs WHERE stage = 'rounds'") == "stopped"
    results = run_rounds(store, "nano-base", str(start), SETTINGS, quiet=True)
    assert results[-1].trained.model == "start+++" and paths_by_model(store)["start"] == 8
    wrote = len(policy.wrote)
    assert wrote == 3 * 8 + 4 * 2  # not one path or held-out answer was written twice
    assert run_rounds(store, "nano-base", str(start), SETTINGS, quiet=True) == results
    assert len(policy.wrote) == wrote


def test_the_pairs_of_a_round_are_exported_with_their_pictures(stage, tmp_path, capsys):
    store, start, policy = stage
    _, second = run_rounds(store, "nano-base", str(start), replace(SETTINGS, rounds=2, evaluate=0), quiet=True)
    command = ["export", "--project", str(store.file), "--json"]
    for form in FORMATS:
        out = tmp_path / form
        wanted = ["--set", "pairs", "--format", form, "--out", str(out), "--run", second.curating[:9]]
        assert main([*command, *wanted]) == 0
        manifest = json.loads(capsys.readouterr().out)
        assert manifest["run"] == second.curating and manifest["rows"] == 4
        assert [each["model"] for each in manifest["made_by"]] == ["start+", None]
        rows = read_export(out, tmp_path / "cache")
        assert all(CHAIN in row["chosen"][0]["content"] and WRONG in row["rejected"][0]["content"] for row in rows)
        assert len({row["id"] for row in rows}) == 4 and all(row["images"][0].size > (99, 99) for row in rows)
        assert "sampled for a round of DPO" in (out / "README.md").read_text()
    wanted = ["--format", "jsonl", "--out", str(tmp_path / "other"), "--run"]
    assert main([*command, "--set", "reason", *wanted, second.curating]) == 1
    assert "has no reason set: a run of `insightv curate` has one" in capsys.readouterr().err
    assert main([*command, "--set", "pairs", *wanted, second.sampling]) == 1
    said = capsys.readouterr().err
    assert (
        "is of generate, which holds no sets: give a run of curate, which has reason, summary and pairs, or one "
        in said
    )
    assert not (tmp_path / "other").exists()


def test_the_command_names_the_pairs_of_each_round_and_what_is_trained_already(stage, monkeypatch, capsys):
    store, start, policy = stage
    command = ["dpo", "--project", str(store.file), "--adapter", str(start), "--rounds", "2", "--questions", "4"]
    command += ["--paths", "2", "--no-judge", "--evaluate", "0"]
    assert main(command) == 0
    said = capsys.readouterr().out
    first, second = store.column("SELECT id FROM runs WHERE stage = 'pairs' ORDER BY started")
    assert "\nadapter start++ in" in said and f"--run RUN, which is {first} (round 1), {second} (round 2)" in said
    true = training.train_round
    monkeypatch.setattr(training, "train_round", lambda *rest, **more: replace(true(*rest, **more), already=True))
    assert main(command) == 0
    assert "\nalready trained: adapter start++ in" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert all("already" not in each["trained"] for each in json.loads(capsys.readouterr().out)["rounds"])


@pytest.mark.slow
def test_more_rounds_go_on_where_fewer_ended(stage):
    store, start, policy = stage
    run_rounds(store, "nano-base", str(start), replace(SETTINGS, rounds=1), quiet=True)
    wrote = len(policy.wrote)
    run_rounds(store, "nano-base", str(start), replace(SETTINGS, rounds=2), quiet=True)
    assert policy.wrote[wrote:] == ["start+"] * 8 + ["start++"] * 2
    version = ModelVersion("start", "1")
    named = {
        name_series(version, version, None, each).id
        for each in (SETTINGS, replace(SETTINGS, rounds=9), replace(SETTINGS, paths=3))
    }
    assert len(named) == 2


def test_rounds_without_pairs_say_why_and_what_to_do(stage):
    store, start, policy = stage
    policy.script = lambda talk, sample: [WRONG, write_answer("999")]
    with pytest.raises(UserError, match=r"no pairs among 8 paths of 4 questions \(4 .*higher --temperature"):
        run_rounds(store, "nano-base", str(start), SETTINGS, quiet=True)
    assert store.value("SELECT status FROM runs WHERE stage = 'rounds'") == "failed"
    assert list_rounds(store) == []


# -- adapters ----------------------------------------------------------------------------------------------------------


def test_generate_writes_with_an_adapter_and_says_so(stage, monkeypatch, capsys):
    store, start, policy = stage
    monkeypatch.setattr("insightv_core.commands.generate.load_model", lambda options: policy)
    command = ["generate", "--project", str(store.file), "--paths", "2", "--json"]
    assert main([*command, "--adapter", str(start)]) == 0
    assert json.loads(capsys.readouterr().out)["new_complete"] == 10
    assert paths_by_model(store) == {"start": 10} and set(policy.wrote) == {"start"}
    (adapter,) = list_models(store, "adapter")
    assert adapter["base"] == policy.version.fingerprint and adapter["fingerprint"] == hash_files(start)
    assert json.loads(store.value("SELECT settings FROM runs WHERE stage = 'generate'"))["style"] == "chain"
    assert main([*command, "--adapter", hash_files(start)[:9]]) == 0  # by its hash it is the same run
    assert json.loads(capsys.readouterr().out)["new_paths"] == 0
    assert main([*command, "--adapter", "ffffff"]) == 1
    assert "no adapter at ffffff" in capsys.readouterr().err


def test_an_adapter_of_another_base_is_refused(stage):
    store, start, policy = stage
    mine, other = ModelVersion("mine", "a" * 64), ModelVersion("other", "b" * 64)
    note_base(start, mine)
    assert open_adapter(store, str(start), mine).version.name == "start"
    with pytest.raises(UserError, match="was trained on mine aaaaaaaa, and other is bbbbbbbb"):
        open_adapter(store, str(start), other)
    assert open_adapter(store, str(start), None).folder == start  # a server knows its own
    (start / "base.json").unlink()
    add_model(
        store, ModelVersion("start", hash_files(start)), kind="adapter", base="a" * 64, folder=str(start), run=None
    )
    with pytest.raises(UserError, match="was trained on aaaaaaaa"):
        open_adapter(store, str(start), other)


def test_adapters_are_found_by_hash_also_where_the_project_was_moved(stage):
    store, start, policy = stage
    kept = make_adapter(store.folder / "adapters" / "reason-1", "kept")
    for name, fingerprint in (("reason-1", "abcd1"), ("reason-2", "abcd2")):
        add_model(store, ModelVersion(name, fingerprint), kind="adapter", base=None, folder="/gone", run=None)
    assert open_adapter(store, "abcd1", None).folder == open_adapter(store, "reason-1", None).folder == kept
    with pytest.raises(UserError, match="2 adapters begin with abcd"):
        open_adapter(store, "abcd", None)
    with pytest.raises(UserError, match="no longer in /gone"):
        open_adapter(store, "abcd2", None)
    with pytest.raises(UserError, match="holds no LoRA adapter"):
        open_adapter(store, str(store.folder / "images"), None)


def test_rounds_and_given_pairs_are_two_things(stage, capsys):
    store, start, policy = stage
    command = ["dpo", "--project", str(store.file), "--adapter", str(start)]
    assert main([*command, "--run", "abc", "--rounds", "2"]) == 1
    assert "--run trains once" in capsys.readouterr().err
    assert main([*command, "--run", "abc", "--reference", "initial"]) == 1
    assert main(["dpo", "--project", str(store.file)]) == 1
    assert "insightv sft reason" in capsys.readouterr().err


# -- for real ----------------------------------------------------------------------------------------------------------

REAL = [
    "--rounds", "2", "--questions", "6", "--paths", "8", "--temperature", "1.2", "--max-tokens", "160", "--no-judge",
    "--pairs", "4", "--evaluate", "2", "--batch-size", "1", "--gradient-accumulation", "1", "--learning-rate", "1e-3",
    "--save-steps", "1",
]  # fmt: skip


@pytest.fixture
def ready(tmp_path, capsys):
    """A project with an agent, and questions whose true answers it gives sometimes."""
    project = make_project(tmp_path / "ready", 6)
    with open_store(project) as store:
        run = Run("c" * 20, "curate", None, prompts.PROMPT_VERSION, {"inputs": {}}, "0")
        store.start_run(run)
        rows = [SetRow(question.id, None, REASON, CHAIN) for question in store.questions()]
        save_curation(store, run.id, {"reason": rows}, [], {"inputs": {}})
        store.end_run(run.id, "done")
    assert train(project, "--epochs", "6", "--learning-rate", "3e-3") == 0
    agent = json.loads(capsys.readouterr().out)
    scratch = tmp_path / "scratch"
    shutil.copytree(project.parent, scratch)
    command = ["generate", "--model", "nano-base", "--adapter", agent["folder"], "--paths", "8", "--temperature", "1.2"]
    assert main([*command, "--max-tokens", "160", "--project", str(scratch / project.name)]) == 0
    with open_store(scratch / project.name) as store:
        given = store.tuples("SELECT question, answer FROM paths WHERE answer GLOB '[0-9]*' ORDER BY question, sample")
        answers = {question: Counter(said for asked, said in given if asked == question) for question, _ in given}
    with open_store(project) as store, store.transaction():
        for question, said in answers.items():
            answer = said.most_common(1)[0][0]  # often enough that a later round, too, has right and wrong chains
            store.db.conn.execute("UPDATE questions SET answer = ? WHERE id = ?", (answer, question))
    capsys.readouterr()
    return project


def start_dpo(file):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "insightv_core", "dpo", "--project", str(file), *REAL], env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def final_policy(file):
    with open_store(file) as store:
        rounds = list_rounds(store)
        assert [each["number"] for each in rounds] == [1, 2]
        assert rounds[1]["reference"] == rounds[0]["policy"] and rounds[1]["previous"] == rounds[0]["id"]
        assert all(each[name] for each in rounds for name in ("sampling", "assessing", "curating"))
        assert store.value("SELECT count(*) FROM runs WHERE stage IN ('dpo', 'rounds') AND status != 'done'") == 0
        return rounds[1]["policy"]


@pytest.mark.slow
def test_rounds_that_are_killed_end_with_the_same_adapter(ready, tmp_path):
    killed = tmp_path / "killed"
    shutil.copytree(ready.parent, killed)
    started = time.monotonic()
    whole = start_dpo(ready)
    _, said = whole.communicate(timeout=900)
    assert whole.returncode == 0, said[-2000:]
    seconds, rng = time.monotonic() - started, random.Random(0)
    kills = 0
    for _ in range(int(os.environ.get("INSIGHTV_KILLS", "3"))):
        process = start_dpo(killed / ready.name)
        try:
            process.communicate(timeout=rng.uniform(0.25, 0.95) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
    process = start_dpo(killed / ready.name)
    _, said = process.communicate(timeout=900)
    assert process.returncode == 0, said[-2000:]
    assert kills and final_policy(killed / ready.name) == final_policy(ready)


@pytest.mark.slow
def test_log_probabilities_kept_while_sampling_are_those_of_a_fresh_pass(ready, capsys):
    command = ["dpo", "--project", str(ready), *REAL, "--rounds", "1", "--evaluate", "0", "--json"]
    assert main(command) == 0
    assert main([*command, "--free-reference"]) == 0
    said = capsys.readouterr()
    assert "log-probabilities kept while sampling fit" in said.err
    with sqlite3.connect(ready) as connection:
        rounds = connection.execute("SELECT run, reference FROM rounds").fetchall()
    assert len(rounds) == 2
    fit = int(said.err.partition("while sampling fit ")[2].split()[0])
    first, second = (json.loads(line)["rounds"][0]["trained"] for line in said.out.splitlines())
    assert fit > 0 and second["first_loss"] == pytest.approx(first["first_loss"], abs=1e-3)
    assert second["last_loss"] == pytest.approx(first["last_loss"], abs=2e-2)


@pytest.mark.slow
def test_sampling_settings_reach_the_run(stage):
    store, start, policy = stage
    settings = replace(SETTINGS, rounds=1, evaluate=0, sampling=Sampling((0.7, 1.1), max_tokens=99, seed=3))
    (result,) = run_rounds(store, "nano-base", str(start), settings, quiet=True)
    described = store.run(result.sampling).settings["sampling"]
    assert described["temperatures"] == [0.7, 1.1] and described["max_tokens"] == 99 and described["seed"] == 3
