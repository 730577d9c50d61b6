"""The study: its training sets, what is shared and saved, what comes of a stop, and what its files say."""

import argparse
import csv
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
from curation_project import build_project
from test_generate import make_project

from insightv_core import prompts
from insightv_core.commands.study import add_study_command
from insightv_core.curate.sets import OPTIMAL, PLAIN, REASON
from insightv_core.errors import UserError
from insightv_core.evaluate import average_by_item
from insightv_core.evaluate.plan import BASE, BOTH, COPIED, EXCHANGED, MULTI_TURN, ONE_MODEL
from insightv_core.parse import SummaryReply, write_answer, write_step, write_summary
from insightv_core.records import ModelVersion, Run, SetRow, Step
from insightv_core.store import open_store
from insightv_core.store.curation import find_curation, load_rows, save_curation
from insightv_core.store.evaluations import list_evaluations, load_answers, load_reports
from insightv_core.study.claims import FAILED, HELD, MISSING, OPEN, Expectation, settle
from insightv_core.study.jobs import BY_SCORES, REASONING, list_jobs, name_share, title_training
from insightv_core.study.progress import Meter
from insightv_core.study.published import list_published, load_published
from insightv_core.study.results import build_results
from insightv_core.study.run import assist_study, claim_of, name_study, run_study
from insightv_core.study.sets import DIRECT_SET, MULTI_TURN_SET, REASON_SET, SUMMARY_SET, make_sets, share_set
from insightv_core.study.settings import StudySettings
from insightv_core.study.writing import write_folder
from insightv_core.vlm.scripted import ScriptedVLM

CHAIN = "\n".join([write_step(Step("Look", "It is 1.")), write_step(Step("Say", "So it is 1.", "summary"))])
SMALL = StudySettings(questions=9, perception=3, epochs=1.0, rounds=1, samples=2, shares=(0.5,))


@pytest.fixture
def project(tmp_path):
    """A project with a curated set of six questions."""
    file = make_project(tmp_path, 6)
    with open_store(file) as store:
        questions = list(store.questions())
        run = Run("c" * 20, "curate", None, prompts.PROMPT_VERSION, {"inputs": {}}, "0")
        store.start_run(run)
        reason = [SetRow(each.id, None, REASON, CHAIN) for each in questions]
        reason[-1] = replace(reason[-1], excluded="a flawed step")
        summary = [SetRow(each.id, None, PLAIN, each.answer) for each in questions]
        save_curation(store, run.id, {"reason": reason, "summary": summary}, [], {"funnel": {}})
        store.end_run(run.id, "done")
    return file


class Actor(ScriptedVLM):
    """Answers in the form that is asked for; `adapters` counts the conversations of each adapter."""

    def __init__(self, fail_at: int | None = None):
        super().__init__(self.play, ModelVersion("actor", "actor"))
        self.adapter, self.adapters, self.fail_at, self.held = None, [], fail_at, 0

    def converse(self, talks, sampling, *, adapter=None, listen=None, stop=None):
        self.adapter = str(adapter)
        for conversation in super().converse(talks, sampling, adapter=adapter):
            self.held += 1
            if self.held == self.fail_at:
                raise KeyboardInterrupt
            self.adapters.append(adapter)
            yield conversation

    def play(self, talk, sample):
        asked = talk.messages[-1]["content"][-1]["text"]
        if prompts.SUMMARIZE in asked:
            return [write_summary(SummaryReply("sound" if sample == 0 else "flawed", "2"))]
        if prompts.REASON in asked:
            direct = self.adapter.startswith(DIRECT_SET)
            return [f"{CHAIN}\n{write_answer('1')}"] if direct else [CHAIN, write_answer("1")]
        return ["Answer: 3" if prompts.THINK in asked else "3"]


