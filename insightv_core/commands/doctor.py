"""`insightv doctor`: is this machine ready, and what to mend where it is not."""

import argparse
from dataclasses import asdict

from insightv_core.commands.common import add_command, add_project_options, print_result
from insightv_core.doctor import BAD, GOOD, NOTE, Finding, examine
from insightv_core.store import project_file

SIGNS = {GOOD: "✓", NOTE: "–", BAD: "✕"}


def add_doctor_command(commands) -> None:
    """Add `insightv doctor`."""
    parser = add_command(
        commands, "doctor", run_doctor, "look over packages, device, disk, models and project, and say what to mend",
        "insightv doctor --project data/insightv.db",
    )  # fmt: skip
    add_project_options(parser)


def run_doctor(options: argparse.Namespace) -> int:
    """Print what was found; the exit status is 1 where something must be mended."""
    project = project_file(options.project)
    findings = []
    for finding in examine(project):
        findings.append(finding)
        if not options.json:
            print(describe(finding), flush=True)
    bad = sum(finding.state == BAD for finding in findings)
    words = f"\n{bad} to mend" if bad else "\nready"
    print_result(options, {"ready": not bad, "findings": [asdict(finding) for finding in findings]}, words)
    return 1 if bad else 0


def describe(finding: Finding) -> str:
    """Return a finding as a line, with the advice on a line of its own."""
    line = f"{SIGNS[finding.state]} {finding.what:<18} {finding.found}"
    return f"{line}\n  {'':<18} {finding.advice}" if finding.advice else line
