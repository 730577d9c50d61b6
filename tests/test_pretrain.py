"""Pre-training: exact data, exact loss and gradients, an optimizer that learns, and runs that can be stopped."""

import json
import multiprocessing
import os
import random
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from insightv_core import prompts
from insightv_core.errors import UserError
from insightv_core.nano import model as nano
from insightv_core.nano.training import lessons, steps
from insightv_core.nano.training import pretrain as training
from insightv_core.nano.training.muon import Muon, orthogonalize

COLORS = ("red", "green", "blue", "yellow")


@dataclass(frozen=True)
class Talk:
    kind: str
    messages: tuple


def draw(scene, _style):
    picture = Image.new("RGB", (448, 448), "white")
    picture.paste(scene[0], (0, 0, 448, 200 + 4 * scene[1]))
    return picture


def draw_with_words(scene, style):
    return draw(scene, style), [(scene[0], (0, 0, 448, 200)), (str(scene[1]), (200, 50, 248, 90))]


def make_talks(color, number, rng):
    step = f'{{"summary": "Look", "content": "It is {color}. {"So it is. " * rng.randrange(4)}", "action": "continue"}}'
    asked = prompts.ask("What colour is it?", prompts.GENERATE)
    broken = prompts.assistant("No idea") | {"learn": False}
    turns = (broken, prompts.user(prompts.REPAIR), prompts.assistant(step), prompts.user(prompts.FINAL))
    described = prompts.ask("How much?", prompts.DIRECT, described=f"A bar of {number}.")
    described.append({"role": "user", "content": [{"type": "text", "text": part} for part in ("co", "lo", "ur")]})
    return (
        Talk("direct", (*prompts.ask("What colour is it?", prompts.DIRECT), prompts.assistant(color))),
        Talk("chain", (*asked, *turns, prompts.assistant(f'{{"answer": "{color}"}}'))),
        Talk("text", (*described, prompts.assistant(str(number)))),
    )


def make_scene(model, seed, index, progress):
    rng = random.Random(f"{model} {seed} {index}")
    scene = (rng.choice(COLORS), rng.randrange(60))
    talks = make_talks(*scene, rng) if model != "tower" else ()
    return SimpleNamespace(scene=scene, style=None, conversations=talks, blank=index % 7 == 3)


def write_texts(count):
    for index in range(count):
        for talk in make_scene("base", 9, index, 1.0).conversations:
            for message in talk.messages:
                yield from (part["text"] for part in message["content"] if part["type"] == "text")


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
    """A corpus of coloured bars and a model of two layers: runs take a second."""
    corpus = SimpleNamespace(training_scene=make_scene, tokenizer_texts=write_texts)
    monkeypatch.setitem(sys.modules, "insightv_core.nano.training.corpus", corpus)
    monkeypatch.setitem(sys.modules, "insightv_core.nano.render", SimpleNamespace(render_with_words=draw_with_words))
    monkeypatch.setattr(steps, "LOOKING_LAYERS", (0, -1))
    for name, value in {"HIDDEN_SIZE": 48, "HEADS": 3, "MLP_SIZE": 64, "VISION_LAYERS": 1, "TEXT_LAYERS": 1}.items():
        monkeypatch.setattr(nano, name, value)
    monkeypatch.setattr(training, "TOKENIZER_TEXTS", 20)
    return corpus


