"""The judge report: its figures against cases worked out by hand, and a judge whose faults are known."""

import json
from random import Random

import numpy as np
import pytest

from insightv_core.assess import POINTWISE, SINGLE, AssessSettings, name_run
from insightv_core.cli import main
from insightv_core.errors import UserError
from insightv_core.figures import plot_judge_report
from insightv_core.generate import GenerateSettings
from insightv_core.generate import name_run as name_generating
from insightv_core.judge_report import (
    JudgedPath,
    Truth,
    area_under_curve,
    compare_with_truth,
    estimate,
    estimate_share,
    measure_biases,
    rank_correlation,
    report_judge,
)
from insightv_core.nano.verify import verify_step
from insightv_core.nano.world import make_example, reference_chains, write_chain
from insightv_core.records import (
    COMPLETE,
    Assessment,
    JudgeCall,
    ModelVersion,
    Path,
    Question,
    Step,
    StepRecord,
    StoredImage,
)
from insightv_core.store import open_store
from insightv_core.store.assessments import add_assessments

JUDGE = ModelVersion("judge", "judge")
MAKER = name_generating(ModelVersion("maker", "maker"), GenerateSettings())
RUN = name_run(JUDGE, AssessSettings())
IMAGE = StoredImage("0" * 64, 8, 8, 100)
SOUND, FLAWED = Truth(True, ("sound", "sound")), Truth(True, ("sound", "flawed"))


def judged(question, score, truth, *, verdicts=("sound", "sound"), position=1, steps=2, characters=40, attempt=0):
    name = f"{question}-{score}-{position}-{characters}"
    call = f"call-{question}"
    return JudgedPath(question, name, score, verdicts, position, call, attempt, steps, characters, truth)


# -- worked out by hand ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scores, positive, expected",
    [
        ([90, 60, 70, 10], [1, 1, 0, 0], 3 / 4),  # 90 beats both, 60 beats one of two
        ([50, 50], [1, 0], 0.5),
        ([50, 50, 80, 20], [1, 0, 1, 0], 3.5 / 4),
        ([10, 20], [1, 0], 0.0),
        ([10, 20], [1, 1], None),
        ([], [], None),
    ],
)
def test_area_under_curve(scores, positive, expected):
    assert area_under_curve(np.array(scores, float), np.array(positive, float)) == expected


@pytest.mark.parametrize(
    "one, other, expected",
    [
        ([1, 2, 3, 4, 5], [5, 6, 7, 8, 7], 0.8207826816681233),  # ranks 1 2 3.5 5 3.5: 8 / sqrt(10 * 9.5)
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 1, 1], [3, 2, 1], None),
        ([1], [2], None),
    ],
)
def test_rank_correlation(one, other, expected):
    assert rank_correlation(np.array(one, float), np.array(other, float)) == (
        pytest.approx(expected) if expected is not None else None
    )


