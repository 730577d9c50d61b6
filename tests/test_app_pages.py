"""Runs, Results, Export and earlier chats without a browser: what pages say of the store, and what they write."""

import functools
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import replace

import pytest
from app_project import ATTACK, SlowVLM, make_project
from hypothesis import given, settings
from hypothesis import strategies as st
from pages_project import (
    CURATING,
    EVALUATING,
    FIRST,
    PAIRS,
    REASON,
    SECOND,
    STEPS,
    make_worked_project,
    start_running,
)

from app import export as exporting
from app.alarms import progress_alarms, raised_alarms, training_alarms
from app.chat import Desk, render_chat
from app.curves import nice_ticks, render_curves
from app.export import STOPPED, render_export, write_export
from app.history import render_history, restore_turn
from app.judge_card import measure_judge, render_judge
from app.next_action import next_action
from app.pages import Project, read_query
from app.pair_story import render_pair
from app.results import render_results
from app.runs import follow_rounds, render_list, render_rounds, render_run
from app.turn import render_turn
from app.workers import continue_run, log_file, read_tail, stop_run
from app.working import duration
from insightv_core import judge_report
from insightv_core.curate import CurateSettings, find_pairs
from insightv_core.errors import UserError
from insightv_core.evaluate import write_markdown
from insightv_core.export import read_export
from insightv_core.records import ModelVersion, Run, StoredImage, identify
from insightv_core.store import open_store
from insightv_core.store.browse import funnel, image_known
from insightv_core.store.chats import (
    ChatTurn,
    add_chat,
    add_image,
    add_turns,
    delete_chat,
    list_chats,
    load_chat,
    purge_chats,
    restore_chat,
)
from insightv_core.store.curation import assessed_questions, load_pairs, save_curation
from insightv_core.store.evaluations import load_reports
from insightv_core.store.margins import Round, list_moved_pairs, list_round_margins, margins_of
from insightv_core.store.runs import find_run, list_runs, load_alarms, load_curves, runs_after, runs_before, thin
from insightv_core.store.training import add_metrics, add_model, add_round, load_pair_logprobs, mean_margin


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    return make_worked_project(tmp_path_factory.mktemp("worked"))


@pytest.fixture
def file(worked, tmp_path):
    """A copy, for tests that write."""
    shutil.copytree(worked.parent, tmp_path / "copy")
    return tmp_path / "copy" / worked.name


@pytest.fixture(scope="module")
def talks(tmp_path_factory):
    """A project with nothing but a picture."""
    file = tmp_path_factory.mktemp("talks") / "a.db"
    with open_store(file, create=True) as store:
        add_image(store, StoredImage("i", 1, 1, 1))
    return file


@pytest.fixture
def store(worked):
    with open_store(worked) as store:
        yield store


@pytest.fixture
def own(file):
    with open_store(file) as store:
        yield store


def visible(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)).strip()


def rows_of(html: str, label: str) -> list[list[str]]:
    table = re.search(rf'aria-label="{label}"><table>.*?<tbody>(.*?)</tbody>', html, re.S)
    assert table, label
    return [[visible(cell) for cell in re.findall(r"<td.*?>(.*?)</td>", row, re.S)] for row in table[1].split("</tr>")][
        :-1
    ]


# -- runs --------------------------------------------------------------------------------------------------------------


def test_the_list_of_runs_tells_stage_model_state_and_progress(store):
    found = {row[0].rsplit(" ", 1)[1]: row for row in rows_of(render_list(store), "Runs")}
    assert found[SECOND.id[:8]][:4] == ["DPO 22222222", "handmade", "✓ done", "40 / 40"]
    assert found[CURATING.id[:8]][1] == "–" and found[REASON.id[:8]][0].startswith("SFT reason")
    only = rows_of(render_list(store, "dpo"), "Runs")
    assert [row[0] for row in only] == ["DPO 22222222", "DPO 11111111"]
    assert "No run of this stage" in render_list(store, "no such")


def test_the_list_goes_on_where_a_page_ended(store, monkeypatch):
    from app import runs

    monkeypatch.setattr(runs, "PAGE", 3)
    seen, before = [], None
    while True:
        html = render_list(store, None, before)
        seen += [row[0] for row in rows_of(html, "Runs")]
        more = re.search(r'before=([^"&]+)" rel="next"', html)
        if not more:
            break
        before = more[1].replace("%2B", "+")
    assert len(seen) == len(set(seen)) == len(list_runs(store, limit=100))
    with pytest.raises(UserError, match="mark"):
        render_list(store, None, "nonsense")