@pytest.fixture
def settings(tmp_path):
    return training.PretrainSettings(
        out=str(tmp_path / "run"), steps=6, scenes_per_step=4, warmup_steps=2, micro_batch_tokens=1200,
        device="cpu", workers=0, precision="float32", checkpoint_every=2, log_every=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return nano.build_tokenizer(write_texts(20), 500)


@pytest.fixture
def item(settings, tokenizer):
    return training.StepDataset(settings, tokenizer)[0].to(torch.device("cpu"))


def saved_weights(result):
    return nano.load_nano(result.model_folder, device="cpu")[0].state_dict()


def read_log(settings):
    with open(os.path.join(settings.out, "log.jsonl")) as file:
        return [json.loads(line) for line in file]


# ---- data


@pytest.mark.parametrize(("said", "used"), [("1", []), ("", [training.count_cores()])])
def test_the_cores_are_shared_as_the_user_says(monkeypatch, said, used):
    taken = []
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    training._use_cores()
    assert taken == used


def test_rows_equal_the_chat_template(tokenizer):
    talks = [talk for index in range(3) for talk in make_scene("base", 0, index, 0).conversations]
    rows = steps.encode_conversations(tokenizer, [talks])
    for talk, row in zip(talks, rows, strict=True):
        text = tokenizer.apply_chat_template(talk.messages, tokenize=False).replace("<image>", "<image>" * 144)
        assert row.ids == tokenizer.encode(text)
        learned = "".join(
            f"{m['content'][0]['text']}<|end|>"
            for m in talk.messages
            if m["role"] == "assistant" and m.get("learn", True)
        )
        assert tokenizer.decode([token for token, on in zip(row.ids, row.trained, strict=True) if on]) == learned
        if all(message.get("learn", True) for message in talk.messages):
            made = tokenizer.apply_chat_template(
                [*talk.messages], tokenize=True, return_dict=True, return_assistant_tokens_mask=True
            )
            assert sum(made["assistant_masks"]) == sum(row.trained)


def test_pictures_equal_the_processor(tokenizer):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (448, 448, 3), dtype=np.uint8))
    expected = nano.build_processor(tokenizer).image_processor(picture, return_tensors="pt")["pixel_values"][0]
    ours = torch.from_numpy(steps.shrink_picture(picture).copy())
    seen = []
    model = SimpleNamespace(
        get_image_features=lambda pixels, return_dict: seen.append(pixels) or SimpleNamespace(pooler_output=[pixels])
    )
    steps.encode_pictures(model, ours[None])
    assert torch.allclose(seen[0][0], expected, atol=1e-6)


def test_a_step_holds_every_row_once_within_the_limit(settings, item, tokenizer):
    batches = list(item.batches())
    made = [
        tokenizer.decode([*(item.prefix if len(batch.scenes) else []), *row[row != tokenizer.pad_token_id]])
        for batch in batches
        for row in batch.ids
    ]
    groups = [make_scene("base", 0, index, 0).conversations for index in range(4)]
    expected = steps.encode_conversations(tokenizer, groups)
    assert sorted(made) == sorted(tokenizer.decode(row.ids) for row in expected)
    assert sum(len(batch.labels) for batch in batches) == sum(sum(row.trained) for row in expected)
    assert len(batches) > 1 and all(batch.ids.numel() <= settings.micro_batch_tokens for batch in batches)
    assert item.kinds == ("chain", "direct", "text") and item.rows == 12
    assert item.images.shape == (4, 3, 144, 144)
    assert item.images[3].eq(128).all(), "scene 3 is blank"


def test_too_long_conversations_are_left_out(tokenizer):
    talk = Talk("long", (prompts.user("a b " * 3000), prompts.assistant("x")))
    assert steps.encode_conversations(tokenizer, [[talk]]) == []


@pytest.mark.parametrize("limit", [600, 3000, 100_000])
def test_cuts_cover_all_rows_with_little_padding(limit):
    lengths = sorted((random.Random(1).choice((64, 200, 208, 216, 560)) for _ in range(60)), reverse=True)
    cuts = steps.cut_rows(lengths, limit)
    covered = sorted(at for cut in cuts for at in range(len(lengths))[cut])
    assert covered == list(range(60))
    sizes = [(cut.stop - cut.start) * lengths[cut.start] for cut in cuts]
    assert max(sizes) <= max(limit, max(lengths))
    if limit == 3000:
        assert sum(sizes) <= 1.05 * sum(lengths)
    assert len(steps.cut_rows([104] * 5 + [96] * 5, 10_000)) == 1, "a batch more costs more than this padding"


