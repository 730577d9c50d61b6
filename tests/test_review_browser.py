"""Reviewing in a real browser: by keyboard alone, over a restart of the server, wide and narrow."""

import contextlib
import re
import socket
import subprocess
import sys
from pathlib import Path as FilePath

import pytest
from conftest import IN_BROWSER, NARROW, PATIENCE, WIDE, open_page
from review_project import SECRETS, build_project, pair_ids

from app.main import serve
from app.pages import Project
from insightv_core.review import chosen_left, fold
from insightv_core.review_report import COUNTS, tell_fates
from insightv_core.store import open_store
from insightv_core.store.reviews import load_events

pytestmark = IN_BROWSER
CARD = ".pair"
HERE = FilePath(__file__).parent


@pytest.fixture
def project(tmp_path):
    return Project(build_project(tmp_path, 14, flipped=(3,), close=(5, 7)))


@pytest.fixture
def address(project):
    app, address = serve(project, wait=False)
    yield address.rstrip("/") + "/"
    app.close(verbose=False)


def begin(page, address: str, name: str = "Ana") -> None:
    """Open the page and give a name."""
    open_page(page, f"{address}?tab=review", "form.who")
    page.locator("#reviewer").fill(name)
    page.keyboard.press("Enter")
    page.locator(CARD).wait_for()
    page.wait_for_timeout(300)  # a key that comes at once is taken for one that was meant for the card before


def question(page) -> str:
    return page.locator(".pair h2.asked").inner_text()


def press(page, *keys: str, waiting: int = 320) -> None:
    for key in keys:
        page.keyboard.press(key)
        page.wait_for_timeout(waiting)


def vote(page, key: str) -> None:
    """Vote and go on with the next pair."""
    before = question(page)
    page.keyboard.press(key)
    page.locator(".panel:visible").wait_for()
    page.keyboard.press("Enter")
    page.wait_for_function("text => document.querySelector('.pair h2.asked')?.innerText !== text", arg=before)
    page.wait_for_timeout(300)


def events_of(project) -> list:
    with open_store(project.file) as store:
        return load_events(store)


def test_votes_by_keyboard_are_saved_before_the_next_card(page, address, project):
    served: list[str] = []
    page.on("response", lambda reply: '"fn_name":"deal"' in (reply.request.post_data or "") and served.append(reply))
    begin(page, address)
    page.wait_for_load_state("networkidle")
    told = re.sub(r"Why this pair: [^.]*\.", "", " ".join(reply.text() for reply in served))
    assert served and not [secret for secret in SECRETS if re.search(rf"(?<!\w){secret}", told)]
    assert "changed its mind" in page.locator(".why").inner_text() and "1 of 14" in page.locator(".count").inner_text()
    first = question(page)
    page.keyboard.press("1")
    page.locator(".panel:visible").wait_for()
    assert question(page) == first and "saved" in page.locator(".badge").inner_text()
    (event,) = events_of(project)
    assert (event.reviewer, event.event, event.step) == ("Ana", "vote", None) and event.seconds > 0.2
    assert (event.details["left"] == event.chosen) == (event.choice == "chosen")
    vote_again = page.locator(".panel").inner_text()
    assert "score" in vote_again and "truth-key" in vote_again
    press(page, "Enter")
    assert question(page) != first
    press(page, "j", "j", "5")
    assert "because of step 3" in page.locator(".because").inner_text()
    vote(page, "2")
    press(page, "0", "Enter", "x", "Enter")
    press(page, "s", "f")
    kinds = [(each.event, each.choice) for each in events_of(project)]
    assert [kind for kind, _ in kinds] == ["vote"] * 4 + ["skip", "flag"]
    assert [choice for _, choice in kinds[2:4]] == ["tie", "both_bad"]
    second = events_of(project)[1]
    assert second.step == 3 and second.details["tags"] == ["arithmetic"]
    assert "6 of 14" in page.locator(".count").inner_text()


@contextlib.contextmanager
def running(file, port: int):
    """Run the app as a process of its own, and kill it without a warning at the end."""
    command = [sys.executable, "-m", "app", str(file), "--port", str(port), "--no-browser"]
    process = subprocess.Popen(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True)
    try:
        yield next(process.stdout).split()[0].rstrip("/") + "/"
    finally:
        process.kill()
        process.wait()


def test_a_killed_server_takes_twenty_votes_back_when_it_is_up_again_without_a_reload(page, tmp_path):
    project = Project(build_project(tmp_path, 24))
    seen = []
    port = free_port()
    with running(project.file, port) as address:
        begin(page, address)
        for _ in range(20):
            seen.append(question(page))
            vote(page, "1")
    with running(project.file, port):
        for expected in reversed(seen):
            page.keyboard.press("u")
            page.wait_for_function("text => document.querySelector('.pair h2.asked')?.innerText === text", arg=expected)
            page.wait_for_function("document.querySelector('.badge').innerText.startsWith('taken back')")
        assert not any(fold(events_of(project)).values())
        press(page, "u")
        page.wait_for_function("document.querySelector('.badge').innerText.startsWith('nothing is left')")
        assert len(events_of(project)) == 40


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_vote_that_the_server_does_not_answer_is_sent_until_it_counts_once(page, address, project):
    begin(page, address)
    lost = []

    def lose(route):
        # The first one never arrives, of the second one only the answer is lost.
        lost.append(1)
        if len(lost) == 2:
            route.fetch()
        route.abort() if len(lost) < 3 else route.continue_()

    page.route(re.compile("component_server"), lose)
    page.keyboard.press("2")
    page.locator(".badge.bad").wait_for()
    page.locator(".panel:visible").wait_for()
    assert len(lost) >= 3 and len(events_of(project)) == 1


