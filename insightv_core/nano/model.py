"""The embedded small VLM: its tokenizer, processor and architecture, and how it is saved and loaded.

A plain LLaVA (SigLIP tower, two-layer projector, Llama text model) of under five million parameters. What
`save_model` writes is an ordinary checkpoint folder, so `AutoModelForImageTextToText` and `AutoProcessor` load it
like any larger model.
"""

import contextlib
import copy
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from insightv_core import prompts
from insightv_core.errors import UserError

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from transformers import LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast

IMAGE_SIZE = 144  # pixels, both sides
PATCH_SIZE = 12
IMAGE_SIDE = IMAGE_SIZE // PATCH_SIZE  # places in a row or column of a picture
IMAGE_TOKENS = IMAGE_SIDE**2
RESAMPLE = 3  # bicubic: both image backends of transformers have it, whatever is installed
HIDDEN_SIZE = 160
HEADS = 4
MLP_SIZE = 448
VISION_LAYERS = 4
TEXT_LAYERS = 5
CONTEXT_LENGTH = 2048
VOCABULARY_SIZE = 1600
MAX_PARAMETERS = 4_900_000  # in bf16 the weights stay under 10 MB, small enough to ship in the repository

PAD, IMAGE, END = "<pad>", "<image>", "<|end|>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS = (PAD, IMAGE, SYSTEM, USER, ASSISTANT, END)

# The fixed parts of the JSON replies, one token each: the model spends its steps on what varies.
JSON_PARTS = (
    '{"summary": "', '", "content": "', '", "action": "continue"}', '", "action": "summary"}',
    '{"answer": "', '"}',
    '{"paths": [{"id": ', ', "steps": [', '"sound"', '"flawed"', '], "score": ', '}, {"id": ', "}]}",
    '{"verdict": "sound", "answer": "', '{"verdict": "flawed", "answer": "',
    '{"same": true}', '{"same": false}',
)  # fmt: skip
WHOLE_TOKENS = (*prompts.CONSTANTS, *JSON_PARTS)

# A digit is a token of its own, so numbers are read and written digit by digit.
WORD_PATTERN = r" ?[A-Za-z]+| ?[0-9]| ?[^A-Za-z0-9\s]|\s"

# The `generation` block marks what the model itself says, its end mark included, so trainers can mask the rest.
CHAT_TEMPLATE = (
    "{%- macro write(content) -%}"
    "{%- if content is string -%}{{- content -}}{%- else -%}"
    "{%- for part in content -%}"
    "{%- if part['type'] == 'image' -%}{{- '<image>' -}}{%- elif part['type'] == 'text' -%}{{- part['text'] -}}"
    "{%- endif -%}{%- endfor -%}{%- endif -%}{%- endmacro -%}"
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|>' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{- write(message['content']) + '<|end|>' -}}{%- endgeneration -%}"
    "{%- else -%}{{- write(message['content']) -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)

MODELS_FOLDER = Path(__file__).resolve().parents[2] / "data" / "models"
MODEL_NAMES = ("nano-base", "nano-teacher")
MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "processor_config.json")
RESTORE = "run `insightv nano pretrain` or restore it with `git checkout -- data/models`"

SMALLEST_SIDE = 8  # pixels
LARGEST_AREA = 64_000_000  # pixels


def build_tokenizer(texts: Iterable[str], vocab_size: int = VOCABULARY_SIZE) -> "PreTrainedTokenizerFast":
    """Learn a byte-level BPE tokenizer of `vocab_size` tokens in all, which gives back any text byte for byte."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(WHOLE_TOKENS),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_split_whole_tokens(texts), trainer)
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in WHOLE_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens={
            "image_token": IMAGE,
            "system_token": SYSTEM,
            "user_token": USER,
            "assistant_token": ASSISTANT,
        },
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
        chat_template=CHAT_TEMPLATE,
    )


def _split_whole_tokens(texts: Iterable[str]) -> Iterator[str]:
    """Yield the texts without what is one token anyway: merges learned on it would never be used."""
    longest_first = sorted((*WHOLE_TOKENS, *SPECIAL_TOKENS), key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, longest_first)))
    for text in texts:
        yield from filter(None, pattern.split(text))


def build_processor(tokenizer: "PreTrainedTokenizerFast") -> "LlavaProcessor":
    """Return the processor that turns pictures into 144x144 pixels in -1..1 and each `<image>` into 144 tokens."""
    from transformers import LlavaProcessor

    image_processor = _image_processor_class()(
        size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        resample=RESAMPLE,
        do_rescale=True,
        rescale_factor=1 / 255,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        image_token=IMAGE,
        chat_template=CHAT_TEMPLATE,
    )


def _image_processor_class():
    """Return SigLIP's image processor that needs Pillow alone, or the plain one where transformers has no other."""
    try:
        from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

        return SiglipImageProcessorPil
    except ImportError:
        from transformers import SiglipImageProcessor

        return SiglipImageProcessor