def test_an_opened_run_shows_curves_settings_and_where_it_comes_from_and_leads(store):
    html = render_run(store, SECOND.id)
    text = visible(html)
    assert "DPO, round 2" in text and "insightv dpo --project a.db" in text and "beta 0.1" in text
    assert html.count("<svg") == 6 and f"at step 1 to {0.7 * math.exp(-2):.3g} at step {STEPS}" in html
    assert [run.id for run in runs_before(store, find_run(store, SECOND.id))] == [CURATING.id, FIRST.id]
    made = {run.id for run in runs_after(store, find_run(store, CURATING.id))}
    assert made == {REASON.id, FIRST.id, SECOND.id}
    assert {run.id for run in runs_after(store, find_run(store, SECOND.id))} == {EVALUATING.id}
    assert "adapter reason-t" in text
    assert f"{PAIRS} rows of training sets {PAIRS} preference pairs" in visible(render_run(store, CURATING.id))
    with pytest.raises(UserError, match="no run"):
        render_run(store, "../" + SECOND.id)


def test_a_run_that_an_adapter_sampled_comes_from_the_run_that_trained_it(own):
    sampled = Run("9" * 20, "generate", ModelVersion("reason-s", "s" * 20), "1", {}, "0.1.0")
    own.start_run(sampled)
    assert [run.id for run in runs_before(own, find_run(own, sampled.id))] == [FIRST.id]


def test_what_runs_is_shown_anew_and_what_was_killed_says_so(own):
    run = start_running(own)
    html = render_run(own, run.id)
    assert "data-refresh" in html and "data-refresh" in render_list(own) and "3 / 40" in visible(html)
    assert "time left" in html and find_run(own, run.id).alive
    add_metrics(own, run.id, 4, {"loss": 0.123})
    assert "last 0.123" in visible(render_run(own, run.id))
    with own.transaction():
        own.db.conn.execute("UPDATE runs SET pid = ? WHERE id = ?", [dead_process(), run.id])
    html = render_run(own, run.id)
    assert "data-refresh" not in html and "process is gone" in html and "✕ killed" in visible(html)


def dead_process() -> int:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def wait_for(found, seconds: float = 60.0):
    until = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < until
        time.sleep(0.1)
    return value


@pytest.mark.slow
def test_a_stopped_run_is_continued_by_its_own_command_in_another_process(file, own):
    run = Run(identify("by hand"), "curate", None, "1", {"inputs": {}}, "0.1.0")
    own.start_run(run, command=shlex.join(["insightv", "curate", "--project", str(file)]))
    own.end_run(run.id, "stopped")
    workers: dict = {}
    assert 'data-action="go_on"' in render_run(own, run.id)
    continue_run(own, find_run(own, run.id), workers)
    assert "data-refresh" in render_run(own, run.id, workers=workers)
    with pytest.raises(UserError, match="running already"):
        continue_run(own, find_run(own, run.id), workers)
    assert wait_for(lambda: workers[run.id].poll() is not None) and workers[run.id].returncode == 0
    newest = list_runs(own, stage="curate")[0]
    assert newest.status == "done" and newest.pid == workers[run.id].pid
    assert f"run {newest.id}" in read_tail(own, run.id) and "preference pairs" in render_run(own, run.id)


@pytest.mark.parametrize(
    "command, words",
    [
        ("insightv curate --project /elsewhere/other.db", "names the project file"),
        ("insightv app", "in a terminal"),
        ("rm -rf insightv", "in a terminal"),
        (None, "in a terminal"),
    ],
)
def test_the_app_runs_nothing_but_the_command_of_a_stage_on_its_own_project(own, command, words):
    run = Run(identify(command), "curate", None, "1", {}, "0.1.0")
    own.start_run(run, command=command)
    own.end_run(run.id, "stopped")
    workers: dict = {}
    with pytest.raises(UserError, match=words):
        continue_run(own, find_run(own, run.id), workers)
    assert not workers and "go_on" not in render_run(own, run.id)


def test_stop_reaches_the_process_of_the_run_and_no_other(own):
    run = start_running(own)
    waiting = (  # ready only where it can be interrupted
        "import time\n"
        "try:\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    print('stopped')"
    )
    unheard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    for name, ours in (("something else", False), ("insightv", True)):
        code = unheard + waiting
        with subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            with own.transaction():
                own.db.conn.execute(
                    "UPDATE runs SET pid = ?, updated = ? WHERE id = ?", [process.pid, time.time(), run.id]
                )
            if ours:
                stop_run(find_run(own, run.id))
                assert process.communicate(timeout=20)[0] == "stopped\n"
            else:
                with pytest.raises(UserError, match="nothing was stopped"):
                    stop_run(find_run(own, run.id))
                assert process.poll() is None
                process.kill()
    with pytest.raises(UserError, match="nothing was stopped"):
        stop_run(find_run(own, run.id))


