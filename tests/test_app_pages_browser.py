"""Runs, Results, Export and earlier chats in a real browser, and every page of the app under axe-core's rules."""

import json
import os
import re
import shlex
import threading

import pytest
from app_project import SlowVLM
from conftest import IN_BROWSER, NARROW, PATIENCE, WCAG, WIDE, open_page
from pages_project import CURATING, PAIRS, SECOND, make_worked_project, start_running
from test_app_browser import questions_of
from test_app_pages import wait_for

from app import export as exporting
from app.main import PAGES, serve
from app.pages import Project
from insightv_core.evaluate import write_markdown
from insightv_core.records import Run, identify
from insightv_core.store import open_store
from insightv_core.store.chats import list_chats
from insightv_core.store.evaluations import load_reports
from insightv_core.store.margins import list_moved_pairs, list_round_margins
from insightv_core.store.runs import find_run, list_runs
from insightv_core.store.training import add_metrics

pytestmark = IN_BROWSER
PORT = 7989


@pytest.fixture(scope="module")
def vlm():
    return SlowVLM(pause=0.0)


@pytest.fixture(scope="module")
def project(tmp_path_factory, vlm):
    return Project(make_worked_project(tmp_path_factory.mktemp("worked")), "nano-teacher", load=lambda name: vlm)


@pytest.fixture(scope="module")
def address(project):
    app, address = serve(project, port=PORT, wait=False)
    yield address.rstrip("/") + "/"
    app.close(verbose=False)


@pytest.fixture
def context(context, address):
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address.rstrip("/"))
    return context


def shown(page, name: str):
    return page.locator(f"#page-{name} .view")


# -- runs --------------------------------------------------------------------------------------------------------------


def test_from_the_list_to_a_run_to_a_pair_and_back(page, address, project):
    open_page(page, f"{address}?tab=runs")
    view = shown(page, "runs")
    assert view.locator(".rounds tbody tr").count() == 2
    view.locator(".stages a", has_text="DPO").click()
    page.wait_for_url("**/?tab=runs&stage=dpo")
    view.locator(".stages [aria-current]").wait_for()
    assert view.locator("table").first.locator("tbody tr").count() == 2
    view.locator("td a", has_text=re.compile("^DPO$")).first.click()
    view.locator(".charts svg").first.wait_for()
    assert f"run={SECOND.id}" in page.url and view.locator(".charts svg").count() == 6
    with open_store(project.file) as store:
        lowest = list_moved_pairs(store, list_round_margins(store)[1])[0]
    view.locator(".moved td a").first.click()
    view.locator(".comparison").wait_for()
    url = page.url
    assert f"pair={lowest.id}" in url and f"{lowest.margin:+.3g}" in view.inner_text()
    page.reload()
    view.locator(".comparison").wait_for()
    assert page.url == url
    page.go_back()
    view.locator(".charts").wait_for()
    page.go_back()
    view.locator(".stages").wait_for()
    assert page.url.endswith("?tab=runs&stage=dpo")


def test_pairs_of_a_round_go_on_where_the_page_ended(page, address):
    open_page(page, f"{address}?tab=runs&run={SECOND.id}")
    view = shown(page, "runs")
    assert view.locator(".moved tbody tr").count() == 12
    view.locator(".moved a[rel=next]").click()
    view.locator(".moved a", has_text="lowest").wait_for()
    assert view.locator(".moved tbody tr").count() == PAIRS - 12


def test_a_running_run_is_shown_anew_and_folds_stay_as_they_are(page, address, project):
    with open_store(project.file) as store:
        run = start_running(store)
        open_page(page, f"{address}?tab=runs&run={run.id}")
        view = shown(page, "runs")
        assert "last 0.67" in view.locator(".chart").first.inner_text()
        view.locator("details summary").click()
        add_metrics(store, run.id, 4, {"loss": 0.123})
        store.note_progress(run.id, 4)
        view.locator(".chart", has_text="last 0.123").wait_for()
        assert "4 / 40" in view.locator(".run-facts").inner_text()
        assert view.locator("details").get_attribute("open") is None
        assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
        store.end_run(run.id, "stopped", done=4)
        view.locator(".run-state", has_text="stopped").wait_for()
        assert view.locator("[data-refresh]").count() == 0


def test_a_run_is_continued_watched_and_stopped_for_real(page, address, project):
    command = ["insightv", "generate", "--project", str(project.file), "--paths", "16"]
    with open_store(project.file) as store:
        run = Run(identify("asked for by hand"), "generate", None, "1", {}, "0.1.0")
        store.start_run(run, command=shlex.join(command))
        store.end_run(run.id, "stopped")
    open_page(page, f"{address}?tab=runs&run={run.id}")
    view = shown(page, "runs")
    view.locator("[data-action=go_on]").click()
    view.locator(".act, [role=status]", has_text="starting").first.wait_for()

    def begun() -> str | None:
        with open_store(project.file) as store:
            newest = list_runs(store, stage="generate", limit=1)[0]
            return newest.id if newest.done and newest.alive else None

    made = wait_for(begun, 120)
    page.goto(f"{address}?tab=runs&run={made}")
    view.locator("[data-action=stop]").click(timeout=60_000)
    view.locator(".run-state", has_text="stopped").wait_for(timeout=60_000)
    view.locator("[data-action=go_on]").wait_for()
    with open_store(project.file) as store:
        stopped = find_run(store, made)
        kept = store.value("SELECT count(*) FROM paths WHERE run = ?", [made])
        assert stopped.status == "stopped" and 0 < kept < stopped.total and kept == stopped.done


