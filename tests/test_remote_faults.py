"""The remote backend against servers that fail, hang, die and come back; its bounds, and how it is stopped."""

import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from misbehaving_server import MisbehavingServer
from PIL import Image
from remote_talks import SAMPLING, hold, look, only, reach, talk, turns

from insightv_core.errors import UserError
from insightv_core.vlm import ERROR, LENGTH, STOP, Talk, chat_api
from insightv_core.vlm.endpoints import read_wait
from insightv_core.vlm.remote import RemoteVLM


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


# -- faults ------------------------------------------------------------------------------------------------------------

PASSING = ("overloaded", "broken", "close", "cut", "garbage", "html", "nothing", "list", "no_choices", "error_inside")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("fault", [*PASSING, "bad_stream"])
def test_a_passing_fault_is_tried_again(fault, streaming):
    with MisbehavingServer(faults=[fault, fault]) as server:
        vlm = reach(server)
        assert only(vlm, listen=(lambda event: None) if streaming else None).text == "reply 0"
        assert (vlm.usage().retries, vlm.usage().requests) == (2, 3)


@pytest.mark.parametrize(
    "fault, words",
    [
        ("overloaded", "503: loading the model"), ("broken", "500: out of memory"), ("close", "broke the connection"),
        ("cut", "broke the connection"), ("garbage", "not JSON"), ("html", "not JSON: Gateway Back soon"),
        ("nothing", "not JSON: nothing"), ("list", "no JSON object"), ("no_choices", "no choices"),
        ("error_inside", "the engine is dead"), ("bad_stream", "Expecting|delimiter"),
    ],
)  # fmt: skip
def test_a_fault_that_stays_is_an_error_reply(fault, words):
    with MisbehavingServer(always=fault) as server:
        reply = only(reach(server, tries=2))
        assert reply.finish == ERROR and "tried 2 times" in reply.text
        assert any(word in reply.text for word in words.split("|"))
        assert len(server.bodies) == 2 or fault == "broken"


@pytest.mark.parametrize("fault", ["hang", "trickle"])
def test_a_server_that_comes_to_no_end_is_given_up_after_the_timeout(fault):
    with MisbehavingServer(faults=[fault]) as server:
        vlm = reach(server, timeout=0.6)
        assert only(vlm).text == "reply 0" and vlm.usage().retries == 1
        server.always = fault
        start = time.monotonic()
        reply = only(reach(server, timeout=0.2, tries=2))
        assert reply.finish == ERROR and "within 0.2 seconds" in reply.text
        assert time.monotonic() - start < 4


def test_retry_after_is_kept_to_by_every_request():
    with MisbehavingServer(faults=["busy"]) as server:
        held = hold(reach(server), talk("a"))
        first, second = server.times
        assert held["a", 0][0].text == "reply 0" and second - first >= 1


def test_retry_after_is_read_as_seconds_or_date():
    assert read_wait("3") == 3 and read_wait("0.5") == 0.5
    assert 3500 < read_wait(time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600))) <= 3600
    assert read_wait("") == read_wait("soon") == read_wait("-4") == read_wait("Thu, 99 Foo") == 0


def test_waits_between_tries_double():
    with MisbehavingServer(always="overloaded") as server:
        only(reach(server, backoff=0.1, tries=4))
        waits = [later - earlier for earlier, later in zip(server.times, server.times[1:], strict=False)]
        for wait, longest in zip(waits, (0.1, 0.2, 0.4), strict=True):
            assert longest / 2 <= wait <= longest + 0.15


@pytest.mark.parametrize("content", ["", "  \n", None, 7, [], [{"type": "image"}], {"text": "a"}])
def test_a_reply_without_text_is_an_error_reply_at_once(content):
    with MisbehavingServer() as server:
        server.choice = {"message": {"content": content}}
        reply = only(reach(server))
        assert reply.finish == ERROR and "no text" in reply.text and len(server.bodies) == 1


@pytest.mark.parametrize(
    "choice, words",
    [
        ({"message": None}, "no text"), ({"message": {"content": "\ud83d half"}}, "halves"),
        ({"finish_reason": "content_filter"}, "content_filter"), ({"finish_reason": "abort"}, "abort"),
    ],
)  # fmt: skip
def test_a_choice_that_cannot_be_kept_is_an_error_reply_that_ends_its_conversation(choice, words):
    with MisbehavingServer() as server:
        server.choice = choice
        (reply,) = hold(reach(server), talk(next_turn=turns(3)))["q", 0]
        assert reply.finish == ERROR and words in reply.text


def test_content_in_parts_is_text():
    with MisbehavingServer() as server:
        server.choice = {"message": {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}}
        assert only(reach(server)).text == "ab"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["choices", "index", "message", "delta", "content", "text", "finish_reason", "logprobs", "logprob", "usage",
             "completion_tokens", "prompt_tokens_details", "cached_tokens", "error", "detail"]
        ),
        inner, max_size=4,
    ),
    max_leaves=25,
)  # fmt: skip


