"""The notebooks: their form, the checks of their exercises, and that each runs from top to bottom and can be solved."""

import ast
import importlib
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from insightv_core import prompts
from insightv_core.errors import UserError
from insightv_core.evaluate import estimate
from insightv_core.figures import (
    plot_counts,
    plot_memory,
    plot_moves,
    plot_preference_loss,
    plot_prompt_cost,
    plot_separation,
    plot_systems,
)
from insightv_core.nano.world import REASONING, make_example, reference_chains
from insightv_core.records import Assessment, Question, Sampling, Step, StepRecord
from insightv_core.records import Path as ReasoningPath
from insightv_core.store import open_store
from insightv_core.teaching import app_link, checks, open_classroom, outputs, show_judged, show_path, show_table
from insightv_core.teaching.experiments import break_chain
from insightv_core.teaching.server import serve_model
from insightv_core.teaching.truth import verify_chain
from insightv_core.vlm import Talk
from insightv_core.vlm.loading import load_vlm
from insightv_core.vlm.scripted import ScriptedVLM

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
NAMES = (
    "00_tour", "01_generate", "02_assess", "03_agents", "04_iterative_dpo", "05_evaluate", "06_your_model_and_data",
)  # fmt: skip
MOST_CELLS, MOST_LINES, MOST_WORDS, MOST_WIDTH, MOST_BYTES = 40, 12, 1000, 110, 400_000
FIGURES = re.compile(r"\bplot_\w+\(")
SOLUTION = re.compile(r"<details><summary>Solution</summary>\n\n```python\n(.*?)\n```\n\n</details>", re.DOTALL)


def read(name: str) -> list[dict]:
    cells = json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in cells]


def code_of(name: str) -> list[dict]:
    return [cell for cell in read(name) if cell["cell_type"] == "code"]


def exercises_of(name: str) -> list[tuple[str, str]]:
    """Return the code of each exercise with that of its folded solution."""
    cells = read(name)
    found = []
    for place, cell in enumerate(cells):
        if "exercise" in cell["metadata"].get("tags", []):
            (solution,) = SOLUTION.findall(cells[place + 1]["source"])
            found.append((cell["source"], solution))
    return found


# -- form --------------------------------------------------------------------------------------------------------------


def test_the_folder_holds_these_notebooks():
    assert tuple(sorted(file.stem for file in FOLDER.glob("*.ipynb"))) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_cells_are_few_and_short(name):
    cells = read(name)
    assert len(cells) <= MOST_CELLS
    assert sum(len(cell["source"].split()) for cell in cells if cell["cell_type"] == "markdown") <= MOST_WORDS
    for cell in code_of(name):
        lines = cell["source"].splitlines()
        assert len(lines) <= MOST_LINES and max(map(len, lines)) <= MOST_WIDTH, cell["source"]


@pytest.mark.parametrize("name", NAMES)
def test_what_the_cells_show_is_kept_and_up_to_date(name):
    file = FOLDER / f"{name}.ipynb"
    assert outputs.find_outdated(file) is None, f"run: python -m insightv_core.teaching.outputs {name}"
    assert file.stat().st_size < MOST_BYTES
    cells = code_of(name)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    shown = [output for cell in cells for output in cell["outputs"]]
    assert shown and not any(output["output_type"] == "error" for output in shown)
    figures = [each["data"] for each in shown if "application/vnd.plotly.v1+json" in each.get("data", {})]
    assert figures and all("image/png" in figure for figure in figures)  # for who only looks at it
    printed = "".join("".join(each.get("text", [])) for each in shown)
    assert "\r" not in printed and "\x1b" not in printed and "Traceback" not in printed
    assert str(ROOT) not in json.dumps(shown) and str(Path.home()) not in json.dumps(shown)


def test_outputs_are_outdated_once_a_cell_or_the_weights_change(tmp_path, monkeypatch):
    cell = {"cell_type": "code", "source": ["1 + 1"], "outputs": [], "execution_count": 1, "metadata": {}}
    file = tmp_path / "a.ipynb"

    def write(cells, **metadata):
        file.write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))

    write([cell])
    assert outputs.find_outdated(file) == "it was never run"
    write([cell], insightv=outputs.fingerprint([cell]))
    assert outputs.find_outdated(file) is None
    write([cell | {"source": ["1 + 2"]}], insightv=outputs.fingerprint([cell]))
    assert "cells changed" in outputs.find_outdated(file)
    write([cell], insightv=outputs.fingerprint([cell]))
    with monkeypatch.context() as patched:
        patched.setattr(outputs, "MODEL_NAMES", ("nano-base",))
        assert "models changed" in outputs.find_outdated(file)


