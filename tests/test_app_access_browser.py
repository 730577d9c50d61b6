"""Logging in, and what each role finds on the pages, in a real browser."""

import re

import pytest
from app_project import SlowVLM
from conftest import IN_BROWSER, open_page
from review_project import build_project

from app.main import serve
from app.pages import Project
from insightv_core.records import Run
from insightv_core.store import open_store
from insightv_core.store.accounts import ADMIN, REVIEWER, VIEWER, add_account, remove_account
from insightv_core.store.reviews import load_events

pytestmark = IN_BROWSER
PASSWORD = "correct horse"
PORT = 7996
RUN = Run("5e" * 10, "generate", None, "1", {}, "0.1.0")
ACCOUNTS = {"Vic": VIEWER, "Rea": REVIEWER, "Ada": ADMIN}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    file = build_project(tmp_path_factory.mktemp("guarded"), 6)
    with open_store(file) as store:
        for name, role in ACCOUNTS.items():
            add_account(store, name, role, PASSWORD)
        store.start_run(RUN, command="insightv generate")
        store.end_run(RUN.id, "stopped")
    return Project(file, "nano-teacher", load=lambda name: SlowVLM(pause=0.0))


@pytest.fixture(scope="module")
def address(project):
    app, address = serve(project, port=PORT, wait=False)
    yield address.rstrip("/") + "/"
    app.close(verbose=False)


def enter(page, url: str, name: str, password: str = PASSWORD) -> None:
    page.goto(url)
    page.locator("#name").fill(name)
    page.locator("#password").fill(password)
    page.keyboard.press("Enter")


def test_a_login_leads_to_the_page_that_was_asked_for_and_ends_when_it_is_left(page, address):
    enter(page, f"{address}?tab=browse", "ada", "wrong horse")
    page.locator(".problem", has_text="Name or password is wrong").wait_for()
    assert page.locator("#name").input_value() == "ada"
    enter(page, f"{address}?tab=browse", "ada")
    page.locator("#page-browse .view h1").wait_for()
    assert page.url.endswith("?tab=browse") and "Ada, admin" in page.locator(".top .account").inner_text()
    page.locator(".account button").click()
    page.locator("#password").wait_for()
    page.goto(f"{address}?tab=overview")
    page.locator("#password").wait_for()


def test_too_many_wrong_passwords_have_to_wait(page, address, project):
    with open_store(project.file) as store:
        add_account(store, "Tom", VIEWER, PASSWORD)
    for _ in range(5):
        enter(page, address, "Tom", "wrong horse")
        page.locator(".problem").wait_for()
    enter(page, address, "Tom")
    page.locator(".problem", has_text=re.compile(r"Wait \d+ s, then")).wait_for()


def test_a_viewer_reads_every_page_and_is_told_what_the_rest_needs(page, address, project):
    enter(page, f"{address}?tab=runs&run={RUN.id}", "Vic")
    view = page.locator("#page-runs .view")
    view.locator("[data-action=go_on][disabled]").wait_for()
    assert "needs the role admin; you are viewer" in view.locator(".act").inner_text()
    page.locator(".top a", has_text="Chat").click()
    page.locator("#page-chat form.ask .refused", has_text="needs the role reviewer").wait_for()
    assert page.locator("#page-chat form.ask .main").is_disabled()
    page.locator("#asked").fill("And now?")
    page.locator("#asked").press("Enter")
    page.locator("#turn .problem", has_text="needs the role reviewer").wait_for()
    page.locator(".top a", has_text="Review").click()
    page.locator("#page-review .problem", has_text="needs the role reviewer").wait_for()
    page.locator(".views a", has_text="Reviewers").click()
    page.locator("#page-review .view", has_text="Agreement").or_(page.locator(".empty")).first.wait_for()
    with open_store(project.file) as store:
        assert not load_events(store)


def test_a_reviewer_votes_under_the_name_of_the_account(page, address, project):
    enter(page, f"{address}?tab=review", "Rea")
    page.locator(".pair").wait_for()
    assert not page.locator("form.who").is_visible() and not page.locator("[data-name]").is_visible()
    page.wait_for_timeout(400)
    page.keyboard.press("1")
    page.locator(".badge", has_text="saved").wait_for()
    with open_store(project.file) as store:
        assert [event.reviewer for event in load_events(store)] == ["Rea"]
    page.goto(f"{address}?tab=runs&run={RUN.id}")
    page.locator("[data-action=go_on][disabled]").wait_for()


def test_a_login_that_is_over_leads_back_to_the_login(page, address, project):
    with open_store(project.file) as store:
        add_account(store, "Eve", REVIEWER, PASSWORD)
    enter(page, f"{address}?tab=browse", "Eve")
    page.locator("#page-browse .view h1").wait_for()
    with open_store(project.file) as store:
        remove_account(store, "Eve")
    page.locator(".top a", has_text="Results").click()
    page.locator("#password").wait_for()
    assert page.url.endswith("/login?tab=results")


def test_the_login_and_what_is_withheld_are_accessible_and_fit(looked_at, address):
    page, look = looked_at
    enter(page, address, "Zoe", "wrong horse")
    page.locator(".problem").wait_for()
    look("login")
    enter(page, f"{address}?tab=runs&run={RUN.id}", "Vic")
    page.locator("[data-action=go_on][disabled]").wait_for()
    look("withheld")
    open_page(page, f"{address}?tab=chat", ".chat")
    look("chat-viewer")
