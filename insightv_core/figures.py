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


OUTCOMES = {"correct": "right answer", "wrong": "wrong answer", "unparsed": "answer unreadable", None: "not judged"}


def plot_scores(rows: list[dict]) -> "Figure":
    """Plot how scores spread over right and wrong answers, a panel for each family of questions.

    `rows` are those of `store.curation.score_rows`. Paths without a score are counted in the title and not drawn.
    """
    from plotly.graph_objects import Histogram
    from plotly.subplots import make_subplots

    scored = [row for row in rows if row["score"] is not None]
    families = sorted({row["family"] for row in scored}) or [""]
    columns = min(5, len(families))
    lines = -(-len(families) // columns)
    figure = make_subplots(
        lines, columns, subplot_titles=[family or "all questions" for family in families], shared_xaxes=True,
        vertical_spacing=0.3 / lines, horizontal_spacing=0.04,
    )  # fmt: skip
    for place, family in enumerate(families):
        for number, outcome in enumerate(OUTCOMES):
            scores = [row["score"] for row in scored if row["family"] == family and row["outcome"] == outcome]
            if scores:
                trace = Histogram(
                    x=scores, xbins={"start": 0.5, "end": 100.5, "size": 10}, name=OUTCOMES[outcome],
                    marker_color=COLORS[number], legendgroup=OUTCOMES[outcome],
                )  # fmt: skip
                figure.add_trace(trace, place // columns + 1, place % columns + 1)
    shown: set[str] = set()
    for trace in figure.data:
        trace.showlegend = trace.name not in shown
        shown.add(trace.name)
    figure.update_layout(
        title=f"Scores by family, n = {len(scored)}, {len(rows) - len(scored)} paths without a score",
        template="plotly_white", barmode="stack", bargap=0.05, height=180 + 170 * lines,
    )  # fmt: skip
    figure.update_xaxes(range=[0.5, 100.5])
    figure.update_xaxes(title_text="score", row=lines)
    figure.update_yaxes(title_text="paths", col=1)
    return figure


def plot_lengths(rows: list[dict]) -> "Figure":
    """Plot the share of right answers by the number of steps, with 95% intervals, and how many paths are so long.

    `rows` are those of `store.curation.score_rows`; only paths whose answer is right or wrong count.
    """
    from plotly.graph_objects import Bar, Scatter
    from plotly.subplots import make_subplots
    from scipy.stats import binomtest

    settled = [row for row in rows if row["outcome"] in ("correct", "wrong")]
    lengths = sorted({row["steps"] for row in settled})
    right = [sum(row["steps"] == each and row["outcome"] == "correct" for row in settled) for each in lengths]
    total = [sum(row["steps"] == each for row in settled) for each in lengths]
    shares = [one / all_paths for one, all_paths in zip(right, total, strict=True)]
    intervals = [binomtest(*pair).proportion_ci(method="wilson") for pair in zip(right, total, strict=True)]
    figure = make_subplots(specs=[[{"secondary_y": True}]])
    figure.add_trace(Bar(x=lengths, y=total, name="paths", marker_color=COLORS[8], opacity=0.3), secondary_y=True)
    points = Scatter(
        x=lengths, y=shares, name="share of right answers", mode="lines+markers",
        line={"color": COLORS[0], "width": 2},
        error_y={
            "type": "data", "symmetric": False,
            "array": [each.high - share for each, share in zip(intervals, shares, strict=True)],
            "arrayminus": [share - each.low for each, share in zip(intervals, shares, strict=True)],
        },
    )  # fmt: skip
    figure.add_trace(points, secondary_y=False)
    figure.update_layout(
        title=f"Right answers by length of the path, n = {len(settled)}", template="plotly_white", height=460,
        xaxis_title="steps",
    )  # fmt: skip
    figure.update_yaxes(title_text="share of right answers", range=[-0.03, 1.03], secondary_y=False)
    figure.update_yaxes(title_text="paths", rangemode="tozero", tickmode="auto", showgrid=False, secondary_y=True)
    return figure


def plot_funnel(counts: dict[str, int]) -> "Figure":
    """Plot how many are left at each stage, in the order given: names of stages and their numbers."""
    from plotly.graph_objects import Figure, Funnel

    bars = Funnel(
        y=[name.replace("_", " ") for name in counts], x=list(counts.values()), textinfo="value",
        marker={"color": COLORS[0]}, connector={"fillcolor": "#e8eef4"},
    )  # fmt: skip
    figure = Figure(bars)
    figure.update_layout(
        title="From questions to training rows", template="plotly_white", height=120 + 45 * len(counts),
        margin={"l": 160},
    )  # fmt: skip
    return figure


def plot_yield(rows: list[dict]) -> "Figure":
    """Plot how many pairs a margin between scores leaves, and how many of them a judge may have wrong, where known.

    `rows` are those of `curate.measure_yield`.
    """
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    margins = [row["margin"] for row in rows]
    figure = make_subplots(specs=[[{"secondary_y": True}]])
    for place, (key, name) in enumerate((("by_answer", "right against wrong"), ("by_score", "by score"))):
        area = Scatter(
            x=margins, y=[row[key] for row in rows], name=name, stackgroup="pairs", mode="lines",
            line={"color": COLORS[place], "width": 1},
        )  # fmt: skip
        figure.add_trace(area, secondary_y=False)
    known = [row for row in rows if row["noise"] is not None]
    if known:
        line = Scatter(
            x=[row["margin"] for row in known], y=[row["noise"] for row in known], mode="lines+markers",
            name="estimated label noise", line={"color": COLORS[5], "width": 2},
        )  # fmt: skip
        figure.add_trace(line, secondary_y=True)
    note = "" if known else "; no judge report, so no estimate of label noise"
    figure.update_layout(
        title=f"Preference pairs by margin{note}", template="plotly_white", height=460, hovermode="x unified",
        xaxis_title="margin between the scores of two right answers",
    )  # fmt: skip
    figure.update_yaxes(title_text="pairs", rangemode="tozero", secondary_y=False)
    figure.update_yaxes(
        title_text="share that may be the wrong way round", rangemode="tozero", tickmode="auto", tickformat=".1%",
        showgrid=False, secondary_y=True,
    )  # fmt: skip
    return figure
