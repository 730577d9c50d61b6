"""The remote backend: what it sends, what it reads, and what servers cannot do."""

import base64
import io
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from misbehaving_server import MODEL, MisbehavingServer
from PIL import Image
from remote_talks import SAMPLING, hold, look, only, reach, talk, turns

from insightv_core import prompts
from insightv_core.errors import UserError
from insightv_core.records import Sampling
from insightv_core.vlm import ERROR, LENGTH, STOP, chat_api
from insightv_core.vlm.endpoints import clean_url, describe_page
from insightv_core.vlm.remote import RemoteSettings, connect

KEY = "sk-test-0123456789"


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def picture(tmp_path):
    file = tmp_path / "picture.png"
    Image.new("P", (3, 2), 1).save(file)
    return file


# -- what is sent and what comes back ----------------------------------------------------------------------------------


def test_samples_share_their_first_request_and_go_on_alone(picture):
    with MisbehavingServer(lambda body, place: f' {{"a":  {len(body["messages"])}{place}}}\n') as server:
        vlm = reach(server)
        held = hold(vlm, look(picture, samples=(0, 1, 2), next_turn=turns(3)))
        assert set(held) == {("q", 0), ("q", 1), ("q", 2)}
        assert [reply.text for reply in held["q", 1]] == [' {"a":  21}\n', ' {"a":  40}\n', ' {"a":  60}\n']
        assert {reply.finish for replies in held.values() for reply in replies} == {STOP}
        assert [body.get("n", 1) for body in server.bodies] == [3, 1, 1, 1, 1, 1, 1]
        used = vlm.usage()
        assert (used.requests, used.retries, used.images) == (7, 0, 0)
        assert (used.prefill_tokens, used.cached_tokens, used.decoded_tokens) == (7 * 40, 7 * 60, 90)
        assert sum(replies[0].tokens for replies in held.values()) == 30 and held["q", 0][1].tokens == 10


def test_every_turn_starts_with_the_same_bytes_and_replies_go_back_as_they_came(picture):
    said = '{"summary":\t"Größe",  "content": "\\u0041"}\n'
    with MisbehavingServer(lambda body, place: said) as server:
        hold(reach(server), look(picture, next_turn=turns(3)))
        first, second, third = (body["messages"] for body in server.bodies)
    assert second[:2] == first and third[:4] == second
    assert first[0] == {"role": "system", "content": prompts.SYSTEM}
    image, text = first[1]["content"]
    assert base64.b64decode(image["image_url"]["url"].removeprefix("data:image/png;base64,")) == picture.read_bytes()
    assert text["text"].startswith("How many?")
    assert second[2:] == [{"role": "assistant", "content": said}, {"role": "user", "content": "more"}]


def test_sampling_reaches_the_server():
    with MisbehavingServer() as server:
        vlm = reach(server)
        sampling = Sampling((0.2, 0.9), top_p=0.8, top_k=5, repetition_penalty=1.1, max_tokens=7, seed=3)
        hold(vlm, talk(samples=range(5)), sampling=sampling)
        hold(vlm, talk(samples=(4,)), sampling=sampling)
        cold, hot, alone = sorted(server.bodies[:2], key=lambda body: body["temperature"]) + server.bodies[2:]
    assert (cold["temperature"], cold["n"], hot["temperature"], hot["n"]) == (0.2, 3, 0.9, 2)
    assert (cold["top_p"], cold["top_k"], cold["repetition_penalty"], cold["max_tokens"]) == (0.8, 5, 1.1, 7)
    assert "n" not in alone and alone["seed"] == cold["seed"] + 2  # as the third of the request for three
    assert "top_k" not in chat_api.write_body("m", [], SAMPLING, key="q", turn=0, samples=[0])


def test_seeds_differ_by_seed_talk_turn_sample_and_temperature():
    two = Sampling((0.2, 0.9))
    draws = [("q", 0, 0), ("q", 0, 1), ("q", 0, 2), ("q", 1, 0), ("p", 0, 0)]
    seeds = [chat_api.request_seed(sampling, *draw) for sampling in (two, replace(two, seed=1)) for draw in draws]
    assert len(set(seeds)) == 10 and all(0 <= seed < 2**31 for seed in seeds)


