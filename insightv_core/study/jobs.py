"""What a study is made of: training and systems, in order of importance."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from insightv_core.agents import Agent
from insightv_core.assess import AssessSettings
from insightv_core.curate.settings import SCORE, CurateSettings
from insightv_core.errors import UserError
from insightv_core.evaluate.items import Item
from insightv_core.evaluate.plan import (
    ALONE,
    ALOUD_BASE,
    BASE,
    BOTH,
    COPIED,
    MULTI_TURN,
    ONE_MODEL,
    Planned,
    carry_out,
    name_majority,
    plan_agents,
    plan_base,
    plan_majority,
    plan_one_model,
    plan_pair,
    plan_samples,
)
from insightv_core.records import Run, Sampling
from insightv_core.store import Store
from insightv_core.store.evaluations import answered_items, label_model, load_outcomes
from insightv_core.study.progress import Meter
from insightv_core.study.sets import DIRECT_SET, MULTI_TURN_SET, REASON_SET, SUMMARY_SET, share_set
from insightv_core.study.settings import StudySettings
from insightv_core.vlm import VLM

if TYPE_CHECKING:
    from transformers import TrainerCallback

REASONING, PERCEPTION = "nano reasoning", "nano perception"
TRAINING, CHAINS, ANSWERS = "training", "chains", "answers"
CORE = (ALONE, COPIED, BOTH)
ROUND_TEMPERATURE = 0.9
SCORED = "DPO on a blind judge's scores"
BY_SCORES = f"{BOTH}, {SCORED}"
STOPPED = "there was no time left: the same command goes on"


@dataclass
class Workshop:
    """What every job needs, and what came of training so far: folders of adapters, or why there is none.

    `calls` holds for each system its conversations a question, those it would need alone, and what its job calls it.
    """

    store: Store
    model: str
    vlm: VLM
    run: Run
    curation: str
    settings: StudySettings
    meter: Meter
    stopped: Callable[[], bool]
    items: Mapping[str, Sequence[Item]]
    adapters: dict[tuple[str, int], str] = field(default_factory=dict)
    failures: dict[tuple[str, int], str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    calls: dict[str, tuple[int, int, str]] = field(default_factory=dict)

    def agent(self, name: str, seed: int) -> Agent:
        """Return the model with the adapter that was trained on a set; `UserError` says why there is none."""
        if (name, seed) not in self.adapters:
            raise UserError(self.failures.get((name, seed), STOPPED))
        return Agent(self.vlm, self.adapters[name, seed])

    def pair(self, seed: int) -> tuple[Agent, Agent]:
        """Return reasoning and summary agent."""
        return self.agent(REASON_SET, seed), self.agent(SUMMARY_SET, seed)

    def mean_tokens(self, system: str) -> float:
        """Return the tokens of an answer of a system, by its answers with the first seed."""
        found = load_outcomes(self.store, self.run.id, REASONING).get(system, [])
        tokens = [each.tokens for each in found if each.details["seed"] == 0]
        if not tokens:
            raise UserError(f"it is measured by the tokens of {system}, which has no answers")
        return sum(tokens) / len(tokens)


@dataclass(frozen=True)
class Job:
    """A piece of the study: what it is called, its kind and size for the display, and its work.

    `work` yields the units that are done and whether they were done just now. `system` is what is left out where it
    fails. `needs` are the titles of the jobs that must be over before.
    """

    title: str
    kind: str
    units: float
    work: Callable[[Workshop], Iterator[tuple[float, bool]]]
    system: str | None = None
    needs: tuple[str, ...] = ()


def title_training(name: str, seed: int) -> str:
    """Return the title of the job that trains on a set."""
    return f"training on {name}, seed {seed}"


def title_round(what: str, seed: int) -> str:
    """Return the title of the job that samples, pairs and trains."""
    return f"{what}, seed {seed}"


def title_answers(system: str, seed: int, benchmark: str = REASONING) -> str:
    """Return the title of the job in which a system answers."""
    return f"{system}, {benchmark}, seed {seed}"


def list_jobs(vlm: VLM, settings: StudySettings, rows: Mapping[str, int], seeds: int) -> list[Job]:
    """Return the whole study in order of importance: what the first claims rest on comes first."""
    base, shapes = plan_base(Agent(vlm), controls=True), plan_agents(Agent(vlm), Agent(vlm), controls=True)
    core, controls = [each for each in shapes if each.name in CORE], [each for each in shapes if each.name not in CORE]
    jobs = [answer(each.name, each.writes, partial(same, each), settings, 0) for each in base]
    jobs.append(answer(BASE, False, partial(same, base[0]), settings, 0, PERCEPTION))
    each_seed = range(seeds)
    for seed in each_seed:
        jobs += [train(REASON_SET, settings, rows, seed), train(SUMMARY_SET, settings, rows, seed)]
        jobs += [agents_job(shape, settings, seed) for shape in core]
        jobs += [agents_job(shape, settings, seed, PERCEPTION) for shape in core]
    for seed in each_seed:
        jobs += [train(DIRECT_SET, settings, rows, seed), one_model_job(settings, seed)]
        jobs += [train(MULTI_TURN_SET, settings, rows, seed), multi_turn_job(settings, seed)]
    for seed in each_seed:
        jobs += [agents_job(shape, settings, seed) for shape in controls]
    for seed in each_seed:
        for number in range(1, settings.rounds + 1):
            jobs += [train_dpo(settings, seed, number), round_job(number, settings, seed)]
        if settings.rounds:
            jobs.append(round_job(settings.rounds, settings, seed, PERCEPTION))
    for seed in each_seed:
        if settings.judge and settings.rounds:
            jobs += [train_on_scores(settings, seed), policy_job(BY_SCORES, SCORED, settings, seed)]
    for seed in each_seed:
        for share in sorted(settings.shares):
            jobs += [train(share_set(share), settings, rows, seed), share_job(settings, seed, share)]
    for seed in each_seed:
        jobs += sample_jobs(settings, seed)
    return jobs


def same(planned: Planned, shop: Workshop) -> Planned:
    """Return what is planned already."""
    return planned


def answer(
    system: str, writes: bool, plan: Callable[[Workshop], Planned], settings: StudySettings, seed: int,
    benchmark: str = REASONING, calls: int = 1, needs: tuple[str, ...] = (),
) -> Job:  # fmt: skip
    """Return the job of a system that answers all questions of a benchmark."""
    count = settings.questions if benchmark == REASONING else settings.perception

    def work(shop: Workshop) -> Iterator[tuple[float, bool]]:
        planned = plan(shop)
        shop.calls[planned.name] = planned.calls, planned.alone, system
        before = bool(answered_items(shop.store, shop.run.id, benchmark, planned.name, seed=seed))
        for done in carry_out(shop.store, shop.run.id, benchmark, planned, shop.items[benchmark], seed=seed):
            yield done * calls, not before
            before = False

    title = title_answers(system, seed, benchmark)
    return Job(title, CHAINS if writes else ANSWERS, count * calls, work, system, needs)


def agents_job(shape: Planned, settings: StudySettings, seed: int, benchmark: str = REASONING) -> Job:
    """Return the job of one of the systems that `plan_agents` plans."""

    def plan(shop: Workshop) -> Planned:
        return next(each for each in plan_agents(*shop.pair(seed), controls=True) if each.name == shape.name)

    needs: tuple[str, ...] = (title_training(REASON_SET, seed), title_training(SUMMARY_SET, seed))
    if shape.calls < shape.alone:  # it reads the chains of the reasoning agent
        needs += (title_answers(COPIED, seed, benchmark),)
    return answer(shape.name, shape.writes, plan, settings, seed, benchmark, needs=needs)


def one_model_job(settings: StudySettings, seed: int) -> Job:
    """Return the job of direct supervised fine-tuning."""
    needs = (title_training(DIRECT_SET, seed),)
    return answer(
        ONE_MODEL, True, lambda shop: plan_one_model(shop.agent(DIRECT_SET, seed)), settings, seed, needs=needs
    )


def multi_turn_job(settings: StudySettings, seed: int) -> Job:
    """Return the job of one model in both roles."""

    def plan(shop: Workshop) -> Planned:
        both = shop.agent(MULTI_TURN_SET, seed)
        return plan_pair(MULTI_TURN, both, both)

    return answer(MULTI_TURN, True, plan, settings, seed, needs=(title_training(MULTI_TURN_SET, seed),))


def name_round(number: int) -> str:
    """Return the name of both agents after a round of DPO of the first."""
    return f"{BOTH}, DPO round {number}"


def round_job(number: int, settings: StudySettings, seed: int, benchmark: str = REASONING) -> Job:
    """Return the job of both agents after a round of DPO."""
    return policy_job(name_round(number), tell_round(number), settings, seed, benchmark)


def policy_job(name: str, what: str, settings: StudySettings, seed: int, benchmark: str = REASONING) -> Job:
    """Return the job of both agents after DPO of the first, which `name` tells of, and `what` of its training."""
    return answer(
        name, True, lambda shop: plan_pair(name, shop.agent(name, seed), shop.agent(SUMMARY_SET, seed)), settings, seed,
        benchmark, needs=(title_round(what, seed), title_training(SUMMARY_SET, seed)),
    )  # fmt: skip


def name_share(share: float) -> str:
    """Return the name of both agents, the first trained on a share of its set."""
    return f"{BOTH}, {100 * share:g}% of the reasoning set"


def share_job(settings: StudySettings, seed: int, share: float) -> Job:
    """Return the job of both agents whose reasoning agent saw a share of its set."""
    name = name_share(share)
    return answer(
        name, True, lambda shop: plan_pair(name, shop.agent(share_set(share), seed), shop.agent(SUMMARY_SET, seed)),
        settings, seed, needs=(title_training(share_set(share), seed), title_training(SUMMARY_SET, seed)),
    )  # fmt: skip


def sample_jobs(settings: StudySettings, seed: int) -> list[Job]:
    """Return majority votes and best-of-N that cost as many tokens as `samples` chains do; their numbers follow."""
    samples = settings.samples

    def sampled(place: int, shop: Workshop) -> Planned:
        chain, both = shop.mean_tokens(COPIED), shop.mean_tokens(BOTH)
        judged = max(1, min(samples, round(samples * chain / both)))
        return plan_samples(*shop.pair(seed), samples, judged, seed)[place]

    def single(name: str, shop: Workshop) -> Planned:
        agent = shop.agent(DIRECT_SET, seed) if name == ONE_MODEL else Agent(shop.vlm)
        count = max(1, round(samples * shop.mean_tokens(COPIED) / shop.mean_tokens(name)))
        return plan_majority(name, agent, min(count, 8 * samples), seed)

    titles = (name_majority(COPIED, samples), "best of sampled chains by the summary agent")
    measured = (title_answers(COPIED, 0), title_answers(BOTH, 0))
    trained = (title_training(REASON_SET, seed), title_training(SUMMARY_SET, seed))
    votes = answer(
        titles[0], True, partial(sampled, 0), settings, seed, calls=samples, needs=(*measured, *trained)
    )  # fmt: skip
    jobs = [votes, answer(titles[1], False, partial(sampled, 1), settings, seed, calls=samples, needs=(votes.title,))]
    for name, own in ((ONE_MODEL, (title_training(DIRECT_SET, seed),)), (ALOUD_BASE, ())):
        jobs.append(answer(
            f"{name}, majority at equal tokens", True, partial(single, name), settings, seed, calls=samples,
            needs=(*measured, title_answers(name, 0), *own),
        ))  # fmt: skip
    return jobs


# -- training ----------------------------------------------------------------------------------------------------------


def train(name: str, settings: StudySettings, rows: Mapping[str, int], seed: int) -> Job:
    """Return the job of fine-tuning on one of the study's sets."""
    from insightv_core.train.settings import SFTSettings

    chosen = SFTSettings(
        learning_rate=settings.learning_rate, epochs=settings.epochs, batch_size=settings.batch_size, seed=seed
    )

    def work(shop: Workshop) -> Iterator[tuple[float, bool]]:
        from insightv_core.train.run import train_agent

        try:
            trained = train_agent(
                shop.store, name, shop.model, chosen, curation=shop.curation, quiet=True,
                callbacks=[watch_steps(shop, settings.batch_size)],
            )  # fmt: skip
        except UserError as error:
            shop.failures[name, seed] = f"its model could not be trained: {error}"
            raise
        shop.adapters[name, seed] = trained.folder
        yield 0.0, False

    return Job(title_training(name, seed), TRAINING, rows[name] * settings.epochs, work)


