"""Chats that are played again, in a real browser: badge, pace, pause and stop, and what stands there at the end."""

import re

import pytest
from app_project import SlowVLM, make_project
from conftest import IN_BROWSER, open_page
from PIL import Image

from app.history import BASE, REASONING, SUMMARY, describe
from app.main import serve
from app.pages import Project
from app.turn import Turn
from insightv_core.agents import Solution
from insightv_core.images import store_image
from insightv_core.parse import write_step
from insightv_core.records import Question, Step, StepRecord
from insightv_core.store import open_store
from insightv_core.store.chats import add_chat, add_image
from insightv_core.vlm import STOP, Reply

pytestmark = IN_BROWSER
PORT = 7983
ATTACK = '<img src=x onerror="window.attacked=1">'
TIMES = (1.2, 0.6, 1.2, 0.2)  # of three steps and the answer
STEPS = (
    Step("Read the bars", "The red bar reaches 3 on the axis, the blue bar reaches 9."),
    Step("Compare", f"Blue is larger than red {ATTACK}."),
    Step("Add them up", "3 and 9 make 12, which is the total of both bars.", "summary"),
)
SUMMED_UP, ANSWERED = 4.0, 5.0  # seconds after the start


@pytest.fixture(scope="module")
def loaded():
    return []


@pytest.fixture(scope="module")
def vlm():
    return SlowVLM(pause=0.0)


@pytest.fixture(scope="module")
def project(tmp_path_factory, vlm, loaded):
    file = make_project(tmp_path_factory.mktemp("replay"), 6)
    with open_store(file) as store:
        add_recorded(store)
    return Project(file, "nano-teacher", load=lambda name: loaded.append(name) or vlm)


@pytest.fixture(scope="module")
def address(project):
    app, address = serve(project, port=PORT, wait=False)
    yield address.rstrip("/") + "/"
    app.close(verbose=False)


def add_recorded(store) -> None:
    """Save the chat "slow" as a machine with other models would have."""
    picture = Image.effect_noise((320, 240), 40)
    image = add_image(store, store_image(picture, store.folder / "images"))
    turn = Turn(Question("q", "What is the total of both bars?", "12", image, "chat", "integer"), picture)
    texts = (*map(write_step, STEPS), '{"answer": "12"}')
    turn.replies = {(place, 0): (text, True, TIMES[place]) for place, text in enumerate(texts)}
    turn.tokens, turn.at = (24, 12, 20, 4), {SUMMARY: SUMMED_UP, BASE: ANSWERED}
    turn.models = {REASONING: "reason-7b on qwen-7b", SUMMARY: "summary-7b on qwen-7b", BASE: "qwen-7b"}
    chain = tuple(StepRecord("", step, True, 0, None, 0.0) for step in STEPS)
    turn.solution = Solution("q", chain, None, "12", "sound", "12", None, "{}", 60, 9, 3.2, 0.8)
    turn.direct = Reply("5", 2, None, STOP, 0.4)
    add_chat(store, "slow", turn.question.text, image, describe(turn, False))


def bar(page):
    return page.locator("#turn .recording")


def in_sight(page) -> bool:
    return bar(page).evaluate(
        "each => { const at = each.getBoundingClientRect(); return at.top >= 0 && at.bottom <= innerHeight; }"
    )


def shown(page) -> str:
    """Return what is seen of the turn, but for the bar that plays it."""
    return page.evaluate(
        "[...document.querySelector('#turn .turn').children].filter(e => !e.matches('.recording') && !e.hidden)"
        ".map(e => e.outerHTML).join('')"
    )


# Notes in the page itself when each part came to be seen, so that a busy machine does not blur it.
WATCH = """
window.seen = {}; window.halves = {};
const look = () => {
  const stage = document.querySelector('#turn .stage-of-replay');
  if (stage) {
    window.began ??= performance.now();
    const note = (name, there) => there && (window.seen[name] ??= (performance.now() - window.began) / 1000);
    stage.querySelectorAll('.step').forEach((line, place) => {
      note('step' + (place + 1), line.checkVisibility());
      note('whole' + (place + 1), line.checkVisibility() && line.querySelector('.mark').textContent === '·');
      const text = line.querySelector('p').textContent;
      if (text) (window.halves[place] ??= new Set()).add(text.length);
    });
    window.badge = document.querySelector('#turn .recorded').checkVisibility();
  }
  for (const name of window.began ? ['summary', 'base'] : []) {
    const there = [...document.querySelectorAll(`#turn .${name} .said`)].some((each) => each.checkVisibility());
    if (there) window.seen[name] ??= (performance.now() - window.began) / 1000;
  }
  if (window.began && !stage) window.seen.end ??= (performance.now() - window.began) / 1000;
  requestAnimationFrame(look);
};
document.addEventListener('DOMContentLoaded', look);
"""
DUE = {
    "step1": 0.0, "whole1": 1.2, "step2": 1.2, "whole2": 1.8, "step3": 1.8, "whole3": 3.0,
    "summary": SUMMED_UP, "base": ANSWERED, "end": ANSWERED,
}  # fmt: skip


