"""What a training run says while it goes on: metrics into the store, and a progress bar."""

from typing import TYPE_CHECKING

from insightv_core.store import Store
from insightv_core.store.training import add_metrics

if TYPE_CHECKING:
    from transformers import TrainerCallback


def make_recorder(store: Store, run: str, *, quiet: bool) -> "TrainerCallback":
    """Return a callback that saves every logged metric and the progress of a run, and draws a bar with the loss."""
    from tqdm import tqdm
    from transformers import TrainerCallback

    class Recorder(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            hidden = quiet or not state.is_world_process_zero
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, unit=" steps", disable=hidden)

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