@settings(deadline=None)
@given(st.sets(st.integers(0, 40)), st.integers(1, 4))
def test_groups_hold_every_sample_once_with_one_temperature_and_seeds_in_a_row(samples, kinds):
    sampling = Sampling(tuple(0.1 * kind for kind in range(1, kinds + 1)))
    groups = chat_api.group_samples(samples, sampling)
    assert sorted(sample for group in groups for sample in group) == sorted(samples)
    for group in groups:
        assert len({sample % kinds for sample in group}) == 1
        seeds = [chat_api.request_seed(sampling, "q", 0, sample) for sample in group]
        assert seeds == list(range(seeds[0], seeds[0] + len(group)))


def test_log_probabilities_are_summed_where_asked_for():
    with MisbehavingServer(lambda body, place: "one two three"[: 3 + 4 * place]) as server:
        assert only(reach(server)).logprob is None
        held = hold(reach(server, logprobs=True), talk(samples=(0, 1)))
        assert (held["q", 0][0].logprob, held["q", 0][0].tokens) == (-0.5, 1)
        assert (held["q", 1][0].logprob, held["q", 1][0].tokens) == (-1.0, 2)
        server.refuses = {"logprobs"}
        reply = only(reach(server, logprobs=True))
        assert (reply.text, reply.logprob) == ("one", None)


def test_a_reply_that_was_cut_off_says_so():
    with MisbehavingServer() as server:
        server.choice = {"finish_reason": "length"}
        assert only(reach(server)) == replace(
            only(reach(server)), finish=LENGTH, text="reply 0", seconds=pytest.approx(0, abs=5)
        )


def test_a_schema_is_a_function_of_the_replies():
    schemas = [{"title": "step"}, {"title": "answer"}]
    with MisbehavingServer() as server:
        wanted = talk(next_turn=turns(3), schema=lambda replies: [*schemas, None][len(replies)])
        hold(reach(server), wanted)
        sent = [body.get("response_format") for body in server.bodies]
        assert [form and form["json_schema"]["schema"] for form in sent] == [*schemas, None]
        assert sent[0]["type"] == "json_schema"
        hold(reach(server, schema="never"), wanted)
        assert all("response_format" not in body for body in server.bodies[3:])


def test_pictures_of_other_formats_are_sent_as_png_and_bad_ones_are_error_replies(tmp_path, picture):
    jpeg, broken = tmp_path / "a.jpg", tmp_path / "b.png"
    Image.new("RGB", (8, 8), "blue").save(jpeg)
    broken.write_bytes(b"no picture")
    with MisbehavingServer() as server:
        bomb = tmp_path / "d.ppm"
        bomb.write_bytes(b"P6 60000 60000 255\n")
        files = {"good": jpeg, "broken": broken, "missing": tmp_path / "c.png", "bomb": bomb}
        held = hold(reach(server), *(look(file, key, (0, 1)) for key, file in files.items()))
        assert len(held) == 8
        for key, name in (("broken", "b.png"), ("missing", "c.png"), ("bomb", "d.ppm")):
            for sample in (0, 1):
                (reply,) = held[key, sample]
                assert reply.finish == ERROR and name in reply.text
        assert held["good", 0][0].finish == STOP
        ((_, _, body),) = [request for request in server.requests if request[2]]
        url = body["messages"][1]["content"][0]["image_url"]["url"]
        sent = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
        assert sent.format == "PNG" and sent.getpixel((0, 0))[2] > 200
        hold(reach(server), look(Image.new("RGB", (5, 4), "lime")))
        url = server.bodies[-1]["messages"][1]["content"][0]["image_url"]["url"]
        assert Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).getpixel((4, 3)) == (0, 255, 0)
        for images in ((), (picture, picture)):
            (replies,) = hold(reach(server), replace(look(picture), images=images)).values()
            assert replies[0].finish == ERROR and "placeholders" in replies[0].text


# -- what servers cannot do --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["refuses", "ignores"])
def test_a_server_without_n_is_asked_for_each_sample_and_not_again(how, capsys):
    with MisbehavingServer(**{how: {"n"}}) as server:
        vlm = reach(server)
        for key, server.seconds in (("a", 0.0), ("b", 0.1)):
            server.most = 0
            held = hold(vlm, talk(key, samples=(0, 1, 2)))
            assert [held[key, sample][0].text for sample in range(3)] == ["reply 0"] * 3
        assert server.most == 3
        with_n = [place for place, body in enumerate(server.bodies) if "n" in body]
        assert with_n[-1] < len(server.bodies) - 5
        seeds = [body["seed"] for body in server.bodies if "n" not in body and body["max_tokens"] > 1]
        assert len(set(seeds)) == len(seeds) == (6 if how == "refuses" else 5)
    assert "takes no n" in capsys.readouterr().err