# ---- loss and gradients


def plain_gradients(model, tokenizer, scenes):
    """Mean loss, and gradients of the weighted mean, by transformers' own forward of one whole row at a time."""
    processor, stress = nano.build_processor(tokenizer), torch.from_numpy(steps.read_vocabulary(tokenizer).stress)
    total, weighted, count, weights = 0.0, 0.0, 0, 0.0
    for scene in scenes:
        picture = Image.new("RGB", (144, 144), training.GREY) if scene.blank else draw(scene.scene, None)
        rows = steps.encode_conversations(tokenizer, [scene.conversations])
        for talk, row in zip(scene.conversations, rows, strict=True):
            text = tokenizer.apply_chat_template(talk.messages, tokenize=False)
            inputs = processor(text=[text], images=[picture] if "<image>" in text else None, return_tensors="pt")
            labels = torch.tensor([t if on else -100 for t, on in zip(row.ids, row.trained, strict=True)])[1:]
            losses = torch.nn.functional.cross_entropy(model(**inputs).logits[0, :-1], labels, reduction="none")
            share = stress[labels] * (labels >= 0) * sum(row.trained) ** -0.5
            total, count = total + losses.sum().item(), count + sum(row.trained)
            weighted, weights = weighted + (losses * share).sum(), weights + share.sum()
    model.zero_grad()
    (weighted / weights + lessons.LESSON_WEIGHTS[lessons.READING] * plain_reading(model, tokenizer, scenes)).backward()
    return total / count, {name: w.grad.clone() for name, w in model.named_parameters() if w.grad is not None}


def plain_reading(model, tokenizer, scenes):
    """Mean over all words of -log of the softmax over cosines with the embeddings, one patch at a time."""
    processor, losses = nano.build_processor(tokenizer), []
    embeddings = model.get_input_embeddings().weight.detach()
    for scene in (scene for scene in scenes if not scene.blank):
        picture, words = draw_with_words(scene.scene, None)
        inputs = processor(text="<image>", images=[picture], return_tensors="pt")
        features = model.get_image_features(inputs["pixel_values"], return_dict=True).pooler_output[0]
        for word, (left, top, right, bottom) in words:
            ids, begun = tokenizer.encode(" " + word), 0
            for token in ids:
                part = len(tokenizer.decode([token]).strip())
                across = left + (right - left) * (begun + part / 2) / len(word)
                begun += part
                feature = features[int((top + bottom) / 2 * 12 / 448) * 12 + int(across * 12 / 448)]
                cosines = torch.nn.functional.cosine_similarity(feature[None], embeddings)
                losses.append(-(lessons.SCALE * cosines).log_softmax(0)[token])
    return torch.stack(losses).mean()


def test_loss_and_gradients_equal_the_plain_model(settings, tokenizer, item):
    model = nano.build_model(tokenizer)
    with torch.no_grad():  # larger weights than at the start, so that every gradient counts
        for weight in model.parameters():
            weight.mul_(3 if weight.ndim > 1 else 1)
    scenes = [make_scene("base", 0, index, 0) for index in range(4)]
    loss, expected = plain_gradients(model, tokenizer, scenes)
    model.zero_grad()
    sums, losses = steps.add_gradients(model, item, training._autocast(settings))
    assert losses["reading"].item() == pytest.approx(plain_reading(model, tokenizer, scenes).item(), rel=1e-4)
    assert sums[:, 0].sum().item() / sums[:, 1].sum().item() == pytest.approx(loss, rel=1e-5)
    ours = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    assert ours.keys() == expected.keys() and any("patch_embedding" in name for name in ours)
    for name, gradient in expected.items():
        # The gradient of a key's bias is zero but for rounding: softmax does not change when all keys shift.
        assert (ours[name] - gradient).norm() < 1e-4 * gradient.norm() + 1e-8, name


