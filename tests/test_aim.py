"""Heads of the tower that are set to look along their own column and row before training goes on."""

from dataclasses import replace

import pytest
import torch

from insightv_core.nano import model as nano
from insightv_core.nano.training import pretrain as training
from insightv_core.nano.training.aim import aim_heads, tower_layers
from insightv_core.nano.training.steps import encode_pictures

SETTINGS = training.PretrainSettings(
    model="tower", steps=1, scenes_per_step=8, warmup_steps=0, device="cpu", workers=0, precision="float32",
    micro_batch_tokens=2048,
)  # fmt: skip


@pytest.fixture
def loaded():
    model, processor = nano.load_nano("nano-base", device="cpu", dtype=torch.float32)
    model.set_attn_implementation("eager")
    return model, training.StepDataset(SETTINGS, processor.tokenizer)[0]


def watch_attention(model, images, layer):
    """Return how each head of a layer attends, (pictures, heads, places, places)."""
    seen = []
    hook = tower_layers(model)[layer].self_attn.register_forward_hook(lambda _, __, given: seen.append(given[1]))
    with torch.no_grad():
        features = encode_pictures(model, images)
    hook.remove()
    return seen[0], features


def test_two_heads_of_each_late_layer_look_along_their_column_and_row(loaded):
    model, data = loaded
    aimed = aim_heads(model, data)
    assert [(layer, what) for layer, _, what in aimed] == [(2, "column"), (2, "row"), (3, "column"), (3, "row")]
    assert len({(layer, head) for layer, head, _ in aimed}) == 4
    place = torch.arange(nano.IMAGE_TOKENS)
    for layer, head, what in aimed:
        line = place % nano.IMAGE_SIDE if what == "column" else place // nano.IMAGE_SIDE
        near = (line[:, None] - line).abs() <= 1
        attended = (watch_attention(model, data.images, layer)[0][:, head] * near).sum(-1).mean()
        assert attended > 0.75, f"layer {layer}, head {head}: {attended:.2f} of its attention near its own {what}"


def test_aimed_heads_pass_nothing_on_yet_and_the_others_stay_as_they_were(loaded):
    model, data = loaded
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    aimed = aim_heads(model, data)
    _, features = watch_attention(model, data.images, -1)
    with torch.no_grad():
        for layer, head, _ in aimed:
            attention = tower_layers(model)[layer].self_attn
            own = slice(40 * head, 40 * head + 40)
            assert not attention.out_proj.weight[:, own].any()
            for projection in (attention.q_proj, attention.k_proj):  # whatever it compares, nothing of it arrives
                projection.weight[own] = torch.randn_like(projection.weight[own])
    assert torch.allclose(watch_attention(model, data.images, -1)[1], features, atol=1e-5)
    changed = {name.split(".layers.")[-1] for name, weight in model.named_parameters() if weight.ne(before[name]).any()}
    assert {name.split(".")[0] for name in changed} == {"2", "3"}
    assert not any("v_proj" in name or "mlp" in name for name in changed)


@pytest.mark.slow
def test_a_run_aims_only_when_asked_to(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "AIMING_PICTURES", 8)
    settings = replace(SETTINGS, init="nano-base", out=str(tmp_path / "plain"))
    plain = training.pretrain(settings)
    aimed = training.pretrain(replace(settings, aim=True, out=str(tmp_path / "aimed")))
    weights = [
        nano.load_nano(str(run.model_folder), device="cpu", dtype=torch.float32)[0].state_dict()
        for run in (plain, aimed)
    ]
    different = [name for name in weights[0] if (weights[0][name] - weights[1][name]).abs().max() > 0.3]
    assert different and all("self_attn" in name for name in different)
