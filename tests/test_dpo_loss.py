"""Preference training with a shared prompt: loss and gradients of TRL's trainer, from a fraction of the work."""

import copy
import dataclasses
import functools

import pytest
import torch
from datasets import Dataset
from peft import PeftModel, PromptTuningConfig, get_peft_model
from PIL import Image
from tiny_models import build_tiny
from transformers import (
    LlavaForConditionalGeneration,
    MistralConfig,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)
from transformers.modeling_layers import GradientCheckpointingLayer
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

from insightv_core import prompts
from insightv_core.errors import UserError
from insightv_core.nano import model as nano
from insightv_core.train import dpo_loss
from insightv_core.train.dpo import (
    LOSS_TYPES,
    REFERENCE_COLUMNS,
    PairCollator,
    PreferenceTrainer,
    pair_lengths,
    training_arguments,
)
from insightv_core.train.dpo_loss import build_mask, check_model, core_model, pack_pairs, pair_logps
from insightv_core.train.model_parts import lora_config
from insightv_core.train.settings import DPOSettings
from insightv_core.train.shared_attention import SHARED_PREFIX, Segments

LARGEST_ERROR = 1e-5
SETTINGS = DPOSettings(lora_rank=None, bf16=False, batch_size=3, gradient_accumulation=1, learning_rate=1e-3)
CHAINS = ("The bar of kiwi is 7.", "Kiwi 7, apple 12: the sum is 19, which is more than 12.", "no", "It is 12 of 30.")

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
torch.set_num_threads(1)


@functools.cache
def tiny(family):
    return build_tiny(family)


@pytest.fixture
def llava():
    return tiny("llava")


MATCHING = ("llava", "qwen2.5-vl", "llava-next", "llava-onevision", "qwen3-vl", "smolvlm")


@pytest.fixture(params=MATCHING[:2])
def family(request):
    """Positions in one dimension and in three; pictures of one size and of any."""
    return tiny(request.param)


