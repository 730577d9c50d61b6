"""The tiny models are what tests of generation rely on: real classes, sensitive weights, faithful processors."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import FAMILIES, FAMILIES_WITH_VIDEO, build_tiny, save_tiny
from transformers import AutoModelForImageTextToText, AutoProcessor, DynamicCache
from transformers.utils import is_torchvision_available

ROUNDING = 1e-4
MISTAKE = 1e-3  # the least that a mistake must change the logits, as a part of their length
TEXT_INPUTS = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")


QUICK = ("llava", "qwen2.5-vl")  # one with a plain cache and one with positions of its own; CI goes through all


@pytest.fixture(
    scope="module",
    params=[pytest.param(each, marks=() if each in QUICK else pytest.mark.slow) for each in FAMILIES],
)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def tiny(family):
    return build_tiny(family)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def draw_picture(seed: int = 0, width: int = 64, height: int = 64) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def ask(question: str) -> list[dict]:
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]


def render(processor, messages: list[dict], add_generation_prompt: bool = True) -> str:
    return processor.apply_chat_template(messages, add_generation_prompt=add_generation_prompt, tokenize=False)


def encode(processor, question: str = "What is it?", picture: Image.Image | None = None):
    text = render(processor, ask(question))
    return processor(text=[text], images=[[picture or draw_picture()]], return_tensors="pt")


def append(inputs, tokens: torch.Tensor) -> dict:
    """Return the inputs with more text tokens at the end."""
    longer = dict(inputs)
    for name in TEXT_INPUTS:
        if name in inputs:
            new = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}.get(name, torch.zeros_like(tokens))
            longer[name] = torch.cat([inputs[name], new], dim=1)
    return longer


def difference(logits: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest distance between two rows of logits, as a part of the expected row's length."""
    return ((logits - expected).norm(dim=-1) / expected.norm(dim=-1)).max().item()


def test_the_seed_decides_the_weights(family, tiny):
    state = torch.random.get_rng_state()
    again, _ = build_tiny(family)
    other, _ = build_tiny(family, seed=1)

    assert torch.equal(torch.random.get_rng_state(), state)
    weights = dict(tiny[0].named_parameters())
    assert all(torch.equal(weight, weights[name]) for name, weight in again.named_parameters())
    assert any(not torch.equal(weight, weights[name]) for name, weight in other.named_parameters())
    assert not again.training
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert again.config.get_text_config()._attn_implementation == "sdpa"


def test_turns_continue_the_prompt_and_end_with_the_end_token(tiny):
    processor = tiny[1]
    conversation = ask("What is it?")
    prompt = render(processor, conversation)
    answered = [*conversation, {"role": "assistant", "content": [{"type": "text", "text": "A bar."}]}]
    history = render(processor, answered, add_generation_prompt=False)
    next_prompt = render(processor, [*answered, {"role": "user", "content": "Why?"}])

    assert history.startswith(prompt)
    assert history.rstrip("\n").endswith("A bar." + processor.tokenizer.eos_token)
    assert next_prompt.startswith(history)


def test_text_survives_the_tokenizer(tiny):
    tokenizer = tiny[1].tokenizer
    text = 'Zoë said: "7 < 12" \n\t日本'

    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode([*ids, tokenizer.eos_token_id], skip_special_tokens=True) == text
    assert set(tokenizer.all_special_ids) == set(tokenizer.added_tokens_decoder)


def test_another_picture_changes_the_logits(tiny):
    model, processor = tiny
    logits = model(**encode(processor)).logits[0, -1]
    other = model(**encode(processor, picture=draw_picture(seed=1))).logits[0, -1]

    assert difference(other, logits) > 10 * MISTAKE