def test_the_next_card_is_there_already_when_it_is_wanted(page, address):
    begin(page, address)
    page.wait_for_load_state("networkidle")
    deal = re.compile('"fn_name":"deal"')
    page.route(re.compile("component_server"), lambda route: deal.search(route.request.post_data) or route.continue_())
    first = question(page)
    press(page, "s")
    page.wait_for_function("text => document.querySelector('.pair h2.asked').innerText !== text", arg=first)
    press(page, "s")
    assert len({first, question(page)}) == 2 and "Skipped" in page.locator(".badge").inner_text()


def test_another_name_begins_anew(page, address):
    begin(page, address)
    page.locator("[data-name]").click()
    page.locator("form.who").wait_for()
    assert not page.locator(CARD).count() and not page.locator(".dock").is_visible()
    begin(page, address, "Ben")
    assert "Ben" in page.locator("[data-name]").inner_text()


def test_a_response_is_rewritten_and_typing_is_no_vote(page, address, project):
    begin(page, address)
    press(page, "e")
    assert "Press 1 or 2" in page.locator(".hint").inner_text()
    page.keyboard.press("1")
    page.locator(".editor textarea").first.wait_for()
    page.locator(".editor textarea").nth(1).fill("x 2 u s: 9 is taller.")
    page.keyboard.type(" 10zsfu")
    page.keyboard.press("Control+Enter")
    page.locator(".editor").wait_for(state="detached")
    voted, edited = events_of(project)
    assert (voted.event, edited.event) == ("vote", "edit") and edited.details["path"] == voted.details["left"]
    assert "9 is taller. 10zsfu" in edited.details["chain"]
    press(page, "u")
    assert [each.event for each in events_of(project)][2:] == ["undo"] and "taken back: your edit" in (
        page.locator(".badge").inner_text()
    )


def test_the_judge_is_confronted_after_the_vote_and_the_picture_opens_before(page, address, project):
    begin(page, address)
    press(page, "z")
    assert page.locator("dialog.zoom").is_visible()
    press(page, "2")
    assert page.locator("dialog.zoom").is_visible() and not events_of(project)
    press(page, "z")
    page.locator("dialog.zoom").wait_for(state="detached")
    press(page, "?")
    assert page.locator("dialog.keys").is_visible()
    press(page, "?")
    with open_store(project.file) as store:
        pair = pair_ids(store)[0]
        chosen = load_chosen(store, pair)
    left = page.locator(".pair-row .cell").first.inner_text()
    worse = "2" if chosen in left else "1"
    page.keyboard.press(worse)
    page.locator(".ask").wait_for()
    press(page, "2")
    assert [(each.event, each.choice) for each in events_of(project)][1] == ("reply", "i_was_wrong")
    assert events_of(project)[0].details["zoomed"]
    fates = tell_fates(fold(events_of(project)))["Ana"]
    assert fates[COUNTS] == 0 and any("you were wrong" in reason for reason in fates)


def load_chosen(store, pair: str) -> str:
    row = store.rows("SELECT chosen FROM pairs WHERE id = ?", [pair])[0]
    return store.value("SELECT content FROM steps WHERE path = ? AND number = 2", [row["chosen"]])


def test_two_reviewers_disagree_and_settle_it(chromium, page, address, project):
    begin(page, address)
    for _ in range(14):
        if page.locator(".empty").count():
            break
        page.keyboard.press("1")
        page.locator(".panel:visible").wait_for()
        press(page, "Enter")
    context = chromium.new_context(viewport=WIDE)
    other = context.new_page()
    begin(other, address, "Ben")
    assert "second opinion" in other.locator(".why").inner_text()
    text = question(other)
    with open_store(project.file) as store:
        first = next(event for event in load_events(store) if store.question(event.question).text == text)
    same_side = chosen_left(first.pair, "Ben") == (first.choice == "chosen")
    other_side = "2" if same_side else "1"
    other.keyboard.press(other_side)
    other.locator(".panel:visible").wait_for()
    assert "Other reviewers: Ana" in other.locator(".panel").inner_text()
    open_page(other, f"{address}?tab=review&view=disagreements", "table")
    assert other.locator("tbody tr").count() == 1 and "Ana" in other.locator("tbody").inner_text()
    other.locator("tbody a").click()
    other.locator(".panel:visible").wait_for()
    other.wait_for_timeout(300)
    other.keyboard.press("1")
    other.wait_for_timeout(500)
    assert events_of(project)[-1].event == "settle"
    open_page(other, f"{address}?tab=review&view=reviewers", "table")
    assert "Ana" in other.locator("tbody").inner_text() and "Ben" in other.locator("tbody").inner_text()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_scrolls_sideways_and_every_button_is_large_enough(chromium, address, tmp_path, size, scheme):
    context = chromium.new_context(viewport=size, color_scheme=scheme)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    begin(page, address)
    page.screenshot(path=tmp_path / "card.png")
    low = page.evaluate(
        "[...document.querySelectorAll('.choices button')].filter(b => b.getBoundingClientRect().height < 44).length"
    )
    assert low == 0 and page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.locator(".choices button").first.click()
    page.locator(".panel:visible").wait_for()
    page.screenshot(path=tmp_path / "reveal.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    for view in ("disagreements", "reviewers"):
        open_page(page, f"{address}?tab=review&view={view}", ".stage > *")
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        page.screenshot(path=tmp_path / f"{view}.png")
    context.close()
