"""Evaluation: what counts as right, what intervals and differences say, and continuing without doing work twice."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insightv_core import prompts
from insightv_core.agents import Agent
from insightv_core.cli import main
from insightv_core.evaluate import (
    BLANK,
    SHUFFLED,
    Item,
    chain_alone,
    direct,
    estimate,
    grade,
    held_out_items,
    read_thoughts,
    report,
    sign_flip,
    thinking,
    two_agents,
    with_pictures,
    write_markdown,
)
from insightv_core.evaluate.plan import answer_missing
from insightv_core.generate import CHAIN
from insightv_core.parse import SummaryReply, write_answer, write_step, write_summary
from insightv_core.records import Question, Run, Step
from insightv_core.store import open_store
from insightv_core.store.evaluations import add_answers, load_answers
from insightv_core.vlm.scripted import ScriptedVLM

ITEMS = [Item(Question(f"q{k}", f"Number {k}?", str(k), "", "t", "integer"), Path(f"{k}.png")) for k in range(4)]


def replying(make):
    return Agent(ScriptedVLM(lambda talk, sample: make(talk)))


def outcomes(system, items=ITEMS):
    return {each.item: (each.answer, each.outcome) for each in system(items)}


def test_answers_are_judged_by_the_rules_and_unreadable_ones_are_not_wrong():
    agent = replying(lambda talk: ["The answer is 0." if talk.key == "q0" else "7" if talk.key == "q1" else ""])
    assert outcomes(direct(agent)) == {
        "q0": ("The answer is 0.", "correct"), "q1": ("7", "wrong"), "q2": ("", "unparsed"), "q3": ("", "unparsed"),
    }  # fmt: skip
    gone = replying(lambda talk: [RuntimeError("gone")])
    assert set(outcomes(direct(gone)).values()) == {(None, "unparsed")}


def test_thinking_aloud_is_read_after_its_last_mark():
    agent = replying(lambda talk: [f"I see {talk.key}.\nAnswer: 9\nNo.\nAnswer: {talk.key[1:]}"])
    assert {outcome for _, outcome in outcomes(thinking(agent)).values()} == {"correct"}
    assert read_thoughts("It is 7.") is None and read_thoughts("Answer: ") is None


def test_two_agents_answer_from_the_summary_and_the_chain_alone_from_the_chain():
    chain = [write_step(Step("Think", "It is 1.", "summary")), write_answer("1")]
    reasoner = replying(lambda talk: list(chain))
    summary = replying(lambda talk: [write_summary(SummaryReply("flawed", talk.key[1:]))])
    both = list(two_agents(reasoner, summary)(ITEMS))
    assert [each.outcome for each in both] == ["correct"] * 4
    assert both[0].details["verdict"] == "flawed" and both[0].details["chain_answer"] == "1"
    assert [outcome for _, outcome in outcomes(chain_alone(reasoner)).values()].count("correct") == 1
    assert CHAIN == "chain" and all(prompts.GENERATE in t.messages[1]["content"][1]["text"] for t in reasoner.vlm.talks)


def test_controls_change_the_pictures_and_nothing_else():
    items = held_out_items(4, seed=2)
    assert [item.image.getpixel((3, 3)) for item in with_pictures(items, BLANK)] == [(128, 128, 128)] * 4
    shuffled = with_pictures(items, SHUFFLED)
    assert [item.image for item in shuffled] == [items[3].image, *(item.image for item in items[:3])]
    assert [item.question for item in shuffled] == [item.question for item in items]
    assert held_out_items(4, seed=2)[1].question == items[1].question != held_out_items(4, seed=3)[1].question


def test_intervals_hold_the_mean_and_shrink_with_n():
    few, many = estimate([1.0, 0.0] * 10), estimate([1.0, 0.0] * 1000)
    assert few.value == many.value == 0.5 and few.n == 20
    assert many.high - many.low < 0.2 * (few.high - few.low)
    assert abs((many.high - many.low) / 2 - 1.96 * (0.25 / 2000) ** 0.5) < 0.003
    assert estimate([]).n == 0


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=60))
def test_the_sign_flip_test_is_symmetric_and_a_probability(differences):
    p = sign_flip(differences)
    assert 0 < p <= 1 and p == pytest.approx(sign_flip([-each for each in differences]), abs=0.05)


def test_differences_are_paired_and_their_p_follows():
    right = [grade(item.question, item.question.answer, 1, 0.1, {}) for item in ITEMS] * 10
    first = [replace(each, item=f"{each.item}-{k}") for k, each in enumerate(right)]
    second = [replace(each, outcome="wrong") if k % 2 else each for k, each in enumerate(first)]
    compared = report(second, "worse", "t", against=first)
    assert compared.accuracy.value == 0.5 and compared.difference.value == -0.5 and compared.p < 0.01
    assert report(first, "same", "t", against=first).p == 1.0
    assert report(first, "alone", "t").difference is None
    assert "| worse | t | 0.500 |" in write_markdown([compared]) and "-0.500" in write_markdown([compared])


def test_an_evaluation_continues_where_it_stopped(tmp_path):
    asked = []

    def script(talk):
        asked.append(talk.key)
        return [talk.key[1:]]

    with open_store(tmp_path / "a.db", create=True) as store:
        store.start_run(Run("e" * 20, "evaluate", None, "1", {}, "0"))
        system = direct(replying(script))
        add_answers(store, "e" * 20, "t", "direct", system(ITEMS[:2]))
        assert sum(answer_missing(store, "e" * 20, "t", "direct", ITEMS, system)) == 4
        assert asked == ["q0", "q1", "q2", "q3"]
        found = load_answers(store, "e" * 20, "t", "direct")
    assert [each.item for each in found] == ["q0", "q1", "q2", "q3"]
    assert {each.outcome for each in found} == {"correct"} and found[0].details == {"raw": "0"}


@pytest.mark.parametrize(("soon", "sizes"), [(60.0, [2, 4, 6, 4]), (0.0, [2] * 8)])
def test_a_quick_model_is_asked_more_at_once(tmp_path, monkeypatch, soon, sizes):
    for name, value in (("TOGETHER", 2), ("MOST", 6), ("SOON", soon)):
        monkeypatch.setattr(f"insightv_core.evaluate.plan.{name}", value)
    items = held_out_items(16)
    with open_store(tmp_path / "a.db", create=True) as store:
        store.start_run(Run("e" * 20, "evaluate", None, "1", {}, "0"))
        system = direct(replying(lambda talk: ["3"]))
        assert list(answer_missing(store, "e" * 20, "t", "direct", items, system)) == sizes


@pytest.mark.slow
def test_the_command_prints_a_table_with_controls(tmp_path, capsys):
    with open_store(tmp_path / "a.db", create=True):
        pass
    arguments = ["evaluate", "--project", str(tmp_path / "a.db"), "--n", "12", "--no-agents", "--controls"]
    assert main([*arguments, "--json"]) == 0
    systems = json.loads(capsys.readouterr().out)["systems"]
    assert [each["system"] for each in systems][:2] == ["base, direct", "base, thinking aloud"] and len(systems) == 4
    assert all(each["accuracy"]["n"] == 12 for each in systems)
    assert main([*arguments, "--markdown", str(tmp_path / "table.md")]) == 0
    assert (tmp_path / "table.md").read_text().strip() == capsys.readouterr().out.strip()


def test_agents_that_are_not_trained_yet_are_named(tmp_path, capsys):
    with open_store(tmp_path / "a.db", create=True):
        pass
    assert main(["evaluate", "--project", str(tmp_path / "a.db")]) == 1
    assert "insightv sft reason" in capsys.readouterr().err
