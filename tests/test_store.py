"""The project file: what goes in comes back, whatever happens to the process, the disk or the file meanwhile."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path as FilePath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlite_utils import Database
from stored import add_all, make_path, make_question, make_run, make_turn

from insightv_core.errors import UserError
from insightv_core.records import ModelVersion, Path, Question, Run, Step, StepRecord, StoredImage
from insightv_core.store import Store, open_store, project
from insightv_core.store.browse import PathFilter, facet_counts
from insightv_core.store.schema import migrations

ROOT = FilePath(__file__).parents[1]
text, name = st.text(max_size=30), st.text("0123456789abcdef", min_size=8, max_size=20)
real, whole = st.floats(allow_nan=False), st.integers(0, 10**9)
steps = st.builds(Step, text, text, st.sampled_from(["continue", "summary"]))
turns = st.builds(StepRecord, text, st.none() | steps, st.booleans(), whole, st.none() | real, real)
metadata = st.dictionaries(text, text | whole | st.lists(whole, max_size=2), max_size=3)
questions = st.builds(
    Question, id=name, text=text, answer=text, image=name, source=text, answer_type=text, family=text,
    level=st.none() | whole, options=st.lists(text, max_size=3).map(tuple), tolerance=real, metadata=metadata,
)  # fmt: skip
runs = st.builds(
    Run, name, text, st.none() | st.builds(ModelVersion, text, name), text, st.dictionaries(text, whole | text), text
)
paths = st.builds(
    Path, id=name, question=name, run=name, sample=whole, status=st.sampled_from(["complete", "failed"]),
    turns=st.lists(turns, max_size=4).map(tuple), answer=st.none() | text, failure=st.none() | text, final_raw=text,
    tokens=whole, logprob=st.none() | real, seconds=real,
)  # fmt: skip
quick = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "project.db", create=True) as store:
        yield store


def run_python(code, *arguments):
    program = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]\n{textwrap.dedent(code)}"
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], stderr=subprocess.PIPE, text=True)


def ended(process):
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error


# -- what goes in comes back -------------------------------------------------------------------------------------------


@quick
@given(st.lists(questions, min_size=1, max_size=3, unique_by=lambda q: q.id), runs, st.lists(paths, max_size=3))
def test_any_records_come_back_equal_and_saving_twice_adds_nothing(questions, run, paths):
    paths = list({p.id: replace(p, question=questions[0].id, run=run.id) for p in paths}.values())
    pairs = [(question, StoredImage(question.image, 3, 2, 100)) for question in questions]
    with open_store(":memory:", create=True) as store:
        assert store.add_questions(pairs) == len(pairs)
        store.start_run(run)
        assert store.add_paths(paths) == len(paths)
        assert store.add_questions(pairs) == store.add_paths(paths) == 0
        store.start_run(run)
        assert list(store.questions()) == questions
        assert store.run(run.id) == run
        assert {path.id: path for path in store.paths_of(questions[0].id)} == {path.id: path for path in paths}
        assert store.samples_of(run.id) == ({questions[0].id: {p.sample for p in paths}} if paths else {})


def test_half_a_surrogate_pair_is_replaced_instead_of_stopping_the_run(store):
    question, image = make_question(1, text="half \ud83d a pair")
    store.add_questions([(question, image)])
    store.start_run(make_run())
    store.add_paths([make_path(1, question, make_run(), (make_turn("a \ud800 b"),), answer="\udfff")])
    assert store.question(question.id).text == "half \ufffd a pair"
    path = store.paths_of(question.id)[0]
    assert (path.steps[0].content, path.answer) == ("a \ufffd b", "\ufffd")


def test_a_path_of_an_unknown_question_or_run_is_refused_with_all_its_company(store):
    (question, *_), (run,), _ = add_all(store)
    stranger, _ = make_question(99)
    for bad in (make_path(21, stranger, run), make_path(22, question, make_run(7))):
        with pytest.raises(UserError, match="lacks at least one"):
            store.add_paths([make_path(20, question, run), bad])
    assert store.value("SELECT count(*) FROM paths") == 6


def test_questions_come_in_the_order_of_import_by_source_and_up_to_a_limit(store):
    made = [make_question(number, source="demo" if number % 2 else "other") for number in (5, 3, 9, 4)]
    store.add_questions(made[:2])
    store.add_questions(made)
    wanted = [question for question, _ in made]
    assert list(store.questions()) == wanted
    assert list(store.questions(limit=3)) == wanted[:3]
    assert list(store.questions(source="demo")) == wanted[:3] and store.question_count("demo") == 3


def test_ids_may_be_shortened_while_they_are_clear(store):
    (question, *_), (run,), paths = add_all(store, questions=1)
    assert store.path(paths[0].id[:8]) == paths[0] and store.run(run.id[:6]) == run
    for wrong in ("", "ffffffffff"):
        with pytest.raises(UserError, match="path"):
            store.path(wrong)
    with pytest.raises(UserError, match="no question"):
        store.question("ffff")


def test_a_run_goes_on_where_it_was_and_tells_how_it_ended(store):
    run = make_run()
    store.start_run(run, total=10, command="insightv generate")
    store.note_progress(run.id, 4)
    store.end_run(run.id, "failed", message="the server is gone")
    state = store.rows("SELECT status, done, total, message FROM runs")
    assert state == [{"status": "failed", "done": 4, "total": 10, "message": "the server is gone"}]
    store.start_run(run, total=12)
    assert store.rows("SELECT status, done, total, message FROM runs") == [
        {"status": "running", "done": 4, "total": 12, "message": None}
    ]


def test_a_snapshot_sees_one_moment(store):
    (question, *_), (run,), _ = add_all(store)
    count = "SELECT count(*) FROM paths"
    with open_store(store.file) as other, store.snapshot():
        before = store.value(count)
        other.add_paths([make_path(50, question, run)])
        assert store.value(count) == before
    assert store.value(count) == before + 1


# -- processes that die or meet ----------------------------------------------------------------------------------------

WRITER = """
    from stored import *
    from insightv_core.store import open_store
    store = open_store(sys.argv[1])
    questions, run = list(store.questions()), make_run()
    first, last, batch = map(int, sys.argv[2:5])
    turns = tuple(make_turn("x" * 400) for _ in range(5))
    for start in range(first, last, batch):
        numbers = range(start, min(start + batch, last))
        store.add_paths(make_path(n, questions[n % len(questions)], run, turns) for n in numbers)
