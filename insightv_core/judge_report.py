"""How far a judge can be trusted: its scores against the truth, and what moves them that should not.

The truth is that of the exact verifier where a question tells the nano scene that it was drawn from, or else what human
reviewers preferred. A path is sound when its answer is right and no step states something false. Its quality, for rank
correlation, is the share of its claims that hold, the answer counted as one more step. Steps that the verifier cannot
check count as not flawed there and are left out of the judge's step accuracy.

Every figure is {"value", "low", "high", "n"}: a 95% interval by resampling whole questions, as a question's paths
are not independent; None where a figure cannot be computed, or the interval of fewer than two questions.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from insightv_core.answers import CORRECT
from insightv_core.assess import POINTWISE, RULES, SINGLE, filter_answer
from insightv_core.errors import UserError
from insightv_core.parse import FLAWED, SOUND
from insightv_core.records import Assessment, Path, Question, Run
from insightv_core.review import fold, settle_all
from insightv_core.store import Store
from insightv_core.store.assessments import assessments_of, judge_attempts, judged_questions, judging_runs
from insightv_core.store.reviews import load_events

if TYPE_CHECKING:
    import numpy as np

    from insightv_core.nano.world import Example

EXACT, REVIEWS = "exact", "reviews"
RESAMPLES = 500
BANDS = tuple((low, low + 19) for low in range(1, 101, 20))
BINS = tuple((low, low + 4) for low in range(1, 101, 5))
MARGINS = ((1, 10), (11, 25), (26, 50), (51, 99))
Figure = dict


@dataclass(frozen=True)
class Truth:
    """What is known of a path: is its answer right, and "sound", "flawed" or "unchecked" for each step."""

    right: bool
    steps: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether the answer is right and no step is flawed."""
        return self.right and FLAWED not in self.steps

    @property
    def quality(self) -> float:
        """The share of steps that are not flawed, the answer counted as one more step."""
        return (len(self.steps) - self.steps.count(FLAWED) + self.right) / (len(self.steps) + 1)


@dataclass(frozen=True)
class JudgedPath:
    """A path that was shown to the judge, what the judge made of it, and the truth where it is known."""

    question: str
    path: str
    score: int | None
    verdicts: tuple[str, ...]
    position: int
    call: str
    attempt: int
    steps: int
    characters: int
    truth: Truth | None


def report_judge(
    store: Store,
    run: str | None = None,
    *,
    against: str | None = None,
    resamples: int = RESAMPLES,
    progress: Callable[[int], None] = lambda paths: None,
) -> dict:
    """Return the figures of a judging run, by default the newest, against the "exact" verifier or human "reviews".

    Without `against`, the exact verifier is taken where any question has a nano scene, else reviews where there are
    any. `progress` hears of paths as they are verified. Raises `UserError` where there is nothing to report on.
    """
    chosen = find_judging_run(store, run)
    judged = list(load_judged(store, chosen.id, exact=against != REVIEWS, progress=progress))
    if not judged:
        raise UserError(f"run {chosen.id} has shown no path to a judge yet: run `insightv assess` first")
    preferences = load_preferences(store) if against != EXACT else []
    known = [path for path in judged if path.truth is not None]
    if against is None:
        against = EXACT if known else REVIEWS if preferences else None
    if (against == EXACT and not known) or (against == REVIEWS and not preferences):
        raise UserError(f"run {chosen.id} has nothing to compare with: {MISSING_TRUTH[against]}")
    if against == REVIEWS:
        compared = compare_with_reviews(judged, preferences, resamples)
    else:
        compared = compare_with_truth(known, resamples)
    return {
        "run": chosen.id,
        "model": chosen.model.name if chosen.model else None,
        "mode": chosen.settings["mode"],
        "seed": chosen.settings["seed"],
        "against": against,
        "questions": len({path.question for path in judged}),
        "questions_with_truth": len({path.question for path in known}) if against == EXACT else None,
        "paths": len(judged),
        **compared,
        **measure_biases(judged, resamples),
        **compare_runs(store, chosen, judged, resamples),
    }


MISSING_TRUTH = {
    EXACT: "no question carries the family, level, seed and split of the nano scene that it was drawn from; import the "
    "demo questions, or compare with reviews",
    REVIEWS: "nobody has voted on pairs of its paths yet; review some, or compare with the exact verifier",
}


# -- loading -----------------------------------------------------------------------------------------------------------


def find_judging_run(store: Store, run: str | None) -> Run:
    """Return the judging run with that id or beginning of an id, by default the one that was active last."""
    if run is None:
        known = judging_runs(store)
        if not known:
            raise UserError(f"no judge has assessed paths in {store.file} yet: run `insightv assess` first")
        run = known[0]
    found = store.run(run)
    if found.stage != "assess" or found.settings["mode"] == RULES:
        raise UserError(f"run {found.id} is no run of a judge: give a run of `insightv assess` with a model")
    return found


