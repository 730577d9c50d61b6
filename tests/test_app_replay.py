"""Chats that are played again, without a browser: what is recorded of a turn, and what the page is told of it."""

import html
import json
import re
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from app_project import ATTACK, SlowVLM, make_project
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.access import ADMIN, KEY, VIEWER, Account
from app.chat import Desk
from app.history import BASE, REASONING, SPREAD, SUMMARY, UNPAUSED, make_recording, restore_turn
from app.main import build_app
from app.pages import Project
from app.turn import DONE, PlayedStep, Turn, render_turn
from app.uploads import Uploads
from insightv_core.agents import Solution
from insightv_core.parse import write_step
from insightv_core.records import Question, Step, StepRecord
from insightv_core.store import open_store
from insightv_core.store.chats import add_chat, load_chat
from insightv_core.vlm import STOP, Reply

TIMES = (1.25, 0.5, 2.0, 0.25)  # of three steps and the answer
TOKENS = (20, 8, 30, 5)
STEPS = (Step("Read", f"red is 3 {ATTACK}"), Step("Compare", "blue is larger"), Step("Add", "it is 12", "summary"))
TEXTS = (*map(write_step, STEPS), '{"answer": "12"}')
CREATED = 1_700_000_000.0


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project"), 4)


@pytest.fixture
def store(file):
    with open_store(file) as store:
        yield store


def make_turn(replies, tokens=(), at=None, steps=STEPS) -> Turn:
    """Return a turn that came to its end, its chain said in these replies."""
    chain = tuple(StepRecord("", step, True, 0, None, 0.0) for step in steps)
    solution = Solution("q", chain, None, "12", "sound", "12", None, "{}", 63, 9, 4.0, 0.75)
    turn = Turn(Question("q", "How many?", "", "", "chat"), Image.new("RGB", (9, 9)), DONE, solution=solution)
    turn.replies, turn.tokens, turn.at = dict(replies), tuple(tokens), dict(at or {})
    turn.direct = Reply("5", 2, None, STOP, 0.5)
    turn.models = {REASONING: "reason-7b", SUMMARY: "summary-7b", BASE: "base-7b"}
    return turn


def said_one_by_one() -> dict:
    return {(place, 0): (text, True, time) for place, (text, time) in enumerate(zip(TEXTS, TIMES, strict=True))}


def told(page: str) -> dict:
    """Return what a page tells its script of a recorded turn."""
    return json.loads(html.unescape(re.search(r'data-recording="([^"]*)"', page)[1]))


def ask(file, question="How many?", **options) -> tuple[Desk, str]:
    desk = Desk(Project(file, "nano-teacher", load=lambda name: SlowVLM(**{"pause": 0.0} | options)))
    with open_store(file) as store:
        picture = next(store.questions(limit=1)).id
    *_, done = desk.ask({"question": question, "picture": picture}, "me")
    return desk, done


def chat_of(page: str) -> str:
    return re.search(r'data-chat="(\w+)"', page)[1]


# -- when what was said ------------------------------------------------------------------------------------------------


def test_steps_follow_one_another_in_their_recorded_seconds_then_summary_and_base_at_theirs():
    played = make_recording(make_turn(said_one_by_one(), TOKENS, {SUMMARY: 5.5, BASE: 7.0}), CREATED)
    assert [(step.begins, step.ends) for step in played.steps] == [(0, 1.25), (1.25, 1.75), (1.75, 3.75)]
    assert [(step.title, step.content) for step in played.steps] == [(step.summary, step.content) for step in STEPS]
    assert (played.thought, played.summary, played.base, played.length) == (4.0, 5.5, 7.0, 7.0)
    assert played.spent == ((0, 0), (1.25, 20), (1.75, 28), (3.75, 58), (4.0, 63), (5.5, 72)) and played.note == ""


def test_a_chat_from_before_pauses_were_recorded_plays_without_them_and_says_so():
    played = make_recording(make_turn(said_one_by_one()), CREATED)
    assert (played.thought, played.summary, played.base) == (4.0, 4.75, 5.25) and played.note == UNPAUSED
    assert played.spent == ((0, 0), (4.0, 63), (4.75, 72))  # of the chain only the whole is known


def test_a_chain_whose_steps_have_no_times_of_their_own_is_spread_by_length_and_says_so():
    steps = (Step("a", "b" * 9), Step("c", "d" * 29))
    played = make_recording(make_turn({(0, 0): ("[both steps]", True, 4.0)}, at={SUMMARY: 5.0}, steps=steps), CREATED)
    assert [(step.begins, step.ends) for step in played.steps] == [(0, 1.0), (1.0, 4.0)] and played.note == SPREAD


def test_a_chain_of_which_no_step_was_taken_still_plays_its_time():
    played = make_recording(make_turn({(0, 0): (TEXTS[0], True, 4.0)}, steps=()), CREATED)
    assert played.steps == () and played.thought == 4.0 and played.length == 5.25


def test_a_stopped_chat_ends_with_the_step_that_was_being_written():
    turn = make_turn({(0, 0): (TEXTS[0], True, 1.0), (1, 0): ('{"summary": "Compare", "content": "blue', False, 0.5)})
    turn.solution = turn.direct = None
    played = make_recording(turn, CREATED)
    assert played.steps[1] == PlayedStep("Compare", "blue", 1.0, 1.5, whole=False)
    assert (played.summary, played.base, played.spent, played.length) == (None, None, (), 1.5)


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), min_size=1, max_size=6), st.floats(0, 9), st.floats(0, 9))
def test_nothing_ends_before_it_begins_or_after_the_whole(said, summary, base):
    replies = {(n, 0): (TEXTS[0] if step else "unread", True, time) for n, (time, step) in enumerate(said)}
    count = sum(step for _, step in said)
    for steps in (STEPS[:1] * count, STEPS):
        played = make_recording(make_turn(replies, at={SUMMARY: summary, BASE: base}, steps=steps), CREATED)
        times = [0.0, *(time for step in played.steps for time in (step.begins, step.ends))]
        assert times == sorted(times) and max(times) <= played.thought + 1e-6
        assert played.thought <= played.summary <= played.base == played.length
        assert [until for until, _ in played.spent] == sorted(until for until, _ in played.spent)


