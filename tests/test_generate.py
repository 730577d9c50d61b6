"""Stage 1 through its public way in: chains as they should be, and every way in which a model can fail."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path as FilePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insightv_core import prompts
from insightv_core.cli import main
from insightv_core.generate import ALWAYS, CHAIN, NEVER, GenerateSettings, choose_schema, follow, generate, name_run
from insightv_core.parse import write_answer, write_step
from insightv_core.records import COMPLETE, FAILED, ModelVersion, Question, Sampling, Step, StoredImage, identify
from insightv_core.store import open_store
from insightv_core.vlm import LENGTH, STOP, Reply
from insightv_core.vlm.scripted import ScriptedVLM

DEMO = FilePath(__file__).resolve().parents[1] / "data" / "demo"
FIRST = write_step(Step("Read the bars", "red is 3, blue is 9."))
SECOND = write_step(Step("Subtract", "9 - 3 = 6.", "summary"))
QUESTION = Question("q1", "What is the difference?", "6", "ab", "demo", "integer")
IMAGE = FilePath("picture.png")


def run_script(*replies, settings=None, question=QUESTION, samples=(0,)):
    settings = settings or GenerateSettings()
    vlm = ScriptedVLM(lambda talk, sample: list(replies))
    run = name_run(vlm.version, settings)
    return list(generate([(question, samples)], vlm, run, settings, image_file=lambda name: IMAGE)), vlm


def test_a_chain_is_read_step_by_step_and_answered():
    (path,), vlm = run_script(FIRST, SECOND, write_answer("6"))
    assert path.status == COMPLETE and path.answer == "6" and path.failure is None
    assert [step.summary for step in path.steps] == ["Read the bars", "Subtract"]
    assert [turn.raw for turn in path.turns] == [FIRST, SECOND] and path.final_raw == write_answer("6")
    (talk,) = vlm.talks
    assert talk.messages == prompts.ask(QUESTION.text, prompts.GENERATE) and talk.images == (IMAGE,)


def test_the_turns_between_steps_are_the_prompts():
    settings = GenerateSettings()
    said = [Reply(text, 5, -1.0, STOP, 0.1) for text in (FIRST, SECOND, "hm", write_answer("6"))]
    asked = [follow(said[:count], settings).next_turn for count in range(1, 5)]
    assert asked == [prompts.CONTINUE, prompts.FINAL, prompts.REPAIR, None]


def test_the_official_codes_keys_are_read():
    step = json.dumps({"title": "Think", "content": "It is 6.", "next_action": "final_answer"})
    (path,), _ = run_script(step, json.dumps({"title": "FINAL ANSWER", "content": "6"}))
    assert path.answer == "6" and path.steps[0].action == "summary"


def test_an_unreadable_reply_is_asked_for_again_and_kept():
    (path,), _ = run_script("I think so.", FIRST, SECOND, write_answer("6"))
    assert path.status == COMPLETE and len(path.steps) == 2
    assert [turn.accepted for turn in path.turns] == [False, True, True] and path.turns[0].raw == "I think so."


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        (["no", "never", "nothing"], "step 1 could not be read in 3 tries: no JSON object"),
        (["", "", ""], "step 1 could not be read in 3 tries: no JSON object"),
        ([FIRST, "{broken", '{"summary": 1', "{}"], "step 2 could not be read in 3 tries"),
        ([FIRST, FIRST], "step 2 repeats step 1"),
        ([FIRST, SECOND, "?", "?", "?"], "the answer could not be read in 3 tries"),
        ([FIRST, RuntimeError("server gone")], "the model failed: server gone"),
        ([write_step(Step("Think", f"thought {k}")) for k in range(20)], "no action summary within 16 steps"),
    ],
)
def test_a_chain_that_fails_is_kept_and_never_solved(replies, reason):
    (path,), _ = run_script(*replies)
    assert path.status == FAILED and path.answer is None and reason in path.failure
    texts = [reply for reply in replies if isinstance(reply, str)]
    assert [turn.raw for turn in path.turns] == texts[: len(path.turns)]
    if "the answer" in reason:
        assert path.final_raw == "?"


def test_a_cut_reply_says_so():
    settings = GenerateSettings(tries=1)
    found = follow([Reply(FIRST[:30], 30, -1.0, LENGTH, 0.1)], settings)
    assert found.failure == "step 1 could not be read in 1 tries: cut off after 30 tokens"


def test_whole_chains_are_read_in_one_reply():
    settings = GenerateSettings(style=CHAIN)
    (path,), vlm = run_script(f"{FIRST}\n{SECOND}\n", write_answer("6"), settings=settings)
    assert path.status == COMPLETE and len(path.steps) == 2 and path.turns[0].tokens > 0 == path.turns[1].tokens
    assert prompts.REASON in vlm.talks[0].messages[1]["content"][1]["text"]
    (path,), _ = run_script(FIRST, settings=settings)
    assert path.failure == "the chain ends without the action summary"


def test_options_are_shown_once():
    listed = Question("q", "Which?", "B", "ab", "demo", "option", options=("red", "blue"))
    assert prompts.write_question(listed) == "Which?\nA. red\nB. blue"
    inside = Question("q", "Which?\nA. red\nB. blue", "B", "ab", "demo", "option", options=("red", "blue"))
    assert prompts.write_question(inside) == inside.text


def test_a_grammar_is_asked_for_as_the_settings_say():
    good, bad = (Reply(text, 1, 0.0, STOP, 0.0) for text in (FIRST, "no"))
    last = Reply(SECOND, 1, 0.0, STOP, 0.0)
    always, never, retry = (GenerateSettings(constrain=each) for each in (ALWAYS, NEVER, "retry"))
    assert choose_schema([], always)["required"][0] == "summary"
    assert choose_schema([good, last], always)["required"] == ["answer"]
    assert choose_schema([], retry) is None and choose_schema([good], retry) is None
    assert choose_schema([bad], retry)["required"][0] == "summary"
    assert choose_schema([good, last, bad], retry)["required"] == ["answer"]
    assert choose_schema([bad], never) is None
    # A whole chain is several objects and has no schema; what is asked after it, its answer, has one.
    chain = replace(retry, style=CHAIN)
    assert choose_schema([bad], chain) is None and choose_schema([last], chain) is None
    assert choose_schema([last, bad], chain)["required"] == ["answer"]


replies = st.lists(
    st.one_of(
        st.just(FIRST), st.just(SECOND), st.just(write_answer("6")), st.text(max_size=40),
        st.builds(lambda k: write_step(Step("Think", f"thought {k}")), st.integers(0, 9)),
        st.builds(lambda cut: SECOND[:cut], st.integers(0, 40)),
    ),
    max_size=25,
)  # fmt: skip


@given(replies, st.sampled_from(["progressive", "chain"]))
def test_any_replies_end_in_a_whole_path_or_a_reason(texts, style):
    settings = GenerateSettings(style=style)
    (path,), vlm = run_script(*texts, settings=settings)
    assert (path.status == COMPLETE) == (path.answer is not None) == (path.failure is None)
    assert len(path.steps) <= settings.max_steps or style == CHAIN
    if path.status == COMPLETE:
        assert path.steps[-1].action == "summary"
    assert vlm.replies_given <= len(texts) + 1


# -- the command ---------------------------------------------------------------------------------------------------


def make_project(folder, count):
    file = folder / "project.db"
    rows = [json.loads(line) for line in (DEMO / "questions.jsonl").read_text().splitlines()][:count]
    with open_store(file, create=True) as store:
        for number, row in enumerate(rows):
            name = f"{number:02}" + "0" * 62
            target = store.image_file(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((DEMO / row["image"]).read_bytes())
            question = Question(identify(number), row["question"], row["answer"], name, "demo", row["answer_type"])
            store.add_questions([(question, StoredImage(name, 448, 448, 1))])
    return file


def content_of(file):
    """What a project holds, apart from times and internal keys."""
    with open_store(file) as store:
        paths = store.rows(
            "SELECT id, question, run, sample, status, answer, failure, final_raw, tokens FROM paths ORDER BY id"
        )
        steps = store.rows(
            "SELECT paths.id, turn, number, summary, content, raw, steps.tokens FROM steps "
            "JOIN paths ON paths.key = steps.path ORDER BY paths.id, turn"
        )
    return paths, steps


def logprobs_of(file):
    with open_store(file) as store:
        return [row["logprob"] for row in store.rows("SELECT logprob FROM paths ORDER BY id")]


def command(file, *more):
    return [
        "generate", "--project", str(file), "--paths", "3", "--max-tokens", "60", "--max-steps", "4", "--rows", "8",
        *more,
    ]  # fmt: skip


@pytest.mark.slow
def test_killed_runs_continue_to_the_same_project(tmp_path, capsys):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole, killed = (make_project(tmp_path / name, 16) for name in ("whole", "killed"))
    assert main(command(whole, "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["paths"] == result["new_paths"] == 48 and result["images_encoded"] == 16
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        process = subprocess.Popen([sys.executable, "-m", "insightv_core", *command(killed)], env=environment)
        wait_for_paths(killed, process)
        process.send_signal(number)
        assert process.wait(60) in (-signal.SIGKILL, 130)
    with open_store(killed) as store:
        before = store.value("SELECT count(*) FROM paths")
    assert 0 < before < 48
    assert main(command(killed)) == 0
    assert content_of(killed) == content_of(whole)
    assert logprobs_of(killed) == pytest.approx(logprobs_of(whole), abs=1e-3)
    assert main(command(killed)) == 0
    assert "all 48 paths are there already" in capsys.readouterr().out


def wait_for_paths(file, process, patience=120):
    """Wait until a process has saved more paths than there were."""
    with open_store(file) as store:
        before = store.value("SELECT count(*) FROM paths")
        deadline = time.monotonic() + patience
        while store.value("SELECT count(*) FROM paths") == before:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)


def test_a_project_without_questions_says_what_to_do(tmp_path, capsys):
    file = make_project(tmp_path, 0)
    assert main(["generate", "--project", str(file)]) == 1
    assert "insightv import data/demo" in capsys.readouterr().err
    assert main(["generate", "--project", str(tmp_path / "none.db")]) == 1
    assert "no project file" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--top-p", "1.5"], ["--top-p", "0"]])
def test_wrong_settings_are_named(tmp_path, capsys, wrong):
    assert main(["generate", "--project", str(make_project(tmp_path, 1)), *wrong]) == 1
    assert wrong[1] in capsys.readouterr().err


def test_run_names_depend_on_what_changes_the_paths():
    model, other = ModelVersion("a", "1"), ModelVersion("a", "2")
    settings = GenerateSettings()
    names = {
        name_run(model, settings).id, name_run(other, settings).id,
        name_run(model, GenerateSettings(Sampling(seed=1))).id, name_run(model, GenerateSettings(max_steps=3)).id,
    }  # fmt: skip
    assert len(names) == 4 and name_run(ModelVersion("b", "1"), settings).id == name_run(model, settings).id


def test_show_prints_a_path_readably(tmp_path, capsys):
    file = make_project(tmp_path, 1)
    settings = GenerateSettings()
    vlm = ScriptedVLM(lambda talk, sample: ["hm", FIRST, SECOND, write_answer("6")])
    with open_store(file) as store:
        run = name_run(vlm.version, settings)
        store.start_run(run)
        (question,) = store.questions()
        paths = list(generate([(question, [0])], vlm, run, settings, image_file=store.image_file))
        store.add_paths(paths)
    assert main(["show", paths[0].id[:7], "--project", str(file)]) == 0
    shown = capsys.readouterr().out
    for word in (question.text, "1  Read the bars", "red is 3, blue is 9.", "2  Subtract", "answer 6", "unreadable"):
        assert word in shown
    assert main(["show", paths[0].id, "--project", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"]["answer"] == "6"
    assert main(["show", "ffff", "--project", str(file)]) == 1
    assert "no path 'ffff'" in capsys.readouterr().err
