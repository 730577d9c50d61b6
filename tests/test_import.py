"""Importing questions: every source and spelling goes in, a bad row is named with its reason, twice adds nothing."""

import base64
import csv
import errno
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from insightv_core.cli import main
from insightv_core.errors import UserError
from insightv_core.importing import ImportedRow, RefusedRow, import_questions, open_source, read_questions
from insightv_core.store import open_store

DEMO = Path(__file__).parents[1] / "data" / "demo"


def png(colour="red", size=(16, 12)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def folder(tmp_path):
    """A folder with a picture to ask about."""
    folder = tmp_path / "charts"
    (folder / "images").mkdir(parents=True)
    (folder / "images/a.png").write_bytes(png())
    return folder


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "project/insightv.db", create=True) as store:
        yield store


def write_rows(folder, *rows, name="questions.jsonl"):
    lines = [row if isinstance(row, str) else json.dumps({"image": "images/a.png"} | row) for row in rows]
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def import_one(folder, row, **options):
    """Import one row and return its question."""
    (found,) = read_questions(write_rows(folder, row), folder.parent / "stored", **options)
    assert isinstance(found, ImportedRow), found.reason
    return found.question


def refusal(folder, row, **options):
    """Import one row and return why it was refused."""
    (found,) = read_questions(write_rows(folder, row), folder.parent / "stored", **options)
    assert isinstance(found, RefusedRow), found.question
    assert found.place == "questions.jsonl:1"
    return found.reason


# -- the demo and the command line -------------------------------------------------------------------------------------


def test_the_demo_goes_in_whole_and_only_once(tmp_path, capsys):
    project = str(tmp_path / "new/demo.db")
    assert main(["import", str(DEMO), "--project", project, "--limit", "30"]) == 0
    assert capsys.readouterr().out.startswith("30 questions, 30 new, 0 refused")
    assert main(["import", str(DEMO), "--project", project, "--limit", "40", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["questions"], found["new"], found["refused"], found["source"]) == (40, 10, 0, "demo")
    rows = [json.loads(line) for line in (DEMO / "questions.jsonl").read_text().splitlines()[:40]]
    with open_store(project) as store:
        for row, question in zip(rows, store.questions(), strict=True):
            assert (question.text, question.answer, question.family) == (row["question"], row["answer"], row["family"])
            assert (question.answer_type, question.level) == (row["answer_type"], row["level"])
            assert question.metadata == {"id": row["id"], "split": row["split"], "seed": row["seed"]}
            with Image.open(store.image_file(question.image)) as stored, Image.open(DEMO / row["image"]) as drawn:
                assert stored.tobytes() == drawn.convert("RGB").tobytes()


def test_refused_rows_are_named_in_words_and_in_json(folder, tmp_path, capsys):
    write_rows(folder, {"question": "Which?", "answer": "red"}, *["nonsense"] * 12)
    command = ["import", str(folder), "--project", str(tmp_path / "a.db"), "--source", "mine"]
    assert main(command) == 0
    words = capsys.readouterr().out
    assert "1 questions, 1 new, 12 refused" in words and "'mine'" in words
    assert "questions.jsonl:2: the line is no JSON" in words and "questions.jsonl:11:" in words
    assert "questions.jsonl:12:" not in words and "2 more refused rows" in words
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["place"] for row in found["refusals"]] == [f"questions.jsonl:{line}" for line in range(2, 14)]


def test_the_status_is_1_only_where_nothing_could_be_read(folder, tmp_path, capsys):
    command = ["import", str(write_rows(folder, "nonsense")), "--project", str(tmp_path / "a.db")]
    assert main(command) == 1
    assert "0 questions, 0 new, 1 refused" in capsys.readouterr().out
    (folder / "questions.jsonl").write_text("\n\n")
    assert main(command) == 1
    assert "holds no rows" in capsys.readouterr().err


