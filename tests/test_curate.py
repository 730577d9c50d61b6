"""Curating: who is imitated, who is shown to the summary agent, who beats whom, and what reviewers change."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from curation_project import (
    JUDGE,
    MAKER,
    RULES,
    build_project,
    candidate,
    chain_of,
    make_assessment,
    make_path,
    make_question,
    name_pair,
    vote,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from insightv_core import figures, prompts
from insightv_core.cli import main
from insightv_core.curate import CurateSettings, check_settings, curate, estimate_noise, measure_yield, name_run
from insightv_core.curate.pairs import find_pairs
from insightv_core.curate.rows import training_rows
from insightv_core.curate.sets import choose_best, judge_soundness, share_out
from insightv_core.errors import UserError
from insightv_core.parse import SummaryReply, parse_chain, parse_summary
from insightv_core.records import Preference
from insightv_core.store import curation, open_store
from insightv_core.store.assessments import add_assessments
from insightv_core.store.reviews import add_reviewer, save_event, undo_last

DEFAULTS = CurateSettings()
RUN = name_run(DEFAULTS, {})


def curated(*questions, said=None, edits=None, **chosen):
    """Curate lists of candidates, one list a question."""
    material = [(make_question(number), found) for number, found in enumerate(questions)]
    return curate(material, RUN, CurateSettings(**chosen), preferences=said, edits=edits)


def kinds(rows):
    return Counter(row.kind for row in rows)


# -- the reasoning set -------------------------------------------------------------------------------------------------


def test_the_best_right_path_is_imitated_as_the_agent_writes():
    best = candidate("b", score=90, verdicts=("sound", "sound"))
    found = curated([candidate("a", score=80), best, candidate("c", "wrong", 99)])
    (row,) = found.reason
    assert (row.path, row.kind, row.excluded) == ("b", "reason", None)
    assert tuple(step for _, step in parse_chain(row.target)) == best.steps


@pytest.mark.parametrize(
    ("found", "reason", "path"),
    [
        ([], "no path", None),
        ([candidate("a", style="chain")], "only paths of a trained agent", None),
        ([candidate("a", "unparsed", None, status="failed")], "no complete path", None),
        ([candidate("a", "wrong"), candidate("b", "unparsed")], "no correct answer", None),
        ([candidate("a", score=None)], "no score", "a"),
        ([candidate("a", score=69), candidate("b", score=60)], "score below 70", "a"),
        ([candidate("a", score=90, verdicts=("sound", "flawed"))], "a flawed step", "a"),
    ],
)
def test_a_question_without_a_good_path_says_why(found, reason, path):
    made = curated(found)
    assert made.left_out["reason"] == {reason: 1}
    assert [(row.path, row.excluded) for row in made.reason] == ([(path, reason)] if path else [])


def test_the_papers_rule_and_answers_alone_can_be_asked_for():
    flawed = candidate("a", score=90, verdicts=("sound", "flawed"))
    assert choose_best([flawed], CurateSettings(sound_steps=False)) == (flawed, None)
    unscored = candidate("b", score=None)
    assert choose_best([unscored], CurateSettings(reason_score=0)) == (unscored, None)


def test_equal_scores_are_drawn_by_seed():
    tied = [candidate(name, score=100) for name in "abcdefgh"]
    chosen = {seed: choose_best(tied, CurateSettings(seed=seed))[0].path for seed in range(20)}
    assert len(set(chosen.values())) > 3
    assert all(choose_best(tied[::-1], CurateSettings(seed=seed))[0].path == path for seed, path in chosen.items())


# -- the summary set ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (candidate("a", "wrong", 99, verdicts=("sound", "sound")), "flawed"),
        (candidate("a", "wrong", None), "flawed"),
        (candidate("a", score=70, verdicts=("sound", "sound")), "sound"),
        (candidate("a", score=69, verdicts=("sound", "flawed")), "flawed"),
        (candidate("a", score=99, verdicts=("sound", "flawed")), None),
        (candidate("a", score=30, verdicts=("sound", "sound")), None),
        (candidate("a", score=70), "sound"),
        (candidate("a", score=69), "flawed"),
        (candidate("a", score=None), None),
    ],
)
def test_a_chain_is_labelled_only_where_the_judge_does_not_contradict_itself(found, verdict):
    assert judge_soundness(found, DEFAULTS) == verdict


def full_question(name):
    return [
        candidate(f"{name}best", score=95, verdicts=("sound", "sound")),
        candidate(f"{name}mid", score=55, verdicts=("sound", "flawed")),
        candidate(f"{name}low", score=20, verdicts=("flawed", "flawed")),
        candidate(f"{name}wrong", "wrong", 10, verdicts=("flawed", "flawed")),
        candidate(f"{name}own", "wrong", 10, style="chain", run="agent"),
        candidate(f"{name}odd", score=95, verdicts=("sound", "flawed")),
    ]


def test_the_summary_set_has_every_kind_in_its_share():
    found = curated(*(full_question(name) for name in "abcdefgh"))
    assert kinds(found.summary) == {
        "optimal": 8, "flawed mid": 2, "flawed low": 2, "wrong answer": 4, "own output": 8, "plain": 8,
    }  # fmt: skip
    assert found.left_out["summary"]["score and step verdicts disagree"] == 8
    assert found.left_out["summary"]["wrong answer: not drawn"] == 4


def test_every_target_tells_the_verdict_and_the_true_answer():
    for row in curated(*(full_question(name) for name in "ab")).summary:
        if row.kind == "plain":
            assert (row.target, row.path) == ("right", None)
        else:
            verdict = "sound" if row.kind == "optimal" else "flawed"
            assert parse_summary(row.target) == SummaryReply(verdict, "right")


def test_a_chain_with_both_a_right_and_a_wrong_answer_is_not_shown():
    shared = ("same", "words")
    found = curated([candidate("a", score=95, chain=shared), candidate("b", "wrong", 5, chain=shared)])
    assert kinds(found.summary) == {} and not found.pairs
    assert [row.path for row in found.reason] == ["a"]


def test_a_path_that_is_not_good_enough_is_not_called_sound():
    assert kinds(curated([candidate("a", score=55, verdicts=("sound", "flawed"))]).summary) == {}


def test_shares_that_cannot_be_filled_go_to_others():
    assert share_out(10, {"a": 1, "b": 2, "c": 9}, {"a": 1, "b": 1, "c": 0}) == {"a": 1, "b": 2, "c": 7}
    assert share_out(5, {"a": 1}, {"a": 1}) == {"a": 1} and share_out(3, {}, {}) == {}
    assert share_out(2, {"a": 9, "b": 9, "c": 9}, {"a": 0.5, "b": 0.25, "c": 0.25}) == {"a": 1, "b": 1, "c": 0}


def test_the_same_seed_draws_the_same_rows_and_another_seed_others():
    questions = [full_question(name) for name in "abcdefgh"]
    first, again, other = (curated(*questions, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert {row.path for row in first.summary} != {row.path for row in other.summary}


# -- pairs -------------------------------------------------------------------------------------------------------------


def members():
    return st.lists(
        st.tuples(
            st.sampled_from(["correct", "wrong", "unparsed", None]), st.one_of(st.none(), st.integers(1, 100)),
            st.integers(0, 3), st.sampled_from(["r", "s"]), st.sampled_from(["j", "k"]),
            st.sampled_from(["complete", "failed"]),
            st.lists(st.sampled_from(["sound", "flawed"]), min_size=2, max_size=2),
        ),
        max_size=9,
    ).map(
        lambda drawn: [
            candidate(
                f"p{place}", outcome, score, chain=("shared", f"text {text}"), run=run, assessed_by=judge,
                status=status, verdicts=tuple(verdicts) if score else (),
            )
            for place, (outcome, score, text, run, judge, status, verdicts) in enumerate(drawn)
        ]
    )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(members(), st.integers(0, 5), st.integers(0, 2), st.integers(1, 40), st.integers(0, 3), st.data())
def test_the_chosen_path_is_better_unless_a_reviewer_said_otherwise(found, k, steps, margin, seed, data):
    chosen_settings = CurateSettings(
        pairs_per_question=k, step_pairs_per_question=steps, margin=margin, chosen_score=0, seed=seed
    )
    names = [each.path for each in found] or ["none"]
    drawn = data.draw(st.lists(st.tuples(*[st.sampled_from(names)] * 2, st.booleans()), max_size=2))
    said = [Preference(*each) for each in {frozenset(each[:2]): each for each in drawn}.values() if each[0] != each[1]]
    pairs = find_pairs("run", "q", found, chosen_settings, said)
    assert pairs == find_pairs("run", "q", found, chosen_settings, said)
    assert len({pair.id for pair in pairs}) == len(pairs)
    by_path = {each.path: each for each in found}
    for pair in pairs:
        chosen, rejected = by_path[pair.chosen], by_path[pair.rejected]
        assert chosen.steps != rejected.steps
        if pair.reason == "human":
            assert Preference(pair.chosen, pair.rejected, pair.excluded is not None) in said
            continue
        assert {pair.chosen, pair.rejected} not in [{each.better, each.worse} for each in said]
        assert pair.excluded is None and chosen.run == rejected.run
        assert chosen.status == rejected.status == "complete" and chosen.outcome == "correct"
        if pair.reason == "answer":
            assert rejected.outcome == "wrong"
        else:
            assert rejected.outcome == "correct" and chosen.assessed_by == rejected.assessed_by
            assert pair.margin == chosen.score - rejected.score >= margin
        if pair.kind == "step":
            assert pair.shared_steps == rejected.verdicts.index("flawed") >= 1
            assert chosen.steps[: pair.shared_steps] == rejected.steps[: pair.shared_steps]
    automatic = Counter(by_path[pair.chosen].run for pair in pairs if pair.kind == "path" and pair.reason != "human")
    assert all(count <= k for count in automatic.values())


def test_the_best_path_is_held_against_the_worst():
    found = [
        candidate("a", score=60),
        candidate("b", score=90),
        candidate("c", "wrong", 50),
        candidate("d", "wrong", 5),
    ]
    (pair,) = curated(found).pairs
    assert (pair.chosen, pair.rejected, pair.reason, pair.margin, pair.kind) == ("b", "d", "answer", 85.0, "path")
    pairs = curated(found, pairs_per_question=9).pairs
    assert [(pair.chosen, pair.rejected) for pair in pairs] == [
        ("b", "d"), ("a", "c"), ("b", "c"), ("a", "d"), ("b", "a"),
    ]  # fmt: skip


def test_no_score_is_neither_a_high_nor_a_low_one():
    found = [candidate("a", score=None), candidate("b", score=50), candidate("c", "wrong", None)]
    assert [(pair.chosen, pair.rejected, pair.margin) for pair in curated(found).pairs] == [("b", "c", None)]
    (pair,) = curated([*found, candidate("d", "wrong", 90)]).pairs
    assert (pair.chosen, pair.rejected) == ("b", "d")


def test_two_right_answers_need_a_margin_of_one_judge():
    far = [candidate("a", score=90), candidate("b", score=60)]
    assert [pair.reason for pair in curated(far).pairs] == ["score"]
    assert len(curated(far, margin=30).pairs) == 1
    assert curated(far, margin=31).left_out["pairs"] == {"scores less than 31 apart": 1}
    assert not curated([far[0], replace(far[1], assessed_by="other")]).pairs
    assert not curated([far[0], replace(far[1], score=None)]).pairs


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ([], "no complete path with a settled answer"),
        ([candidate("a", "unparsed")], "no complete path with a settled answer"),
        ([candidate("a"), candidate("b", chain=("a looks", "a adds"))], "fewer than two different chains of a run"),
        ([candidate("a", "wrong"), candidate("b", "wrong")], "no correct answer"),
        ([candidate("a", score=39), candidate("b", "wrong")], "right answers score below 40"),
        ([candidate("a"), candidate("b", score=75)], "scores less than 20 apart"),
        ([candidate("a"), candidate("b", "wrong", run="s")], "fewer than two different chains of a run"),
        ([candidate("a", score=None), candidate("b")], "fewer than two right answers with a score, and no wrong one"),
    ],
)
def test_a_question_without_a_pair_says_why(found, reason):
    assert curated(found).left_out["pairs"] == {reason: 1}


def test_among_equals_the_chains_that_differ_least_make_a_pair():
    found = [
        candidate("a", "correct", 90, chain=("AB is 2, BC is 6", "2 + 6 = 8")),
        candidate("b", "correct", 90, chain=("the sides are 2 and 6", "so 8 in all")),
        candidate("c", "correct", 80, chain=("AB is 2, BC is 9", "2 + 9 = 11")),
        candidate("d", "wrong", 10, chain=("the sides are 2 and 7", "so 9 in all")),
        candidate("e", "wrong", 10, chain=("AB is 3, BC is 6", "3 + 6 = 9")),
    ]
    for seed in range(4):
        pairs = curated(found, pairs_per_question=2, seed=seed).pairs
        assert {(pair.chosen, pair.rejected) for pair in pairs} == {("a", "e"), ("b", "d")}
    (pair,) = curated([*found, candidate("f", "wrong", 5)]).pairs
    assert pair.rejected == "f"  # the score goes first


def test_pairs_by_score_alone_take_no_notice_of_answers():
    found = [candidate("a", "wrong", 90), candidate("b", "correct", 30), candidate("c", None, 60)]
    (pair,) = curated(found, pairs_by="score").pairs
    assert (pair.chosen, pair.rejected, pair.reason, pair.margin) == ("a", "b", "judge", 60.0)
    both = curated(found, pairs_by="score", pairs_per_question=3).pairs
    assert {(each.chosen, each.rejected) for each in both} == {("a", "b"), ("c", "b"), ("a", "c")}
    assert not curated([candidate("a", "correct", None), candidate("b", "wrong", 9)], pairs_by="score").pairs


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ([candidate("a", score=None), candidate("b", "wrong", None)], "no complete path with a score"),
        ([candidate("a", score=90)], "fewer than two different chains of a run with a score"),
        ([candidate("a", score=39), candidate("b", score=1)], "all score below 40"),
        ([candidate("a", score=90), candidate("b", "wrong", 75)], "scores less than 20 apart"),
    ],
)
def test_a_question_without_a_pair_by_score_says_why(found, reason):
    assert curated(found, pairs_by="score").left_out["pairs"] == {reason: 1}


def test_step_pairs_part_at_the_first_flawed_step():
    good = candidate("a", score=90, chain=("look", "add", "answer"), verdicts=("sound",) * 3)
    slip = candidate("b", "wrong", 20, chain=("look", "take", "answer 2"), verdicts=("sound", "flawed", "flawed"))
    early = candidate("c", "wrong", 10, chain=("glance", "add", "answer"), verdicts=("flawed", "sound", "sound"))
    other = candidate("d", "wrong", 5, chain=("glance", "take", "answer 3"), verdicts=("sound", "flawed", "flawed"))
    (pair,) = curated([good, slip, early, other], pairs_per_question=0, step_pairs_per_question=3).pairs
    assert (pair.chosen, pair.rejected, pair.kind, pair.shared_steps) == ("a", "b", "step", 1)
    assert not curated([replace(good, verdicts=("sound", "flawed", "sound")), slip], pairs_per_question=0,
                       step_pairs_per_question=3).pairs  # fmt: skip


# -- reviewers ---------------------------------------------------------------------------------------------------------


def test_reviewers_come_before_answers_and_scores():
    found = [candidate("a", score=95), candidate("b", score=75), candidate("c", "wrong", 50)]
    said = {"question-0": [Preference("b", "a")]}
    made = curated(found, said=said)
    assert [(pair.chosen, pair.rejected, pair.reason, pair.margin) for pair in made.pairs] == [("b", "a", "human", -20)]
    assert made.reason[0].path == "b"
    (pair,) = curated(found, said={"question-0": [Preference("c", "a")]}).pairs
    assert (pair.chosen, pair.rejected) == ("c", "a")


def test_a_pair_that_reviewers_are_tied_on_is_excluded_and_makes_room():
    found = [candidate("a", score=95), candidate("c", "wrong", 5), candidate("d", "wrong", 9)]
    made = curated(found, said={"question-0": [Preference("a", "c", tied=True)]})
    assert [(pair.rejected, pair.excluded) for pair in made.pairs] == [("c", "reviewers prefer neither"), ("d", None)]
    made = curated(found[:2], said={"question-0": [Preference("a", "c", tied=True)]})
    assert made.left_out["pairs"] == {"reviewers prefer neither": 1}


def test_a_rewritten_chain_goes_into_the_pair():
    made = curated([candidate("a"), candidate("b", "wrong")], edits={"a": "better words"})
    assert made.pairs[0].edited == "better words"


# -- the store ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return build_project(tmp_path_factory.mktemp("made"))


@pytest.fixture
def project(tmp_path):
    return build_project(tmp_path, questions=3)


def run_json(capsys, *arguments):
    capsys.readouterr()
    status = main([*map(str, arguments), "--json"])
    assert status == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("together", [1, 4, 250])
def test_candidates_come_with_their_chains_and_newest_assessments(made, monkeypatch, together):
    monkeypatch.setattr(curation, "TOGETHER", together)
    with open_store(made) as store:
        found = list(curation.assessed_questions(store))
        only = list(curation.assessed_questions(store, runs=[MAKER.id], limit=1))
        unknown = list(curation.assessed_questions(store, assess_run=RULES.id, limit=1))
    assert [question.id for question, _ in found] == [f"question-{number}" for number in range(6)]
    for number, (_, candidates) in enumerate(found):
        assert Counter(each.style for each in candidates) == {"progressive": 6, "chain": 2}
        by_path = {each.path: each for each in candidates}
        second = by_path[f"path-{number}-1"]
        assert (second.outcome, second.score, second.verdicts, second.assessed_by) == (
            "correct", 55, ("sound", "flawed"), JUDGE.id,
        )  # fmt: skip
        assert second.steps == chain_of(1, number)
    assert len(only) == 1 and {each.run for each in only[0][1]} == {MAKER.id}
    assert {each.outcome for each in unknown[0][1]} == {None}


def test_rules_never_displace_a_judge_but_a_newer_judge_does(project):
    with open_store(project) as store:
        path = store.path("path-0-0")
        add_assessments(store, [make_assessment(replace(path, answer="wrong"), None, (), RULES)])
        assert next(curation.assessed_questions(store))[1][2].path == "path-0-0"
        assert next(curation.assessed_questions(store))[1][2].score == 95
        newer = replace(JUDGE, id="newer")
        store.start_run(newer)
        add_assessments(store, [make_assessment(path, 42, (0,), newer)])
        (first,) = [each for each in next(curation.assessed_questions(store))[1] if each.path == "path-0-0"]
        assert (first.score, first.verdicts) == (42, ("flawed", "sound"))


def test_the_command_prints_the_funnel_and_saves_once(project, capsys):
    first = run_json(capsys, "curate", "--project", project)
    assert first["funnel"] == {
        "questions": 3, "with_paths": 3, "paths": 24, "complete": 21, "correct": 12, "scored": 12,
    }  # fmt: skip
    assert first["reason"] == 3 and first["summary"]["optimal"] == 3 and first["pairs"] == {"by answer": 6}
    with open_store(project) as store:
        counted = store.tuples("SELECT (SELECT count(*) FROM set_rows), (SELECT count(*) FROM pairs)")
        again = run_json(capsys, "curate", "--project", project)
        assert store.tuples("SELECT (SELECT count(*) FROM set_rows), (SELECT count(*) FROM pairs)") == counted
        assert {**first, "seconds": 0} == {**again, "seconds": 0}
        store.add_paths([make_path(make_question(0), 0, 8, MAKER, "wrong")])
    assert run_json(capsys, "curate", "--project", project)["run"] != first["run"]
    assert main(["curate", "--project", str(project), "--seed", "1"]) == 0
    words = capsys.readouterr().out
    assert "3 rows for the reasoning agent" in words and "6 preference pairs: 6 by answer" in words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reason-score", "101"], "reason_score is 101"),
        (["--reason-score", "30"], "mid_score is 40, above reason_score 30"),
        (["--wrong-share", "2"], "give a share from 0 to 1"),
        (["--pairs", "-1"], "give 0 for none"),
        (["--run", JUDGE.id], "is of assess: give a run of `insightv generate`"),
        (["--assess-run", "nothing"], "no run 'nothing'"),
    ],
)
def test_what_cannot_be_curated_is_explained(made, capsys, arguments, message):
    assert main(["curate", "--project", str(made), *arguments]) == 1
    assert message in capsys.readouterr().err


def test_projects_that_are_not_ready_say_what_to_do(tmp_path, capsys):
    with open_store(tmp_path / "empty.db", create=True) as store:
        store.add_questions([])
    assert main(["curate", "--project", str(tmp_path / "empty.db")]) == 1
    assert "insightv generate" in capsys.readouterr().err
    assert main(["export", "--project", str(tmp_path / "empty.db"), "--set", "pairs", "--format", "trl",
                 "--out", str(tmp_path / "out")]) == 1  # fmt: skip
    assert "run `insightv curate` first" in capsys.readouterr().err
    with pytest.raises(UserError, match="margin is 0"):
        check_settings(CurateSettings(margin=0))


def test_rows_ask_what_the_agents_are_asked(project, capsys):
    run = run_json(capsys, "curate", "--project", project)["run"]
    with open_store(project) as store:
        reason = list(training_rows(store, run, "reason"))
        summary = {row.kind: row for row in training_rows(store, run, "summary")}
        pair = next(row for row in training_rows(store, run, "pairs") if row.path == reason[0].path)
        question = store.question("question-0")
    assert list(reason[0].prompt) == prompts.ask(question.text, prompts.REASON) == list(pair.prompt)
    assert reason[0].completion == pair.completion != pair.rejected
    assert list(summary["plain"].prompt) == prompts.ask(summary["plain"].question.text, prompts.DIRECT)
    optimal = summary["optimal"]
    number = int(optimal.question.id.rpartition("-")[2])
    chain = prompts.format_chain(chain_of(0, number))
    assert list(optimal.prompt) == prompts.summarize(optimal.question.text, chain)


def test_votes_count_by_reviewer_and_majority(project, capsys):
    run = run_json(capsys, "curate", "--project", project)["run"]
    pairs = [name_pair(run, f"path-{number}-0", f"path-{number}-4") for number in range(3)]
    with open_store(project) as store:
        vote(store, pairs[0], "chosen")
        vote(store, pairs[0], "rejected")  # of one reviewer the last counts
        vote(store, pairs[1], "rejected")
        vote(store, pairs[1], "", event="undo")
        vote(store, pairs[2], "rejected", "ann")
        vote(store, pairs[2], "chosen", "bob")
        assert curation.load_preferences(store) == {
            "question-0": [Preference("path-0-4", "path-0-0")],
            "question-2": [Preference("path-2-0", "path-2-4", tied=True)],
        }
        vote(store, pairs[2], "rejected", "eve")
        assert curation.load_preferences(store)["question-2"] == [Preference("path-2-4", "path-2-0")]
    second = run_json(capsys, "curate", "--project", project)
    assert second["run"] != run and second["pairs"]["by human"] == 2
    with open_store(project) as store:
        # Votes on the same two paths count whichever run showed them.
        vote(store, name_pair(second["run"], "path-0-4", "path-0-0"), "rejected")
        assert curation.load_preferences(store)["question-0"] == [Preference("path-0-0", "path-0-4")]


def test_an_edit_stays_with_its_path(project, capsys):
    run = run_json(capsys, "curate", "--project", project)["run"]
    with open_store(project) as store:
        pair, details = name_pair(run, "path-0-0", "path-0-4"), {"path": "path-0-0", "chain": "new words"}
        add_reviewer(store, "ann")
        save_event(store, pair, "ann", "edit", details=details)
        save_event(store, pair, "ann", "edit", details=details | {"chain": "worse words"})
        undo_last(store, "ann")
        assert curation.load_edits(store) == {"path-0-0": "new words"}
    again = run_json(capsys, "curate", "--project", project)["run"]
    with open_store(project) as store:
        assert [row.completion for row in training_rows(store, again, "pairs") if row.path == "path-0-0"] == [
            "new words"
        ]


def test_rows_of_other_prompts_are_refused(project, capsys, monkeypatch):
    run = run_json(capsys, "curate", "--project", project)["run"]
    known = prompts.PROMPT_VERSION
    monkeypatch.setattr(prompts, "PROMPT_VERSION", "another")
    with open_store(project) as store, pytest.raises(UserError, match=f"curated for prompts of version {known}"):
        list(training_rows(store, run, "reason"))


# -- figures -----------------------------------------------------------------------------------------------------------

CALIBRATED = {
    "against": "exact",
    "calibration": [{"from": 1, "to": 50, "value": 0.2}, {"from": 51, "to": 100, "value": 0.9}],
}


def test_label_noise_follows_the_judge_report():
    assert estimate_noise(90, 20, CALIBRATED) == pytest.approx(0.1 * 0.2 / (0.1 * 0.2 + 0.9 * 0.8))
    assert estimate_noise(90, 80, CALIBRATED) == pytest.approx(0.5)
    reviewed = {"against": "reviews", "calibration": [{"from": 1, "to": 50, "value": 0.7}]}
    assert estimate_noise(60, 40, reviewed) == pytest.approx(0.3) and estimate_noise(99, 1, reviewed) == 0.5


def test_a_larger_margin_costs_pairs_and_noise():
    material = [(make_question(0), [candidate("a", score=90), candidate("b", score=60), candidate("c", score=20)])]
    rows = measure_yield(material, CurateSettings(pairs_per_question=3), [10, 35, 80], CALIBRATED)
    assert [row["pairs"] for row in rows] == [3, 2, 0]
    assert rows[0]["noise"] > rows[1]["noise"] > 0 and rows[2]["noise"] is None
    assert measure_yield(material, DEFAULTS, [10])[0]["noise"] is None


def test_figures_show_what_is_there(made):
    with open_store(made) as store:
        rows = curation.score_rows(store)
        measured = measure_yield(curation.assessed_questions(store), DEFAULTS, report=CALIBRATED)
    scores = figures.plot_scores(rows)
    assert sum(len(trace.x) for trace in scores.data) == 42 and "6 paths without" in scores.layout.title.text
    assert {trace.name for trace in scores.data if trace.showlegend} == {"right answer", "wrong answer"}
    bars, shares = figures.plot_lengths(rows).data
    assert list(bars.x) == [2] and list(bars.y) == [42] and shares.y[0] == pytest.approx(24 / 42)
    assert list(figures.plot_funnel({"paths": 9, "with_pairs": 2}).data[0].x) == [9, 2]
    assert [trace.name for trace in figures.plot_yield(measured).data][-1] == "estimated label noise"
    unknown = figures.plot_yield([row | {"noise": None} for row in measured])
    assert len(unknown.data) == 2 and "no judge report" in unknown.layout.title.text
    assert figures.plot_scores([]).data == () and figures.plot_lengths([]).data[0].x == ()