@settings(deadline=None)
@given(JSON | st.fixed_dictionaries({"choices": st.lists(JSON, min_size=1, max_size=3), "usage": JSON}))
def test_any_json_is_read_or_refused_with_a_value_error(data):
    try:
        answer = chat_api.read_answer(data, 1.0)
    except ValueError:
        return
    for reply in answer.replies:
        assert reply.text and reply.finish in (STOP, LENGTH, ERROR) and 0 <= reply.tokens < 2**31
        assert reply.logprob is None or isinstance(reply.logprob, float)
        reply.text.encode()


@settings(deadline=None)
@given(st.lists(JSON | st.fixed_dictionaries({"choices": st.lists(JSON, max_size=3)}), max_size=4))
def test_any_stream_is_read_or_refused_with_a_value_error(chunks):
    answer = chat_api.StreamedAnswer()
    try:
        for chunk in chunks:
            for place in answer.add(chunk):
                assert answer.text(place)
        chat_api.read_answer(answer.whole(), 1.0)
    except ValueError:
        return


# -- several endpoints -------------------------------------------------------------------------------------------------


def paint(folder, number):
    files = [folder / f"{place}.png" for place in range(number)]
    for place, file in enumerate(files):
        Image.new("RGB", (2, 2), (place, 0, 0)).save(file)
    return files


def seen(server):
    return {body["messages"][1]["content"][0]["image_url"]["url"] for body in server.bodies}


def test_the_same_picture_goes_to_the_same_endpoint_whatever_is_asked(tmp_path):
    files = paint(tmp_path, 12)
    with MisbehavingServer() as one, MisbehavingServer() as other:
        for order in ((one, other), (other, one)):
            vlm = reach(*order)
            wanted = [look(file, f"{role} {file.name}", (0, 1)) for file in files for role in ("generate", "judge")]
            hold(vlm, *wanted, sampling=replace(SAMPLING, temperatures=(0.1, 0.9)))
        assert not seen(one) & seen(other)
        assert len(seen(one)) + len(seen(other)) == 12 and min(len(seen(one)), len(seen(other))) >= 2


def test_a_dead_endpoint_costs_nothing_but_a_few_tries(tmp_path):
    wanted = [look(file, file.name, (0, 1), next_turn=turns(2)) for file in paint(tmp_path, 12)]
    with MisbehavingServer() as one, MisbehavingServer() as other:
        vlm = reach(one, other, backoff=5.0, tries=1)
        one.die()
        start = time.monotonic()
        held = hold(vlm, *wanted)
        assert len(held) == 24 and {reply.finish for replies in held.values() for reply in replies} == {STOP}
        assert time.monotonic() - start < 3 and not one.bodies
        with pytest.raises(UserError, match="cannot be reached"):
            other.die()
            hold(reach_again(vlm, tries=2, backoff=0.01), *wanted)


def test_a_try_at_a_broken_endpoint_is_followed_by_one_at_another(tmp_path):
    with MisbehavingServer(always="broken") as one, MisbehavingServer() as other:
        held = hold(reach(one, other, tries=2), *(look(file, file.name) for file in paint(tmp_path, 8)))
        assert {replies[0].finish for replies in held.values()} == {STOP} and one.bodies


def reach_again(vlm, **settings):
    return RemoteVLM(replace(vlm.settings, **settings), vlm.endpoints, vlm.model, vlm.version)


def test_a_server_that_dies_midway_and_comes_back_is_waited_for():
    with MisbehavingServer(seconds=0.02) as server:
        vlm = reach(server, backoff=0.2, tries=6, concurrency=2)
        conversations = vlm.converse([talk(str(n), next_turn=turns(3)) for n in range(8)], SAMPLING)
        held = [next(conversations)]
        server.die()
        threading.Timer(0.3, server.come_back).start()
        held += conversations
        assert len(held) == 8 and {reply.text for each in held for reply in each.replies} == {"reply 0"}
        assert vlm.usage().retries > 0


def test_an_endpoint_that_comes_back_is_used_again(tmp_path):
    files = paint(tmp_path, 12)
    with MisbehavingServer() as one, MisbehavingServer(seconds=0.04) as other:
        vlm = reach(one, other, backoff=0.02, concurrency=1)
        one.die()
        threading.Timer(0.1, one.come_back).start()
        assert len(hold(vlm, *[look(file, f"{file} {turn}") for turn in range(2) for file in files])) == 24
        assert one.bodies


def test_without_any_endpoint_the_run_ends_and_what_was_yielded_stays():
    with MisbehavingServer(seconds=0.05) as server:
        conversations = reach(server, tries=3, concurrency=1).converse(map(talk, "abcdef"), SAMPLING)
        assert next(conversations).replies[0].text == "reply 0"
        server.die()
        with pytest.raises(UserError, match="cannot be reached.*start the server.*same command again"):
            list(conversations)


