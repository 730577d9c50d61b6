"""A pre-training step: its data, packed into few tensors, and the gradients that follow from it.

All conversations about a picture open with the same words and the picture. This prefix passes through the tower and the
language model once a picture; each conversation's own words then attend to the prefix's keys and values. Only
positions that are trained on pass through the head.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from insightv_core.nano import model as nano
from insightv_core.nano.render import SIZE
from insightv_core.nano.training.lessons import ASKING_KINDS, LESSON_WEIGHTS, LOOKING_LAYERS, look_up, looking_losses

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL import Image
    from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

    from insightv_core.nano.training.corpus import Conversation


# A chain and a judge's reply say much that follows from their form, and few words in which something is decided.
DECIDING = ("true", "false", "sound", "flawed", "more", "less", "same")
STRESS = 4  # times as much as another word


@dataclass(frozen=True)
class Row:
    """One conversation as token ids, and for each id whether the model is trained to write it.

    `prefix` ids at the start are those that all conversations about the scene's picture share; 0 without a picture.
    `turns` says where each user turn begins and ends and which id the answer to it begins with.
    """

    ids: list[int]
    trained: list[bool]
    scene: int
    kind: int
    prefix: int
    turns: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class Vocabulary:
    """What a step has to know of each token.

    `says` is the token of its word: without a space before it, and of one where it says several, as a question that
    asks how many crosses there are is to be looked up at each cross. `names` are of letters alone: a number stands in
    too many places to be looked for. `stress` is its weight in the loss.
    """

    says: "np.ndarray"
    names: "np.ndarray"
    stress: "np.ndarray"


@dataclass(frozen=True)
class Batch:
    """Rows for one forward pass, right-padded, their prefixes left out; flat positions count over rows * length."""

    ids: "torch.Tensor"  # (rows, length)
    scenes: "torch.Tensor"  # (rows,) the picture that each row follows; empty where the rows follow none
    label_at: "torch.Tensor"  # flat positions whose next token is trained on
    labels: "torch.Tensor"  # for each, that next token
    kinds: "torch.Tensor"  # for each, its place in `StepData.kinds`
    weights: "torch.Tensor"  # for each, its weight in the loss
    says: "torch.Tensor"  # for each, the word that it says, whether a space goes before it or not
    asked_at: "torch.Tensor"  # flat positions of the last word of a question that stands in the picture
    answers: "torch.Tensor"  # for each, the word that the answer begins with
    named_at: "torch.Tensor"  # flat positions of words that stand in the picture, numbers left out
    names: "torch.Tensor"  # for each, that word


@dataclass(frozen=True)
class StepData:
    """A whole step in few tensors, so that few handles and few copies pass between processes and devices."""

    images: "torch.Tensor"  # uint8 (scenes, 3, IMAGE_SIZE, IMAGE_SIZE)
    words: "torch.Tensor"  # int64 (3, count): flat places over scenes * IMAGE_TOKENS, the token there, and what it says
    neighbours: "torch.Tensor"  # int64 (3, count): flat places, slots, and the tokens that belong there
    prefix: "torch.Tensor"  # int64 (length,) the ids that open every conversation about a picture
    numbers: "torch.Tensor"  # int32, the tensors of each batch in a row
    # Of each batch: rows, length, labels, words asked for, words named, and whether it is about pictures.
    layout: tuple[tuple[int, int, int, int, int, bool], ...]
    kinds: tuple[str, ...]
    rows: int
    weight: float  # sum of the weights of all labels

    def __reduce__(self):
        # Through the pipe as arrays: tensors would go through shared memory, which is small in many containers.
        arrays = [tensor.numpy() for tensor in (self.images, self.words, self.neighbours, self.prefix, self.numbers)]
        return _rebuild_step, (*arrays, self.layout, self.kinds, self.rows, self.weight)

    def pin_memory(self) -> "StepData":
        """Let the data loader move the step to page-locked memory."""
        return replace(self, images=self.images.pin_memory(), numbers=self.numbers.pin_memory())

    def to(self, device: "torch.device") -> "StepData":
        """Return the step on `device`; the copy runs beside what the device is doing."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            words=self.words.to(device, non_blocking=True),
            neighbours=self.neighbours.to(device, non_blocking=True),
            prefix=self.prefix.to(device, non_blocking=True),
            numbers=self.numbers.to(device, non_blocking=True).long(),
        )

    @property
    def token_count(self) -> int:
        """Tokens that pass through the language model, padding included."""
        return len(self.images) * len(self.prefix) + sum(rows * length for rows, length, *_ in self.layout)

    def batches(self) -> Iterator[Batch]:
        """Yield the batches as views."""
        start = 0
        for rows, length, labels, asked, named, pictured in self.layout:
            sizes = (rows * length, rows * pictured, *[labels] * 6, asked, asked, named, named)
            numbers = self.numbers[start : start + sum(sizes)].split(sizes)
            ids, scenes, label_at, targets, kinds, counts, stress, *words = numbers
            start += sum(sizes)
            yield Batch(ids.view(rows, length), scenes, label_at, targets, kinds, weigh(counts, stress), *words)


