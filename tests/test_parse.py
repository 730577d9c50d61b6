"""Replies become records, or Unparsed with a reason: never a guess."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insightv_core import parse
from insightv_core.parse import PathVerdict, SummaryReply, Unparsed
from insightv_core.records import CONTINUE, SUMMARY, Step

words = st.text(min_size=1).map(str.strip).filter(bool)


@given(words, words, st.sampled_from([CONTINUE, SUMMARY]))
def test_steps_come_back_as_written(title, content, action):
    step = Step(title, content, action)
    assert parse.parse_step(parse.write_step(step)) == step
    assert parse.parse_step(f"Sure:\n```json\n{parse.write_step(step)}\n```") == step


@given(words)
def test_answers_come_back_as_written(answer):
    assert parse.parse_answer(parse.write_answer(answer)) == answer


judged = st.tuples(
    st.lists(st.sampled_from(["sound", "flawed"]), min_size=1), st.integers(1, 100), st.none() | words,
    st.none() | st.booleans(),
)  # fmt: skip


@given(st.lists(judged, min_size=1))
def test_verdicts_come_back_as_written(paths):
    verdicts = tuple(PathVerdict(n, tuple(steps), *said) for n, (steps, *said) in enumerate(paths, 1))
    counts = [len(verdict.steps) for verdict in verdicts]
    assert parse.parse_verdicts(parse.write_verdicts(verdicts), counts) == verdicts
    assert parse.parse_verdicts(parse.write_verdicts(verdicts[::-1]), counts) == verdicts


def test_what_a_judge_says_beside_its_verdicts_does_not_spoil_them():
    row = {"id": 1, "answer": 12, "right": "yes", "steps": ["sound"], "score": 80, "comment": "well done"}
    assert parse.parse_verdicts(json.dumps({"paths": [row]}), [1]) == (PathVerdict(1, ("sound",), 80),)


@given(st.text() | st.text(alphabet='{}[]":, \n1sum'))
def test_no_reply_raises(reply):
    for read in (parse.parse_step, parse.parse_answer, parse.parse_summary):
        read(reply)
    parse.parse_verdicts(reply, [2])


@pytest.mark.parametrize(
    "reply, reason",
    [
        ("", "no JSON object"),
        ("The total is 5.", "no JSON object"),
        ('{"summary": "Add", "content": "2 +', "broken JSON"),
        ('{"summary": "Add", "content": ""}', "no content, action"),
        ('{"summary": "Add", "content": "x", "action": "stop"}', "'stop' is neither"),
        ('{"summary": ["Add"], "content": "x", "action": "continue"}', "no summary"),
    ],
)
def test_unreadable_steps_say_why_and_keep_the_reply(reply, reason):
    read = parse.parse_step(reply)
    assert isinstance(read, Unparsed) and reason in read.reason and read.raw == reply


def test_the_official_names_are_read_too():
    reply = '{"title": "Add", "content": "2 + 3 = 5.", "next_action": "final_answer"}'
    assert parse.parse_step(reply) == Step("Add", "2 + 3 = 5.", SUMMARY)
    assert parse.parse_answer('{"title": "FINAL ANSWER", "content": "5"}') == "5"


def test_summary_replies():
    assert parse.parse_summary('{"verdict": "Flawed", "answer": 6}') == SummaryReply("flawed", "6")
    assert "neither sound nor flawed" in parse.parse_summary('{"verdict": "maybe", "answer": 6}').reason
    assert "no answer" in parse.parse_summary('{"verdict": "sound"}').reason


@pytest.mark.parametrize(
    "rows, reason",
    [
        ([(1, ["sound"], 80)], "ids [1] are not 1 to 2"),
        ([(1, ["sound"], 80), (1, ["sound"], 80)], "ids [1, 1]"),
        ([(1, ["sound"], 80), (3, ["sound"], 80)], "ids [1, 3]"),
        ([(1, ["sound"], 80), (2, ["sound", "sound"], 80)], "path 2: 2 step verdicts for 1 steps"),
        ([(1, ["sound"], 80), (2, ["fine"], 80)], "path 2: steps ['fine']"),
        ([(1, ["sound"], 0), (2, ["sound"], 80)], "path 1: score 0"),
        ([(1, ["sound"], 101), (2, ["sound"], 80)], "path 1: score 101"),
        ([(1, ["sound"], True), (2, ["sound"], 80)], "path 1: score True"),
        ([("1", ["sound"], 50), (2, ["sound"], 80)], "ids ['1', 2]"),
    ],
)
def test_verdicts_are_never_guessed(rows, reason):
    reply = json.dumps({"paths": [{"id": i, "steps": steps, "score": score} for i, steps, score in rows]})
    read = parse.parse_verdicts(reply, [1, 1])
    assert isinstance(read, Unparsed) and reason in read.reason
