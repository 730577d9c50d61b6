"""What the README says is so: its commands run, its output is real, and its tree is the one on disk."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from insightv_core.cli import build_parser, main
from insightv_core.commands.study import read_settings
from insightv_core.evaluate.plan import BOTH
from insightv_core.nano.measure import TARGETS
from insightv_core.nano.world import FAMILIES
from insightv_core.study.jobs import PERCEPTION
from insightv_core.study.published import list_published, load_published
from insightv_core.study.writing import write_brief, write_report

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
IGNORED = {"__init__.py", "__main__.py", "__pycache__"}


def tree_paths():
    """Return every path that the README's tree names, folders without their slash."""
    block = README.split("## The files")[1].split("```")[1]
    paths, parents = [], []
    for line in block.strip().splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        parents = [*parents[:depth], name.rstrip("/")]
        paths.append("/".join(parents))
    return paths


def test_the_tree_names_what_is_there_and_nothing_else():
    named = tree_paths()
    missing = [path for path in named if not (ROOT / path).exists()]
    assert not missing
    for folder in ("insightv_core", "insightv_core/nano"):
        there = {f"{folder}/{entry.name}" for entry in (ROOT / folder).iterdir()} - {f"{folder}/{x}" for x in IGNORED}
        assert there <= set(named), there - set(named)


def test_nano_show_prints_what_the_readme_shows(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    section = README.split("## The world")[1]
    command = section.split("```sh\n")[1].split("```")[0].strip()
    assert main(shlex.split(command)[3:]) == 0
    assert capsys.readouterr().out.strip() == section.split("```\n")[2].split("```")[0].strip()


def test_the_first_command_installs_and_runs_the_demo():
    installed, command = README.split("```sh\n")[1].split("```")[0].strip().split(" && ")
    assert installed == "pip install -r requirements.txt"
    assert build_parser().parse_args(shlex.split(command)[3:]).run.__name__ == "run_demo"


def test_the_table_names_every_command():
    named = re.findall(r"^\| `insightv ([\w-]+)` \|", README, re.MULTILINE)
    (subparsers,) = (action for action in build_parser()._actions if action.dest == "run" or action.choices)
    assert sorted(named) == sorted(subparsers.choices)
    for name, parser in subparsers.choices.items():
        assert name == "nano" or f"example:\n  insightv {name}" in parser.epilog, name


def test_the_actions_of_nano_exist():
    (row,) = (line for line in README.splitlines() if line.startswith("| `insightv nano`"))
    for action in re.findall(r"`(\w+)`", row.split("|")[2]):
        build_parser().parse_args(["nano", action, *(["folder"] if action == "curve" else [])])


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(ROOT.glob("tests/bench/*.py")), ids=lambda file: file.stem)
def test_measurements_can_still_be_run(file):
    assert "--json" in subprocess.run([sys.executable, file, "--help"], capture_output=True, text=True).stdout


def test_only_the_store_speaks_sql():
    for file in (*ROOT.glob("insightv_core/**/*.py"), *ROOT.glob("app/*.py")):
        if "store" not in file.relative_to(ROOT).parts:
            found = re.search(
                r"\"(SELECT|INSERT|UPDATE|DELETE|CREATE) .*|\bstore\.(value|rows|tuples|column|db)\b", file.read_text()
            )
            assert not found, (file, found[0])


def test_the_number_of_families_is_right():
    assert f"questions are of\n{len(FAMILIES)} kinds" in README


def test_every_requirement_is_pinned_and_says_what_uses_it():
    for line in (ROOT / "requirements.txt").read_text().splitlines()[1:]:
        assert re.match(r"[a-z0-9-]+==[\w.]+ +# \w+", line), line


def test_the_measured_figures_are_those_of_the_readme_and_the_cards():
    measured = json.loads((ROOT / "data/models/measured.json").read_text())
    table = README.split("## The two models")[1].split("## The files")[0]
    for name, (low, high) in TARGETS.items():
        value = "-" if measured[name] is None else f"{measured[name]:.3f}"
        row = f"| `{name}` | {value} | {low:g} to {high:g} |"
        assert row in table, row
        model = "nano-base" if name.startswith("base") else "nano-teacher"
        assert row in (ROOT / f"data/models/{model}/README.md").read_text() or name == "load_seconds", row
    assert f"--seed {measured['seed']} --n {measured['n']}" in table


def test_what_the_readme_says_of_the_agents_stands_on_their_cards():
    said = re.search(r"(\d+) held-out scenes both together are right in (0\.\d+), their base in (0\.\d+)", README)
    for name in ("nano-reason", "nano-summary"):
        card = (ROOT / f"data/models/{name}/README.md").read_text()
        assert f"evaluate --n {said[1]}`" in card
        assert f"| two agents | {said[2]} |" in card and f"| base, direct | {said[3]} |" in card
        rows = re.search(r"([\d,]+) rows for the\nreasoning agent.* and ([\d,]+) for the summary agent", card)
        assert f"trained on {rows[1]} and {rows[2]} rows" in (ROOT / "notebooks/05_evaluate.ipynb").read_text()


def test_what_the_readme_says_of_three_rounds_stands_on_the_card():
    card = (ROOT / "data/models/nano-reason/README.md").read_text()
    said = re.search(
        r"both from (0\.\d+) to (0\.\d+) over ([\d,]+) scenes more.*; the base is right in (0\.\d+)", README
    )
    before, after, count, base = said.groups()
    assert f"| two agents, before DPO | {before} |" in card and f"| two agents, DPO round 3 | {after} |" in card
    assert f"{count} held-out scenes" in card.replace("\n", " ") and f"| base, direct | {base} |" in card


def test_the_study_of_the_readme_is_the_one_that_comes_along():
    results, report = load_published(), (ROOT / "data/study/report.md").read_text()
    assert write_brief(results) in README.split("## The study")[1].split("\n## ")[0]
    assert report == write_report(results, list_published(results) + list_published(results, PERCEPTION))
    assert results["settings"]["questions"] >= 1000 and "three times" in README.split("## The study")[1]
    assert next(each["seeds"] for each in results["systems"] if each["name"] == BOTH) == 3
    short = re.search(r"beat their base by (\S+)\s+points.* lose (\S+) points", README, re.DOTALL)
    found = {each["words"]: 100 * each["difference"] for each in results["claims"]}
    assert short[1] == f"{found['both agents beat the base model by 8 points']:.1f}"
    assert short[2] == f"{-found['perception does not fall by over 2 points']:.1f}"


def test_the_study_can_be_done_again_by_the_commands_of_its_page():
    commands = (ROOT / "data/study/README.md").read_text().split("```sh\n")[1].split("```")[0].splitlines()
    for command in commands:
        options = build_parser().parse_args(shlex.split(command)[1:])
        assert options.run.__name__
    studied, settings = read_settings(options), load_published()["settings"]
    assert {name: settings[name] for name in ("epochs", "learning_rate", "rounds", "questions")} == {
        name: getattr(studied, name) for name in ("epochs", "learning_rate", "rounds", "questions")
    }
