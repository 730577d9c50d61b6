"""Shards: project files that hold a part of a project's questions each, for one task to generate the paths of.

A question always belongs to the same of W shards, and run and path ids depend on model, settings and question alone, so
the paths of all shards together are those of a single machine.
"""

import contextlib
import io
import itertools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from insightv_core.errors import UserError
from insightv_core.records import Question, StoredImage, identify
from insightv_core.store import Store, open_store
from insightv_core.store.merging import load_pictures

AT_ONCE = 5000  # questions in memory


@dataclass(frozen=True)
class Shard:
    """A project file with a part of the questions, how many of them it holds, and whether it was just made."""

    file: Path
    questions: int
    is_new: bool


def shard_of(question: str, shards: int) -> int:
    """Return the number, from 0, of the shard that a question belongs to: its id is a hash of its content.

    >>> [shard_of(question, 2) for question in ("a", "b", "c", "d")]
    [0, 0, 1, 1]
    """
    return int(identify("shard", question), 16) % shards


def split_questions(
    store: Store, folder: Path, shards: int, *, limit: int | None = None, source: str | None = None
) -> list[Shard]:
    """Bring the first `limit` questions of a source into shards in a folder, those that are not there yet.

    The shards see the project's pictures by a link. Raises `UserError` where they hold other questions too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = folder / "images"
    if not pictures.exists() and not pictures.is_symlink():
        pictures.symlink_to(os.path.relpath(store.folder / "images", folder))
    some = (f"-first-{limit}" if limit else "") + (f"-of-source-{identify(source)[:8]}" if source else "")
    files = [folder / f"shard-{number:05}-of-{shards:05}{some}.db" for number in range(shards)]
    counts, are_new = [0] * shards, [not file.exists() for file in files]
    questions = store.questions(limit=limit, source=source)
    while batch := list(itertools.islice(questions, AT_ONCE)):
        for number, part in enumerate(divide(batch, shards)):
            counts[number] += len(part)
            add_questions(store, files[number], part)
    for file, count in zip(files, counts, strict=True):
        with open_store(file, create=True) as shard:
            if shard.question_count() > count:
                raise UserError(
                    f"{file} holds {shard.question_count() - count} questions that are not of {store.file}: "
                    "give another folder with --out"
                )
    return list(map(Shard, files, counts, are_new))


def divide(questions: Sequence[Question], shards: int) -> list[list[Question]]:
    """Return the questions of each shard."""
    parts: list[list[Question]] = [[] for _ in range(shards)]
    for question in questions:
        parts[shard_of(question.id, shards)].append(question)
    return parts


def add_questions(store: Store, file: Path, questions: Sequence[Question]) -> None:
    """Add questions of a project to a shard."""
    if not questions:
        return
    pictures: dict[str, StoredImage] = load_pictures(store, {question.image for question in questions})
    with open_store(file, create=True) as shard:
        shard.add_questions((question, pictures[question.image]) for question in questions)


def generate_shard(file: Path, options: Sequence[str]) -> dict:
    """Generate the paths that a shard still lacks, by `insightv generate` and its options; return what that tells.

    Raises `UserError` where it was stopped: what it made is kept, and the same call goes on.
    """
    from insightv_core.cli import build_parser

    command = ["generate", *options, "--project", str(file)]
    parsed = build_parser().parse_args([*command, "--json"])
    printed = io.StringIO()
    with _typed(command), contextlib.redirect_stdout(printed):
        status = parsed.run(parsed)
    if status:
        raise UserError(f"{file} was stopped before it was done: the same command continues")
    return json.loads(printed.getvalue())


@contextlib.contextmanager
def _typed(command: Sequence[str]) -> Iterator[None]:
    """Let a run note this command as the one that it was begun with: the shard goes on with it."""
    before = sys.argv
    sys.argv = ["insightv", *command]
    try:
        yield
    finally:
        sys.argv = before
