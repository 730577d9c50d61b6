"""A small project in which every stage has run, made by hand, for the tests of Runs, Results and Export."""

import math
from dataclasses import replace
from pathlib import Path as FilePath

from app_project import JUDGING, MODEL, make_project

from insightv_core import prompts
from insightv_core.parse import write_step
from insightv_core.records import Answered, ModelVersion, Pair, Run, SetRow, identify
from insightv_core.store import Store, open_store
from insightv_core.store.curation import save_curation
from insightv_core.store.evaluations import add_answers
from insightv_core.store.training import ADAPTER, add_metrics, add_model, add_pair_logprobs, add_round

PROMPTS = prompts.PROMPT_VERSION
INPUTS = {"paths": {"a" * 20: 120}, "assessments": {"b" * 20: 87}}
CURATING = Run("c" * 20, "curate", None, PROMPTS, {"margin": 20, "inputs": INPUTS}, "0.1.0")
REASON = Run("d" * 20, "sft", MODEL, PROMPTS, {"role": "reason", "curation": CURATING.id, "seed": 0}, "0.1.0")
FIRST = Run("1" * 20, "dpo", MODEL, PROMPTS, {"curation": CURATING.id, "adapter": "r" * 20, "beta": 0.1}, "0.1.0")
SECOND = replace(FIRST, id="2" * 20, settings=FIRST.settings | {"adapter": "s" * 20})
EVALUATING = Run("e" * 20, "evaluate", MODEL, PROMPTS, {"adapters": ["t" * 20], "n": 40, "seed": 1}, "0.1.0")
ADAPTERS = {"r": REASON, "s": FIRST, "t": SECOND}
PAIRS, STEPS, BETA = 14, 40, 0.1
SYSTEMS = {"base, direct": 0.3, "two agents": 0.6}


def make_worked_project(folder: FilePath) -> FilePath:
    """Write a project whose paths are curated, trained on in two rounds and evaluated; a third round runs."""
    file = make_project(folder)
    with open_store(file) as store:
        store.end_run(JUDGING.id, "done", done=87)
        pairs = curate_by_hand(store)
        for run in (REASON, FIRST, SECOND):
            train_by_hand(store, run)
        for number, (before, after, run) in enumerate((("r", "s", FIRST), ("s", "t", SECOND))):
            add_round(store, run.id, before=before * 20, after=after * 20, curation=CURATING.id)
            for model, moved in ((before, number), (after, number + 1)):
                add_pair_logprobs(store, model * 20, [logprobs(pair, place, moved) for place, pair in enumerate(pairs)])
        evaluate_by_hand(store)
    return file


def curate_by_hand(store: Store) -> list[str]:
    """Save pairs of right and wrong answers, and a reasoning set; return the pairs' ids."""
    questions = [question for question in store.questions()][: 2 * PAIRS : 2]
    paths = {question.id: store.paths_of(question.id) for question in questions}
    pairs = [
        Pair(identify("pair", question.id), CURATING.id, question.id, paths[question.id][0].id,
             paths[question.id][1].id, "path", 1, "answer", 50.0)
        for question in questions
    ]  # fmt: skip
    pairs[-1] = replace(pairs[-1], excluded="longer than 64 tokens")
    chains = {question: "\n".join(map(write_step, found[0].steps)) for question, found in paths.items()}
    rows = [SetRow(question.id, paths[question.id][0].id, "reason", chains[question.id]) for question in questions]
    store.start_run(CURATING, total=60, command="insightv curate")
    left_out = {"reason": {"no path": 46}, "summary": {}, "pairs": {"no correct answer": 40, "no path": 6}}
    save_curation(store, CURATING.id, {"reason": rows, "summary": []}, pairs, {"funnel": {}, "left_out": left_out})
    store.end_run(CURATING.id, "done", done=60)
    return [pair.id for pair in pairs]


def train_by_hand(store: Store, run: Run) -> None:
    """Save a training run with its curves and the adapter that it made."""
    letter = next(letter for letter, maker in ADAPTERS.items() if maker is run)
    store.start_run(run, total=STEPS, command=f"insightv {run.stage} --project a.db")
    for step in range(1, STEPS + 1):
        shown = {"loss": 0.7 * math.exp(-step / 20), "grad_norm": 1 + step % 3, "learning_rate": 1e-4 * (1 - step / 41)}
        if run.stage == "dpo":
            chosen, margin = step / 90, step / 50
            shown |= {
                "rewards/margins": margin, "rewards/chosen": chosen, "rewards/rejected": chosen - margin,
                "rewards/accuracies": 0.5 + step / 100,
            }  # fmt: skip
        add_metrics(store, run.id, step, shown)
    made = ModelVersion(f"reason-{letter}", letter * 20)
    add_model(store, made, kind=ADAPTER, base=MODEL.fingerprint, folder="adapters", run=run.id)
    store.end_run(run.id, "done", done=STEPS)


def logprobs(pair: str, place: int, rounds: int) -> tuple[str, float, float]:
    """Return the log-probabilities of a pair after so many rounds; those of the first pair move the wrong way."""
    moved = rounds * (5 * place % PAIRS - 1) * 0.5
    return pair, -40.0 - place + moved, -42.0 - place - moved


def evaluate_by_hand(store: Store) -> None:
    """Save answers of two systems to the same questions of two families, the second one with paths."""
    store.start_run(EVALUATING, total=80, command="insightv evaluate")
    for system, share in SYSTEMS.items():
        add_answers(store, EVALUATING.id, "reasoning", system, [answer(system, share, place) for place in range(40)])
    store.end_run(EVALUATING.id, "done", done=80)


def answer(system: str, share: float, place: int) -> Answered:
    """Return an answer that is right for the first questions of a family alone, and has a path where agents answer."""
    right = place // 2 < share * 20
    details = {"family": ("bar_total", "table_sum")[place % 2], "level": 1 + place % 2}
    if system == "two agents":
        details |= {"path_right": right if place % 4 else not right, "path_by": "exact verifier"}
    return Answered(f"q{place:02}", "1", "correct" if right else "wrong", "", 30, 0.2, details)


def start_running(store: Store, done: int = 3) -> Run:
    """Save a third round that is under way, in this very process."""
    run = replace(SECOND, id="3" * 20, settings=SECOND.settings | {"adapter": "t" * 20})
    store.start_run(run, total=STEPS, command="insightv dpo --project a.db")
    for step in range(1, done + 1):
        add_metrics(store, run.id, step, {"loss": 0.7 - step / 100})
    store.note_progress(run.id, done)
    return run