def make_pairs(count=3):
    """Return pairs of uneven prompts, answers and pictures."""
    generator = torch.Generator().manual_seed(1)
    rows = []
    for index in range(count):
        width, height = (56, 48, 64, 40)[index % 4], (56, 64, 32, 40)[index % 4]
        pixels = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator)
        question = "How much more?" if index % 2 else "How many bars of this chart are above 12?"
        rows.append(
            {
                "images": [Image.fromarray(pixels.numpy())],
                "prompt": [prompts.user(question, image=True)],
                "chosen": [prompts.assistant(CHAINS[index % 4])],
                "rejected": [prompts.assistant(CHAINS[(index + 1 + index // 4) % 4])],
            }
        )
    return Dataset.from_list(rows)


PAIRS = make_pairs()


def make_ours(family, folder, pairs=PAIRS, settings=SETTINGS, **more):
    model, processor = family
    return PreferenceTrainer(copy.deepcopy(model), settings, pairs, processor, folder, disable_tqdm=True, **more)


def make_trl(family, folder, settings=SETTINGS, **more):
    """Return TRL's own trainer on the same pairs, with the same weights frozen."""
    model, processor = family
    policy = copy.deepcopy(model)
    if not settings.train_vision:
        policy.get_encoder(modality="image").requires_grad_(False)
    adapters = settings.lora_rank and lora_config(policy, settings.lora_rank, settings.lora_alpha)
    arguments = DPOConfig(
        str(folder), max_length=None, bf16=False, beta=settings.beta, per_device_train_batch_size=settings.batch_size,
        gradient_checkpointing=settings.gradient_checkpointing, report_to="none", dataloader_pin_memory=False,
        seed=settings.seed, **more,
    )  # fmt: skip
    reference = None if adapters else copy.deepcopy(model)
    return DPOTrainer(
        policy, reference, arguments, train_dataset=PAIRS, processing_class=processor, peft_config=adapters or None
    )


def move_policy(trainer):
    """Shift the trained weights away from the reference, by the same amounts in every trainer."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in trainer.model.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn(weight.shape, generator=generator))


def loss_and_gradients(trainer):
    """Return loss and gradients of one training batch of all pairs, in the order of the rows."""
    batch = trainer._prepare_inputs(trainer.data_collator([trainer.train_dataset[i] for i in range(len(PAIRS))]))
    trainer.model.train()
    if trainer.args.gradient_checkpointing:
        trainer.model.gradient_checkpointing_enable()
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    trained = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in trained]
    return loss.item(), torch.cat([gradient.flatten() for gradient in gradients])


def errors(ours, trl):
    """Return the relative errors of loss and gradient of our trainer against TRL's."""
    (loss, gradient), (true_loss, true_gradient) = loss_and_gradients(ours), loss_and_gradients(trl)
    assert gradient.shape == true_gradient.shape and true_gradient.norm() > 0
    return abs(loss - true_loss) / abs(true_loss), ((gradient - true_gradient).norm() / true_gradient.norm()).item()


def watch_vision(trainer):
    """Return two lists that grow with the trainer's work: pictures that the tower takes, calls of its first layer."""
    tower = core_model(trainer.model).get_encoder(modality="image")
    layer = next(part for part in tower.modules() if isinstance(part, GradientCheckpointingLayer))
    pictures, calls = [], []

    def count(module, arguments, keywords):
        grid = keywords.get("grid_thw")
        pictures.extend(arguments[0] if grid is None else grid)

    tower.register_forward_pre_hook(count, with_kwargs=True)
    layer.mlp.register_forward_pre_hook(lambda *ignored: calls.append(1))  # what a checkpoint recomputes as well
    return pictures, calls


@pytest.mark.parametrize("rank", [None, 4], ids=["full", "lora"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
def test_loss_and_gradients_are_those_of_trl_and_the_vision_tower_runs_once(family, tmp_path, rank, checkpointing):
    settings = dataclasses.replace(SETTINGS, lora_rank=rank, gradient_checkpointing=checkpointing)
    ours, trl = make_ours(family, tmp_path, settings=settings), make_trl(family, tmp_path, settings)
    move_policy(ours), move_policy(trl)
    (pictures, calls), (trl_pictures, _) = watch_vision(ours), watch_vision(trl)
    assert max(errors(ours, trl)) < LARGEST_ERROR
    assert (len(pictures), len(calls)) == (len(PAIRS), 1)
    assert len(trl_pictures) == (4 if rank else 2) * len(PAIRS)  # without adapters another model is the reference


@pytest.mark.parametrize("name", MATCHING[2:])
def test_other_families_match_too(tmp_path, name):
    settings = dataclasses.replace(SETTINGS, lora_rank=4)
    ours, trl = make_ours(tiny(name), tmp_path, settings=settings), make_trl(tiny(name), tmp_path, settings)
    move_policy(ours), move_policy(trl)
    assert max(errors(ours, trl)) < LARGEST_ERROR


def let_answers_leak(packed):
    """A mask that is causal and no more, so that the rejected answer sees the chosen one."""
    length = packed.input_ids.shape[1]
    causal = torch.ones(length, length).tril().log().clamp(min=torch.finfo(torch.float32).min)
    return dataclasses.replace(packed, attention_mask=torch.maximum(packed.attention_mask, causal))


def let_positions_run_on(packed):
    """Positions that go on from the chosen answer to the rejected one, as if it came after."""
    places = packed.position_ids.clone()
    places[..., -packed.segments.rejected :] += packed.segments.chosen
    return dataclasses.replace(packed, position_ids=places)


@pytest.mark.parametrize("fault", [None, let_answers_leak, let_positions_run_on])
def test_a_wrong_mask_or_wrong_positions_do_not_match_and_are_refused(family, tmp_path, monkeypatch, fault):
    eager = copy.deepcopy(family[0])  # here one mask decides for the whole row, where `sdpa` goes segment by segment
    eager.set_attn_implementation("eager")
    family = eager, family[1]
    ours, trl = make_ours(family, tmp_path), make_trl(family, tmp_path)
    move_policy(ours), move_policy(trl)
    if fault is None:
        assert max(errors(ours, trl)) < LARGEST_ERROR
        return
    true_pack = dpo_loss.pack_pairs
    monkeypatch.setattr(dpo_loss, "pack_pairs", lambda *arguments: fault(true_pack(*arguments)))
    assert min(errors(checked_already(ours), trl)) > 100 * LARGEST_ERROR
    with pytest.raises(UserError, match="share_prefix=False"):
        make_ours(family, tmp_path)


def checked_already(trainer):
    """Keep a trainer from comparing the first batch with the plain way."""
    trainer._sharing_checked = True
    return trainer


def test_the_vision_tower_can_be_trained_too(llava, tmp_path):
    settings = dataclasses.replace(SETTINGS, train_vision=True, gradient_checkpointing=True)
    ours, trl = make_ours(llava, tmp_path, settings=settings), make_trl(llava, tmp_path, settings)
    move_policy(ours), move_policy(trl)
    assert max(errors(ours, trl)) < LARGEST_ERROR


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """Our trainer and TRL's with the same adapters, away from the reference."""
    settings = dataclasses.replace(SETTINGS, loss_type="robust", label_smoothing=0.1, lora_rank=4)
    folder = tmp_path_factory.mktemp("twins")
    ours = make_ours(tiny("llava"), folder, settings=settings)
    trl = make_trl(tiny("llava"), folder, settings, loss_type=["robust"], label_smoothing=0.1)
    move_policy(ours), move_policy(trl)
    return ours, trl


def test_the_loss_type_is_the_one_of_the_settings(twins):
    assert max(errors(*twins)) < LARGEST_ERROR


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_every_loss_of_trl_is_the_same(twins, monkeypatch, loss_type):
    for trainer in twins:
        monkeypatch.setattr(trainer, "loss_types", [loss_type])
    assert max(errors(*twins)) < LARGEST_ERROR


def test_gamma_adds_the_next_token_loss_of_the_chosen_answers(llava, tmp_path):
    ours = make_ours(llava, tmp_path, settings=dataclasses.replace(SETTINGS, gamma=0.5))
    trl = make_trl(llava, tmp_path, loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.5])
    move_policy(ours), move_policy(trl)
    assert max(errors(ours, trl)) < LARGEST_ERROR


def test_attention_leaves_out_what_the_mask_would_hide(llava, tmp_path, monkeypatch):
    trainer = checked_already(make_ours(llava, tmp_path))
    batch = trainer.data_collator([trainer.train_dataset[0], trainer.train_dataset[1]])
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    packed = pack_pairs(core_model(trainer.model), batch["input_ids"], batch["attention_mask"], labels)
    prefix, chosen, rejected = packed.segments
    sizes, attend = [], torch.nn.functional.scaled_dot_product_attention

    def watch(query, key, *arguments, **keywords):
        sizes.append((query.shape[2], key.shape[2]))
        return attend(query, key, *arguments, **keywords)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watch)
    pair_logps(functools.partial(dpo_loss.shared_prefix_forward, trainer.model), batch)
    of_text = [(prefix, prefix), (chosen, prefix + chosen), (rejected, prefix + rejected)]
    assert sizes[-6:] == of_text * 2


def test_padding_and_company_in_the_batch_change_nothing(family, tmp_path):
    together = make_ours(family, tmp_path).score(PAIRS)
    alone = make_ours(family, tmp_path, settings=dataclasses.replace(SETTINGS, batch_size=1)).score(PAIRS)
    plain = make_ours(family, tmp_path, settings=dataclasses.replace(SETTINGS, share_prefix=False)).score(PAIRS)
    assert together == (pytest.approx(plain[0], rel=1e-5), pytest.approx(plain[1], rel=1e-5))
    assert alone == (pytest.approx(plain[0], rel=1e-5), pytest.approx(plain[1], rel=1e-5))
    assert len(plain[0]) == len(PAIRS) and all(value < -1 for half in plain for value in half)


def with_reference(pairs, chosen, rejected):
    for name, values in zip(REFERENCE_COLUMNS, (chosen, rejected), strict=True):
        pairs = pairs.add_column(name, values)
    return pairs


def test_stored_reference_values_stand_in_for_the_reference(family, tmp_path, monkeypatch):
    fresh = make_ours(family, tmp_path)
    columns = [list(fresh.train_dataset[name]) for name in REFERENCE_COLUMNS]
    move_policy(fresh)
    loss, gradient = loss_and_gradients(fresh)
    monkeypatch.setattr(DPOTrainer, "compute_ref_log_probs", None)  # the reference is not computed again
    stored = make_ours(family, tmp_path, with_reference(PAIRS, *columns))
    move_policy(stored)
    assert loss_and_gradients(stored)[0] == pytest.approx(loss, rel=1e-6)
    assert torch.allclose(loss_and_gradients(stored)[1], gradient, rtol=1e-4, atol=1e-6)
    other = make_ours(family, tmp_path, with_reference(PAIRS, columns[1], columns[0]))
    move_policy(other)
    assert abs(loss_and_gradients(other)[0] - loss) > 0.01


def test_the_reference_of_an_adapter_is_the_adapter_as_it_was_given(llava, tmp_path):
    base = copy.deepcopy(llava[0])
    adapted = get_peft_model(base, dataclasses.replace(lora_config(base, 4, 8), init_lora_weights=False))
    trainer = make_ours((adapted, llava[1]), tmp_path)
    start = [list(trainer.train_dataset[name]) for name in REFERENCE_COLUMNS]
    assert tuple(start) == (pytest.approx(trainer.score(PAIRS)[0]), pytest.approx(trainer.score(PAIRS)[1]))
    plain = make_ours(llava, tmp_path)
    assert start[0] != pytest.approx(list(plain.train_dataset[REFERENCE_COLUMNS[0]]), rel=1e-3)
    trainer.save_model(str(tmp_path / "adapter"))
    assert not list((tmp_path / "adapter").glob("*/"))  # and the copy that was the reference is not saved
    loaded = PeftModel.from_pretrained(copy.deepcopy(llava[0]), tmp_path / "adapter")
    assert {name for name in loaded.state_dict() if "lora" in name} == {
        name for name in trainer.model.state_dict() if "lora" in name
    }


def test_adapters_go_on_the_text_model_alone(family):
    adapted = get_peft_model(copy.deepcopy(family[0]), lora_config(family[0], 4, 8))
    trained = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert trained and all("language_model.layers" in name for name in trained)
    assert len(trained) == 2 * 7 * 2  # seven linear layers in each of two layers, two weights each


def test_training_moves_the_margin_and_a_stopped_run_ends_the_same(llava, tmp_path):
    better, worse = [prompts.assistant(CHAINS[0])], [prompts.assistant(CHAINS[3])]
    pairs = Dataset.from_list([{**row, "chosen": better, "rejected": worse} for row in make_pairs(8)])
    settings = dataclasses.replace(SETTINGS, lora_rank=4, batch_size=2, learning_rate=5e-3, epochs=2, save_steps=3)
    whole = make_ours(llava, tmp_path / "whole", pairs, settings)
    before, reference = whole.score(pairs), [list(whole.train_dataset[name]) for name in REFERENCE_COLUMNS]
    whole.train()
    after = whole.score(pairs)
    assert before == (pytest.approx(reference[0], rel=1e-5), pytest.approx(reference[1], rel=1e-5))
    margins = [
        (chosen - start) - (rejected - other) for chosen, rejected, start, other in zip(*after, *reference, strict=True)
    ]
    assert sum(margin > 0 for margin in margins) == 8
    again = make_ours(llava, tmp_path / "again", with_reference(pairs, *reference), settings)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-6"))
    assert again.score(pairs) == after
    logged = whole.state.log_history[0]
    assert {"loss", "rewards/margins", "rewards/accuracies", "logps/chosen", "entropy"} <= set(logged)


def test_a_trained_model_is_a_plain_model_again(llava, tmp_path):
    trainer = make_ours(llava, tmp_path)
    batch = trainer.data_collator([trainer.train_dataset[0], trainer.train_dataset[1]])
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")}
    with torch.no_grad():
        assert torch.allclose(trainer.model.eval()(**inputs).logits, llava[0](**inputs).logits, atol=1e-5)
    trainer.save_model(str(tmp_path / "model"))
    assert SHARED_PREFIX not in (tmp_path / "model" / "config.json").read_text()
    assert LlavaForConditionalGeneration.from_pretrained(tmp_path / "model").config._attn_implementation == "sdpa"


def test_held_out_pairs_need_a_reference_too(llava, tmp_path):
    trainer = make_ours(llava, tmp_path, eval_pairs=make_pairs(4))
    assert trainer.evaluate()["eval_loss"] == pytest.approx(0.6931, abs=1e-4)
    with pytest.raises(UserError, match="ref_chosen_logps and ref_rejected_logps"):
        trainer.evaluate(make_pairs(5))
    known = trainer.score(make_pairs(5))
    assert trainer.evaluate(with_reference(make_pairs(5), *known))["eval_loss"] == pytest.approx(0.6931, abs=1e-4)


def test_the_mask_shows_each_branch_the_prefix_and_itself():
    segments = Segments(3, 2, 2)
    kept = torch.tensor([[0, 1, 1, 1, 1, 1, 0]]).bool()
    seen = build_mask(kept, segments, torch.float32)[0, 0] == 0
    assert seen.int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0, 0],
        [0, 1, 1, 1, 1, 0, 0],
        [0, 1, 1, 0, 0, 1, 0],
        [0, 1, 1, 0, 0, 1, 1],
    ]


TINY_TEXT = dict(
    vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, head_dim=8,
)  # fmt: skip


def test_models_that_look_past_the_mask_are_refused(llava):
    sliding = copy.deepcopy(llava[0].config)
    sliding.text_config = MistralConfig(**TINY_TEXT, sliding_window=8)
    with pytest.raises(UserError, match="reaches back 8 tokens.*share_prefix=False"):
        check_model(LlavaForConditionalGeneration(sliding))
    with pytest.raises(UserError, match="sliding_attention.*share_prefix=False"):
        check_model(tiny("gemma3")[0])
    linear = Qwen3NextForCausalLM(
        Qwen3NextConfig(**TINY_TEXT, linear_num_value_heads=2, linear_num_key_heads=1, num_experts=0)
    )
    with pytest.raises(UserError, match="linear_attention.*share_prefix=False"):
        check_model(linear)
    prompted = get_peft_model(copy.deepcopy(llava[0]), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    with pytest.raises(UserError, match="tokens of its own.*share_prefix=False"):
        check_model(prompted)
    flash = copy.deepcopy(llava[0])
    flash.get_decoder().config._attn_implementation = "flash_attention_2"
    with pytest.raises(UserError, match="attn_implementation='sdpa'"):
        check_model(flash)
    check_model(llava[0])


def test_inputs_for_every_token_are_refused(llava, tmp_path):
    trainer = make_ours(llava, tmp_path)
    batch = trainer.data_collator([trainer.train_dataset[0], trainer.train_dataset[1]])
    with pytest.raises(UserError, match="'token_type_ids'.*share_prefix=False"):
        pair_logps(
            functools.partial(dpo_loss.shared_prefix_forward, trainer.model),
            {**batch, "token_type_ids": batch["input_ids"]},
        )


def test_nothing_is_cut_and_nothing_is_rounded_without_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    arguments = training_arguments(DPOSettings(), tmp_path)
    assert (arguments.max_length, arguments.bf16, arguments.loss_type) == (None, False, ["sigmoid"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss_type": "sigmod"}, "'sigmod' is not known.*sigmoid"),
        ({"loss_type": "exo_pair"}, "label_smoothing"),
        ({"beta": 0.0}, "beta is 0.0"),
        ({"gamma": -1.0}, "gamma is -1.0"),
        ({"lora_rank": 0}, "lora_rank is 0"),
        ({"max_tokens": 40}, "longer than 40 tokens, pair 0 with"),
    ],
)
def test_wrong_settings_are_named(llava, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        make_ours(llava, tmp_path, settings=dataclasses.replace(SETTINGS, **change))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (PAIRS.select([]), "no preference pairs"),
        (PAIRS.remove_columns("chosen"), "lack chosen"),
        (Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]), "plain text"),
        (PAIRS.add_column("ref_chosen_logps", [-1.0] * 3), "ref_chosen_logps alone"),
        (with_reference(PAIRS, [-1.0] * 3, [-1.0, None, -1.0]), "ref_rejected_logps of pair 1 is None"),
        (with_reference(PAIRS, [float("nan")] * 3, [-1.0] * 3), "ref_chosen_logps of pair 0 is nan"),
    ],
)
def test_wrong_pairs_are_named(llava, tmp_path, pairs, message):
    with pytest.raises(UserError, match=message):
        make_ours(llava, tmp_path, pairs)