def load_judged(store: Store, run: str, *, exact: bool, progress: Callable[[int], None]) -> Iterable[JudgedPath]:
    """Yield the paths that a run has shown to the judge, with the exact truth where that is asked for and known."""
    shown: dict[str, Assessment] = {
        assessment.path: assessment for assessment in assessments_of(store, run=run) if assessment.call is not None
    }
    attempts = judge_attempts(store, run)
    for asked in judged_questions(store, run):
        question = store.question(asked)
        example = draw_again(question) if exact else None
        known: dict[tuple[str, str], str] = {}
        paths = [path for path in store.paths_of(question.id) if path.id in shown]
        for path in paths:
            said = shown[path.id]
            yield JudgedPath(
                question.id, path.id, said.score, said.verdicts, said.position or 0, said.call or "",
                attempts[said.call or ""], len(path.steps),
                sum(len(step.summary) + len(step.content) for step in path.steps),
                find_truth(question, path, example, known) if example else None,
            )  # fmt: skip
        progress(len(paths))


def draw_again(question: Question) -> "Example | None":
    """Return the nano example that a question was made from, None where it names none or a different one."""
    from insightv_core.nano.world import make_example

    told = {"family": question.family, "level": question.level, **question.metadata}
    family, level, seed, split = (told.get(name) for name in ("family", "level", "seed", "split"))
    if type(seed) is not int or type(level) is not int or not (isinstance(family, str) and isinstance(split, str)):
        return None
    try:
        example = make_example(seed, split=split, family=family, level=level)
    except UserError:
        return None
    return example if (example.question, example.answer) == (question.text, question.answer) else None


def find_truth(question: Question, path: Path, example: "Example", known: dict[tuple[str, str], str]) -> Truth:
    """Verify a path of a question; `known` keeps verdicts, as the paths of a question often share steps."""
    from insightv_core.nano.verify import verify_step

    for step in path.steps:
        if (step.summary, step.content) not in known:
            known[step.summary, step.content] = verify_step(
                step, example.scene, answer=example.answer, statements=example.options
            )
    verdicts = tuple(known[step.summary, step.content] for step in path.steps)
    return Truth(filter_answer(question, path).outcome == CORRECT, verdicts)


def load_preferences(store: Store) -> list[tuple[str, str]]:
    """Return (preferred, other) path ids of the pairs on which reviewers prefer one path."""
    settled = settle_all(fold(load_events(store))).values()
    return [(each.better, each.worse) for found in settled for each in found if not each.tied]


# -- figures -----------------------------------------------------------------------------------------------------------


def compare_with_truth(known: Sequence[JudgedPath], resamples: int) -> dict:
    """Return how scores and step verdicts compare with what is known of the paths."""
    scored = [(path, path.score, path.truth) for path in known if path.score is not None and path.truth is not None]
    groups = [path.question for path, _, _ in scored]
    scores = [score for _, score, _ in scored]
    sound = [truth.sound for _, _, truth in scored]
    right = [truth.right for _, _, truth in scored]
    steps = [
        (path.question, said == FLAWED, true == FLAWED)
        for path, _, truth in scored
        for said, true in zip(path.verdicts, truth.steps, strict=True)
        if true in (SOUND, FLAWED)
    ]
    agreed = [(group, said == true) for group, said, true in steps]
    recalled = [(group, said) for group, said, true in steps if true]
    precise = [(group, true) for group, said, true in steps if said]

    def estimate_auc(chosen: Sequence[bool], labels: Sequence[bool]) -> Figure:
        kept = [k for k, keep in enumerate(chosen) if keep]
        figure = estimate(
            area_under_curve,
            [[scores[k] for k in kept], [labels[k] for k in kept]],
            [groups[k] for k in kept],
            resamples,
        )
        sources = [{groups[k] for k in kept if labels[k] == label} for label in (True, False)]
        # One question's paths alone on either side would make the interval far too narrow.
        return figure if min(map(len, sources)) > 1 else figure | {"low": None, "high": None}

    return {
        "paths_sound": sum(sound),
        "paths_right": sum(right),
        "auc": estimate_auc([True] * len(scored), sound),
        "auc_answers": estimate_auc([True] * len(scored), right),
        "auc_right_answers": estimate_auc(right, sound),
        "auc_first_try": estimate_auc([path.attempt == 0 for path, _, _ in scored], sound),
        "auc_within_question": estimate_within(scores, sound, groups, resamples),
        "spearman": estimate(
            rank_correlation, [scores, [truth.quality for _, _, truth in scored]], groups, resamples
        ),
        "step_accuracy": estimate_share(agreed, resamples),
        "step_recall": estimate_share(recalled, resamples),
        "step_precision": estimate_share(precise, resamples),
        "calibration": [
            {"from": low, "to": high}
            | estimate_share(
                [(g, s) for g, score, s in zip(groups, scores, sound, strict=True) if low <= score <= high], resamples
            )
            for low, high in BANDS
        ],
        "distribution": [
            {"from": low, "to": high}
            | {
                name: sum(low <= score <= high and s == wanted for score, s in zip(scores, sound, strict=True))
                for name, wanted in ((SOUND, True), (FLAWED, False))
            }
            for low, high in BINS
        ],
    }  # fmt: skip