def build_model(tokenizer: "PreTrainedTokenizerFast", seed: int = 0) -> "LlavaForConditionalGeneration":
    """Return a new model in float32 for the tokenizer's vocabulary, with weights drawn from `seed`."""
    from transformers import GenerationConfig, LlavaForConditionalGeneration

    model = LlavaForConditionalGeneration(_build_config(tokenizer))
    _initialize_weights(model, seed)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    total = sum(count_parameters(model).values())
    if total > MAX_PARAMETERS:
        raise ValueError(f"the model has {total:,} parameters; at most {MAX_PARAMETERS:,} fit the size limit")
    return model


def _build_config(tokenizer: "PreTrainedTokenizerFast"):
    from transformers import LlamaConfig, LlavaConfig, SiglipVisionConfig

    vision = SiglipVisionConfig(
        image_size=IMAGE_SIZE, patch_size=PATCH_SIZE, hidden_size=HIDDEN_SIZE, intermediate_size=MLP_SIZE,
        num_hidden_layers=VISION_LAYERS, num_attention_heads=HEADS, vision_use_head=False,
    )  # fmt: skip
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    text = LlamaConfig(
        vocab_size=-(-len(tokenizer) // 8) * 8, hidden_size=HIDDEN_SIZE, intermediate_size=MLP_SIZE,
        num_hidden_layers=TEXT_LAYERS, num_attention_heads=HEADS, num_key_value_heads=HEADS,
        max_position_embeddings=CONTEXT_LENGTH, rms_norm_eps=1e-5, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, **special,
    )  # fmt: skip
    return LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=IMAGE_TOKENS, vision_feature_layer=-1, vision_feature_select_strategy="full",
        tie_word_embeddings=True, attn_implementation="sdpa", **special,
    )  # fmt: skip