# -- what the page is told ---------------------------------------------------------------------------------------------


def test_the_page_names_models_and_date_and_what_a_model_said_stays_text():
    turn = make_turn(said_one_by_one(), TOKENS, {SUMMARY: 5.5, BASE: 7.0})
    turn.recording = make_recording(turn, CREATED)
    page = render_turn(turn)
    date = time.strftime("%Y-%m-%d", time.localtime(CREATED))
    assert re.search(
        rf"{date} \d\d:\d\d · reasoning agent reason-7b · summary agent summary-7b · base model base-7b<", page
    )
    assert told(page)["steps"][0]["content"] == STEPS[0].content and told(page)["length"] == 7.0
    assert "<img src=x" not in page and "<script" not in page
    assert [f'class="tokens">{count} tokens · ' in page for count in (20, 8, 30, 5)] == [True, True, True, False]


def test_a_chat_without_any_times_says_so_and_offers_nothing_to_play():
    turn = make_turn({place: (text, True, 0.0) for place, (text, _, _) in said_one_by_one().items()})
    turn.solution, turn.direct = replace(turn.solution, summary_seconds=0.0), None
    turn.recording = make_recording(turn, CREATED)
    page = render_turn(turn)
    assert "No times were recorded" in page and "data-play" not in page and ">recorded<" in page


def test_what_is_being_said_live_is_no_recording(file):
    desk = Desk(Project(file, "nano-teacher", load=lambda name: SlowVLM(pause=0.03)))
    with open_store(file) as store:
        picture = next(store.questions(limit=1)).id
    *before, done = desk.ask({"question": "How many?", "picture": picture}, "me")
    assert before and not any("data-play" in page for page in before) and "data-play" in done
    *before, judged = desk.judge_again({"steps": ["a", "b", "c"], "chat": chat_of(done)}, "me")
    assert before and not any("data-play" in page for page in before) and "data-play" in judged


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_a_saved_chat_keeps_when_each_had_answered_and_the_tokens_of_each_reply(file, store):
    _, done = ask(file, pause=0.002)
    _, (_, reasoned, judged, base) = load_chat(store, chat_of(done))
    replies = reasoned.details["replies"]
    assert reasoned.details["tokens"] == [len(text) // 4 for text, _, _ in replies] and len(replies) == 4
    ended = sum(seconds for *_, seconds in replies)
    assert 0 < ended < judged.details["at"] < base.details["at"]
    again = told(render_turn(restore_turn(store, chat_of(done))))
    assert again == told(done) and again["base"] == base.details["at"] and again["summary"] == judged.details["at"]


def test_an_edited_chain_plays_what_the_model_said_and_not_what_somebody_made_of_it(file, store):
    desk, done = ask(file)
    chat = chat_of(done)
    *_, judged = desk.judge_again({"steps": ["a", "wrong on purpose", "c"], "chat": chat}, "me")
    for page in (judged, render_turn(restore_turn(store, chat))):
        assert "wrong on purpose" in page and told(page) == told(done)
        assert [step["content"] for step in told(page)["steps"]][1:] == ["blue is larger.", "3 and 9 make 12."]


def test_a_chat_that_an_older_version_saved_is_read_and_played(file, store):
    _, done = ask(file)
    chat, said = load_chat(store, chat_of(done))
    old = [
        replace(each, details={name: value for name, value in each.details.items() if name not in ("at", "tokens")})
        if each.speaker == REASONING
        else replace(each, details={name: value for name, value in each.details.items() if name != "at"})
        for each in said
    ]
    add_chat(store, "old", "How many?", chat.image, old)
    turn = restore_turn(store, "old")
    played = told(render_turn(turn))
    assert played["note"] == UNPAUSED and len(played["steps"]) == 3 and 'class="tokens"' not in render_turn(turn)
    assert played["summary"] == pytest.approx(played["thought"] + turn.solution.summary_seconds)


# -- who may play ------------------------------------------------------------------------------------------------------


def asked_by(role: str):
    """Return a request as Gradio hands it to a handler."""
    return SimpleNamespace(scope={KEY: Account("Somebody", role)})


def test_whoever_may_read_the_history_may_play_it_and_no_model_is_loaded(file):
    _, done = ask(file)
    loaded: list[str] = []
    app = build_app(Project(file, "nano-teacher", load=loaded.append), Uploads())
    (show,) = [
        function
        for block in app.blocks.values()
        for function in getattr(block, "server_fns", [])
        if function.__name__ == "show" and getattr(block.parent, "elem_id", "") == "page-chat"
    ]
    assert show.role == VIEWER
    page = show(f"?tab=chat&chat={chat_of(done)}&replay=1", asked_by(VIEWER))
    assert told(page) == told(done) and "data-play" in page and "data-needs" not in page.split('class="recording"')[1]
    show(f"?tab=chat&chat={chat_of(done)}&replay=1", asked_by(ADMIN))
    time.sleep(0.2)
    assert loaded == []
    show("?tab=chat", asked_by(ADMIN))
    for _ in range(100):
        if loaded:
            break
        time.sleep(0.02)
    assert loaded