def test_words_are_located_by_the_characters_of_each_token(tokenizer):
    drawn = [[], [("27", (0, 0, 448, 30)), (COLORS[0], (300, 300, 300, 300))]]
    places, ids, words = steps.locate_words(tokenizer, drawn).tolist()
    assert words == [0, 0, *[1] * (len(ids) - 2)]
    assert [tokenizer.decode([token]).strip() for token in ids[:2]] == ["2", "7"]
    assert [place - nano.IMAGE_TOKENS for place in places] == [3, 9, *[8 * 12 + 8] * (len(ids) - 2)]


def test_a_step_of_blank_pictures_alone_has_a_gradient_of_zero(settings, tokenizer, small_world, monkeypatch):
    monkeypatch.setattr(
        small_world,
        "training_scene",
        lambda *_: SimpleNamespace(scene=("red", 1), style=None, conversations=(), blank=True),
    )
    model = nano.build_model(tokenizer)
    data = training.StepDataset(replace(settings, model="tower"), tokenizer)[0]
    _, losses = steps.add_gradients(model, data.to(torch.device("cpu")), training._autocast(settings))
    assert losses["reading"] == 0 and all(
        not weight.grad.any() for weight in model.parameters() if weight.grad is not None
    )


def make_looking_model(tokenizer):
    """Return a model whose attention can be read, and differs from place to place."""
    model = nano.build_model(tokenizer)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4 if weight.ndim > 1 else 1)
    return model


def test_pointing_counts_the_attention_on_what_has_to_be_said(settings, tokenizer, item, monkeypatch):
    monkeypatch.setattr(lessons, "POINTING_KINDS", ("direct",))
    model = make_looking_model(tokenizer)
    _, losses = steps.add_gradients(model, item, training._autocast(settings))
    processor, expected = nano.build_processor(tokenizer), []
    for index in range(3):  # scene 3 is blank
        scene = make_scene("base", 0, index, 0)
        talk = scene.conversations[0]
        text = tokenizer.apply_chat_template(talk.messages, tokenize=False)
        inputs = processor(text=[text], images=[draw(scene.scene, None)], return_tensors="pt")
        looks = model(**inputs, output_attentions=True).attentions[-1][0, : lessons.LOOKING_HEADS]
        ids = inputs["input_ids"][0].tolist()
        (row,) = steps.encode_conversations(tokenizer, [[talk]])
        places, words, _ = steps.locate_words(tokenizer, [draw_with_words(scene.scene, None)[1]]).tolist()
        said = [tokenizer.decode([token]).strip() for token in row.ids]
        drawn = [tokenizer.decode([word]).strip() for word in words]
        for at in (at for at, on in enumerate(row.trained) if on and said[at] in drawn):
            start = ids.index(tokenizer.convert_tokens_to_ids("<image>"))
            there = {start + place for place, word in zip(places, drawn, strict=True) if word == said[at]}
            expected.append(-looks[:, at - 1, sorted(there)].sum(-1).log().mean())
    assert expected and losses["pointing"].item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-4)


def test_finding_counts_the_attention_on_what_the_text_names(settings, tokenizer, item):
    model = make_looking_model(tokenizer)
    _, losses = steps.add_gradients(model, item, training._autocast(settings))
    processor, expected = nano.build_processor(tokenizer), []
    for index in range(3):  # scene 3 is blank
        scene, talks = make_scene("base", 0, index, 0), make_scene("base", 0, index, 0).conversations
        places, words, _ = steps.locate_words(tokenizer, [draw_with_words(scene.scene, None)[1]]).tolist()
        drawn = [tokenizer.decode([word]).strip() for word in words]
        for talk, row in zip(talks, steps.encode_conversations(tokenizer, [talks]), strict=True):
            text = tokenizer.apply_chat_template(talk.messages, tokenize=False)
            if "<image>" not in text:
                continue
            inputs = processor(text=[text], images=[draw(scene.scene, None)], return_tensors="pt")
            looks = model(**inputs, output_attentions=True).attentions[0][0, : lessons.LOOKING_HEADS]
            start = inputs["input_ids"][0].tolist().index(tokenizer.convert_tokens_to_ids("<image>"))
            said = [tokenizer.decode([token]).strip() for token in row.ids]
            for at in (at for at in range(row.prefix, len(said)) if said[at].isalpha() and said[at] in drawn):
                there = {start + place for place, word in zip(places, drawn, strict=True) if word == said[at]}
                expected.append(-looks[:, at, sorted(there)].sum(-1).log().mean())
    assert expected and losses["finding"].item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-4)