def test_of_a_log_the_last_lines_are_shown_and_of_a_bar_its_last_state(own):
    run = SECOND.id
    assert read_tail(own, run) == "" and log_file(own, "../../x").parent == own.folder / "runs"
    log_file(own, run).parent.mkdir(exist_ok=True)
    lines = [f"line {number}" for number in range(1000)]
    log_file(own, run).write_text("\n".join([*lines, "\r10%\r20%\r30%", ATTACK, ""]))
    assert read_tail(own, run).split("\n")[-3:] == ["line 999", "30%", ATTACK]
    assert "line 999" in render_run(own, run) and "<script" not in render_run(own, run)


@pytest.mark.parametrize(
    "curves, words",
    [
        ({"loss": [(step, 1 / step) for step in range(1, 21)] + [(step, 0.9) for step in range(21, 30)]}, "rose again"),
        ({"loss": [(1, 0.5), (2, math.nan)]}, "not a number at step 2"),
        ({"grad_norm": [(step, 1.0 + 40 * (step == 17)) for step in range(30)]}, "jumped to 41 at step 17"),
        ({"rewards/margins": [(step, -0.2) for step in range(20)]}, "margin is -0.2"),
        (
            {"rewards/margins": [(s, 0.2) for s in range(20)], "rewards/accuracies": [(s, 0.4) for s in range(20)]},
            "Only 40%",
        ),
    ],
)
def test_alarms_name_what_went_wrong_with_its_number(curves, words):
    (alarm,) = training_alarms(curves)
    assert words in alarm


def test_a_sound_or_short_run_raises_no_alarm(store):
    falling = [(step, 1 / step) for step in range(1, 60)]
    assert training_alarms({"loss": falling, "grad_norm": falling}) == []
    assert training_alarms({"loss": [(1, 0.1), (2, 5.0)], "rewards/margins": [(1, -1.0)]}) == []
    assert 'aria-label="Alarms"' not in render_run(store, SECOND.id)
    assert progress_alarms("done", None, 1e9, None) == progress_alarms("running", True, 60, None) == []
    assert "20 minutes" in progress_alarms("running", True, 1200, None)[0]
    assert "disk is full" in progress_alarms("failed", None, 0, "disk is full")[0]


def test_alarms_of_training_itself_are_told_once_where_they_came_up(own):
    add_metrics(own, FIRST.id, 7, {"alarm/length bias": 0.83, "alarm/new kind": 2.0})
    add_metrics(own, FIRST.id, 9, {"alarm/length bias": 0.9})
    assert load_alarms(own, FIRST.id) == [("length bias", 7, 0.83), ("new kind", 7, 2.0)]
    said = raised_alarms(load_alarms(own, FIRST.id))
    assert "83% of the pairs" in said[0] and said[1] == "New kind: 2 at step 7."
    assert "83% of the pairs" in visible(render_run(own, FIRST.id))


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(-1e9, 1e9)), min_size=1, max_size=300), st.integers(2, 40))
def test_a_thinned_curve_keeps_its_end_its_order_and_its_range(points, most):
    curve = sorted(points)
    thinned = thin(curve, most)
    assert len(thinned) <= max(most, 1) and thinned[-1] == curve[-1]
    assert [x for x, _ in thinned] == sorted(x for x, _ in thinned)
    low, high = min(y for _, y in curve), max(y for _, y in curve)
    assert all(low - 1e-3 <= y <= high + 1e-3 for _, y in thinned)


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=50))
def test_curves_stay_inside_their_frame(values):
    html = render_curves("Loss", {"loss": list(enumerate(values))}, zero=True)
    places = re.findall(r'points="([^"]+)"', html)[0].split()
    for place in places:
        x, y = map(float, place.split(","))
        assert 51 <= x <= 349 and 9 <= y <= 157
    ticks = nice_ticks(min(values), max(values))
    assert 2 <= len(ticks) <= 8 and ticks == sorted(set(ticks))


def test_curves_leave_out_what_is_no_number_and_escape_names():
    html = render_curves(ATTACK, {ATTACK: [(1, math.inf), (2, 1.0)], "b": [(1, 2.0)]})
    assert "<script" not in html and html.count("<circle") == 2
    assert render_curves("Loss", {"loss": [(1, math.nan)]}) == ""


def test_curves_are_read_from_the_store_as_they_were_measured(store):
    curves = load_curves(store, SECOND.id, ["loss", "rewards/margins", "none such"])
    assert list(curves) == ["loss", "rewards/margins"] and curves["rewards/margins"][-1] == (STEPS, STEPS / 50)
    assert len(load_curves(store, SECOND.id, ["loss"], points=10)["loss"]) <= 10


