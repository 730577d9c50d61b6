"""Public benchmarks: their datasets' columns read as they are, and their metrics by worked examples."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pictures

from insightv_core import prompts
from insightv_core.agents import Agent
from insightv_core.benchmarks import BENCHMARKS, load_benchmark, report_scores, score_system, total_scores
from insightv_core.benchmarks.metrics import anls, edit_distance, normalize_vqa, similarity, vqa_accuracy
from insightv_core.cli import main
from insightv_core.commands import evaluate as command
from insightv_core.errors import UserError
from insightv_core.evaluate import direct
from insightv_core.importing.hub import read_dataset
from insightv_core.importing.tables import Source
from insightv_core.records import Answered, Question
from insightv_core.store import open_store
from insightv_core.vlm.scripted import ScriptedVLM

datasets = pytest.importorskip("datasets")
TEXT, WHOLE, LONG, REAL = (datasets.Value(kind) for kind in ("string", "int32", "int64", "float64"))
PICTURE, TEXTS = datasets.Image(), datasets.Sequence(TEXT)
PIXELS = Pictures.new("RGB", (40, 20), (10, 90, 200))
WIDE = Pictures.new("RGB", (120, 40), (200, 20, 20))
NUMBERED = {f"image_{place}": PICTURE for place in range(1, 8)}
NONE = dict.fromkeys(NUMBERED)
MMMU = {
    "id": TEXT, "question": TEXT, "options": TEXT, "explanation": TEXT, **NUMBERED, "img_type": TEXT, "answer": TEXT,
    "topic_difficulty": TEXT, "question_type": TEXT, "subfield": TEXT,
}  # fmt: skip
MMBENCH = {
    name: TEXT
    for name in (
        "index", "question", "hint", "answer", "A", "B", "C", "D", "category", "image", "source", "L2-category",
        "comment", "split",
    )
} | {"image": PICTURE}  # fmt: skip

# The columns of each dataset as its card declares them, and rows of that form.
FIXTURES = {
    "chartqa": (
        {"type": TEXT, "question": TEXT, "answer": TEXT, "image": PICTURE},
        [{"type": "human_test", "question": "How many bars?", "answer": "14", "image": PIXELS}],
    ),
    "mathvista": (
        {
            "pid": TEXT, "question": TEXT, "image": TEXT, "decoded_image": PICTURE, "choices": TEXTS, "unit": TEXT,
            "precision": REAL, "answer": TEXT, "question_type": TEXT, "answer_type": TEXT,
            "metadata": {"category": TEXT, "skills": TEXTS, "split": TEXT}, "query": TEXT,
        },
        [
            {
                "pid": "1", "question": "How long is it?", "image": "images/1.jpg", "decoded_image": PIXELS,
                "choices": None, "unit": "m", "precision": 1.0, "answer": "1.2", "question_type": "free_form",
                "answer_type": "float", "query": "",
                "metadata": {"category": "v", "skills": ["s"], "split": "testmini"},
            },
            {
                "pid": "2", "question": "Which is it?", "image": "images/2.jpg", "decoded_image": PIXELS,
                "choices": ["145°", "35°"], "unit": None, "precision": None, "answer": "35°",
                "question_type": "multi_choice", "answer_type": "text",
                "metadata": {"category": "v", "skills": [], "split": "testmini"}, "query": "",
            },
        ],
    ),
    "mmmu": (
        MMMU,
        [
            NONE | {
                "id": "validation_Art_1", "question": "<image 1> Who?", "options": "['Goya', 'Klee']",
                "image_1": PIXELS, "answer": "B", "question_type": "multiple-choice", "subfield": "Painting",
            },
            NONE | {
                "id": "validation_Art_2", "question": "Add <image 1> and <image 2>.", "options": "[]",
                "image_1": PIXELS, "image_2": WIDE, "answer": "['7', 'seven']", "question_type": "open",
                "subfield": "Sums",
            },
        ],
    ),
    "mmmu-pro": (
        {name: kind for name, kind in MMMU.items() if name not in ("question_type", "subfield")} | {"subject": TEXT},
        [
            NONE | {
                "id": "test_1", "question": "Which? <image 1>", "options": str([f"text {n}" for n in range(10)]),
                "image_1": PIXELS, "answer": "J", "subject": "Music",
            }
        ],
    ),
    "mmmu-pro-vision": (
        {"id": TEXT, "image": PICTURE, "options": TEXT, "answer": TEXT, "subject": TEXT},
        [{"id": "t", "image": PIXELS, "options": "['a', 'b']", "answer": "A", "subject": "Music"}],
    ),
    "mmstar": (
        {
            "index": LONG, "question": TEXT, "image": PICTURE, "answer": TEXT, "category": TEXT, "l2_category": TEXT,
            "meta_info": {"source": TEXT, "split": TEXT, "image_path": TEXT},
        },
        [
            {
                "index": 0, "question": "Where is it?\nOptions: A: On the box, B: Under it", "image": PIXELS,
                "answer": "A", "category": "coarse perception", "l2_category": "scene",
                "meta_info": {"source": "s", "split": "val", "image_path": "images/0.jpg"},
            }
        ],
    ),
    "mmbench": (
        MMBENCH,
        [
            {
                "index": "1000007", "question": "Which one?", "hint": "Two forces.", "answer": "C", "A": "push",
                "B": "pull", "C": "both", "D": "nan", "category": "physics", "image": PIXELS, "source": "s",
                "L2-category": "l", "comment": "nan", "split": "dev",
            }
        ],
    ),
    "mme": (
        {"question_id": TEXT, "image": PICTURE, "question": TEXT, "answer": TEXT, "category": TEXT},
        [
            {
                "question_id": "count/1.png", "image": PIXELS, "question": "Are there two? Please answer yes or no.",
                "answer": "Yes", "category": "count",
            }
        ],
    ),
    "ai2d": (
        {"question": TEXT, "options": TEXTS, "answer": TEXT, "image": PICTURE},
        [{"question": "What eats it?", "options": ["1", "2", "owl"], "answer": "2", "image": PIXELS}],
    ),
    "textvqa": (
        {
            "image_id": TEXT, "question_id": WHOLE, "question": TEXT, "question_tokens": TEXTS, "image": PICTURE,
            "image_width": WHOLE, "image_height": WHOLE, "flickr_original_url": TEXT, "flickr_300k_url": TEXT,
            "answers": TEXTS, "image_classes": TEXTS, "set_name": TEXT, "ocr_tokens": TEXTS,
        },
        [
            {
                "image_id": "a", "question_id": 1, "question": "what brand?", "question_tokens": ["what"],
                "image": PIXELS, "answers": ["nokia"] * 7 + ["Nokia phone"] * 3, "set_name": "val",
            }
        ],
    ),
    "docvqa": (
        {
            "questionId": TEXT, "question": TEXT, "question_types": TEXTS, "image": PICTURE, "docId": LONG,
            "ucsf_document_id": TEXT, "ucsf_document_page_no": TEXT, "answers": TEXTS, "data_split": TEXT,
        },
        [{"questionId": "1", "question": "What is the date?", "image": PIXELS, "answers": ["1/8/93", "8 Jan"]}],
    ),
    "ocrbench": (
        {"dataset": TEXT, "question": TEXT, "question_type": TEXT, "answer": TEXTS, "image": PICTURE},
        [
            {
                "dataset": "IIIT5K", "question": "What is written?", "question_type": "Regular Text Recognition",
                "answer": ["CENTRE"], "image": PIXELS,
            },
            {
                "dataset": "HME100k", "question": "Write the formula.", "question_type": "Formulas",
                "answer": ["X ^ 2"], "image": PIXELS,
            },
        ],
    ),
}  # fmt: skip

# For each first row: what the question says, its right answer, a reply that is right, and one that is wrong.
EXPECTED = {
    "chartqa": ("How many bars?\nAnswer with a single word or number.", "14", "14.5", "15"),
    "mathvista": ("How long is it? (unit: m)\nAnswer with a single word or number.", "1.2", "1.24 m", "1.26"),
    "mmmu": ("Who?\nA. Goya\nB. Klee\nAnswer with the letter of the right option alone.", "B", "(b)", "Goya"),
    "mmmu-pro": ("Which?", "J", "J. text 9", "A"),
    "mmmu-pro-vision": (
        "Answer the question in the picture.\nAnswer with the letter of the right option alone.", "A", "A.", "B",
    ),
    "mmstar": ("Where is it?\nOptions: A: On the box, B: Under it\nAnswer with", "A", "A", "The answer is B."),
    "mmbench": ("Two forces.\nWhich one?\nA. push\nB. pull\nC. both\nAnswer with", "C", "both", "B"),
    "mme": ("Are there two? Please answer yes or no.\nAnswer with yes or no alone.", "yes", "Yes.", "No"),
    "ai2d": ("What eats it?\nA. 1\nB. 2\nC. owl\nAnswer with", "C", "the owl", "B"),
    "textvqa": ("what brand?\nAnswer with a single word or phrase.", "nokia", "Nokia", "sony"),
    "docvqa": ("What is the date?\nAnswer with a single word or phrase.", "1/8/93", "8 jan", "March 1995"),
    "ocrbench": ("What is written?", "CENTRE", "It says centre.", "CENTER"),
}  # fmt: skip


def make_dataset(name):
    features, rows = FIXTURES[name]
    return datasets.Dataset.from_list(
        [dict.fromkeys(features) | row for row in rows], features=datasets.Features(features)
    )


def load(name, folder, **more):
    source = Source("fixture", (read_dataset(make_dataset(name), "test", ()),))
    return load_benchmark(name, folder, source, **more)


# -- loading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BENCHMARKS)
def test_rows_become_questions_that_the_benchmarks_metric_scores(name, tmp_path):
    loaded = load(name, tmp_path)
    assert len(loaded.items) == len(FIXTURES[name][1]) and not loaded.refused
    question, metric = loaded.items[0].question, BENCHMARKS[name].metric
    text, answer, right, wrong = EXPECTED[name]
    assert question.text.startswith(text) and question.answer == answer
    assert prompts.write_question(question) == question.text  # the options stand in it once
    assert metric(question, right) == 1 and metric(question, wrong) == 0
    assert Pictures.open(loaded.items[0].image).size == (40, 20)
    assert load(name, tmp_path).items == loaded.items
    assert len({item.question.id for item in loaded.items}) == len(loaded.items)


def test_open_questions_and_several_pictures(tmp_path):
    first, second = (item.question for item in load("mmmu", tmp_path).items)
    assert (first.options, first.family) == (("Goya", "Klee"), "Painting")
    assert second.text == "Add picture 1 and picture 2.\nAnswer with a single word or phrase."
    # Both are scaled to the lower height of 20: 40 and 60 wide, with a gap of 16.
    joined = Pictures.open(load("mmmu", tmp_path).items[1].image)
    assert joined.size == (40 + 16 + 60, 20)
    assert [joined.getpixel((x, 10)) for x in (39, 40, 55, 56)] == [(10, 90, 200), *[(255,) * 3] * 2, (200, 20, 20)]
    metric = BENCHMARKS["mmmu"].metric
    assert [metric(second, reply) for reply in ("It is 7.", "Seven", "8")] == [1, 1, 0]
    option = load("mathvista", tmp_path).items[1].question
    assert (option.answer, option.options, option.answer_type) == ("B", ("145°", "35°"), "option")


def test_a_test_split_without_answers_is_refused_by_name(tmp_path):
    dataset = make_dataset("docvqa").map(lambda row: {"answers": None})
    source = Source("fixture", (read_dataset(dataset.cast(make_dataset("docvqa").features), "test", ()),))
    with pytest.raises(UserError, match="test splits that only their makers can score"):
        load_benchmark("docvqa", tmp_path, source)
    with pytest.raises(UserError, match="choose one of chartqa"):
        load_benchmark("chart", tmp_path)


def test_a_row_that_cannot_be_read_is_named_and_the_rest_is_loaded(tmp_path):
    rows = [FIXTURES["mme"][1][0], FIXTURES["mme"][1][0] | {"answer": "maybe"}, FIXTURES["mme"][1][0] | {"image": None}]
    dataset = datasets.Dataset.from_list(rows, features=datasets.Features(FIXTURES["mme"][0]))
    loaded = load_benchmark("mme", tmp_path, Source("m", (read_dataset(dataset, "test", ()),)))
    assert len(loaded.items) == 1 and loaded.rows == 3
    assert [place for place, _ in loaded.refused] == ["test:2", "test:3"]
    assert "neither yes nor no" in loaded.refused[0][1] and "no picture" in loaded.refused[1][1]


def test_a_copy_on_disk_is_read_by_split(tmp_path):
    splits = {"test": make_dataset("chartqa"), "val": datasets.concatenate_datasets([make_dataset("chartqa")] * 3)}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "copy")
    count = {
        split: len(load_benchmark("chartqa", tmp_path, str(tmp_path / "copy"), split=split, limit=2).items)
        for split in (None, "val")
    }
    assert count == {None: 1, "val": 2}


def test_without_a_network_the_hub_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda *given, **more: 1 / 0)
    with pytest.raises(UserError, match="hf:echo840/OCRBench::test cannot be loaded"):
        load_benchmark("ocrbench", tmp_path)
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *given, **more: asked.append((given, more)) or 1 / 0)
    with pytest.raises(UserError):
        load_benchmark("mmmu-pro", tmp_path, split="val")
    assert asked == [(("MMMU/MMMU_Pro", "standard (10 options)"), {"split": "val"})]


# -- metrics -----------------------------------------------------------------------------------------------------------


def question(answer="", *, answers=(), options=(), **more):
    return Question("q", "?", answer, "", "t", options=options, metadata={"answers": list(answers)} | more)


@pytest.mark.parametrize(
    ("truth", "answer", "score"),
    [
        ("50", "52.5", 1), ("50", "47.5", 1), ("50", "52.6", 0), ("-10", "-10.5", 1), ("0", "0.0", 1), ("0", "0.01", 0),
        ("12%", "0.12", 1), ("12%", "12.5%", 1), ("12%", "12", 0), ("Yes", "yes ", 1), ("Yes", "Yes, it is", 0),
        ("2010", "1950", 1), ("nan", "nan", 1),
    ],
)  # fmt: skip
def test_relaxed_accuracy(truth, answer, score):
    assert BENCHMARKS["chartqa"].metric(question(truth), answer) == score


def test_anls():
    # "kitten" becomes "sitting" by 3 changes of 7 letters; half or more of the letters changed is 0.
    assert anls(question(answers=["sitting"]), "kitten") == pytest.approx(4 / 7)
    assert anls(question(answers=["abcd"]), "ab") == 0 and anls(question(answers=["abc"]), "ab") == pytest.approx(2 / 3)
    assert anls(question(answers=["March 3", "3/3"]), " 3/3 ") == 1 and anls(question(answers=["A  b"]), "a B") == 1


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=12), st.text(max_size=12))
def test_the_edit_distance_is_a_distance(one, other):
    found = edit_distance(one, other)
    assert found == edit_distance(other, one) and (found == 0) == (one == other)
    assert abs(len(one) - len(other)) <= found <= max(len(one), len(other))
    assert 0 <= similarity(one, other) <= 1


def test_vqa_accuracy():
    answers = ["red"] * 3 + ["blue"] * 7
    # Without one of the three who said red, two thirds; without one of the others, 1: (3 * 2/3 + 7) / 10.
    assert vqa_accuracy(question(answers=answers), "Red") == pytest.approx(0.9)
    assert vqa_accuracy(question(answers=answers), "the blue") == 1
    assert vqa_accuracy(question(answers=["red", *["blue"] * 9]), "red") == pytest.approx(0.3)
    assert vqa_accuracy(question(answers=["red"] * 2 + ["blue"] * 8), "red") == pytest.approx(0.6)
    assert vqa_accuracy(question(answers=answers), "green") == 0
    same = [("Two dogs", "2 dogs"), ("1,000", "1000"), ("don't", "dont"), ("stop.", "stop"), ("re-use", "re use")]
    assert all(normalize_vqa(one) == normalize_vqa(other) for one, other in same)
    assert normalize_vqa("3.5") == "3.5" and normalize_vqa("one-way!") == "1 way"
    assert normalize_vqa("re-use - yes") == "reuse yes"  # a mark beside a space is taken out everywhere


def test_containment():
    metric = BENCHMARKS["ocrbench"].metric
    formula = question(answers=["X ^ { 2 }"], dataset="HME100k")
    assert metric(formula, "so X^{2}=4") == 1 and metric(formula, "x^{2}") == 0
    assert metric(question(answers=["on\nsale", "SALE"], dataset="d"), "For sale") == 1
    assert metric(question(answers=["1 2"], dataset="d"), "12") == 0


def test_options_are_read_and_never_guessed():
    metric = BENCHMARKS["ai2d"].metric
    asked = question("B", options=("dog", "cat", "owl"))
    assert [metric(asked, reply) for reply in ("B", "(b)", "The answer is B.", "cat", "A")] == [1, 1, 1, 1, 0]
    assert metric(asked, "A or B") is None and metric(asked, "I cannot tell") is None


def test_mathvista_and_mmmu_round_as_they_say():
    metric = BENCHMARKS["mathvista"].metric
    whole = replace(question("14"), answer_type="integer")
    assert [metric(whole, reply) for reply in ("The answer is 14.", "14.0", "15")] == [1, 1, 0]
    assert metric(whole, "many") is None
    listed = replace(question("[1, 2]"), answer_type="list")
    assert [metric(listed, reply) for reply in ("[1,2]", "[2, 1]", "1 and 2")] == [1, 0, None]
    rounded = replace(question("3.14", precision=2.0), answer_type="number")
    assert [metric(rounded, reply) for reply in ("3.1401", "3.15")] == [1, 0]
    mmmu = BENCHMARKS["mmmu"].metric
    assert [mmmu(question("-7.5"), reply) for reply in ("x = -7.501", "-7.51", "7.5")] == [1, 0, 0]
    assert mmmu(question("2.504"), "2.5") == 1
    assert mmmu(question(answers=["parallel circuit"]), "A Parallel Circuit.") == 1


def scored(name, rows):
    """Return a benchmark's total of (family, metadata, score) rows."""
    return BENCHMARKS[name].total(
        [(replace(question(), family=family, metadata=kept), float(score)) for family, kept, score in rows]
    )


