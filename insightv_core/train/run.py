"""Training runs of a project: the curated set in, an agent's weights out, metrics in the store while it goes on.

A run's folder is `runs/<run>` beside the project file. A killed run continues at its last checkpoint and ends with
the weights of an uninterrupted one; what a run has finished is not trained again, whichever curation its rows are from.
"""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from insightv_core import __version__, prompts
from insightv_core.errors import UserError
from insightv_core.records import ModelVersion, Run, identify
from insightv_core.store import Store
from insightv_core.store.project import DONE
from insightv_core.store.runs import list_runs
from insightv_core.store.training import (
    ADAPTER,
    WHOLE,
    add_metrics,
    add_model,
    add_pair_logprobs,
    add_round,
    known_model,
    list_adapters,
    load_metrics,
    model_made_by,
)
from insightv_core.train.adapters import attach, locate, note_base, open_adapter, read_version, register
from insightv_core.train.failures import explain_failures, last_checkpoint
from insightv_core.train.processes import check_launch, is_main, own_device
from insightv_core.train.recorder import make_recorder
from insightv_core.train.settings import DPOSettings, SFTSettings

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainerCallback

    from insightv_core.curate.rows import TrainingRow

REASONING = "reason"  # the role of the agent that DPO trains
PAIR_COLUMNS = ("images", "prompt", "chosen", "rejected")
ROWS = "rows_sha256"  # which rows a run was trained on, in its settings
INDIFFERENT = ("curation", "logging_steps", "save_steps", "keep_checkpoints")  # settings that no weight depends on


@dataclass(frozen=True)
class Trained:
    """What a training run made: an adapter or whole weights, and how its loss went.

    `already` is whether it was there before it was asked for.
    """

    run: str
    role: str
    kind: str
    model: str
    fingerprint: str
    folder: str
    rows: int
    steps: int
    first_loss: float
    last_loss: float
    seconds: float
    already: bool = field(default=False, compare=False)

    def describe(self) -> dict:
        """Return everything as plain values, the same whether it was trained now or before."""
        return {name: value for name, value in asdict(self).items() if name != "already"}


def name_run(
    store: Store, stage: str, base: ModelVersion, described: Mapping[str, Any], rows: "Iterable[TrainingRow]"
) -> Run:  # fmt: skip
    """Return the run that trains a model on rows as `described`: the one that has finished this work, or a new one.

    The same work has the same id; a set whose rows have changed since is other work.
    """
    described = {**described, ROWS: hash_rows(rows)}
    for known in list_runs(store, stage=stage, limit=-1):
        settings = known.settings
        if ROWS not in settings and settings.get("curation") == described["curation"]:  # of an earlier version
            settings = settings | {ROWS: described[ROWS]}
        same_start = (known.fingerprint, known.prompt_version) == (base.fingerprint, prompts.PROMPT_VERSION)
        if known.status == DONE and same_start and read_essence(settings) == read_essence(described):
            return store.run(known.id)
    name = identify(stage, base.fingerprint, prompts.PROMPT_VERSION, described)
    return Run(name, stage, base, prompts.PROMPT_VERSION, described, __version__)