# -- rounds and pairs --------------------------------------------------------------------------------------------------


def test_rounds_agree_with_the_margins_of_the_store(store):
    rounds = list_round_margins(store)
    assert [each.number for each in rounds] == [1, 2]
    for each in rounds:
        assert each.mean == pytest.approx(mean_margin(store, each.policy, each.reference, 0.1))
        moved = list_moved_pairs(store, each, limit=100)
        assert len(moved) == each.pairs == PAIRS
        assert each.above == pytest.approx(sum(pair.margin > 0 for pair in moved) / PAIRS)
        assert [pair.margin for pair in moved] == sorted(pair.margin for pair in moved)
        assert moved[2:4] == list_moved_pairs(store, each, after=2, limit=2)
    shown = rows_of(render_list(store), "Rounds of DPO")
    assert [row[0] for row in shown] == ["round 1", "round 2"] and shown[0][-1] == str(PAIRS)
    assert shown[0][4] == f"{rounds[0].mean:+.3g}"


def test_a_pair_has_a_margin_in_each_round_that_can_be_computed_again(store):
    first, second = list_round_margins(store)
    (lowest, *_) = list_moved_pairs(store, second)
    key = store.value("SELECT key FROM pairs WHERE id = ?", [lowest.id])
    found = margins_of(store, key)
    for each, round in zip(found, (first, second), strict=True):
        before = load_pair_logprobs(store, round.reference)[lowest.id]
        after = load_pair_logprobs(store, round.policy)[lowest.id]
        again = 0.1 * ((after[0] - before[0]) - (after[1] - before[1]))
        assert each.margin == pytest.approx(again, abs=1e-9) and each.margin < 0
    text = visible(render_pair(store, lowest.id))
    assert f"{found[0].margin + found[1].margin:+.3g}" in text and "round 1" in text and "round 2" in text
    assert "The chosen chain has the right answer" in text and "same in both" in text
    with pytest.raises(UserError, match="no pair"):
        render_pair(store, "none such")


def test_a_pair_that_no_round_knows_says_so(own):
    with own.transaction():
        own.db.conn.execute("DELETE FROM pair_logprobs")
    pair = own.value("SELECT id FROM pairs LIMIT 1")
    assert "No round of DPO has trained on this pair yet" in render_pair(own, pair)
    assert "–" in rows_of(render_list(own), "Rounds of DPO")[0]


def test_rounds_are_followed_each_from_the_one_before_it():
    def make(number, run, previous, reference):
        return Round(number, run, previous, 0.1, reference, f"after {run}", None, ord(run), 3, 0.1 * number, 0.5)

    # The second chain keeps its start as the reference of every round.
    rounds = [make(1, "b", None, "a"), make(1, "q", None, "p"), make(2, "c", "b", "after b"), make(2, "r", "q", "p")]
    rounds.append(make(3, "s", "r", "p"))
    chains = follow_rounds(rounds)
    assert ["".join(each.run for each in chain) for chain in chains] == ["bc", "qrs"]
    html = render_rounds(rounds)
    assert html.count("<polyline") == 2 and "from a" in visible(html) and "last 0.3" in visible(html)
    assert "<polyline" not in render_rounds(rounds[:2])  # two beginnings are no course


@pytest.mark.parametrize("seconds", [0, 0.4, 59, 60, 3599, 3600, 86399, 86400, 1e7])
def test_a_duration_is_never_longer_than_two_units(seconds):
    assert len(duration(seconds).split()) in (2, 3, 4)
    assert duration(None) == duration(math.inf) == "–"


# -- export ------------------------------------------------------------------------------------------------------------


def test_export_shows_the_sets_what_was_left_out_and_rows_with_pictures(store):
    html = render_export(store, "?tab=export", {})
    text = visible(html)
    assert f"Preference pairs {PAIRS - 1}" in text and f"Reasoning set {PAIRS}" in text
    assert ["no correct answer", "40"] in rows_of(html, "Left out, in questions")
    assert rows_of(html, "Excluded, in rows") == [["longer than 64 tokens", "1"]]
    assert html.count('<article class="row">') == 4 and html.count("/picture/") == 4
    assert "insightv export --set pairs --format trl" in html and "<script" not in html and "<img src=x" not in html
    second = render_export(store, "?tab=export&set=reason&from=4", {})
    assert "row 5," in visible(second) and "--set reason" in second
    seen = re.findall(r"row (\d+),", visible(html) + visible(second))
    assert seen == ["1", "2", "3", "4", "5", "6", "7", "8"]
    asked = [re.findall(r"of chart (\d+)\?</strong>", page) for page in (html, second)]
    assert asked == [["2", "4", "6"], ["8", "10", "12", "14"]]


