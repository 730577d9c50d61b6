"""Measure the app in real headless Chromium over a large project: `python tests/bench/app.py --json --pairs 100000`.

The project that the script makes has a question and two paths of five steps for each pair, all judged, one curating
run and one picture. Times are of this machine with whatever else runs on it, the browser included.

* start_s: from starting the process to the first page that is painted in the browser.
* browse_p95_ms: from a click on one of Browse's filters, a sort or a page, to the grid painted for it.
* vote_p95_ms: from the key of a verdict to the judge's view, and from Enter to the next card, taken together; the pause
  in which a reviewer reads is left out. By then the vote is on disk. view_p95_ms is its first part alone.
* votes_lost, votes_doubled: reviewers vote at once over HTTP while the server is killed again and again; a vote without
  an answer is sent anew with its token. Lost is what was answered and is not in the store, doubled what is there twice.
* first_step_s: from sending a question in the chat to the first words of nano's first step; the model is loaded then.
"""

import argparse
import asyncio
import contextlib
import json
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path as FilePath

ROOT = FilePath(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import httpx  # noqa: E402
from conftest import CHROMIUM, FLAGS, WIDE  # noqa: E402
from store import BATCH, make_texts  # noqa: E402

from insightv_core.images import store_image  # noqa: E402
from insightv_core.records import Assessment, ModelVersion, Pair, Path, Question, Run, identify  # noqa: E402
from insightv_core.store import Store, open_store  # noqa: E402
from insightv_core.store.assessments import add_assessments  # noqa: E402
from insightv_core.store.curation import save_curation  # noqa: E402

STEPS, FAMILIES, SOURCES, MODELS = 5, 24, 3, 4
PAUSE = 350  # milliseconds: keys that come at once after a card are taken for the card before
PATIENCE = 60_000  # milliseconds
CALL = "gradio_api/component_server"
TARGETS = {
    "start_s": "< 5", "browse_p95_ms": "< 400", "vote_p95_ms": "< 150", "votes_lost": "0", "votes_doubled": "0",
    "first_step_s": "< 1.5",
}  # fmt: skip
# Resolves with the milliseconds until the page shows what `ready` waits for, two frames after it changed.
PAINTED = """([act, ready]) => new Promise((done) => {
  const began = performance.now();
  const finish = () => done(performance.now() - began);
  const look = () => requestAnimationFrame(eval(ready) ? finish : look);
  eval(act);
  requestAnimationFrame(look);
})"""


# -- the project -------------------------------------------------------------------------------------------------------


def fill(file: FilePath, pairs: int, draw: random.Random) -> None:
    """Make a project with that many pairs, as generate, assess and curate would leave it."""
    with open_store(file, create=True) as store:
        picture = store_image(sorted((ROOT / "data" / "demo").glob("**/*.png"))[0], file.parent / "images")
        questions = [
            Question(
                identify("question", number), f"How many of the {number} bars are above {number % 9}?", "7",
                picture.sha256, f"source {number * SOURCES // pairs}", family=f"family {draw.randrange(FAMILIES)}",
            )
            for number in range(pairs)
        ]  # fmt: skip
        store.add_questions((question, picture) for question in questions)
        models = [ModelVersion(f"model {number}", identify("model", number)) for number in range(MODELS)]
        runs = [
            Run(identify("run", n), "generate", model, "1", {"round": n}, "bench") for n, model in enumerate(models)
        ]
        judging = Run(identify("judging"), "assess", models[0], "1", {"mode": "single"}, "bench")
        curating = Run(identify("curating"), "curate", None, "1", {}, "bench")
        for run in (*runs, judging, curating):
            store.start_run(run)
        paths = make_paths(questions, runs, draw)
        while batch := list(islice(paths, BATCH)):
            store.add_paths(batch)
        judge(store, judging, draw)
        save_curation(store, curating.id, {}, [make_pair(question, curating) for question in questions], {})
        for run in (*runs, judging, curating):
            store.end_run(run.id, "done")


def make_paths(questions: list[Question], runs: list[Run], draw: random.Random) -> Iterator[Path]:
    """Yield two paths for each question."""
    texts = make_texts(draw)
    for number, question in enumerate(questions):
        run = runs[number * len(runs) // len(questions)]
        for sample in (0, 1):
            yield Path(
                identify("path", number, sample), question.id, run.id, sample, "complete",
                tuple(draw.choices(texts, k=STEPS)), "9" if sample else "7", None, "", 450, -60.0, 2.1,
            )  # fmt: skip


def judge(store: Store, run: Run, draw: random.Random) -> None:
    """Give each path an outcome, a score and a verdict for each step: the first of a question is right."""
    said = (
        Assessment(
            path, run.id, "wrong" if sample else "correct", "", "rules",
            draw.randint(5, 30) if sample else draw.randint(60, 100), "", ("sound",) * STEPS, None, None,
        )
        for path, sample in store.tuples("SELECT id, sample FROM paths")
    )  # fmt: skip
    while batch := list(islice(said, BATCH)):
        add_assessments(store, batch)


def make_pair(question: Question, run: Run) -> Pair:
    """Return the pair of a question."""
    number = int(re.search(r"\d+", question.text).group())
    chosen, rejected = identify("path", number, 0), identify("path", number, 1)
    return Pair(
        identify("pair", number), run.id, question.id, chosen, rejected, "path", 0, "answer", 20.0 + number % 60
    )


# -- the server --------------------------------------------------------------------------------------------------------


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """The app as a process of its own."""

    def __init__(self, file: FilePath):
        self.file, self.port = file, free_port()
        self.address = f"http://127.0.0.1:{self.port}/"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start the app and wait until it answers."""
        command = [sys.executable, "-m", "app", str(self.file), "--port", str(self.port), "--no-browser"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(self.address, timeout=30).status_code == 200:
                    return
            if self.process.poll() is not None:
                sys.exit(f"the app on {self.file} ended with {self.process.returncode}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End the app without a warning."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def running(file: FilePath) -> Iterator[Server]:
    """Run the app over a project."""
    server = Server(file)
    try:
        server.start()
        yield server
    finally:
        server.kill()


# -- in the browser ----------------------------------------------------------------------------------------------------


def summary(name: str, taken: list[float]) -> dict:
    """Return median, 95th percentile and maximum."""
    taken = sorted(taken)
    return {
        f"{name}_median_ms": statistics.median(taken), f"{name}_p95_ms": taken[int(0.95 * len(taken))],
        f"{name}_max_ms": taken[-1],
    }  # fmt: skip


def time_painted(page, act: str, ready: str) -> float:
    """Return the milliseconds from an act to the page that shows what it asked for."""
    return page.evaluate(PAINTED, [act, ready])


def measure_start(page, file: FilePath) -> dict:
    """Return the seconds until a server that was just started shows its first page."""
    began = time.perf_counter()
    with running(file) as server:
        answering = time.perf_counter() - began
        page.goto(server.address)
        page.locator(".page:visible .view h1").first.wait_for()
        return {"start_s": time.perf_counter() - began, "start_answering_s": answering}


def measure_browse(page, address: str, clicks: int, draw: random.Random) -> dict:
    """Click filters, sorts and pages at random and return how long each takes to be painted."""
    page.goto(f"{address}?tab=browse")
    page.locator("#page-browse .card").first.wait_for()
    taken = []
    page.evaluate("addEventListener('painted', () => (window.paints = (window.paints || 0) + 1), true)")
    for _ in range(clicks):
        links = page.locator("#page-browse .view .filters a[href^='?'], #page-browse .view .pages a[href^='?']").count()
        if not links or draw.random() < 0.1:
            act = f"insightv.go('?tab=browse&sort={draw.choice(('newest', 'score', 'lowest'))}')"
        else:
            found = "document.querySelectorAll(\"#page-browse .view .filters a[href^='?'], .pages a[href^='?']\")"
            act = f"{found}[{draw.randrange(links)}].click()"
        page.evaluate("window.paints = 0")
        taken.append(time_painted(page, act, "window.paints > 0"))
    return summary("browse", taken)


def measure_votes(page, address: str, votes: int, draw: random.Random) -> dict:
    """Vote by key as one reviewer and return how long the judge's view and the next card take."""
    page.goto(f"{address}?tab=review")
    page.locator("#reviewer").fill("Bench")
    page.keyboard.press("Enter")
    page.locator(".pair").wait_for()
    viewed, dealt = [], []
    asked = "document.querySelector('.pair h2.asked')?.innerText"
    visible = "[...document.querySelectorAll('.panel')].some((each) => each.offsetParent)"
    press = "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {{key: '{}', bubbles: true}}))"
    for _ in range(votes):
        page.wait_for_timeout(PAUSE)
        before = page.evaluate(asked)
        viewed.append(time_painted(page, press.format(draw.choice("12")), visible))
        page.wait_for_timeout(PAUSE)
        dealt.append(time_painted(page, press.format("Enter"), f"{asked} && {asked} !== {json.dumps(before)}"))
    both = [view + card for view, card in zip(viewed, dealt, strict=True)]
    return summary("vote", both) | summary("view", viewed) | summary("card", dealt)


def measure_chat(page, address: str, questions: int) -> dict:
    """Ask nano's agents about examples and return the seconds until the first words of a step stand there."""
    page.goto(f"{address}?tab=chat")
    page.locator(".examples button").first.wait_for()
    taken = []
    for number in range(questions + 1):
        page.locator(".examples button").nth(number % page.locator(".examples button").count()).click()
        page.wait_for_timeout(PAUSE)
        act = "document.querySelector('form.ask .main').click()"
        shown = "document.querySelector('#turn .step')?.innerText.length > 8"
        taken.append(time_painted(page, f"document.querySelector('#turn')?.replaceChildren(); {act}", shown) / 1000)
        page.locator("#turn [data-phase=done], #turn.turn[data-phase=done]").first.wait_for()
    return {
        "first_step_s": statistics.median(taken[1:]),
        "first_step_of_all_s": taken[0],
        "first_step_max_s": max(taken[1:]),
    }


# -- many reviewers at once --------------------------------------------------------------------------------------------


async def find_handlers(client: httpx.AsyncClient) -> dict[str, int]:
    """Return the component that answers each call of the review page."""
    config = (await client.get("config")).json()
    return {
        name: block["id"]
        for block in config["components"]
        for name in block["props"].get("server_fns", ())
        if {"deal", "act"} <= set(block["props"]["server_fns"])
    }


async def ask(client: httpx.AsyncClient, handlers: dict[str, int], name: str, given: object) -> dict:
    """Call a handler until it answers: the server may be down."""
    sent = {"component_id": handlers[name], "fn_name": name, "session_hash": "bench", "data": given}
    while True:
        with contextlib.suppress(httpx.TransportError):
            reply = await client.post(CALL, json=sent)
            if reply.status_code == 200:
                return reply.json()
        await asyncio.sleep(0.05)


async def review(client, handlers: dict[str, int], name: str, votes: int, sent: list[tuple[str, str, float]]) -> None:
    """Vote on what the queue deals, as one reviewer."""
    reviewer = (await ask(client, handlers, "enter", name))["reviewer"]
    cards: list[dict] = []
    for _ in range(votes):
        while not cards:
            dealt = await ask(client, handlers, "deal", {"reviewer": reviewer})
            cards = dealt["cards"]
        card, token = cards.pop(0), uuid.uuid4().hex
        vote = {
            "reviewer": reviewer,
            "pair": card["pair"],
            "event": "vote",
            "choice": "1",
            "token": token,
            "seconds": 2,
        }
        began = time.perf_counter()
        answer = await ask(client, handlers, "act", vote)
        if "reveal" not in answer:
            sys.exit(f"a vote was refused: {answer}")
        sent.append((token, card["pair"], time.perf_counter() - began))


async def kill_again_and_again(server: Server, kills: int, votes: int, sent: list) -> None:
    """Kill the server and start it again, evenly over the votes."""
    for number in range(1, kills + 1):
        while len(sent) < votes * number / (kills + 1):
            await asyncio.sleep(0.02)
        server.kill()
        await asyncio.to_thread(server.start)


async def vote_at_once(server: Server, reviewers: int, votes: int, kills: int) -> list[tuple[str, str, float]]:
    """Let reviewers vote at once while the server is killed, and return the votes that were answered."""
    sent: list[tuple[str, str, float]] = []
    limits = httpx.Limits(max_connections=reviewers)
    async with httpx.AsyncClient(base_url=server.address, timeout=60, limits=limits) as client:
        handlers = await find_handlers(client)
        each = [votes // reviewers + (place < votes % reviewers) for place in range(reviewers)]
        voting = [review(client, handlers, f"Reviewer {n}", count, sent) for n, count in enumerate(each)]
        await asyncio.gather(*voting, kill_again_and_again(server, kills, votes, sent))
    return sent


def measure_crowd(file: FilePath, reviewers: int, votes: int, kills: int) -> dict:
    """Return what became of the votes of many reviewers on a server that was killed again and again."""
    began = time.perf_counter()
    with open_store(file) as store:
        before = store.value("SELECT count(*) FROM reviews")
    with running(file) as server:
        sent = asyncio.run(vote_at_once(server, reviewers, votes, kills))
    with open_store(file) as store:
        kept = Counter(store.column("SELECT token FROM reviews"))
        total = store.value("SELECT count(*) FROM reviews") - before
        damage = store.value("PRAGMA integrity_check")
    seconds = sorted(taken for *_, taken in sent)
    return {
        "votes": len(sent), "reviewers": reviewers, "kills": kills,
        "votes_lost": sum(token not in kept for token, *_ in sent),
        "votes_doubled": total - len(sent) + sum(token not in kept for token, *_ in sent),
        "votes_per_s": len(sent) / (time.perf_counter() - began),
        "crowd_vote_median_ms": 1000 * statistics.median(seconds), "integrity": damage,
    }  # fmt: skip


def measure(options: argparse.Namespace, folder: FilePath) -> dict:
    """Make the project and measure everything."""
    from playwright.sync_api import sync_playwright

    draw = random.Random(options.seed)
    file = folder / "bench.db"
    began = time.perf_counter()
    fill(file, options.pairs, draw)
    found = {"pairs": options.pairs, "steps": 2 * STEPS * options.pairs, "fill_s": time.perf_counter() - began}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport=WIDE)
        page.set_default_timeout(PATIENCE)
        found |= measure_start(page, file)
        with running(file) as server:
            found |= measure_browse(page, server.address, options.clicks, draw)
            found |= measure_votes(page, server.address, options.keys, draw)
            found |= measure_chat(page, server.address, options.questions)
        browser.close()
    return found | measure_crowd(file, options.reviewers, options.votes, options.kills)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000, help="pairs of the project, ten steps each (%(default)s)")
    parser.add_argument("--clicks", type=int, default=100, help="clicks in Browse (%(default)s)")
    parser.add_argument("--keys", type=int, default=60, help="votes by key (%(default)s)")
    parser.add_argument("--questions", type=int, default=8, help="questions in the chat (%(default)s)")
    parser.add_argument("--reviewers", type=int, default=50, help="reviewers who vote at once (%(default)s)")
    parser.add_argument("--votes", type=int, default=10_000, help="their votes together (%(default)s)")
    parser.add_argument("--kills", type=int, default=10, help="how often the server is killed meanwhile (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if CHROMIUM is None or not shutil.which(CHROMIUM):
        parser.exit(1, "there is no Chromium: install chromium to measure the app\n")
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, FilePath(folder))
    found = {name: round(value, 3) if isinstance(value, float) else value for name, value in found.items()}
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:24} {value:>12} {TARGETS.get(name, '')}")


if __name__ == "__main__":
    main()
