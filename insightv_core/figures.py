"""Plotly figures, shared by the command line, the notebooks and the app."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from insightv_core.errors import UserError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Okabe and Ito's colours: told apart by colour-blind readers too.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000", "#999999", "#7F3C8D")

LESSONS = ("reading", "pointing")


def read_log(path: Path) -> list[dict]:
    """Read the lines of a training log; UserError where there is none, or a line that is no JSON."""
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines() if line]
    except FileNotFoundError as error:
        raise UserError(f"no training log at {path}; give the folder of a run, as in runs/nano-base") from error
    except json.JSONDecodeError as error:
        raise UserError(f"the training log {path} is damaged ({error}); restore it or remove the bad line") from error
    if not lines:
        raise UserError(f"the training log {path} is empty; wait until the run has logged its first steps")
    return lines


def plot_training(log: list[dict]) -> "Figure":
    """Plot the loss of each lesson and kind of conversation over the steps of a run, on a logarithmic axis."""
    from plotly.graph_objects import Figure, Scatter

    kinds = sorted({kind for line in log for kind in line["losses"]})
    series = {
        name: [(line["step"], line["lessons"][name]) for line in log if name in line["lessons"]] for name in LESSONS
    }
    for kind in kinds:
        series[kind] = [(line["step"], line["losses"][kind]) for line in log if kind in line["losses"]]
    series = {name: points for name, points in series.items() if points}
    figure = Figure()
    for place, (name, points) in enumerate(series.items()):
        steps, losses = zip(*points, strict=True)
        style = {"color": COLORS[place % len(COLORS)], "width": 2, "dash": "solid" if place < len(COLORS) else "dot"}
        figure.add_trace(Scatter(x=steps, y=losses, name=name, mode="lines", line=style))
    figure.update_layout(
        title="Training loss by lesson and kind of conversation", template="plotly_white", height=520,
        hovermode="x unified", xaxis_title="step", yaxis_title="loss (nats)", yaxis_type="log",
    )  # fmt: skip
    return figure
