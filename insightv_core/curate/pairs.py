"""Preference pairs: which of two chains the reasoning agent should rather write. Pure functions on candidates.

The paper (arXiv 2411.14432, section 3.4) trains on pairs that it samples from the agent itself, and gives no rule for
making them. Ours: a right answer beats a wrong one, then the higher score by a margin; best against worst, and among
equals those that differ least. Both paths come from one run, so that sampling from the agent alone gives pairs of the
agent alone. To compare with, pairs can be made by the judge's score alone.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from insightv_core.answers import CORRECT, WRONG
from insightv_core.curate.sets import draw_key, is_usable, keep_distinct, write_chain
from insightv_core.curate.settings import SCORE, CurateSettings
from insightv_core.parse import FLAWED
from insightv_core.records import COMPLETE, Candidate, Pair, Preference, identify

PATH, STEP = "path", "step"
BY_ANSWER, BY_SCORE, BY_REVIEW, BY_JUDGE = "answer", "score", "human", "judge"
TIED = "reviewers prefer neither"


def find_pairs(
    run: str,
    question: str,
    candidates: Sequence[Candidate],
    settings: CurateSettings,
    preferences: Sequence[Preference] = (),
) -> list[Pair]:
    """Return the pairs of a question: what reviewers said first, then by answer and score, then those of steps.

    A pair that reviewers were asked about and are tied on is there as excluded, and never comes back the other way.
    """
    reviewed = list(pair_reviewed(run, question, candidates, preferences))
    settled = {frozenset((each.better, each.worse)) for each in preferences}
    found: list[Pair] = list(reviewed)
    by_run: dict[str, list[Candidate]] = {}
    for candidate in keep_scored(candidates) if settings.pairs_by == SCORE else keep_distinct(candidates):
        by_run.setdefault(candidate.run, []).append(candidate)
    for members in by_run.values():
        known = {each.path for each in members}
        room = settings.pairs_per_question - sum(pair.chosen in known and not pair.excluded for pair in reviewed)
        for chosen, rejected, reason in list_path_pairs(members, settings, settled, room):
            found.append(make_pair(run, question, chosen, rejected, PATH, 0, reason))
        used = settled | {frozenset((pair.chosen, pair.rejected)) for pair in found}
        for chosen, rejected, shared, reason in list_step_pairs(members, settings, used):
            found.append(make_pair(run, question, chosen, rejected, STEP, shared, reason))
    return found


def make_pair(
    run: str, question: str, chosen: Candidate, rejected: Candidate, kind: str, shared: int, reason: str,
    excluded: str | None = None,
) -> Pair:  # fmt: skip
    """Return the pair, whose id depends on the run and the two paths."""
    return Pair(
        identify("pair", run, chosen.path, rejected.path, kind), run, question, chosen.path, rejected.path, kind,
        shared, reason, score_distance(chosen, rejected), excluded=excluded,
    )  # fmt: skip


def score_distance(chosen: Candidate, rejected: Candidate) -> float | None:
    """Return how much higher the chosen path scores; None without two scores of one assessing run."""
    if chosen.score is None or rejected.score is None or chosen.assessed_by != rejected.assessed_by:
        return None
    return float(chosen.score - rejected.score)


# -- by review ---------------------------------------------------------------------------------------------------------


def pair_reviewed(
    run: str, question: str, candidates: Sequence[Candidate], preferences: Sequence[Preference]
) -> Iterator[Pair]:
    """Yield the pairs that reviewers decided, whatever answer and score say."""
    known = {each.path: each for each in candidates if each.steps}
    for preference in preferences:
        better, worse = known.get(preference.better), known.get(preference.worse)
        if better and worse and better.steps != worse.steps:
            excluded = TIED if preference.tied else None
            yield make_pair(run, question, better, worse, PATH, 0, BY_REVIEW, excluded)


# -- by score alone ----------------------------------------------------------------------------------------------------


def keep_scored(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the complete paths with a score and different chains, of equal ones the first, whatever they answer."""
    scored = [each for each in candidates if each.status == COMPLETE and each.steps and each.score is not None]
    by_chain = {tuple((step.summary, step.content) for step in each.steps): each for each in reversed(scored)}
    return list(by_chain.values())


# -- by answer and score -----------------------------------------------------------------------------------------------


def list_path_pairs(
    members: Sequence[Candidate], settings: CurateSettings, settled: set[frozenset[str]], room: int
) -> Iterator[tuple[Candidate, Candidate, str]]:
    """Yield up to `room` pairs (chosen, rejected, reason): by answer, then by score, best against worst first."""
    ranked = rank(members, settings)
    reasons = (BY_JUDGE,) if settings.pairs_by == SCORE else (BY_ANSWER, BY_SCORE)
    if room <= 0 or not ranked or (reasons[0] == BY_ANSWER and ranked[0].outcome != CORRECT):
        return
    ranked = bring_near(ranked, settings)
    for reason in reasons:
        for top, bottom in walk_inwards(len(ranked)):
            if room <= 0:
                return
            chosen, rejected = ranked[top], ranked[bottom]
            if compare(chosen, rejected, settings) == reason and {chosen.path, rejected.path} not in settled:
                room -= 1
                yield chosen, rejected, reason


def rank(members: Sequence[Candidate], settings: CurateSettings) -> list[Candidate]:
    """Return candidates with the best first; among equals the seed decides."""
    return sorted(members, key=lambda each: (*rank_key(each, settings), draw_key(settings, each.path)))


