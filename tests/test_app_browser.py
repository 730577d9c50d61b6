"""The app in a real browser: Chromium without a window, driven by Playwright."""

import urllib.error
import urllib.request
from pathlib import Path as FilePath

import pytest
from app_project import QUESTIONS, SlowVLM, make_project
from conftest import IN_BROWSER, NARROW, PATIENCE, WIDE, open_page
from PIL import Image

from app.main import serve
from app.pages import Project
from insightv_core.store import open_store

pytestmark = IN_BROWSER


@pytest.fixture(scope="module")
def vlm():
    return SlowVLM()


@pytest.fixture(scope="module")
def project(tmp_path_factory, vlm):
    return Project(make_project(tmp_path_factory.mktemp("project")), "nano-teacher", load=lambda name: vlm)


@pytest.fixture(scope="module")
def address(project):
    app, address = serve(project, wait=False)
    yield address.rstrip("/") + "/"
    app.close(verbose=False)


def questions_of(project) -> list[str]:
    with open_store(project.file) as store:
        return [question.id for question in store.questions()]


def test_overview_shows_the_funnel_and_leads_to_browse(page, address):
    open_page(page, address)
    assert page.locator("[data-funnel=questions] td.number").first.inner_text() == str(QUESTIONS)
    page.locator("[data-funnel=correct] a").click()
    page.locator(".chip").wait_for()
    assert page.url.endswith("?tab=browse&outcome=correct") and "answer: correct" in page.locator(".chips").inner_text()


def test_a_filtered_view_has_an_address_that_survives_reload_and_the_back_button(page, address):
    open_page(page, f"{address}?tab=browse")
    everything = page.locator(".card").count()
    page.locator("[data-facet=family] a", has_text="table sum").click()
    page.locator(".chip").wait_for()
    filtered, url = page.locator(".card").all_inner_texts(), page.url
    assert "family=table_sum" in url and 0 < len(filtered) < everything
    page.reload()
    page.locator(".chip").wait_for()
    assert page.locator(".card").all_inner_texts() == filtered
    page.locator(".card").first.click()
    page.locator(".ranking").wait_for()
    assert "question=" in page.url and page.locator("[data-neighbour='1']").is_visible()
    page.go_back()
    page.locator(".chip").wait_for()
    assert page.url == url and page.locator(".card").all_inner_texts() == filtered
    page.go_back()
    page.locator(".chip").wait_for(state="detached")
    assert page.locator(".card").count() == everything


def test_search_finds_a_step_and_keeps_the_cursor_in_the_field(page, address, project):
    open_page(page, f"{address}?tab=browse")
    page.locator("#search").press_sequentially("the sum is 47 on path 3", delay=20)
    page.locator(".empty").wait_for()
    page.locator("#search").fill("red is 44")
    page.locator(".card").first.wait_for()
    page.wait_for_function("document.querySelectorAll('.card').length === 1")
    assert page.locator(".card").get_attribute("data-question") == questions_of(project)[44]
    assert page.evaluate("document.activeElement.id") == "search" and "search=red+is+44" in page.url


def test_an_opened_question_shows_paths_and_two_of_them_side_by_side(page, address, project):
    open_page(page, f"{address}?tab=browse&question={questions_of(project)[0]}")
    assert page.locator(".path").count() == 4 and page.locator(".path[open] .step").count() == 2
    page.locator(".path > summary").nth(2).click()
    page.locator(".path[open] .compare").click()
    page.locator("#parting").wait_for()
    assert page.locator(".both").count() == 1 and "parts at step 2" in page.locator(".compare-head").inner_text()
    url = page.url
    page.reload()
    page.locator("#parting").wait_for()
    assert page.url == url
    page.locator(".choice").nth(1).locator("a", has_text="#4").click()
    page.wait_for_function("document.querySelector('.compare-head').innerText.includes('#4')")
    page.locator("button.picture").click()
    assert page.locator("dialog.zoom").is_visible()
    page.keyboard.press("Escape")
    page.locator("dialog.zoom").wait_for(state="detached")


def test_options_of_a_question_stand_on_lines_of_their_own(page, address, project):
    open_page(page, f"{address}?tab=browse&question={questions_of(project)[0]}")
    heading = page.locator(".question-head h1")
    shown = heading.evaluate(
        "each => { each.textContent = 'Which is false?\\nA. One.\\nB. Two.'; return each.innerText }"
    )
    assert shown.splitlines() == ["Which is false?", "A. One.", "B. Two."]


def test_chat_streams_steps_stops_and_judges_an_edited_step_again(page, address, vlm):
    vlm.pause = 0.05
    open_page(page, f"{address}?tab=chat", ".examples")
    page.locator(".examples button").nth(2).click()
    page.locator("form.ask .main").click()
    page.locator("#turn .step").nth(1).wait_for()
    assert page.locator("#turn .turn").get_attribute("data-phase") == "reasoning"
    page.locator("[data-stop]").click()
    page.locator("#turn [data-phase=stopped], #turn.turn[data-phase=stopped]").wait_for()
    assert vlm.stopped
    said = vlm.letters
    page.wait_for_timeout(300)
    assert vlm.letters == said
    vlm.pause = 0.002
    page.locator("form.ask .main").click()
    page.locator("#turn [data-phase=done]").wait_for()
    assert "The chain is sound. Answer 12" in page.locator("#turn .summary").inner_text()
    assert page.locator("#turn .base .said").inner_text().startswith("5")
    page.locator("[data-edit]").nth(1).click()
    page.locator("#turn textarea").fill("wrong on purpose")
    page.locator("[data-judge]").click()
    page.locator("#turn .summary").nth(1).wait_for()
    page.locator("#turn [data-phase=done]").wait_for()
    assert "The chain is flawed" in page.locator("#turn .summary").nth(1).inner_text()
    page.locator(".top a", has_text="Browse").click()
    page.locator(".card").first.wait_for()
    page.go_back()
    assert page.locator("#turn .summary").count() == 2


