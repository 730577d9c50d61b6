"""What training would choke on, found before it starts: the real processor reads every row.

Trainers cut what is too long without a word, fail in the middle of an epoch over a picture that is gone, and learn
from a pair of equal chains without complaint. Here each such row is named with its reason.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from insightv_core import prompts
from insightv_core.answers import CORRECT
from insightv_core.curate.pairs import BY_JUDGE, BY_REVIEW
from insightv_core.curate.rows import TrainingRow, training_rows
from insightv_core.curate.sets import OPTIMAL, REASON
from insightv_core.errors import UserError
from insightv_core.images import first_line
from insightv_core.nano.model import MODEL_NAMES, find_model
from insightv_core.store import Store
from insightv_core.store.curation import save_exclusions

if TYPE_CHECKING:
    from transformers import ProcessorMixin

PREFLIGHT = "pre-flight: "
MISSING, CHANGED, UNREADABLE = "the picture is missing", "the picture was changed", "the processor cannot read the row"
EMPTY, EQUAL, NOT_RIGHT = "nothing to reply", "chosen and rejected are the same", "the chosen answer is not right"
MARK = "the text holds a mark of the model"
NO_LIMIT = 1 << 30


@dataclass(frozen=True)
class Refusal:
    """A row that training would refuse or spoil: its set and id there, its question, and why.

    `number` is the row's number in its set, or the key of a pair; `detail` is what is special to this row.
    """

    set: str
    row: str
    number: int
    question: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Picture:
    """What the processor makes of a picture: how many tokens it adds to a text, and where the last of them ends."""

    added: int = 0
    end: int = 0
    problem: str | None = None
    detail: str = ""


def check_set(
    store: Store,
    run: str,
    name: str,
    processor: "ProcessorMixin",
    *,
    max_length: int | None = None,
    exclude: bool = False,
    progress: Callable[[int], object] = lambda rows: None,
) -> list[Refusal]:
    """Return the rows of "reason", "summary" or "pairs" that could not be trained on as they are.

    `max_length` is in tokens, of prompt, picture and reply together. With `exclude` the reasons are noted in the
    store, and rows that an earlier check left out come back if they pass now. Rows excluded for anything else stay so.
    """
    reasons: dict[int, str | None] = {}
    refusals = []

    def watched() -> Iterator[TrainingRow]:
        for row in training_rows(store, run, name, excluded=True):
            progress(1)
            if row.excluded is None or row.excluded.startswith(PREFLIGHT):
                yield row

    for row, refusal in check_rows(watched(), processor, store.image_file, name=name, max_length=max_length):
        if refusal is not None:
            refusals.append(refusal)
            reasons[row.number] = PREFLIGHT + refusal.reason
        elif row.excluded is not None:
            reasons[row.number] = None
    if exclude:
        save_exclusions(store, run, name, reasons)
    return refusals


def check_rows(
    rows: Iterable[TrainingRow],
    processor: "ProcessorMixin",
    image_file: Callable[[str], Path],
    *,
    name: str = "rows",
    max_length: int | None = None,
) -> Iterator[tuple[TrainingRow, Refusal | None]]:
    """Yield each row with why it cannot be trained on, None where it can; `name` is what the rows are called."""
    checker = Checker(processor, image_file, max_length or NO_LIMIT)
    for row in rows:
        problem = checker.find_problem(row)
        yield row, Refusal(name, row.id, row.number, row.question.id, *problem) if problem else None


class Checker:
    """Reads rows as trainers lay them out: prompt and reply by the chat template, and the picture by the processor.

    The pixels of a picture are processed once, however many rows ask about it. As every prompt has the picture before
    the question, what it adds to the text and where it ends is the same in all of them.
    """

    def __init__(self, processor: "ProcessorMixin", image_file: Callable[[str], Path], max_length: int):
        self.processor, self.image_file, self.max_length = processor, image_file, max_length
        self.tokenizer = processor.tokenizer
        self.pictures: dict[str, Picture] = {}
        marks = {*self.tokenizer.all_special_tokens, getattr(processor, "image_token", None)}
        self.marks = sorted(mark for mark in marks if mark)

    def find_problem(self, row: TrainingRow) -> tuple[str, str] | None:
        """Return why a row cannot be trained on, and what is special to it; None where it can."""
        replies = [row.completion, *([] if row.rejected is None else [row.rejected])]
        if not all(map(str.strip, replies)):
            return EMPTY, ""
        if row.rejected is not None and row.completion == row.rejected:
            return EQUAL, ""
        if self._must_be_right(row) and row.outcome != CORRECT:
            return NOT_RIGHT, f": its newest assessment is {row.outcome or 'missing'}"
        texts = [part["text"] for turn in row.prompt for part in turn["content"] if part["type"] == "text"]
        mark = next((mark for mark in self.marks for text in [*texts, *replies] if mark in text), None)
        if mark is not None:
            return MARK, f": {mark}"
        try:
            return self._measure(row, replies)
        except Exception as error:  # templates and processors fail in their own ways, and training would as well
            return UNREADABLE, f": {first_line(error)}"

    @staticmethod
    def _must_be_right(row: TrainingRow) -> bool:
        """Tell whether the row teaches to reason as its path does.

        Of two wrong paths reviewers may prefer one, and so may a judge that does not know the truth.
        """
        return row.kind in (REASON, OPTIMAL) or (row.rejected is not None and row.reason not in (BY_REVIEW, BY_JUDGE))

    def _measure(self, row: TrainingRow, replies: list[str]) -> tuple[str, str] | None:
        asked = self.processor.apply_chat_template(list(row.prompt), add_generation_prompt=True, tokenize=False)
        wholes = [
            self.processor.apply_chat_template([*row.prompt, prompts.assistant(reply)], tokenize=False)
            for reply in replies
        ]
        # As TRL does, for templates that open a reply in another way than they write one.
        asked = os.path.commonprefix([asked, *wholes])
        picture = self._read_picture(row.question.image, asked)
        if picture.problem:
            return picture.problem, picture.detail
        prompt, *answers = (len(ids) for ids in self._encode([asked, *(whole[len(asked) :] for whole in wholes)]))
        tokens = prompt + picture.added + max(answers)
        if picture.end > self.max_length:
            return f"the picture would be cut at {self.max_length} tokens", f": it ends at token {picture.end}"
        if tokens > self.max_length:
            return (
                f"longer than {self.max_length} tokens",
                f": {tokens} tokens, {tokens - max(answers)} before the reply",
            )
        return None

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return self.tokenizer(texts, add_special_tokens=False)["input_ids"]

    def _read_picture(self, image: str, text: str) -> Picture:
        if image not in self.pictures:
            file = self.image_file(image)
            try:
                content = file.read_bytes()
            except OSError:
                self.pictures[image] = Picture(problem=MISSING, detail=f": {file}")
            else:
                changed = hashlib.sha256(content).hexdigest() != image
                self.pictures[image] = (
                    Picture(problem=CHANGED, detail=f": {file}") if changed else self._process(file, text)
                )
        return self.pictures[image]

    def _process(self, file: Path, text: str) -> Picture:
        from PIL import Image

        with Image.open(file) as picture:
            read = self.processor(
                images=[[picture.convert("RGB")]], text=[text], add_special_tokens=False, return_tensors="pt"
            )
        ids = read["input_ids"][0].tolist()
        if "mm_token_type_ids" in read:
            places = [place for place, kind in enumerate(read["mm_token_type_ids"][0].tolist()) if kind]
        else:
            token = self.tokenizer.convert_tokens_to_ids(self.processor.image_token)
            places = [place for place, each in enumerate(ids) if each == token]
        return Picture(len(ids) - len(self._encode([text])[0]), max(places, default=-1) + 1)


def load_processor(name: str) -> "tuple[ProcessorMixin, int]":
    """Load the processor of a model by name, folder or hub id; return it with the model's context length in tokens."""
    from transformers import AutoConfig, AutoProcessor

    place = str(find_model(name)) if name in MODEL_NAMES else name
    try:
        processor = AutoProcessor.from_pretrained(place)
        config = AutoConfig.from_pretrained(place).get_text_config()
    except Exception as error:
        raise UserError(
            f"the processor of {name} cannot be loaded ({first_line(error)}): give {' or '.join(MODEL_NAMES)}, a model "
            "folder, or a hub id such as Qwen/Qwen2.5-VL-7B-Instruct"
        ) from error
    if not hasattr(processor, "tokenizer"):
        raise UserError(f"{name} reads no pictures: give the model that is to be trained, one for images and text")
    return processor, getattr(config, "max_position_embeddings", None) or NO_LIMIT