def compare_with_reviews(judged: Sequence[JudgedPath], preferences: Sequence[tuple[str, str]], resamples: int) -> dict:
    """Return how often the judge gives the path that reviewers prefer the higher score, a tie counting half.

    Calibration is by the distance of the two scores. Reviews say nothing of single paths and steps, so there is no
    rank correlation and no step accuracy.
    """
    by_id = {path.path: path for path in judged if path.score is not None}
    margins = [
        (by_id[one].question, (by_id[one].score or 0) - (by_id[other].score or 0))
        for one, other in preferences
        if one in by_id and other in by_id
    ]
    won = [(group, (margin > 0) + 0.5 * (margin == 0)) for group, margin in margins]
    return {
        "auc": estimate_mean(won, resamples),
        "spearman": estimate_mean([], resamples),
        "step_accuracy": estimate_mean([], resamples),
        "calibration": [
            {"from": low, "to": high}
            | estimate_share(
                [(group, margin > 0) for group, margin in margins if low <= abs(margin) <= high], resamples
            )
            for low, high in MARGINS
        ],
        "distribution": [],
    }


def measure_biases(judged: Sequence[JudgedPath], resamples: int) -> dict:
    """Return the shares of unscored paths and of scores that took a retry, and what place and length do to scores.

    `position_bias` is how many points the last path of a call gets more than the first: the slope of the score over
    the place in the call, from 0 for the first to 1 for the last, both taken as distances from the call's mean. The
    order is random, so without bias it is 0. `length_bias` and `step_bias` are rank correlations of the score with the
    number of characters and of steps; as detail is part of what is scored, some is to be expected.
    """
    scored = [path for path in judged if path.score is not None]
    groups = [path.question for path in scored]
    scores = [path.score for path in scored]
    places, distances, called = center_by_call(scored)
    return {
        "unscored": estimate_share([(path.question, path.score is None) for path in judged], resamples),
        "retried": estimate_share([(path.question, path.attempt > 0) for path in scored], resamples),
        "position_bias": estimate(slope, [places, distances], called, resamples),
        "length_bias": estimate(rank_correlation, [scores, [path.characters for path in scored]], groups, resamples),
        "step_bias": estimate(rank_correlation, [scores, [path.steps for path in scored]], groups, resamples),
    }


def center_by_call(scored: Sequence[JudgedPath]) -> tuple[list[float], list[float], list[str]]:
    """Return places in their call from 0 to 1 and scores, both less their call's mean, and the questions."""
    calls: dict[str, list[JudgedPath]] = defaultdict(list)
    for path in scored:
        calls[path.call].append(path)
    places, distances, groups = [], [], []
    for together in calls.values():
        if len(together) < 2:
            continue
        mean = sum(path.score or 0 for path in together) / len(together)
        for path in together:
            places.append((path.position - 1) / (len(together) - 1) - 0.5)
            distances.append((path.score or 0) - mean)
            groups.append(path.question)
    return places, distances, groups


def compare_runs(store: Store, run: Run, judged: Sequence[JudgedPath], resamples: int) -> dict:
    """Return how a run's scores agree with those of the same judge in the other mode, and in another order.

    `mode_agreement` and `order_agreement` are rank correlations over the paths that both have scored, and
    `order_difference` is how many points the two orders differ by on average. The other run is the newest by the same
    model with the same settings, except the mode and its paths a call, or except the seed.
    """
    other_mode = {SINGLE: POINTWISE, POINTWISE: SINGLE}[run.settings["mode"]]
    modes = pair_scores(judged, find_twin(store, run, {"mode": other_mode, "paths_per_call": None}), store)
    orders = pair_scores(judged, find_twin(store, run, {"seed": None}), store)
    return {
        "mode_agreement": estimate(rank_correlation, modes[1:], modes[0], resamples),
        "order_agreement": estimate(rank_correlation, orders[1:], orders[0], resamples),
        "order_difference": estimate_mean(
            [(group, abs(one - other)) for group, one, other in zip(*orders, strict=True)], resamples
        ),
    }