@pytest.mark.parametrize("query", ["set=nothing", "format=exe", "from=-1", "from=9999999999", "run=zz", "run=../.."])
def test_export_refuses_what_there_is_not(store, query):
    with pytest.raises(UserError):
        render_export(store, f"?tab=export&{query}", {})


@pytest.mark.parametrize("form", ["jsonl", "llama-factory", "parquet", "trl"])
def test_the_button_writes_the_export_beside_the_project_and_never_over_it(file, own, form, tmp_path):
    html = write_whole(own, f"?tab=export&set=pairs&format={form}&run={CURATING.id[:6]}")
    folder = file.parent / "exports" / f"pairs-{form}-{CURATING.id[:8]}"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert f"Wrote {PAIRS - 1} rows" in visible(html) and str(folder) in html and manifest["rows_sha256"] in html
    assert manifest["rows"] == PAIRS - 1 == len(read_export(folder, tmp_path))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    again = write_export(own, f"?tab=export&set=pairs&format={form}", {})
    assert "is there already" in again and "data-action" not in again
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert rows_of(again, "Written so far")[0][:2] == [str(folder), str(PAIRS - 1)]
    assert sorted(path.name for path in file.parent.iterdir() if "export" in path.name) == ["exports"]


def write_whole(store, query: str) -> str:
    """Press the button, and return the page once the export is over."""
    writings: dict = {}
    html = write_export(store, query, writings)
    return wait_for_end(store, query, writings) if "data-refresh" in html else html


def wait_for_end(store, query: str, writings: dict) -> str:
    """Return the page as soon as it shows no export under way."""

    def look() -> str | None:
        html = render_export(store, query, writings)
        return None if "data-refresh" in html else html

    return wait_for(look)


def test_an_export_under_way_shows_how_far_it_is_and_tells_once_how_it_ended(own, monkeypatch):
    reached, go_on, writings, calls = threading.Event(), threading.Event(), {}, []
    true, query = exporting.export_set, f"?tab=export&set=pairs&format=jsonl&run={CURATING.id}"

    def write_slowly(*arguments, progress):
        def count(rows: int) -> None:
            progress(rows)
            calls.append(rows)
            if len(calls) == 5:
                reached.set()
                assert go_on.wait(60)

        return true(*arguments, progress=count)

    monkeypatch.setattr(exporting, "export_set", write_slowly)
    write_export(own, query, writings)
    assert reached.wait(60)
    html = write_export(own, query, writings)  # a second press starts nothing
    assert f'<progress max="{PAIRS - 1}" value="5"' in html and 'data-refresh="1"' in html
    assert f"5 / {PAIRS - 1} rows, " in visible(html) and " left" in visible(html)
    assert 'data-action="write"' not in html
    other = render_export(own, query.replace("jsonl", "trl"), writings)
    assert "<progress" not in other and 'data-action="write"' in other
    go_on.set()
    html = wait_for_end(own, query, writings)
    assert f"Wrote {PAIRS - 1} rows" in visible(html) and len(calls) == PAIRS - 1
    again = render_export(own, query, writings)
    assert "Wrote" not in again and "This is written already" in again


@pytest.mark.parametrize("form", ["jsonl", "trl"])
def test_a_stopped_export_leaves_nothing_and_can_be_written_again(own, monkeypatch, form):
    writings, true, query = {}, exporting.export_set, f"?tab=export&set=pairs&format={form}&run={CURATING.id}"
    folder = own.folder / "exports" / f"pairs-{form}-{CURATING.id[:8]}"

    def stop_at_the_third(*arguments, progress):
        def count(rows: int) -> None:
            writings[folder].stopping = writings[folder].done == 2
            progress(rows)

        return true(*arguments, progress=count)

    with monkeypatch.context() as patched:
        patched.setattr(exporting, "export_set", stop_at_the_third)
        html = write_export(own, query, writings)
        html = wait_for_end(own, query, writings) if "data-refresh" in html else html
    assert STOPPED in html and 'role="alert"' not in html and 'data-action="write"' in html
    assert not list((own.folder / "exports").iterdir())
    assert f"Wrote {PAIRS - 1} rows" in visible(write_whole(own, query))


def test_an_export_that_fails_says_why_and_can_be_tried_again(file, own):
    query = f"?tab=export&set=pairs&format=jsonl&run={CURATING.id}"
    picture = own.image_file(own.value("SELECT image FROM questions JOIN pairs ON pairs.question = questions.id"))
    hidden = picture.rename(picture.with_suffix(".gone"))
    html = write_whole(own, query)
    assert 'role="alert"' in html and "cannot be read" in visible(html) and 'data-action="write"' in html
    assert list((file.parent / "exports").iterdir()) == []
    hidden.rename(picture)
    assert f"Wrote {PAIRS - 1} rows" in visible(write_whole(own, query))