@pytest.mark.parametrize(
    ("line", "what"), [("room.agents()", "models"), ("load_published()", "study"), ("room.base", "")]
)
def test_outputs_depend_on_agents_and_study_where_these_are_shown(tmp_path, monkeypatch, line, what):
    cell = {"cell_type": "code", "source": [line], "outputs": [], "execution_count": 1, "metadata": {}}
    results, adapter, file = tmp_path / "results.json", tmp_path / "adapter", tmp_path / "a.ipynb"
    adapter.mkdir()
    (adapter / "config.json").write_text("1")
    results.write_text("1")
    monkeypatch.setattr("insightv_core.study.published.FILE", results)
    team = SimpleNamespace(adapter=str(adapter), summary_adapter=None)
    monkeypatch.setattr(outputs, "find_team", lambda store: team)
    notebook = {"cells": [cell], "metadata": {"insightv": outputs.fingerprint([cell])}}
    file.write_text(json.dumps(notebook | {"nbformat": 4, "nbformat_minor": 5}))
    assert outputs.find_outdated(file) is None
    results.write_text("2")
    (adapter / "config.json").write_text("2")
    assert outputs.find_outdated(file) == (f"its {what} changed since it was run" if what else None)


def test_running_a_notebook_keeps_the_last_state_of_bars_and_writes_it_whole(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    source = (
        "import sys\nfor k in range(3):\n    sys.stderr.write(f'\\r{k} of 2')\nprint('\\x1b[31mdone\\x1b[0m')\n6 * 7"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    file = tmp_path / "a.ipynb"
    nbformat.write(notebook, file)
    outputs.write_notebook(file, tmp_path / "project.db")
    shown = json.loads(file.read_text())["cells"][0]["outputs"]
    texts = {
        each.get("name", "result"): "".join(each.get("text", each.get("data", {}).get("text/plain", "")))
        for each in shown
    }
    assert texts == {"stderr": "2 of 2", "stdout": "done\n", "result": "42"}
    assert outputs.find_outdated(file) is None and list(tmp_path.glob("*.unfinished")) == []
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")]), file)
    before = file.read_text()
    with pytest.raises(UserError, match="ZeroDivisionError"):
        outputs.write_notebook(file, tmp_path / "project.db")
    assert file.read_text() == before


@pytest.mark.parametrize("name", NAMES)
def test_the_first_cell_says_goal_minutes_hardware_inputs_and_outputs(name):
    first = read(name)[0]
    assert first["cell_type"] == "markdown" and first["source"].startswith(f"# {name[:2]} · ")
    assert "**Goal:**" in first["source"] and "| minutes | hardware | in | out |" in first["source"]


@pytest.mark.parametrize("name", NAMES)
def test_the_story_has_its_parts_in_order(name):
    text = "\n".join(cell["source"] for cell in read(name) if cell["cell_type"] == "markdown")
    parts = ("## The question", "## By hand", "## Our function", "## What it got wrong")
    places = [text.find(part) for part in parts]
    assert -1 not in places and places == sorted(places)
    assert 2 <= len(exercises_of(name)) <= 3


@pytest.mark.parametrize("name", NAMES)
def test_one_switch_at_the_top_decides_about_the_gpu(name):
    first, *others = code_of(name)
    assert "REAL_GPU = False" in first["source"] and "real_gpu=REAL_GPU" in first["source"]
    assert not any("REAL_GPU" in cell["source"] for cell in others)


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_can_be_changed(name):
    with_figure = [cell["source"] for cell in code_of(name) if FIGURES.search(cell["source"])]
    assert with_figure
    assert any(re.search(r"^[A-Z_, ]+ = ", source, re.MULTILINE) for source in with_figure), "no parameter to change"


@pytest.mark.parametrize("name", NAMES)
def test_logic_is_imported_and_every_import_is_there(name):
    allowed = {"math", "sys", "re", "pathlib", "tempfile", "time", "dataclasses", "random", "numpy", "PIL"}
    sources = [cell["source"] for cell in code_of(name)] + [solution for _, solution in exercises_of(name)]
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):
        if isinstance(node, ast.ImportFrom):
            assert node.module and node.module.split(".")[0] in allowed | {"insightv_core"}, node.module
            found = importlib.import_module(node.module)
            assert all(hasattr(found, each.name) or is_module(node.module, each.name) for each in node.names)
        elif isinstance(node, ast.Import):
            assert {each.name.split(".")[0] for each in node.names} <= allowed
        assert not isinstance(node, ast.ClassDef)


def is_module(package: str, name: str) -> bool:
    try:
        importlib.import_module(f"{package}.{name}")
    except ImportError:
        return False
    return True


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_that_are_named_exist(name):
    text = "\n".join(cell["source"] for cell in read(name))
    assert set(re.findall(r"`(0\d_[a-z_]+)`", text)) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_commands_that_are_shown_can_be_read(name):
    from insightv_core.cli import build_parser

    text = "\n".join(cell["source"] for cell in read(name) if cell["cell_type"] == "markdown")
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for command in re.findall(r"python -m insightv_core ([^&\n]+)", block):
            build_parser().parse_args(command.split())
        start = text.index(block)
        assert re.search(r"(?i)not run here", text[max(0, start - 500) : start]), block


# -- classroom and display ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def class_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("class") / "class.db"
    open_classroom(file=file).store.close()
    return file


def test_the_classroom_opens_again_and_adds_nothing(class_file, monkeypatch):
    monkeypatch.setenv("INSIGHTV_TINY", "1")
    monkeypatch.setenv("INSIGHTV_PROJECT", str(class_file))
    room = open_classroom()
    assert room.store.file == class_file and room.store.question_count() == 300
    assert len(room.questions) == room.sizes.questions < 40
    room.store.close()


def test_the_gpu_changes_model_and_sizes_only(class_file):
    nano, real = rooms = [open_classroom(real_gpu=gpu, file=class_file) for gpu in (False, True)]
    assert nano.sizes.teacher == "nano-teacher" != real.sizes.teacher and real.sizes.questions > nano.sizes.questions
    assert (nano.generating, nano.assessing, nano.curating) == (real.generating, real.assessing, real.curating)
    for room in rooms:
        room.store.close()


def test_an_unknown_stage_is_refused():
    with pytest.raises(UserError, match="choose one of questions, paths"):
        open_classroom("pathes")


def make_path() -> tuple[Question, ReasoningPath, Assessment]:
    turns = tuple(
        StepRecord("{}", Step(title, text), True, 1, None, 0.0)
        for title, text in (("Read", "red is 3"), ("Add", "<b>"))
    )
    path = ReasoningPath("p", "q", "r", 0, "complete", turns, "7", None, "", 2, None, 0.0)
    assessment = Assessment("p", "a", "wrong", "", "rules", 35, "", ("sound", "flawed"), 1, "c")
    return Question("q", "How many?", "8", "i", "demo"), path, assessment


def test_a_path_shows_its_picture_its_steps_and_both_verdicts():
    question, path, assessment = make_path()
    shown = show_path(question, Image.new("RGB", (600, 600)), path, assessment)._repr_html_()
    assert shown.count("data:image/png;base64,") == 1 and "red is 3" in shown and "&lt;b&gt;" in shown
    assert "✓ sound" in shown and "✗ flawed" in shown and "✗ wrong" in shown and "<b>35</b>" in shown
    table = show_judged(question, Image.new("RGB", (9, 9)), [path], {"p": assessment})
    assert "✓ ✗" in table.html and "35" in repr(table)


def test_a_table_puts_numbers_to_the_right_and_says_when_it_is_empty():
    shown = show_table([{"name": "a", "share": 0.25}, {"name": "b", "share": None}])
    assert "0.250" in shown.html and "text-align:right" in shown.html and "None" not in shown.html
    assert repr(show_table([])) == "no rows"


def test_the_link_opens_the_question_in_the_app(tmp_path):
    from insightv_core.store.browse import PathFilter, filter_from_query

    with open_store(tmp_path / "a b.db", create=True) as store:
        shown = repr(app_link(store, question="abc", path="def"))
    query = re.search(r"\?(\S+)", shown)
    assert query and filter_from_query(query[1]) == PathFilter(question="abc")
    assert "tab=browse" in shown and "path=def" in shown
    assert "python -m insightv_core app" in shown


def test_figures_follow_their_parameters():
    few, many = (plot_prompt_cost(100, 10, 4, paths) for paths in (1, 3))
    assert [trace.y[-1] for trace in few.data] == [4 * 10 + 100 + 110 + 120 + 130, 140, 140]
    assert [trace.y[-1] for trace in many.data] == [1500, 420, 220]
    assert "AUC 0.50" in plot_separation(0).layout.title.text and "AUC 0.98" in plot_separation(3).layout.title.text
    loss = plot_preference_loss((0.1, 1.0)).data[0]
    assert loss.y[80] == pytest.approx(0.6931, abs=1e-4) and loss.x[80] == 0
    assert [trace.name for trace in plot_moves({"a": [(1.0, 0.0)]}).data] == ["a, n = 1", "equal"]
    assert list(plot_counts({"x": {"k": 2}, "y": {"m": 1}}, "t").data[1].y) == [0, 1]
    assert list(plot_memory(7).data[0].y)[::2] == [14, 112]


def test_every_system_has_its_name_and_the_first_is_grey():
    guess = estimate([True, False, True, False], 5)
    reports = [SimpleNamespace(system=name, accuracy=guess, seeds=1, tokens=2.0, difference=None) for name in "abc"]
    figure = plot_systems(reports)
    first, *others = figure.data[0].marker.color
    assert set(others) == {others[0]} and others[0] != first and list(figure.data[0].y) == ["a", "b", "c"]
    assert figure.layout.yaxis.dtick == 1 and figure.layout.height > plot_systems(reports[:1]).layout.height


def test_the_stand_in_server_answers_as_the_model_does():
    question = Question("q", "How many?", "8", "i", "demo")
    picture = Image.new("RGB", (20, 10), "red")
    model = ScriptedVLM(lambda talk, sample: [f"reply {sample} to {talk.messages[-1]['content'][-1]['text'][:9]}"])
    with serve_model(model, "stand-in") as address:
        remote = load_vlm(f"{address}#stand-in")
        talk = Talk("q", prompts.ask(question.text, prompts.DIRECT), (picture,), (0, 1))
        said = {each.sample: each.replies[0].text for each in remote.converse([talk], Sampling((0.5,)))}
    assert said == {0: "reply 0 to How many?", 1: "reply 1 to How many?"}
    assert {each.images[0].size for each in model.talks} == {(20, 10)} and model.talks[0].messages == talk.messages


@pytest.mark.parametrize("family", REASONING)
def test_a_broken_chain_is_false_in_every_family(family):
    drawn = make_example(3, family=family)
    assert "flawed" in verify_chain(drawn, break_chain(drawn))


# -- checks ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def example():
    return make_example(7, family="bar_range")


def test_flawed_steps_are_checked_one_by_one(example):
    steps = break_chain(example)
    truth = {n for n, verdict in enumerate(verify_chain(example, steps), 1) if verdict == "flawed"}
    assert truth and checks.check_flawed_steps(truth, example, steps).startswith(checks.RIGHT)
    assert "You missed step" in checks.check_flawed_steps(truth - {min(truth)}, example, steps)
    assert "There is no step 99" in checks.check_flawed_steps({99}, example, steps)
    assert "in braces" in checks.check_flawed_steps(3, example, steps)
    right = reference_chains(example, 1)[0]
    assert "Step 1 holds" in checks.check_flawed_steps({1}, example, right)


def test_a_broken_chain_must_be_false_and_whole(example):
    right = reference_chains(example, 1)[0]
    assert "as it was" in checks.check_broken_chain(right, example, right)
    assert "steps" in checks.check_broken_chain(right[:-1], example, right)
    wrong = [replace(right[0], content=re.sub("[0-9]+", "97", right[0].content)), *right[1:]]
    assert checks.check_broken_chain(wrong, example, right).startswith(checks.RIGHT)
    same = [replace(right[0], summary="Look"), *right[1:]]
    assert "nothing false" in checks.check_broken_chain(same, example, right)


def test_numbers_and_functions_are_told_from_wrong_ones():
    assert checks.check_number(5, 5, "h").startswith(checks.RIGHT)
    assert checks.check_number(4, 5, "Count.") == "4 is too small. Count."
    assert "not a number" in checks.check_number("five", 5, "h")
    assert checks.check_auc(lambda ups, downs: sum(u > d for u in ups for d in downs) / 2).startswith("For (")
    assert "ZeroDivisionError" in checks.check_auc(lambda ups, downs: 1 / 0)
    assert "returns nothing" in checks.check_prompt_tokens(lambda prompt, step, steps: None)
    assert "not a function" in checks.check_pair_loss(0.693)


def test_a_lucky_path_may_be_missing():
    assert checks.check_lucky(None, []).startswith(checks.RIGHT) and "answer None" in checks.check_lucky("a", [])
    assert checks.check_lucky("a", ["a", "b"]).startswith(checks.RIGHT) and "There is" in checks.check_lucky(
        None, ["a"]
    )


def test_an_interval_may_differ_by_chance_alone():
    ours = lambda hits: (estimate(hits, 5).low, estimate(hits, 5).high)  # noqa: E731
    assert checks.check_interval(ours).startswith(checks.RIGHT)
    assert "your interval is" in checks.check_interval(lambda hits: (0.0, 1.0))
    assert "two numbers" in checks.check_interval(lambda hits: 0.5)


def test_the_share_of_the_rescued_is_checked():
    assert checks.check_rescued(0.25, 0.25).startswith(checks.RIGHT) and "too large" in checks.check_rescued(0.5, 0.25)
    assert checks.check_rescued(None, None).startswith(checks.RIGHT)


def test_a_row_is_read_as_the_importer_reads_it(tmp_path):
    Image.new("RGB", (40, 40), "red").save(tmp_path / "a.png")
    row = {"image": "a.png", "question": "How many?", "answer": "3"}
    assert checks.check_row(row, tmp_path) == f"{checks.RIGHT} It reads as a question of type integer."
    assert "'answer' is missing" in checks.check_row(row | {"answer": " "}, tmp_path)
    assert "no picture b.png" in checks.check_row(row | {"image": "b.png"}, tmp_path)
    (tmp_path / "bad.png").write_text("no picture")
    assert "refuses it" in checks.check_row(row | {"image": "bad.png"}, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_dots_ask_for_an_answer_and_solutions_differ_from_them(name):
    for exercise, solution in exercises_of(name):
        assert "..." in exercise and "checks.check_" in exercise
        ast.parse(solution)
        assert "checks.check_" in solution and "= ...\n" not in solution


def write_function_exercises() -> list[tuple[str, str]]:
    return [(name, solution) for name in NAMES for exercise, solution in exercises_of(name) if "def " in exercise]


@pytest.mark.parametrize(("name", "solution"), write_function_exercises())
def test_a_solution_that_is_a_function_is_right(name, solution, capsys):
    import math

    from insightv_core import prompts

    exec(compile(solution, name, "exec"), {"checks": checks, "prompts": prompts, "math": math})
    assert capsys.readouterr().out.startswith(checks.RIGHT)


# -- running -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return tmp_path_factory.mktemp("classroom") / "notebooks.db"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_runs_and_its_solutions_are_right(name, project, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("INSIGHTV_PROJECT", str(project))
    monkeypatch.setenv("INSIGHTV_TINY", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", 4)
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if found := SOLUTION.findall(cell.source):
            cells.append(nbformat.v4.new_code_cell(found[0], metadata={"tags": ["solution"]}))
    notebook.cells = cells
    resources = {"metadata": {"path": str(FOLDER)}}
    nbclient.NotebookClient(notebook, timeout=1200, kernel_name="python3", resources=resources).execute()
    said = {"exercise": [], "solution": []}
    for cell in notebook.cells:
        for tag in set(said) & set(cell.metadata.get("tags", [])):
            said[tag].append("".join(output.text for output in cell.outputs if output.output_type == "stream"))
    assert said["exercise"] and all(checks.EMPTY in each for each in said["exercise"])
    assert all(checks.RIGHT in each for each in said["solution"]), said["solution"]
    with open_store(project) as store:  # both agents of the tour, and those of all the others: never trained again
        assert store.value("SELECT count(*) FROM runs WHERE stage = 'sft'") <= 4
