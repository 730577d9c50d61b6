"""Alarms of preference training, each provoked; and what stops a run from outside, said so that it can be mended."""

import copy
import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch
from peft import get_peft_model
from test_dpo_loss import PAIRS, SETTINGS, make_pairs, tiny
from transformers import LlavaConfig, LlavaForConditionalGeneration

from insightv_core import prompts
from insightv_core.errors import UserError
from insightv_core.records import ModelVersion, Run
from insightv_core.store import open_store
from insightv_core.store.training import add_metrics, load_metrics
from insightv_core.train.adapters import Adapter, attach
from insightv_core.train.alarms import (
    COLLAPSE,
    EXPLOSION,
    LENGTH,
    ORIGIN,
    Watch,
    check_lengths,
    check_origin,
    make_watcher,
)
from insightv_core.train.dpo import PreferenceTrainer
from insightv_core.train.failures import advise_memory, explain_failures, last_checkpoint
from insightv_core.train.model_parts import lora_config
from insightv_core.train.settings import DPOSettings, SFTSettings

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
RUN = Run("r" * 20, "dpo", None, "1", {}, "0")


def make_trainer(folder, settings=SETTINGS, pairs=PAIRS, callbacks=()):
    model, processor = tiny("llava")
    return PreferenceTrainer(
        copy.deepcopy(model), settings, pairs, processor, folder, disable_tqdm=True, callbacks=callbacks
    )


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "project.db", create=True) as store:
        store.start_run(RUN)
        yield store


# -- alarms ------------------------------------------------------------------------------------------------------------


def test_length_bias_is_told_beyond_chance_alone():
    assert check_lengths([9, 9, 9], [5, 5, 5]) is None  # three pairs tell nothing
    assert check_lengths([9] * 15 + [5] * 15, [7] * 30) is None
    assert check_lengths([7] * 30, [7] * 30) is None
    longer = check_lengths([9] * 27 + [5] * 3, [7] * 30)
    assert longer.name == LENGTH and longer.value == pytest.approx(0.9)
    assert "90% of the pairs (9 against 7 tokens)" in longer.text and "sigmoid_norm" in longer.text
    assert "write short answers" in check_lengths([5] * 30, [7] * 30).text


def test_pairs_of_another_policy_are_told():
    assert check_origin(2, 10) is None
    alarm = check_origin(8, 10)
    assert alarm.name == ORIGIN and alarm.value == 0.8 and "8 of 10 pairs (80%)" in alarm.text


def test_a_sound_run_raises_no_alarm():
    watch = Watch(0.1, 50)
    logs = [{"rewards/chosen": 0.02 * step, "rewards/margins": 0.1 * step} for step in range(40)]
    assert [alarm for each in logs for alarm in watch.look(each)] == []


def test_each_alarm_is_raised_once_with_its_number():
    watch = Watch(0.1, 20)
    assert watch.look({"rewards/chosen": -0.1, "rewards/margins": 1.0}) == []
    collapse, explosion = watch.look({"rewards/chosen": -1.1, "rewards/margins": 30.0})
    assert collapse.name == COLLAPSE and collapse.value == pytest.approx(0.3)  # 0.6 / 0.1 / 20
    assert explosion.name == EXPLOSION and explosion.value == pytest.approx(15.5)
    assert watch.look({"rewards/chosen": -9.0, "rewards/margins": 90.0}) == []


def test_training_that_runs_away_is_told_and_the_number_is_kept(store, tmp_path, capsys):
    pairs = make_pairs(8)
    better, worse = [prompts.assistant("The bar of kiwi is 7.")], [prompts.assistant("It is 12 of 30.")]
    pairs = pairs.map(lambda row: {**row, "chosen": better, "rejected": worse})
    settings = dataclasses.replace(SETTINGS, learning_rate=0.1, epochs=4, beta=1.0, batch_size=4, warmup=0.0)
    watcher = make_watcher(store, RUN.id, Watch(1.0, 8), [check_origin(8, 8)])
    make_trainer(tmp_path, settings, pairs, [watcher]).train()
    said = capsys.readouterr().err
    metrics = load_metrics(store, RUN.id)
    assert f"warning, {ORIGIN}: 8 of 8 pairs" in said and metrics[f"alarm/{ORIGIN}"] == [(0, 1.0)]
    found = [name for name in (COLLAPSE, EXPLOSION) if f"warning, {name}:" in said]
    assert found and all(len(metrics[f"alarm/{name}"]) == 1 for name in found)
    assert said.count("warning, ") == 1 + len(found)


def play(store, run, begin, end):
    """Let a run log its steps from `begin` to `end`, as the trainer does, in a process of its own."""
    watcher = make_watcher(store, run, Watch(1.0, 8), [check_origin(8, 8)])
    watcher.on_train_begin(None, SimpleNamespace(is_world_process_zero=True, global_step=begin - 1), None)
    for step in range(begin, end + 1):
        logs = {"rewards/chosen": -0.2 * step, "rewards/margins": 1.2 * step, "loss": 0.5}
        add_metrics(store, run, step, logs)
        watcher.on_log(None, SimpleNamespace(is_world_process_zero=True, global_step=step), None, logs)