def test_mme_adds_accuracy_and_accuracy_plus_over_subtasks():
    rows = [("existence", "p1", 1), ("existence", "p1", 1), ("existence", "p2", 1), ("existence", "p2", 0)]
    rows += [("code_reasoning", "p3", 1), ("code_reasoning", "p3", 1), ("code_reasoning", "p4", 1)]
    found = scored("mme", [(family, {"question_id": key}, score) for family, key, score in rows])
    # existence: (100 + 100) for p1 and (50 + 0) for p2, 125 on average; code: 200 for p3, while p4 lacks a question.
    assert found == {"perception": 125, "cognition": 200, "total": 325, "subtasks": 2, "pictures": 3}


def test_mmbench_counts_a_question_once_all_its_rotations_are_right():
    rows = [("5", 1), ("1000005", 1), ("2000005", 1), ("7", 1), ("1000007", 0)]
    found = scored("mmbench", [("", {"index": index}, score) for index, score in rows])
    assert found == {"circular percent": 50, "questions": 2, "rotations": 5}


def test_ocrbench_counts_and_the_others_average():
    assert scored("ocrbench", [("", {}, 1), ("", {}, 0)]) == {"right": 1, "asked": 2}
    assert scored("docvqa", [("", {}, 0.5), ("", {}, 1)]) == {"percent": 75}


