"""An empty project filled and set to work in a real browser: upload, columns, import, and a stage from its form."""

import pytest
from app_project import SlowVLM
from conftest import IN_BROWSER, open_page
from test_app_import import bundle, data_picture, packed, rows, table

from app.main import serve
from app.pages import Project
from insightv_core.store import open_store
from insightv_core.store.runs import list_runs

pytestmark = IN_BROWSER
PORT = 7997


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("empty") / "new.db", "nano-teacher", load=lambda name: SlowVLM(pause=0.0))


@pytest.fixture(scope="module")
def address(project):
    app, address = serve(project, port=PORT, wait=False)
    yield address.rstrip("/") + "/"
    app.close(verbose=False)


def upload(page, tmp_path, content: bytes, name: str = "mine.zip") -> None:
    (tmp_path / name).write_bytes(content)
    page.locator("#page-import .bring input").set_input_files(tmp_path / name)


def test_questions_are_uploaded_looked_at_imported_and_set_to_work(page, address, project, tmp_path):
    open_page(page, address)
    page.locator("a.button", has_text="Import questions").click()
    view = page.locator("#page-import .view")
    view.locator(".bring").wait_for()
    upload(page, tmp_path, b"nothing", "mine.txt")
    view.locator(".upload-note", has_text="mine.txt cannot be imported").wait_for()
    upload(page, tmp_path, packed({"t.csv": table(rows(4), ("image", "what", "truth")), **pictures(3)}))
    view.locator(".problem", has_text="no column for the question").wait_for()
    view.locator("[name=c_question]").select_option("what")
    view.locator(".problem", has_text="no column for the answer").wait_for()
    view.locator("[name=c_answer]").select_option("truth")
    view.locator(".preview img").nth(2).wait_for()
    assert "is not in the zip" in view.locator(".row").nth(3).inner_text()
    page.reload()
    view.locator(".preview img").nth(2).wait_for()
    view.locator("[data-action=begin]").click()
    view.locator(".notice", has_text="3 new questions").wait_for()
    assert "t.csv:5" in view.locator(".left-out").inner_text() or "questions.csv:5" in view.inner_text()
    view.locator("a", has_text="its questions in Browse").click()
    page.locator("#page-browse .card").nth(2).wait_for()
    page.locator(".top a", has_text="Overview").click()
    page.locator(".next a", has_text="start it here").click()
    runs = page.locator("#page-runs .view")
    runs.locator(".start").wait_for()
    runs.locator("[name=limit]").fill("none")
    runs.locator("[name=limit]").press("Enter")
    runs.locator("[aria-invalid]").wait_for()
    assert runs.locator("[data-action=begin]").count() == 0
    runs.locator("[name=limit]").fill("1")
    runs.locator("[name=limit]").press("Enter")
    runs.locator(".run-command", has_text="--limit 1 --paths 4").wait_for()
    runs.locator("[data-action=begin]").click()
    page.wait_for_url("**/?tab=runs&run=*", timeout=240_000)
    runs.locator(".run-state", has_text="done").wait_for(timeout=120_000)
    with open_store(project.file) as store:
        assert store.question_count() == 3 and list_runs(store, stage="generate")[0].done == 4


def pictures(count: int) -> dict[str, bytes]:
    return {f"pictures/{number}.png": data_picture(number) for number in range(count)}


def test_every_state_of_an_import_and_a_start_is_accessible_and_fits(looked_at, address, tmp_path):
    page, look = looked_at
    view = page.locator("#page-import .view")
    open_page(page, f"{address}?tab=import")
    view.locator(".bring").wait_for()
    look("import")
    upload(page, tmp_path, bundle(3, **{"mine/pictures/2.png": b"no picture"}))
    view.locator(".preview .row").nth(2).wait_for()
    look("import-preview")
    view.locator("[data-action=begin]").click()
    view.locator(".notice").wait_for()
    look("import-done")
    open_page(page, f"{address}?tab=runs&start=dpo&paths=none")
    page.locator("#page-runs [aria-invalid]").wait_for()
    look("start-problem")
    open_page(page, f"{address}?tab=runs&start=generate")
    page.locator("#page-runs .run-command").wait_for()
    look("start")
