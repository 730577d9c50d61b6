"""`insightv doctor`: says what is there and what to mend."""

import json
import shutil
from collections import namedtuple

import pytest

from insightv_core import doctor
from insightv_core.cli import main
from insightv_core.store import open_store


def examine(capsys, *arguments):
    """Run `insightv doctor` and return its exit status and its findings by name."""
    status = main(["doctor", "--json", *map(str, arguments)])
    result = json.loads(capsys.readouterr().out)
    assert result["ready"] == (status == 0)
    return status, {finding["what"]: finding for finding in result["findings"]}


def test_a_machine_that_runs_these_tests_is_ready(tmp_path, capsys):
    status, found = examine(capsys, "--project", tmp_path / "new.db")
    assert status == 0, found
    assert {"Python", "packages", "device", "disk", "nano-base", "nano-teacher", "project"} <= set(found)
    assert "2,919,552 parameters" in found["nano-base"]["found"]
    assert found["project"]["state"] == "note" and "insightv demo" in found["project"]["advice"]
    assert not (tmp_path / "new.db").exists()


def test_a_project_is_counted_and_a_damaged_one_named(tmp_path, capsys):
    open_store(tmp_path / "good.db", create=True).close()
    assert "0 questions" in examine(capsys, "--project", tmp_path / "good.db")[1]["project"]["found"]
    (tmp_path / "bad.db").write_bytes(b"no database at all" * 100)
    status, found = examine(capsys, "--project", tmp_path / "bad.db")
    assert status == 1 and found["project"]["state"] == "mend" and "--project" in found["project"]["found"]


@pytest.mark.parametrize(("threads", "hint"), [(8, "OMP_NUM_THREADS=4 for each"), (1, "")])
def test_two_commands_at_once_are_told_to_share_the_cores(monkeypatch, threads, hint):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    found = doctor.check_device()
    assert f"{threads} thread" in found.found and hint in found.advice and ("OMP" in found.advice) == bool(hint)


def test_packages_that_are_missing_or_of_another_version_are_named(tmp_path, monkeypatch, capsys):
    pins = tmp_path / "requirements.txt"
    pins.write_text("# a comment\npytest==0.0.1  # tests\nno-such-package-anywhere==1.2  # nothing\n")
    monkeypatch.setattr(doctor, "REQUIREMENTS", pins)
    status, found = examine(capsys, "--project", tmp_path / "new.db")
    assert status == 1
    assert found["pytest"]["state"] == "note" and "tested with 0.0.1" in found["pytest"]["found"]
    assert found["no-such-package-anywhere"]["advice"] == "pip install no-such-package-anywhere==1.2"


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1, 1, 5))
    finding = doctor.check_disk(tmp_path / "not" / "there" / "yet.db")
    assert finding.state == "mend" and str(tmp_path) in finding.found and "--project" in finding.advice


@pytest.mark.parametrize(("version", "state"), [((3, 10), "mend"), ((3, 11), "ok"), ((3, 14), "ok")])
def test_an_old_python_is_named(version, state):
    assert doctor.check_python(version).state == state


def test_a_damaged_model_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    finding = doctor.check_model(str(tmp_path))
    assert finding.state == "mend" and str(tmp_path) in finding.found
