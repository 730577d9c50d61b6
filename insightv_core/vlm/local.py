"""Any transformers image-text model in this process, from a folder or the hub."""

import contextlib
import hashlib
import inspect
import json
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from insightv_core import prompts
from insightv_core.errors import UserError
from insightv_core.nano.model import MODEL_NAMES, find_model
from insightv_core.records import ModelVersion, Sampling
from insightv_core.vlm import Conversation, Event, Talk, Usage, load_picture
from insightv_core.vlm.engine import Engine, add_usage

if TYPE_CHECKING:
    import torch

    from insightv_core.vlm.cache import SlotCache
    from insightv_core.vlm.grammar import Grammar

    Layers = list[tuple[torch.Tensor, torch.Tensor]]

SMALL_MODEL = 100_000_000  # parameters; below, float32 costs nothing and makes draws the same in batches of any size
HASHED_WHOLE = 1 << 30  # bytes of weights up to which all of them are hashed
WEIGHTS = ("*.safetensors", "*.bin")
MARK = "\ue000reply\ue000"  # stands for a reply while a chat template is asked what comes after one


class LocalVLM:
    """A model and its processor, ready to hold conversations.

    `row_limit` conversations decode together. One thread at a time: a second `converse` waits for the first to end.
    """

    def __init__(self, model, processor, version: ModelVersion, *, row_limit: int | None = None):
        self.model, self.processor, self.version = model.eval(), processor, version
        self.tokenizer = processor.tokenizer
        self.text_config = model.config.get_text_config()
        self.context_length = getattr(self.text_config, "max_position_embeddings", None) or 1 << 30
        self.ends = find_ends(model, self.tokenizer)
        self.reuses_cache = can_reuse_cache(self.text_config)
        self.row_limit = row_limit or choose_row_limit(model)
        self.accepted = set(inspect.signature(model.forward).parameters)
        self.adapters: set[str] = set()
        self.lock = threading.Lock()
        self.used = Usage()
        self.turns = lru_cache(maxsize=64)(self._turn_tokens)

    # -- the protocol ----------------------------------------------------------------------------------------------

    def converse(
        self,
        talks: Iterable[Talk],
        sampling: Sampling,
        *,
        adapter: str | None = None,
        listen: Callable[[Event], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Iterator[Conversation]:
        """Hold the talks, many rows at a time; see `VLM.converse`."""
        with self.lock, self._with_adapter(adapter):
            if self.reuses_cache:
                yield from Engine(self, iter(talks), sampling, listen).run(stop or (lambda: False))
            else:
                from insightv_core.vlm.fallback import hold_talks

                yield from hold_talks(self, iter(talks), sampling, listen, stop or (lambda: False))

    def usage(self) -> Usage:
        """Return what has been computed so far."""
        return self.used

    # -- what the engine needs -------------------------------------------------------------------------------------

    def read_prompt(self, talk: Talk) -> tuple[list[int], dict]:
        """Return a talk's opening as token ids, and the processor's tensors for its pictures.

        Raises ValueError when a picture cannot be read or the prompt is longer than the model's context.
        """
        text = self.processor.apply_chat_template(list(talk.messages), add_generation_prompt=True, tokenize=False)
        pictures = [load_picture(source) for source in talk.images]
        if pictures:
            inputs = dict(self.processor(text=[text], images=[pictures], return_tensors="pt"))
        else:
            inputs = {"input_ids": self.tokenizer([text], return_tensors="pt", add_special_tokens=False)["input_ids"]}
        ids = inputs.pop("input_ids")[0].tolist()
        if len(ids) + 2 > self.context_length:
            raise ValueError(f"the prompt has {len(ids)} tokens, the model's context {self.context_length}")
        inputs.pop("attention_mask", None)
        return ids, {name: value for name, value in inputs.items() if name in self.accepted}

    def prefill(self, batch: list[tuple[list[int], dict]]) -> "list[tuple[Layers, torch.Tensor, int]]":
        """Pass prompts through the model: keys and values of each, the logits after it, and its shift of positions.

        Prompts are padded on the right, where causal attention never looks.
        """
        self.count(prefill_tokens=sum(len(ids) for ids, _ in batch), images=sum(map(count_images, batch)))
        if self._rope_holder is None and can_stack([pictures for _, pictures in batch]):
            return self._prefill_together(batch)
        return [passed for each in batch for passed in self._prefill_together([each])]

    def _prefill_together(self, batch: list[tuple[list[int], dict]]) -> "list[tuple[Layers, torch.Tensor, int]]":
        import torch
        from transformers import DynamicCache

        lengths = [len(ids) for ids, _ in batch]
        ids = torch.full((len(batch), max(lengths)), self.tokenizer.pad_token_id or 0)
        for row, (own, _) in enumerate(batch):
            ids[row, : len(own)] = torch.tensor(own)
        last = sorted({length - 1 for length in lengths})
        mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
        cache = DynamicCache()
        output = self.model(
            input_ids=ids.to(self.device), attention_mask=mask.to(self.device),
            **self._stack_pictures([pictures for _, pictures in batch], max(lengths)),
            past_key_values=cache, use_cache=True, logits_to_keep=torch.tensor(last, device=self.device),
        )  # fmt: skip
        shift = 0 if self._rope_holder is None else int(self._rope_holder.rope_deltas.flatten()[0])
        return [
            (
                [(layer.keys[row, :, :length], layer.values[row, :, :length]) for layer in cache.layers],
                output.logits[row, last.index(length - 1)].float(),
                shift,
            )
            for row, length in enumerate(lengths)
        ]

    def _stack_pictures(self, pictures: list[dict], length: int) -> dict:
        import torch

        stacked = {}
        for name in pictures[0]:
            tensors = [each[name] for each in pictures]
            if name == "mm_token_type_ids":  # one for each token
                tensors = [torch.nn.functional.pad(each, (0, length - each.shape[1])) for each in tensors]
            joined = torch.cat(tensors).to(self.device)
            stacked[name] = joined.to(self.model.dtype) if joined.is_floating_point() else joined
        return stacked

    def decode(self, cache: "SlotCache", rows: list[int], tokens: list[int], positions: list[int]) -> "torch.Tensor":
        """Feed one token to each of these rows of the cache; return (rows, vocabulary) logits."""
        import torch

        cache.aim(rows)
        output = self.model(
            input_ids=torch.tensor(tokens, device=self.device)[:, None],
            # What a row may see is the cache's own business; a mask in its final form keeps one from being made.
            attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=self.device),
            position_ids=self._as_positions(torch.tensor(positions, device=self.device)[:, None]),
            past_key_values=cache, use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        return output.logits[:, -1]

    def extend(
        self, cache: "SlotCache", rows: list[int], turns: list[list[int]], positions: list[int]
    ) -> "torch.Tensor":
        """Feed several tokens to some rows at once, from these positions on; return the logits after each turn."""
        import torch

        width = max(map(len, turns))
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        for place, turn in enumerate(turns):
            ids[place, : len(turn)] = torch.tensor(turn)
        chunk, held = cache.gather(rows)
        steps = torch.arange(width, device=self.device)
        fresh = (steps <= steps[:, None]).expand(len(rows), -1, -1)
        last = sorted({len(turn) - 1 for turn in turns})
        output = self.model(
            input_ids=ids.to(self.device),
            attention_mask=torch.cat([held[:, None].expand(-1, width, -1), fresh], dim=2)[:, None],
            position_ids=self._as_positions(torch.tensor(positions, device=self.device)[:, None] + steps),
            past_key_values=chunk, use_cache=True, logits_to_keep=torch.tensor(last, device=self.device),
        )  # fmt: skip
        cache.scatter(rows, [len(turn) for turn in turns], chunk)
        return torch.stack([output.logits[place, last.index(len(turn) - 1)] for place, turn in enumerate(turns)])

    def turn_tokens(self, turn: str, *, ended: bool) -> list[int]:
        """Return the tokens from the end of a reply to the start of the next; the end mark itself where it is due."""
        tokens = self.turns(turn)
        return list(tokens[1:] if ended and tokens and tokens[0] in self.ends else tokens)

    def decode_text(self, tokens: list[int]) -> str:
        """Return the text of a reply's tokens, byte for byte."""
        return self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def new_cache(self) -> "SlotCache":
        """Return an empty cache, which the model is told how to attend to."""
        from insightv_core.vlm.cache import SlotCache, use_slotted_attention

        use_slotted_attention(self.model.get_decoder())
        return SlotCache(self.text_config.num_hidden_layers, self.device)

    def grammar(self) -> "Grammar":
        """Return the vocabulary for constrained replies."""
        return self._grammar

    def count(self, **counts: int) -> None:
        """Add to the usage."""
        self.used = add_usage(self.used, **counts)

    def count_seen(self, ids: list[int]) -> "torch.Tensor":
        """Return a mask over the vocabulary of the tokens that occur."""
        import torch

        seen = torch.zeros(self.vocabulary, dtype=torch.bool, device=self.device)
        seen[ids] = True
        return seen

    # -- inside ----------------------------------------------------------------------------------------------------

    @property
    def device(self) -> "torch.device":
        """The device of the weights."""
        return self.model.device

    @cached_property
    def vocabulary(self) -> int:
        """The number of logits."""
        return self.model.get_output_embeddings().weight.shape[0]

    @cached_property
    def _grammar(self) -> "Grammar":
        from insightv_core.vlm.grammar import Grammar

        return Grammar(self.tokenizer, self.vocabulary, sorted(self.ends))

    @cached_property
    def _rope_holder(self):
        """The module that keeps the shift of positions of the last prompt (Qwen-VL), or None."""
        return next((part for part in self.model.modules() if hasattr(part, "rope_deltas")), None)

    def _as_positions(self, positions: "torch.Tensor") -> "torch.Tensor":
        return positions if self._rope_holder is None else positions.expand(3, *positions.shape)

    def _turn_tokens(self, turn: str) -> tuple[int, ...]:
        messages = [prompts.user("?"), prompts.assistant(MARK), prompts.user(turn)]
        text = self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return tuple(self.tokenizer.encode(text.partition(MARK)[2], add_special_tokens=False))

    @contextlib.contextmanager
    def _with_adapter(self, adapter: str | None) -> Iterator[None]:
        """Switch a LoRA adapter on for as long as the talks go on."""
        if adapter is None:
            yield
            return
        name = adapter_name(adapter)
        if name not in self.adapters:
            try:
                with quiet_adapters():
                    self.model.load_adapter(adapter, adapter_name=name)
            except Exception as error:
                raise UserError(f"the adapter {adapter} cannot be loaded on {self.version.name}: {error}") from error
            self.adapters.add(name)
            self.model.eval()
        self.model.set_adapter(name)
        self.model.enable_adapters()
        try:
            with merge_adapter(self.model, name) if is_small(self.model) else contextlib.nullcontext():
                yield
        finally:
            self.model.disable_adapters()


def is_small(model) -> bool:
    """Tell whether a model is computed in float32 and so small that a second copy of its weights is nothing."""
    import torch

    return model.dtype == torch.float32 and model.num_parameters() < SMALL_MODEL


@contextlib.contextmanager
def merge_adapter(model, name: str) -> Iterator[None]:
    """Add an adapter to the weights while the block runs, and put the weights back bit by bit.

    A layer of a small model takes less time than the two of its adapter. In bfloat16 the sum would be rounded.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [part for part in model.modules() if isinstance(part, BaseTunerLayer)]
    kept = [(weight, weight.detach().clone()) for layer in layers for weight in layer.get_base_layer().parameters()]
    try:
        for layer in layers:
            layer.merge(adapter_names=[name])
        yield
    finally:
        for layer in layers:
            layer.merged_adapters.clear()
        for weight, before in kept:
            weight.data.copy_(before)


def adapter_name(folder: str) -> str:
    """Return a name for an adapter that changes with its content, as caches on servers go by name."""
    return "adapter_" + hash_files(Path(folder))[:12]


def can_reuse_cache(text_config) -> bool:
    """Tell whether keys and values may be kept in rows of their own: every layer attends to all that came before.

    Says so once where not; then every reply starts from a fresh prompt.
    """
    kinds = set(getattr(text_config, "layer_types", None) or ["full_attention"])
    windowed = getattr(text_config, "sliding_window", None) and getattr(text_config, "use_sliding_window", True)
    reusable = kinds == {"full_attention"} and not windowed
    if not reusable:
        print(
            f"{text_config.model_type}: layers of kind {', '.join(sorted(kinds))} cannot share their cache between "
            "conversations; every turn starts from a fresh prompt, which is slower and otherwise the same",
            file=sys.stderr,
        )
    return reusable


def count_images(prompt: tuple[list[int], dict]) -> int:
    """Return the number of pictures in a prompt."""
    pictures = prompt[1]
    for name in ("image_grid_thw", "image_sizes", "pixel_values"):
        if name in pictures:
            return len(pictures[name])
    return 0


def can_stack(pictures: list[dict]) -> bool:
    """Tell whether pictures of several prompts fit one tensor."""
    first = pictures[0]
    return all(
        each.keys() == first.keys()
        and all(value.shape[1:] == first[name].shape[1:] for name, value in each.items() if name != "mm_token_type_ids")
        for each in pictures
    )


def find_ends(model, tokenizer) -> set[int]:
    """Return the tokens that end a reply."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    several = configured if isinstance(configured, list | tuple) else [configured]
    return {token for token in (*several, tokenizer.eos_token_id) if token is not None}


def choose_row_limit(model) -> int:
    """Return how many conversations decode together: as the memory allows on a GPU, few for a large model on a CPU."""
    import torch

    if model.device.type != "cuda":
        return 64 if model.num_parameters() < SMALL_MODEL else 8
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    token = 2 * config.num_hidden_layers * heads * size * 2  # bytes of keys and values in bf16
    free = torch.cuda.mem_get_info(model.device)[0]
    return max(4, min(256, int(0.6 * free / (4096 * token))))


def hash_files(folder: Path) -> str:
    """Return a sha256 over a model folder's configuration and weights.

    Weights over 1 GiB are hashed by their size and by a megabyte in every 64.
    """
    digest = hashlib.sha256()
    files = sorted({*folder.glob("*.json"), *(file for kind in WEIGHTS for file in folder.glob(kind))})
    whole = sum(file.stat().st_size for file in files) <= HASHED_WHOLE
    for file in files:
        digest.update(f"{file.name}:{file.stat().st_size}\n".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
                if not whole:
                    stream.seek(63 << 20, 1)
    return digest.hexdigest()


def choose_dtype(parameters: int, device: str) -> "torch.dtype":
    """Return float32 for a small model, else bfloat16 where the device is fast at it."""
    import torch

    if parameters < SMALL_MODEL:
        return torch.float32
    fast = (
        torch.cuda.is_bf16_supported()
        if device.startswith("cuda")
        else getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
    )
    return torch.bfloat16 if fast else torch.float32


def load_local(
    name: str, *, device: str | None = None, dtype: str | None = None, row_limit: int | None = None
) -> LocalVLM:
    """Load a model by name ("nano-teacher"), folder or hub id ("Qwen/Qwen2.5-VL-7B-Instruct").

    The device is the first GPU, else the CPU; the dtype what it is fast at. Raises `UserError` when the model cannot
    be found or loaded.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = find_model(name) if name in MODEL_NAMES else Path(name)
    if not folder.is_dir() and (name.startswith((".", "/", "~")) or name.count("/") != 1):
        raise UserError(
            f"no model {name!r}: give {' or '.join(MODEL_NAMES)}, a folder, a hub id such as "
            "Qwen/Qwen2.5-VL-7B-Instruct, or the address of a server such as http://localhost:8000"
        )
    place = str(folder) if folder.is_dir() else name
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = getattr(torch, dtype) if dtype else choose_dtype(guess_parameters(place), device)
        with quiet_transformers():
            processor = AutoProcessor.from_pretrained(place)
            model = AutoModelForImageTextToText.from_pretrained(place, dtype=chosen, attn_implementation="sdpa")
        model = model.to(device)
    except Exception as error:  # a missing file, a damaged one, no network, too little memory
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"the model {name} cannot be loaded ({lines[0][:200]}): check the name or folder, and that it fits {device}"
        ) from error
    revision = getattr(model.config, "_commit_hash", None)
    fingerprint = hash_files(folder) if folder.is_dir() else str(revision)
    return LocalVLM(model, processor, ModelVersion(name, fingerprint), row_limit=row_limit)


def guess_parameters(place: str) -> int:
    """Return about how many parameters a model has, from the size of its files; a hub's model counts as large."""
    folder = Path(place)
    if not folder.is_dir():
        return SMALL_MODEL
    index = folder / "model.safetensors.index.json"
    if index.exists():
        return json.loads(index.read_text())["metadata"]["total_size"] // 2
    return sum(file.stat().st_size for kind in WEIGHTS for file in folder.glob(kind)) // 2


@contextlib.contextmanager
def quiet_adapters() -> Iterator[None]:
    """Keep transformers from reporting the adapters that are there already as missing in the one that comes."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with quiet_transformers(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")
            yield
    finally:
        logging.set_verbosity(level)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from drawing a bar for each file it loads."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
