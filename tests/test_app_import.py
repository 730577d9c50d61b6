"""Importing in the app: what an upload may be, what is shown of it, and that rows go in once or say why not."""

import asyncio
import base64
import contextlib
import csv
import io
import json
import re
import zipfile
from pathlib import Path as FilePath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient
from test_app_pages import visible, wait_for

from app import uploads as module
from app.access import ADMIN, KEY, REVIEWER, Account
from app.imports import begin_import, read_columns, render_import, upload_route
from app.overview import render_overview
from app.uploads import Uploads, kind_of, shown_name
from insightv_core.errors import UserError
from insightv_core.store import open_store

ATTACK = "<img src=x onerror=alert(1)>"
HEADER = ("image", "question", "answer")


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "project.db", create=True) as store:
        yield store


@pytest.fixture
def uploads():
    kept = Uploads()
    yield kept
    kept.forget(0)


def data_picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (number * 20 % 256, 90, 200)).save(buffer, "PNG")
    return buffer.getvalue()


def table(rows, header=HEADER) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    return text.getvalue().encode()


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def take(uploads: Uploads, name: str, content: bytes) -> str:
    async def chunks():
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    async def work(function, *arguments):
        return function(*arguments)

    return asyncio.run(uploads.take(name, chunks(), work))


def import_now(store, uploads: Uploads, key: str, query: str = "") -> str:
    """Import an upload and return the page."""
    begin_import(store, uploads.find(key), f"?upload={key}{query}")
    wait_for(lambda: uploads.find(key).job.over, 20)
    return render_import(store, uploads, f"?upload={key}{query}")


def rows(count: int) -> list[tuple]:
    return [(f"pictures/{number}.png", f"How many, in {number}?", number) for number in range(count)]


def bundle(count: int = 3, **more: bytes) -> bytes:
    pictures = {f"mine/pictures/{number}.png": data_picture(number) for number in range(count)}
    return packed({"mine/questions.csv": table(rows(count)), **pictures, **more})


# -- what an upload may be ---------------------------------------------------------------------------------------------


def test_a_zip_is_shown_and_imported_once_with_its_pictures(store, uploads, tmp_path):
    key = take(uploads, "C:\\things\\my charts.zip", bundle())
    page = render_import(store, uploads, f"?upload={key}")
    assert "Import 3 rows" not in visible(page) and "Import every row" in visible(page)  # a CSV does not say how many
    assert page.count('src="data:image/webp;base64,') == 3 and "How many, in 2?" in page
    assert store.question_count() == 0 and not list(tmp_path.glob("images/*/*"))
    done = import_now(store, uploads, key)
    assert "3 new questions" in visible(done) and "left out" not in done
    found = list(store.questions())
    assert [each.source for each in found] == ["my charts"] * 3 and len({each.image for each in found}) == 3
    again = import_now(store, uploads, take(uploads, "my charts.zip", bundle()))
    assert "0 new questions" in visible(again) and "3 in the project already" in again
    assert store.question_count() == 3


def test_a_table_alone_may_hold_its_pictures(store, uploads):
    data = f"data:image/png;base64,{base64.b64encode(data_picture(1)).decode()}"
    lines = [{"image": data, "question": f"Q{number}?", "answer": "4"} for number in range(2)]
    lines.append({"image": "far.png", "question": "Q?", "answer": "4"})
    content = "\n".join(map(json.dumps, lines)).encode()
    key = take(uploads, "q.jsonl", content)
    assert "Import 3 rows" in visible(render_import(store, uploads, f"?upload={key}"))
    done = visible(import_now(store, uploads, key))
    assert "2 new questions" in done and "questions.jsonl:3" in done and "upload a zip" in done


def test_bad_rows_are_named_with_their_reasons_and_the_rest_goes_in(store, uploads):
    bad = [
        ("gone.png", "Q?", 1),
        ("pictures/0.png", "", 2),
        ("pictures/text.png", "Q?", 3),
        ("pictures/0.png", "X?", ""),
    ]
    content = packed({
        "questions.csv": table([*rows(1), *bad]), "pictures/0.png": data_picture(0), "pictures/text.png": b"<svg/>"
    })  # fmt: skip
    done = import_now(store, uploads, take(uploads, "a.zip", content))
    text = visible(done)
    assert "1 new question " in text and "4 rows left out" in text
    for line, reason in (
        (3, "is not in the zip"),
        (4, "question is empty"),
        (5, "no kind that"),
        (6, "answer is empty"),
    ):
        assert re.search(rf"questions\.csv:{line} [^:]*{reason}", text), reason