# -- figures -----------------------------------------------------------------------------------------------------------


def test_systems_are_scored_by_the_metric_and_reported_by_the_score(tmp_path):
    items = load("textvqa", tmp_path).items
    replies = {"good": "nokia", "part": "Nokia Phone", "none": ""}
    found = {
        name: list(
            score_system(direct(Agent(ScriptedVLM(lambda talk, sample, reply=reply: [reply]))), BENCHMARKS["textvqa"])(
                items
            )
        )
        for name, reply in replies.items()
    }
    assert [(each.outcome, each.details["score"]) for (each,) in found.values()] == [
        ("correct", 1.0), ("correct", pytest.approx(0.9)), ("unparsed", 0.0),
    ]  # fmt: skip
    report = report_scores(found["part"], "part", "textvqa", against=found["good"])
    assert report.accuracy.value == pytest.approx(0.9) and report.difference.value == pytest.approx(-0.1)
    assert total_scores(found["part"], items, BENCHMARKS["textvqa"]) == {"percent": pytest.approx(90)}
    lost = Answered(items[0].question.id, None, "open", "", 0, 0.0, {})
    assert score_system(lambda items: iter([lost]), BENCHMARKS["textvqa"])(items).__next__().outcome == "unparsed"


def test_the_command_evaluates_a_benchmark(tmp_path, capsys, monkeypatch):
    rows = [FIXTURES["chartqa"][1][0] | {"question": f"Bar {place}?", "answer": str(place)} for place in range(4)]
    features = datasets.Features(FIXTURES["chartqa"][0])
    datasets.Dataset.from_list(rows, features=features).save_to_disk(tmp_path / "copy")
    with open_store(tmp_path / "a.db", create=True):
        pass

    def reply(talk, sample):
        asked = talk.messages[-1]["content"][-1]["text"]
        if "brand" in asked:
            return ["Nokia phone" if prompts.DIRECT in asked else "Answer: Nokia"]
        return ["3"] if prompts.DIRECT in asked else [f"Answer: {asked.split()[1].rstrip('?')}"]

    monkeypatch.setattr(command, "load_model", lambda options: ScriptedVLM(reply))
    arguments = ["evaluate", "--project", str(tmp_path / "a.db"), "--no-agents", "--benchmark", "chartqa", "--json"]
    assert main([*arguments, "--data", str(tmp_path / "copy"), "--n", "4"]) == 0
    found = json.loads(capsys.readouterr().out)
    base, aloud = found["systems"]
    assert (base["accuracy"]["value"], aloud["accuracy"]["value"]) == (0.25, 1.0)
    assert aloud["difference"]["value"] == 0.75 and base["benchmark"] == "chartqa"
    assert found["totals"]["base, direct"] == {"percent": 25.0} and "5%" in found["scale"]
    assert (found["questions"], found["rows"], found["refused"]) == (4, 4, [])
    assert main([*arguments[:-1], "--data", str(tmp_path / "copy"), "--n", "3"]) == 0
    words = capsys.readouterr().out
    assert "| base, direct | chartqa | 0.000 |" in words and "base, thinking aloud: percent 100.00" in words
    assert "the first 3 of 4 rows" in words
    assert main([*arguments, "--data", str(tmp_path / "missing")]) == 1 and "missing" in capsys.readouterr().err
    make_dataset("textvqa").save_to_disk(tmp_path / "parts")
    arguments[arguments.index("chartqa")] = "textvqa"
    assert main([*arguments, "--data", str(tmp_path / "parts")]) == 0
    base, aloud = json.loads(capsys.readouterr().out)["systems"]
    assert (base["accuracy"]["value"], aloud["accuracy"]["value"]) == (pytest.approx(0.9), 1.0)
    assert aloud["difference"]["value"] == pytest.approx(0.1)
