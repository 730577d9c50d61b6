"""What the tests of the app in a real browser share."""

import os
import re
import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
PATIENCE = 20_000  # milliseconds
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
IN_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: install chromium to run browser tests"),
]


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is missing: pip install playwright")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def context(chromium):
    """A window of its own; tests that need more rights grant them to it."""
    context = chromium.new_context(viewport=WIDE)
    context.set_default_timeout(PATIENCE)
    return context


@pytest.fixture
def page(context):
    """A page that may load nothing from elsewhere, raise no error, and run no script of what it shows."""
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: outside(request.url) and problems.append(request.url))
    yield page
    attacked = page.evaluate("window.attacked")
    context.close()
    assert not problems and attacked is None


@pytest.fixture(
    params=[(size, scheme) for size in (WIDE, NARROW) for scheme in ("light", "dark")],
    ids=lambda each: f"{each[0]['width']}-{each[1]}",
)
def looked_at(request, chromium, tmp_path):
    """A page in either size and scheme, and a function that keeps its picture: it has to fit and to be accessible."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    size, scheme = request.param
    context = chromium.new_context(viewport=size, color_scheme=scheme)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    kept = os.environ.get("INSIGHTV_SCREENSHOTS", str(tmp_path))

    def look(name: str) -> None:
        page.wait_for_load_state("networkidle")
        page.screenshot(path=f"{kept}/{name}-{size['width']}-{scheme}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], name
        found = axe.run(page, options={"runOnly": WCAG}).response["violations"]
        assert not found, [(each["id"], each["nodes"][0]["html"][:160]) for each in found]

    yield page, look
    context.close()


def outside(url: str) -> bool:
    return not re.match(r"(http://127\.0\.0\.1:|data:|blob:)", url)


def open_page(page, url: str, ready: str = "h1") -> None:
    page.goto(url)
    page.locator(f".page:visible .view {ready}").first.wait_for()
