"""`insightv judge-report`: how far a judge's scores can be trusted."""

import argparse
from pathlib import Path

from insightv_core.commands.common import add_command, add_project_options, open_project, print_result, progress_bar
from insightv_core.errors import UserError
from insightv_core.judge_report import EXACT, REVIEWS, report_judge

WORDS = {
    "auc": "a sound path scores above a flawed one",
    "auc_answers": "a right answer scores above a wrong one",
    "auc_right_answers": "sound above flawed, among right answers",
    "auc_first_try": "sound above flawed, where the first try was readable",
    "auc_within_question": "sound above flawed, in one question",
    "spearman": "rank correlation of score and quality",
    "step_accuracy": "step verdicts that are right",
    "step_recall": "flawed steps that are found",
    "step_precision": "steps called flawed that are",
    "unscored": "paths without a readable verdict",
    "retried": "scores that took more than one try",
    "position_bias": "points that the last place adds to the first",
    "length_bias": "rank correlation of score and length",
    "step_bias": "rank correlation of score and steps",
    "mode_agreement": "rank correlation with the other mode",
    "order_agreement": "rank correlation with another order",
    "order_difference": "points between two orders",
}


def add_judge_report_command(commands) -> None:
    """Add `insightv judge-report`."""
    parser = add_command(
        commands, "judge-report", run_judge_report,
        "hold a judge's scores against the exact verifier or human reviews, and look for its biases",
        "insightv judge-report --figure judge.html",
    )  # fmt: skip
    add_project_options(parser)
    parser.add_argument("--run", dest="run_id", metavar="RUN", help="run of `assess` with a model (the newest)")
    parser.add_argument(
        "--against", choices=(EXACT, REVIEWS),
        help="compare with the exact verifier of nano's scenes or with human reviews (what there is, exact first)",
    )  # fmt: skip
    parser.add_argument("--figure", type=Path, metavar="FILE", help="write the figure to this HTML file")


def run_judge_report(options: argparse.Namespace) -> int:
    """Print the figures of a judge."""
    with open_project(options) as store, progress_bar(None, "paths", quiet=options.json) as bar:
        report = report_judge(store, options.run_id, against=options.against, progress=bar.update)
    if options.figure:
        write_figure(report, options.figure)
    print_result(options, report, write_words(report))
    return 0


def write_figure(report: dict, file: Path) -> None:
    """Write the report's figure as a web page that needs nothing else."""
    from insightv_core.figures import plot_judge_report

    try:
        plot_judge_report(report).write_html(file, include_plotlyjs=True)
    except OSError as error:
        raise UserError(f"the figure cannot be written to {file}: {error.strerror}; give another file") from error


def write_words(report: dict) -> str:
    """Return the report as text for a terminal."""
    lines = [
        f"judge {report['model']}, {report['mode']} mode, run {report['run']}: {report['paths']} paths of "
        f"{report['questions']} questions",
        {
            EXACT: f"against the exact verifier, which knows {report['questions_with_truth']} of these questions; "
            f"of the scored paths {report.get('paths_sound')} are sound, {report.get('paths_right')} answer right",
            REVIEWS: "against the paths that reviewers prefer",
        }.get(report["against"], "no truth to compare with: no nano scenes, and no reviews"),
        "",
        f"{'figure':<20} {'value':>7} {'95% interval':>17} {'n':>6}",
    ]
    lines += [f"{name:<20} {write_figures(report[name])}  {words}" for name, words in WORDS.items() if name in report]
    lines += ["", "score band" if report["against"] != REVIEWS else "score distance"]
    lines += [f"{each['from']:>8} to {each['to']:<8} {write_figures(each)}" for each in report["calibration"]]
    return "\n".join(lines)


def write_figures(figure: dict) -> str:
    """Return value, interval and n in columns."""
    value = "-" if figure["value"] is None else f"{figure['value']:.2f}"
    interval = "-" if figure["low"] is None else f"{figure['low']:.2f} to {figure['high']:.2f}"
    return f"{value:>7} {interval:>17} {figure['n']:>6}"
