"""Starting stages in the app: what a form stands for, and that nothing it sends becomes a path or an option."""

import os
import re
import shlex
import subprocess
import sys
from html import unescape

import pytest
from app_project import MODEL, make_project
from hypothesis import given, settings
from hypothesis import strategies as st
from test_app_pages import visible, wait_for

from app import workers
from app.next_action import next_action
from app.pages import Project, read_query
from app.start import FIELDS, begin_stage, offered_models, read_form, render_form, render_start, stage_fields
from app.workers import STAGES, log_file, read_tail
from insightv_core.cli import build_parser
from insightv_core.errors import UserError
from insightv_core.records import Run
from insightv_core.store import open_store
from insightv_core.store.browse import funnel
from insightv_core.store.runs import list_runs


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project(make_project(tmp_path_factory.mktemp("started"), 4), "my-model", "my-base")


@pytest.fixture
def store(project):
    with open_store(project.file) as store:
        yield store


def command_of(page: str) -> str:
    return unescape(re.search(r"<code>(insightv [^<]*)</code>", page)[1])


@pytest.mark.parametrize("stage", STAGES)
def test_a_form_begins_with_the_command_that_has_no_options(store, project, stage):
    page = render_form(store, project, {"start": stage})
    agent = " reason" if stage == "sft" else ""
    assert command_of(page) == f"insightv {stage}{agent} --project {store.file}"
    assert page.count("<label") == len(FIELDS[stage]) and 'data-action="begin"' in page


@pytest.mark.parametrize(
    "stage, given, words",
    [
        ("generate", {"paths": "4", "limit": "40", "model": "my-model"}, "--model my-model --limit 40 --paths 4"),
        ("generate", {"temperature": "0.7,1.0", "seed": "-3", "paths": "8"}, "--temperature 0.7,1.0 --seed=-3"),
        ("assess", {"mode": "rules", "judged": "correct"}, "--mode rules --judged correct"),
        ("curate", {"exclude": "yes", "margin": "30"}, "--margin 30 --exclude"),
        ("sft", {"role": "summary", "epochs": "3"}, "--epochs 3"),
        ("dpo", {"run_id": "yes", "learning_rate": "1e-4"}, "--run --learning-rate 1e-4"),
        ("evaluate", {"controls": "yes", "n": "20", "no_agents": "no"}, "--n 20 --controls"),
    ],
)
def test_what_is_chosen_becomes_the_options_of_the_command(store, project, stage, given, words):
    asked = read_form(store, project, stage, given)
    assert not asked.problems and shlex.join(asked.arguments).endswith(f"--project {store.file} {words}")
    build_parser().parse_args(asked.arguments)
    shown = command_of(render_form(store, project, {"start": stage} | given))
    assert shlex.split(shown) == ["insightv", *asked.arguments]


@pytest.mark.parametrize(
    "stage, name, value, words",
    [
        ("generate", "paths", "none", "'none' is not a whole number of at least 1"),
        ("generate", "temperature", "9", "between 0 and 5"), ("generate", "seed", "1.5", "invalid int value"),
        ("generate", "model", "/etc/passwd", "none of nano-teacher"), ("sft", "role", "--full", "none of reason"),
        ("generate", "paths", "--help", "not a whole number"), ("evaluate", "controls", "/tmp", "none of no, yes"),
        ("dpo", "learning_rate", "--adapter=/tmp", "invalid float"), ("curate", "margin", "1" * 41, "up to 40"),
        ("generate", "limit", "4\x00", "up to 40"),
    ],
)  # fmt: skip
def test_a_bad_value_is_marked_where_it_stands_and_nothing_starts(store, project, stage, name, value, words):
    page = render_form(store, project, {"start": stage, name: value})
    assert words in unescape(visible(page)) and 'aria-invalid="true"' in page and 'data-action="begin"' not in page
    starts: dict = {}
    with pytest.raises(UserError, match=re.escape(words)):
        begin_stage(store, project, starts, {"start": stage, name: value})
    assert not starts


odd = st.one_of(
    st.text(max_size=50), st.sampled_from(["--project=/tmp/x", "--adapter=/x", "-h", "--", "..", "@file", "1 --full"]),
    st.integers().map(str), st.floats().map(str),
)  # fmt: skip


@pytest.mark.parametrize("word", ["-h", "--json", "@file", "nobody"])
def test_a_word_in_place_of_a_choice_is_told_of_and_is_never_an_option(store, project, word):
    asked = read_form(store, project, "sft", {"role": word, "epochs": "2"})
    assert set(asked.problems) == {"role"} and word in asked.problems["role"] and word not in asked.arguments


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(STAGES), st.data())
def test_whatever_a_form_sends_only_its_own_options_change(project, stage, data):
    fields = stage_fields(stage, offered_models(project))
    names = [*(field.name for field in fields), "project", "adapter", "json", "--full"]
    sent = data.draw(st.dictionaries(st.sampled_from(names), odd, max_size=4))
    with open_store(project.file) as store:
        asked = read_form(store, project, stage, sent)
    if asked.problems:
        return
    parsed = vars(build_parser().parse_args(asked.arguments))
    usual = vars(build_parser().parse_args([stage, *(["reason"] if stage == "sft" else [])]))
    changed = {name for name in parsed if repr(parsed[name]) != repr(usual[name])}
    assert changed <= {"project", *FIELDS[stage]} and parsed["project"] == project.file
    for field in fields:
        if field.choices and not field.flag:
            assert str(parsed[field.name] or field.default) in field.choices


