"""The embedded model as others meet it: text round trips, chat format, checkpoint folders, damage, odd pictures."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from insightv_core import prompts
from insightv_core.errors import UserError
from insightv_core.nano import model as nano

STEP = '{"summary": "Read the bars", "content": "Mia has 12, Leo has 7.", "action": "continue"}'
JUDGED = (
    '{"paths": [{"id": 1, "steps": ["sound", "flawed"], "score": 45}, {"id": 2, "steps": ["sound"], "score": 100}]}'
)
WRITTEN = (
    STEP,
    STEP.replace("continue", "summary"),
    '{"answer": "12"}',
    '{"verdict": "flawed", "answer": "B"}',
    '{"verdict": "sound", "answer": "7"}',
    JUDGED,
    '{"same": true}',
    '{"same": false}',
    "There are 3 rows.\nRow 1: a red circle, empty, a blue star.\nAnswer: 3",
)


@pytest.fixture(scope="module")
def tokenizer():
    return nano.build_tokenizer([*WRITTEN, *prompts.CONSTANTS] * 5, vocab_size=340)


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "nano"
    nano.save_model(folder, nano.build_model(tokenizer, seed=3), nano.build_processor(tokenizer))
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "nano")


def chat(image=True):
    return [
        *prompts.ask("How many bars are above 12?", prompts.GENERATE, described=None if image else "Three bars."),
        prompts.assistant(STEP),
        prompts.user(prompts.CONTINUE),
        prompts.assistant("caf\u00e9\n"),
    ]


@pytest.mark.parametrize(
    "text", [*WRITTEN, "caf\u00e9 \u4e2d\u6587 \U0001f600", "  two  spaces\t\r\n\n", "x\x00\x7f", ' "}{"answer": ""}']
)
def test_any_text_comes_back_byte_for_byte(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tokenizer.encode(tokenizer.decode(ids)) == ids


def test_fixed_texts_are_one_token_each(tokenizer):
    for text in (*prompts.CONSTANTS, *nano.JSON_PARTS, *nano.SPECIAL_TOKENS):
        assert len(tokenizer.encode(text)) == 1, text
    tokens = tokenizer.convert_ids_to_tokens(tokenizer.encode('{"answer": "-407"}'))
    assert tokens == ['{"answer": "', "-", "4", "0", "7", '"}']
    assert len(tokenizer.encode(" 12")) == 2
    assert len(tokenizer) == 340


def test_rows_of_a_batch_end_together(tokenizer):
    mask = nano.build_processor(tokenizer)(text=["a", "a b c"], padding=True, return_tensors="pt")["attention_mask"]
    assert mask[:, -1].tolist() == [1, 1] and mask[0, 0] == 0


def test_chat_template_writes_turns_and_marks_what_the_model_says(tokenizer):
    messages = chat()
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert text == (
        f"<|system|>{prompts.SYSTEM}<|user|><image>How many bars are above 12?\n{prompts.GENERATE}"
        f"<|assistant|>{STEP}<|end|><|user|>{prompts.CONTINUE}<|assistant|>caf\u00e9\n<|end|>"
    )
    asked = tokenizer.apply_chat_template(messages[:2], tokenize=False, add_generation_prompt=True)
    assert text.startswith(asked) and asked.endswith("<|assistant|>")
    plain = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    assert tokenizer.apply_chat_template(plain, tokenize=False) == "<|user|>Hi<|assistant|>Ho<|end|>"


def test_processor_expands_the_picture_and_masks_all_but_the_replies(tokenizer):
    processor = nano.build_processor(tokenizer)
    messages = chat()
    picture = Image.new("RGB", (448, 448), (255, 0, 0))
    messages[1]["content"][0] = {"type": "image", "image": picture}
    made = processor.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_tensors="pt", return_assistant_tokens_mask=True
    )
    assert (made["input_ids"] == tokenizer.image_token_id).sum() == nano.IMAGE_TOKENS == 144
    assert made["pixel_values"].shape == (1, 3, 144, 144)
    assert made["pixel_values"][0, :, 7, 7].tolist() == [1, -1, -1]
    said = made["input_ids"][torch.as_tensor(made["assistant_masks"]).bool()]
    assert tokenizer.decode(said) == f"{STEP}<|end|>caf\u00e9\n<|end|>"


def test_largest_vocabulary_stays_within_the_size_limit():
    class Tokenizer:
        pad_token_id, eos_token_id = 0, 5

        def __len__(self):
            return nano.VOCABULARY_SIZE

        def convert_tokens_to_ids(self, _token):
            return 1

    counts = nano.count_parameters(nano.build_model(Tokenizer()))
    assert sum(counts.values()) <= 4_900_000
    assert 0.3 < counts["vision"] / sum(counts.values()) < 0.5


def test_saved_folder_loads_with_plain_transformers(folder):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    assert (folder / "model.safetensors").stat().st_size < 10_000_000
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    assert type(processor.image_processor).__name__ == "SiglipImageProcessorPil"
    assert processor.chat_template == processor.tokenizer.chat_template == nano.CHAT_TEMPLATE
    assert model.dtype == torch.bfloat16
    assert model.lm_head.weight is model.get_input_embeddings().weight
    text = processor.apply_chat_template(chat()[:2], tokenize=False, add_generation_prompt=True)
    pictures = [Image.new("RGB", (448, 448), color) for color in ("red", "blue")]
    inputs = processor(text=[text, text], images=pictures, return_tensors="pt")
    assert model.generate(**inputs, max_new_tokens=2).shape[1] == inputs["input_ids"].shape[1] + 2
    logits = model(**inputs).logits
    assert not torch.equal(logits[0, -1], logits[1, -1]), "the picture must reach the answer"


def test_load_nano_gives_the_saved_weights_ready_to_generate(folder, tokenizer, capfd):
    model, processor = nano.load_nano(folder, device="cpu")
    assert capfd.readouterr() == ("", "")
    assert not model.training and model.dtype == torch.float32
    expected = nano.build_model(tokenizer, seed=3).state_dict()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, expected[name].bfloat16().float()), name
    assert model.generation_config.eos_token_id == processor.tokenizer.eos_token_id
    assert nano.load_nano(folder, device="cpu", dtype=torch.bfloat16)[0].dtype == torch.bfloat16


def test_unknown_folder_and_names(tmp_path, monkeypatch):
    monkeypatch.setattr(nano, "MODELS_FOLDER", tmp_path)
    with pytest.raises(UserError, match=r"no model folder at .*nano-base: run `insightv nano pretrain`"):
        nano.load_nano("nano-base")
    with pytest.raises(UserError, match="no model folder at nano-huge: give a folder"):
        nano.load_nano("nano-huge")


def drop_tensor(path):
    weights = load_file(path)
    weights.pop(next(name for name in weights if name.endswith("layers.0.mlp.up_proj.weight")))
    save_file(weights, path, metadata={"format": "pt"})


def reshape_tensor(path):
    weights = load_file(path)
    name = next(name for name in weights if name.endswith("layers.0.mlp.up_proj.weight"))
    weights[name] = weights[name][:100].clone()
    save_file(weights, path, metadata={"format": "pt"})


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("model.safetensors", truncate, "cannot be read"),
        ("model.safetensors", lambda path: path.write_bytes(b""), "cannot be read"),
        ("model.safetensors", lambda path: path.unlink(), "lacks model.safetensors"),
        ("model.safetensors", drop_tensor, r"do not fit its config.json \(missing keys: .*up_proj"),
        ("model.safetensors", reshape_tensor, r"do not fit its config.json \(mismatched keys: .*up_proj"),
        ("tokenizer.json", truncate, "cannot be read"),
        ("processor_config.json", lambda path: path.unlink(), "lacks processor_config.json"),
        ("config.json", lambda path: path.write_text("{"), "cannot be read"),
    ],
)
def test_damaged_folder_is_one_line_that_says_what_to_do(copy, file, damage, message):
    damage(copy / file)
    with pytest.raises(UserError, match=message) as caught:
        nano.load_nano(copy, device="cpu")
    assert "\n" not in str(caught.value) and re.search("pretrain", str(caught.value))


def grey(mode, level):
    return Image.fromarray(np.full((20, 30), level, dtype={"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))


def palette_with_hole():
    picture = Image.new("P", (30, 20), 1)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.info["transparency"] = 1
    return picture


@pytest.mark.parametrize(
    ("picture", "color"),
    [
        (Image.new("RGB", (30, 20), (10, 20, 30)), (10, 20, 30)),
        (Image.new("CMYK", (30, 20), (255, 0, 0, 0)), (0, 255, 255)),
        (grey("I;16", 32896), (128, 128, 128)),
        (grey("I", 65535), (255, 255, 255)),
        (grey("I", 200), (200, 200, 200)),
        (grey("F", 0.5), (128, 128, 128)),
        (grey("F", 77.0), (77, 77, 77)),
        (palette_with_hole(), (255, 255, 255)),
        (Image.new("LA", (30, 20), (0, 0)), (255, 255, 255)),
        (Image.new("LA", (30, 20), (40, 255)), (40, 40, 40)),
        (Image.new("RGBA", (30, 20), (255, 0, 0, 128)), (255, 127, 127)),
        (Image.new("1", (30, 20), 1), (255, 255, 255)),
        (Image.new("L", (8, 8), 9), (9, 9, 9)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else None,
)
def test_any_picture_becomes_rgb(picture, color):
    made = nano.prepare_image(picture)
    assert made.mode == "RGB" and made.size == picture.size
    assert made.getpixel((3, 3)) == pytest.approx(color, abs=1)


def test_photo_is_turned_upright():
    picture = Image.new("RGB", (30, 20))
    picture.getexif()[0x0112] = 6
    assert nano.prepare_image(picture).size == (20, 30)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        ("chart.png", "expected a picture .* got str"),
        (np.zeros((20, 20, 3)), "got ndarray"),
        (Image.new("RGB", (7, 100)), "7x100 pixels"),
        (Image.new("1", (8001, 8000)), "at most 64 megapixels"),
    ],
)
def test_what_is_no_usable_picture_is_refused(picture, message):
    with pytest.raises(UserError, match=message):
        nano.prepare_image(picture)


def test_cut_off_file_is_refused(tmp_path):
    path = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(UserError, match="cannot be read"):
        nano.prepare_image(Image.open(path))


def test_import_loads_neither_torch_nor_transformers():
    code = "import sys, insightv_core.nano.training.pretrain; print({'torch', 'transformers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