def test_a_server_that_fails_over_n_is_asked_without():
    with MisbehavingServer(always="fails_over_n") as server:
        held = hold(reach(server), talk(samples=(0, 1)))
        assert [held["q", sample][0].text for sample in (0, 1)] == ["reply 0"] * 2


def test_schemas_are_left_out_where_refused_unless_they_are_a_must(capsys):
    wanted = [talk(str(number), schema=lambda replies: {"type": "object"}) for number in range(9)]
    with MisbehavingServer(refuses={"response_format"}) as server:
        held = hold(reach(server), *wanted)
        assert {replies[0].finish for replies in held.values()} == {STOP} and len(held) == 9
        assert capsys.readouterr().err.count("takes no response_format") == 1
        with pytest.raises(UserError, match="takes no JSON schemas.*auto"):
            hold(reach(server, schema="always"), *wanted)


def test_every_option_that_a_strict_server_refuses_is_left_out():
    refused = {"n", "top_k", "repetition_penalty", "logprobs", "seed", "stream_options", "response_format"}
    sampling = replace(SAMPLING, top_k=4, repetition_penalty=1.2)
    with MisbehavingServer(refuses=refused) as server:
        vlm = reach(server, logprobs=True)
        wanted = talk(samples=(0, 1), schema=lambda replies: {})
        held = hold(vlm, wanted, sampling=sampling, listen=lambda event: None)
        assert [replies[0].text for replies in held.values()] == ["reply 0"] * 2
        asked = len(server.bodies)
        hold(vlm, wanted, sampling=sampling, listen=lambda event: None)
        assert len(server.bodies) == asked + 2  # all is remembered


def test_one_schema_that_a_server_cannot_take_does_not_fail_the_talk():
    schemas = [{"a": 1}, {"poison": 2}]
    with MisbehavingServer(always="fails_over_poison") as server:
        replies = hold(reach(server), talk(next_turn=turns(2), schema=lambda replies: schemas[len(replies)]))["q", 0]
        assert [reply.finish for reply in replies] == [STOP, STOP]
        assert ["response_format" in body for body in (server.bodies[0], server.bodies[-1])] == [True, False]
        assert server.bodies[-1]["max_tokens"] == 50


def test_a_limit_beyond_the_context_is_left_to_the_server():
    with MisbehavingServer(context=40) as server:
        assert only(reach(server)).text == "reply 0"
        assert [body.get("max_tokens") for body in server.bodies] == [50, 1, 1, None]


def test_a_request_that_is_refused_for_itself_is_an_error_reply_and_the_others_go_on():
    with MisbehavingServer(always="fails_over_poison") as server:
        held = hold(reach(server), talk("bad", (0, 1), text="poison"), talk("good", (0, 1)))
        for sample in (0, 1):
            assert held["bad", sample][0].finish == ERROR and "that is poison" in held["bad", sample][0].text
            assert held["good", sample][0].text == f"reply {sample}"
        assert len(server.bodies) == 3  # for the bad one, a second request to see whether an option is to blame


# -- the key -----------------------------------------------------------------------------------------------------------


def test_the_key_is_sent_and_shown_nowhere(monkeypatch, capsys):
    monkeypatch.setenv("MY_KEY", KEY + "\n")
    with MisbehavingServer() as server:
        vlm = reach(server, api_key_env="MY_KEY", tries=1)
        only(vlm)
        assert all(headers["Authorization"] == f"Bearer {KEY}" for _, headers, _ in server.requests)
        assert len(server.requests) == 2
        server.always = "tell_key"
        reply = only(vlm)
        assert reply.finish == ERROR and "Bearer [key]" in reply.text
        server.always = server.listing_fault = "echo_key"
        messages = []
        for attempt in (lambda: only(vlm), lambda: reach(server, api_key_env="MY_KEY")):
            with pytest.raises(UserError, match="MY_KEY") as caught:
                attempt()
            messages.append(str(caught.value))
        shown = [reply.text, *messages, repr(vlm), repr(vlm.settings), repr(vars(vlm)), *capsys.readouterr()]
        assert not any(KEY in text for text in shown)


def test_no_key_is_sent_where_none_is_set():
    with MisbehavingServer() as server:
        only(reach(server))
        assert not any("Authorization" in headers for _, headers, _ in server.requests)


