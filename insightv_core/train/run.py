"""Training runs of a project: the curated set in, an agent's weights out, metrics in the store while it goes on.

A run's folder is `runs/<run>` beside the project file. A killed run continues at its last checkpoint and ends with
the weights of an uninterrupted one; a finished run is not done again.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from insightv_core import __version__, prompts
from insightv_core.errors import UserError
from insightv_core.records import ModelVersion, Run, identify
from insightv_core.store import Store
from insightv_core.store.training import (
    ADAPTER,
    WHOLE,
    add_metrics,
    add_model,
    add_pair_logprobs,
    add_round,
    load_metrics,
)
from insightv_core.train.settings import DPOSettings, SFTSettings

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainerCallback

REASONING = "reason"  # the role of the agent that DPO trains


@dataclass(frozen=True)
class Trained:
    """What a training run made: an adapter or whole weights, and how its loss went."""

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

    def describe(self) -> dict:
        """Return everything as plain values."""
        return asdict(self)


def name_run(role: str, base: ModelVersion, settings: SFTSettings, curation: str) -> Run:
    """Return the run that these settings stand for: the same work has the same id."""
    described = {"role": role, "curation": curation, **asdict(settings)}
    run = identify("sft", base.fingerprint, prompts.PROMPT_VERSION, described)
    return Run(run, "sft", base, prompts.PROMPT_VERSION, described, __version__)


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
    from insightv_core.store.curation import find_curation
    from insightv_core.vlm.local import load_local

    curated = find_curation(store, curation)
    vlm = load_local(model_name)
    run = name_run(role, vlm.version, settings, curated.id)
    finished = find_finished(store, run, role)
    if finished is not None:
        return finished

    def make(rows: "Dataset", folder: Path, recorder: "TrainerCallback"):
        from insightv_core.train.sft import make_trainer

        return make_trainer(vlm.model.train(), settings, rows, vlm.processor, folder, callbacks=[recorder, *callbacks])

    work = Work(run, role, curated.id, role, vlm, settings.lora_rank is None)
    _carry_out(store, work, make, command=command, quiet=quiet)
    return _expect(find_finished(store, run, role), run)


def train_round(
    store: Store,
    model_name: str,
    adapter: str,
    settings: DPOSettings,
    *,
    curation: str | None = None,
    command: str | None = None,
    quiet: bool = False,
) -> Trained:
    """Train the reasoning agent for one round of DPO on the pairs of a curating run, the newest unless named.

    The policy goes on from `adapter`, which is also the reference (arXiv 2411.14432, section 3.4: each round starts
    from the last). Log-probabilities of every pair under the reference and under the new policy are saved, so that the
    reward margin of any pair can be read for every round. Raises `UserError` where there are no pairs or no adapter.
    """
    from insightv_core.store.curation import find_curation
    from insightv_core.vlm.local import hash_files, load_local

    if not Path(adapter).is_dir():
        raise UserError(f"no adapter at {adapter}: train one with `insightv sft reason`")
    curated = find_curation(store, curation)
    vlm = load_local(model_name)
    before = hash_files(Path(adapter))
    described = {"adapter": before, "curation": curated.id, **asdict(settings)}
    name = identify("dpo", vlm.version.fingerprint, prompts.PROMPT_VERSION, described)
    run = Run(name, "dpo", vlm.version, prompts.PROMPT_VERSION, described, __version__)
    finished = find_finished(store, run, REASONING)
    if finished is not None:
        return finished

    def make(rows: "Dataset", folder: Path, recorder: "TrainerCallback"):
        from peft import PeftModel

        from insightv_core.train.dpo import PreferenceTrainer

        policy = PeftModel.from_pretrained(vlm.model, adapter, is_trainable=True)
        policy.train()
        columns = ["images", "prompt", "chosen", "rejected"]
        return PreferenceTrainer(
            policy, settings, rows.select_columns(columns), vlm.processor, folder, callbacks=[recorder]
        )

    work = Work(run, REASONING, curated.id, "pairs", vlm, whole=False)
    trainer, rows = _carry_out(store, work, make, command=command, quiet=quiet)
    trained = _expect(find_finished(store, run, REASONING), run)
    add_round(store, run.id, base=vlm.version, before=(adapter, before), after=trained.fingerprint, curation=curated.id)
    reference = [trainer.train_dataset[column] for column in ("ref_chosen_logps", "ref_rejected_logps")]
    pictures = rows.select_columns(["images", "prompt", "chosen", "rejected"])
    for model, (chosen, rejected) in ((before, reference), (trained.fingerprint, trainer.score(pictures))):
        add_pair_logprobs(store, model, zip(rows["id"], chosen, rejected, strict=True))
    return trained


@dataclass(frozen=True)
class Work:
    """A training run to carry out: which rows of which curating run, on which model, for which agent."""

    run: Run
    role: str
    curation: str
    rows: str
    vlm: Any
    whole: bool


def _expect(found: Trained | None, run: Run) -> Trained:
    if found is None:
        raise RuntimeError(f"the weights of run {run.id} were kept and cannot be found again")
    return found


def _carry_out(store: Store, work: Work, make: Callable, *, command: str | None, quiet: bool):
    """Train from the last checkpoint or the start, keep the weights, and note how the run went."""
    from insightv_core.curate.rows import training_rows
    from insightv_core.export import to_dataset

    run, folder = work.run, store.folder / "runs" / work.run.id
    rows = to_dataset(training_rows(store, work.curation, work.rows), store.image_file)
    store.start_run(run, command=command)
    started = time.perf_counter()
    try:
        trainer = make(rows, folder, make_recorder(store, run.id, quiet=quiet))
        _go_on(trainer, folder)
    except KeyboardInterrupt:
        store.end_run(run.id, "stopped")
        raise
    except Exception as error:
        store.end_run(run.id, "failed", message=str(error))
        raise
    _keep(store, work, trainer, folder)
    steps = trainer.state.global_step
    add_metrics(store, run.id, steps, {"rows": len(rows), "seconds": time.perf_counter() - started})
    store.end_run(run.id, "done", done=steps)
    shutil.rmtree(folder, ignore_errors=True)  # checkpoints are of no use once the weights are kept
    return trainer, rows


def _go_on(trainer: Any, folder: Path) -> None:
    from transformers import PrinterCallback, ProgressCallback
    from transformers.trainer_utils import get_last_checkpoint

    for printing in (ProgressCallback, PrinterCallback):  # ours draws the bar; theirs print every log as a dictionary
        trainer.remove_callback(printing)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)) if folder.is_dir() else None)


def _keep(store: Store, work: Work, trainer: Any, folder: Path) -> None:
    """Save what was trained under a name that holds the hash of its content."""
    from insightv_core.vlm.local import hash_files

    made = folder / "made"
    trainer.model.save_pretrained(made)
    if work.whole:
        work.vlm.processor.save_pretrained(made)
    fingerprint = hash_files(made)
    if store.value("SELECT run FROM models WHERE fingerprint = ?", [fingerprint]) not in (None, work.run.id):
        store.end_run(work.run.id, "failed", message="the weights did not change")
        raise UserError(
            f"training changed nothing in {trainer.state.global_step} steps, as the first is warm-up: lower "
            "--gradient-accumulation or --batch-size, or give it more rows"
        )
    name = f"{work.role}-{fingerprint[:8]}"
    kept = store.folder / ("models" if work.whole else "adapters") / name
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, kept)
    kind = WHOLE if work.whole else ADAPTER
    base = work.vlm.version.fingerprint
    add_model(store, ModelVersion(name, fingerprint), kind=kind, base=base, folder=str(kept), run=work.run.id)


def find_finished(store: Store, run: Run, role: str) -> Trained | None:
    """Return what a run made if it is done and its weights are still there."""
    rows = store.rows(
        "SELECT models.*, runs.done FROM models JOIN runs ON runs.id = models.run "
        "WHERE runs.id = ? AND status = 'done'",
        [run.id],
    )
    if not rows or not Path(rows[0]["folder"]).is_dir():
        return None
    row = rows[0]
    metrics = load_metrics(store, run.id)
    losses = [value for _, value in metrics.get("loss", [(0, float("nan"))])]
    return Trained(
        run=run.id, role=role, kind=row["kind"], model=row["name"], fingerprint=row["fingerprint"],
        folder=row["folder"], rows=int(metrics["rows"][-1][1]), steps=row["done"], first_loss=losses[0],
        last_loss=losses[-1], seconds=metrics["seconds"][-1][1],
    )  # fmt: skip


def make_recorder(store: Store, run: str, *, quiet: bool) -> "TrainerCallback":
    """Return a callback that saves every logged metric and the progress of a run, and draws a bar with the loss."""
    from tqdm import tqdm
    from transformers import TrainerCallback

    class Recorder(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, unit=" steps", disable=quiet)

        def on_step_end(self, args, state, control, **kwargs):
            self.bar.update(state.global_step - self.bar.n)

        def on_log(self, args, state, control, logs=None, **kwargs):
            if not state.is_world_process_zero or not logs:
                return
            numbers = {name: float(value) for name, value in logs.items() if is_number(value)}
            add_metrics(store, run, state.global_step, numbers)
            store.note_progress(run, state.global_step)
            if "loss" in numbers:
                self.bar.set_postfix_str(f"loss {numbers['loss']:.3f}")

        def on_train_end(self, args, state, control, **kwargs):
            self.bar.close()

    return Recorder()


def is_number(value: object) -> bool:
    """Tell whether a logged value is a number, or one written as text."""
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def find_adapter(store: Store, role: str) -> str:
    """Return the folder of the newest adapter of a role; raise `UserError` where there is none."""
    rows = store.rows(
        "SELECT folder FROM models WHERE kind = ? AND name LIKE ? ORDER BY created DESC LIMIT 1", [ADAPTER, f"{role}-%"]
    )
    if not rows:
        raise UserError(f"no adapter of the {role} agent in {store.file}: train one with `insightv sft {role}`")
    return rows[0]["folder"]
