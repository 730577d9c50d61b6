"""The study that comes along: what `insightv study` found with the embedded model, as plain values."""

import json
from pathlib import Path

from insightv_core.errors import UserError
from insightv_core.evaluate.statistics import SystemReport
from insightv_core.evaluate.tables import read_report
from insightv_core.study.jobs import REASONING
from insightv_core.study.writing import write_found, write_verdict

FILE = Path(__file__).resolve().parents[2] / "data" / "study" / "results.json"


def load_published(file: Path = FILE) -> dict:
    """Return the results of the study that comes along; raise `UserError` where the file is gone or damaged."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}): restore it, or run `insightv study` yourself") from error


def list_published(results: dict, benchmark: str = REASONING) -> list[SystemReport]:
    """Return the reports of a study's systems on a benchmark, the first of them the baseline."""
    return [read_report(row) for row in results["systems"] if row["benchmark"] == benchmark]


def list_claims(results: dict) -> list[dict[str, str]]:
    """Return what the paper would lead one to expect and what was found, as rows of a table."""
    return [
        {
            "expected": each["words"], "in the paper": each["paper"], "found": write_found(each),
            "so it": write_verdict(each),
        }
        for each in results["claims"]
    ]  # fmt: skip