def test_chat_takes_a_picture_of_ones_own(page, address, vlm, tmp_path):
    vlm.pause = 0.0
    Image.effect_noise((900, 700), 60).save(tmp_path / "mine.png")
    (tmp_path / "not.png").write_text("<svg onload=alert(1)>")
    open_page(page, f"{address}?tab=chat", ".examples")
    page.locator(".drop input").set_input_files(tmp_path / "not.png")
    page.locator(".upload-note", has_text="no kind that can be read").wait_for()
    page.locator(".drop input").set_input_files(tmp_path / "mine.png")
    page.locator(".drop img[src^='data:image/webp']").wait_for()
    page.locator("#asked").fill("What is this?")
    page.locator("#asked").press("Enter")
    page.locator("#turn [data-phase=done]").wait_for()
    assert vlm.asked[-1].images[0].size == (900, 700)


def test_an_empty_project_imports_the_demo_on_request(chromium, tmp_path):
    app, address = serve(Project(tmp_path / "new.db"), port=7999, wait=False)
    page = chromium.new_page()
    open_page(page, address)
    page.locator("[data-action=import_demo]").click()
    page.locator("[data-funnel=questions]").wait_for(timeout=60_000)
    assert page.locator("[data-funnel=questions] td.number").first.inner_text() == "300"
    assert "insightv generate" in page.locator(".next").inner_text()
    page.close()
    app.close(verbose=False)


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page, address):
    open_page(page, f"{address}?tab=browse")
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        name, style, width = page.evaluate(
            "(() => { const e = document.activeElement, s = getComputedStyle(e);"
            "return [e.className || e.id || e.tagName, s.outlineStyle, s.outlineWidth]; })()"
        )
        if page.evaluate("!!document.activeElement.closest('.view, .top')"):
            seen.add(name)
            assert style != "none" and width != "0px", name
        if name == "card":
            break
    assert {"search", "sort", "card"} <= seen
    page.keyboard.press("Enter")
    page.locator(".question h1").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_no_page_scrolls_sideways_and_each_follows_the_colours_of_the_system(
    chromium, address, project, tmp_path, vlm, size, scheme
):
    vlm.pause = 0.0
    question = questions_of(project)[0]
    with open_store(project.file) as store:
        paths = [path.id for path in store.paths_of(question)]
    compared = f"&path={paths[0]}&compare={paths[1]}"
    views = {
        "overview": ("", ".funnel"), "browse": ("?tab=browse", ".card"),
        "question": (f"?tab=browse&question={question}", ".path"),
        "compare": (f"?tab=browse&question={question}{compared}", "#parting"), "chat": ("?tab=chat", ".examples"),
    }  # fmt: skip
    context = chromium.new_context(viewport=size, color_scheme=scheme)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    for name, (query, ready) in views.items():
        open_page(page, address + query, ready)
        if name == "chat":
            page.locator(".examples button").first.click()
            page.locator("form.ask .main").click()
            page.locator("#turn [data-phase=done]").wait_for()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=tmp_path / f"{name}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], name
        lightness = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (max(lightness) < 60) == (scheme == "dark")
    context.close()


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_server_gives_out_no_file_of_the_project(address, project):
    with open_store(project.file) as store:
        known = next(store.questions(limit=1)).image
        picture = store.image_file(known)
    assert status(f"{address}picture/{known}") == 200
    for name in (project.file, picture, FilePath.cwd() / "README.md", "/etc/passwd"):
        assert status(f"{address}gradio_api/file={name}") == 403, name
    for name in ("..%2fproject.db", "0" * 64, f"{known}.png", f"{known}?width=5000"):
        assert status(f"{address}picture/{name}") == 404, name
    assert status(f"{address}monitoring") in (403, 404)
    with urllib.request.urlopen(f"{address}picture/{known}") as reply:
        assert reply.headers["X-Content-Type-Options"] == "nosniff" and reply.headers["Content-Type"] == "image/png"


def test_nano_streams_steps_and_stops_for_real(chromium, tmp_path):
    app, address = serve(Project(make_project(tmp_path, 4)), port=7998, wait=False)
    page = chromium.new_page()
    open_page(page, f"{address}?tab=chat", ".examples")
    page.locator(".examples button").nth(1).click()
    page.locator("form.ask .main").click()
    page.locator("#turn [data-phase=done]").wait_for(timeout=180_000)
    assert page.locator("#turn .step").count() >= 1 and "tokens/s" in page.locator("#turn .summary").inner_text()
    page.locator("form.ask .main").click()
    page.locator("#turn .step").first.wait_for(timeout=60_000)
    page.locator("[data-stop]").click()
    page.locator("#turn [data-phase=stopped], #turn [data-phase=done]").wait_for(timeout=30_000)
    page.close()
    app.close(verbose=False)