def test_no_field_takes_a_path_or_free_words(project):
    (commands,) = (each for each in build_parser()._actions if each.choices and "generate" in each.choices)
    for stage in STAGES:
        for field in stage_fields(stage, ("nano-base",)):
            action = next(each for each in commands.choices[stage]._actions if each.dest == field.name)
            assert field.choices or (action.type is not None and getattr(action.type, "__name__", "") != "Path"), field


@pytest.mark.parametrize("stage", ["", "app", "export", "user", "../generate", "nano"])
def test_nothing_but_a_stage_is_started(store, project, stage):
    for work in (lambda: render_form(store, project, {"start": stage}), lambda: begin_stage(store, project, {}, {})):
        with pytest.raises(UserError, match="no stage"):
            work()


def stand_in(monkeypatch, code: str) -> list[list[str]]:
    """Let this code run in place of the command; return the commands that were asked for."""
    asked: list[list[str]] = []

    real = subprocess.Popen

    def popen(command, **options):
        asked.append(command[3:])
        return real([sys.executable, "-c", code], **options)

    monkeypatch.setattr(workers.subprocess, "Popen", popen)
    monkeypatch.setattr(workers, "LOOK_EVERY", 0.02)
    return asked


def test_a_start_leads_to_its_run_with_its_log_and_is_not_started_twice(store, project, monkeypatch):
    asked = stand_in(monkeypatch, "import time; print('first words', flush=True); time.sleep(60)")
    starts: dict = {}
    key = begin_stage(store, project, starts, {"start": "generate", "paths": "4"})
    process = starts[key].process
    try:
        assert asked == [["generate", "--project", str(store.file), "--paths", "4"]]
        wait_for(lambda: "first words" in read_tail(store, key), 20)
        page = render_start(store, starts, key)
        assert "data-refresh" in page and "starting" in page and "data-go" not in page
        with pytest.raises(UserError, match="running already"):
            begin_stage(store, project, starts, {"start": "generate", "paths": "4"})
        run = Run("5f" * 10, "generate", MODEL, "1", {}, "0.1.0")
        store.start_run(run, command="insightv generate")
        with store.transaction():
            store.db.conn.execute("UPDATE runs SET pid = ? WHERE id = ?", (process.pid, run.id))
        wait_for(lambda: starts[key].run, 20)
        assert f'data-go="?tab=runs&amp;run={run.id}"' in render_start(store, starts, key)
        assert "first words" in read_tail(store, run.id)
        with log_file(store, key).open("a") as log:
            log.write("later words\n")
        assert "later words" in read_tail(store, run.id)
    finally:
        process.kill()
        process.wait()


def test_a_command_that_ends_without_a_run_says_why(store, project, monkeypatch):
    stand_in(monkeypatch, "import sys; sys.exit('insightv: nothing to assess <b>')")
    starts: dict = {}
    key = begin_stage(store, project, starts, {"start": "assess"})
    wait_for(lambda: not starts[key].alive, 20)
    page = render_start(store, starts, key)
    assert "ended without a run" in page and "nothing to assess &lt;b&gt;" in page and "data-refresh" not in page
    with pytest.raises(UserError, match="list of runs"):
        render_start(store, starts, "0" * 20)


def test_the_next_action_leads_to_the_form_with_its_values(tmp_path, project):
    with open_store(tmp_path / "a.db", create=True) as store:
        link = re.search(r'href="([^"]*start=[^"]*)"', next_action(funnel(store), store))[1]
        given = read_query(unescape(link))
        assert "--limit 40 --paths 4" in command_of(render_form(store, project, given))


@pytest.mark.slow
def test_nano_writes_paths_that_were_asked_for_in_the_form(tmp_path):
    file = make_project(tmp_path, 4)
    project = Project(file)
    with open_store(file) as store:
        starts: dict = {}
        key = begin_stage(store, project, starts, {"start": "generate", "paths": "1", "limit": "2"})
        wait_for(lambda: not starts[key].alive, 300)
        assert starts[key].process.returncode == 0, read_tail(store, key)
        newest = list_runs(store, stage="generate", limit=1)[0]
        wait_for(lambda: starts[key].run == newest.id, 20)
        assert (
            newest.done == 2
            and newest.status == "done"
            and os.path.samefile(log_file(store, key), log_file(store, newest.id))
        )
