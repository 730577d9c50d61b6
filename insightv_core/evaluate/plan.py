"""Which systems an evaluation runs, on which pictures, and what they may take from one another; and running them.

Answers are saved some at a time, so an evaluation that was killed goes on with the questions that are left.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from insightv_core.agents import Agent
from insightv_core.evaluate.items import AS_IT_IS, BLANK, SHUFFLED, Item, with_pictures
from insightv_core.evaluate.systems import (
    ALOUD,
    GREEDY_CHAINS,
    WHOLE,
    System,
    best_of,
    chain_alone,
    direct,
    exchange,
    judged_chains,
    majority,
    one_model,
    thinking,
    two_agents,
)
from insightv_core.records import Answered, Sampling
from insightv_core.store import Store
from insightv_core.store.evaluations import add_answers, answered_items, load_answers
from insightv_core.store.training import list_models, list_rounds

TOGETHER, MOST = 64, 512  # items between two saves: at first, and of a model that is quick
SOON = 10.0  # seconds between two saves; below, twice as many items go together, as rows stand idle before each save
TEMPERATURE = 0.7
BASE, ALOUD_BASE = "base, direct", "base, thinking aloud"
ALONE, COPIED, BOTH = "summary agent, no chain", "reasoning agent alone", "two agents"
EXCHANGED = f"{BOTH}, chain of another question"
ONE_MODEL, MULTI_TURN = "direct SFT, one model", "multi-turn SFT, one model in both roles"
CONTROLS = {BLANK: "blank picture", SHUFFLED: "picture of another question"}

Known = Callable[[str], Mapping[str, Answered]]


@dataclass(frozen=True)
class Planned:
    """A system to run.

    `make` gets a function that returns another system's answers by question, and the items, and returns the system.
    `calls` is the number of conversations with a model for each question, `alone` what it were if nothing was shared.
    `writes` tells whether they are long, as chains are.
    """

    name: str
    make: Callable[[Known, Sequence[Item]], System]
    pictures: str = AS_IT_IS
    calls: int = 1
    alone: int = 1
    writes: bool = False


def plan_base(base: Agent, *, controls: bool = False) -> list[Planned]:
    """Return the base model directly, the baseline of every other system, and thinking aloud."""
    plans = [
        Planned(BASE, lambda known, items: direct(base)),
        Planned(ALOUD_BASE, lambda known, items: thinking(base), writes=True),
    ]
    if controls:
        plans += [
            Planned(f"{BASE}, {words}", lambda known, items: direct(base), pictures)
            for pictures, words in CONTROLS.items()
        ]
    return plans


def plan_agents(reasoning: Agent, summary: Agent, *, controls: bool = False) -> list[Planned]:
    """Return both agents, each of them alone, and their controls; the chains are written once."""
    plans = [
        Planned(ALONE, lambda known, items: direct(summary)),
        Planned(COPIED, lambda known, items: chain_alone(reasoning, GREEDY_CHAINS), writes=True),
        Planned(BOTH, lambda known, items: judged_chains(known(COPIED), summary), alone=2),
    ]
    if controls:
        plans.append(
            Planned(
                EXCHANGED, lambda known, items: judged_chains(exchange(known(COPIED), items), summary), alone=2
            )
        )  # fmt: skip
        plans += [
            plan_pair(f"{BOTH}, {words}", reasoning, summary, pictures=pictures) for pictures, words in CONTROLS.items()
        ]
    return plans


def plan_pair(name: str, reasoning: Agent, summary: Agent, *, pictures: str = AS_IT_IS) -> Planned:
    """Return two agents whose chains nobody shares."""
    return Planned(
        name, lambda known, items: two_agents(reasoning, summary, GREEDY_CHAINS), pictures, 2, 2, writes=True
    )


def plan_one_model(agent: Agent) -> Planned:
    """Return direct supervised fine-tuning: one model writes chain and answer in one reply."""
    return Planned(ONE_MODEL, lambda known, items: one_model(agent), writes=True)


def plan_samples(reasoning: Agent, summary: Agent, samples: int, judged: int, seed: int) -> list[Planned]:
    """Return the majority of sampled chains, and the best of as many as cost as many tokens with their verdicts."""
    name = name_majority(COPIED, samples)
    sampling = Sampling((TEMPERATURE,), seed=seed)
    return [
        Planned(
            name, lambda known, items: majority(reasoning, samples, sampling), calls=samples, alone=samples, writes=True
        ),
        Planned(
            f"best of {judged} sampled chains by the summary agent",
            lambda known, items: best_of(known(name), summary, judged), calls=judged, alone=2 * judged,
        ),
    ]  # fmt: skip


def plan_majority(name: str, agent: Agent, samples: int, seed: int) -> Planned:
    """Return the majority of samples of a single model: `name` is that of the same system without samples."""
    way = WHOLE if name == ONE_MODEL else ALOUD
    sampling = Sampling((TEMPERATURE,), seed=seed)
    return Planned(
        name_majority(name, samples), lambda known, items: majority(agent, samples, sampling, way), calls=samples,
        alone=samples, writes=True,
    )  # fmt: skip


def name_majority(name: str, samples: int) -> str:
    """Return what the majority of a system's samples is called."""
    return f"{name}, majority of {samples} samples"


def carry_out(
    store: Store, run: str, benchmark: str, planned: Planned, items: Sequence[Item], *, seed: int = 0
) -> Iterator[int]:
    """Let a planned system answer what it has not answered yet; yield how many were done or there already."""

    def known(system: str) -> dict[str, Answered]:
        return {each.item: each for each in load_answers(store, run, benchmark, system, seed=seed)}

    shown = with_pictures(items, planned.pictures)
    done = answered_items(store, run, benchmark, planned.name, seed=seed)
    if not {item.question.id for item in items} <= done:
        answer = planned.make(known, items)
        yield from answer_missing(store, run, benchmark, planned.name, shown, answer, seed=seed)
    elif done:
        yield len(done)


def answer_missing(
    store: Store, run: str, benchmark: str, system: str, items: Sequence[Item], answer: System, *, seed: int = 0
) -> Iterator[int]:
    """Answer what is not answered yet, some items at a time; yield how many were done or there already."""
    done = answered_items(store, run, benchmark, system, seed=seed)
    if done:
        yield len(done)
    left = [item for item in items if item.question.id not in done]
    together = TOGETHER
    while left:
        begun = time.monotonic()
        answered: list[Answered] = list(answer(left[:together]))
        add_answers(store, run, benchmark, system, answered, seed=seed)
        yield len(answered)
        left = left[together:]
        if time.monotonic() - begun < SOON:
            together = min(2 * together, MOST)


def list_policies(store: Store, fingerprint: str) -> list[tuple[str, str]]:
    """Return what a reasoning agent was before and after each round of DPO, the oldest first, as (name, folder).

    The last one is the agent itself; for an agent that no round made there is nothing.
    """
    rounds = list_rounds(store)
    made, by_id = {each["policy"]: each for each in rounds}, {each["id"]: each for each in rounds}
    folders = {each["fingerprint"]: each["folder"] for each in list_models(store)}
    found: list[tuple[str, str]] = []
    last = made.get(fingerprint)
    while last is not None:
        found.append((f"{BOTH}, DPO round {last['number']}", folders[last["policy"]]))
        before = by_id.get(last["previous"])
        if before is None and last["reference"] in folders:
            found.append((f"{BOTH}, before DPO", folders[last["reference"]]))
        last = before
    return found[::-1]