def _rebuild_step(*parts) -> StepData:
    import torch

    return StepData(*map(torch.from_numpy, parts[:5]), *parts[5:])


def weigh(count, stress):
    """Return the weight of each label of a row with `count` labels: `stress` / sqrt(count).

    With equal weights, answers of two tokens would drown in chains of a hundred; with equal rows, chains would be slow.
    """
    return stress * count**-0.5


def encode_conversations(tokenizer: "PreTrainedTokenizerFast", groups: "Sequence[Sequence[Conversation]]") -> list[Row]:
    """Tokenize the conversations of each scene just as the chat template does, but all texts in one call.

    Assistant turns marked `learn: False` are read and not learned. Conversations longer than the context are left out.
    """
    special = {text: tokenizer.convert_tokens_to_ids(text) for text in nano.SPECIAL_TOKENS}
    picture = [special[nano.IMAGE]] * nano.IMAGE_TOKENS
    flat = [(scene, talk) for scene, talks in enumerate(groups) for talk in talks]
    kinds = {kind: place for place, kind in enumerate(sorted({talk.kind for _, talk in flat}))}
    pieces = [[_split_message(message) for message in talk.messages] for _, talk in flat]
    texts = [piece for talk in pieces for message in talk for piece in message if piece is not None]
    encoded = iter(tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False))

    rows = []
    for (scene, talk), messages in zip(flat, pieces, strict=True):
        ids: list[int] = []
        trained: list[bool] = []
        turns: list[tuple[int, int, int]] = []
        asked = 0
        for message, parts in zip(talk.messages, messages, strict=True):
            spoken = [token for part in parts for token in (picture if part is None else next(encoded).ids)]
            by_model = message["role"] == "assistant"
            if by_model:
                turns.append((asked, len(ids), spoken[0]))
            asked = len(ids)
            ids += [special[f"<|{message['role']}|>"], *spoken, *([special[nano.END]] if by_model else [])]
            learned = by_model and message.get("learn", True)
            trained += [False] + [learned] * (len(ids) - len(trained) - 1)
        if len(ids) <= nano.CONTEXT_LENGTH:
            pictures = ids.count(special[nano.IMAGE])
            prefix = ids.index(special[nano.IMAGE]) + pictures if pictures else 0
            rows.append(Row(ids, trained, scene, kinds[talk.kind], prefix, tuple(turns)))
    return rows


def _split_message(message: dict) -> list[str | None]:
    """Return the texts of a message with None for each picture; neighbouring texts are one, as in the template."""
    if isinstance(message["content"], str):
        return [message["content"]]
    pieces: list[str | None] = []
    for part in message["content"]:
        if part["type"] == "image":
            pieces.append(None)
        elif pieces and pieces[-1] is not None:
            pieces[-1] += part["text"]
        else:
            pieces.append(part["text"])
    return pieces