@pytest.mark.parametrize("key", [KEY + "\nX-Evil: 1", KEY + " x", KEY + "é"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(key, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with MisbehavingServer() as server, pytest.raises(UserError) as caught:
        reach(server)
    assert "OPENAI_API_KEY" in str(caught.value) and KEY not in str(caught.value) and not server.requests


# -- connecting --------------------------------------------------------------------------------------------------------


def listing(*entries):
    return {"object": "list", "data": list(entries)}


def test_the_version_is_that_of_the_weights_and_stays_the_same():
    def version(model="tiny", **entry):
        with MisbehavingServer(models=listing(MODEL | entry)) as server:
            return reach(server, model=model).version

    assert version().name == "tiny"
    assert version(created=1) == version(created=2, permission=[{"id": "x"}])
    assert version(root="/data/a/tiny") == version(root="/elsewhere/tiny")
    different = [{}, {"root": "maker/other"}, {"revision": "abc"}, {"meta": {"n_params": 5, "size": 10}}]
    assert len({version(**entry).fingerprint for entry in different}) == 4
    assert version("/models/unlisted").name == "unlisted"


def test_the_only_model_is_taken_where_none_is_named():
    with MisbehavingServer() as server:
        vlm = reach(server)
        only(vlm)
        assert vlm.model == "tiny" and server.bodies[0]["model"] == "tiny"
        server.models = listing(MODEL, {"id": "big"})
        with pytest.raises(UserError, match="big, tiny; name the one"):
            reach(server)
        assert reach(server, model="big").version.name == "big"


def test_endpoints_of_different_models_are_refused():
    with MisbehavingServer() as one, MisbehavingServer(models=listing(MODEL | {"root": "maker/other"})) as other:
        with pytest.raises(UserError, match="different models"):
            reach(one, other)
        other.models = listing()
        assert reach(one, other, model="tiny").version == reach(one, model="tiny").version


def test_connecting_says_what_is_wrong_with_the_servers():
    with MisbehavingServer() as server, MisbehavingServer() as dead:
        dead.die()
        assert only(reach(dead, server)).text == "reply 0"
        with pytest.raises(UserError, match=f"{dead.url} cannot be reached"):
            reach(dead)
        for server.models in ("<html>", {"data": None}, [1], {"data": [{}]}):
            with pytest.raises(UserError, match="lists no models"):
                reach(server)
        server.listing_fault = "overloaded"
        with pytest.raises(UserError, match="no models yet .status 503.; start the server"):
            reach(server)
        for server.listing_fault in ("not_found", "broken"):
            assert only(reach(server, model="x")).text == "reply 0"
        with pytest.raises(UserError, match="no models; name the one"):
            reach(server)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"endpoints": ()}, "no endpoint"), ({"endpoints": ("localhost:8000",)}, "'localhost:8000' is no address"),
        ({"endpoints": ("http://[::1",)}, "no address"), ({"endpoints": ("http://h/v1?a=1",)}, "no address"),
        ({"endpoints": ("http://h:99999",)}, "no address"), ({"schema": "maybe"}, "'maybe'"),
        ({"concurrency": 0}, "concurrency is 0"), ({"tries": 0}, "tries is 0"), ({"timeout": -1.0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        connect(RemoteSettings(**({"endpoints": ("http://127.0.0.1:9",)} | settings)))


def test_an_address_with_a_password_is_refused_without_showing_it():
    with pytest.raises(UserError, match="password") as caught:
        connect(RemoteSettings(("http://me:secret@host/v1",)))
    assert "secret" not in str(caught.value)


def test_addresses_are_completed():
    for url in ("http://h:1", "http://h:1/", "http://h:1/v1/", "http://h:1/v1/chat/completions", " http://h:1/v1 "):
        assert clean_url(url) == "http://h:1/v1"
    assert clean_url("https://h/api/openai") == "https://h/api/openai"


def test_an_adapter_goes_by_a_name_of_its_content(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    with MisbehavingServer() as server:
        vlm = reach(server, model="tiny")
        with pytest.raises(UserError, match="--lora-modules adapter_") as caught:
            hold(vlm, talk(), adapter=str(tmp_path))
        name = str(caught.value).partition("--lora-modules ")[2].partition("=")[0]
        server.models = listing(MODEL, {"id": name, "parent": "tiny"})
        hold(vlm, talk(), adapter=str(tmp_path))
        assert [body["model"] for body in server.bodies] == [name]
        with pytest.raises(UserError, match="no LoRA adapter"):
            hold(vlm, talk(), adapter=str(tmp_path / "none"))


def test_error_pages_are_shortened():
    assert describe_page(b"<html><script>var a;</script><h1>502</h1>\n\n<p>Bad\xff") == "502 Bad\ufffd"
    assert len(describe_page(b"x" * 10_000)) == 300
    assert json.dumps(describe_page(b"")) == '"nothing"'
