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


def plot_judge_report(report: dict) -> "Figure":
    """Plot what a judge's scores are worth: how they spread over sound and flawed paths, and the share that is sound.

    `report` is that of `judge_report.report_judge`; whiskers are 95% intervals. Against reviews there is no spread,
    and the bands are distances between two scores.
    """
    from plotly.graph_objects import Bar, Scatter
    from plotly.subplots import make_subplots

    reviewed = report["against"] == "reviews"
    bands = "distance between the scores of a pair" if reviewed else "score"
    share = "share where reviewers agree" if reviewed else "share of sound paths"
    figure = make_subplots(
        1, 2, subplot_titles=("Scores of sound and flawed paths", f"{share.capitalize()} by {bands}")
    )
    for place, kind in enumerate(("sound", "flawed")):
        middles = [(each["from"] + each["to"]) / 2 for each in report["distribution"]]
        counts = [each[kind] for each in report["distribution"]]
        bar = Bar(x=middles, y=counts, name=f"{kind}, n = {sum(counts)}", marker_color=COLORS[place], opacity=0.7)
        figure.add_trace(bar, 1, 1)
    filled = [each for each in report["calibration"] if each["n"]]
    known = [each["value"] if each["low"] is None else each["low"] for each in filled]
    up = [each["value"] if each["high"] is None else each["high"] for each in filled]
    points = Scatter(
        x=[(each["from"] + each["to"]) / 2 for each in filled], y=[each["value"] for each in filled],
        mode="lines+markers+text", text=[f"n = {each['n']}" for each in filled], textposition="top left",
        line={"color": COLORS[2], "width": 2}, showlegend=False,
        error_y={
            "type": "data", "symmetric": False,
            "array": [high - each["value"] for high, each in zip(up, filled, strict=True)],
            "arrayminus": [each["value"] - low for low, each in zip(known, filled, strict=True)],
        },
    )  # fmt: skip
    figure.add_trace(points, 1, 2)
    figure.update_layout(
        title=f"Judge {report['model']}, {report['mode']} mode, run {report['run'][:8]}", template="plotly_white",
        height=480, barmode="overlay", bargap=0.05,
    )  # fmt: skip
    figure.update_xaxes(title_text="score", range=[0, 101], col=1)
    figure.update_xaxes(title_text=bands, range=[0, 101], col=2)
    figure.update_yaxes(title_text="paths", col=1)
    figure.update_yaxes(title_text=share, range=[-0.03, 1.1], col=2)
    return figure