"""


def assert_whole(store):
    assert store.column("PRAGMA integrity_check") == ["ok"]
    assert store.rows("PRAGMA foreign_key_check") == []
    number = store.value("SELECT count(*) FROM paths")
    assert store.value("SELECT count(*) FROM steps") == 5 * number
    assert facet_counts(store, PathFilter())["status"] == ([("complete", number)] if number else [])


def test_a_killed_writer_leaves_nothing_half_written_and_the_next_goes_on(store):
    add_all(store, questions=4, paths=0)
    for _ in range(2):
        before = store.value("SELECT count(*) FROM paths")
        process = run_python(WRITER, store.file, 0, 100_000, 70)
        while store.value("SELECT count(*) FROM paths") < before + 70:
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert_whole(store)
        assert store.value("SELECT count(*) FROM paths") in range(70, 100_000, 70)
    kept = store.value("SELECT count(*) FROM paths")
    ended(run_python(WRITER, store.file, 0, kept + 33, 500))
    assert store.value("SELECT count(*) FROM paths") == kept + 33
    assert_whole(store)


def test_two_processes_write_at_once(store):
    add_all(store, questions=4, paths=0)
    writers = [run_python(WRITER, store.file, first, first + 400, 7) for first in (0, 200)]
    for writer in writers:
        ended(writer)
    assert store.value("SELECT count(*) FROM paths") == 600
    assert_whole(store)


def test_several_processes_make_the_same_new_files_at_once(tmp_path):
    code = """
        import pathlib
        from insightv_core.store import open_store
        folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
        for number in range(40):
            (folder / f"{number}-{name}").touch()
            while len(list(folder.glob(f"{number}-*"))) < 2:
                pass
            open_store(folder / f"{number}.db", create=True).close()
    """
    processes = [run_python(code, tmp_path, name) for name in "ab"]
    try:
        for process in processes:
            ended(process)
    finally:
        for process in processes:  # where one failed the other waits for it for ever
            process.kill()
    with open_store(tmp_path / "39.db") as store:
        assert not migrations().pending(store.db)


# -- files and disks that fail -----------------------------------------------------------------------------------------


def test_a_locked_file_is_named_and_keeps_what_it_had(store, monkeypatch):
    (question, *_), (run,), _ = add_all(store)
    monkeypatch.setattr(project, "BUSY_SECONDS", 0.05)
    with open_store(store.file) as impatient, store.transaction():
        with pytest.raises(UserError, match="locked.*wait for that one or stop it"):
            impatient.add_paths([make_path(30, question, run)])
        assert impatient.value("SELECT count(*) FROM paths") == 6
    with open_store(store.file) as again:
        assert again.add_paths([make_path(30, question, run)]) == 1


def test_a_full_disk_is_named_keeps_the_earlier_rows_and_can_go_on(store):
    (question, *_), (run,), _ = add_all(store)
    more = [make_path(n, question, run, (make_turn("x" * 2000),)) for n in range(100, 200)]
    store.add_paths(more[:10])
    pages = store.value("PRAGMA page_count")
    store.db.execute(f"PRAGMA max_page_count={pages + 5}").fetchall()
    with pytest.raises(UserError, match="full.*Make room"):
        store.add_paths(more)
    assert store.value("SELECT count(*) FROM paths") == 16
    store.db.execute("PRAGMA max_page_count=1000000").fetchall()
    assert store.add_paths(more) == 90
    assert facet_counts(store, PathFilter())["status"] == [("complete", 106)]


def test_a_damaged_file_is_named(store):
    add_all(store, paths=200)
    store.close()
    content = bytearray(store.file.read_bytes())
    content[4096:] = b"\x5a" * (len(content) - 4096)
    store.file.write_bytes(content)
    with pytest.raises(UserError, match="project.db.*damaged"):
        open_store(store.file)


@pytest.mark.parametrize(
    "make, reason",
    [
        (lambda file: file.write_text("id,question\n" * 500), "no project file"),
        (lambda file: file.mkdir(), "is a folder"),
        (lambda file: None, "start one with `insightv import"),
        (lambda file: sqlite3.connect(file).execute("CREATE TABLE bookmarks (url)"), "belongs to another program"),
    ],
)
def test_what_is_no_project_file_is_refused_untouched(tmp_path, make, reason):
    file = tmp_path / "other.db"
    make(file)
    before = file.read_bytes() if file.is_file() else None
    with pytest.raises(UserError, match=reason):
        open_store(file)
    assert (file.read_bytes() if file.is_file() else None) == before


def test_folders_that_cannot_be_made_are_named(tmp_path):
    (tmp_path / "taken").write_text("")
    for file in (tmp_path / "taken" / "project.db", tmp_path / ("x" * 300) / "project.db"):
        with pytest.raises(UserError, match="cannot be reached"):
            open_store(file, create=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="folder exists and can be written"):
            open_store(tmp_path / "project.db", create=True)
    finally:
        tmp_path.chmod(0o700)


def names_in(store) -> set[str]:
    return set(store.column("SELECT name FROM sqlite_master"))  # of tables, indexes and triggers


@pytest.mark.parametrize("applied", range(1, len(migrations().pending(Database(memory=True)))))
def test_an_older_file_is_brought_up_to_date_with_its_rows(tmp_path, applied):
    file = tmp_path / "old.db"
    known = [migration.name for migration in migrations().pending(Database(memory=True))]
    with Store(file, Database(sqlite3.connect(file, isolation_level=None))) as old:
        migrations().apply(old.db, stop_before=known[applied])
        kept = add_all(old)[2] if applied > 1 else []
        before = names_in(old)
    with open_store(file) as store, open_store(tmp_path / "new.db", create=True) as new:
        assert before < names_in(store) == names_in(new)
        assert [store.path(path.id) for path in kept] == kept