def cut_rows(lengths: Sequence[int], limit: int) -> list[slice]:
    """Cut rows of falling length into batches of at most `limit` padded tokens, with little padding in all.

    A batch costs as much as `limit / 8` tokens by itself, so rows of similar length stay together.
    """
    starts = [at for at in range(len(lengths)) if at == 0 or lengths[at] < lengths[at - 1]]
    edges = [*starts, len(lengths)]
    best = [(0.0, 0)] + [(float("inf"), 0)] * len(starts)
    for end in range(1, len(edges)):
        for start in range(end):
            cost = best[start][0] + (edges[end] - edges[start]) * lengths[edges[start]] + limit / 8
            best[end] = min(best[end], (cost, start))
    cuts, end = [], len(starts)
    while end:
        start = best[end][1]
        first, last = edges[start], edges[end]
        parts = -(-(last - first) * lengths[first] // limit)
        size = -(-(last - first) // parts)
        cuts += [slice(at, min(at + size, last)) for at in range(first, last, size)]
        end = start
    return cuts


def pack_rows(
    rows: Sequence[Row],
    images: "torch.Tensor",
    words: "torch.Tensor",
    neighbours: "torch.Tensor",
    kinds: Sequence[str],
    *,
    limit: int,
    pad: int,
    multiple: int,
    vocabulary: Vocabulary,
) -> StepData:
    """Lay out a step's rows in batches of at most `limit` padded tokens, lengths rounded up to `multiple`."""
    import numpy as np
    import torch

    prefixes = {tuple(row.ids[: row.prefix]) for row in rows if row.prefix}
    if len(prefixes) > 1:
        raise ValueError("conversations about pictures must open with the same words and one picture")
    numbers, layout, weight = [], [], 0.0
    words = torch.cat([words[:2], torch.from_numpy(vocabulary.says)[words[1:2]]])
    standing: list[set[int]] = [set() for _ in images]
    for place, word in words[[0, 2]].T.tolist():
        standing[place // nano.IMAGE_TOKENS].add(word)
    asking = [kinds.index(kind) for kind in ASKING_KINDS if kind in kinds]
    for pictured in (True, False):
        chosen = [row for row in rows if bool(row.prefix) == pictured]
        chosen.sort(key=lambda row: row.prefix - len(row.ids))
        lengths = [-(-(len(row.ids) - row.prefix) // multiple) * multiple for row in chosen]
        for cut in cut_rows(lengths, limit) if chosen else []:
            batch, length = chosen[cut], lengths[cut.start]
            arrays = _pack_batch(batch, length, pad, vocabulary)
            weight += float(weigh(arrays[-3].astype(float), arrays[-2]).sum())
            arrays += _find_asked(batch, length, standing, asking, vocabulary.says)
            arrays += _find_named(batch, length, standing, vocabulary)
            layout.append((len(batch), length, len(arrays[2]), len(arrays[-3]), len(arrays[-1]), pictured))
            numbers += arrays
    flat = torch.from_numpy(np.concatenate(numbers or [np.zeros(0)]).astype(np.int32))
    prefix = torch.tensor(next(iter(prefixes), ()), dtype=torch.long)
    return StepData(images, words, neighbours, prefix, flat, tuple(layout), tuple(kinds), len(rows), weight)


def _pack_batch(rows: Sequence[Row], length: int, pad: int, vocabulary: Vocabulary) -> "list[np.ndarray]":
    import numpy as np

    ids = np.full((len(rows), length), pad)
    trained = np.zeros((len(rows), length), bool)
    for place, row in enumerate(rows):
        own = len(row.ids) - row.prefix
        ids[place, :own] = row.ids[row.prefix :]
        trained[place, :own] = row.trained[row.prefix :]
    label_row, label_column = np.nonzero(trained)
    labels = ids[label_row, label_column]
    return [
        ids.ravel(),
        np.array([row.scene for row in rows if row.prefix], dtype=int),
        label_row * length + label_column - 1,
        labels,
        np.array([row.kind for row in rows])[label_row],
        trained.sum(1)[label_row],
        vocabulary.stress[labels],
        vocabulary.says[labels],
    ]


def _find_asked(
    rows: Sequence[Row], length: int, standing: Sequence[set[int]], asking: Sequence[int], says: "np.ndarray"
) -> "list[np.ndarray]":
    """Return where the last word of each question stands that is also in the picture, and what the answer says."""
    import numpy as np

    asked_at, answers = [], []
    for number, row in enumerate(rows):
        for start, end, answer in row.turns if row.prefix and row.kind in asking else ():
            start = max(start, row.prefix)
            named = [at for at in range(start, end) if says[row.ids[at]] in standing[row.scene]]
            if named:
                asked_at.append(number * length + named[-1] - row.prefix)
                answers.append(says[answer])
    return [np.array(asked_at, dtype=int), np.array(answers, dtype=int)]


def _find_named(
    rows: Sequence[Row], length: int, standing: Sequence[set[int]], vocabulary: Vocabulary
) -> "list[np.ndarray]":
    """Return where the text names what stands in the picture, and the word."""
    import numpy as np

    named_at, found = [], []
    for number, row in enumerate(rows):
        own = np.array(row.ids[row.prefix :] if row.prefix else [], dtype=int)
        words = vocabulary.says[own]
        at = np.flatnonzero(vocabulary.names[own] & np.isin(words, list(standing[row.scene])))
        named_at.append(number * length + at)
        found.append(words[at])
    return [np.concatenate(named_at), np.concatenate(found)]


def shrink_picture(picture: "Image.Image") -> "np.ndarray":
    """Return the picture as uint8 (3, 144, 144), resized exactly as the processor does it."""
    import numpy as np

    small = picture.convert("RGB").resize((nano.IMAGE_SIZE, nano.IMAGE_SIZE), nano.RESAMPLE)
    return np.asarray(small).transpose(2, 0, 1)


def read_vocabulary(tokenizer: "PreTrainedTokenizerFast") -> Vocabulary:
    """Return what a step has to know of each token of the tokenizer."""
    import numpy as np

    texts = [tokenizer.decode([token]).strip() for token in range(len(tokenizer))]
    known = {text: token for token, text in reversed(list(enumerate(texts)))}

    def say(text: str) -> int:
        stems = [text.removesuffix(ending) for ending in ("s", "es") if text.endswith(ending) and len(text) > 4]
        return known[next((stem for stem in stems if stem in known), text)]

    whole = re.compile(rf"\b({'|'.join(DECIDING)})\b")
    stress = np.array([STRESS if whole.search(text) else 1 for text in texts])
    # Of a word of several tokens the first one decides: the others follow from it.
    stress[[tokenizer.encode(f" {word}", add_special_tokens=False)[0] for word in DECIDING]] = STRESS
    return Vocabulary(np.array([say(text) for text in texts]), np.array([text.isalpha() for text in texts]), stress)


def locate_words(
    tokenizer: "PreTrainedTokenizerFast", drawn: "Sequence[Sequence[tuple[str, tuple]]]"
) -> "torch.Tensor":
    """Return (3, count): for each token of the words drawn its place among all image tokens, its id and its word.

    A word of several tokens, as a number of two digits, is spread over its box by the characters of each.
    """
    import torch

    texts = [" " + word for words in drawn for word, _ in words]
    encoded = iter(tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False))
    found: list[tuple[int, int, int]] = []
    number = 0
    for scene, words in enumerate(drawn):
        for word, (left, top, right, bottom) in words:
            tokens = next(encoded)
            lengths = [len(tokenizer.decode([token]).strip()) for token in tokens.ids]
            start = 0
            for token, length in zip(tokens.ids, lengths, strict=True):
                across = left + (right - left) * (start + length / 2) / max(len(word), 1)
                start += length
                column, row = (int(at * nano.IMAGE_SIDE / SIZE) for at in (across, (top + bottom) / 2))
                place = (
                    scene * nano.IMAGE_TOKENS
                    + min(row, nano.IMAGE_SIDE - 1) * nano.IMAGE_SIDE
                    + min(column, nano.IMAGE_SIDE - 1)
                )
                found.append((place, token, number))
            number += 1
    return torch.tensor(found, dtype=torch.long).view(-1, 3).T


def encode_pictures(model: "LlavaForConditionalGeneration", images: "torch.Tensor") -> "torch.Tensor":
    """Return the projected features of uint8 pictures as (scenes * IMAGE_TOKENS, hidden)."""
    import torch

    features = model.get_image_features(images.float() / 127.5 - 1, return_dict=True).pooler_output
    return torch.cat(list(features))


def run_prefix(
    model: "LlavaForConditionalGeneration", prefix: "torch.Tensor", features: "torch.Tensor"
) -> "list[torch.Tensor]":
    """Return keys and values of the opening words and the pictures, two (scenes, heads, length, size) a layer."""
    import torch
    from transformers import DynamicCache

    scenes = len(features) // nano.IMAGE_TOKENS
    embeds = model.get_input_embeddings()(prefix)
    shown = features.view(scenes, nano.IMAGE_TOKENS, -1).to(embeds.dtype)
    opening = embeds[: len(prefix) - nano.IMAGE_TOKENS].expand(scenes, -1, -1)
    cache = DynamicCache()
    model.model.language_model(inputs_embeds=torch.cat([opening, shown], dim=1), past_key_values=cache, use_cache=True)
    return [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]


def token_losses(
    model: "LlavaForConditionalGeneration", batch: Batch, opening: "Sequence[torch.Tensor]"
) -> "tuple[torch.Tensor, list[torch.Tensor | None]]":
    """Return the loss of each trained token of a batch, and the attention of each of `LOOKING_LAYERS`.

    Attention is (rows, heads, length, all), or None where it is fused. Only positions that are trained on pass through
    the head.
    """
    import torch
    from transformers import DynamicCache

    cache = DynamicCache()
    if len(batch.scenes):
        for layer in range(len(opening) // 2):
            keys, values = (opening[2 * layer + side].index_select(0, batch.scenes) for side in (0, 1))
            cache.update(keys, values, layer)
    embeds = model.get_input_embeddings()(batch.ids)
    # Padding is on the right, where causal attention never looks, so no mask is needed.
    seen: list[torch.Tensor | None] = []
    layers = model.model.language_model.layers
    hooks = [
        layers[layer].self_attn.register_forward_hook(lambda _module, _inputs, output: seen.append(output[1]))
        for layer in LOOKING_LAYERS
    ]
    try:
        output = model.model.language_model(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
    finally:
        for hook in hooks:
            hook.remove()
    logits = model.lm_head(output.last_hidden_state.flatten(0, 1).index_select(0, batch.label_at))
    return torch.nn.functional.cross_entropy(logits.float(), batch.labels, reduction="none"), seen


def add_gradients(
    model: "LlavaForConditionalGeneration", data: StepData, autocast: Callable[[], contextlib.AbstractContextManager]
) -> "tuple[torch.Tensor, dict[str, torch.Tensor]]":
    """Add the gradients of the step's loss; return (kinds, 2) of loss sums and label counts, and the lessons' losses.

    The loss is the weighted mean over all trained tokens, and the direct lessons of `LESSON_WEIGHTS` beside it. A step
    without conversations learns to read alone.
    """
    import torch

    opening: list[torch.Tensor] = []
    with autocast():
        features = encode_pictures(model, data.images)
        if data.layout:
            opening = run_prefix(model, data.prefix, features) if len(data.prefix) else []
    looking = looking_losses(model, data, features)
    shared = [tensor.detach().requires_grad_() for tensor in opening]
    sums = torch.zeros(len(data.kinds), 2, device=data.images.device)
    found: dict[str, list[torch.Tensor]] = {}
    for batch in data.batches():
        with autocast():
            losses, attention = token_losses(model, batch, shared)
        loss = (losses * batch.weights).sum() / data.weight
        for name, lesson in look_up(data, batch, attention).items():
            loss = loss + LESSON_WEIGHTS[name] * lesson * len(batch.scenes) / data.rows
            found.setdefault(name, []).append(lesson.detach())
        loss.backward()
        sums.index_add_(0, batch.kinds, torch.stack([losses.detach(), torch.ones_like(losses)], dim=1))
    used = [(tensor, leaf.grad) for tensor, leaf in zip(opening, shared, strict=True) if leaf.grad is not None]
    learned = torch.stack([LESSON_WEIGHTS[name] * loss for name, loss in looking.items()]).sum()
    roots = [*(tensor for tensor, _ in used), learned]
    torch.autograd.backward(roots, [*(gradient for _, gradient in used), None])
    lessons = {name: loss.detach() for name, loss in looking.items()}
    return sums, lessons | {name: torch.stack(losses).mean() for name, losses in found.items()}
