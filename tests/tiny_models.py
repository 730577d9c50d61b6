"""Tiny image-text models of real families, with random weights, for tests of what must hold for any such model.

Every class is the one a downloaded checkpoint of the family would use; only sizes, vocabulary and weights differ. The
weights are large on purpose: a token at a wrong position, or seen where it should be masked, changes the logits by
far more than rounding does.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

FAMILIES = ("llava", "llava-next", "llava-onevision", "qwen2.5-vl", "qwen3-vl", "smolvlm", "gemma3")
# Their processors hold a video processor, which transformers can load only where torchvision is installed.
FAMILIES_WITH_VIDEO = ("llava-onevision", "qwen2.5-vl", "qwen3-vl", "smolvlm")

HIDDEN_SIZE = 64
HEADS = 4
HEAD_SIZE = HIDDEN_SIZE // HEADS
MLP_SIZE = 96
LAYERS = 2
IMAGE_SIZE = 56  # pixels, one tile of the families that see pictures of one fixed size
PATCH_SIZE = 14
TILE_TOKENS = (IMAGE_SIZE // PATCH_SIZE) ** 2
CONTEXT_LENGTH = 4096
LARGEST_VOCABULARY = 480
SLIDING_WINDOW = 8  # tokens; short, so that any prompt is longer
PIXEL_MEAN_AND_STD = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}

SENTENCES = (
    "What does the picture show? Look at the chart and answer with one word.",
    "Think step by step. First describe the image, then compare the bars, then give the final answer.",
    "The tallest bar is red and the smallest bar is blue, so the difference between them is seven.",
    '{"summary": "Read the bars", "content": "Mia has 12, Leo has 7.", "action": "continue"}',
)

# Writes a message's text; a picture becomes the family's placeholder, in the place where it stands.
WRITE_MACRO = (
    "{%- macro write(content) -%}{%- if content is string -%}{{- content -}}{%- else -%}{%- for part in content -%}"
    "{%- if part['type'] == 'image' -%}{{- 'IMAGE' -}}{%- elif part['type'] == 'text' -%}{{- part['text'] -}}"
    "{%- endif -%}{%- endfor -%}{%- endif -%}{%- endmacro -%}"
)
VICUNA_TEMPLATE = WRITE_MACRO + (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{- write(message['content']) + ' ' -}}"
    "{%- elif message['role'] == 'user' -%}{{- 'USER: ' + write(message['content']) + ' ' -}}"
    "{%- else -%}{{- 'ASSISTANT: ' + write(message['content']) + eos_token -}}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- 'ASSISTANT: ' -}}{%- endif -%}"
)
MISTRAL_TEMPLATE = WRITE_MACRO + (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{- '<<SYS>>\n' + write(message['content']) + '\n<</SYS>>\n\n' -}}"
    "{%- elif message['role'] == 'user' -%}{{- '[INST] ' + write(message['content']) + ' [/INST]' -}}"
    "{%- else -%}{{- write(message['content']) + eos_token -}}{%- endif -%}{%- endfor -%}"
)
CHATML_TEMPLATE = WRITE_MACRO + (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\n' + write(message['content']) + '<|im_end|>\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)
# Qwen2.5-VL speaks for itself where no system message is given.
QWEN25_TEMPLATE = (
    "{%- if messages[0]['role'] != 'system' -%}"
    "{{- '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' -}}{%- endif -%}" + CHATML_TEMPLATE
)
SMOLVLM_TEMPLATE = WRITE_MACRO + (
    "{{- '<|im_start|>' -}}{%- for message in messages -%}"
    "{{- (message['role'] | capitalize) + ': ' + write(message['content']) + eos_token + '\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- 'Assistant:' -}}{%- endif -%}"
)
GEMMA_TEMPLATE = WRITE_MACRO + (
    "{{- bos_token -}}{%- for message in messages -%}"
    "{{- '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\n' -}}"
    "{{- write(message['content']) + eos_token + '\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<start_of_turn>model\n' -}}{%- endif -%}"
)


def build_tiny(family: str, seed: int = 0) -> tuple[Any, Any]:
    """Return a model (float32, sdpa attention, eval mode) and its processor; the same seed gives the same weights."""
    import torch

    model_class, config, processor, placeholders = _builders()[family]()
    config._attn_implementation = "sdpa"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config)
        _amplify(model)
    _silence(model, processor.tokenizer, placeholders)
    _set_generation_defaults(model, processor.tokenizer)
    return model.float().eval(), processor


def save_tiny(family: str, folder: str | Path, seed: int = 0) -> None:
    """Write a checkpoint folder for AutoModelForImageTextToText and AutoProcessor.

    `AutoProcessor` loads those of FAMILIES_WITH_VIDEO only where torchvision is installed, as with any such checkpoint.
    """
    model, processor = build_tiny(family, seed)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _builders() -> dict[str, Callable[[], tuple[type, Any, Any, Sequence[str]]]]:
    """Map each family to what builds its model class, config, processor and picture placeholders."""
    return {
        "llava": _build_llava,
        "llava-next": _build_llava_next,
        "llava-onevision": _build_llava_onevision,
        "qwen2.5-vl": _build_qwen25,
        "qwen3-vl": _build_qwen3,
        "smolvlm": _build_smolvlm,
        "gemma3": _build_gemma3,
    }


def _build_llava():
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = _build_tokenizer(
        ["<unk>", "<s>", "</s>", "<pad>", "<image>"], eos="</s>", pad="<pad>", bos="<s>", adds_bos=True, image="<image>"
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": IMAGE_SIZE},
            crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
            **PIXEL_MEAN_AND_STD,
        ),
        tokenizer=tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_fill(VICUNA_TEMPLATE, "<image>\n"),
    )
    config = LlavaConfig(
        vision_config=_clip_config(),
        text_config=_text_sizes(tokenizer) | {"model_type": "llama"},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=TILE_TOKENS,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    return LlavaForConditionalGeneration, config, processor, ["<image>"]


def _build_llava_next():
    from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration, LlavaNextProcessor
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    tokenizer = _build_tokenizer(
        ["<unk>", "<s>", "</s>", "<pad>", "<image>"], eos="</s>", pad="<pad>", bos="<s>", adds_bos=True, image="<image>"
    )
    tiles = [[IMAGE_SIZE, 2 * IMAGE_SIZE], [2 * IMAGE_SIZE, IMAGE_SIZE], [2 * IMAGE_SIZE, 2 * IMAGE_SIZE]]
    processor = LlavaNextProcessor(
        image_processor=LlavaNextImageProcessorPil(
            size={"shortest_edge": IMAGE_SIZE},
            crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
            image_grid_pinpoints=tiles,
            **PIXEL_MEAN_AND_STD,
        ),
        tokenizer=tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_fill(MISTRAL_TEMPLATE, "<image>\n"),
    )
    config = LlavaNextConfig(
        vision_config=_clip_config(),
        text_config=_text_sizes(tokenizer) | {"model_type": "llama"},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=TILE_TOKENS,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_grid_pinpoints=tiles,
    )
    return LlavaNextForConditionalGeneration, config, processor, ["<image>"]


def _build_llava_onevision():
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionProcessor,
        Qwen2Config,
    )
    from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

    tokenizer = _build_tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"],
        eos="<|im_end|>", pad="<|endoftext|>", image="<image>", video="<video>",
    )  # fmt: skip
    sides = (IMAGE_SIZE, 2 * IMAGE_SIZE)
    tiles = [[height, width] for height in sides for width in sides]
    processor = _with_video_stand_in(
        LlavaOnevisionProcessor,
        image_processor=LlavaOnevisionImageProcessorPil(
            size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}, image_grid_pinpoints=tiles, **PIXEL_MEAN_AND_STD
        ),
        tokenizer=tokenizer,
        video_processor="LlavaOnevisionVideoProcessor",
        num_image_tokens=TILE_TOKENS,
        vision_feature_select_strategy="full",
        chat_template=_fill(CHATML_TEMPLATE, "<image>\n"),
    )
    config = LlavaOnevisionConfig(
        vision_config=_siglip_config(PATCH_SIZE),
        text_config=Qwen2Config(**_text_sizes(tokenizer), max_window_layers=LAYERS),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=tiles,
    )
    return LlavaOnevisionForConditionalGeneration, config, processor, ["<image>", "<video>"]


def _build_qwen25():
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

    tokenizer, parts, tokens = _build_qwen_parts()
    processor = _with_video_stand_in(Qwen2_5_VLProcessor, **parts, chat_template=_fill(QWEN25_TEMPLATE, _QWEN_IMAGE))
    config = Qwen2_5_VLConfig(
        vision_config=_qwen_vision_sizes() | {"window_size": 32, "fullatt_block_indexes": [1]},
        text_config=_text_sizes(tokenizer) | _mrope([2, 3, 3]),
        **tokens,
    )
    return Qwen2_5_VLForConditionalGeneration, config, processor, ["<|image_pad|>", "<|video_pad|>"]


def _build_qwen3():
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

    tokenizer, parts, tokens = _build_qwen_parts()
    processor = _with_video_stand_in(Qwen3VLProcessor, **parts, chat_template=_fill(CHATML_TEMPLATE, _QWEN_IMAGE))
    config = Qwen3VLConfig(
        vision_config=_qwen_vision_sizes() | {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]},
        text_config=_text_sizes(tokenizer) | {"head_dim": HEAD_SIZE} | _mrope([4, 2, 2], mrope_interleaved=True),
        **tokens,
    )
    return Qwen3VLForConditionalGeneration, config, processor, ["<|image_pad|>", "<|video_pad|>"]


_QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
_QWEN_PATCH = 8  # pixels; 64x64 pixels become 8x8 patches, which merge to 16 tokens


def _build_qwen_parts():
    """Return the tokenizer, the processor's parts and the special token ids that both Qwen families share."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    tokenizer = _build_tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>",
         "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"],
        eos="<|im_end|>", pad="<|endoftext|>", image="<|image_pad|>", video="<|video_pad|>",
    )  # fmt: skip
    parts = {
        "image_processor": Qwen2VLImageProcessorPil(
            size={"shortest_edge": 32 * 32, "longest_edge": 96 * 96}, patch_size=_QWEN_PATCH, **PIXEL_MEAN_AND_STD
        ),
        "tokenizer": tokenizer,
        "video_processor": "Qwen2VLVideoProcessor",
    }
    names = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    return tokenizer, parts, {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


def _qwen_vision_sizes() -> dict[str, Any]:
    return {
        "depth": LAYERS,
        "hidden_size": HIDDEN_SIZE,
        "intermediate_size": MLP_SIZE,
        "num_heads": HEADS,
        "patch_size": _QWEN_PATCH,
        "out_hidden_size": HIDDEN_SIZE,
    }


def _mrope(section: list[int], **options: Any) -> dict[str, Any]:
    """Rotary positions of three axes; `section` says how many of the head's frequencies each axis has."""
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": section, **options}}


def _build_smolvlm():
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMProcessor
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    tiles = [f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)]
    tokenizer = _build_tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<end_of_utterance>",
         "<fake_token_around_image>", "<global-img>", "<image>", *tiles],
        eos="<end_of_utterance>", pad="<|endoftext|>", image="<image>",
    )  # fmt: skip
    patch, scale = 7, 2
    processor = _with_video_stand_in(
        SmolVLMProcessor,
        image_processor=SmolVLMImageProcessorPil(
            size={"longest_edge": 2 * IMAGE_SIZE}, max_image_size={"longest_edge": IMAGE_SIZE}, **PIXEL_MEAN_AND_STD
        ),
        tokenizer=tokenizer,
        video_processor="SmolVLMVideoProcessor",
        image_seq_len=(IMAGE_SIZE // patch // scale) ** 2,
        chat_template=_fill(SMOLVLM_TEMPLATE, "<image>"),
    )
    config = SmolVLMConfig(
        vision_config=_vision_sizes(patch),
        text_config=_text_sizes(tokenizer) | {"model_type": "llama"},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        scale_factor=scale,
    )
    return SmolVLMForConditionalGeneration, config, processor, ["<image>"]


def _build_gemma3():
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Processor, Gemma3TextConfig
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    tokenizer = _build_tokenizer(
        ["<pad>", "<bos>", "<start_of_turn>", "<end_of_turn>",
         "<start_of_image>", "<end_of_image>", "<image_soft_token>"],
        eos="<end_of_turn>", pad="<pad>", bos="<bos>", image="<image_soft_token>",
        boi="<start_of_image>", eoi="<end_of_image>",
    )  # fmt: skip
    processor = Gemma3Processor(
        image_processor=Gemma3ImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}, **PIXEL_MEAN_AND_STD),
        tokenizer=tokenizer,
        image_seq_length=TILE_TOKENS,
        chat_template=_fill(GEMMA_TEMPLATE, "<start_of_image>"),
    )
    text = Gemma3TextConfig(
        **_text_sizes(tokenizer),
        head_dim=HEAD_SIZE,
        query_pre_attn_scalar=HEAD_SIZE,
        sliding_window=SLIDING_WINDOW,
        layer_types=["sliding_attention", "full_attention"],
    )
    config = Gemma3Config(
        vision_config=_siglip_config(PATCH_SIZE // 2),
        text_config=text,
        mm_tokens_per_image=TILE_TOKENS,
        tie_word_embeddings=False,
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
    )
    return Gemma3ForConditionalGeneration, config, processor, ["<start_of_image>", "<image_soft_token>"]


def _fill(template: str, image: str) -> str:
    return template.replace("'IMAGE'", repr(image))


def _build_tokenizer(
    special_tokens: Sequence[str], eos: str, pad: str, bos: str | None = None, adds_bos: bool = False, **named: str
):
    """Learn a byte-level tokenizer on a few sentences; `named` gives it attributes such as `image_token`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(
            vocab_size=LARGEST_VOCABULARY,
            special_tokens=list(special_tokens),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if adds_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        extra_special_tokens={f"{name}_token": token for name, token in named.items()},
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
    )
    unnamed = [token for token in special_tokens if token not in wrapped.all_special_tokens]
    wrapped.add_special_tokens({"extra_special_tokens": unnamed})
    return wrapped


def _with_video_stand_in(processor_class: type, video_processor: str, **parts: Any):
    """Build a processor with a stand-in that reads no video: the real ones cannot be built without torchvision.

    Without torchvision the processor's check of its parts fails too, so it is left out.
    """
    from transformers.video_processing_utils import BaseVideoProcessor

    class VideoStandIn(BaseVideoProcessor):
        num_frames = None
        fps = None

        def __init__(self):
            pass

        def to_dict(self) -> dict[str, Any]:
            return {"video_processor_type": video_processor}

    with mock.patch.object(processor_class, "check_argument_for_proper_class"):
        return processor_class(video_processor=VideoStandIn(), **parts)


def _text_sizes(tokenizer) -> dict[str, Any]:
    """Options that every family's text config has; the vocabulary holds no number without a token."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN_SIZE,
        "intermediate_size": MLP_SIZE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS // 2,
        "max_position_embeddings": CONTEXT_LENGTH,
        "tie_word_embeddings": False,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _vision_sizes(patch_size: int) -> dict[str, Any]:
    return {
        "image_size": IMAGE_SIZE,
        "patch_size": patch_size,
        "hidden_size": HIDDEN_SIZE,
        "intermediate_size": MLP_SIZE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
    }


def _clip_config():
    from transformers import CLIPVisionConfig

    return CLIPVisionConfig(**_vision_sizes(PATCH_SIZE), projection_dim=HIDDEN_SIZE)


def _siglip_config(patch_size: int):
    from transformers import SiglipVisionConfig

    return SiglipVisionConfig(**_vision_sizes(patch_size), vision_use_head=False)


def _amplify(model) -> None:
    """Draw weights that keep activations near one and let every seen token tell in the logits.

    Sharper attention than this would look at one token alone, and hide a mistake made with the others.
    """
    import torch

    factor = getattr(model.get_input_embeddings(), "scalar_embed_scale", 1.0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.add_(torch.randn_like(weight), alpha=0.3)
            elif "embed_tokens" in name:
                weight.normal_(std=1 / factor)
            elif "embed" in name and "patch" not in name:
                weight.normal_()
            else:
                weight.normal_(std=(2.0 if "lm_head" in name else 1.0) * weight[0].numel() ** -0.5)


def _silence(model, tokenizer, placeholders: Sequence[str]) -> None:
    """Keep the model from writing picture placeholders, which would stand for pictures that were never given."""
    import torch

    with torch.no_grad():
        for token in placeholders:
            model.get_output_embeddings().weight[tokenizer.convert_tokens_to_ids(token)] = 0


def _set_generation_defaults(model, tokenizer) -> None:
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(
        do_sample=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