def test_the_pairs_of_a_round_are_chosen_and_written(file, own):
    pairing = pair_a_round(own)
    html = render_export(own, "?tab=export", {})
    assert "Pairs of a round of DPO round 3, 77777777," in visible(html)
    assert f"run={CURATING.id}" in html.partition("aria-current")[0]  # the newest curation is what the page opens with
    html = render_export(own, f"?tab=export&run={pairing.id}", {})
    assert "Preference pairs 1 " in visible(html) and "Reasoning set" not in visible(html)
    assert f"--set pairs --format trl --run {pairing.id}" in html
    assert "Wrote 1 row " in visible(write_whole(own, f"?tab=export&run={pairing.id}&format=jsonl"))
    assert (file.parent / "exports" / "pairs-jsonl-77777777" / "rows.jsonl").is_file()
    with pytest.raises(UserError, match="paired the paths of a round of DPO and has no reason set"):
        render_export(own, f"?tab=export&run={pairing.id}&set=reason", {})
    with own.transaction():
        own.db.conn.execute("UPDATE runs SET status = 'failed' WHERE stage = 'curate'")
    assert f"--run {pairing.id}" in render_export(own, "?tab=export", {})


def pair_a_round(store) -> Run:
    """Save the pairs of a third round: one of those that are curated."""
    pairing = replace(CURATING, id="7" * 20, stage="pairs")
    _, pair, *_ = next(load_pairs(store, CURATING.id))
    store.start_run(pairing)
    left_out = {"pairs": {"all answers are right": 5}}
    rows = {"reason": [], "summary": []}
    save_curation(
        store, pairing.id, rows, [replace(pair, id="p7", run=pairing.id)], {"funnel": {}, "left_out": left_out}
    )
    store.end_run(pairing.id, "done")
    third = replace(SECOND, id="3" * 20)
    store.start_run(third)
    add_model(store, ModelVersion("reason-u", "u" * 20), kind="adapter", base=None, folder="adapters", run=third.id)
    add_round(store, third.id, before="t" * 20, after="u" * 20, curation=pairing.id)
    return pairing


def test_a_round_names_the_run_of_its_pairs(store):
    with pytest.raises(UserError, match=f"is of dpo, which holds no sets: .*trained on those of run {CURATING.id}"):
        render_export(store, f"?tab=export&run={FIRST.id}", {})


def test_nothing_to_export_says_what_to_do(tmp_path):
    with open_store(make_project(tmp_path, 4)) as store:
        assert "insightv curate" in render_export(store, "?tab=export", {})
        with pytest.raises(UserError, match="curate"):
            write_export(store, "?tab=export", {})
    assert not (tmp_path / "exports").exists()


def test_a_set_without_rows_offers_no_button(store):
    html = render_export(store, "?tab=export&set=summary", {})
    assert "data-action" not in html and "no rows to write" in html


# -- results -----------------------------------------------------------------------------------------------------------


def test_results_give_every_accuracy_its_interval_and_n(store):
    html = render_results(store, {})
    reports = load_reports(store)
    shown = rows_of(html, "Accuracy of each system")
    for row, report in zip(shown, reports, strict=True):
        accuracy = report.accuracy
        assert row[0] == report.system and row[2] == f"{accuracy.value:.3f}" and row[4] == str(accuracy.n) == "40"
        assert row[3] == f"{accuracy.low:.3f} to {accuracy.high:.3f}"
    assert shown[1][5].startswith("+0.300") and "n = 40" in shown[1][5] and shown[0][5] == ""
    copied = re.search(r'data-copy="([^"]+)">copy as Markdown', html)
    assert copied and copied[1].replace("&#x27;", "'") == write_markdown(reports)


def test_results_compare_with_any_system(store):
    html = render_results(store, read_query("?tab=results&against=two+agents"))
    shown = rows_of(html, "Accuracy of each system")
    assert shown[0][5].startswith("-0.300") and shown[1][5] == "" and "against two agents" in html
    for query in ("against=nobody", "run=zz", "benchmark=none"):
        with pytest.raises(UserError):
            render_results(store, read_query(f"?tab=results&{query}"))


def test_results_by_family_and_by_path_say_n(store):
    html = render_results(store, {})
    families = rows_of(html, "By family")
    assert [row[0] for row in families] == ["bar total", "table sum"] and all("n = 20" in row[1] for row in families)
    (counts,) = rows_of(html, "Path and answer")
    assert counts[0] == "two agents" and sum(map(int, counts[1:5])) == 40
    assert (
        counts[5] == f"{int(counts[1]) / (int(counts[1]) + int(counts[2])):.0%} n = {int(counts[1]) + int(counts[2])}"
    )
    assert "exact verifier" in html


