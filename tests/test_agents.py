"""The two agents: what each is shown, what becomes of sound, flawed, broken and unreadable replies."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from insightv_core import prompts
from insightv_core.agents import (
    REASONING,
    SUMMARIZING,
    Agent,
    Chain,
    SolveSettings,
    answer_directly,
    judge_chains,
    solve,
    solve_all,
)
from insightv_core.cli import main
from insightv_core.generate import CHAIN, GenerateSettings
from insightv_core.nano.model import MODELS_FOLDER
from insightv_core.parse import SummaryReply, write_answer, write_step, write_summary
from insightv_core.records import ModelVersion, Question, Step, StepRecord
from insightv_core.store import open_store
from insightv_core.store.training import add_model
from insightv_core.team import find_team
from insightv_core.vlm.scripted import ScriptedVLM

DEMO = Path(__file__).resolve().parents[1] / "data" / "demo"
QUESTION = Question("q1", "What is the difference?", "6", "ab", "demo", "integer")
IMAGE = Path("picture.png")
FIRST = write_step(Step("Read the bars", "red is 3, blue is 9."))
SECOND = write_step(Step("Subtract", "9 - 3 = 6.", "summary"))
SOUND = write_summary(SummaryReply("sound", "6"))


def run_agents(chain, said=SOUND, settings=None, **more):
    reasoner = ScriptedVLM(lambda talk, sample: list(chain))
    summarizer = ScriptedVLM(lambda talk, sample: [said])
    return solve(QUESTION, IMAGE, Agent(reasoner), Agent(summarizer), settings, **more), reasoner, summarizer


def shown_text(vlm):
    (talk,) = vlm.talks
    return talk.messages[-1]["content"][-1]["text"]


def test_both_agents_see_the_picture_and_the_summary_agent_the_chain():
    solution, reasoner, summarizer = run_agents([FIRST, SECOND, write_answer("6")])
    assert (solution.verdict, solution.answer, solution.chain_answer) == ("sound", "6", "6")
    assert [step.summary for step in solution.steps] == ["Read the bars", "Subtract"] and solution.truncated is None
    for vlm in (reasoner, summarizer):
        (talk,) = vlm.talks
        assert talk.images == (IMAGE,) and talk.messages[1]["content"][0] == {"type": "image"}
    assert shown_text(summarizer) == (
        f"What is the difference?\n{prompts.SUMMARIZE}\n"
        "Step 1: Read the bars: red is 3, blue is 9.\nStep 2: Subtract: 9 - 3 = 6."
    )


def test_a_flawed_chain_is_overruled():
    solution, _, _ = run_agents([FIRST, SECOND, write_answer("5")], write_summary(SummaryReply("flawed", "6")))
    assert (solution.verdict, solution.answer, solution.chain_answer) == ("flawed", "6", "5")


@pytest.mark.parametrize(
    ("chain", "steps", "why"),
    [
        ([FIRST, "?", "?", "?"], 1, "could not be read"),
        ([FIRST, FIRST], 2, "repeats"),
        ([RuntimeError("gone")], 0, "gone"),
    ],
)
def test_a_chain_that_breaks_off_is_handed_over_and_marked(chain, steps, why):
    solution, _, summarizer = run_agents(chain)
    assert solution.answer == "6" and len(solution.steps) == steps and why in solution.truncated
    assert shown_text(summarizer).endswith(prompts.TRUNCATED)
    assert (prompts.NO_CHAIN in shown_text(summarizer)) == (steps == 0)


@pytest.mark.parametrize("said", ["sound: 6", '{"verdict": "maybe", "answer": "6"}', RuntimeError("gone")])
def test_an_unreadable_summary_is_no_answer(said):
    solution, _, _ = run_agents([FIRST, SECOND, write_answer("6")], said)
    assert solution.answer is None and solution.verdict is None and solution.problem
    assert solution.summary_raw == str(said)


def test_a_trained_agent_writes_the_chain_at_once():
    settings = SolveSettings(GenerateSettings(style=CHAIN))
    solution, reasoner, _ = run_agents([f"{FIRST}\n{SECOND}", write_answer("6")], settings=settings)
    assert len(solution.steps) == 2 and prompts.REASON in shown_text(reasoner)


def test_both_are_heard_and_can_be_stopped():
    heard = []
    run_agents([FIRST, SECOND, write_answer("6")], listen=lambda speaker, event: heard.append((speaker, event.text)))
    assert heard == [(REASONING, FIRST), (REASONING, SECOND), (REASONING, write_answer("6")), (SUMMARIZING, SOUND)]
    solution, _, summarizer = run_agents([FIRST, SECOND], stop=lambda: True)
    assert solution is None and not summarizer.talks


def test_many_questions_keep_their_own_chains():
    questions = [(Question(f"q{k}", f"Number {k}?", str(k), "ab", "demo"), IMAGE) for k in range(5)]

    def script(talk, sample):
        return [write_step(Step("Think", f"It is {talk.key}.", "summary")), write_answer(talk.key)]

    def judge(talk, sample):
        assert f"It is {talk.key}." in talk.messages[-1]["content"][-1]["text"]
        return [write_summary(SummaryReply("sound", talk.key))]

    solutions = list(solve_all(questions, Agent(ScriptedVLM(script)), Agent(ScriptedVLM(judge))))
    assert [solution.answer for solution in solutions] == [f"q{k}" for k in range(5)]


def test_an_edited_chain_can_be_judged_again():
    turns = (StepRecord("", Step("Read", "blue is 8."), True, 0, None, 0.0),)
    vlm = ScriptedVLM(lambda talk, sample: [write_summary(SummaryReply("flawed", "6"))])
    said = judge_chains([(QUESTION, IMAGE, Chain(turns, None))], Agent(vlm), SolveSettings().summary)
    assert "flawed" in said["q1"].text and "blue is 8." in shown_text(vlm)


def test_direct_answers_show_no_chain():
    vlm = ScriptedVLM(lambda talk, sample: ["5"])
    ((key, reply),) = answer_directly([(QUESTION, IMAGE)], Agent(vlm))
    assert (key, reply.text) == ("q1", "5") and shown_text(vlm).endswith(prompts.DIRECT)


@pytest.mark.slow
def test_chat_prints_the_chain_and_the_answer(capsys):
    row = json.loads((DEMO / "questions.jsonl").read_text().splitlines()[0])
    arguments = ["chat", "--image", str(DEMO / row["image"]), "--question", row["question"]]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert ": " in shown.splitlines()[0] and "tokens" in shown and ("answer: " in shown or "could not be read" in shown)
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["turns"]


def test_the_agents_that_come_along_are_of_the_base_that_comes_along():
    from insightv_core.vlm.local import hash_files

    team = find_team(None)
    assert team.model == team.summary_model == "nano-base"
    for folder in (team.adapter, team.summary_adapter):
        noted = json.loads((Path(folder) / "base.json").read_text())
        assert noted["fingerprint"] == hash_files(MODELS_FOLDER / "nano-base"), f"train {Path(folder).name} again"
        assert "nano-base" in json.loads((Path(folder) / "adapter_config.json").read_text())["base_model_name_or_path"]


@pytest.fixture
def scripted_team(monkeypatch, tmp_path):
    """Agents that answer from a script, and no project in sight."""
    vlm = ScriptedVLM(script_agents)
    monkeypatch.setattr("insightv_core.vlm.loading.load_vlm", lambda name, **_: vlm)
    monkeypatch.delenv("INSIGHTV_PROJECT", raising=False)
    monkeypatch.chdir(tmp_path)
    return vlm


def script_agents(talk, sample):
    if prompts.SUMMARIZE in talk.messages[-1]["content"][-1]["text"]:
        return [write_summary(SummaryReply("sound", "4"))]
    steps = [Step("Look", "It is 4.", "continue"), Step("End", "So it is 4.", "summary")]
    if prompts.REASON in talk.messages[-1]["content"][-1]["text"]:
        return ["\n".join(map(write_step, steps))]
    return [*map(write_step, steps), write_answer("4")]


def test_chat_asks_line_by_line_and_takes_another_picture(scripted_team, monkeypatch, capsys, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    Image.new("RGB", (50, 50)).save(tmp_path / "b.png")
    lines = ["How many?", f"/image {tmp_path / 'no.png'}", f"/image {tmp_path / 'b.png'}", "And now?", "", "Not asked"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    assert main(["chat", "--image", str(tmp_path / "a.png"), "--model", "nano-teacher"]) == 0
    shown = capsys.readouterr()
    assert shown.out.count("answer: 4") == 2 and shown.out.count("  Look: It is 4.") == 2
    assert "no.png" in shown.err and "agents: as named" in shown.err
    asked = [(talk.messages[-1]["content"][-1]["text"].partition("\n")[0], talk.images[0].size)
             for talk in scripted_team.talks]  # fmt: skip
    assert asked == [("How many?", (9, 9))] * 2 + [("And now?", (50, 50))] * 2


def test_chat_takes_the_agents_that_the_project_trained(scripted_team, monkeypatch, capsys, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    loaded = []
    monkeypatch.setattr("insightv_core.vlm.loading.load_vlm", lambda name, **_: loaded.append(name) or scripted_team)
    weights = {f"model-{base}": base for base in "xyz"}
    monkeypatch.setattr("insightv_core.team.read_version", lambda name: ModelVersion(name, weights[name]))
    with open_store(tmp_path / "own.db", create=True) as store:
        made = [("reason-old", "x"), ("summary-1", "y"), ("reason-1", "y"), ("reason-new", "z")]
        for number, (name, base) in enumerate(made):
            folder = tmp_path / name
            folder.mkdir()
            (folder / "base.json").write_text(json.dumps({"name": f"model-{base}", "fingerprint": base}))
            add_model(store, ModelVersion(name, str(number)), kind="adapter", base=base, folder=str(folder), run=None)
    command = ["chat", "--image", str(tmp_path / "a.png"), "--question", "How many?"]
    assert main([*command, "--project", str(tmp_path / "own.db")]) == 0
    assert loaded == ["model-y"] and "agents: trained in own.db" in capsys.readouterr().err
    assert [talk.messages[-1]["content"][-1]["text"].count(prompts.REASON) for talk in scripted_team.talks] == [1, 0]
    assert main([*command, "--adapter", str(tmp_path / "reason-old")]) == 0 and loaded[1:] == ["model-x"]
    monkeypatch.setattr("insightv_core.team.MODELS_FOLDER", tmp_path / "nowhere")
    assert main(command) == 0 and loaded[2:] == ["nano-teacher"]
    assert "nano-teacher in both roles" in capsys.readouterr().err
    monkeypatch.setenv("INSIGHTV_PROJECT", str(tmp_path / "own.db"))
    assert main(command) == 0 and loaded[3:] == ["model-y"]
    weights["model-y"] = "trained on since"
    assert main(command) == 0 and loaded[4:] == ["nano-teacher"]
    weights["model-y"] = "y"
    (tmp_path / "summary-1").rename(tmp_path / "gone")
    assert main(command) == 0 and loaded[5:] == ["nano-teacher"]
    (tmp_path / "reason-1" / "base.json").write_text("{}")
    assert main([*command, "--adapter", str(tmp_path / "reason-1")]) == 1
    assert "does not say which model" in capsys.readouterr().err


def test_a_missing_picture_and_an_empty_question_are_named(tmp_path, capsys):
    assert main(["chat", "--image", str(tmp_path / "no.png"), "--question", "Why?"]) == 1
    assert "no.png" in capsys.readouterr().err
    assert main(["chat", "--image", str(tmp_path / "no.png"), "--question", " "]) == 1
    assert "question is empty" in capsys.readouterr().err