def test_a_word_is_the_same_with_a_space_before_it_and_in_the_plural():
    known = nano.load_processor(nano.MODELS_FOLDER / "nano-base").tokenizer
    said = steps.read_vocabulary(known).says
    one = {word: said[known.convert_tokens_to_ids(known.tokenize(word))].tolist() for word in (
        "cross", " cross", " crosses", " circles", " circle", " red", " Ana", " is", " i",
    )}  # fmt: skip
    assert one["cross"] == one[" cross"] == one[" crosses"] and one[" circles"] == one[" circle"]
    assert len({str(one[word]) for word in (" cross", " circle", " red", " Ana", " is", " i")}) == 6


def test_verdicts_weigh_more_than_the_words_around_them(settings, tokenizer, small_world, monkeypatch):
    monkeypatch.setattr(steps, "DECIDING", ("7",))  # this tokenizer cuts longer words to pieces
    messages = (*prompts.ask("Is it so?", prompts.DIRECT), prompts.assistant("it is 7"))
    told = SimpleNamespace(scene=("red", 1), style=None, conversations=[Talk("direct", messages)], blank=False)
    monkeypatch.setattr(small_world, "training_scene", lambda *_: told)
    data = training.StepDataset(replace(settings, scenes_per_step=1), tokenizer)[0]
    (batch,) = data.batches()
    said, weights = [tokenizer.decode([label]) for label in batch.labels.tolist()], batch.weights.tolist()
    begins = tokenizer.decode(tokenizer.encode(" 7", add_special_tokens=False)[0])
    stressed = [steps.STRESS if "7" in token or token == begins else 1 for token in said]
    assert weights == pytest.approx([stress * len(said) ** -0.5 for stress in stressed]) and len(set(weights)) == 2
    assert data.weight == pytest.approx(sum(weights))
    monkeypatch.undo()
    assert read_stress("nano-base", " true", '"sound"', '{"same": false}', " more", " le", " same") == {steps.STRESS}
    assert read_stress("nano-base", " pen", "7", '{"answer": "') == {1}


def read_stress(name, *texts):
    """Return the weights of tokens of a shipped model."""
    known = nano.load_processor(nano.MODELS_FOLDER / name).tokenizer
    stress = steps.read_vocabulary(known).stress
    return {int(stress[token]) for text in texts for token in known.encode(text, add_special_tokens=False)}


