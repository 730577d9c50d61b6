"""Reports as tables for people and programs: Markdown, CSV and LaTeX."""

import csv
import io
from collections.abc import Mapping, Sequence

from insightv_core.evaluate.statistics import Estimate, SystemReport

COLUMNS = (
    "system", "benchmark", "accuracy", "low", "high", "n", "seeds", "difference", "difference_low", "difference_high",
    "p", "unparsed", "tokens", "seconds",
)  # fmt: skip
# What LaTeX would read as its own.
LATEX_SIGNS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def write_markdown(reports: Sequence[SystemReport]) -> str:
    """Return the reports as a Markdown table."""
    lines = [
        "| system | benchmark | accuracy | 95% interval | n | seeds | against the first | p | unparsed | tokens | "
        "seconds |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for each in reports:
        accuracy, chance = each.accuracy, write_chance(each.p)
        lines.append(
            f"| {each.system} | {each.benchmark} | {accuracy.value:.3f} | {write_interval(accuracy)} | "
            f"{accuracy.n} | {each.seeds} | {write_difference(each.difference)} | {chance} | {each.unparsed:.3f} | "
            f"{each.tokens:.0f} | {each.seconds:.2f} |"
        )
    return "\n".join(lines)


def write_chance(p: float | None) -> str:
    """Return a p-value as it is read; nothing where there is none.

    >>> write_chance(0.0004), write_chance(0.05), write_chance(None)
    ('< 0.001', '0.050', '')
    """
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def write_interval(found: Estimate) -> str:
    """Return the 95% interval in words."""
    return f"{found.low:.3f} to {found.high:.3f}"


def write_difference(found: Estimate | None) -> str:
    """Return a difference with its interval; nothing where there is none."""
    return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})" if found else ""


def describe_report(each: SystemReport) -> dict:
    """Return a report as one flat row, with None where nothing is compared."""
    difference = each.difference
    return {
        "system": each.system, "benchmark": each.benchmark, "accuracy": each.accuracy.value, "low": each.accuracy.low,
        "high": each.accuracy.high, "n": each.accuracy.n, "seeds": each.seeds,
        "difference": difference.value if difference else None,
        "difference_low": difference.low if difference else None,
        "difference_high": difference.high if difference else None,
        "p": each.p, "unparsed": each.unparsed, "tokens": each.tokens, "seconds": each.seconds,
    }  # fmt: skip


def read_report(row: Mapping) -> SystemReport:
    """Return the report that `describe_report` described."""
    difference = None
    if row["difference"] is not None:
        difference = Estimate(row["difference"], row["difference_low"], row["difference_high"], row["n"])
    return SystemReport(
        row["system"], row["benchmark"], Estimate(row["accuracy"], row["low"], row["high"], row["n"]),
        row["unparsed"], row["tokens"], row["seconds"], difference, row["p"], row["seeds"],
        tuple(row.get("by_seed", ())),
    )  # fmt: skip


def write_csv(reports: Sequence[SystemReport]) -> str:
    """Return the reports as CSV with all digits; empty fields where nothing is compared."""
    written = io.StringIO()
    writer = csv.DictWriter(written, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(describe_report(each) for each in reports)
    return written.getvalue()


def write_latex(reports: Sequence[SystemReport]) -> str:
    """Return the reports as a LaTeX table that needs the package booktabs."""
    lines = [
        r"\begin{tabular}{lrrrrrrrr}",
        r"\toprule",
        r"System & Accuracy & 95\% interval & $n$ & Seeds & Difference & $p$ & Unparsed & Tokens \\",
        r"\midrule",
    ]
    for each in reports:
        difference = f"${each.difference.value:+.3f}$" if each.difference else "--"
        chance = write_chance(each.p).replace("<", "$<$") or "--"
        lines.append(
            f"{escape_latex(each.system)} & {each.accuracy.value:.3f} & {each.accuracy.low:.3f}--"
            f"{each.accuracy.high:.3f} & {each.accuracy.n} & {each.seeds} & {difference} & {chance} & "
            rf"{each.unparsed:.3f} & {each.tokens:.0f} \\"
        )
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def escape_latex(text: str) -> str:
    """Return text that LaTeX prints as it stands.

    >>> escape_latex("50% of A_1")
    '50\\\\% of A\\\\_1'
    """
    return "".join(LATEX_SIGNS.get(sign, sign) for sign in text)
