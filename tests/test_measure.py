"""Measuring nano: rows that decode together say what they would say alone, and figures count what they claim to."""

import json

import pytest
import torch

from insightv_core import prompts
from insightv_core.cli import main
from insightv_core.nano import measure, rollout
from insightv_core.nano import model as nano
from insightv_core.nano.render import render
from insightv_core.nano.training.corpus import tokenizer_texts
from insightv_core.nano.world import PERCEPTION, REASONING, make_example
from insightv_core.parse import write_answer, write_step
from insightv_core.records import SUMMARY, Step

KEYS = (
    "base_perception", "base_reasoning", "teacher_valid", "teacher_reasoning", "teacher_sampled", "teacher_distinct",
    "base_blank_gap", "teacher_blank_gap", "judge_auc", "load_seconds", "n", "seed", "families", "counts",
)  # fmt: skip


@pytest.fixture(scope="module")
def random_nano():
    """A model of random, enlarged weights: what it writes depends on everything it is shown."""
    tokenizer = nano.build_tokenizer(tokenizer_texts(20), 700)
    model = nano.build_model(tokenizer, seed=3).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(6 if weight.ndim > 1 else 1)
    return model, nano.build_processor(tokenizer)


@pytest.fixture(scope="module")
def asked():
    examples = [make_example(seed, family=name) for seed, name in enumerate(("bar_total", "grid_walk", "cell_color"))]
    talks = [prompts.ask(example.question, prompts.GENERATE) for example in examples]
    return talks, [render(example.scene, example.style) for example in examples]


def one_more(replies):
    return prompts.CONTINUE if len(replies) < 2 else None


def test_rows_that_decode_together_say_what_plain_generation_says(random_nano, asked):
    model, processor = random_nano
    talks, images = asked
    end = processor.tokenizer.eos_token_id
    rolled = rollout.roll_out(model, processor, talks, images, max_tokens=24)
    for talk, image, (replies,) in zip(talks, images, rolled, strict=True):
        text = processor.apply_chat_template(talk, add_generation_prompt=True)
        inputs = processor(text=[text], images=[[image]], return_tensors="pt")
        row = rollout.Row()
        made = model.generate(**inputs, max_new_tokens=24, do_sample=False)[0, inputs["input_ids"].shape[1] :].tolist()
        for token in made:
            rollout._advance(row, token, end, processor.tokenizer, rollout.answer_once)
        assert replies == row.replies


def test_logits_after_fed_turns_equal_those_of_the_whole_conversation(random_nano, asked, monkeypatch):
    model, processor = random_nano
    talks, images = asked
    words = processor.tokenizer.encode("A step.", add_special_tokens=False) + [processor.tokenizer.eos_token_id]
    seen = []

    def choose(logits, temperature, generator):
        seen.append(logits)
        return [
            words[(len(seen) - 1) % (len(words) + 3)] if (len(seen) - 1) % (len(words) + 3) < len(words) else 0
        ] * len(logits)

    monkeypatch.setattr(rollout, "_choose", choose)
    rollout.roll_out(model, processor, talks, images, next_turn=one_more, max_tokens=2 * len(words) + 3)
    order = sorted(range(3), key=lambda k: rollout._text_length(talks[k]))
    last = seen[len(words) + 3]  # what the model would say first in its second turn
    for place, index in enumerate(order):
        whole = [*talks[index], prompts.assistant("A step."), prompts.user(prompts.CONTINUE)]
        text = processor.apply_chat_template(whole, add_generation_prompt=True)
        inputs = processor(text=[text], images=[[images[index]]], return_tensors="pt")
        expected = model(**inputs).logits[0, -1]
        assert (last[place] - expected).abs().max() < 1e-3 * expected.abs().max()


def test_sampling_follows_the_seed(random_nano, asked):
    model, processor = random_nano
    talks, images = asked

    def sample(seed):
        return rollout.roll_out(
            model, processor, talks, images, samples=3, temperature=3.0, seed=seed, max_tokens=400, next_turn=one_more
        )

    first = sample(1)
    assert [len(several) for several in first] == [3, 3, 3]
    assert first == sample(1)


def test_step_by_step_asks_for_steps_then_for_the_answer():
    step, last = write_step(Step("Read", "Mia is 3.")), write_step(Step("Add", "3 + 2 = 5.", SUMMARY))
    assert rollout.reason_step_by_step([step]) == prompts.CONTINUE
    assert rollout.reason_step_by_step([step, last]) == prompts.FINAL
    assert rollout.reason_step_by_step([step, last, write_answer("5")]) is None
    assert rollout.reason_step_by_step([step, "Hm."]) is None
    assert rollout.reason_step_by_step([step] * rollout.MAX_STEPS) == prompts.FINAL


def test_a_rollout_is_valid_only_when_all_of_it_can_be_read():
    step, last = write_step(Step("Read", "Mia is 3.")), write_step(Step("Add", "3 + 2 = 5.", SUMMARY))
    whole = measure.read_rollout([step, last, write_answer("5")])
    assert whole.valid and whole.answer == "5" and len(whole.steps) == 2
    assert not measure.read_rollout([step, write_answer("5")]).valid
    assert not measure.read_rollout([step, last, "five"]).valid
    assert not measure.read_rollout([step, "?", write_answer("5")]).valid
    assert not measure.read_rollout([]).valid


def test_area_under_curve_counts_ties_half():
    assert measure.area_under_curve([3, 2, 1], [True, True, False]) == 1
    assert measure.area_under_curve([1, 2, 3], [True, False, False]) == 0
    assert measure.area_under_curve([2, 2], [True, False]) == 0.5
    assert measure.area_under_curve([2, 3], [True, True]) is None


def test_blind_guesses_are_the_most_frequent_answers():
    guesses = measure.blind_answers(1, 40)
    assert guesses.keys() == {*REASONING, *PERCEPTION} and guesses["bar_pairs"] in ("yes", "no")


@pytest.mark.slow
def test_the_shipped_models_reach_what_their_cards_say(capsys):
    assert main(["nano", "measure", "--seed", "5", "--n", "250", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(KEYS) <= figures.keys()
    for name, floor in CARD_FLOORS.items():
        assert figures[name] >= floor, (name, figures[name])
    for name in ("base_blank_gap", "teacher_blank_gap"):
        assert abs(figures[name]) < 0.12, (name, figures[name])


# A little under the cards' figures, for a smaller n.
CARD_FLOORS = {"base_perception": 0.25, "teacher_valid": 0.95, "teacher_reasoning": 0.18, "teacher_distinct": 3}


@pytest.mark.slow
@pytest.mark.parametrize("name", nano.MODEL_NAMES)
def test_the_shipped_models_load_with_plain_transformers(name):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = nano.MODELS_FOLDER / name
    model = AutoModelForImageTextToText.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)
    assert (folder / "model.safetensors").stat().st_size < 10e6
    assert model.dtype == torch.bfloat16
    for constant in prompts.CONSTANTS:
        assert len(processor.tokenizer.encode(constant, add_special_tokens=False)) == 1
