"""Measure the project store, filled with as many paths as asked for: `python tests/bench/store.py --paths 1000000`.

The store has ten runs after one another over all questions, like the rounds of iterative DPO; the last three are not
judged yet. Times are of this machine with whatever else runs on it; `cpu` figures count this process's CPU seconds,
which others disturb less.

* insert: `Store.add_paths`, a thousand paths at a time, all indexes in place; naive commits every row.
* page: `list_paths` with filters of one to four facets, score bounds and every sort, from marks all over the store;
  question page: the same of `list_questions`. The naive page of all paths, best first, takes an OFFSET.
* search: pages that match frequent and rare words, prefixes and pairs, alone and with filters, in a store of its own
  whose steps are all searchable.
"""

import argparse
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path as FilePath

ROOT = FilePath(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from insightv_core.parse import write_step  # noqa: E402
from insightv_core.records import ModelVersion, Path, Question, Run, Step, StepRecord, StoredImage, identify  # noqa: E402
from insightv_core.store import Store, open_store  # noqa: E402
from insightv_core.store.browse import (  # noqa: E402
    PathFilter,
    index_new_steps,
    list_paths,
    list_questions,
    search_paths,
)
from insightv_core.store.counts import facet_counts, funnel, score_histogram  # noqa: E402
from insightv_core.store.filters import SORTS, score_range  # noqa: E402
from insightv_core.store.schema import SCORE_SPAN  # noqa: E402

STEPS, PATHS_A_QUESTION, RUNS, JUDGED_RUNS, BATCH = 5, 10, 10, 7, 1000
FAMILIES, SOURCES, WORDS, TEXTS = 24, 3, 3000, 4000
STEP_CHARACTERS = 400
TARGETS = {"insert_rows_per_s": ">= 40,000", "page_p95_ms": "< 20"}


class Clock:
    """Measures wall seconds and the process's CPU seconds of what happens inside `with`, over all uses."""

    def __init__(self):
        self.wall = self.cpu = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *error: object) -> None:
        self.wall += time.perf_counter() - self._began[0]
        self.cpu += time.process_time() - self._began[1]