def read_essence(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the weights depend on, of all that describes a run."""
    return {name: value for name, value in described.items() if name not in INDIFFERENT}


def hash_rows(rows: "Iterable[TrainingRow]") -> str:
    """Return a sha256 over what is learned from rows, in their order: pictures, prompts and replies."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row.question.image, row.prompt, row.completion, row.rejected]).encode())
    return digest.hexdigest()


def train_agent(
    store: Store,
    role: str,
    model_name: str,
    settings: SFTSettings,
    *,
    curation: str | None = None,
    command: str | None = None,
    quiet: bool = False,
    callbacks: "Sequence[TrainerCallback]" = (),
) -> Trained:
    """Fine-tune a model on the reasoning or the summary set of a curating run, the newest unless named.

    Raises `UserError` when there is no such set, or nothing in it can be trained on.
    """
    from insightv_core.curate.rows import training_rows
    from insightv_core.store.curation import find_curation
    from insightv_core.vlm.local import load_local

    check_launch()
    curated = find_curation(store, curation)
    base = read_version(model_name)
    chosen = list(training_rows(store, curated.id, role))
    run = name_run(store, "sft", base, {"role": role, "curation": curated.id, **asdict(settings)}, chosen)
    finished = find_finished(store, run, role)
    if finished is not None:
        return replace(finished, already=True)
    vlm = load_local(model_name, device=own_device())

    def make(rows: "Dataset", folder: Path, recorder: "TrainerCallback"):
        from insightv_core.train.sft import make_trainer

        return make_trainer(vlm.model.train(), settings, rows, vlm.processor, folder, callbacks=[recorder, *callbacks])

    work = Work(run, role, chosen, base, vlm, settings)
    return _carry_out(store, work, make, command=command, quiet=quiet)


def train_round(
    store: Store,
    model_name: str,
    adapter: str,
    settings: DPOSettings,
    *,
    curation: str | None = None,
    reference: str | None = None,
    sampling: str | None = None,
    assessing: str | None = None,
    command: str | None = None,
    quiet: bool = False,
    callbacks: "Sequence[TrainerCallback]" = (),
) -> Trained:
    """Train the reasoning agent for one round of DPO on the pairs of a curating run, the newest unless named.

    The policy goes on from `adapter`, a folder or a hash, which is also the reference unless another one is given
    (arXiv 2411.14432, section 3.4: each round starts from the last). `sampling` and `assessing` are the runs that the
    pairs came of, noted with the round. Log-probabilities of every pair under the reference and under the new policy
    are saved, so that the reward margin of any pair can be read for every round. Raises `UserError` where there are no
    pairs or no adapter, or the adapter belongs to another base.
    """
    from insightv_core.curate.rows import training_rows
    from insightv_core.store.curation import find_set_run
    from insightv_core.vlm.local import load_local

    check_launch()
    base = read_version(model_name)
    policy = open_adapter(store, adapter, base)
    anchor = open_adapter(store, reference, base) if reference else policy
    curated = find_set_run(store, "pairs", curation)
    pairs = list(training_rows(store, curated.id, "pairs"))
    described = {
        "adapter": policy.version.fingerprint, "reference": anchor.version.fingerprint, "curation": curated.id,
        **asdict(settings),
    }  # fmt: skip
    run = name_run(store, "dpo", base, described, pairs)
    finished = find_finished(store, run, REASONING)
    if finished is not None:
        return replace(finished, already=True)
    vlm = load_local(model_name, device=own_device())

    def make(rows: "Dataset", folder: Path, recorder: "TrainerCallback"):
        from insightv_core.train.round_trainer import make_round_trainer

        return make_round_trainer(
            store, run.id, rows, attach(vlm.model, anchor), policy, anchor, settings, vlm.processor, folder,
            callbacks=[recorder, *callbacks],
        )  # fmt: skip

    def note(trainer: Any, rows: "Dataset", fingerprint: str) -> None:
        reference_values = [trainer.train_dataset[column] for column in ("ref_chosen_logps", "ref_rejected_logps")]
        scores = trainer.score(rows.select_columns(list(PAIR_COLUMNS)))
        if not is_main():
            return
        for each in (policy, anchor):
            register(store, each, base)
        add_round(
            store, run.id, before=policy.version.fingerprint, after=fingerprint, curation=curated.id,
            reference=anchor.version.fingerprint, sampling=sampling, assessing=assessing,
        )  # fmt: skip
        for model, (chosen, rejected) in ((anchor.version.fingerprint, reference_values), (fingerprint, scores)):
            add_pair_logprobs(store, model, zip(rows["id"], chosen, rejected, strict=True))

    work = Work(run, REASONING, pairs, base, vlm, settings)
    return _carry_out(store, work, make, note=note, command=command, quiet=quiet)


@dataclass(frozen=True)
class Work:
    """A training run to carry out: on which rows and which model, for which agent."""

    run: Run
    role: str
    rows: "Sequence[TrainingRow]"
    base: ModelVersion
    vlm: Any
    settings: DPOSettings | SFTSettings

    @property
    def whole(self) -> bool:
        """Whether all weights are trained; a round of DPO goes on with the adapter it is given."""
        return isinstance(self.settings, SFTSettings) and self.settings.lora_rank is None


def _carry_out(
    store: Store, work: Work, make: Callable, *, note: Callable | None = None, command: str | None, quiet: bool
) -> Trained:
    """Train from the last checkpoint or the start, keep the weights, and note how the run went.

    Of several processes only the first writes; all of them take part in what `note` computes.
    """
    from insightv_core.export import to_dataset

    run, folder = work.run, store.folder / "runs" / work.run.id
    rows = to_dataset(work.rows, store.image_file)
    if is_main():
        store.start_run(run, command=command)
    started = time.perf_counter()
    with _noting_failure(store, run), explain_failures(work.settings, folder):
        trainer = make(rows, folder, make_recorder(store, run.id, quiet=quiet))
        _go_on(trainer, folder)
        fingerprint = _keep(store, work, trainer, folder) if is_main() else ""
        trainer.accelerator.wait_for_everyone()
        if note is not None:
            note(trainer, rows, fingerprint)
    if is_main():
        steps = trainer.state.global_step
        add_metrics(store, run.id, steps, {"rows": len(rows), "seconds": time.perf_counter() - started})
        store.end_run(run.id, "done", done=steps)
        shutil.rmtree(folder, ignore_errors=True)  # checkpoints are of no use once the weights are kept
    trainer.accelerator.wait_for_everyone()
    found = find_finished(store, run, work.role)
    if found is None:
        raise RuntimeError(f"the weights of run {run.id} were kept and cannot be found again")
    return found


@contextlib.contextmanager
def _noting_failure(store: Store, run: Run) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if is_main():
            store.end_run(run.id, "stopped")
        raise
    except Exception as error:
        if is_main():
            store.end_run(run.id, "failed", message=str(error))
        raise


def _go_on(trainer: Any, folder: Path) -> None:
    # Ours draws the bar; theirs print every log as a dictionary, or as a table in a notebook.
    for callback in list(trainer.callback_handler.callbacks):
        if type(callback).__name__ in ("ProgressCallback", "PrinterCallback", "NotebookProgressCallback"):
            trainer.remove_callback(callback)
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))