def test_decoding_step_by_step_gives_the_logits_of_a_fresh_forward(family, tiny):
    model, processor = tiny
    inputs = encode(processor)
    length = inputs["input_ids"].shape[1]
    cache = DynamicCache(config=model.config.get_text_config())
    out = model.generate(
        **inputs, max_new_tokens=6, past_key_values=cache, return_dict_in_generate=True, output_logits=True
    )
    stepwise = torch.stack(out.logits, dim=1)[0]
    whole = append(inputs, out.sequences[:, length:])
    fresh = model(**whole).logits[0, length - 1 : -1]

    assert difference(stepwise, fresh) < ROUNDING
    assert difference(fresh[1:], fresh[:-1]) > 0.5
    assert any(cache.is_sliding) == (family == "gemma3")


@pytest.mark.parametrize(("shift", "right"), [(0, True), (1, False)])
def test_a_wrong_position_shows(tiny, shift, right):
    model, processor = tiny
    inputs = encode(processor)
    length = inputs["input_ids"].shape[1]
    token = torch.tensor([[processor.tokenizer.convert_tokens_to_ids("a")]])
    expected = model(**append(inputs, token)).logits[0, -1]

    cache = DynamicCache(config=model.config.get_text_config())
    model(**inputs, past_key_values=cache)
    position = torch.tensor([[length + shift]])
    deltas = getattr(model.model, "rope_deltas", None)
    if deltas is not None:
        position = (position + deltas).expand(3, 1, 1)
    mask = torch.ones(1, length + 1, dtype=torch.long)
    out = model(input_ids=token, attention_mask=mask, position_ids=position, past_key_values=cache)

    wrong = difference(out.logits[0, -1], expected)
    assert wrong < ROUNDING if right else wrong > MISTAKE


@pytest.mark.parametrize("back", [2, 8])
def test_a_hidden_token_shows(tiny, back):
    model, processor = tiny
    inputs = encode(processor, "What is it? Look at the chart and compare the bars.")
    expected = model(**inputs).logits[0, -1]
    inputs["attention_mask"][0, -back] = 0

    assert difference(model(**inputs).logits[0, -1], expected) > MISTAKE


def test_a_batch_padded_on_the_right_gives_the_logits_of_each_prompt_alone(tiny):
    model, processor = tiny
    questions = ["What is it?", "Look at the chart and compare the bars, step by step."]
    pictures = [draw_picture(), draw_picture(seed=1)]
    batch = processor(
        text=[render(processor, ask(question)) for question in questions],
        images=[[picture] for picture in pictures],
        padding=True,
        padding_side="right",
        return_tensors="pt",
    )
    logits = model(**batch).logits

    assert batch["attention_mask"][0, -1] == 0
    for row, (question, picture) in enumerate(zip(questions, pictures, strict=True)):
        alone = model(**encode(processor, question, picture)).logits[0]
        assert difference(logits[row, : len(alone)], alone) < ROUNDING


def test_a_picture_encoded_beforehand_gives_the_same_logits(tiny):
    model, processor = tiny
    inputs = encode(processor)
    picture = {name: value for name, value in inputs.items() if name not in TEXT_INPUTS}
    features = model.get_image_features(**picture)
    rest = {name: value for name, value in inputs.items() if name != "pixel_values"}

    out = model(**rest, mm_encoder_outputs={"image": features})
    assert difference(out.logits, model(**inputs).logits) < ROUNDING


def test_the_model_does_not_write_picture_placeholders(tiny):
    model, processor = tiny
    logits = model(**encode(processor)).logits

    assert (logits[..., model.config.image_token_id] == 0).all()
    assert (logits.max(dim=-1).values > 2).all()


def test_a_saved_folder_loads(family, tiny, tmp_path):
    model, processor = tiny
    save_tiny(family, tmp_path)
    inputs = encode(processor)

    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    assert difference(loaded(**inputs).logits, model(**inputs).logits) == 0
    if family in FAMILIES_WITH_VIDEO and not is_torchvision_available():
        return
    again = encode(AutoProcessor.from_pretrained(tmp_path))
    assert list(again) == list(inputs)
    assert torch.equal(again["input_ids"], inputs["input_ids"])
    # Where torchvision is installed, it resizes pictures with slightly other rounding.
    assert torch.allclose(again["pixel_values"], inputs["pixel_values"], atol=0.05)
