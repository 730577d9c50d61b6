"""The demo: every stage for real on a small scale, safe to run again."""

import re
from pathlib import Path

import pytest

from insightv_core.cli import main
from insightv_core.commands.demo import list_stages
from insightv_core.store import open_store

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


@pytest.mark.slow
def test_the_demo_runs_every_stage_and_does_nothing_twice(tmp_path, capsys):
    file = tmp_path / "demo.db"
    arguments = ["demo", "--quick", "--no-app", "--project", str(file)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    titles = re.findall(r"^\[\d/\d\] ([^:]+):", shown, re.MULTILINE)
    assert titles == [title for title, _ in list_stages(file, quick=True)]
    assert titles == re.findall(r"^\[\d/\d\] ([^:]+):", README, re.MULTILINE)
    assert "| two agents | reasoning |" in shown
    with open_store(file) as store:
        before = [store.value(f"SELECT count(*) FROM {table}") for table in ("paths", "assessments", "pairs", "models")]
        assert all(before) and store.value("SELECT count(*) FROM runs WHERE status != 'done'") == 0
        assert main(arguments) == 0
        again = [store.value(f"SELECT count(*) FROM {table}") for table in ("paths", "assessments", "pairs", "models")]
    assert again == before


def test_a_stage_that_fails_stops_the_demo(tmp_path, capsys, monkeypatch):
    from insightv_core.commands import demo

    monkeypatch.setattr(demo, "list_stages", lambda project, quick: [("Fail", ["generate", "--project", str(project)])])
    assert main(["demo", "--project", str(tmp_path / "none.db"), "--no-app"]) == 1
    assert "stopped at stage 1" in capsys.readouterr().err
