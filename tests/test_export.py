"""Export: what goes out comes back in unchanged, in every format, and trainers take it as it is."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from curation_project import build_project
from datasets import load_dataset, load_from_disk

from insightv_core import prompts
from insightv_core.cli import main
from insightv_core.curate.rows import training_rows
from insightv_core.errors import UserError
from insightv_core.export import FORMATS, JSONL, LLAMA_FACTORY, PARQUET, TRL, export_set, read_export, to_dataset
from insightv_core.nano.model import load_nano
from insightv_core.store import open_store

SETS = ("reason", "summary", "pairs")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    project = build_project(tmp_path_factory.mktemp("made"), questions=3)
    assert main(["curate", "--project", str(project), "--pairs", "2"]) == 0
    with open_store(project) as store:
        # Texts as unruly as people and models write them.
        odd = 'a "b" \\n\u2028\u00a0\N{GRINNING FACE}\r\n\ttab, <b>&amp;</b> {"x": [1]}'
        with store.transaction():
            store.db.conn.execute("UPDATE steps SET content = content || ?", [odd])
            store.db.conn.execute("UPDATE set_rows SET target = target || ? WHERE kind = 'plain'", [odd])
    return project


@pytest.fixture
def store(made):
    with open_store(made) as opened:
        yield opened


def newest(store):
    return store.value("SELECT id FROM runs WHERE stage = 'curate'")


def pixels(row):
    return [(picture.mode, picture.size, picture.tobytes()) for picture in row["images"]]


def texts(row):
    return {name: value for name, value in row.items() if name != "images"}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", SETS)
def test_what_goes_out_comes_back(store, tmp_path, form, name):
    run, out = newest(store), tmp_path / "out"
    export_set(store, run, name, form, out)
    before = to_dataset(training_rows(store, run, name), store.image_file)
    after = read_export(out, tmp_path / "cache")
    assert len(before) == len(after) > 0
    assert {column: before.features[column] for column in after.column_names} == dict(after.features)
    if form != LLAMA_FACTORY:
        assert before.column_names == after.column_names
    for one, other in zip(before, after, strict=True):
        assert {column: one[column] for column in texts(other)} == texts(other)
        assert pixels(one) == pixels(other)


def test_messages_are_the_prompts_as_plain_text(store):
    run = newest(store)
    row = to_dataset(training_rows(store, run, "reason"), store.image_file)[0]
    source = next(training_rows(store, run, "reason"))
    assert [message["role"] for message in row["prompt"]] == ["system", "user"]
    assert row["prompt"][0]["content"] == prompts.SYSTEM
    assert row["prompt"][1]["content"] == f"{source.question.text}\n{prompts.REASON}"
    assert row["completion"] == [{"role": "assistant", "content": source.completion}]
    whole = to_dataset(training_rows(store, run, "reason"), store.image_file, layout="messages")[0]
    assert whole["messages"] == row["prompt"] + row["completion"] and "prompt" not in whole


def test_trl_renders_the_same_tokens_as_our_prompts(store):
    from trl import apply_chat_template, prepare_multimodal_messages

    _, processor = load_nano("nano-base")
    run = newest(store)
    for name, reply in (("summary", "completion"), ("pairs", "rejected")):
        rows = list(training_rows(store, run, name))
        for row, source in zip(to_dataset(rows, store.image_file), rows, strict=True):
            spoken = {side: prepare_multimodal_messages(row[side]) for side in ("completion", "chosen", "rejected")
                      if side in row}  # fmt: skip
            asked = prepare_multimodal_messages(row["prompt"], images=row["images"])
            rendered = apply_chat_template({"prompt": asked, **spoken}, processor)
            said = prompts.assistant(source.completion if source.rejected is None else source.rejected)
            whole = processor.apply_chat_template([*source.prompt, said], tokenize=False)
            assert rendered["prompt"] + rendered[reply] == whole


def test_standard_loaders_read_the_folders(store, tmp_path):
    run = newest(store)
    for form in (TRL, PARQUET):
        export_set(store, run, "pairs", form, tmp_path / form)
    loaded = load_from_disk(tmp_path / TRL / "data")
    published = load_dataset(str(tmp_path / PARQUET), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.features == published.features
    assert [texts(row) for row in loaded] == [texts(row) for row in published]


def test_llama_factorys_layout(store, tmp_path):
    run = newest(store)
    for name in ("summary", "pairs"):
        out = tmp_path / name
        export_set(store, run, name, LLAMA_FACTORY, out)
        ((key, described),) = json.loads((out / "dataset_info.json").read_text()).items()
        assert key == f"insightv_{name}" and described["formatting"] == "sharegpt"
        rows = json.loads((out / described["file_name"]).read_text())
        columns = described["columns"]
        for row in rows:
            turns = row[columns["messages"]]
            assert row[columns["system"]] == prompts.SYSTEM
            assert json.dumps(row).count("<image>") == len(row[columns["images"]]) == 1
            assert turns[0]["value"].startswith("<image>") and (out / row[columns["images"]][0]).is_file()
            # Its converter wants people first and an even number of turns, odd for preferences.
            assert [turn["from"] for turn in turns] == (["human"] if name == "pairs" else ["human", "gpt"])
        assert described["ranking"] == (name == "pairs") == ("chosen" in columns)
        if name == "pairs":
            assert {rows[0][columns[side]]["from"] for side in ("chosen", "rejected")} == {"gpt"}


def test_a_second_picture_mark_is_refused_for_llama_factory(store, tmp_path):
    run = newest(store)
    store.db.conn.execute("BEGIN")
    try:
        store.db.conn.execute("UPDATE set_rows SET target = 'an <image>' WHERE number = 1 AND kind = 'reason'")
        with pytest.raises(UserError, match="row reason-1 says <image>"):
            export_set(store, run, "reason", LLAMA_FACTORY, tmp_path / "out")
    finally:
        store.db.conn.execute("ROLLBACK")  # later tests train on these rows
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_tells_where_rows_come_from(store, tmp_path):
    run = newest(store)
    first = export_set(store, run, "pairs", JSONL, tmp_path / "one")
    assert first == json.loads((tmp_path / "one" / "manifest.json").read_text())
    assert first["rows"] == 9 and first["kinds"] == {"by answer": 9} and first["run"] == run
    assert first["settings"]["margin"] == 20 and first["left_out"] == {}
    assert {(maker["stage"], maker["model"]) for maker in first["made_by"]} == {
        ("generate", "maker"), ("generate", "agent"), ("assess", "judge"),
    }  # fmt: skip
    files = [path for path in (tmp_path / "one").rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert first["files"] == {
        str(path.relative_to(tmp_path / "one")): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }
    second = export_set(store, run, "pairs", TRL, tmp_path / "two")
    assert second["rows_sha256"] == first["rows_sha256"]
    assert export_set(store, run, "reason", JSONL, tmp_path / "three")["rows_sha256"] != first["rows_sha256"]
    again = export_set(store, run, "pairs", JSONL, tmp_path / "four")
    assert again["files"] == first["files"]


@pytest.mark.parametrize("form", FORMATS)
def test_the_card_loads_and_tells_the_numbers(store, tmp_path, form):
    manifest = export_set(store, newest(store), "summary", form, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    header, title = re.match(r"---\n(.*?)---\n\n# (.*?)\n", card, re.DOTALL).groups()
    assert "visual-question-answering" in header and title == f"{manifest['rows']} rows for a summary agent"
    assert ("data_files" in header) == (form in (PARQUET, JSONL))
    for kind, count in manifest["kinds"].items():
        assert f"| {kind} | {count} |" in card
    assert "arXiv 2411.14432" in card and "| assess | judge | `judge-run` | 24 |" in card


@pytest.mark.parametrize("form", FORMATS)
def test_progress_is_told_row_by_row(store, tmp_path, form):
    told = []
    manifest = export_set(store, newest(store), "pairs", form, tmp_path / "out", progress=told.append)
    assert told == [1] * manifest["rows"]


def test_excluded_rows_stay_in(store, tmp_path):
    run = newest(store)
    with store.transaction():
        store.db.conn.execute("UPDATE pairs SET excluded = 'flagged' WHERE key = 1")
    try:
        manifest = export_set(store, run, "pairs", JSONL, tmp_path / "out")
        assert manifest["rows"] == 8 and manifest["excluded"] == {"flagged": 1}
        assert len(read_export(tmp_path / "out")) == 8
    finally:
        with store.transaction():
            store.db.conn.execute("UPDATE pairs SET excluded = NULL")


def test_a_folder_with_something_in_it_is_left_alone(made, store, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("keep")
    arguments = ["export", "--project", str(made), "--set", "reason", "--format", "jsonl", "--out"]
    assert main([*arguments, str(tmp_path)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "keep"
    (tmp_path / "empty").mkdir()
    assert main([*arguments, str(tmp_path / "empty"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 3
    assert main([*arguments, str(tmp_path / "new" / "folder")]) == 0
    assert "3 rows of reason" in capsys.readouterr().out


@pytest.mark.parametrize("spoil", [Path.unlink, lambda file: file.write_bytes(b"other")])
@pytest.mark.parametrize("form", FORMATS)
def test_a_missing_or_changed_picture_stops_the_export_and_leaves_nothing(tmp_path, form, spoil):
    project = build_project(tmp_path, questions=1)
    assert main(["curate", "--project", str(project)]) == 0
    with open_store(project) as store:
        spoil(store.image_file(store.question("question-0").image))
        with pytest.raises(UserError, match="insightv curate --exclude"):
            export_set(store, newest(store), "pairs", form, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} <= {"images", "project.db", "project.db-wal", "project.db-shm"}


def test_an_empty_set_says_so(tmp_path):
    project = build_project(tmp_path, questions=1)
    assert main(["curate", "--project", str(project), "--reason-score", "99"]) == 0
    with open_store(project) as store:
        with pytest.raises(UserError, match="has no rows"):
            export_set(store, newest(store), "reason", TRL, tmp_path / "out")
        with pytest.raises(UserError, match="has no rows"):
            to_dataset(training_rows(store, newest(store), "reason"), store.image_file)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["prompt", "messages"])
@pytest.mark.parametrize("name", SETS)
def test_trls_trainers_take_the_exports_as_they_are(made, tmp_path, name, layout):
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    out = tmp_path / "out"
    assert main(["export", "--project", str(made), "--set", name, "--format", "trl", "--layout", layout,
                 "--out", str(out)]) == 0  # fmt: skip
    model, processor = load_nano("nano-base", device="cpu")
    before = model.lm_head.weight.detach().clone()
    chosen = (DPOConfig, DPOTrainer) if name == "pairs" else (SFTConfig, SFTTrainer)
    trainer = chosen[1](
        model=model, train_dataset=load_from_disk(out / "data"), processing_class=processor,
        args=chosen[0](
            str(tmp_path / "run"), max_length=None, max_steps=1, per_device_train_batch_size=2, bf16=False,
            learning_rate=1e-3, report_to="none", save_strategy="no", use_cpu=True, disable_tqdm=True,
        ),
    )  # fmt: skip
    assert trainer.train().training_loss > 0
    assert not before.equal(model.lm_head.weight)
