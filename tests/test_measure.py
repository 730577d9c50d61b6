"""Measuring nano: rows that decode together say what they would say alone, and figures count what they claim to."""

import json

import pytest
import torch

from insightv_core import prompts
from insightv_core.cli import main
from insightv_core.nano import measure
from insightv_core.nano import model as nano
from insightv_core.nano.world import PERCEPTION, REASONING, make_example
from insightv_core.parse import write_answer, write_step
from insightv_core.records import SUMMARY, Sampling, Step
from insightv_core.vlm import STOP, Reply
from insightv_core.vlm.scripted import ScriptedVLM

KEYS = (
    "base_perception", "base_reasoning", "teacher_valid", "teacher_reasoning", "teacher_sampled", "teacher_distinct",
    "base_blank_gap", "teacher_blank_gap", "judge_auc", "load_seconds", "n", "seed", "families", "counts",
)  # fmt: skip


def test_step_by_step_asks_for_steps_then_for_the_answer():
    step, last = write_step(Step("Read", "Mia is 3.")), write_step(Step("Add", "3 + 2 = 5.", SUMMARY))

    def asks(*texts):
        return measure.reason_step_by_step([Reply(text, 1, 0.0, STOP, 0.0) for text in texts])

    assert asks(step) == prompts.CONTINUE and asks(step, last) == prompts.FINAL
    assert asks(step, last, write_answer("5")) is None and asks(step, "Hm.") is None


def test_each_conversation_goes_with_its_picture_and_samples():
    def script(talk, sample):
        return [f"{talk.messages[-1]['content'][-1]['text']} {talk.images[0]} {sample}"]

    told = []
    openings = [prompts.ask(word, "") for word in "abc"]
    held = measure.hold(ScriptedVLM(script), openings, [1, 2, 3], Sampling(), told.append, samples=(0, 1))
    assert held == [[[f"{word}\n {image} {k}"] for k in (0, 1)] for word, image in zip("abc", (1, 2, 3), strict=True)]
    assert told == [1, 1, 1]


def test_a_rollout_is_valid_only_when_all_of_it_can_be_read():
    step, last = write_step(Step("Read", "Mia is 3.")), write_step(Step("Add", "3 + 2 = 5.", SUMMARY))
    whole = measure.read_rollout([step, last, write_answer("5")])
    assert whole.valid and whole.answer == "5" and len(whole.steps) == 2
    assert not measure.read_rollout([step, write_answer("5")]).valid
    assert not measure.read_rollout([step, last, "five"]).valid
    assert not measure.read_rollout([step, "?", write_answer("5")]).valid
    assert not measure.read_rollout([]).valid


def test_a_judge_that_miscounts_is_held_to_the_form_as_in_assessing():
    path = measure.Rollout((Step("Read", "Mia is 3."), Step("Add", "3 + 2 = 5.", SUMMARY)), "5", True)
    paths = [[path], [path, path], [path]]
    examples = [make_example(seed) for seed in range(3)]
    asked = []

    def judge(talk, sample):
        asked.append((len(talk.messages[-1]["content"][-1]["text"].split("\nPath ")) - 1, talk.schema is not None))
        counted = [1] if talk.schema is None and talk.images[0] != 0 or talk.images[0] == 2 else [2] * asked[-1][0]
        rows = [{"id": n, "steps": ["sound"] * steps, "score": 60 + n} for n, steps in enumerate(counted, 1)]
        return [json.dumps({"paths": rows})]

    found = measure.judge_paths(ScriptedVLM(judge), examples, [0, 1, 2], paths)
    assert asked == [(1, False), (2, False), (1, False), (2, True), (1, True)]
    assert [(each.score, each.first_try) for each in found] == [(61, True), (61, False), (62, False), (None, False)]


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
CARD_FLOORS = {"base_perception": 0.85, "teacher_valid": 0.96, "teacher_reasoning": 0.4, "teacher_distinct": 3}


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
