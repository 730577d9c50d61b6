"""The local backend: reuse of keys and values, draws, grammars, adapters, limits and faults, on tiny random models."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from reuse import CONTROLS, break_reuse, record, reuse_error
from tiny_models import build_tiny

from insightv_core import prompts
from insightv_core.errors import UserError
from insightv_core.records import ModelVersion, Sampling
from insightv_core.vlm import ERROR, LENGTH, Talk
from insightv_core.vlm.cache import SlotCache
from insightv_core.vlm.draws import draw_tokens, uniforms
from insightv_core.vlm.local import LocalVLM, load_local

FAMILIES = ("llava", "llava-next", "llava-onevision", "qwen2.5-vl", "qwen3-vl", "smolvlm")
SHORT, LONG = "go on", "please write one more step of the reasoning, and keep to the form that was asked for " * 2


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    files = []
    for number, size in enumerate([(56, 56), (64, 64), (80, 56)]):
        noise = np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        files.append(folder / f"{number}.png")
        Image.fromarray(noise).save(files[-1])
    return files


def load_tiny(family="llava", row_limit=4):
    model, processor = build_tiny(family)
    return LocalVLM(model, processor, ModelVersion(family, "0"), row_limit=row_limit)


def three_turns(replies):
    return None if len(replies) >= 3 else (SHORT if len(replies) % 2 else LONG)


def make_talks(pictures, samples=3):
    return [
        Talk(f"q{k}", prompts.ask("What is it? " * (k + 1), "Say it."), (file,), tuple(range(samples)), three_turns)
        for k, file in enumerate(pictures)
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_kept_cache_gives_the_logits_of_a_fresh_pass(family, pictures):
    vlm = load_tiny(family)
    recorded = record(vlm, make_talks(pictures), Sampling((1.0,), max_tokens=12))
    assert len(recorded) == 9 and sum(len(each.logits) for each in recorded) > 100
    assert reuse_error(vlm, recorded) < 1e-4
    assert vlm.usage().images == 3  # each picture once, whatever the number of samples and turns


@pytest.mark.parametrize("family", ["llava", "qwen2.5-vl"])
def test_conversations_over_many_parts_of_the_cache(family, pictures, monkeypatch):
    monkeypatch.setattr("insightv_core.vlm.cache.FIRST_PART", 4)
    monkeypatch.setattr("insightv_core.vlm.cache.FIRST_SLOTS", 1)
    monkeypatch.setattr("insightv_core.vlm.cache.PROMPT_GROWTH", 1)
    vlm = load_tiny(family)
    assert reuse_error(vlm, record(vlm, make_talks(pictures, samples=4), Sampling((1.0,), max_tokens=12))) < 1e-4


def test_only_long_conversations_take_room_for_long_ones():
    cache = SlotCache(layers=1, device=torch.device("cpu"))
    keys = torch.ones(2, 5, 4)  # heads, columns, size
    for row in range(40):
        cache.start(row, row // 8, [(keys, keys)])
    for step in range(300):
        cache.aim(list(range(40)) if step < 100 else [7])
    assert [len(part.owners) for part in cache.parts] == [40, 1, 1]
    assert len(cache.prompts.owners) == 5
    taken = sum(part.keys.numel() for part in [cache.prompts, *cache.parts])
    assert taken <= (8 * 64 + 64 * 128 + 8 * 128 + 8 * 256) * 2 * 4
    for row in range(40):
        cache.end(row)
    assert not any(part.owners for part in [cache.prompts, *cache.parts])


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("family", ["llava", "qwen2.5-vl"])
def test_broken_reuse_is_noticed(family, control, pictures):
    vlm = load_tiny(family)
    break_reuse(vlm, control)
    assert reuse_error(vlm, record(vlm, make_talks(pictures), Sampling((1.0,), max_tokens=12))) > 1e-2


def test_no_token_passes_the_model_twice(pictures):
    vlm = load_tiny()
    talks = make_talks(pictures)
    recorded = record(vlm, talks, Sampling((1.0,), max_tokens=12))
    prompts_once = sum(len(vlm.read_prompt(talk)[0]) for talk in talks)
    after = sum(len(each.tokens) - len(vlm.read_prompt(each.talk)[0]) for each in recorded)
    used = vlm.usage()
    # The last token of a conversation is drawn and not fed.
    assert used.prefill_tokens + used.decoded_tokens == prompts_once + after + len(recorded)


def texts(vlm, talks, **sampling):
    told = vlm.converse(talks, Sampling(**({"temperatures": (1.0,), "max_tokens": 10} | sampling)))
    return {(each.key, each.sample): [reply.text for reply in each.replies] for each in told}


def test_draws_do_not_depend_on_what_runs_beside(pictures):
    talks = make_talks(pictures, samples=4)
    together = texts(load_tiny(row_limit=16), talks)
    assert texts(load_tiny(row_limit=3), talks) == together
    alone = texts(load_tiny(row_limit=1), [talks[1]])
    assert alone == {key: value for key, value in together.items() if key[0] == "q1"}
    assert len({tuple(value) for value in together.values()}) > 8  # samples differ
    assert texts(load_tiny(row_limit=16), talks, seed=1) != together
    assert len(set(map(tuple, texts(load_tiny(), talks, temperatures=(0.0,)).values()))) <= 3


def test_a_family_with_windows_starts_every_turn_afresh_and_says_so_once(pictures, capsys):
    vlm = load_tiny("gemma3")
    said = capsys.readouterr().err
    assert said.count("fresh prompt") == 1
    found = texts(vlm, make_talks(pictures[:1], samples=2), max_tokens=5)
    assert all(len(replies) == 3 for replies in found.values()) and len(found) == 2
    assert vlm.usage().images == 6  # once for each reply
    assert texts(load_tiny("gemma3"), make_talks(pictures[:1], samples=2), max_tokens=5) == found


def test_fallback_and_rows_say_the_same(pictures):
    talks = make_talks(pictures, samples=2)
    slow = load_tiny()
    slow.reuses_cache = False
    assert texts(slow, talks) == texts(load_tiny(), talks)


def test_replies_keep_to_a_schema(pictures):
    schema = {
        "type": "object",
        "properties": {"answer": {"enum": ["yes", "no"]}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    talk = Talk("q", prompts.ask("Is it?", "Say it."), (pictures[0],), (0, 1, 2), schema=lambda replies: schema)
    for vlm in (load_tiny(), load_tiny()):
        found = texts(vlm, [talk], max_tokens=40, temperatures=(2.0,))
        assert all(json.loads(replies[0])["answer"] in ("yes", "no") for replies in found.values())
        free = texts(vlm, [Talk("q", talk.messages, talk.images, (0, 1, 2))], max_tokens=40, temperatures=(2.0,))
        assert free != found


def test_log_probabilities_are_the_unscaled_models(pictures):
    vlm = load_tiny()
    talk = Talk("q", prompts.ask("What?", "Say it."), (pictures[0],))
    recorded = record(vlm, [talk], Sampling((0.5,), top_p=0.7, max_tokens=6))
    (reply,) = next(iter(load_tiny().converse([talk], Sampling((0.5,), top_p=0.7, max_tokens=6)))).replies
    rows = list(recorded[0].logits.values())
    prompt = len(vlm.read_prompt(talk)[0])
    drawn = recorded[0].tokens[prompt:]
    expected = sum(float(row.log_softmax(-1)[token]) for row, token in zip(rows, drawn, strict=False))
    last = rows[len(drawn)].log_softmax(-1)
    assert reply.tokens == len(rows)
    assert any(abs(reply.logprob - expected - float(value)) < 1e-4 for value in last)


def test_a_prompt_too_long_and_a_picture_that_is_gone_are_error_replies(pictures, tmp_path):
    vlm = load_tiny()
    good = make_talks(pictures)[0]
    long = Talk("long", prompts.ask("why " * 20_000, "Say it."), (pictures[0],), (0, 1))
    gone = Talk("gone", good.messages, (tmp_path / "gone.png",))
    found = {}
    for each in vlm.converse([long, good, gone], Sampling((1.0,), max_tokens=4)):
        found.setdefault(each.key, []).append(each.replies)
    assert [reply.finish for replies in found["long"] for reply in replies] == [ERROR, ERROR]
    assert "context" in found["long"][0][0].text and "gone.png" in found["gone"][0][0].text
    assert len(found["q0"]) == 3 and all(len(replies) == 3 for replies in found["q0"])


def test_a_conversation_that_fills_the_context_is_cut(pictures):
    vlm = load_tiny()
    talk = Talk("q", prompts.ask("What?", "Say it."), (pictures[0],), next_turn=lambda replies: LONG)
    vlm.context_length = len(vlm.read_prompt(talk)[0]) + 60
    (conversation,) = vlm.converse([talk], Sampling((1.0,), max_tokens=1000))
    assert conversation.replies[-1].finish in (LENGTH, ERROR)
    assert sum(reply.tokens for reply in conversation.replies) <= 60


def test_listening_hears_every_turn_and_stopping_stops(pictures):
    heard = []
    vlm = load_tiny()
    stop_after = 4
    told = vlm.converse(
        make_talks(pictures, samples=8), Sampling((1.0,), max_tokens=10),
        listen=lambda event: heard.append(event) if event.done else None, stop=lambda: len(heard) >= stop_after,
    )  # fmt: skip
    ended = list(told)
    assert stop_after <= len(heard) < 60 and len(ended) < 24
    assert Counter(event.turn for event in heard)[0] >= 1
    assert len(texts(vlm, make_talks(pictures))) == 9  # the model can be used again


def test_talks_are_read_lazily(pictures):
    taken = []

    def endless():
        number = 0
        while True:
            taken.append(number)
            yield Talk(f"q{number}", prompts.ask("What?", "Say it."), (pictures[0],), (0, 1))
            number += 1

    told = load_tiny(row_limit=4).converse(endless(), Sampling((1.0,), max_tokens=5))
    for _ in range(10):
        next(told)
    assert len(taken) < 20
    told.close()


def test_adapters_change_what_is_said_and_can_be_left_out(pictures, tmp_path, capfd):
    from peft import LoraConfig, get_peft_model

    model, _ = build_tiny("llava")
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    torch.manual_seed(0)
    for folder in ("adapter", "other"):
        with torch.no_grad():
            for name, weight in tuned.named_parameters():
                if "lora" in name:
                    weight.normal_(std=0.5)
        tuned.save_pretrained(tmp_path / folder)
    vlm = load_tiny()
    talks = make_talks(pictures)
    plain = texts(vlm, talks)
    sampling = Sampling((1.0,), max_tokens=10)

    def say(folder):
        told = vlm.converse(talks, sampling, adapter=str(tmp_path / folder))
        return {(each.key, each.sample): [reply.text for reply in each.replies] for each in told}

    adapted = say("adapter")
    assert adapted != plain and texts(vlm, talks) == plain
    capfd.readouterr()
    assert say("other") not in (adapted, plain) and say("adapter") == adapted
    assert capfd.readouterr() == ("", "")  # transformers calls the first one's weights missing in the second
    with pytest.raises(UserError, match="cannot be loaded"):
        list(vlm.converse(talks, sampling, adapter=str(tmp_path / "none")))
    assert texts(vlm, talks) == plain


@pytest.mark.parametrize("small", [True, False])
def test_an_adapter_leaves_no_trace_in_the_weights(pictures, tmp_path, monkeypatch, small):
    from peft import LoraConfig, get_peft_model

    monkeypatch.setattr("insightv_core.vlm.local.is_small", lambda model: small)
    tuned = get_peft_model(build_tiny("llava")[0], LoraConfig(r=4, target_modules="all-linear"))
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.linspace(-0.3, 0.3, weight.numel()).view(weight.shape))
    tuned.save_pretrained(tmp_path / "adapter")
    vlm = load_tiny()
    before = {name: weight.clone() for name, weight in vlm.model.state_dict().items()}
    held = vlm.converse(make_talks(pictures), Sampling((1.0,), max_tokens=10), adapter=str(tmp_path / "adapter"))
    next(held)
    held.close()
    after = {name.replace(".base_layer", ""): weight for name, weight in vlm.model.state_dict().items()}
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    tuned.eval()
    with tuned.disable_adapter():
        plain = tuned(input_ids=torch.tensor([[3, 4, 5]])).logits
    adapted = tuned(input_ids=torch.tensor([[3, 4, 5]])).logits
    with vlm._with_adapter(str(tmp_path / "adapter")):
        assert torch.allclose(vlm.model(input_ids=torch.tensor([[3, 4, 5]])).logits, adapted, atol=1e-5)
    assert torch.allclose(vlm.model(input_ids=torch.tensor([[3, 4, 5]])).logits, plain, atol=1e-6)
    assert not torch.allclose(plain, adapted, atol=1e-2)


def test_draws_follow_the_distribution():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]]).repeat(20_000, 1)
    draws = torch.from_numpy(uniforms(np.arange(20_000, dtype=np.uint64), np.zeros(20_000)))
    for temperature in (0.5, 1.0, 2.0):
        expected = (logits[0] / temperature).softmax(-1)
        drawn = draw_tokens(logits, torch.full((20_000,), temperature), draws, Sampling(top_p=1.0))
        shares = torch.bincount(drawn, minlength=4) / 20_000
        assert torch.allclose(shares, expected, atol=0.015)
    nucleus = draw_tokens(logits, torch.ones(20_000), draws, Sampling(top_p=0.8))
    assert set(nucleus.tolist()) == {0, 1}
    assert set(draw_tokens(logits, torch.ones(20_000), draws, Sampling(top_p=1.0, top_k=3)).tolist()) == {0, 1, 2}
    greedy = draw_tokens(logits, torch.zeros(20_000), draws, Sampling())
    assert set(greedy.tolist()) == {0}


def test_a_nucleus_may_be_wide_and_is_each_row_s_own():
    peaked, flat = torch.linspace(8, -8, 1000), torch.linspace(0.001, 0, 1000)
    draws = torch.from_numpy(uniforms(np.arange(2000, dtype=np.uint64), np.zeros(2000)))
    beside = torch.stack([peaked, flat]).repeat(1000, 1)
    drawn = draw_tokens(beside, torch.ones(2000), draws, Sampling(top_p=0.4))
    alone = draw_tokens(peaked.repeat(1000, 1), torch.ones(1000), draws[::2], Sampling(top_p=0.4))
    assert drawn[::2].tolist() == alone.tolist() and 1 < alone.max() < 33
    assert 380 < drawn[1::2].max() <= 401 and drawn[1::2].min() < 20


@pytest.mark.parametrize("name", ["/no/such/folder", "nano-teachr", "./nothing"])
def test_a_model_that_is_not_there_is_a_clear_error(name):
    with pytest.raises(UserError, match="no model|cannot be loaded"):
        load_local(name)