@pytest.mark.parametrize("fault, words", [("not_found", "404: no model tiny"), ("moved", "301"), ("echo_key", "401")])
def test_what_no_request_can_get_past_ends_the_run(fault, words):
    with MisbehavingServer(faults=[fault]) as server, pytest.raises(UserError, match=words):
        hold(reach(server), talk())


# -- bounds, stopping, listening ---------------------------------------------------------------------------------------


def test_requests_under_way_are_bounded_and_the_bound_is_reached():
    with MisbehavingServer(seconds=0.05) as server:
        hold(reach(server, concurrency=3), *(talk(str(number), next_turn=turns(2)) for number in range(9)))
        assert server.most == 3


def test_talks_are_read_a_bounded_number_ahead_in_the_thread_that_asks():
    read = []

    def talks():
        for number in range(1000):
            read.append(threading.get_ident())
            yield talk(str(number), samples=(0, 1))

    with MisbehavingServer() as server:
        conversations = reach(server, concurrency=2).converse(talks(), SAMPLING)
        assert not read
        for _ in range(6):
            next(conversations)
        assert 2 <= len(read) <= 3 + 2  # two samples each, four samples ahead
        conversations.close()
        assert set(read) == {threading.get_ident()}


def test_stop_ends_the_run_and_what_is_under_way():
    with MisbehavingServer(faults=["", "", *["hang"] * 50]) as server:
        stop = threading.Event()
        conversations = reach(server, timeout=60).converse(map(talk, "abcdef"), SAMPLING, stop=stop.is_set)
        first = [next(conversations), next(conversations)]
        wait_until(lambda: server.under_way == 4)
        threading.Timer(0.1, stop.set).start()
        start = time.monotonic()
        assert len(first) == 2 and list(conversations) == []
        assert time.monotonic() - start < 1
        wait_until(lambda: server.under_way == 0)
        assert server.cut_off == 4


def test_stop_does_not_wait_for_the_next_try():
    with MisbehavingServer(always="overloaded") as server:
        start = time.monotonic()
        assert hold(reach(server, backoff=60), talk(), stop=lambda: len(server.bodies) > 0) == {}
        assert time.monotonic() - start < 2


def test_closing_the_iterator_cancels_what_is_under_way():
    with MisbehavingServer(faults=["", *["hang"] * 50]) as server:
        before = threading.active_count()
        conversations = reach(server, timeout=60).converse(map(talk, "abc"), SAMPLING)
        next(conversations)
        wait_until(lambda: server.under_way == 2)
        start = time.monotonic()
        conversations.close()
        assert time.monotonic() - start < 1
        wait_until(lambda: server.under_way == 0)
        assert server.cut_off == 2
        wait_until(lambda: threading.active_count() <= before)


def wait_until(true, seconds=2.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_listeners_hear_the_text_grow_in_their_own_thread():
    text = "One, two, three, four, five."
    with MisbehavingServer(lambda body, place: text[place:]) as server:
        heard = []
        vlm = reach(server)
        held = hold(
            vlm, talk(samples=(0, 1), next_turn=turns(2)),
            listen=lambda event: heard.append((event, time.monotonic(), threading.get_ident())),
        )  # fmt: skip
        assert {ident for _, _, ident in heard} == {threading.get_ident()}
        for sample in (0, 1):
            for turn in (0, 1):
                events = [event for event, _, _ in heard if (event.sample, event.turn) == (sample, turn)]
                whole = held["q", sample][turn].text
                assert [event.done for event in events] == [False] * (len(events) - 1) + [True]
                assert events[-1].text == whole == text[sample * (turn == 0) :]
                texts = [event.text for event in events]
                assert len(events) > 3 and texts == sorted(texts, key=len) and all(whole.startswith(t) for t in texts)
                times = [at for event, at, _ in heard if (event.sample, event.turn) == (sample, turn)]
                assert (times[-1] - times[0]) / (len(times) - 1) > 0.03
        assert server.bodies[0]["stream"] is True and server.bodies[0]["n"] == 2
        assert vlm.usage().decoded_tokens == 40


def test_what_goes_wrong_in_a_talk_reaches_the_caller():
    def fail(replies):
        raise ZeroDivisionError("in next_turn")

    with MisbehavingServer() as server:
        vlm = reach(server)
        for broken in (talk(next_turn=fail), talk(schema=fail), Talk("q", [{"role": "user"}])):
            with pytest.raises((ZeroDivisionError, KeyError)):
                hold(vlm, broken)


def test_two_threads_may_converse_at_once():
    with MisbehavingServer(seconds=0.01) as server:
        vlm, counts = reach(server), []
        threads = [
            threading.Thread(target=lambda: counts.append(len(hold(vlm, *map(talk, "abcdefgh"))))) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert counts == [8, 8] and vlm.usage().requests == 16


def test_a_talk_without_samples_and_no_talks_at_all_end_at_once():
    with MisbehavingServer() as server:
        assert hold(reach(server)) == hold(reach(server), talk(samples=())) == {}