def test_what_cannot_be_opened_makes_no_project(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for source, reason in (
        (tmp_path / "missing", "there is no file or folder"),
        (tmp_path / "empty", "write one row per question"),
        ("hf:a/b/c", "names no dataset"),
        ("hf:a/b:c:d:e", "names no dataset"),
    ):
        assert main(["import", str(source), "--project", str(tmp_path / "a.db")]) == 1
        assert reason in capsys.readouterr().err
    assert not (tmp_path / "a.db").exists()


@pytest.mark.parametrize(
    "option",
    [["--columns", "question"], ["--columns", "colour=x"], ["--tolerance", "1"], ["--tolerance", "x"]]
    + [["--max-image-mb", "0"], ["--limit", "0"]],
)
def test_wrong_options_are_wrong_usage(option, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["import", "data/demo", *option])
    assert caught.value.code == 2


def test_columns_and_limits_reach_the_import(folder, tmp_path, capsys):
    rows = [{"frage": f"Wie viele, {number}?", "antwort": number / 2, "image": "images/a.png"} for number in range(3)]
    write_rows(folder, *rows)
    command = ["import", str(folder), "--project", str(tmp_path / "a.db"), "--json", "--limit", "2"]
    command += ["--columns", "question=frage,answer=antwort", "--tolerance", "0.2"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["new"] == 2
    with open_store(tmp_path / "a.db") as store:
        assert [(each.text[-2], each.answer, each.tolerance) for each in store.questions()] == [
            ("0", "0.0", 0.2),
            ("1", "0.5", 0.2),
        ]
    assert main([*command, "--max-image-mb", "0.00001"]) == 1
    assert "over the limit" in capsys.readouterr().out


def test_a_stop_keeps_what_was_read_and_the_same_command_continues(folder, store):
    rows = [{"question": f"Number {number}?", "answer": str(number)} for number in range(20)]
    write_rows(folder, *rows)
    seen = []
    first = import_questions(store, folder, report=seen.append, stop=lambda: len(seen) == 7)
    assert first.stopped and (first.read, first.added) == (7, 7)
    second = import_questions(store, folder)
    assert (second.read, second.added, second.stopped) == (20, 13, False)
    assert [question.answer for question in store.questions()] == [str(number) for number in range(20)]


def test_every_batch_is_saved_as_it_fills(folder, store, monkeypatch):
    monkeypatch.setattr("insightv_core.importing.BATCH", 5)
    write_rows(folder, *[{"question": f"Number {number}?", "answer": "1"} for number in range(12)])
    counts = []
    import_questions(store, folder, report=lambda row: counts.append(store.question_count()))
    assert counts == [0] * 5 + [5] * 5 + [10] * 2
    assert store.question_count() == 12


def test_a_full_disk_ends_the_import_and_refuses_no_row(folder, store, monkeypatch):
    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    write_rows(folder, {"question": "Which?", "answer": "red"})
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left"):
        import_questions(store, folder)


# -- the kinds of source -----------------------------------------------------------------------------------------------

TABLE = [
    {"image": "images/a.png", "question": 'Which "colour",\nexactly?', "answer": "red", "year": "1999"},
    {"image": "images/a.png", "question": "Что на картинке? 这是什么", "answer": "квадрат", "year": "2000"},
]


def write_csv(file, rows, encoding="utf-8", **options):
    with file.open("w", encoding=encoding, newline="") as text:
        writer = csv.DictWriter(text, list(rows[0]), **options)
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(file, rows):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), file)


def check_table(store, result, source):
    assert (result.read, result.added, result.refused) == (2, 2, ())
    for row, question in zip(TABLE, store.questions(), strict=True):
        assert (question.text, question.answer, question.source) == (row["question"], row["answer"], source)
        assert question.metadata == {"year": row["year"]}
        assert store.image_file(question.image).is_file()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_files_of_all_kinds(encoding, delimiter, folder, store):
    file = folder / ("mine.tsv" if delimiter == "\t" else "mine.csv")
    rows = [row | {"question": row["question"].replace(",", "")} if delimiter == ";" else row for row in TABLE]
    write_csv(file, rows, encoding, delimiter=delimiter)
    result = import_questions(store, file)
    assert (result.read, result.added, result.refused) == (2, 2, ())
    assert [each.text for each in store.questions()] == [row["question"] for row in rows]
    assert {each.source for each in store.questions()} == {"mine"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_jsonl_files_in_unicode(encoding, folder, store):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in TABLE)
    (folder / "mine.jsonl").write_bytes(text.encode(encoding))
    check_table(store, import_questions(store, folder / "mine.jsonl"), "mine")


