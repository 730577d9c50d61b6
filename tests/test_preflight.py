"""Pre-flight: every row that training would cut, choke on or learn the wrong thing from is named, and no other."""

import copy
import json
from dataclasses import replace

import pytest
from curation_project import build_project, make_assessment, make_question, name_pair
from PIL import Image

from insightv_core import prompts
from insightv_core.cli import main
from insightv_core.curate.rows import TrainingRow, training_rows
from insightv_core.errors import UserError
from insightv_core.export import to_dataset
from insightv_core.preflight import check_rows, check_set, load_processor
from insightv_core.records import ModelVersion, Run
from insightv_core.store import open_store
from insightv_core.store.assessments import add_assessments
from insightv_core.store.curation import count_rows

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture(scope="module")
def processor():
    return load_processor("nano-base")[0]


@pytest.fixture
def project(tmp_path):
    return build_project(tmp_path, questions=3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return build_project(tmp_path_factory.mktemp("made"), questions=2)


def curate(project, capsys, *arguments):
    capsys.readouterr()
    assert main(["curate", "--project", str(project), "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def rows(made, capsys):
    run = curate(made, capsys)["run"]
    with open_store(made) as store:
        yield {name: list(training_rows(store, run, name)) for name in ("reason", "summary", "pairs")}, store


def reasons(rows, store, processor, **more):
    return [refusal and refusal.reason for _, refusal in check_rows(rows, processor, store.image_file, **more)]


def test_good_rows_pass(rows, processor):
    sets, store = rows
    for name in sets:
        assert reasons(sets[name], store, processor, max_length=2048) == [None] * len(sets[name])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"completion": " \n"}, "nothing to reply"),
        ({"rejected": ""}, "nothing to reply"),
        ({"completion": "a", "rejected": "a"}, "chosen and rejected are the same"),
        ({"outcome": "wrong"}, "the chosen answer is not right"),
        ({"outcome": None}, "the chosen answer is not right"),
        ({"outcome": "wrong", "reason": "human"}, None),
        ({"completion": "see <image>"}, "the text holds a mark of the model"),
        ({"prompt": tuple(prompts.ask("what <|end|>?", prompts.REASON))}, "the text holds a mark of the model"),
        ({"prompt": tuple(prompts.ask("what?", prompts.REASON)[1:])}, None),
        (
            {"prompt": tuple(prompts.ask("what?", prompts.REASON, described="a bar"))},
            "the processor cannot read the row",
        ),
    ],
)
def test_a_spoiled_pair_is_named(rows, processor, change, reason):
    sets, store = rows
    assert reasons([replace(sets["pairs"][0], **change)], store, processor) == [reason]


def test_only_rows_that_are_imitated_must_be_right(rows, processor):
    sets, store = rows
    for name, kind, reason in (
        ("reason", "reason", "the chosen answer is not right"),
        ("summary", "optimal", "the chosen answer is not right"),
        ("summary", "wrong answer", None),
    ):
        row = next(row for row in sets[name] if row.kind == kind)
        assert reasons([replace(row, outcome="wrong")], store, processor) == [reason]


def lengths_by_trl(rows, store, processor):
    """Return the tokens of each row as TRL's collators lay them out."""
    from trl.trainer.dpo_trainer import DataCollatorForVisionPreference
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    collator = (DataCollatorForVisionLanguageModeling if rows[0].rejected is None else DataCollatorForVisionPreference)(
        processor
    )
    return [
        int(collator([row])["attention_mask"].sum(dim=1).max()) for row in to_dataset(rows, store.image_file).to_list()
        for row in [row | {"images": [Image.open(row["images"][0]["path"])]}]
    ]  # fmt: skip


@pytest.mark.parametrize("opening", ["", "So: "])
def test_lengths_are_those_of_trls_collators(rows, processor, opening):
    sets, store = rows
    template = processor.chat_template.replace(
        "'<|assistant|>' -}}{%- endif", f"'<|assistant|>{opening}' -}}}}{{%- endif"
    )
    assert (template != processor.chat_template) == bool(opening)
    told = copy.deepcopy(processor)
    told.chat_template = template
    pair = sets["pairs"][0]
    longer = [replace(pair, rejected=pair.rejected * 2), replace(pair, completion=pair.completion * 2)]
    for found in (sets["summary"], [*sets["pairs"], *longer]):
        for row, tokens in zip(found, lengths_by_trl(found, store, told), strict=True):
            assert reasons([row], store, told, max_length=tokens) == [None]
            assert reasons([row], store, told, max_length=tokens - 1) == [f"longer than {tokens - 1} tokens"]