# -- export and results ------------------------------------------------------------------------------------------------


def test_an_export_is_chosen_looked_at_and_written_by_keyboard(page, address, project):
    open_page(page, f"{address}?tab=export")
    view = shown(page, "export")
    view.locator(".set", has_text="Reasoning set").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**set=reason**")
    view.locator(".set[aria-current]", has_text="Reasoning set").wait_for()
    view.locator(".formats a", has_text="JSONL").focus()
    page.keyboard.press("Enter")
    view.locator(".formats [aria-current]", has_text="JSONL").wait_for()
    url = page.url
    view.locator(".preview a[rel=next]").click()
    view.locator(".row-head", has_text="row 5,").wait_for()
    page.go_back()
    view.locator(".row-head", has_text="row 1,").wait_for()
    assert page.url == url
    view.locator("[data-action=write]").focus()
    page.keyboard.press("Enter")
    view.locator(".notice").wait_for()
    folder = project.file.parent / "exports" / f"reason-jsonl-{CURATING.id[:8]}"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert str(folder) in view.locator(".notice").inner_text() and manifest["rows"] == PAIRS
    assert len((folder / "rows.jsonl").read_text().splitlines()) == PAIRS
    page.reload()
    view.locator("h2", has_text="Written so far").wait_for()
    assert view.locator("[data-action=write]").count() == 0


def test_a_long_export_shows_its_bar_and_then_by_itself_where_it_lies(page, address, monkeypatch):
    true, go_on = exporting.export_set, threading.Event()

    def write_slowly(*arguments, progress):
        progress(3)
        assert go_on.wait(60)
        return true(*arguments, progress=progress)

    monkeypatch.setattr(exporting, "export_set", write_slowly)
    open_page(page, f"{address}?tab=export&run={CURATING.id}&set=reason&format=llama-factory")
    view = shown(page, "export")
    view.locator("[data-action=write]").click()
    bar = view.get_by_role("progressbar", name="rows done")
    bar.wait_for()
    assert (bar.get_attribute("value"), bar.get_attribute("max")) == ("3", str(PAIRS))
    go_on.set()
    view.locator(".notice", has_text=f"Wrote {PAIRS} rows").wait_for()
    assert bar.count() == 0


def test_a_long_export_can_be_stopped_and_leaves_nothing(page, address, project, monkeypatch):
    true, stopped = exporting.export_set, threading.Event()

    def write_slowly(*arguments, progress):
        progress(3)
        assert stopped.wait(60)
        progress(1)
        return true(*arguments, progress=progress)

    monkeypatch.setattr(exporting, "export_set", write_slowly)
    open_page(page, f"{address}?tab=export&run={CURATING.id}&set=pairs&format=jsonl")
    view = shown(page, "export")
    view.locator("[data-action=write]").click()
    view.get_by_role("button", name="Stop").click()
    view.locator(".working", has_text="stopping").wait_for()
    stopped.set()
    view.locator(".notice", has_text="Stopped: nothing of this export was kept").wait_for()
    assert view.locator("[data-action=write]").is_visible()
    assert not (project.file.parent / "exports" / f"pairs-jsonl-{CURATING.id[:8]}").exists()


def test_results_compare_copy_and_measure_the_judge(page, address, project):
    open_page(page, f"{address}?tab=results")
    view = shown(page, "results")
    view.locator(".systems button", has_text="copy as Markdown").click()
    view.locator(".systems button", has_text="copied").wait_for()
    with open_store(project.file) as store:
        assert page.evaluate("navigator.clipboard.readText()") == write_markdown(load_reports(store))
        with store.transaction():
            store.db.conn.execute(
                "UPDATE runs SET settings = ? WHERE stage = 'assess'", [json.dumps({"mode": "single", "seed": 0})]
            )
    view.locator(".systems td a", has_text="two agents").click()
    view.locator("th", has_text="against two agents").wait_for()
    assert "against=two+agents" in page.url
    view.locator("[data-action=measure]").click()
    view.locator(".judge-card table").wait_for()
    before = view.locator("[data-price]:visible").inner_text()
    view.locator("#margin").focus()
    page.keyboard.press("ArrowRight")
    after = view.locator("[data-price]:visible").inner_text()
    assert int(after.split(":")[0]) == int(before.split(":")[0]) + 5 and f"--margin {after.split(':')[0]} " in after
    page.go_back()
    view.locator("th", has_text="against base, direct").wait_for()
    assert view.locator(".judge-card table").count() == 1