def test_a_folder_is_read_whole_unless_it_has_questions(folder, store):
    write_csv(folder / "b.csv", TABLE[1:])
    write_rows(folder, TABLE[0], name="a.jsonl")
    check_table(store, import_questions(store, folder), "charts")
    write_rows(folder, {"question": "Only?", "answer": "this"})
    assert import_questions(store, folder).read == 1


@pytest.mark.parametrize(
    "picture",
    ["images/a.png", png(), {"bytes": png(), "path": "gone.png"}, {"bytes": None, "path": "images/a.png"}, [png()]]
    + [base64.b64encode(png(size=(1500, 1500))).decode(), "data:image/png;base64," + base64.b64encode(png()).decode()],
    ids=["path", "bytes", "struct", "struct with a path", "list", "base64", "data address"],
)
def test_parquet_with_pictures_of_all_kinds(picture, folder, store):
    write_parquet(folder / "mine.parquet", [row | {"image": picture} for row in TABLE])
    result = import_questions(store, folder / "mine.parquet")
    check_table(store, result, "mine")


def test_a_saved_hugging_face_dataset(tmp_path, store):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "query": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["red", "blue"]),
            "img": datasets.Image(),
        }
    )
    rows = {"query": ["Which colour?"] * 2, "label": [0, 1]}
    rows["img"] = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    split = datasets.Dataset.from_dict(rows, features)
    datasets.DatasetDict({"test": split}).save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"test": split, "train": split}).save_to_disk(tmp_path / "two")
    result = import_questions(store, tmp_path / "one")
    assert (result.read, result.added, result.refused) == (2, 2, ())
    colours = {"red": (255, 0, 0), "blue": (0, 0, 255)}
    for question in store.questions():
        assert question.source == "one"
        with Image.open(store.image_file(question.image)) as image:
            assert image.getpixel((3, 3)) == colours[question.answer]
    with pytest.raises(UserError, match=r"splits test, train: give one of them, such as .*two/test"):
        import_questions(store, tmp_path / "two")
    assert import_questions(store, tmp_path / "two/train").added == 0


def test_a_dataset_by_name(tmp_path, store, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "team/charts").mkdir(parents=True)
    rows = [row | {"image": {"bytes": png(), "path": None}} for row in TABLE]
    write_parquet(tmp_path / "team/charts/train.parquet", rows)
    check_table(store, import_questions(store, "hf:team/charts:train"), "team/charts:train")
    assert import_questions(store, "hf:team/charts").added == 0
    with pytest.raises(UserError, match="hf:team/charts:test cannot be loaded"):
        import_questions(store, "hf:team/charts:test")
    with pytest.raises(UserError, match="hf:team/missing cannot be loaded .*HF_HUB_OFFLINE=0"):
        import_questions(store, "hf:team/missing")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.csv", b"", "no header"),
        ("x.csv", b"question,question\n", "two columns 'question'"),
        ("x.csv", b"q,answer,image\n", "no column for the question among 'q', 'answer', 'image': name it with"),
        ("x.csv", b"question,a1,image\n", "no column for the answer"),
        ("x.csv", b"question,answer,chart\n", "no column for the image"),
        ("x.csv", b'"question\n', "first line that cannot be read"),
        ("x.parquet", b"PAR1 but not really PAR1", "no Parquet file, or a damaged one"),
        ("x.xlsx", b"PK", "cannot be imported"),
        ("state.json", b"{", "cannot be loaded"),
    ],
)
def test_tables_that_cannot_be_read_at_all(name, content, reason, tmp_path, store):
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / name).write_bytes(content)
    with pytest.raises(UserError, match=reason):
        import_questions(store, tmp_path / "it" / (name if name != "state.json" else ""))


def test_a_chosen_column_that_is_not_there_is_said_at_once(folder, store):
    write_csv(folder / "mine.csv", TABLE)
    with pytest.raises(UserError, match="no column 'frage' for the question; the columns are 'image'"):
        import_questions(store, folder, columns={"question": "frage"})
    with pytest.raises(UserError, match="'colour' is nothing a question has"):
        import_questions(store, folder, columns={"colour": "frage"})


def test_the_number_of_rows_is_known_where_the_table_tells(folder):
    write_rows(folder, *TABLE, name="a.jsonl")
    write_parquet(folder / "b.parquet", TABLE)
    assert open_source(folder).total == 4
    write_csv(folder / "c.csv", TABLE)
    assert open_source(folder).total is None