def test_the_end_of_the_picture_is_where_the_processor_puts_it(rows, processor):
    sets, store = rows
    row = sets["reason"][0]
    text = processor.apply_chat_template(list(row.prompt), add_generation_prompt=True, tokenize=False)
    with Image.open(store.image_file(row.question.image)) as picture:
        ids = processor(images=[[picture]], text=[text])["input_ids"][0]
    end = max(place for place, token in enumerate(ids) if token == processor.image_token_id) + 1
    assert reasons([row], store, processor, max_length=end - 1) == [f"the picture would be cut at {end - 1} tokens"]
    assert reasons([row], store, processor, max_length=end) == [f"longer than {end} tokens"]


def test_a_missing_or_changed_picture_is_named_in_every_row(project, capsys, processor):
    run = curate(project, capsys)["run"]
    with open_store(project) as store:
        gone, changed = (store.image_file(store.question(f"question-{number}").image) for number in (0, 1))
        gone.unlink()
        changed.write_bytes(changed.read_bytes() + b"\0")
        for name in ("reason", "summary", "pairs"):
            found = check_set(store, run, name, processor)
            by_question = {row.question.id for row in training_rows(store, run, name)}
            assert {refusal.question: refusal.reason for refusal in found} == {
                question: reason
                for question, reason in (
                    ("question-0", "the picture is missing"), ("question-1", "the picture was changed"),
                )
                if question in by_question
            }  # fmt: skip
            assert all(refusal.set == name and str(project.parent) in refusal.detail for refusal in found)
        assert len(found) == 4  # two pairs of each question


def test_excluded_rows_are_noted_and_come_back(project, capsys, processor):
    run = curate(project, capsys)["run"]
    with open_store(project) as store:
        all_rows = list(training_rows(store, run, "reason"))
        assert len(check_set(store, run, "reason", processor, max_length=100)) == 3
        assert list(training_rows(store, run, "reason")) == all_rows
        check_set(store, run, "reason", processor, max_length=100, exclude=True)
        assert list(training_rows(store, run, "reason")) == []
        noted = count_rows(store, run)["reason"]["excluded"]
        assert len(noted) == 1 and "pre-flight: " in next(iter(noted)) and sum(noted.values()) == 3
        check_set(store, run, "reason", processor, max_length=2048, exclude=True)
        assert list(training_rows(store, run, "reason")) == all_rows


def test_what_was_excluded_for_another_reason_stays_out(project, capsys, processor):
    run = curate(project, capsys)["run"]
    with open_store(project) as store:
        with store.transaction():
            store.db.conn.execute("UPDATE pairs SET excluded = 'flagged' WHERE key = 1")
        assert check_set(store, run, "pairs", processor, max_length=10, exclude=True)
        assert store.value("SELECT excluded FROM pairs WHERE key = 1") == "flagged"
        check_set(store, run, "pairs", processor, exclude=True)
        assert store.column("SELECT count(*) FROM pairs WHERE excluded IS NOT NULL") == [1]


def test_a_newer_assessment_that_calls_the_answer_wrong_counts(project, capsys, processor):
    run = curate(project, capsys)["run"]
    with open_store(project) as store:
        store.start_run(Run("newer", "assess", ModelVersion("judge 2", "judge 2"), "1", {"mode": "single"}, "0"))
        wrong = replace(store.path("path-0-0"), answer="wrong")
        add_assessments(store, [make_assessment(wrong, 9, (0,), Run("newer", "assess", None, "1", {}, "0"))])
        (refusal,) = check_set(store, run, "pairs", processor)
        assert (refusal.row, refusal.reason) == (
            name_pair(run, "path-0-0", "path-0-4"), "the chosen answer is not right",
        )  # fmt: skip


def test_the_command_names_and_excludes(project, capsys):
    with open_store(project) as store:
        store.image_file(store.question("question-0").image).unlink()
    named = curate(project, capsys, "--check")
    assert {each["question"] for each in named["refused"]} == {"question-0"} and not named["excluded"]["pairs"]
    assert main(["curate", "--project", str(project), "--exclude"]) == 0
    words = capsys.readouterr().out
    assert "rows refused before training" in words and "the picture is missing" in words
    assert "excluded from pairs: 2 pre-flight: the picture is missing" in words
    assert curate(project, capsys)["pairs"] == {"by answer": 4}


def test_models_without_a_processor_are_explained(tmp_path):
    with pytest.raises(UserError, match="cannot be loaded"):
        load_processor(str(tmp_path))


def test_a_row_of_any_origin_can_be_checked(processor, tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "x.png")
    row = TrainingRow("mine", 1, "plain", make_question(0, "f" * 64), tuple(prompts.ask("what?", prompts.DIRECT)), "4")
    ((_, refusal),) = check_rows([row], processor, lambda name: tmp_path / "x.png")
    assert (refusal.row, refusal.reason) == ("mine", "the picture was changed")