def test_places_are_told_by_direction_and_neighbours_count_a_little():
    side, head = nano.IMAGE_SIDE, torch.nn.Linear(48, 2 * nano.IMAGE_SIDE, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2 * side, 48))
    at = torch.arange(nano.IMAGE_TOKENS)
    right = (head.weight[at % side] + head.weight[side + at // side]).detach()
    beside = (head.weight[(at % side + 1) % side] + head.weight[side + at // side]).detach()
    far = right.roll(6, 0)
    losses = [lessons.place_loss(head, features).item() for features in (right, 100 * right, beside, far, 0 * right)]
    assert losses[0] == pytest.approx(losses[1]), "a whisper counts as much as a shout of the same direction"
    assert losses[0] < losses[2] < losses[3]
    assert losses[4] == pytest.approx(2 * torch.tensor(float(side)).log().item()), "no direction is a guess"


def test_a_question_is_looked_up_where_it_last_names_a_thing(settings, tokenizer, small_world, monkeypatch):
    monkeypatch.setattr(lessons, "POINTING_KINDS", ())
    scene = make_scene("base", 0, 0, 0)
    color, number = scene.scene
    questions = (f"A {color} bar: how high is the {color} one now?", "What is it?", f"How high is {color}?")
    messages = prompts.ask(questions[0], prompts.DIRECT)
    for question in questions[1:]:
        messages += [prompts.assistant(str(number)), prompts.user(question)]
    talks = [Talk(kind, (*messages, prompts.assistant(str(number)))) for kind in ("perception", "direct")]
    pictured = SimpleNamespace(scene=scene.scene, style=None, conversations=talks, blank=False)
    monkeypatch.setattr(small_world, "training_scene", lambda *_: pictured)
    data = training.StepDataset(replace(settings, scenes_per_step=1), tokenizer)[0].to(torch.device("cpu"))
    (batch,) = data.batches()
    assert len(batch.asked_at) == 2  # the second question names nothing, and "direct" may ask for what is worked out
    named = [tokenizer.decode([token]).strip() for token in batch.ids.flatten()[batch.asked_at].tolist()]
    assert all(name and color.endswith(name) for name in named)
    behind = tokenizer.decode(batch.ids.flatten()[batch.asked_at[0] + 1 :][:8])
    assert behind.startswith(" one now")

    model = make_looking_model(tokenizer)
    _, losses = steps.add_gradients(model, data, training._autocast(settings))
    text = tokenizer.apply_chat_template(talks[0].messages, tokenize=False)
    inputs = nano.build_processor(tokenizer)(text=[text], images=[draw(scene.scene, None)], return_tensors="pt")
    looks = model(**inputs, output_attentions=True).attentions[-1][0, : lessons.LOOKING_HEADS]
    places, words, _ = steps.locate_words(tokenizer, [draw_with_words(scene.scene, None)[1]]).tolist()
    first = tokenizer.decode([batch.answers[0]]).strip()
    digits = [place for place, word in zip(places, words, strict=True) if tokenizer.decode([word]).strip() == first]
    start = inputs["input_ids"][0].tolist().index(tokenizer.convert_tokens_to_ids("<image>"))
    at = (batch.asked_at % batch.ids.shape[1] + len(data.prefix)).tolist()
    expected = -looks[:, at][:, :, [start + place for place in sorted(set(digits))]].sum(-1).log().mean()
    assert losses["pointing"].item() == pytest.approx(expected.item(), rel=1e-4)


# ---- optimizer and schedule


def test_orthogonalize_brings_singular_values_near_one():
    torch.manual_seed(0)
    made = orthogonalize(torch.randn(3, 40, 24)).float()
    values = torch.linalg.svdvals(made)
    assert made.shape == (3, 40, 24) and values.min() > 0.5 and values.max() < 1.4


def test_muon_equals_torch_muon():
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in ((24, 24), (40, 24), (24, 40), (24, 24))]
    theirs = [torch.nn.Parameter(weight.detach().clone()) for weight in ours]
    muon = Muon(ours, weight_decay=0.1)
    reference = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        muon.step(0.02)
        reference.step()
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=2e-3)


def test_learning_rate_rises_stays_and_falls_to_zero():
    settings = training.PretrainSettings(steps=100, warmup_steps=10, decay_fraction=0.2, learning_rate=1.0)
    rates = [training.learning_rate_at(settings, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[50] == rates[80] == 1
    assert rates[90] == pytest.approx(0.5) and rates[100] == 0 and min(rates[:100]) > 0


# ---- runs


@pytest.mark.slow
def test_a_short_run_learns_to_see(settings):
    settings = replace(settings, steps=110, scenes_per_step=8, learning_rate=0.02, log_every=10, ema_decay=0.9)
    result = training.pretrain(settings)
    log = read_log(settings)
    assert log[-1]["step"] == 110 and log[0]["losses"].keys() == {"chain", "direct", "text"}
    assert log[-1]["losses"]["direct"] < 0.6 < log[0]["losses"]["direct"], (
        "guessing among four colours costs 0.7 a token"
    )
    assert result.loss == pytest.approx(log[-1]["loss"], abs=1e-4)
    model, processor = nano.load_nano(result.model_folder, device="cpu")
    asked = processor.apply_chat_template(
        prompts.ask("What colour is it?", prompts.DIRECT), tokenize=False, add_generation_prompt=True
    )
    for color in COLORS:
        inputs = processor(text=[asked], images=[draw((color, 30), None)], return_tensors="pt")
        written = model.generate(**inputs, max_new_tokens=8)[0, inputs["input_ids"].shape[1] :]
        assert processor.decode(written, skip_special_tokens=True) == color


@pytest.mark.slow
def test_the_tower_learns_to_read_and_leaves_the_language_model_alone(settings, tmp_path):
    start = training.pretrain(replace(settings, steps=1, out=str(tmp_path / "start")))
    settings = replace(
        settings,
        model="tower",
        init=str(start.model_folder),
        steps=60,
        scenes_per_step=8,
        learning_rate=0.02,
        ema_decay=0.9,
    )
    before, after = saved_weights(start), saved_weights(training.pretrain(settings))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all("vision_tower" in name or "projector" in name for name in changed)
    log = read_log(settings)
    for lesson in ("reading", "neighbours", "place"):
        assert log[-1]["lessons"][lesson] < 0.6 * log[0]["lessons"][lesson]
    assert not any(lessons.HEADS in name for name in load_file(Path(settings.out) / "model" / "model.safetensors"))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_stopped_run_ends_as_one_that_was_not(settings, small_world, monkeypatch, tmp_path, optimizer):
    settings = replace(settings, optimizer=optimizer)
    before = signal.getsignal(signal.SIGTERM)
    whole = training.pretrain(settings)
    assert signal.getsignal(signal.SIGTERM) is before
    stopped = replace(settings, out=str(tmp_path / "stopped"))

    def stop_at_third_step(model, seed, index, progress):
        if index == 2 * settings.scenes_per_step:
            os.kill(os.getpid(), signal.SIGTERM)
        return make_scene(model, seed, index, progress)

    monkeypatch.setattr(small_world, "training_scene", stop_at_third_step)
    first = training.pretrain(stopped)
    assert (first.step, first.model_folder) == (3, None)
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.setattr(small_world, "training_scene", make_scene)
    second = training.pretrain(stopped)
    assert second.step == 6
    expected = saved_weights(whole)
    assert all(torch.equal(weight, expected[name]) for name, weight in saved_weights(second).items())
    ours, theirs = (torch.load(f"{s.out}/checkpoint.pt", weights_only=True) for s in (settings, stopped))
    assert all(torch.equal(ours["weights"][name], weight) for name, weight in theirs["weights"].items())
    assert [line["step"] for line in read_log(stopped)] == [1, 2, 3, 4, 5, 6]


def test_a_second_interrupt_does_not_wait():
    with pytest.raises(KeyboardInterrupt), training._stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_set()
        os.kill(os.getpid(), signal.SIGINT)


def test_a_crash_continues_from_the_last_checkpoint(settings, small_world, monkeypatch):
    def crash(model, seed, index, progress):
        if index >= 3 * settings.scenes_per_step:
            raise RuntimeError("power cut")
        return make_scene(model, seed, index, progress)

    monkeypatch.setattr(small_world, "training_scene", crash)
    with pytest.raises(RuntimeError, match="power cut"):
        training.pretrain(settings)
    assert [line["step"] for line in read_log(settings)] == [1, 2, 3]
    monkeypatch.setattr(small_world, "training_scene", make_scene)
    assert training.pretrain(settings).step == 6
    assert [line["step"] for line in read_log(settings)] == [1, 2, 3, 4, 5, 6]


def test_an_error_in_a_worker_leaves_none_of_them_behind(settings, small_world, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such scene")

    monkeypatch.setattr(small_world, "training_scene", fail)
    others = set(multiprocessing.active_children())
    with pytest.raises(RuntimeError, match="no such scene") as caught:
        training.pretrain(replace(settings, workers=2))
    assert caught and not set(multiprocessing.active_children()) - others  # Python would wait for them for ever


def test_worker_processes_make_the_same_steps(settings, tokenizer):
    settings = replace(settings, workers=2)
    made = list(training.load_steps(settings, tokenizer, 2))
    dataset = training.StepDataset(settings, tokenizer)
    assert len(made) == 4
    for step, data in enumerate(made, 2):
        here = dataset[step]
        for name in ("numbers", "images", "prefix", "words", "neighbours"):
            assert torch.equal(getattr(data, name), getattr(here, name)), name
        assert (data.layout, data.kinds, data.rows, data.weight) == (here.layout, here.kinds, here.rows, here.weight)


@pytest.mark.slow
@pytest.mark.parametrize(("ema", "kept"), [(True, "average"), (False, "weights")])
def test_what_is_saved_is_the_average_or_the_last_weights(settings, ema, kept):
    made = saved_weights(training.pretrain(replace(settings, steps=3, ema=ema)))
    state = torch.load(f"{settings.out}/checkpoint.pt", weights_only=True)
    average = dict(zip(state["weights"], state["average"], strict=True))
    expected = {"average": average, "weights": state["weights"]}
    assert any(not torch.equal(average[name], weight) for name, weight in state["weights"].items())
    for name, weight in expected[kept].items():
        if name.startswith(lessons.HEADS):  # serves a lesson and is no part of the model
            assert name not in made
        else:
            assert torch.equal(made[name], weight.bfloat16().float()), name


def test_a_changed_setting_is_named(settings):
    training.pretrain(replace(settings, steps=1))
    with pytest.raises(UserError, match=r"learning_rate is 0.5, but the run in .* was started with 0.005"):
        training.pretrain(replace(settings, steps=1, learning_rate=0.5))
    assert training.pretrain(replace(settings, steps=1, log_every=7)).step == 1


def test_a_teacher_starts_from_the_base(settings, tmp_path):
    base = training.pretrain(replace(settings, steps=1))
    teacher = replace(
        settings,
        steps=1,
        model="teacher",
        init=str(base.model_folder),
        out=str(tmp_path / "teacher"),
        learning_rate=1e-9,
    )
    made = saved_weights(training.pretrain(teacher))
    expected = saved_weights(base)
    assert all(torch.allclose(made[name], expected[name], rtol=0.02, atol=1e-4) for name in expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "huge"}, "model is 'huge': choose one of tower, base, teacher"),
        ({"steps": 0}, "steps is 0: give a whole number"),
        ({"decay_fraction": 1.5}, "decay_fraction must lie"),
        ({"model": "teacher", "init": "nowhere"}, "no model folder at nowhere"),
    ],
)
def test_settings_that_cannot_work_are_named(settings, change, message):
    with pytest.raises(UserError, match=message):
        training.pretrain(replace(settings, **change))


def test_a_run_that_diverges_says_so(settings):
    with pytest.raises(UserError, match=r"the loss is nan at step \d"):
        training.pretrain(replace(settings, learning_rate=float("nan")))


def test_options_mirror_the_settings():
    import argparse

    parser = argparse.ArgumentParser()
    training.add_arguments(parser)
    assert training.settings_from(parser.parse_args([])) == training.PretrainSettings()
    chosen = training.settings_from(parser.parse_args(["--steps", "7", "--no-ema", "--learning-rate", "1e-3"]))
    assert chosen == training.PretrainSettings(steps=7, ema=False, learning_rate=1e-3)