def find_twin(store: Store, run: Run, changed: dict) -> str | None:
    """Return the newest other run of the judge that has the same settings but for some: these values, None for any."""
    free = dict.fromkeys(changed)
    for known in judging_runs(store):
        other = store.run(known)
        differs = all(value in (None, other.settings.get(name)) for name, value in changed.items())
        if other.id != run.id and other.model == run.model and differs and other.settings | free == run.settings | free:
            return other.id
    return None


def pair_scores(judged: Sequence[JudgedPath], twin: str | None, store: Store) -> tuple[list, list, list]:
    """Return questions, scores, and scores of the twin, for the paths that both have scored."""
    others = {each.path: each.score for each in assessments_of(store, run=twin)} if twin else {}
    found = [
        (path.question, path.score, other)
        for path in judged
        if path.score is not None and (other := others.get(path.path)) is not None
    ]
    return [each[0] for each in found], [each[1] for each in found], [each[2] for each in found]


# -- estimates ---------------------------------------------------------------------------------------------------------


def estimate(
    measure: "Callable[..., float | None]", columns: Sequence[Sequence], groups: Sequence[str], resamples: int
) -> Figure:
    """Return a measure of equally long columns, with its interval by resampling the groups."""
    import numpy as np

    arrays = [np.asarray(column, dtype=float) for column in columns]
    value = measure(*arrays) if groups else None
    low = high = None
    names, numbers = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if value is not None and len(names) > 1:
        order = np.argsort(numbers, kind="stable")
        places = np.split(order, np.cumsum(np.bincount(numbers))[:-1])
        rng = np.random.default_rng(0)
        drawn = []
        for _ in range(resamples):
            rows = np.concatenate([places[k] for k in rng.integers(len(places), size=len(places))])
            again = measure(*(array[rows] for array in arrays))
            if again is not None:
                drawn.append(again)
        if drawn:
            low, high = (float(each) for each in np.percentile(drawn, [2.5, 97.5]))
    return {"value": value, "low": low, "high": high, "n": len(groups)}


def estimate_mean(rows: Sequence[tuple[str, float]], resamples: int) -> Figure:
    """Return the mean of (group, value) rows with its interval."""
    return estimate(
        lambda values: float(values.mean()), [[value for _, value in rows]], [g for g, _ in rows], resamples
    )


def estimate_share(rows: Sequence[tuple[str, bool]], resamples: int) -> Figure:
    """Return the share of (group, yes) rows that are yes, with its interval.

    Where all or none are, resampling would give an interval without width: Wilson's over the groups stands in.
    """
    from scipy.stats import binomtest

    figure = estimate_mean(rows, resamples)
    groups = len({group for group, _ in rows})
    if figure["value"] in (0, 1) and groups > 1:
        interval = binomtest(groups if figure["value"] else 0, groups).proportion_ci(method="wilson")
        return figure | {"low": float(interval.low), "high": float(interval.high)}
    return figure


def estimate_within(scores: Sequence[int], sound: Sequence[bool], groups: Sequence[str], resamples: int) -> Figure:
    """Return how often a sound path has a higher score than a flawed one of its question; `n` counts such pairs."""
    members: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for score, up, group in zip(scores, sound, groups, strict=True):
        members[group][0 if up else 1].append(score)
    won = [
        (group, (up > down) + 0.5 * (up == down))
        for group, (ups, downs) in members.items()
        for up in ups
        for down in downs
    ]
    return estimate_mean(won, resamples)


def area_under_curve(scores: "np.ndarray", positive: "np.ndarray") -> float | None:
    """Return the chance that a positive scores higher than a negative, ties counting half; None without both kinds."""
    from scipy.stats import rankdata

    ups = int(positive.sum())
    downs = len(positive) - ups
    if not ups or not downs:
        return None
    ranks = rankdata(scores)[positive.astype(bool)].sum()
    return float((ranks - ups * (ups + 1) / 2) / (ups * downs))


def rank_correlation(one: "np.ndarray", other: "np.ndarray") -> float | None:
    """Return Spearman's rank correlation; None for fewer than two values or where one side is constant."""
    from scipy.stats import spearmanr

    if len(one) < 2 or one.min() == one.max() or other.min() == other.max():
        return None
    return float(spearmanr(one, other).statistic)


def slope(places: "np.ndarray", distances: "np.ndarray") -> float | None:
    """Return the slope of centred scores over centred places; None without two places."""
    spread = float((places**2).sum())
    return float((places * distances).sum()) / spread if spread else None