def test_columns_are_chosen_among_those_of_the_table(store, uploads):
    content = packed({"t.csv": table(rows(2), ("file", "what", "truth")), "pictures/0.png": data_picture(0)})
    key = take(uploads, "a.zip", content)
    page = render_import(store, uploads, f"?upload={key}")
    assert "no column for the question" in page and 'data-action="begin"' not in page
    with pytest.raises(UserError, match="no column"):
        begin_import(store, uploads.find(key), f"?upload={key}")
    chosen = "&c_image=file&c_question=what&c_answer=truth"
    assert "How many, in 0?" in render_import(store, uploads, f"?upload={key}{chosen}")
    with pytest.raises(UserError, match="there is no column '--limit'"):
        read_columns(uploads.find(key), f"?upload={key}&c_image=--limit")
    assert "1 new question" in visible(import_now(store, uploads, key, chosen))


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("a.exe", b"MZ", "cannot be imported"), ("../../etc/passwd", b"x", "passwd cannot be imported"),
        ("a.zip", b"PK nothing", "no zip"), ("a.zip", packed({"a.txt": b"x"}), "holds no .jsonl"),
        ("a.zip", packed({"a.csv": b"a", "b.csv": b"b"}), "holds 2 tables (a.csv, b.csv)"),
        ("a.zip", packed({"q.csv": b""}), "no header"), ("a.parquet", b"PAR1 no", "no Parquet file"),
        ("a.csv", b"\n\n", "no header"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_says_so_under_its_own_name(uploads, name, content, words, tmp_path, monkeypatch):
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        take(uploads, name, content)
    assert str(tmp_path) not in str(caught.value) and not uploads.kept and not list(tmp_path.iterdir())


# -- zip bombs and paths -----------------------------------------------------------------------------------------------


def test_a_picture_or_table_that_swells_is_never_read_whole(store, uploads, monkeypatch):
    sizes, read = [], zipfile.ZipExtFile.read

    def noted(stream, size=-1):
        sizes.append(size)
        return read(stream, size)

    monkeypatch.setattr(zipfile.ZipExtFile, "read", noted)
    monkeypatch.setattr(module, "MAX_MEGABYTES", 0.05)
    bomb = packed({"questions.csv": table(rows(1)), "pictures/0.png": bytes(60_000_000)})
    assert len(bomb) < 100_000
    assert "over 0.05 MB" in visible(import_now(store, uploads, take(uploads, "a.zip", bomb)))
    monkeypatch.setattr(module, "MOST_MEGABYTES", 1)
    with pytest.raises(UserError, match="once unpacked"):
        take(uploads, "a.zip", packed({"questions.csv": b"x" * 5_000_000}))
    assert sizes and all(0 < size < 2_000_000 for size in sizes)
    with pytest.raises(UserError, match="over 1 MB"):
        take(uploads, "a.csv", b"x" * 1_100_000)
    monkeypatch.setattr(module, "MOST_FILES", 3)
    with pytest.raises(UserError, match="over 3 files"):
        take(uploads, "a.zip", bundle())
    monkeypatch.setattr(module, "LARGEST_DIRECTORY", 100)
    with pytest.raises(UserError, match="too many files"):
        take(uploads, "a.zip", bundle())


def test_a_zip_that_says_its_list_is_longer_elsewhere_is_refused(uploads):
    content = bundle()
    place = content.rfind(b"PK\x05\x06")
    with pytest.raises(UserError, match="too many files"):
        take(uploads, "a.zip", content[:place] + b"PK\x06\x07" + bytes(16) + content[place:])


NAMES = ["../secret.png", "/etc/passwd", "pictures/../../secret.png", "..\\secret.png", "file:///etc/passwd", "~/a.png"]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_zip_or_a_row_becomes_a_path(store, uploads, name, tmp_path, monkeypatch):
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    for place in (tmp_path / "secret.png", tmp_path / "tmp" / "secret.png"):
        place.write_bytes(data_picture(7))
    content = packed({"questions.csv": table([(name, "Q?", 1)]), "../../evil.png": data_picture(1), name: b"not it"})
    before = set(tmp_path.rglob("*"))
    key = take(uploads, f"{name}.zip", content)
    written = {path.name for path in set(tmp_path.rglob("*")) - before if path.is_file()}
    assert written == {"upload.zip", "questions.csv"}
    import_now(store, uploads, key)
    assert store.question_count() == 0
    assert not list(tmp_path.rglob("evil*"))


@settings(max_examples=60)
@given(st.text(max_size=300))
def test_the_name_of_an_upload_only_chooses_a_kind_and_is_shown(name):
    shown = shown_name(name)
    assert "/" not in shown and "\\" not in shown and shown.isprintable() and 0 < len(shown) <= 80
    with contextlib.suppress(UserError):
        assert kind_of(name) in (".zip", ".jsonl", ".csv", ".tsv", ".parquet")


def test_what_rows_and_names_say_stays_text(store, uploads):
    content = packed({"q.csv": table([("p.png", ATTACK, ATTACK)]), "p.png": data_picture(1)})
    key = take(uploads, f"{ATTACK}.zip", content)
    pages = render_import(store, uploads, f"?upload={key}") + import_now(store, uploads, key)
    assert "<img src=x" not in pages and "&lt;img src=x" in pages


def test_only_the_newest_uploads_are_kept_and_nothing_stays_behind(uploads, tmp_path, monkeypatch):
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    keys = [take(uploads, "a.csv", table([])) for _ in range(module.KEPT + 2)]
    assert list(uploads.kept) == keys[2:] and len(list(tmp_path.iterdir())) == module.KEPT
    with pytest.raises(UserError, match="no longer here"):
        uploads.find(keys[0])
    for key in ("", "../x", "a" * 32):
        with pytest.raises(UserError, match="no longer here"):
            uploads.find(key)


# -- the page ----------------------------------------------------------------------------------------------------------


def test_an_import_tells_how_far_it_is_can_be_stopped_and_not_be_started_twice(store, uploads, monkeypatch):
    key = take(uploads, "a.zip", bundle(40))
    upload, seen = uploads.find(key), []
    real = upload.read_picture

    def slowly(name):
        seen.append(render_import(store, uploads, f"?upload={key}") if upload.job else "")
        if len(seen) == 12:
            with pytest.raises(UserError, match="already"):
                begin_import(store, upload, f"?upload={key}")
            upload.job.stopping = True
        return real(name)

    monkeypatch.setattr(upload, "read_picture", slowly)
    done = import_now(store, uploads, key)
    assert "data-refresh" in seen[11] and "rows," in visible(seen[11]) and 'data-action="halt"' in seen[11]
    assert "Stopped before the end" in done and 0 < store.question_count() < 40
    assert "data-refresh" not in done


def test_a_failure_is_said_and_ends_the_import(store, uploads, monkeypatch):
    key = take(uploads, "a.zip", bundle())
    monkeypatch.setattr("app.imports.import_questions", lambda *given, **more: 1 / 0)
    assert "The import failed (ZeroDivisionError" in import_now(store, uploads, key)


def test_only_an_admin_may_upload(uploads):
    def served(account):
        app = Starlette(routes=[upload_route(uploads)])

        async def known(scope, receive, send):
            await app(scope | {KEY: account}, receive, send)

        return TestClient(known).post("/import/upload?name=a.zip", content=bundle()).json()

    assert "needs the role admin" in served(Account("Rea", REVIEWER))["problem"]
    assert "Log in" in served(None)["problem"] and not uploads.kept
    assert served(Account("Ada", ADMIN))["upload"] in uploads.kept


def test_an_empty_project_offers_an_import(store):
    page = render_overview(store)
    assert 'href="?tab=import"' in page and 'data-action="import_demo"' in page


def test_nothing_is_loaded_from_elsewhere():
    here = FilePath(module.__file__).parent
    assert not re.findall(r"(?:https?:)?//[\w.]+\.\w+/?", (here / "import.js").read_text())