@pytest.fixture
def trainers(monkeypatch):
    """Training that leaves a name in place of weights; returns what was asked to be trained."""
    from insightv_core import rounds
    from insightv_core.train import run as training

    asked = []

    def train_agent(store, role, model, settings, *, curation, quiet, callbacks):
        asked.append((role, settings.seed))
        callbacks[0].on_step_end(None, None, None)
        return SimpleNamespace(folder=f"{role}-{settings.seed}")

    def run_rounds(store, model, adapter, settings, *, quiet):
        asked.append((settings.judge, settings.assess.blind, settings.curate.pairs_by))
        raise UserError("no pairs among 8 paths")

    def watch_steps(shop, rows):  # without the trainer's library, which takes seconds to load
        return SimpleNamespace(on_step_end=lambda *more: shop.meter.advance(rows))

    monkeypatch.setattr(training, "train_agent", train_agent)
    monkeypatch.setattr(rounds, "run_rounds", run_rounds)
    monkeypatch.setattr("insightv_core.study.jobs.watch_steps", watch_steps)
    return asked


def run_it(project, vlm, settings=SMALL, **more):
    with open_store(project) as store:
        run, whole = run_study(store, "nano-base", vlm, settings, quiet=True, **{"seeds": 1} | more)
        return run.id, whole, build_results(store, run.id)


def system(results, name):
    return next(each for each in results["systems"] if each["name"] == name and each["benchmark"] == REASONING)


def test_sets_are_made_of_the_curated_ones_and_kept_beside_them(project):
    with open_store(project) as store:
        counts = make_sets(store, "c" * 20, [0.5])
        assert counts == {REASON_SET: 5, SUMMARY_SET: 6, DIRECT_SET: 5, MULTI_TURN_SET: 11, share_set(0.5): 2}
        assert make_sets(store, "c" * 20, [0.5]) == counts
        rows = {name: [row for _, row, _, _ in load_rows(store, "c" * 20, name)] for name in counts}
        truths = {question.id: question.answer for question in store.questions()}
        assert store.value("SELECT count(*) FROM sets WHERE run = ?", ["c" * 20]) == 7
    assert rows[share_set(0.5)] == rows[REASON_SET][:2]
    assert all(row.target == f"{CHAIN}\n{write_answer(truths[row.question])}" for row in rows[DIRECT_SET])
    assert {row.kind for row in rows[MULTI_TURN_SET]} == {REASON, PLAIN}


def test_sets_of_real_chains_keep_their_paths(tmp_path):
    from insightv_core.curate import CurateSettings, curate, name_run
    from insightv_core.store.curation import assessed_questions

    with open_store(build_project(tmp_path)) as store:
        run = name_run(CurateSettings(), {})
        found = curate(assessed_questions(store), run, CurateSettings())
        store.start_run(run)
        save_curation(store, run.id, {"reason": found.reason, "summary": found.summary}, [], {})
        make_sets(store, run.id)
        rows = [row for _, row, _, _ in load_rows(store, run.id, MULTI_TURN_SET)]
    assert {REASON, OPTIMAL, PLAIN} <= {row.kind for row in rows}
    assert all(row.path for row in rows if row.kind != PLAIN)


def test_without_rows_the_study_says_what_to_do(project):
    with open_store(project) as store:
        store.start_run(Run("d" * 20, "curate", None, prompts.PROMPT_VERSION, {}, "0"))
        save_curation(store, "d" * 20, {"reason": [], "summary": []}, [], {})
        with pytest.raises(UserError, match="reasoning set of curating run d+ has no rows.*insightv assess"):
            make_sets(store, "d" * 20)
        with pytest.raises(UserError, match="no study in .*insightv study"):
            build_results(store)


def test_every_system_answers_and_chains_are_written_once(project, trainers):
    vlm = Actor()
    run, whole, results = run_it(project, vlm)
    trained = (REASON_SET, SUMMARY_SET, DIRECT_SET, MULTI_TURN_SET, share_set(0.5))
    feedback = [(None, False, "answer"), ("nano-teacher", True, "score")]
    assert whole and sorted(each for each in trainers if len(each) == 2) == sorted((name, 0) for name in trained)
    assert [each for each in trainers if len(each) == 3] == feedback
    names = [each["name"] for each in results["systems"] if each["benchmark"] == REASONING]
    assert names[0] == BASE and {BOTH, COPIED, EXCHANGED, ONE_MODEL, MULTI_TURN, name_share(0.5)} <= set(names)
    assert all(each["n"] == (9 if each["benchmark"] == REASONING else 3) for each in results["systems"])
    # Both agents, the copy, and the exchanged chain: one chain a question, two verdicts.
    assert vlm.adapters.count(f"{REASON_SET}-0") == 9 + 3 + 2 * 9 + 2 * 9  # chains, perception, two controls, samples
    # Saved: a chain for both agents and for the exchanged chain, and the samples that best-of-N reads.
    assert results["calls"] == {"made": len(vlm.adapters), "saved": 9 + 3 + 9 + 2 * 9}
    assert results["left_out"] == {
        f"{BOTH}, DPO round 1": "round 1 of DPO: no pairs among 8 paths",
        BY_SCORES: "DPO on a blind judge's scores: no pairs among 8 paths",
    }
    with open_store(project) as store:
        copied = {each.item: each for each in load_answers(store, run, REASONING, COPIED)}
        for each in load_answers(store, run, REASONING, EXCHANGED):
            assert each.details["chain_of"] != each.item and each.details["chain_of"] in copied
        assert all(each.details["chain_of"] == each.item for each in load_answers(store, run, REASONING, BOTH))
        (listed,) = (each for each in list_evaluations(store) if each["benchmark"] == REASONING)
        assert listed["stage"] == "study" and listed["systems"] == names and listed["questions"] == 9