def watch(page) -> dict[str, float]:
    """Wait for the end and return when each part came to be seen, in recorded seconds."""
    page.locator("#turn .recording:not(.plays) [data-play]", has_text="Play again").wait_for()
    return page.evaluate("window.seen")


def test_the_address_plays_the_chat_with_its_times_under_a_badge_without_any_model(page, address, vlm, loaded):
    calls = []
    page.add_init_script(WATCH)
    open_page(page, f"{address}?tab=chat&chat=slow&replay=1", "#turn .recording.plays")
    page.on("request", lambda request: calls.append(request.url))
    assert bar(page).locator(".recorded").is_visible() and bar(page).locator(".recorded").inner_text() == "recorded"
    for words in ("reason-7b", "summary-7b", "base model qwen-7b", "20"):
        assert words in bar(page).locator(".recorded-who").inner_text()
    seen = watch(page)
    assert set(seen) == set(DUE)
    for name, due in DUE.items():
        assert due - 0.2 <= seen[name] <= due + 3, (name, due, seen)
    letters = page.evaluate("Object.values(window.halves).map(each => each.size)")
    assert all(count > 2 for count in letters), letters  # letter by letter, not step by step
    assert page.evaluate("window.badge") and bar(page).locator(".recorded").is_visible()
    assert vlm.asked == [] and loaded == [] and calls == []


def test_at_the_end_the_saved_chat_stands_there_as_if_it_had_only_been_opened(page, address):
    open_page(page, f"{address}?tab=chat&chat=slow", "#turn .recording")
    saved = shown(page)
    assert bar(page).locator(".recorded").is_visible() and page.locator(".stage-of-replay").count() == 0
    bar(page).locator("[data-speed]").select_option("4")
    bar(page).locator("[data-play]").focus()
    page.keyboard.press("Enter")
    page.locator(".stage-of-replay .step").nth(1).wait_for()
    assert page.url.endswith("?tab=chat&chat=slow&replay=1") and shown(page) != saved
    assert not page.locator(".stage-of-replay .base .said").is_visible()
    bar(page).locator("[data-play]", has_text="Play again").wait_for()
    assert shown(page) == saved and page.locator("[data-edit]:visible").count() == 3
    assert bar(page).locator(".recorded").is_visible()


def seen_now(page) -> tuple[int, bool, bool]:
    """Return how many steps are seen, and whether the summary agent's and the base model's words are."""
    said = (page.locator(f"#turn .{name} .said:visible").count() for name in ("summary", "base"))
    return (page.locator("#turn .step:visible").count(), *map(bool, said))


@pytest.fixture
def timed(page, address):
    """The opened chat in a page whose time stands still, and a function that lets seconds pass."""
    page.clock.install()
    open_page(page, f"{address}?tab=chat&chat=slow", "#turn .recording")
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 1)
    return page, lambda seconds: page.clock.run_for(round(1000 * seconds))


@pytest.mark.parametrize("speed", [1, 2, 4])
def test_everything_comes_at_its_recorded_time_divided_by_the_speed(timed, speed):
    page, wait = timed
    bar(page).locator("[data-speed]").select_option(str(speed))
    bar(page).locator("[data-play]").click()
    assert seen_now(page) == (1, False, False)
    wait(0.6 / speed)
    letters = len(STEPS[0].summary + STEPS[0].content) // 2 - len(STEPS[0].summary)
    assert abs(len(page.locator(".stage-of-replay .step p").first.inner_text()) - letters) <= 4 * speed
    now = 0.6
    for due, before, after in (
        (1.2, (1, False, False), (2, False, False)), (1.8, (2, False, False), (3, False, False)),
        (SUMMED_UP, (3, False, False), (3, True, False)), (ANSWERED, (3, True, False), (3, True, True)),
    ):  # fmt: skip
        wait((due - 0.2 - now) / speed)
        assert seen_now(page) == before, due
        wait(0.4 / speed)
        assert seen_now(page) == after, due
        now = due + 0.2
    assert page.locator(".stage-of-replay").count() == 0