# -- bad rows ----------------------------------------------------------------------------------------------------------


def test_bad_csv_rows_are_named_by_their_line_and_the_rest_goes_in(folder, store):
    lines = [
        b"image,question,answer",
        b'images/a.png,"Two\nlines?",1',
        b"images/a.png,short",
        b"images/a.png,Which\xe9?,1",
        b"",
        b'images/a.png,"quoted" wrongly,1',
        "images/a.png,Größe?,2".encode(),
        b'images/a.png,"never closed,3',
        b"images/a.png,swallowed,4",
    ]
    (folder / "mine.csv").write_bytes(b"\n".join(lines))
    result = import_questions(store, folder)
    assert [question.text for question in store.questions()] == ["Two\nlines?", "Größe?"]
    reasons = {row.place: row.reason for row in result.refused}
    assert list(reasons) == ["mine.csv:4", "mine.csv:5", "mine.csv:7", "mine.csv:9"]
    assert "2 fields where the header has 3" in reasons["mine.csv:4"]
    assert "save the file as UTF-8" in reasons["mine.csv:5"]
    assert all("a quote too many or too few" in reasons[place] for place in ("mine.csv:7", "mine.csv:9"))


BAD_ROWS = [
    ({"question": "  ", "answer": "1"}, "the question is empty"),
    ({"question": None, "answer": "1"}, "the question is empty"),
    ({"question": "<image>\n", "answer": "1"}, "the question is empty"),
    ({"question": ["a"], "answer": "1"}, "the question is a list"),
    ({"question": "Which?", "answer": " "}, "the answer is empty"),
    ({"question": "Which?", "answer": []}, "the answer is empty"),
    ({"question": "Which?", "answer": float("nan")}, "the answer is empty"),
    ({"question": "Which?", "answer": {"a": 1}}, "a dict is no answer"),
    ({"question": "Which?"}, "no column for the answer among 'image', 'question'"),
    ({"answer": "1"}, "no column for the question"),
    ({"question": "x" * 50_000, "answer": "1"}, "the question has 50,000 characters, over the limit of 20,000"),
    ({"question": "Which?", "answer": "x" * 20_001}, "the answer has 20,001 characters"),
    ({"question": "a\0b", "answer": "1"}, "the question has a NUL character"),
    ({"question": "Which?", "answer": "\0"}, "the answer has a NUL character"),
    ({"question": "half \ud800", "answer": "1"}, "no Unicode"),
    ({"question": "Which?", "answer": "1", "tolerance": "much"}, "the tolerance 'much' is no number"),
    ({"question": "Which?", "answer": "1", "tolerance": -1}, "the tolerance '-1' is no number"),
    ({"question": "Is it?", "answer": "maybe", "answer_type": "yes/no"}, "'maybe' is neither yes nor no"),
    ({"question": "How many?", "answer": "some", "answer_type": "integer"}, "'some' has no digit"),
    (
        {"question": "Which?", "answer": "red", "answer_type": "option"},
        "'red' is no letter, and the row has no options",
    ),
    ({"question": "Which?", "answer": "C", "options": ["a", "b"]}, "'C' is none of the 2 options"),
    ({"question": "Which?", "answer": "-1", "options": ["a", "b"]}, "'-1' is none of the 2 options"),
    ({"question": "Which?", "answer": "2", "options": ["1", "2", "3"]}, "'2' may mean the options B and C"),
    ({"question": "Which?", "answer": "A", "options": ["B", "A"]}, "may mean the options A and B"),
    ({"question": "Which?", "answer": "A", "options": ["same", "Same "], "x": 1}, None),
    ({"question": "Which?", "answer": "same", "options": ["same", "Same "]}, "may mean the options A and B"),
    ({"question": "Which?", "answer": "A", "options": ["one"]}, "1 options; between 2 and 26"),
    ({"question": "Which?", "answer": "A", "options": [str(n) for n in range(27)]}, "27 options; between 2 and 26"),
    ({"question": "Which?", "answer": "A", "options": ["a", "", "c"]}, "an option between the others is empty"),
    ({"question": "Which?", "answer": "A", "options": "cat|dog"}, "the options 'cat|dog' are no list"),
    ({"question": "Which?", "answer": "A", "options": ["<image 1>", "<image 2>"]}, "the options are pictures"),
    ({"question": "Which?", "answer": "A", "options": [{"a": 1}, "b"]}, "a dict is no answer"),
    ({"question": "Which?", "answer_index": 1}, "the number of an option, but no options"),
    ({"question": "Which?", "answer": "1", "image_2": "images/a.png"}, "several pictures (image_2 as well)"),
    ({"question": "Which?", "answer": "1", "image": None}, "the row has no picture"),
    ({"question": "Which?", "answer": "1", "image": []}, "the row has no picture"),
    ({"question": "Which?", "answer": "1", "image": ["images/a.png"] * 2}, "the row has 2 pictures"),
    ({"question": "Which?", "answer": "1", "image": 7}, "the picture is a int"),
    ("[1, 2]", "the line is a JSON list, not an object"),
    ('{"question": ', "the line is no JSON"),
    ("[" * 100_000, "the line is no JSON"),
    ('{"question": ' + "9" * 5000 + "}", "the line is no JSON"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS)
def test_bad_rows_are_refused_with_their_reason(row, reason, folder):
    if reason is None:
        import_one(folder, row)
    else:
        assert reason in refusal(folder, row)


def test_a_question_of_20000_characters_goes_in(folder):
    text = "Wörter " * 2857
    assert import_one(folder, {"question": text, "answer": "1"}).text == text.strip()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../secret.png", "leads out of the folder"),
        ("images/../../secret.png", "leads out of the folder"),
        ("..\\secret.png", "leads out of the folder"),
        ("link.png", "leads out of the folder"),
        ("linked/secret.png", "leads out of the folder"),
        ("loop.png", "picture 'loop.png'"),
        ("{root}/secret.png", "has an absolute path"),
        ("{root}/charts/images/a.png", "has an absolute path"),
        ("/dev/zero", "has an absolute path"),
        ("https://example.org/a.png", "is a web address"),
        ("file:///etc/passwd", "is a web address"),
        ("images/b.png", "'images/b.png' is not in"),
        ("images", "'images' is not in"),
        ("a\0b", "is no path"),
        ("x" * 900, "is no"),
        ("?" * 1200, "is neither a path nor base64"),
    ],
)
def test_pictures_outside_the_folder_are_refused(name, reason, folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for place in ("secret.png", "elsewhere/secret.png"):
        (tmp_path / place).write_bytes(png())
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    row = {"question": "Which?", "answer": "1", "image": name.format(root=tmp_path)}
    assert reason in refusal(folder, row)
    assert not (tmp_path / "stored").exists()


@pytest.mark.parametrize("name", ["./images/a.png", "images\\a.png", "images/../images/a.png", "inner.png"])
def test_pictures_inside_the_folder_are_found(name, folder):
    (folder / "inner.png").symlink_to(folder / "images/a.png")
    assert import_one(folder, {"question": "Which?", "answer": "1", "image": name})


def test_a_saved_dataset_may_not_name_files_outside_either(tmp_path, store):
    datasets = pytest.importorskip("datasets")
    (tmp_path / "secret.png").write_bytes(png())
    rows = {"question": ["Which?"], "answer": ["1"], "image": [str(tmp_path / "secret.png")]}
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "set")
    (refused,) = import_questions(store, tmp_path / "set").refused
    assert refused.place == "set:1" and "leads out of the folder" in refused.reason