def test_a_stopped_study_goes_on_with_the_questions_that_are_left(project, trainers, monkeypatch):
    for limit in ("TOGETHER", "MOST"):
        monkeypatch.setattr(f"insightv_core.evaluate.plan.{limit}", 4)
    whole = Actor()
    expected = run_it(project, whole)[2]
    other = project.parent / "other.db"
    with open_store(project) as store:
        store.db.conn.execute("VACUUM INTO ?", [str(other)])
    with open_store(other) as store, store.transaction():
        for table in ("evaluation_items", "evaluations"):
            store.db.conn.execute(f"DELETE FROM {table}")
    held, stops = 0, 0
    for fail_at in (30, 60, 40, None):
        vlm = Actor(fail_at)
        _, done, results = run_it(other, vlm)
        held, stops = held + len(vlm.adapters), stops + (not done)
        assert done or results["left_out"]
    assert stops == 3 and results["systems"] and forget_times(results) == forget_times(expected)
    assert held <= len(whole.adapters) + 3 * 4 * 2  # at most what was under way is done again
    again = Actor()
    run_it(other, again)
    assert again.adapters == []


KILLED = """
import os, signal, sys
from insightv_core.agents import Agent
from insightv_core.evaluate import direct, held_out_items
from insightv_core.evaluate import plan
from insightv_core.records import Run
from insightv_core.store import open_store
from insightv_core.store.evaluations import answered_items
from insightv_core.vlm.scripted import ScriptedVLM

plan.TOGETHER, plan.MOST, asked = 2, 2, []

def script(talk, sample):
    asked.append(talk.key)
    if len(asked) == 6 and sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return ["3"]

with open_store(sys.argv[1], create=True) as store:
    store.start_run(Run("e" * 20, "evaluate", None, "1", {}, "0"))
    items = held_out_items(9)
    counts = list(plan.answer_missing(store, "e" * 20, "t", "direct", items, direct(Agent(ScriptedVLM(script)))))
    print(counts, len(asked), len(answered_items(store, "e" * 20, "t", "direct")))
"""


def test_after_a_kill_only_what_was_not_saved_is_asked_again(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path / "a.db")]
    assert subprocess.run([*command, "kill"], check=False).returncode == -signal.SIGKILL
    told = subprocess.run([*command, "go on"], check=True, capture_output=True, text=True).stdout
    assert told.split() == ["[4,", "2,", "2,", "1]", "5", "9"]


def forget_times(results):
    return [
        {name: value for name, value in each.items() if name != "seconds"} for each in results["systems"]
    ], results["claims"]  # fmt: skip


def test_more_seeds_add_to_the_same_study(project, trainers):
    first = run_it(project, Actor())
    vlm = Actor()
    second = run_it(project, vlm, seeds=2)
    assert first[0] == second[0] and not any(str(name).endswith("-0") for name in vlm.adapters)
    both = system(second[2], BOTH)
    assert both["seeds"] == 2 and both["n"] == 9 and len(both["by_seed"]) == 2
    assert system(second[2], BASE)["seeds"] == 1