def test_adapters_that_cannot_be_trained_are_named(llava, tmp_path):
    config = lora_config(llava[0], 4, 8)
    named = get_peft_model(copy.deepcopy(llava[0]), config, adapter_name="reason")
    with pytest.raises(UserError, match="named reason"):
        make_ours((named, llava[1]), tmp_path)
    get_peft_model(copy.deepcopy(llava[0]), config).save_pretrained(tmp_path / "adapter")
    frozen = PeftModel.from_pretrained(copy.deepcopy(llava[0]), tmp_path / "adapter")
    with pytest.raises(UserError, match="is_trainable=True"):
        make_ours((frozen, llava[1]), tmp_path)


@pytest.mark.parametrize("name", MATCHING)
def test_a_batch_is_the_one_of_trl_from_half_the_pictures(monkeypatch, name):
    processor, rows = tiny(name)[1], list(PAIRS)
    wanted = DataCollatorForVisionPreference(processor)([dict(row) for row in rows])
    seen, prepare = [], type(processor.image_processor).preprocess

    def watch(self, images, *arguments, **keywords):
        seen.append(len(images))
        return prepare(self, images, *arguments, **keywords)

    monkeypatch.setattr(type(processor.image_processor), "preprocess", watch)
    batch = copy.deepcopy(PairCollator(processor))(rows)
    assert seen == [len(rows)]
    assert set(batch) == set(wanted)
    assert all(torch.equal(batch[key], values) for key, values in wanted.items())
    longer = batch["attention_mask"].sum(dim=1).view(2, -1).max(dim=0).values
    assert pair_lengths(PAIRS, processor) == longer.tolist()


def test_a_model_of_no_numbers_is_named(llava, tmp_path):
    model = copy.deepcopy(llava[0])
    model.get_output_embeddings().weight.data[5] = float("nan")
    with pytest.raises(UserError, match="not numbers"):
        make_ours((model, llava[1]), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [None, 8], ids=["full", "lora"])
def test_the_shipped_model_is_trained_as_trl_would(tmp_path, rank):
    model, processor = nano.load_nano("nano-base", "cpu")
    settings = dataclasses.replace(SETTINGS, lora_rank=rank)
    ours = make_ours((model, processor), tmp_path, settings=settings)
    trl = make_trl((model, processor), tmp_path, settings)
    move_policy(ours), move_policy(trl)
    assert max(errors(ours, trl)) < LARGEST_ERROR
