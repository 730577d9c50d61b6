"""Plotly figures, shared by the command line, the notebooks and the app."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from insightv_core.errors import UserError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from insightv_core.evaluate.statistics import PathTable, SystemReport

# Okabe and Ito's colours: told apart by colour-blind readers too.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000", "#999999", "#7F3C8D")


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

    series = {
        name: [(line["step"], line[part][name]) for line in log if name in line[part]]
        for part in ("lessons", "losses")
        for name in sorted({name for line in log for name in line[part]})
    }
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
        bar = Bar(x=middles, y=counts, name=f"{kind}, n = {sum(counts)}", marker_color=COLORS[place])
        figure.add_trace(bar, 1, 1)
    filled = [each for each in report["calibration"] if each["n"]]
    known = [each["value"] if each["low"] is None else each["low"] for each in filled]
    up = [each["value"] if each["high"] is None else each["high"] for each in filled]
    points = Scatter(
        x=[(each["from"] + each["to"]) / 2 for each in filled], y=[each["value"] for each in filled],
        mode="lines+markers+text", text=[f"  n = {each['n']}" for each in filled], textposition="top right",
        cliponaxis=False,
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
        height=480, barmode="stack", bargap=0.05,
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
        lines, columns, subplot_titles=[family.replace("_", " ") or "all questions" for family in families],
        shared_xaxes=True, vertical_spacing=0.3 / lines, horizontal_spacing=0.04,
    )  # fmt: skip
    figure.update_annotations(font_size=12)  # or the names of neighbours touch
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


LETTER = 6.5  # pixels of a letter beside an axis


def plot_systems(reports: "Sequence[SystemReport]") -> "Figure":
    """Plot the accuracy of evaluated systems as bars with their 95% intervals, the first system at the top."""
    from plotly.graph_objects import Bar, Figure, Scatter

    bars = Bar(
        y=[each.system for each in reports], x=[each.accuracy.value for each in reports], orientation="h",
        marker={"color": [COLORS[0] if place else COLORS[8] for place in range(len(reports))]},
        error_x={
            "type": "data", "symmetric": False,
            "array": [each.accuracy.high - each.accuracy.value for each in reports],
            "arrayminus": [each.accuracy.value - each.accuracy.low for each in reports],
        },
        customdata=[[each.accuracy.n, each.seeds, each.tokens] for each in reports],
        hovertemplate="%{y}: %{x:.3f}<br>%{customdata[0]} questions, %{customdata[1]} seeds, "
        "%{customdata[2]:.0f} tokens an answer<extra></extra>",
    )  # fmt: skip
    values = Scatter(
        y=[each.system for each in reports], x=[each.accuracy.high for each in reports], mode="text",
        text=[f"  {each.accuracy.value:.3f}" for each in reports], textposition="middle right", hoverinfo="skip",
        cliponaxis=False,
    )  # fmt: skip
    figure = Figure([bars, values])
    longest = max((len(each.system) for each in reports), default=0)
    count = f", n = {max(each.accuracy.n for each in reports)}" if reports else ""
    figure.update_layout(
        title=f"Right answers with 95% intervals{count}; the first system is grey", template="plotly_white",
        height=160 + 32 * len(reports), margin={"l": 30 + LETTER * longest, "r": 70},
        xaxis_title="accuracy", showlegend=False,
    )  # fmt: skip
    figure.update_xaxes(rangemode="tozero")
    figure.update_yaxes(autorange="reversed", dtick=1)  # or a low figure leaves names out
    return figure


def plot_paths(tables: "Sequence[PathTable]") -> "Figure":
    """Plot for each system how often path and answer are right, as two by two shares (the paper's Figure 6)."""
    from plotly.graph_objects import Heatmap
    from plotly.subplots import make_subplots

    columns = min(3, len(tables))
    lines = -(-len(tables) // columns)
    figure = make_subplots(
        lines, columns, subplot_titles=[each.system for each in tables], horizontal_spacing=0.12,
        vertical_spacing=0.35 / lines,
    )  # fmt: skip
    for place, each in enumerate(tables):
        counts = [[each.answer_only, each.neither], [each.both, each.path_only]]
        total = max(1, sum(map(sum, counts)))
        shares = [[count / total for count in row] for row in counts]
        text = [[f"{count / total:.1%}<br>n = {count}" for count in row] for row in counts]
        heat = Heatmap(
            z=shares, x=["answer right", "answer not right"], y=["path wrong", "path right"], text=text,
            texttemplate="%{text}", colorscale="Blues", zmin=0, zmax=1, showscale=False, hoverinfo="skip",
        )  # fmt: skip
        figure.add_trace(heat, place // columns + 1, place % columns + 1)
    deciders = ", ".join(sorted({each.by for each in tables}))
    figure.update_layout(
        title=f"Right path and right answer; paths judged by {deciders}", template="plotly_white",
        height=120 + 240 * lines,
    )  # fmt: skip
    return figure


def plot_scaling(points: list[dict]) -> "Figure":
    """Plot accuracy over the share of the reasoning set, with 95% intervals (the paper's Figure 4).

    `points` have share, accuracy, low, high and n.
    """
    from plotly.graph_objects import Figure, Scatter

    line = Scatter(
        x=[100 * each["share"] for each in points], y=[each["accuracy"] for each in points], mode="lines+markers",
        line={"color": COLORS[0], "width": 2},
        error_y={
            "type": "data", "symmetric": False, "array": [each["high"] - each["accuracy"] for each in points],
            "arrayminus": [each["accuracy"] - each["low"] for each in points],
        },
        hovertemplate="%{x:g}%: %{y:.3f}<extra></extra>",
    )  # fmt: skip
    figure = Figure(line)
    figure.update_layout(
        title=f"Both agents by the share of the reasoning set, n = {points[0]['n']}" if points else "No share measured",
        template="plotly_white", height=440, xaxis_title="share of the reasoning set (%)", yaxis_title="accuracy",
    )  # fmt: skip
    figure.update_xaxes(type="log", tickvals=[100 * each["share"] for each in points])
    return figure


def plot_prompt_cost(prompt: int, step: int, steps: int, paths: int) -> "Figure":
    """Plot the tokens that pass a model for some paths of so many steps each, in three ways of writing them.

    Once more from the start at every turn, with the chain so far kept, and with the prompt shared by the paths as well.
    """
    from plotly.graph_objects import Figure, Scatter

    counts = list(range(1, steps + 1))
    ways = {
        "everything again at every turn": [
            paths * (n * step + sum(prompt + t * step for t in range(n))) for n in counts
        ],
        "the chain so far is kept": [paths * (prompt + n * step) for n in counts],
        "and the paths share the prompt": [prompt + paths * n * step for n in counts],
    }
    figure = Figure()
    for place, (name, tokens) in enumerate(ways.items()):
        line = {"color": COLORS[place], "width": 2}
        figure.add_trace(Scatter(x=counts, y=tokens, name=name, mode="lines+markers", line=line))
    figure.update_layout(
        title=f"Tokens through the model for {paths} paths: prompt {prompt}, {step} a step",
        template="plotly_white", height=420, xaxis_title="steps of each path", yaxis_title="tokens through the model",
    )  # fmt: skip
    figure.update_yaxes(rangemode="tozero")
    return figure


def plot_separation(separation: float) -> "Figure":
    """Plot what an imagined judge's scores would look like whose means for sound and flawed paths lie so far apart.

    `separation` is in standard deviations; the area under the curve that follows from it is in the title.
    """
    import numpy as np
    from plotly.graph_objects import Figure, Scatter
    from scipy.stats import norm

    scores = np.linspace(1, 100, 200)
    figure = Figure()
    for place, (name, sign) in enumerate((("sound", 1), ("flawed", -1))):
        density = norm.pdf(scores, 50 + sign * separation * 7.5, 15)
        line = {"color": COLORS[place], "width": 2}
        figure.add_trace(Scatter(x=scores, y=density, name=name, mode="lines", fill="tozeroy", line=line))
    figure.update_layout(
        title=f"An imagined judge, its hills {separation:g} σ apart: AUC {norm.cdf(separation / 2**0.5):.2f}",
        template="plotly_white", height=360, xaxis_title="score", yaxis_title="density of paths",
    )  # fmt: skip
    return figure


def plot_counts(counts: "dict[str, dict[str, int]]", title: str) -> "Figure":
    """Plot counts as stacked bars: for each bar the number of each kind."""
    from plotly.graph_objects import Bar, Figure

    kinds = list(dict.fromkeys(kind for each in counts.values() for kind in each))
    figure = Figure(
        [
            Bar(
                x=list(counts), y=[each.get(kind, 0) for each in counts.values()], name=kind,
                marker_color=COLORS[place % len(COLORS)],
            )
            for place, kind in enumerate(kinds)
        ]
    )  # fmt: skip
    figure.update_layout(title=title, template="plotly_white", barmode="stack", height=400, yaxis_title="rows")
    return figure


HIGHEST_LOSS = 5


def plot_preference_loss(betas: "Sequence[float]") -> "Figure":
    """Plot the loss of DPO and how hard a pair still pulls over how far it has moved, for values of beta.

    What has moved is log-probability, in nats: of the chosen chain less of the rejected one, each against the
    reference. A pair pulls by the chance that the model still gives the rejected chain; its gradient is beta times it.
    """
    import numpy as np
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    moved = np.linspace(-40, 40, 161)
    figure = make_subplots(1, 2, subplot_titles=("Loss of a pair", "How hard it still pulls"))
    for place, beta in enumerate(betas):
        line = {"color": COLORS[place % len(COLORS)], "width": 2}
        loss, pull = np.logaddexp(0, -beta * moved), np.exp(-np.logaddexp(0, beta * moved))
        for column, values in ((1, loss), (2, pull)):
            trace = Scatter(x=moved, y=values, name=f"beta {beta:g}", mode="lines", line=line, showlegend=column == 1)
            figure.add_trace(trace, 1, column)
    figure.update_layout(template="plotly_white", height=400)
    figure.update_xaxes(title_text="moved (nats)")
    figure.update_yaxes(range=[0, HIGHEST_LOSS], row=1, col=1)  # a large beta goes far beyond, and hides the others
    figure.update_yaxes(range=[0, 1.05], row=1, col=2)
    return figure


def plot_moves(moves: "dict[str, list[tuple[float, float]]]") -> "Figure":
    """Plot how far training moved the log-probabilities of chosen and rejected chains, a group for each training run.

    A point is a pair: (chosen, rejected), each less the log-probability under the reference. Above the dotted line the
    rejected chain gained on the chosen one.
    """
    from plotly.graph_objects import Figure, Scatter

    figure = Figure()
    for place, (name, pairs) in enumerate(moves.items()):
        marker = {"color": COLORS[place % len(COLORS)], "size": 8, "opacity": 0.7}
        x, y = [each[0] for each in pairs], [each[1] for each in pairs]
        figure.add_trace(Scatter(x=x, y=y, name=f"{name}, n = {len(pairs)}", mode="markers", marker=marker))
    ends = [value for pairs in moves.values() for pair in pairs for value in pair] or [0.0]
    line = {"color": COLORS[8], "dash": "dot"}
    figure.add_trace(Scatter(x=[min(ends), max(ends)], y=[min(ends), max(ends)], mode="lines", line=line, name="equal"))
    figure.update_layout(
        title="What training did to each pair", template="plotly_white", height=440,
        xaxis_title="chosen chain (nats)", yaxis_title="rejected chain (nats)",
    )  # fmt: skip
    return figure


def plot_memory(billions: float, rank: int = 16) -> "Figure":
    """Plot the memory that weights, gradients and AdamW need for a model of so many parameters, without activations.

    In bfloat16 with float32 moments and master weights: 2 bytes a parameter to run, 16 to train. An adapter's share of
    the parameters is taken as 0.05% for each unit of rank.
    """
    from plotly.graph_objects import Bar, Figure

    adapter = billions * 0.0005 * rank
    needs = {"run": 2 * billions, f"train a LoRA of rank {rank}": 2 * billions + 16 * adapter, "train all weights":
             16 * billions}  # fmt: skip
    bars = Bar(
        x=list(needs), y=list(needs.values()), text=[f"{each:.0f} GB" for each in needs.values()],
        marker_color=COLORS[0],
    )  # fmt: skip
    figure = Figure(bars)
    figure.update_layout(
        title=f"Memory for {billions:g} billion parameters, without activations", template="plotly_white", height=380,
        yaxis_title="GB",
    )  # fmt: skip
    return figure