def test_the_time_budget_leaves_out_what_it_does_not_reach_and_says_so(project, trainers):
    vlm = Actor()
    run, whole, results = run_it(project, vlm, stopped=lambda: vlm.held >= 12)
    assert not whole and {each["name"] for each in results["systems"]} >= {BASE}
    assert "the same command goes on" in results["left_out"][BOTH]
    with open_store(project) as store:
        assert store.value("SELECT status FROM runs WHERE id = ?", [run]) == "stopped"
    assert [each["verdict"] for each in results["claims"]].count(MISSING) == len(results["claims"])
    whole = run_it(project, Actor())[2]["left_out"]
    assert run_it(project, Actor(), seeds=2, stopped=lambda: True)[2]["left_out"].keys() == whole.keys()


@pytest.mark.parametrize(
    "settings", [StudySettings(), SMALL, replace(SMALL, rounds=0), replace(SMALL, judge=None, shares=())]
)
def test_a_job_needs_only_jobs_that_come_before_it(settings):
    rows = dict.fromkeys([REASON_SET, SUMMARY_SET, DIRECT_SET, MULTI_TURN_SET, *map(share_set, settings.shares)], 1)
    jobs = list_jobs(Actor(), settings, rows, 2)
    titles = [job.title for job in jobs]
    assert len(set(titles)) == len(titles)
    assert all(set(job.needs) <= set(titles[:place]) for place, job in enumerate(jobs))
    assert sum(bool(job.needs) for job in jobs) > len(jobs) / 2


class SlowActor(Actor):
    """Takes its time, so that another finds something to do."""

    def play(self, talk, sample):
        time.sleep(0.001)
        return super().play(talk, sample)


def wait_for(found):
    until = time.monotonic() + 60
    while not found():
        assert time.monotonic() < until
        time.sleep(0.01)


def find_study_run(project, vlm):
    with open_store(project) as store:
        curation = find_curation(store, None).id
        return name_study(vlm.version, curation, SMALL).id, curation


def test_who_carries_out_the_same_study_shares_its_work(project, trainers, monkeypatch):
    monkeypatch.setattr("insightv_core.study.run.WAIT", 0.01)
    other = project.parent / "other.db"
    with open_store(project) as store:
        store.db.conn.execute("VACUUM INTO ?", [str(other)])
    alone, one, second = Actor(), SlowActor(), SlowActor()
    expected = run_it(project, alone, seeds=2)[2]
    run, curation = find_study_run(other, one)

    def assist():
        with open_store(other) as store:
            wait_for(lambda: store.status(run) == "running")
            assist_study(store, "nano-base", second, SMALL, seeds=2, curation=curation, stopped=lambda: False)

    helper = threading.Thread(target=assist)
    helper.start()
    _, whole, results = run_it(other, one, seeds=2)
    helper.join(60)
    assert whole and not helper.is_alive() and len(one.adapters) > 20 and len(second.adapters) > 20
    assert Counter(one.adapters + second.adapters) == Counter(alone.adapters)  # nothing twice, nothing left out
    assert forget_times(results) == forget_times(expected) and results["calls"] == expected["calls"]


def test_a_job_that_another_is_at_is_waited_for_while_others_go_on(project, trainers, monkeypatch):
    monkeypatch.setattr("insightv_core.study.run.WAIT", 0.01)
    vlm, ended = Actor(), []
    run, _ = find_study_run(project, vlm)
    with open_store(project) as store:
        claim = claim_of(store, run, title_training(REASON_SET, 0))
    with claim:
        worker = threading.Thread(target=lambda: ended.append(run_it(project, vlm)))
        worker.start()
        wait_for(lambda: vlm.adapters.count("study-multi-turn-0") == 2 * 9)
        assert worker.is_alive() and "study-reason-0" not in vlm.adapters
    worker.join(60)
    ((_, whole, results),) = ended
    assert whole and {BOTH, COPIED, EXCHANGED} <= {each["name"] for each in results["systems"]}


def test_the_run_of_a_study_tells_how_far_it_is(project, trainers):
    vlm, seen = Actor(), []
    with open_store(project) as store:
        run, _ = find_study_run(project, vlm)

        def look():
            seen.extend(store.tuples("SELECT done, total FROM runs WHERE id = ?", [run]))
            return False

        run_study(store, "nano-base", vlm, SMALL, seeds=1, stopped=look, quiet=True)
        ((done, total),) = store.tuples("SELECT done, total FROM runs WHERE id = ?", [run])
    assert done == total and {each for each, _ in seen} >= set(range(1, total))