def tell_round(number: int) -> str:
    """Return what the training of a round of DPO is called."""
    return f"round {number} of DPO"


def train_dpo(settings: StudySettings, seed: int, number: int) -> Job:
    """Return the job of a round of DPO, sampled from the policy before it; the first starts at the SFT agent.

    Its pairs are of right and wrong answers, without a judge, so that none but the question's own truth decides.
    """
    before = title_round(tell_round(number - 1), seed) if number > 1 else title_training(REASON_SET, seed)
    feedback = {"rounds": number, "judge": None}
    return play_rounds(name_round(number), tell_round(number), feedback, settings, seed, (before,))


def train_on_scores(settings: StudySettings, seed: int) -> Job:
    """Return the job of a round of DPO on pairs by a judge's scores alone, which is not told what is right (RLAIF).

    It judges the paths that the first round sampled.
    """
    feedback = {
        "rounds": 1, "judge": settings.judge, "assess": AssessSettings(blind=True, seed=seed),
        "curate": CurateSettings(pairs_by=SCORE),
    }  # fmt: skip
    return play_rounds(BY_SCORES, SCORED, feedback, settings, seed, (title_round(tell_round(1), seed),))


def play_rounds(
    name: str, what: str, feedback: dict, settings: StudySettings, seed: int, needs: tuple[str, ...]
) -> Job:
    """Return the job of rounds of DPO of a seed's reasoning agent, with what decides their pairs."""
    from insightv_core.train.settings import DPOSettings

    training = DPOSettings(learning_rate=settings.dpo_learning_rate, gradient_accumulation=1, seed=seed)

    def work(shop: Workshop) -> Iterator[tuple[float, bool]]:
        from insightv_core.rounds import RoundsSettings, run_rounds

        chosen = RoundsSettings(
            questions=settings.round_questions, paths=settings.round_paths, evaluate=0,
            sampling=Sampling((ROUND_TEMPERATURE,), seed=seed), training=training, **feedback,
        )  # fmt: skip
        try:
            start = shop.agent(REASON_SET, seed).adapter or ""
            trained = run_rounds(shop.store, shop.model, start, chosen, quiet=True)[-1].trained
        except UserError as error:
            shop.failures[name, seed] = f"{what}: {error}"
            raise
        label_model(shop.store, trained.fingerprint, f"study-dpo-{trained.fingerprint[:8]}")
        shop.adapters[name, seed] = trained.folder
        yield 0.0, False

    units = settings.round_questions * settings.round_paths
    return Job(title_round(what, seed), CHAINS, units, work, needs=needs)


def watch_steps(shop: Workshop, rows: int) -> "TrainerCallback":
    """Return a callback that moves the display with every step, and stops training once the study is to stop."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            shop.meter.ignore_time()

        def on_step_end(self, args, state, control, **kwargs):
            shop.meter.advance(rows)
            if shop.stopped():
                raise KeyboardInterrupt

    return Watch()