def test_bad_pictures_are_refused_and_the_rest_goes_in(folder, store):
    (folder / "images/cut.png").write_bytes(png(size=(200, 200))[:-60])
    (folder / "images/tiny.png").write_bytes(png(size=(1, 1)))
    (folder / "images/text.png").write_text("no picture")
    names = ("a", "cut", "tiny", "text", "a")
    rows = [{"question": f"{place}?", "answer": "1", "image": f"images/{name}.png"} for place, name in enumerate(names)]
    result = import_questions(store, write_rows(folder, *rows))
    assert [question.text for question in store.questions()] == ["0?", "4?"]
    assert [row.place[-1] for row in result.refused] == ["2", "3", "4"]
    assert [row.reason.split(" ")[2] for row in result.refused] == ["cut.png", "tiny.png", "text.png"]
    assert len(list((store.folder / "images").rglob("*.png"))) == 1


def test_changed_pictures_are_counted(folder, store):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "images/moving.gif", save_all=True, append_images=frames[1:])
    rows = [{"question": f"{n}?", "answer": "1", "image": "images/moving.gif"} for n in range(2)]
    result = import_questions(store, write_rows(folder, *rows))
    assert result.notes == {"animated: its first frame was taken": 2}


# -- what rows mean ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (["cat", "dog", "owl"], "B"),
        (["cat", "dog", "owl"], "b"),
        (["cat", "dog", "owl"], "(B)"),
        (["cat", "dog", "owl"], "B."),
        (["cat", "dog", "owl"], "B. dog"),
        (["cat", "dog", "owl"], "Dog"),
        (["cat", "dog", "owl"], 1),
        (["cat", "dog", "owl"], "1"),
        (["cat", "dog", "owl"], ["dog"]),
        (["A. cat", "B. dog", "C. owl"], "B"),
        ('["cat", "dog", "owl"]', "B"),
        ("['cat', \"dog\", 'owl']", "B"),
        ({"A": "cat", "B": "dog", "C": "owl"}, "B"),
        ({"B": "dog", "C": "owl", "A": "cat", "D": None}, "B"),
        ('{"A": "cat", "B": "dog", "C": "owl"}', "dog"),
        ({"text": ["cat", "dog", "owl"], "label": ["1", "2", "3"]}, "2"),
        ({"1": "cat", "2": "dog", "3": "owl"}, 2),
    ],
)
def test_multiple_choice_in_every_spelling(options, answer, folder):
    row = {"question": "Which?", "answer": answer, "options": options, "answer_type": "text"}
    question = import_one(folder, row)
    assert (question.answer, question.answer_type, question.options) == ("B", "option", ("cat", "dog", "owl"))
    assert question.tolerance == 0 and question.metadata == {}


