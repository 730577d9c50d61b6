"""The command line: what a newcomer runs first, and what it says when something is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from insightv_core.cli import main
from insightv_core.figures import plot_training
from insightv_core.nano.demo import write_demo
from insightv_core.nano.scenes import content_hash
from insightv_core.nano.training.lessons import LESSON_WEIGHTS
from insightv_core.nano.world import FAMILIES, make_example, split_of

DEMO = Path(__file__).parents[1] / "data" / "demo"


def test_show_prints_question_chains_and_verdicts_and_writes_the_picture(tmp_path, capsys):
    picture = tmp_path / "scene.png"
    assert main(["nano", "show", "--seed", "7", "--family", "bar_total", "--out", str(picture)]) == 0
    printed = capsys.readouterr().out
    example = make_example(7, family="bar_total")
    assert example.question in printed and f"answer: {example.answer}" in printed
    assert "reference chain 3" in printed and "✓" in printed and "✕" not in printed
    assert Image.open(picture).size == (448, 448)


def test_show_marks_the_slip_in_a_flawed_chain(tmp_path, capsys):
    options = ["--seed", "3", "--family", "polygon_perimeter", "--out", str(tmp_path / "s.png")]
    assert main(["nano", "show", "--flawed", "--json", *options]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [chain["title"] for chain in shown["chains"]][-1] == "a chain with a slip"
    verdicts = [[step["verdict"] for step in chain["steps"]] for chain in shown["chains"]]
    assert "flawed" in verdicts[-1] and all("flawed" not in steps for steps in verdicts[:-1])
    false = [c for step in shown["chains"][-1]["steps"] for c in step["claims"] if c["verdict"] == "false"]
    assert false and all(claim["reason"] for claim in false)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["show", "--family", "bars"], ["bars", "bar_total"]),
        (["show", "--level", "7"], ["7", "1, 2, 3"]),
        (["show", "--out", "nowhere/scene.png"], ["nowhere/scene.png", "--out"]),
        (["measure", "--n", "3"], ["--n is 3", "100"]),
        (["measure", "--teacher", "nowhere", "--n", "100"], ["nowhere"]),
        (["curve", "nowhere"], ["nowhere"]),
    ],
)
def test_user_errors_are_one_line_without_traceback(arguments, words, capsys):
    assert main(["nano", *arguments]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("insightv: ") and all(word in error for word in words)


def test_every_action_has_an_example_in_its_help(capsys):
    for action in ("show", "measure", "demo", "pretrain", "curve"):
        with pytest.raises(SystemExit):
            main(["nano", action, "--help"])
        assert f"insightv nano {action}" in capsys.readouterr().out.split("\nexample:\n")[1]


def test_importing_the_package_and_parsing_a_command_load_nothing_slow():
    code = (
        "import sys, insightv_core.cli; insightv_core.cli.build_parser();"
        "print({'torch', 'transformers', 'datasets', 'gradio', 'plotly', 'pandas', 'sqlite_utils'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_the_demo_questions_are_balanced_solvable_and_small():
    rows = [json.loads(line) for line in (DEMO / "questions.jsonl").read_text().splitlines()]
    assert len(rows) == 300 and len({row["id"] for row in rows}) == 300
    counts = [sum(row["family"] == family for row in rows) for family in FAMILIES]
    assert max(counts) - min(counts) <= 1
    for row in rows:
        example = make_example(row["seed"], split="demo", family=row["family"], level=row["level"])
        assert (row["question"], row["answer"]) == (example.question, example.answer)
        assert split_of(example.scene) == "demo" and content_hash(example.scene)[:12] in row["image"]
        assert Image.open(DEMO / row["image"]).size == (448, 448)
    assert sum(file.stat().st_size for file in DEMO.rglob("*") if file.is_file()) < 6e6


def test_the_demo_is_drawn_the_same_again(tmp_path):
    count, _ = write_demo(tmp_path, 25)
    assert count == 25
    drawn = (tmp_path / "questions.jsonl").read_text().splitlines()
    assert drawn == (DEMO / "questions.jsonl").read_text().splitlines()[:25]


def test_curve_draws_every_lesson_that_the_log_knows():
    taught = [{"step": n, "lessons": dict.fromkeys(LESSON_WEIGHTS, 1 / n), "losses": {"chain": 2 / n}} for n in (1, 2)]
    assert [line.name for line in plot_training(taught).data] == [*sorted(LESSON_WEIGHTS), "chain"]
    tower = [{"step": 1, "lessons": {"reading": 3}, "losses": {}}, *taught]
    assert next(line.x for line in plot_training(tower).data if line.name == "reading") == (1, 1, 2)


def test_curve_draws_every_kind_of_conversation(tmp_path, capsys):
    lines = [
        {"step": n, "lessons": {"reading": 3 / n}, "losses": {"caption": 2 / n, "chain": 4 / n}} for n in (1, 2, 3)
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["nano", "curve", str(tmp_path)]) == 0
    page = (tmp_path / "curve.html").read_text()
    assert all(name in page for name in ("caption", "chain", "reading"))
    assert str(tmp_path / "curve.html") in capsys.readouterr().out