@pytest.mark.parametrize(("killed", "checkpoint"), [(3, 0), (6, 4), (9, 8), (12, 12)])
def test_a_resumed_run_raises_its_alarms_where_an_uninterrupted_one_does(store, killed, checkpoint):
    other = dataclasses.replace(RUN, id="s" * 20)
    store.start_run(other)
    play(store, RUN.id, 1, 12)
    play(store, other.id, 1, killed)
    play(store, other.id, checkpoint + 1, 12)
    whole, resumed = load_metrics(store, RUN.id), load_metrics(store, other.id)
    assert whole == resumed and {f"alarm/{name}" for name in (ORIGIN, COLLAPSE, EXPLOSION)} <= set(whole)


# -- what stops a run --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_a_lack_of_memory_names_the_setting_to_lower(tmp_path, error):
    settings = DPOSettings(batch_size=4, gradient_accumulation=2)
    advice = "lower --batch-size from 4 to 2 and raise --gradient-accumulation from 2 to 4"
    with pytest.raises(UserError, match=advice), explain_failures(settings, tmp_path):
        raise error


def test_memory_advice_goes_on_where_the_batch_is_one():
    one = DPOSettings(batch_size=1)
    assert "--gradient-checkpointing" in advise_memory(one)
    saving = SFTSettings(batch_size=1, gradient_checkpointing=True, lora_rank=None)
    assert "without --full" in advise_memory(saving)
    assert "--max-length" in advise_memory(dataclasses.replace(saving, lora_rank=4))


def test_memory_that_really_runs_out_is_told(tmp_path):
    with pytest.raises(UserError, match="out of memory: lower --batch-size"), explain_failures(DPOSettings(), tmp_path):
        torch.empty(1 << 55)


def test_an_adapter_that_does_not_fit_is_named(tmp_path):
    get_peft_model(copy.deepcopy(tiny("llava")[0]), lora_config(tiny("llava")[0], 2, 4)).save_pretrained(tmp_path)
    adapter = Adapter(tmp_path, ModelVersion("mine", "m"))
    wider = LlavaConfig(**tiny("llava")[0].config.to_dict())
    wider.text_config.hidden_size, wider.text_config.head_dim = 128, 32
    with pytest.raises(UserError, match="does not fit Llava.*size mismatch.*--model"):
        attach(LlavaForConditionalGeneration(wider), adapter)
    adapted = attach(copy.deepcopy(tiny("llava")[0]), adapter)
    assert any(weight.requires_grad for weight in adapted.parameters())


def test_other_errors_are_left_alone(tmp_path):
    with pytest.raises(ZeroDivisionError), explain_failures(DPOSettings(), tmp_path):
        raise ZeroDivisionError


def test_a_loss_that_is_no_number_stops_before_it_spoils_the_weights(tmp_path):
    from transformers import TrainerCallback

    class Damage(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **kwargs):
            if state.global_step == 2:
                weight = next(weight for weight in model.parameters() if weight.requires_grad)
                weight.register_hook(lambda gradient: gradient * float("nan"))

    settings = dataclasses.replace(SETTINGS, batch_size=1, epochs=2, save_steps=1, lora_rank=2)
    trainer = make_trainer(tmp_path, settings, callbacks=[Damage()])
    with pytest.raises(UserError, match=r"no number at step 3 of 6.*checkpoint-2 is kept.*--learning-rate \(now 0.001"):
        trainer.train()
    assert last_checkpoint(tmp_path).endswith("checkpoint-2")
    assert all(weight.isfinite().all() for weight in trainer.model.parameters())


def test_a_full_disk_is_told_and_the_last_whole_checkpoint_counts(tmp_path):
    settings = dataclasses.replace(SETTINGS, batch_size=1, save_steps=1, lora_rank=2)
    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "checkpoint-2" / "optimizer.pt").symlink_to("/dev/full")
    said = "disk of .* is full.*make room.*everything up to checkpoint-1"
    with pytest.raises(UserError, match=said), explain_failures(settings, tmp_path):
        make_trainer(tmp_path, settings).train()
    assert last_checkpoint(tmp_path).endswith("checkpoint-1")


def test_a_checkpoint_that_was_cut_off_is_passed_over(tmp_path):
    assert last_checkpoint(tmp_path / "nowhere") is None
    for step, state in ((9, '{"global_step": 9}'), (10, '{"global_step": 10}'), (12, '{"global_st'), (13, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path).endswith("checkpoint-10")
    assert json.loads((tmp_path / "checkpoint-10" / "trainer_state.json").read_text())["global_step"] == 10