def make_texts(draw: random.Random) -> list[StepRecord]:
    """Return steps whose words are as unequally frequent as those of a language."""
    words = ["".join(draw.choices("aeioubcdfghlmnprst", k=draw.randint(2, 9))) for _ in range(WORDS)]
    weights = [1 / rank for rank in range(1, WORDS + 1)]
    steps = []
    for _ in range(TEXTS):
        text = " ".join(draw.choices(words, weights, k=STEP_CHARACTERS // 4))[:STEP_CHARACTERS]
        step = Step(" ".join(draw.choices(words, weights, k=3)), text)
        steps.append(StepRecord(write_step(step), step, True, 90, -draw.random() * 30, 0.4))
    return steps


def make_paths(questions: list[Question], runs: list[Run], draw: random.Random) -> Iterator[Path]:
    """Yield the paths of each run over all questions."""
    texts = make_texts(draw)
    for run in runs:
        for question in questions:
            failed = draw.random() < 0.1
            yield Path(
                identify(run.id, question.id), question.id, run.id, 0, "failed" if failed else "complete",
                tuple(draw.choices(texts, k=STEPS)), None if failed else "7", "no answer" if failed else None,
                '{"answer": "7"}', 450, -60.0, 2.1,
            )  # fmt: skip


def fill(store: Store, paths: int, draw: random.Random) -> dict:
    """Fill a store and return how fast it went."""
    questions = [
        Question(
            identify("question", number), f"How many of the {number} bars are above {number % 9}?", "7",
            identify("image", number % 1000), f"source {number * SOURCES * PATHS_A_QUESTION // (paths + 1)}",
            family=f"family {draw.randrange(FAMILIES)}",
        )
        for number in range(paths // PATHS_A_QUESTION)
    ]  # fmt: skip
    clock = Clock()
    with clock:
        store.add_questions((question, StoredImage(question.image, 1, 1, 1)) for question in questions)
    models = [ModelVersion("nano-teacher", identify("model", number)) for number in range(RUNS // 3 + 1)]
    runs = [Run(identify("run", n), "generate", models[n // 3], "1", {"round": n}, "bench") for n in range(RUNS)]
    for run in runs:
        store.start_run(run)
    inserting, made = Clock(), make_paths(questions, runs, draw)
    while batch := list(islice(made, BATCH)):
        with inserting:
            store.add_paths(batch)
    rows = RUNS * len(questions) * STEPS
    return {
        "import_questions_per_s": len(questions) / clock.wall,
        "insert_rows_per_s": rows / inserting.wall,
        "insert_rows_per_cpu_s": rows / inserting.cpu,
    }


def judge(store: Store, draw: random.Random) -> dict:
    """Give the paths of the first runs an outcome and most of them a score; return how fast it went."""
    judged = store.value("SELECT max(key) FROM paths") * JUDGED_RUNS // RUNS
    clock = Clock()
    for first in range(1, judged + 1, BATCH):
        verdicts = []
        for key in range(first, min(first + BATCH, judged + 1)):
            outcome = draw.choices(("correct", "wrong", "unparsed"), (6, 3, 1))[0]
            score = None if draw.random() < 0.1 else min(100, max(1, round(draw.gauss(60, 25))))
            verdicts.append((outcome, score, draw.random() < 0.05, key))
        with clock, store.transaction():
            store.db.conn.executemany("UPDATE paths SET (outcome, score, reviewed) = (?, ?, ?) WHERE key = ?", verdicts)
    return {"judged_paths_per_s": judged / clock.wall}


def naive_insert(folder: FilePath) -> float:
    """Return the rows per second of one commit for each, with SQLite's default settings."""
    with sqlite3.connect(folder / "naive.db") as connection:
        connection.execute("CREATE TABLE steps (key INTEGER PRIMARY KEY, raw TEXT, content TEXT)")
        clock = Clock()
        with clock:
            for _ in range(100):
                connection.execute("INSERT INTO steps (raw, content) VALUES (?, ?)", ("x" * 450, "x" * 400))
                connection.commit()
    return 100 / clock.wall


def draw_filter(values: dict[str, list], draw: random.Random) -> PathFilter:
    """Return a filter of none to four facets, often with bounds of the score."""
    facets = draw.sample(list(values), draw.choice((0, 1, 1, 2, 2, 3, 4)))
    chosen = {facet: draw.choice(values[facet]) for facet in facets}
    low = draw.randint(1, 100)
    bounds = draw.choice(
        ({}, {}, {}, {"score_low": low}, {"score_low": low, "score_high": min(100, low + 5)}, {"scored": False})
    )
    return PathFilter(**chosen, **bounds, sort=draw.choice(SORTS))


def draw_mark(store: Store, filter: PathFilter, age: str, draw: random.Random) -> str | None:
    """Return a mark somewhere in the filter's order, now and then its beginning."""
    if draw.random() < 0.2:
        return None
    table, column = ("paths", "key") if age == "key" else ("questions", "position")
    row = draw.randint(1, store.value(f"SELECT max({column}) FROM {table}"))
    if filter.sort in ("newest", "oldest"):
        return f"{filter.sort}-{row}"
    low, high = score_range(filter)
    return f"{filter.sort}-{draw.randint(low, high if age == 'key' else 100) * SCORE_SPAN + row}"


def times(calls: Iterator[Callable[[], object]], *, warm: int, number: int) -> list[tuple[float, object]]:
    """Return the milliseconds of calls with what they returned, longest last, after some that are not counted."""
    taken = []
    for turn, call in enumerate(islice(calls, warm + number)):
        began = time.perf_counter()
        result = call()
        if turn >= warm:
            taken.append((1000 * (time.perf_counter() - began), result))
    return sorted(taken, key=lambda pair: pair[0])


def summary(name: str, taken: list[tuple[float, object]]) -> dict:
    """Return median, 95th percentile and maximum in milliseconds."""
    milliseconds = [pair[0] for pair in taken]
    return {
        f"{name}_median_ms": statistics.median(milliseconds),
        f"{name}_p95_ms": milliseconds[int(0.95 * len(milliseconds))],
        f"{name}_max_ms": milliseconds[-1],
    }


def measure_pages(store: Store, number: int, draw: random.Random) -> dict:
    """Return how long pages, counts and the naive page take."""
    shown = facet_counts(store, PathFilter())
    values = {facet: [value for value, _ in pairs] for facet, pairs in shown.items()}
    filters = [draw_filter(values, draw) for _ in range(number)]

    def pages(listing, age: str) -> Iterator[Callable]:
        for turn in count():
            filter = filters[turn % number]
            mark = draw_mark(store, filter, age, draw)
            yield lambda filter=filter, mark=mark: listing(store, filter, after=mark)

    def each(function) -> Iterator[Callable]:
        for turn in count():
            yield lambda turn=turn: function(store, filters[turn % number])

    offset = store.value("SELECT count(*) FROM paths") // 2
    naive = "SELECT * FROM paths ORDER BY place DESC LIMIT 50 OFFSET ?"
    warm = number // 4
    found = {}
    for name, calls in (
        ("page", pages(list_paths, "key")), ("question_page", pages(list_questions, "position")),
        ("facets", each(facet_counts)), ("histogram", each(score_histogram)),
    ):  # fmt: skip
        found |= summary(name, times(calls, warm=warm, number=number))
    found |= summary("offset_page", times((lambda: store.rows(naive, [offset]) for _ in count()), warm=2, number=10))
    found |= summary("funnel", times((lambda: funnel(store) for _ in count()), warm=2, number=10))
    return found | {"facet_combinations": store.value("SELECT count(*) FROM facets WHERE paths > 0")}


def measure_search(store: Store, number: int, draw: random.Random) -> dict:
    """Make all steps searchable and return how fast that and searching is."""
    clock, done = Clock(), 0
    with clock:
        while more := index_new_steps(store, 10_000):
            done += more
    contents = store.column("SELECT content FROM steps WHERE turn = 0 LIMIT 1000")
    families = [family for family, _ in facet_counts(store, PathFilter())["family"]]

    def queries(listing) -> Iterator[Callable]:
        while True:
            words = draw.choice(contents).split()
            text = draw.choice((words[0] + " ", words[1][:3], f"{words[0]} {words[2]} ", draw.choice(words) + " "))
            filter = PathFilter(
                search=text, sort=draw.choice(SORTS), family=draw.choice(families) if draw.random() < 0.3 else None
            )
            yield lambda filter=filter: listing(filter)

    found = {"search_steps": done, "index_rows_per_s": done / clock.wall}
    for name, listing in (
        ("search", lambda filter: list_paths(store, filter)),
        ("question_search", lambda filter: list_questions(store, filter)),
        ("search_facets", lambda filter: facet_counts(store, filter)),
        ("ranked_search", lambda filter: search_paths(store, filter.search)),
    ):
        found |= summary(name, times(queries(listing), warm=number // 10, number=number))
    return found


def main() -> None:
    """Fill a store in a temporary folder, measure it, delete it, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paths", type=int, default=100_000, help="paths of 5 steps each (%(default)s)")
    parser.add_argument("--pages", type=int, default=1000, help="pages to measure (%(default)s)")
    parser.add_argument("--search-paths", type=int, default=40_000, help="paths of the store searched (%(default)s)")
    parser.add_argument("--folder", type=FilePath, help="where to make the temporary folder; 6 GB for a million paths")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    draw = random.Random(7)
    figures: dict = {"paths": options.paths}
    with tempfile.TemporaryDirectory(dir=options.folder) as name, open_store(f"{name}/bench.db", create=True) as store:
        figures["naive_insert_rows_per_s"] = naive_insert(FilePath(name))
        figures |= fill(store, options.paths, draw)
        figures |= judge(store, draw)
        store.db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        figures["file_mb"] = store.file.stat().st_size / 1e6
        figures |= measure_pages(store, options.pages, draw)
    with tempfile.TemporaryDirectory(dir=options.folder) as name, open_store(f"{name}/bench.db", create=True) as store:
        fill(store, options.search_paths, draw)
        judge(store, draw)
        figures |= measure_search(store, options.pages // 5, draw)
    figures = {
        name: float(f"{figure:.4g}") if isinstance(figure, float) else figure for name, figure in figures.items()
    }
    if options.json:
        print(json.dumps({"figures": figures, "targets": TARGETS}, indent=1))
    else:
        for name, figure in figures.items():
            print(f"{name:28} {figure:>12,}   {TARGETS.get(name, '')}")


if __name__ == "__main__":
    main()