@pytest.mark.parametrize("columns", [("A", "B", "C", "D"), ("option_a", "option_b", "option_c", "option_d")])
def test_options_in_a_column_each(columns, folder):
    row = dict(zip(columns, ["cat", "dog", "owl", None], strict=True))
    question = import_one(folder, {"question": "Which?", "answer": "C"} | row)
    assert (question.answer, question.options, question.metadata) == ("C", ("cat", "dog", "owl"), {})


def test_an_open_question_of_a_choice_table_keeps_its_answer(folder):
    row = {"question": "Which?", "answer": "6", "options": "[]", "question_type": "open", "A": None, "B": ""}
    question = import_one(folder, row)
    assert (question.answer, question.answer_type, question.options) == ("6", "integer", ())
    assert question.metadata == {"question_type": "open"}


@pytest.mark.parametrize(("target", "letter"), [("answer_text", "B"), ("answer_index", "C")])
def test_numbers_among_numbers_mean_what_the_column_says(target, letter, folder):
    row = {"question": "Which?", "label": "2", "choices": ["1", "2", "3"]}
    assert import_one(folder, row, columns={target: "label"}).answer == letter


@pytest.mark.parametrize(
    ("answer", "stored", "kind"),
    [
        (7, "7", "integer"),
        ("-7", "-7", "integer"),
        ("1,234", "1,234", "integer"),
        (2.5, "2.5", "number"),
        ("12%", "12%", "number"),
        ("$3.50", "$3.50", "number"),
        ("1e-3", "1e-3", "number"),
        (True, "yes", "yes/no"),
        ("No", "No", "yes/no"),
        ("x", "x", "word"),
        ("e5", "e5", "word"),
        ("квадрат", "квадрат", "word"),
        ("a small red square", "a small red square", "text"),
        (r"\frac{1}{2}", r"\frac{1}{2}", "latex"),
        ("$x^2$", "$x^2$", "latex"),
        (["red", "blue"], "red, blue", "list"),
        (["a, b", 2], "a, b; 2", "list"),
        ([2, 2, 3], "2, 2, 3", "list"),
        ("['14']", "14", "integer"),
        (["14", "14"], "14", "integer"),
    ],
)
def test_the_type_of_an_answer_is_seen(answer, stored, kind, folder):
    question = import_one(folder, {"question": "What?", "answer": answer})
    assert (question.answer, question.answer_type) == (stored, kind)
    assert question.tolerance == (0.05 if kind == "number" else 0)