# -- earlier chats -----------------------------------------------------------------------------------------------------


def ask_example(page, number: int) -> None:
    page.locator(".examples button").nth(number).click()
    page.locator("form.ask .main").click()


def test_a_chat_has_an_address_and_can_be_deleted_and_brought_back(page, address, project):
    open_page(page, f"{address}?tab=chat", ".examples")
    ask_example(page, 2)
    page.locator("#turn [data-phase=done]").wait_for()
    page.locator(".history li").first.wait_for()
    with open_store(project.file) as store:
        chat = list_chats(store)[0].id
    assert page.url.endswith(f"?tab=chat&chat={chat}")
    page.reload()
    page.locator("#turn [data-phase=done]").wait_for()
    assert page.locator("#turn").get_attribute("data-chat") == page.locator("#turn .turn").get_attribute("data-none")
    assert page.locator("#asked").input_value() == page.locator("#turn .asked").inner_text()
    page.locator("[data-edit]").nth(1).click()
    page.locator("#turn textarea").fill("wrong on purpose")
    page.locator("[data-judge]").click()
    page.locator("#turn .summary", has_text="The chain is flawed").wait_for()
    before = page.locator(".history li").count()
    page.locator(f"[data-forget='{chat}']").click()
    page.locator("[data-restore]").wait_for()
    assert page.locator(f"[data-forget='{chat}']").count() == 0
    page.locator("[data-restore]").click()
    page.locator(f"[data-forget='{chat}']").wait_for()
    assert page.locator(".history li").count() == before
    page.locator("#asked").fill("And how many in all?")
    page.locator("#asked").press("Enter")
    page.locator(".history li", has_text="And how many in all?").wait_for()


def test_opening_another_chat_stops_the_one_that_is_being_written(page, address, project, vlm):
    open_page(page, f"{address}?tab=chat", ".examples")
    ask_example(page, 1)
    page.locator("#turn [data-phase=done]").wait_for()
    page.locator(".history li").first.wait_for()
    first = page.locator("#turn .asked").inner_text()
    vlm.pause, vlm.stopped = 0.05, False
    ask_example(page, 3)
    page.locator("#turn .step").first.wait_for()
    page.locator(".history li a", has_text=first).first.click()
    page.locator("#turn .asked", has_text=first).wait_for()
    page.wait_for_timeout(500)
    vlm.pause = 0.0
    assert vlm.stopped and page.locator("#turn .asked").inner_text() == first
    page.go_back()
    page.locator("#page-chat .view").wait_for()
    ask_example(page, 4)
    page.locator("#turn [data-phase=done]").wait_for()


# -- every page --------------------------------------------------------------------------------------------------------


def views_of(project) -> dict[str, tuple[str, str]]:
    """Return the address of each view with what tells that it is there."""
    with open_store(project.file) as store:
        pair = list_moved_pairs(store, list_round_margins(store)[1])[0].id
    tabs = {name: (f"?tab={name}", ".view > *") for name in PAGES}
    return tabs | {
        "question": (f"?tab=browse&question={questions_of(project)[0]}", ".path"),
        "run": (f"?tab=runs&run={SECOND.id}", ".charts"),
        "start": ("?tab=runs&start=dpo&paths=none", ".start"),
        "pair": (f"?tab=runs&pair={pair}", ".comparison"),
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(chromium, address, project, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    context = chromium.new_context(viewport=WIDE, color_scheme=scheme)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    found = []
    for name, (query, ready) in views_of(project).items():
        page.goto(address + query)
        page.locator(f".page:visible {ready}").first.wait_for()
        if name == "chat":
            ask_example(page, 5)
            page.locator("#turn [data-phase=done]").wait_for()
        if page.locator("[data-action=measure]:visible").count():
            page.locator("[data-action=measure]").click()
            page.locator(".judge-card table").wait_for()
        page.wait_for_load_state("networkidle")
        results = axe.run(page, options={"runOnly": WCAG})
        for violation in results.response["violations"]:
            for node in violation["nodes"]:
                found.append(f"{name}: {violation['id']}: {node['html'][:160]}")
    context.close()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_no_view_scrolls_sideways(chromium, address, project, size, scheme, tmp_path):
    context = chromium.new_context(viewport=size, color_scheme=scheme)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    kept = os.environ.get("INSIGHTV_SCREENSHOTS", str(tmp_path))
    for name, (query, ready) in views_of(project).items():
        page.goto(address + query)
        page.locator(f".page:visible {ready}").first.wait_for()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=f"{kept}/{name}-{size['width']}-{scheme}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], name
        cut = page.evaluate(
            "[...document.querySelectorAll('.top a, .view button, .view a')].filter(e => e.offsetWidth && "
            "!e.closest('.scroll, details:not([open])') && e.getBoundingClientRect().right > innerWidth + 1)"
            ".map(e => e.outerHTML.slice(0, 90))"
        )
        assert cut == [], name
    context.close()
