"""Measure stage 3 on a synthetic project: `python tests/bench/curation.py --paths 100000 --json`.

The paths of a question share some chains and some beginnings, and their judge is right most of the time. Curating runs
in a process of its own, so that its peak memory is its own: reading, choosing, pairing and saving, as
`insightv curate` does. Times are of this machine with whatever else runs on it; `cpu` figures count the process's CPU
seconds, which others disturb less.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path as FilePath

ROOT = FilePath(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from insightv_core.cli import main as run_command  # noqa: E402
from insightv_core.parse import write_step  # noqa: E402
from insightv_core.records import (  # noqa: E402
    Assessment,
    ModelVersion,
    Path,
    Question,
    Run,
    Step,
    StepRecord,
    StoredImage,
    identify,
)
from insightv_core.store import Store, open_store  # noqa: E402
from insightv_core.store.assessments import add_assessments  # noqa: E402

PATHS_A_QUESTION, STEPS, STEP_CHARACTERS, BATCH = 8, 5, 250, 1000
TARGETS = {"seconds": "< 10", "peak_memory_mb": "< 1000"}
MAKER = Run("generate", "generate", ModelVersion("maker", "maker"), "1", {"style": "progressive"}, "bench")
JUDGE = Run("assess", "assess", ModelVersion("judge", "judge"), "1", {"mode": "single"}, "bench")


def make_turns(draw: random.Random, texts: list[StepRecord]) -> tuple[StepRecord, ...]:
    """Return a chain, some of which begin alike."""
    steps = draw.choices(texts, k=STEPS)
    last = Step(steps[-1].step.summary, steps[-1].step.content, "summary")
    return (*steps[:-1], StepRecord(write_step(last), last, True, 60, -9.0, 0.4))


def make_texts(draw: random.Random) -> list[StepRecord]:
    """Return steps of the usual length."""
    words = ["".join(draw.choices("aeioubcdfghlmnprst", k=draw.randint(2, 9))) for _ in range(2000)]
    steps = [
        Step(" ".join(draw.choices(words, k=3)), " ".join(draw.choices(words, k=STEP_CHARACTERS // 5)))
        for _ in range(3000)
    ]
    return [StepRecord(write_step(step), step, True, 60, -9.0, 0.4) for step in steps]


def make_paths(questions: list[Question], draw: random.Random) -> Iterator[tuple[Path, Assessment]]:
    """Yield the paths of each question, with an assessment each."""
    texts = make_texts(draw)
    for question in questions:
        chains = [make_turns(draw, texts) for _ in range(PATHS_A_QUESTION - 1)]
        for sample in range(PATHS_A_QUESTION):
            failed, right = draw.random() < 0.05, draw.random() < 0.5
            turns = chains[sample] if sample < len(chains) else chains[0]
            answer = None if failed else "7" if right else "8"
            path = Path(
                identify(question.id, sample), question.id, MAKER.id, sample, "failed" if failed else "complete",
                turns, answer, "no answer" if failed else None, "", 300, -60.0, 2.0,
            )  # fmt: skip
            sound = [draw.random() < (0.95 if right else 0.6) for _ in turns]
            score = max(1, min(100, round(100 * sum(sound) / len(sound) - 40 * (not right) + draw.gauss(0, 8))))
            yield path, Assessment(
                path.id, JUDGE.id, "unparsed" if failed else "correct" if right else "wrong", "", "rules",
                None if failed else score, "", () if failed else tuple("sound" if s else "flawed" for s in sound),
                None, None,
            )  # fmt: skip


def fill(store: Store, paths: int, draw: random.Random) -> None:
    """Fill a project with assessed paths."""
    questions = [
        Question(identify("question", n), f"How many of the {n} bars are above {n % 9}?", "7", identify("image", n),
                 "bench", "integer", f"family {n % 25}")
        for n in range(paths // PATHS_A_QUESTION)
    ]  # fmt: skip
    store.add_questions((question, StoredImage(question.image, 1, 1, 1)) for question in questions)
    store.start_run(MAKER)
    store.start_run(JUDGE)
    made = make_paths(questions, draw)
    while batch := list(islice(made, BATCH)):
        store.add_paths(path for path, _ in batch)
        add_assessments(store, [assessment for _, assessment in batch])


def measure(file: FilePath, options: list[str]) -> dict:
    """Curate in a new process; return its time, memory and result."""
    arguments = [sys.executable, __file__, "--curate", str(file), *options]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def curate_here(file: FilePath, options: list[str]) -> None:
    """Run `insightv curate` in this process, and print what it took as the last line."""
    started, used = time.perf_counter(), time.process_time()
    run_command(["curate", "--project", str(file), "--json", *options])
    taken = {
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(time.process_time() - used, 2),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    print(json.dumps(taken))


def main() -> None:
    """Fill a project, curate it in several ways, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paths", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--curate", type=FilePath, help=argparse.SUPPRESS)
    options, passed = parser.parse_known_args()
    if options.curate:
        curate_here(options.curate, [*passed, *(["--seed", str(options.seed)] if options.seed else [])])
        return
    with tempfile.TemporaryDirectory() as folder:
        file = FilePath(folder) / "bench.db"
        with open_store(file, create=True) as store:
            fill(store, options.paths, random.Random(options.seed))
        figures = {
            "paths": options.paths,
            **measure(file, []),
            "again": measure(file, []),
            "many_pairs": measure(file, ["--pairs", "8", "--step-pairs", "2", "--margin", "5"]),
        }
        with open_store(file) as store:
            figures |= {"pairs": store.value("SELECT count(*) FROM pairs"), "targets": TARGETS}
    print(json.dumps(figures) if options.json else "\n".join(f"{name}: {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