@pytest.mark.parametrize(
    ("declared", "answer", "stored", "kind"),
    [
        ("text", "7", "7", "text"),
        ("float", "7", "7", "number"),
        ("int", "7.5", "7.5", "number"),
        ("Boolean", "True", "yes", "yes/no"),
        ("multiple-choice", "(c)", "C", "option"),
        ("free_form", "7", "7", "integer"),
        ("word", "7 up", "7 up", "word"),
    ],
)
def test_a_declared_type_goes_before_a_seen_one(declared, answer, stored, kind, folder):
    question = import_one(folder, {"question": "What?", "answer": answer, "answer_type": declared})
    assert (question.answer, question.answer_type) == (stored, kind)


@pytest.mark.parametrize(("level", "stored"), [(3, 3), ("2", 2), (2.0, 2), ("Hard", 3), ("odd", None), (True, None)])
def test_levels(level, stored, folder):
    question = import_one(folder, {"question": "What?", "answer": "1", "difficulty": level})
    assert question.level == stored
    assert question.metadata == ({} if stored is not None else {"difficulty": level})


def test_usual_names_are_found_in_any_case_and_marks_of_the_picture_go(folder):
    row = {"Query": "<image>\nIn <image 1>, which?", "Label": "red", "Category": "colours", "tolerance": "0.1"}
    question = import_one(folder, row)
    assert (question.text, question.answer, question.family, question.tolerance) == (
        "In, which?",
        "red",
        "colours",
        0.1,
    )


def test_a_chosen_column_is_not_taken_for_anything_else(folder):
    row = {"question": "red", "query": "Which colour?"}
    question = import_one(folder, row, columns={"answer": "question"})
    assert (question.text, question.answer) == ("Which colour?", "red")


def test_further_columns_are_kept_where_they_are_small(folder):
    extra = {"id": "q7", "weight": 0.5, "checked": True, "words": ["a"], "long": "x" * 501, "bad": "\0", "n": None}
    row = {"question": "What?", "answer": "1", "metadata": {"grade": 4, "deep": {}}, "infinite": float("inf")} | extra
    question = import_one(folder, row)
    assert question.metadata == {"grade": 4, "id": "q7", "weight": 0.5, "checked": True}


def test_what_makes_a_question_another_one(folder, store):
    row = {"question": "What?", "answer": "1"}
    (folder / "images/b.png").write_bytes(png("blue"))
    assert import_questions(store, write_rows(folder, row)).added == 1
    assert import_questions(store, folder, name="other", tolerance=0.5).added == 0
    changes = ({"question": "Who?"}, {"answer": "2"}, {"image": "images/b.png"})
    for change in (*changes, {"options": ["3", "4"]}, {"options": ["3", "5"]}):
        assert import_questions(store, write_rows(folder, row | change)).added == 1
    assert [question.source for question in store.questions()] == ["charts"] * 6


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from("ABC12"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(["answer", "options", "A", "B", "answer_type", "level", "family", "tolerance", "x"])
USUAL = st.fixed_dictionaries(
    {"question": st.text(min_size=1), "answer": st.text(min_size=1) | st.integers() | VALUES},
)
ODD = st.dictionaries(NAMES | st.text(max_size=5), VALUES, max_size=4)
QUESTION_ROWS = st.builds(lambda usual, odd: json.dumps(usual | odd), USUAL, ODD)
NO_ROWS = VALUES.map(json.dumps) | st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]))
ROWS = st.lists(QUESTION_ROWS | NO_ROWS, max_size=5)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_every_row_goes_in_once_or_is_refused_with_a_reason(rows, folder, store):
    lines = [row.replace("{", '{"image": "images/a.png", ', 1) if '"question"' in row else row for row in rows]
    (folder / "questions.jsonl").write_text("".join(line + "\n" for line in lines), newline="")
    first = import_questions(store, folder)
    expected = [f"questions.jsonl:{number}" for number, line in enumerate(lines, 1) if line.strip()]
    found = list(read_questions(folder, store.folder / "images"))
    assert [row.place for row in found] == expected
    assert all(row.reason for row in found if isinstance(row, RefusedRow))
    assert first.read + len(first.refused) == len(expected)
    json.dumps([row.reason for row in first.refused]).encode()
    assert import_questions(store, folder).added == 0
    kept = {question.id: question for question in store.questions()}
    for row in found:
        if not isinstance(row, RefusedRow):
            assert kept[row.question.id].text == row.question.text and kept[row.question.id].answer