def test_no_time_at_all_begins_nothing(project, trainers):
    vlm = Actor()
    with open_store(project) as store:
        run, whole = run_study(store, "nano-base", vlm, SMALL, seeds=1, minutes=0, quiet=True)
        assert not whole and not vlm.held and not trainers
        with pytest.raises(UserError, match="has no answers yet.*more time"):
            build_results(store, run.id)


def test_training_that_fails_leaves_out_what_needs_it_and_names_why(project, trainers, monkeypatch):
    from insightv_core.train import run as training

    def train_agent(store, role, *rest, **more):
        if role == DIRECT_SET:
            raise UserError("3 rows are too long")
        return SimpleNamespace(folder=role)

    monkeypatch.setattr(training, "train_agent", train_agent)
    _, whole, results = run_it(project, Actor())
    assert whole and results["left_out"][ONE_MODEL] == "its model could not be trained: 3 rows are too long"
    assert BOTH in [each["name"] for each in results["systems"]]


# -- what is made of the answers ---------------------------------------------------------------------------------------


def answers(pattern, seed=0, **details):
    from insightv_core.records import Answered

    return [
        Answered(str(place), "", "correct" if right == "1" else "wrong", "", 1, 0.1, {"seed": seed, **details})
        for place, right in enumerate(pattern)
    ]


@pytest.mark.parametrize(
    ("one", "other", "verdict", "held"),
    [
        ("1" * 60, "10" * 30, HELD, True),
        ("10" * 30, "1" * 60, FAILED, False),
        ("11" + "0" * 18, "10" + "0" * 18, OPEN, None),
        ("", "1", MISSING, None),
    ],
)
def test_a_claim_is_held_refuted_or_open(one, other, verdict, held):
    outcomes = {REASONING: {"a": answers(one), "b": answers(other)}}
    claim = settle(Expectation(2, "a beats b", "+1", "a", "b"), outcomes)
    assert (claim.verdict, claim.held) == (verdict, held)
    assert (claim.difference is None) == (verdict == MISSING)


def test_a_claim_about_wrong_paths_counts_these_alone_and_seeds_are_matched():
    one = answers("11", path_right=0) + answers("00", path_right=1)
    other = answers("00", path_right=0) + answers("11", path_right=1)
    claim = settle(Expectation(6, "", "", "a", "b", wrong_paths=True), {REASONING: {"a": one, "b": other}})
    assert claim.difference == 1.0 and claim.n == 2
    outcomes = {REASONING: {"a": answers("11", 0) + answers("00", 1), "b": answers("01", 0)}}
    assert settle(Expectation(2, "", "", "a", "b"), outcomes).difference == 0.5
    outcomes = {REASONING: {BOTH: answers("11", 0) + answers("00", 1), BASE: answers("01", 0)}}
    assert settle(Expectation(1, "", "", BOTH, BASE), outcomes).difference == 0.0


def test_seeds_are_averaged_before_questions_are_drawn():
    assert average_by_item(answers("11", 0) + answers("10", 1)) == {"0": 1.0, "1": 0.5}


def test_the_files_say_what_the_store_holds(project, trainers, tmp_path):
    run, _, results = run_it(project, Actor(), settings=replace(SMALL, questions=12))
    folder = tmp_path / "out"
    with open_store(project) as store:
        files = write_folder(store, results, folder)
        reports = load_reports(store, run, REASONING)
    assert {file.name for file in files} >= {"report.md", "results.csv", "results.tex", "results.json", "systems.html"}
    assert json.loads((folder / "results.json").read_text())["claims"] == json.loads(json.dumps(results["claims"]))
    with (folder / "results.csv").open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["benchmark"] == REASONING]
    assert [(row["system"], float(row["accuracy"]), int(row["n"])) for row in rows] == [
        (each.system, each.accuracy.value, each.accuracy.n) for each in reports
    ]
    assert [row["difference"] == "" for row in rows] == [each.difference is None for each in reports]
    assert list_published(load_published(folder / "results.json")) == reports
    lines = (folder / "results.tex").read_text().splitlines()
    cells = [line.removesuffix(r" \\").split(" & ") for line in lines if " & " in line]
    assert {len(row) for row in cells} == {9}
    read = {row[0].replace(r"\%", "%"): row[1] for row in cells[1:]}
    assert read[name_share(0.5)] == f"{system(results, name_share(0.5))['accuracy']:.3f}"
    report = (folder / "report.md").read_text()
    for each in reports:
        assert re.search(rf"^\| {re.escape(each.system)} \|.*\| {each.accuracy.value:.3f} \|", report, re.MULTILINE)
    for claim in results["claims"]:
        assert claim["words"] in report
    figure = json.loads((folder / "paths.json").read_text())
    assert sum(trace["type"] == "heatmap" for trace in figure["data"]) == len(results["paths"])
    bars, values = json.loads((folder / "systems.json").read_text())["data"]
    assert bars["y"] == [each.system for each in reports] and bars["x"] == [each.accuracy.value for each in reports]
    assert values["text"][0].strip() == f"{reports[0].accuracy.value:.3f}"
    (line,) = json.loads((folder / "scaling.json").read_text())["data"]
    assert line["x"] == [50, 100] and line["y"][1] == system(results, BOTH)["accuracy"]