def test_results_without_an_evaluation_say_what_to_do(tmp_path):
    with open_store(make_project(tmp_path, 4)) as store:
        assert "insightv evaluate" in render_results(store, {})


def test_the_judge_is_measured_on_request_and_then_known(own, monkeypatch):
    cards: dict = {}
    monkeypatch.setattr(judge_report, "report_judge", functools.partial(judge_report.report_judge, resamples=20))
    with own.transaction():
        own.db.conn.execute(
            "UPDATE runs SET settings = ? WHERE stage = 'assess'", [json.dumps({"mode": "single", "seed": 0})]
        )
    assert 'data-action="measure"' in render_judge(own, cards)
    measure_judge(own, cards)
    html = render_judge(own, cards)
    assert 'data-action="measure"' not in html and "Pairs by margin" in html
    figures = {row[0]: row for row in rows_of(html, "Figures of the judge")}
    assert figures["paths without a readable verdict"][3] == "87"
    assert "| paths without a readable verdict |" in html
    (card,) = cards.values()
    for place, row in enumerate(card["yield"]):
        pairs = sum(
            len(find_pairs("", question.id, found, replace(CurateSettings(), margin=row["margin"])))
            for question, found in assessed_questions(own, assess_run="b" * 20)
        )
        line = re.search(rf'<li data-price="{place}"[^>]*>(.*?)</li>', html)
        assert row["pairs"] == pairs > 0 and visible(line[1]).startswith(f"{row['margin']} : {pairs} pairs,")
    assert html.count("<li data-price") - html.count(" hidden>") == 1


# -- overview ----------------------------------------------------------------------------------------------------------


def say_next(store) -> str:
    return visible(next_action(funnel(store), store))


def test_the_next_action_follows_the_stages(own):
    """Each command that is asked for, once it is done, is followed by the next."""
    with own.transaction():
        own.db.conn.execute("DELETE FROM paths WHERE outcome IS NULL AND key NOT IN (SELECT chosen FROM pairs)")
        own.db.conn.execute("DELETE FROM set_rows WHERE path IN (SELECT key FROM paths WHERE outcome IS NULL)")
    later = iter(range(2_000_000_000, 2_000_001_000))

    def end(run: str) -> None:
        with own.transaction():
            own.db.conn.execute("UPDATE runs SET status = 'done', updated = ? WHERE id = ?", [next(later), run])

    end("b" * 20)
    assert "insightv curate" in say_next(own)
    end(CURATING.id)
    assert "Every stage is done" in say_next(own)
    with own.transaction():
        own.db.conn.execute("UPDATE runs SET status = 'stopped' WHERE id = ?", [REASON.id])
    assert "insightv sft reason" in say_next(own)
    end(REASON.id)
    assert "insightv dpo" in say_next(own)
    end(FIRST.id)
    assert "insightv evaluate" in say_next(own)
    end(EVALUATING.id)
    assert "Every stage is done" in say_next(own)


# -- earlier chats -----------------------------------------------------------------------------------------------------


def ask(file, question: str = "How many?", **options):
    desk = Desk(Project(file, "nano-teacher", load=lambda name: SlowVLM(pause=0.0, **options)))
    with open_store(file) as store:
        picture = next(store.questions(limit=1)).id
    *_, done = desk.ask({"question": question, "picture": picture}, "me")
    return desk, done


def chat_of(html: str) -> str:
    return re.search(r'data-chat="(\w+)"', html)[1]


def without_edit_tools(html: str) -> str:
    return re.sub(r'<span class="sure">[^<]*</span>', "", html)


def test_a_chat_is_saved_and_opened_again_as_it_was(file, own):
    _, done = ask(file, ATTACK)
    chat = chat_of(done)
    assert [each.id for each in list_chats(own)] == [chat]
    again = render_turn(restore_turn(own, chat))
    assert without_edit_tools(again) == without_edit_tools(done) and "<script" not in again
    speakers = [turn.speaker for turn in load_chat(own, chat)[1]]
    assert speakers == ["question", "reasoning agent", "summary agent", "base model"]
    page = render_chat(Desk(Project(file, "nano-teacher", load=lambda name: SlowVLM())), chat)
    assert f'data-chat="{chat}"' in page and f'data-forget="{chat}"' in page and ATTACK not in page