def test_intervals_resample_whole_questions():
    rows = [(f"q{n // 10}", n // 10 < 5) for n in range(100)]  # ten questions, five all yes, five all no
    apart = [(f"q{n}", yes) for n, (_, yes) in enumerate(rows)]
    together, single = estimate_share(rows, 500), estimate_share(apart, 500)
    assert together["value"] == single["value"] == 0.5 and together["n"] == single["n"] == 100
    assert 0.1 <= together["low"] <= 0.3 and 0.7 <= together["high"] <= 0.9  # binomial, n = 10
    assert 0.38 <= single["low"] <= 0.43 and 0.57 <= single["high"] <= 0.62  # binomial, n = 100
    assert estimate_share(rows, 500) == together


def test_intervals_are_not_given_where_they_would_lie():
    assert estimate_share([], 100) == {"value": None, "low": None, "high": None, "n": 0}
    one_question = estimate_share([("q", True), ("q", False)], 100)
    assert one_question == {"value": 0.5, "low": None, "high": None, "n": 2}
    never = estimate_share([(f"q{n}", False) for n in range(10)], 100)
    assert never["value"] == never["low"] == 0 and never["high"] == pytest.approx(0.2775, abs=1e-4)  # Wilson, 0 of 10
    assert estimate(lambda values: None, [[1.0, 2.0]], ["a", "b"], 100)["low"] is None
    one_sound = compare_with_truth([judged("a", 90, SOUND), judged("a", 20, FLAWED), judged("b", 30, FLAWED)], 100)
    assert one_sound["auc"] == {"value": 1.0, "low": None, "high": None, "n": 3}


def test_scores_and_step_verdicts_against_the_truth():
    wrong = Truth(False, ("sound", "unchecked"))
    known = [
        judged("a", 90, SOUND),
        judged("a", 60, SOUND, verdicts=("flawed", "sound")),
        judged("a", 70, FLAWED, attempt=1),
        judged("b", 10, wrong, verdicts=("flawed", "flawed")),
        judged("b", 95, SOUND),
        judged("b", None, SOUND, verdicts=()),
    ]
    found = compare_with_truth(known, 50)
    assert (found["paths_sound"], found["paths_right"]) == (3, 4)
    assert found["auc"]["value"] == 5 / 6 and found["auc"]["n"] == 5
    assert found["auc_answers"]["value"] == 1.0
    assert found["auc_right_answers"]["value"] == 2 / 3 and found["auc_right_answers"]["n"] == 4
    assert found["auc_first_try"]["value"] == 1.0 and found["auc_first_try"]["n"] == 4
    assert found["auc_within_question"]["value"] == 2 / 3 and found["auc_within_question"]["n"] == 3
    # Quality: 1, 1, 2/3, 2/3, 1 with ranks 4 4 1.5 1.5 4; scores rank 4 2 3 1 5.
    assert found["spearman"]["value"] == pytest.approx(5 / (7.5 * 10) ** 0.5)
    # Checkable steps: 9. Wrong: the first step of path 2, the second of path 3, the first of path 4.
    assert found["step_accuracy"]["value"] == pytest.approx(6 / 9) and found["step_accuracy"]["n"] == 9
    assert (found["step_recall"]["value"], found["step_recall"]["n"]) == (0.0, 1)
    assert (found["step_precision"]["value"], found["step_precision"]["n"]) == (0.0, 2)
    bands = {(each["from"], each["to"]): (each["value"], each["n"]) for each in found["calibration"]}
    assert bands[1, 20] == (0.0, 1) and bands[61, 80] == (0.0, 1) and bands[81, 100] == (1.0, 2)
    assert bands[21, 40] == (None, 0) and bands[41, 60] == (1.0, 1)
    spread = {each["from"]: (each["sound"], each["flawed"]) for each in found["distribution"]}
    assert (
        spread[91] == (1, 0) and spread[86] == (1, 0) and spread[66] == (0, 1) and sum(map(sum, spread.values())) == 5
    )


def test_position_length_and_unscored():
    scores = {"a": [50, 60, 70], "b": [10, 30], "c": [99]}
    paths = [
        judged(question, score, None, position=place, characters=100 - score, steps=place)
        for question, listed in scores.items()
        for place, score in enumerate(listed, 1)
    ]
    found = measure_biases([*paths, judged("d", None, None, verdicts=())], 50)
    # Places -0.5 0 0.5 and -0.5 0.5, distances -10 0 10 and -10 10: 20 points from first to last.
    assert found["position_bias"]["value"] == pytest.approx(20) and found["position_bias"]["n"] == 5
    assert found["length_bias"]["value"] == pytest.approx(-1) and found["length_bias"]["n"] == 6
    # Steps 1 2 3 1 2 1, ranks 2 4.5 6 2 4.5 2; scores rank 3 4 5 1 2 6.
    assert found["step_bias"]["value"] == pytest.approx(3.5 / (15 * 17.5) ** 0.5)
    assert found["unscored"]["value"] == pytest.approx(1 / 7) and found["unscored"]["n"] == 7


# -- a project with nano scenes ----------------------------------------------------------------------------------------


def sloppy_chain(example, rng):
    """Return a chain with a false step, and its answer."""
    for _ in range(200):
        steps, answer = write_chain(example, rng, slip_rate=1.0)
        if "flawed" in [verify_step(step, example.scene, answer=example.answer) for step in steps]:
            return steps, answer
    raise AssertionError("no slip in 200 tries")


def save_path(store, question, sample, steps, answer):
    turns = tuple(StepRecord("raw", step, True, 3, None, 0.1) for step in steps)
    path = Path(
        f"{question.id}-{sample}", question.id, MAKER.id, sample, COMPLETE, turns, answer, None, "raw", 6, None, 0.1
    )
    store.add_paths([path])
    return path


def score(store, run, question, paths, scores, order=None):
    """Save what a judge said: one call for a question, steps all called sound."""
    order = list(order or range(len(paths)))
    call = JudgeCall(
        f"{run.id}-{question.id}",
        run.id,
        question.id,
        SINGLE,
        0,
        tuple(paths[k].id for k in order),
        "raw",
        None,
        1,
        0.1,
    )
    add_assessments(
        store,
        [
            Assessment(
                path.id, run.id, "correct", "", "rules", said, "" if said else "no verdict could be read in 3 tries: x",
                ("sound",) * len(path.steps) if said else (), order.index(k) + 1, call.id,
            )
            for k, (path, said) in enumerate(zip(paths, scores, strict=True))
        ],
        [call],
    )  # fmt: skip


@pytest.fixture
def project(tmp_path):
    """Return a store with 4 nano questions, each with two sound and two flawed paths, and one question of elsewhere."""
    with open_store(tmp_path / "p.db", create=True) as store:
        store.start_run(MAKER)
        questions, paths = [], {}
        for seed, family in enumerate(("bar_total", "polygon_perimeter", "bar_range", "triangle_angle")):
            example = make_example(seed, split="demo", family=family, level=1)
            told = {"seed": seed, "split": "demo"}
            questions.append(
                Question(
                    family, example.question, example.answer, IMAGE.sha256, "demo", example.answer_type, family, 1,
                    metadata=told,
                )
            )  # fmt: skip
            store.add_questions([(questions[-1], IMAGE)])
            chains = [(chain, example.answer) for chain in reference_chains(example, 2)]
            chains += [sloppy_chain(example, Random(k)) for k in range(2)]
            paths[family] = [save_path(store, questions[-1], k, *chain) for k, chain in enumerate(chains)]
        other = Question("other", "What?", "4", IMAGE.sha256, "else", "integer", metadata={"seed": 1, "split": "demo"})
        store.add_questions([(other, IMAGE)])
        paths["other"] = [save_path(store, other, 0, [Step("a", "b", "summary")], "4")]
        store.start_run(RUN)
        yield store, [*questions, other], paths


def test_the_exact_verifier_finds_out_what_a_judge_is_worth(project):
    store, questions, paths = project
    for question in questions[:4]:
        score(store, RUN, question, paths[question.id], [90, 80, 30, None], order=[2, 0, 3, 1])
    score(store, RUN, questions[4], paths["other"], [55])
    heard = []
    report = report_judge(store, resamples=50, progress=heard.append)
    assert (report["against"], report["run"], report["model"], report["mode"]) == ("exact", RUN.id, "judge", SINGLE)
    assert (report["questions"], report["questions_with_truth"], report["paths"], sum(heard)) == (5, 4, 17, 17)
    assert report["auc"]["value"] == 1.0 and report["auc"]["n"] == 12 and report["spearman"]["value"] > 0.5
    assert report["auc_within_question"]["n"] == 8
    assert (report["paths_sound"], report["unscored"]["value"]) == (8, pytest.approx(4 / 17))
    assert report["step_recall"]["value"] == 0.0 and report["step_precision"]["value"] is None
    assert report["position_bias"]["n"] == 12 and report["mode_agreement"]["n"] == 0
    assert json.loads(json.dumps(report)) == report


def test_a_judge_that_prefers_flawed_paths_and_the_last_place_is_found_out(project):
    store, questions, paths = project
    for shift, question in enumerate(questions[:4]):
        order = [(k + shift) % 4 for k in range(4)]
        scores = [10 * (order.index(k) + 1) + (0 if k < 2 else 45) for k in range(4)]
        score(store, RUN, question, paths[question.id], scores, order=order)
    report = report_judge(store, resamples=50)
    assert report["auc"]["value"] == 0.0 and report["spearman"]["value"] < -0.5
    # Each place holds each path once, so what is left is 10 points a place.
    assert report["position_bias"]["value"] == pytest.approx(30)


def test_a_question_that_names_another_scene_has_no_truth(project):
    store, questions, paths = project
    for question in questions[:2]:
        score(store, RUN, question, paths[question.id], [90, 80, 30, 20])
    store.db.conn.execute("UPDATE questions SET text = 'Another question?' WHERE id = ?", [questions[0].id])
    assert report_judge(store, resamples=10)["questions_with_truth"] == 1
    store.db.conn.execute('UPDATE questions SET metadata = \'{"seed": 1, "split": "moon"}\'')
    report = report_judge(store, resamples=10)
    assert report["against"] is None and report["auc"]["value"] is None and report["unscored"]["n"] == 8
    with pytest.raises(UserError, match="family, level, seed and split"):
        report_judge(store, against="exact")


def test_runs_of_the_same_judge_are_compared(project):
    store, questions, paths = project
    twins = [
        (AssessSettings(mode=POINTWISE), [11, 21, 31, 41]),
        (AssessSettings(seed=5), [40, 30, 20, 10]),
        (AssessSettings(seed=6, tries=1), [1, 1, 1, 2]),
    ]
    for settings, scores in [(AssessSettings(), [10, 20, 30, 40]), *twins]:
        run = name_run(JUDGE, settings)
        store.start_run(run)
        for question in questions[:4]:
            score(store, run, question, paths[question.id], scores)
    report = report_judge(store, RUN.id, resamples=10)
    assert report["mode_agreement"]["value"] == pytest.approx(1) and report["mode_agreement"]["n"] == 16
    assert report["order_agreement"]["value"] == pytest.approx(-1)
    assert report["order_difference"]["value"] == 20.0
    other = ModelVersion("second", "second")
    store.start_run(name_run(other, AssessSettings()))
    score(store, name_run(other, AssessSettings()), questions[0], paths[questions[0].id], [10, 20, 30, 40])
    assert report_judge(store, resamples=10)["mode_agreement"]["n"] == 0


def test_reviews_are_compared_where_there_are_any(project):
    store, questions, paths = project
    for question in questions[:4]:
        score(store, RUN, question, paths[question.id], [90, 80, 80, 40])
    with pytest.raises(UserError, match="voted"):
        report_judge(store, against="reviews")
    run = "INSERT INTO pairs (key, id, run, question, chosen, rejected, kind, shared_steps, reason, created) "
    keys = {row["id"]: row["key"] for row in store.rows("SELECT id, key FROM paths")}
    votes = {1: ["chosen"], 2: ["rejected"], 3: ["chosen", "rejected"], 4: ["rejected"]}
    for number, (question, sides) in enumerate(zip(questions, [(0, 3), (1, 2), (0, 1), (0, 3)], strict=False), 1):
        chosen, rejected = (keys[paths[question.id][side].id] for side in sides)
        values = [number, str(number), RUN.id, question.id, chosen, rejected]
        store.db.conn.execute(f"{run} VALUES (?, ?, ?, ?, ?, ?, 'best', 0, '', 0)", values)
    for reviewer in ("ann", "bob"):
        store.db.conn.execute("INSERT INTO reviewers VALUES (?, 'reviewer', NULL, 0)", [reviewer])
    event = "INSERT INTO reviews (pair, reviewer, event, choice, details, created) VALUES (?, ?, ?, ?, '', 0)"
    for pair, choices in votes.items():
        for reviewer, choice in zip(("ann", "bob"), choices, strict=False):
            store.db.conn.execute(event, [pair, reviewer, "vote", choice])
    store.db.conn.execute(event, [4, "bob", "vote", "chosen"])
    store.db.conn.execute(event, [4, "bob", "undo", None])
    report = report_judge(store, against="reviews", resamples=20)
    # Pair 1: 90 over 40, agreed; pair 2: a tie; pair 3: reviewers balance; pair 4: 40 preferred to 90.
    assert report["auc"]["value"] == 0.5 and report["auc"]["n"] == 3
    assert [(each["value"], each["n"]) for each in report["calibration"]] == [(None, 0), (None, 0), (0.5, 2), (None, 0)]


def test_the_command_prints_writes_the_figure_and_names_mistakes(project, tmp_path, capsys):
    store, questions, paths = project
    options = ["judge-report", "--project", str(store.file)]
    assert main(options) == 1 and "insightv assess" in capsys.readouterr().err
    for question in questions[:4]:
        score(store, RUN, question, paths[question.id], [90, 80, 30, 20])
    assert main([*options, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    for name in ("auc", "spearman", "position_bias", "unscored", "length_bias", "step_accuracy"):
        assert set(report[name]) == {"value", "low", "high", "n"}
    assert main([*options, "--figure", str(tmp_path / "f.html")]) == 0
    printed = capsys.readouterr().out
    assert "auc " in printed and "1.00" in printed and "8 are sound" in printed
    assert "plotly" in (tmp_path / "f.html").read_text()[:100_000].lower()
    assert main([*options, "--figure", str(tmp_path / "no" / "f.html")]) == 1
    assert main([*options, "--run", MAKER.id]) == 1
    assert "insightv assess" in capsys.readouterr().err.splitlines()[-1]


def test_the_figure_shows_what_the_report_says(project):
    store, questions, paths = project
    for question in questions[:4]:
        score(store, RUN, question, paths[question.id], [90, 80, 30, 20])
    report = report_judge(store, resamples=20)
    sound, flawed, shares = plot_judge_report(report).data
    assert dict(zip(sound.x, sound.y, strict=True))[88] == 4 and sum(sound.y) == 8 and sum(flawed.y) == 8
    assert list(shares.x) == [10.5, 30.5, 70.5, 90.5] and list(shares.y) == [0, 0, 1, 1]
    lows = [y - minus for y, minus in zip(shares.y, shares.error_y.arrayminus, strict=True)]
    assert lows == pytest.approx([each["low"] for each in report["calibration"] if each["n"]])