def test_at_once_shows_the_end_at_once(timed):
    page, wait = timed
    bar(page).locator("[data-play]").click()
    wait(1)
    assert seen_now(page) == (1, False, False)
    bar(page).locator("[data-speed]").select_option("0")
    assert seen_now(page) == (3, True, True) and page.locator(".stage-of-replay").count() == 0
    bar(page).locator("[data-play]").click()
    assert seen_now(page) == (3, True, True) and bar(page).locator("[data-play]").inner_text() == "Play again"


def test_pause_holds_and_stop_ends_at_once(timed):
    page, wait = timed
    saved = shown(page)
    bar(page).locator("[data-play]").click()
    wait(1.5)
    bar(page).locator("[data-play]", has_text="Pause").click()
    held = shown(page)
    clock = bar(page).locator(".clock").inner_text()
    assert re.fullmatch(r"1\.[45] of 5\.0 s · (29|30) of 69 tokens", clock)
    wait(9)
    assert shown(page) == held and bar(page).locator(".clock").inner_text() == clock
    bar(page).locator("[data-play]", has_text="Go on").click()
    wait(0.5)
    assert bar(page).locator(".clock").inner_text().startswith(("1.9", "2.0"))
    bar(page).locator("[data-halt]").click()
    assert page.locator(".stage-of-replay").count() == 0 and shown(page) == saved
    assert page.url.endswith("?tab=chat&chat=slow") and not bar(page).locator("[data-halt]").is_visible()
    assert page.evaluate("document.activeElement.dataset.play") == ""


def test_with_reduced_motion_each_step_comes_whole_at_its_time(timed):
    page, wait = timed
    page.emulate_media(reduced_motion="reduce")
    bar(page).locator("[data-play]").click()
    for passed, steps in ((1.0, 0), (0.4, 1), (0.6, 2), (0.8, 2), (0.4, 3)):
        wait(passed)
        assert page.locator("#turn .step:visible p").all_inner_texts() == [step.content for step in STEPS[:steps]]


def test_another_question_ends_what_plays_and_is_no_recording_until_it_is_played(page, address, vlm):
    open_page(page, f"{address}?tab=chat&chat=slow&replay=1", "#turn .recording.plays")
    page.locator("#asked").fill("And how many in all?")
    page.locator("#asked").press("Enter")
    page.locator("#turn .asked", has_text="And how many in all?").wait_for()
    bar(page).wait_for()
    assert page.locator(".stage-of-replay").count() == 0 and not bar(page).locator(".recorded").is_visible()
    assert "replay" not in page.url
    asked = len(vlm.asked)
    bar(page).locator("[data-play]").click()
    bar(page).locator("[data-play]", has_text="Play again").wait_for()
    assert bar(page).locator(".recorded").is_visible() and len(vlm.asked) == asked
    page.locator("[data-edit]").nth(1).click()
    page.locator("#turn textarea").fill("wrong on purpose")
    page.locator("[data-judge]").click()
    page.locator("#turn .summary").nth(1).wait_for()
    bar(page).wait_for()
    asked = len(vlm.asked)
    bar(page).locator("[data-play]").click()
    bar(page).locator("[data-play]", has_text="Play again").wait_for()
    assert page.locator("#turn .summary").count() == 2 and len(vlm.asked) == asked


def test_a_chat_that_plays_can_be_shown_around(looked_at, address):
    page, look = looked_at
    page.clock.install()
    open_page(page, f"{address}?tab=chat&chat=slow&replay=1", "#turn .recording.plays")
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 0.1)
    bar(page).locator("[data-halt]").click()
    bar(page).locator("[data-play]").click()
    page.clock.run_for(2400)
    bar(page).locator("[data-play]", has_text="Pause").click()
    page.clock.resume()
    assert in_sight(page)
    look("replay-plays")
    size = page.viewport_size
    page.set_viewport_size({**size, "height": 360})
    page.evaluate("document.querySelector('.stage-of-replay .base').scrollIntoView({block: 'end'})")
    page.mouse.wheel(0, 40)
    page.wait_for_function("document.querySelector('#turn .asked-head').getBoundingClientRect().bottom < 0")
    assert in_sight(page)
    page.set_viewport_size(size)
    bar(page).locator("[data-speed]").select_option("0")
    look("replay-over")
