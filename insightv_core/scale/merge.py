"""Bringing the paths of shards into the project that their questions came from.

The merged project is that of a single machine, apart from times and from the order in which paths were saved. Merging
again adds nothing, and a shard that was merged in part is merged on later.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from insightv_core.errors import UserError
from insightv_core.store import Store, open_store
from insightv_core.store.merging import count_shared, enter_run, note_merged, paths_in_parts, questions_unlike
from insightv_core.store.project import DONE, STOPPED
from insightv_core.store.runs import RunRow, count_made, find_run, list_runs

STAGE = "generate"


@dataclass(frozen=True)
class Merged:
    """What became of one run: how many shards have it, its new paths, all its paths here, and how many are wanted."""

    run: str
    shards: int
    new_paths: int
    paths: int
    wanted: int
    status: str


@dataclass(frozen=True)
class Part:
    """A run as a shard has it: its paths there, those that were new here, and those still missing here."""

    run: RunRow
    paths: int
    new_paths: int = 0
    missing: int = 0

    @property
    def wanted(self) -> int:
        """How many paths the shard wants in the end."""
        return max(self.run.total or 0, self.paths)


def merge_shards(store: Store, files: Sequence[Path], *, command: str | None = None) -> list[Merged]:
    """Bring the generated paths of shards into a project, and return what became of their runs.

    Raises `UserError`, and brings nothing, where shards do not hold the same runs or questions that the project lacks.
    """
    found = {file: read_parts(store, file) for file in files}
    check_same_runs({file: [part.run for part in parts if part.paths] for file, parts in found.items()})
    begun = {part.run.id for parts in found.values() for part in parts if part.paths}
    wanted_before = {run: known_total(store, run) for run in begun}
    brought: dict[str, list[Part]] = {}
    for file, parts in found.items():
        with open_store(file) as shard:
            for part in parts:
                if part.run.id in begun:
                    enter_run(store, shard, part.run, command=command)
                    brought.setdefault(part.run.id, []).append(bring_paths(store, shard, part.run))
    return [finish(store, run, parts, wanted_before[run]) for run, parts in brought.items()]


def read_parts(store: Store, file: Path) -> list[Part]:
    """Return the runs of a shard in the order of their start; raise `UserError` where it is none of the project."""
    if file.resolve() == store.file.resolve():
        raise UserError(f"{file} is the project itself: name the shards, and the project with --project")
    with open_store(file) as shard:
        unlike = questions_unlike(store, shard)
        if unlike:
            raise UserError(
                f"{file} has paths of {len(unlike)} questions, such as {unlike[0]}, that {store.file} lacks or has "
                "otherwise: name the project that the shards were made from with --project"
            )
        runs = sorted(list_runs(shard, stage=STAGE, limit=1 << 30), key=lambda run: (run.started, run.id))
        return [Part(run, count_paths(shard, run.id)) for run in runs]


def count_paths(store: Store, run: str) -> int:
    """Return the number of paths of a run."""
    return count_made(store, run).get("paths", 0)


def check_same_runs(found: Mapping[Path, Sequence[RunRow]]) -> None:
    """Raise `UserError` where shards were not made by the same commands; some may have begun fewer of them."""
    most = max(found, key=lambda file: len(found[file]))
    known = {run.id for run in found[most]}
    for file, runs in found.items():
        strange = next((run for run in runs if run.id not in known), None)
        if strange is None:
            continue
        own = {run.id for run in runs}
        other = next(run for run in found[most] if run.id not in own)
        raise UserError(
            f"{file} and {most} were not made by the same command: {describe_difference(strange, other)}. "
            "Give all shards one command, or merge each by itself to keep both runs"
        )


def describe_difference(one: RunRow, other: RunRow) -> str:
    """Say in which settings two runs differ."""
    first, second = (
        {"model": f"{run.model} {run.fingerprint}", "prompts": run.prompt_version, **dict(flatten(run.settings))}
        for run in (one, other)
    )
    names = [name for name in first | second if first.get(name) != second.get(name)]
    shown = ", ".join(f"{name} is {first.get(name)} and {second.get(name)}" for name in names)
    return f"runs {one.id[:8]} and {other.id[:8]}, where {shown}"


def flatten(settings: Mapping[str, object], before: str = "") -> Iterator[tuple[str, object]]:
    """Yield settings inside settings by their name alone.

    >>> dict(flatten({"sampling": {"seed": 1}, "tries": 3}))
    {'sampling.seed': 1, 'tries': 3}
    """
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{before}{name}.")
        else:
            yield before + name, value


def known_total(store: Store, run: str) -> int:
    """Return how many paths a run is to have as far as the project knows."""
    return (find_run(store, run).total or 0) if store.status(run) else 0


def bring_paths(store: Store, shard: Store, run: RunRow) -> Part:
    """Add the paths of a shard's run that are not here yet."""
    count = added = 0
    for paths in paths_in_parts(shard, run.id):
        count += len(paths)
        added += store.add_paths(paths)
    part = Part(run, count, added)
    return replace(part, missing=max(part.wanted - count_shared(store, shard, run.id), 0))


def finish(store: Store, run: str, parts: Sequence[Part], wanted_before: int) -> Merged:
    """Note how a merged run stands now.

    What was wanted before counts the shards that were merged before, whose paths were here; a run that was begun in
    this project itself knows how many are wanted.
    """
    paths, wanted = count_paths(store, run), wanted_before
    # A shard without a path cannot be told from one that was never merged: it is counted once it has one.
    counted = [part for part in parts if part.paths]
    if find_run(store, run).pid is None:
        wanted += sum(part.wanted for part in counted if part.new_paths == part.paths)
    wanted = max(wanted, paths + sum(part.missing for part in counted))
    status = STOPPED if paths < wanted or any(part.missing for part in parts) else DONE
    note_merged(store, run, [part.run for part in parts], status=status, done=paths, total=wanted)
    return Merged(run, len(parts), sum(part.new_paths for part in parts), paths, wanted, status)