def test_an_edited_chain_is_kept_with_its_chat_and_can_be_edited_after_a_restart(file, own):
    desk, done = ask(file)
    chat = chat_of(done)
    contents = ["red is 3", "wrong on purpose", "3 and 9 make 12."]
    *_, judged = desk.judge_again({"steps": contents, "chat": chat}, "me")
    assert "The chain is flawed" in visible(judged)
    assert without_edit_tools(render_turn(restore_turn(own, chat))) == without_edit_tools(judged)
    vlm = SlowVLM(pause=0.0)
    restarted = Desk(Project(file, "nano-teacher", load=lambda name: vlm))
    *_, again = restarted.judge_again({"steps": ["a", "b", "c"], "chat": chat}, "someone else")
    assert "The chain is sound" in visible(again) and "Step 2: Compare: b" in json.dumps(vlm.asked[-1].messages)
    assert [turn.speaker for turn in load_chat(own, chat)[1]].count("editor") == 2
    *_, refused = restarted.judge_again({"steps": ["a"], "chat": "none such"}, "someone else")
    assert "problem" in refused


def test_a_chat_that_was_stopped_is_kept_as_far_as_it_came(file, own):
    desk = Desk(Project(file, "nano-teacher", load=lambda name: SlowVLM(pause=0.01)))
    shown = desk.ask({"question": "How many?", "picture": next(own.questions(limit=1)).id}, "me")
    next(html for html in shown if html.count("step-title") == 2)
    desk.stop("me")
    *_, last = shown
    again = render_turn(restore_turn(own, chat_of(last)))
    assert 'data-phase="stopped"' in again and again.count("step-title") >= 1


def test_an_upload_becomes_a_picture_of_the_project_when_it_is_asked_about(file, own):
    from test_app import data_address, png_bytes

    desk = Desk(Project(file, "nano-teacher", load=lambda name: SlowVLM(pause=0.0)))
    taken = desk.take_picture(data_address(png_bytes(format="PNG")))
    *_, done = desk.ask({"question": "Red?", "picture": taken["picture"]}, "me")
    (chat,) = list_chats(own)
    assert image_known(own, chat.image) and own.image_file(chat.image).is_file() and not image_known(own, "0" * 64)
    other = Desk(Project(file, "nano-teacher", load=lambda name: SlowVLM(pause=0.0)))
    *_, again = other.ask({"question": "Blue?", "picture": f"chat-{chat.id}"}, "you")
    assert 'data-phase="done"' in again and len(list_chats(own)) == 2


def test_the_question_of_a_saved_chat_keeps_its_true_answer_when_it_is_asked_again(file, own):
    question = list(own.questions(limit=3))[2]
    desk = Desk(Project(file, "nano-teacher", load=lambda name: SlowVLM(pause=0.0)))
    *_, done = desk.ask({"question": question.text, "picture": question.id}, "me")
    assert "truth 2" in visible(done)
    for text, known in ((question.text, True), ("Something else?", False)):
        *_, again = desk.ask({"question": text, "picture": f"chat-{chat_of(done)}"}, "me")
        assert ("truth 2" in visible(again)) == known
    assert len(list_chats(own)) == 3 and own.value("SELECT count(*) FROM images") == 60


def test_deleting_a_chat_can_be_undone_until_it_is_purged(file, own):
    one, two = (chat_of(ask(file, text)[1]) for text in ("First?", "Second?"))
    assert delete_chat(own, one) == "First?"
    assert [each.id for each in list_chats(own)] == [two] and "First?" not in render_history(own)
    for call in (load_chat, delete_chat, restore_turn):
        with pytest.raises(UserError, match="deleted"):
            call(own, one)
    restore_chat(own, one)
    restore_chat(own, two)
    assert {each.id for each in list_chats(own)} == {one, two} and len(load_chat(own, one)[1]) == 4
    delete_chat(own, one)
    assert purge_chats(own) == 0
    assert purge_chats(own, kept_seconds=-1) == 1
    restore_chat(own, one)
    assert [each.id for each in list_chats(own)] == [two]
    assert own.value("SELECT count(*) FROM chat_turns WHERE chat = ?", [one]) == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1, max_size=9), st.text(max_size=30)), max_size=6))
def test_turns_come_back_as_they_were_said(talks, said):
    with open_store(talks) as store:
        turns = [ChatTurn(f"s{speaker}", content, {"said": content}) for speaker, content in said]
        chat = uuid.uuid4().hex
        add_chat(store, chat, "title", "i", turns[:2])
        add_turns(store, chat, turns[2:])
        assert load_chat(store, chat)[1] == turns


def test_a_question_that_was_stopped_before_anything_was_said_is_not_kept(file, own):
    def load(name):
        desk.stop("me")
        return SlowVLM(pause=0.0)

    desk = Desk(Project(file, "nano-teacher", load=load))
    *_, last = desk.ask({"question": "How many?", "picture": identify("q", 0)}, "me")
    assert 'data-phase="stopped"' in last and "data-chat" not in last and list_chats(own) == []