def _initialize_weights(model: "LlavaForConditionalGeneration", seed: int) -> None:
    """Draw weights with a standard deviation of 0.02, smaller where a layer adds to the residual stream."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    residual_ends = (".o_proj.weight", ".out_proj.weight", ".down_proj.weight", ".fc2.weight")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
            elif name.endswith("patch_embedding.weight"):
                weight.normal_(std=weight[0].numel() ** -0.5, generator=generator)
            elif name.endswith(residual_ends):
                layers = VISION_LAYERS if "vision_tower" in name else TEXT_LAYERS
                weight.normal_(std=0.02 / (2 * layers) ** 0.5, generator=generator)
            else:
                weight.normal_(std=0.02, generator=generator)


def count_parameters(model: "LlavaForConditionalGeneration") -> dict[str, int]:
    """Return the number of parameters of each part; the head is the embedding and counted once."""
    parts = {
        "vision": "model.vision_tower.",
        "projector": "model.multi_modal_projector.",
        "text": "model.language_model.",
    }
    counts = dict.fromkeys((*parts, "embedding"), 0)
    for name, weight in model.named_parameters():
        part = (
            "embedding" if "embed_tokens" in name else next(p for p, start in parts.items() if name.startswith(start))
        )
        counts[part] += weight.numel()
    return counts


def save_model(folder: str | Path, model: "LlavaForConditionalGeneration", processor: "LlavaProcessor") -> None:
    """Write a checkpoint folder with bf16 weights that plain transformers loads; `model` itself stays as it is."""
    import torch

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    small = copy.deepcopy(model).to(device="cpu", dtype=torch.bfloat16)
    small.config.dtype = torch.bfloat16
    with _no_progress_bars():
        small.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # transformers leaves it readable by its owner alone
    processor.save_pretrained(folder)


@contextlib.contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar for work that takes no time."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def load_nano(
    name_or_folder: str | Path = "nano-teacher",
    device: "str | torch.device | None" = None,
    dtype: "torch.dtype | None" = None,
) -> "tuple[LlavaForConditionalGeneration, LlavaProcessor]":
    """Load nano by name ("nano-base", "nano-teacher") or folder, ready to generate.

    `device` is the first CUDA device or else the CPU; `dtype` is bfloat16 on CUDA and float32 on the CPU.
    Raises `UserError` when the folder, a file or the weights are not what is expected.
    """
    import torch

    folder = find_model(name_or_folder)
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model = _load_weights(folder, dtype or (torch.bfloat16 if chosen.type == "cuda" else torch.float32))
    return model.to(chosen).eval(), load_processor(folder)


def find_model(name_or_folder: str | Path) -> Path:
    """Return the folder of a model name or path once it holds every file of a model; `UserError` otherwise."""
    named = str(name_or_folder) in MODEL_NAMES
    folder = MODELS_FOLDER / name_or_folder if named else Path(name_or_folder)
    repair = (
        RESTORE if named else f"give a folder written by `insightv nano pretrain`, or one of {', '.join(MODEL_NAMES)}"
    )
    if not folder.is_dir():
        raise UserError(f"no model folder at {folder}: {repair}")
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise UserError(f"the model folder {folder} lacks {', '.join(missing)}: {repair}")
    return folder


def _load_weights(folder: Path, dtype: "torch.dtype") -> "LlavaForConditionalGeneration":
    from transformers import LlavaForConditionalGeneration

    try:
        with _no_progress_bars():
            model, report = LlavaForConditionalGeneration.from_pretrained(
                folder, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True, local_files_only=True
            )
    except Exception as error:  # the many ways in which a damaged file fails to load all end in the same advice
        raise UserError(f"the model in {folder} cannot be read ({_first_line(error)}): {RESTORE}") from error
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[problem]:
            name = sorted(map(str, report[problem]))[0]
            raise UserError(
                f"the weights in {folder} do not fit its config.json ({problem.replace('_', ' ')}: {name}): {RESTORE}"
            )
    return model


def load_processor(folder: str | Path) -> "LlavaProcessor":
    """Load the processor of a model folder; `UserError` when its files are damaged."""
    from transformers import LlavaProcessor

    try:
        return LlavaProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise UserError(f"the processor in {folder} cannot be read ({_first_line(error)}): {RESTORE}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def prepare_image(image: "Image.Image") -> "Image.Image":
    """Return any picture of at least 8 pixels a side as RGB, upright, with transparent parts on white.

    Raises `UserError` for what is no picture, is damaged, or has less than 8 pixels a side or over 64 megapixels.
    """
    from PIL import Image, ImageOps

    if not isinstance(image, Image.Image):
        raise UserError(
            f"expected a picture (PIL.Image), got {type(image).__name__}: open the file with PIL.Image.open"
        )
    width, height = image.size
    if min(width, height) < SMALLEST_SIDE or width * height > LARGEST_AREA:
        raise UserError(
            f"the picture has {width}x{height} pixels; give one with at least {SMALLEST_SIDE} pixels a side "
            f"and at most {LARGEST_AREA // 1_000_000} megapixels"
        )
    try:
        image = ImageOps.exif_transpose(image)
    except (OSError, SyntaxError) as error:
        raise UserError(f"the picture cannot be read ({_first_line(error)}): save it again or give another") from error
    return _convert_to_rgb(image)


def _convert_to_rgb(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        return _spread_to_bytes(image).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _spread_to_bytes(image: "Image.Image") -> "Image.Image":
    """Map deep grey levels (16 or 32 bit, or floating point) to 0..255, where Pillow itself would cut them off."""
    import numpy as np
    from PIL import Image

    levels = np.nan_to_num(np.asarray(image, dtype=np.float64))
    highest = levels.max()
    if image.mode == "F":
        scale = 255.0 if highest <= 1 else 1.0
    else:
        scale = 255 / 65535 if image.mode.startswith("I;16") or highest > 255 else 1.0
    return Image.fromarray(np.clip(np.rint(levels * scale), 0, 255).astype(np.uint8))