def test_the_display_learns_the_speed_of_each_kind(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("insightv_core.study.progress.time.perf_counter", lambda: now[0])
    meter = Meter({"slow": 2.0, "fast": 1.0}, quiet=True)
    meter.plan("slow", 10)
    meter.plan("fast", 10)
    assert meter.remaining() is None
    meter.begin("work", "slow", 10)
    now[0] = 7.0
    meter.ignore_time()
    now[0] = 27.0
    meter.advance(5)
    assert meter.remaining() == pytest.approx(5 * 4 + 10 * 2)  # half as fast as expected, so the other kind too
    meter.end()
    assert meter.remaining() == pytest.approx(10 * 2)
    meter.begin("rest", "fast", 10)
    meter.advance(4, fresh=False)  # was done before: no time to learn from
    assert meter.remaining() == pytest.approx(6 * 2)
    assert meter.bar.n == pytest.approx((5 * 2 + 5 * 2 + 4) / (10 * 2 + 10))
    meter.close()


def study(*arguments):
    parser = argparse.ArgumentParser()
    add_study_command(parser.add_subparsers())
    options = parser.parse_args(["study", *map(str, arguments)])
    return options.run(options)


def test_the_command_prints_the_table_and_its_report_comes_from_the_store(
    project, trainers, capsys, monkeypatch, tmp_path
):
    from insightv_core.commands import study as command

    monkeypatch.setattr(command, "load_model", lambda options: Actor())
    monkeypatch.setattr(command, "quiet_transformers", lambda: None)
    arguments = ["--project", project, "--quick", "--n", 8]
    assert study(*arguments, "--out", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert "1. both agents beat the base model by 8 points" in shown and "cannot be told" in shown
    assert "left out: two agents, DPO round 1: round 1 of DPO: no pairs" in shown
    assert "Could often not be read" not in shown and f"figures in {tmp_path / 'out'}" in shown
    monkeypatch.setattr(command, "load_model", lambda options: pytest.fail("a report asks no model"))
    assert study("--project", project, "--report", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["systems"][0].items() >= {"name": BASE, "n": 8, "seeds": 1}.items()
    assert {"number", "held", "difference", "low", "high"} <= printed["claims"][0].keys()
    assert printed["sets"] == {REASON_SET: 5, SUMMARY_SET: 6, DIRECT_SET: 5, MULTI_TURN_SET: 11, share_set(0.25): 1}
    assert (project.parent / "project-study" / "report.md").is_file()


@pytest.mark.slow
def test_the_study_runs_on_nano(project, capsys):
    arguments = ["--project", project, "--quick", "--n", 4, "--epochs", 4, "--samples", 2, "--json"]
    assert study(*arguments, "--workers", 2) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["whole"] and {each["name"] for each in printed["systems"]} >= {BASE, BOTH, ONE_MODEL, MULTI_TURN}
    assert {each["number"] for each in printed["claims"]} == {1, 2, 3, 4, 5, 6}
    with open_store(project) as store:
        names = store.column("SELECT name FROM models WHERE kind = 'adapter'")
        assert names and all(name.startswith("study-") for name in names)  # nobody's agents are displaced
    assert study(*arguments, "--report") == 0
    assert json.loads(capsys.readouterr().out)["systems"] == printed["systems"]