def _keep(store: Store, work: Work, trainer: Any, folder: Path) -> str:
    """Save what was trained under a name that holds the hash of its content; return the hash."""
    from insightv_core.vlm.local import hash_files

    made, model = folder / "made", trainer.accelerator.unwrap_model(trainer.model)
    if work.whole:
        model.save_pretrained(made)
        work.vlm.processor.save_pretrained(made)
    else:  # the base is named as the user names it, as the hash should not depend on where it lies
        model.peft_config["default"].base_model_name_or_path = work.base.name
        model.save_pretrained(made, save_embedding_layers=False)
        note_base(made, work.base)
    fingerprint = hash_files(made)
    known = known_model(store, fingerprint)
    if known is not None and known["run"] != work.run.id:
        raise UserError(
            f"training ended after {trainer.state.global_step} steps with the weights of {known['name']}, which are "
            "there already: nothing was learned, as the first step is warm-up (lower --gradient-accumulation or "
            "--batch-size, or give it more rows), or its settings come to the same"
        )
    name = f"{work.role}-{fingerprint[:8]}"
    kept = store.folder / ("models" if work.whole else "adapters") / name
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, kept)
    kind = WHOLE if work.whole else ADAPTER
    base = work.base.fingerprint
    add_model(store, ModelVersion(name, fingerprint), kind=kind, base=base, folder=str(kept), run=work.run.id)
    return fingerprint


def find_finished(store: Store, run: Run, role: str) -> Trained | None:
    """Return what a run made if it is done and its weights are still there."""
    row = model_made_by(store, run.id)
    folder = locate(store, row) if row else None
    if row is None or folder is None:
        return None
    metrics = load_metrics(store, run.id)
    losses = [value for _, value in metrics.get("loss", [(0, float("nan"))])]
    return Trained(
        run=run.id, role=role, kind=row["kind"], model=row["name"], fingerprint=row["fingerprint"],
        folder=str(folder), rows=int(metrics["rows"][-1][1]), steps=row["done"], first_loss=losses[0],
        last_loss=losses[-1], seconds=metrics["seconds"][-1][1],
    )  # fmt: skip


def find_adapter(store: Store, role: str) -> str:
    """Return the folder of the newest adapter of a role; raise `UserError` where there is none."""
    rows = list_adapters(store, role)
    if not rows:
        raise UserError(f"no adapter of the {role} agent in {store.file}: train one with `insightv sft {role}`")
    return str(locate(store, rows[0]) or rows[0]["folder"])


def find_first_adapter(store: Store) -> str:
    """Return the folder of the newest adapter of the reasoning agent that no round of DPO made: where rounds start."""
    rows = list_adapters(store, REASONING, of_rounds=False)
    if not rows:
        raise UserError(f"no adapter of the reasoning agent in {store.file}: train one with `insightv sft reason`")
    return str(locate(store, rows[0]) or rows[0]["folder"])
