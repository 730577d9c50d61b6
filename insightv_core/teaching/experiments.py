"""Small experiments of the notebooks: what a cache saves, what the summary agent says of chains that are broken."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from insightv_core import prompts
from insightv_core.agents import Agent, Chain, Solution, SolveSettings, judge_chains, make_solution
from insightv_core.answers import CORRECT
from insightv_core.curate import Curation
from insightv_core.evaluate import Item, System, SystemReport, grade
from insightv_core.judge_report import JudgedPath, draw_again
from insightv_core.nano.world import Example, reference_chains
from insightv_core.parse import FLAWED, write_step
from insightv_core.records import Answered, Question, Sampling, Step, StepRecord
from insightv_core.teaching.classroom import Classroom
from insightv_core.teaching.truth import verify_chain
from insightv_core.vlm import VLM, Talk

if TYPE_CHECKING:
    from insightv_core.train.run import Trained


def measure_turns(vlm: VLM, question: Question, image: Path, *, paths: int, turns: int, kept: bool) -> dict[str, int]:
    """Return what passes a model for some paths of so many turns: as one conversation, or sent again at every turn."""
    sampling, before = Sampling((0.9,), max_tokens=128), vlm.usage()
    opening = prompts.ask(prompts.write_question(question), prompts.GENERATE)
    if kept:
        talk = Talk(
            question.id, opening, (image,), tuple(range(paths)),
            lambda replies: prompts.CONTINUE if len(replies) < turns else None,
        )  # fmt: skip
        list(vlm.converse([talk], sampling))
    else:
        for sample in range(paths):
            messages = opening
            for _ in range(turns):
                (said,) = vlm.converse([Talk(question.id, messages, (image,), (sample,))], sampling)
                messages = [*messages, prompts.assistant(said.replies[0].text), prompts.user(prompts.CONTINUE)]
    after = vlm.usage()
    return {
        "pictures read": after.images - before.images,
        "prompt tokens": after.prefill_tokens - before.prefill_tokens,
        "tokens written": after.decoded_tokens - before.decoded_tokens,
    }


def count_kinds(curation: Curation) -> dict[str, dict[str, int]]:
    """Return the rows that can be trained on, by set and kind."""
    sets = {"reasoning set": curation.reason, "summary set": curation.summary}
    return {name: dict(Counter(row.kind for row in rows if row.excluded is None)) for name, rows in sets.items()} | {
        "pairs": dict(Counter(f"pair by {pair.reason}" for pair in curation.pairs if pair.excluded is None))
    }


def break_chain(example: Example) -> tuple[Step, ...]:
    """Return a chain about a nano scene in which the exact verifier finds something false, the same each time."""
    from insightv_core.nano.training.corpus import write_flawed_path

    rng = Random(example.seed)
    while True:
        steps = write_flawed_path(example, rng)[0]
        if FLAWED in verify_chain(example, steps):
            return steps


def judge_chain(summary: Agent, question: Question, image: Path, steps: Sequence[Step]) -> Solution:
    """Let the summary agent judge a chain that somebody else wrote, and answer."""
    turns = tuple(StepRecord(write_step(step), step, True, 0, None, 0.0) for step in steps)
    chain = Chain(turns, None)
    said = judge_chains([(question, image, chain)], summary, SolveSettings().summary)
    return make_solution(question, (), chain, said[question.id])


def try_summary(room: Classroom, summary: Agent, *, count: int) -> list[dict]:
    """Count what the summary agent says of right and of broken chains about the first questions, and its answers."""
    said: dict[str, Counter[str]] = {"right": Counter(), "broken": Counter()}
    for question in room.questions[:count]:
        example = draw_again(question)
        if example is None:
            continue
        for kind, steps in (("right", reference_chains(example, 1)[0]), ("broken", break_chain(example))):
            solution = judge_chain(summary, question, room.store.image_file(question.image), steps)
            said[kind][solution.verdict or "unreadable"] += 1
            said[kind]["answers right"] += grade(question, solution.answer, 0, 0.0, {}).outcome == CORRECT
            said[kind]["n"] += 1
    columns = ("sound", "flawed", "unreadable", "answers right", "n")
    return [{"chain": kind} | {name: counts[name] for name in columns} for kind, counts in said.items()]


# -- looking at rounds of DPO ------------------------------------------------------------------------------------------


def load_moves(room: Classroom, trained: "Trained") -> list[dict]:
    """Return the log-probabilities of each pair of a round, under the reference and under what was trained, in nats."""
    from insightv_core.store.training import list_rounds, load_pair_logprobs

    (played,) = (each for each in list_rounds(room.store) if each["run"] == trained.run)
    before, after = (load_pair_logprobs(room.store, played[name]) for name in ("reference", "policy"))
    return [
        {
            "pair": pair[:8], "ref chosen": before[pair][0], "chosen": after[pair][0], "ref rejected": before[pair][1],
            "rejected": after[pair][1],
        }
        for pair in sorted(before.keys() & after.keys())
    ]  # fmt: skip


def list_moves(room: Classroom, trained: "Trained") -> list[tuple[float, float]]:
    """Return how far a round moved each pair: (chosen, rejected), each less the log-probability under the reference."""
    rows = load_moves(room, trained)
    return [(row["chosen"] - row["ref chosen"], row["rejected"] - row["ref rejected"]) for row in rows]


def describe_moves(room: Classroom, trained: "Trained", beta: float) -> dict:
    """Return the means of what a round did to its pairs."""
    moves = list_moves(room, trained)
    count = max(1, len(moves))
    margins = [beta * (chosen - rejected) for chosen, rejected in moves]
    return {
        "n": len(moves),
        "chosen moved": sum(chosen for chosen, _ in moves) / count,
        "rejected moved": sum(rejected for _, rejected in moves) / count,
        "margin": sum(margins) / count,
        "loss": sum(math.log1p(math.exp(-margin)) if margin > -500 else -margin for margin in margins) / count,
        "right way round": sum(margin > 0 for margin in margins) / count,
    }


# -- evaluating --------------------------------------------------------------------------------------------------------


def answer_all(name: str, system: System, items: Sequence[Item]) -> list[Answered]:
    """Let a system answer every item, under a progress bar."""
    from tqdm import tqdm

    return list(tqdm(system(items), name, total=len(items), unit=" answers"))


# -- tables ------------------------------------------------------------------------------------------------------------


def list_disagreements(judged: Sequence[JudgedPath]) -> list[dict]:
    """Return the scored paths whose truth is known, those first that have a flawed step and the highest scores."""
    rows = [
        {
            "path": each.path, "score": each.score, "answer right": each.truth.right,
            "flawed steps": each.truth.steps.count(FLAWED),
        }
        for each in judged
        if each.score is not None and each.truth is not None
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (not row["flawed steps"], -row["score"]))


def list_reports(reports: Sequence[SystemReport]) -> list[dict]:
    """Return the figures of evaluated systems as the rows of a table."""
    return [
        {
            "system": each.system, "right": each.accuracy.value, "low": each.accuracy.low, "high": each.accuracy.high,
            "n": each.accuracy.n, "difference": each.difference.value if each.difference else None, "p": each.p,
            "unparsed": each.unparsed,
        }
        for each in reports
    ]  # fmt: skip