def bring_near(ranked: Sequence[Candidate], settings: CurateSettings) -> list[Candidate]:
    """Order equals at both ends of a ranking so that, taken inwards, those meet that differ in the fewest words.

    Of two chains that go other ways from the start a preference loss mostly learns the way; of two that part where
    one misreads a number it learns the number.
    """
    keys = [rank_key(each, settings) for each in ranked]
    if len(ranked) < 3 or keys[0] == keys[-1]:
        return list(ranked)
    best, worst = keys.count(keys[0]), keys.count(keys[-1])
    words = [Counter(re.findall(r"\w+|[^\w\s]", write_chain(each.steps))) for each in ranked]
    tops, bottoms = range(best), range(len(ranked) - worst, len(ranked))
    matched: dict[int, int] = {}
    for _, top, bottom in sorted((count_apart(words[t], words[b]), t, b) for t in tops for b in bottoms):
        if top not in matched and bottom not in matched.values():
            matched[top] = bottom
    ends = [*matched, *(top for top in tops if top not in matched)]
    tail = [*(bottom for bottom in bottoms if bottom not in matched.values()), *reversed(matched.values())]
    return [ranked[at] for at in (*ends, *range(best, len(ranked) - worst), *tail)]


def count_apart(one: Counter[str], two: Counter[str]) -> int:
    """Return how many words stand in one text and not in the other."""
    return ((one - two) + (two - one)).total()


def rank_key(candidate: Candidate, settings: CurateSettings) -> tuple[int, int, int]:
    """Return what candidates are ranked by, the best first: right before wrong answers, then by score.

    No score is no low score: right answers without one come after the others, wrong ones before.
    """
    if settings.pairs_by == SCORE:
        return (0, 0, -(candidate.score or 0))
    if candidate.outcome == CORRECT:
        return (0, int(candidate.score is None), -(candidate.score or 0))
    return (1, int(candidate.score is not None), -(candidate.score or 0))


def walk_inwards(count: int) -> Iterator[tuple[int, int]]:
    """Yield places (top, bottom) of a ranking from both ends inwards: fresh ones first, then those used before.

    >>> list(walk_inwards(4))
    [(0, 3), (1, 2), (0, 2), (1, 3), (0, 1), (2, 3)]
    """
    for depth in range(count):
        steps = [
            (depth, depth),
            *((inner, depth) for inner in range(depth)),
            *((depth, inner) for inner in range(depth)),
        ]
        for top, up in steps:
            if top < count - 1 - up:
                yield top, count - 1 - up


def compare(chosen: Candidate, rejected: Candidate, settings: CurateSettings) -> str | None:
    """Return why the first candidate is to be preferred, None where it is not clearly better."""
    distance = score_distance(chosen, rejected)
    apart = distance is not None and distance >= settings.margin
    if settings.pairs_by == SCORE:
        return BY_JUDGE if apart and (chosen.score or 0) >= settings.chosen_score else None
    if chosen.outcome != CORRECT or (chosen.score is not None and chosen.score < settings.chosen_score):
        return None
    if rejected.outcome == WRONG:
        return BY_ANSWER
    return BY_SCORE if apart else None


# -- by step -----------------------------------------------------------------------------------------------------------


def list_step_pairs(
    members: Sequence[Candidate], settings: CurateSettings, used: set[frozenset[str]]
) -> Iterator[tuple[Candidate, Candidate, int, str]]:
    """Yield pairs (chosen, rejected, shared steps, reason) that part at the first flawed step of the rejected path.

    Both are whole chains: what the two share cancels out in a preference loss, so only the rest is learned from.
    """
    room = settings.step_pairs_per_question
    if room <= 0:
        return
    order = rank(members, settings)
    good = [each for each in order if each.verdicts and FLAWED not in each.verdicts]
    for rejected in reversed(order):
        shared = rejected.verdicts.index(FLAWED) if FLAWED in rejected.verdicts else 0
        for chosen in good if shared else ():
            if chosen.steps[:shared] != rejected.steps[:shared] or len(chosen.steps) <= shared:
                continue
            reason = compare(chosen, rejected, settings)
            if reason and frozenset((chosen.path, rejected.path)) not in used:
                room -= 1
                yield chosen, rejected, shared, reason
                break
        if room <= 0:
            return


# -- why not -----------------------------------------------------------------------------------------------------------


def explain_no_pair(candidates: Sequence[Candidate], settings: CurateSettings) -> str:
    """Say why a question has no pair."""
    if settings.pairs_by == SCORE:
        return explain_no_scores(candidates, settings)
    if not any(map(is_usable, candidates)):
        return "no complete path with a settled answer"
    if not settings.pairs_per_question:
        return "no pair by step" if settings.step_pairs_per_question else "none asked for"
    distinct = keep_distinct(candidates)
    sizes = Counter(each.run for each in distinct)
    together = [each for each in distinct if sizes[each.run] > 1]
    if not together:
        return "fewer than two different chains of a run"
    correct = [each for each in together if each.outcome == CORRECT]
    if not correct:
        return "no correct answer"
    scored = [each for each in correct if each.score is not None]
    if len(scored) == len(correct) and all((each.score or 0) < settings.chosen_score for each in scored):
        return f"right answers score below {settings.chosen_score}"
    if len(scored) < 2:
        return "fewer than two right answers with a score, and no wrong one"
    return f"scores less than {settings.margin} apart"


def explain_no_scores(candidates: Sequence[Candidate], settings: CurateSettings) -> str:
    """Say why a question has no pair by score alone."""
    scored = keep_scored(candidates)
    if not scored:
        return "no complete path with a score"
    if max(Counter(each.run for each in scored).values()) < 2:
        return "fewer than two different chains of a run with a score"
    if all((each.score or 0) < settings.chosen_score for each in scored):
        return f"all score below {settings.chosen_score}"
    return f"scores less than {settings.margin} apart"
