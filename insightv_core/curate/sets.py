"""Which paths are imitated, and which are shown to the summary agent to be judged: pure functions on candidates."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from operator import itemgetter

from insightv_core.answers import CORRECT, WRONG
from insightv_core.curate.settings import CurateSettings
from insightv_core.parse import FLAWED, SOUND, SummaryReply, write_step, write_summary
from insightv_core.records import COMPLETE, Candidate, Preference, Question, SetRow, Step

REASON, OPTIMAL, FLAWED_MID, FLAWED_LOW, WRONG_ANSWER, OWN_OUTPUT, PLAIN = (
    "reason", "optimal", "flawed mid", "flawed low", "wrong answer", "own output", "plain",
)  # fmt: skip
SUMMARY_KINDS = (OPTIMAL, FLAWED_MID, FLAWED_LOW, WRONG_ANSWER, OWN_OUTPUT, PLAIN)
FLAWED_KINDS = (FLAWED_MID, FLAWED_LOW, WRONG_ANSWER)
AGENT_STYLE = "chain"  # of runs in which a trained agent writes whole chains

Drawn = tuple[str, int, SetRow]  # what decides the draw, the question's place, the row


@dataclass
class SummaryPool:
    """Rows that the summary set can be drawn from: the optimal ones, and by kind what has to share room."""

    optimal: list[Drawn] = field(default_factory=list)
    own: list[Drawn] = field(default_factory=list)
    flawed: dict[str, list[Drawn]] = field(default_factory=lambda: {kind: [] for kind in FLAWED_KINDS})
    plain: list[Drawn] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def write_chain(steps: Sequence[Step]) -> str:
    """Return a chain as the reasoning agent is to write it: one JSON object a line."""
    return "\n".join(map(write_step, steps))


def is_usable(candidate: Candidate) -> bool:
    """Tell whether a path is complete and its answer settled; what could not be read never counts as wrong."""
    return candidate.status == COMPLETE and bool(candidate.steps) and candidate.outcome in (CORRECT, WRONG)


def keep_distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the usable paths with different chains: of equal ones the first, or none where their answers differ.

    Neither agent ever reads a path's last answer, so a chain that led to a right and to a wrong one has no label.
    """
    groups: dict[tuple, list[Candidate]] = {}
    for candidate in filter(is_usable, candidates):
        groups.setdefault(tuple((step.summary, step.content) for step in candidate.steps), []).append(candidate)
    return [group[0] for group in groups.values() if len({each.outcome for each in group}) == 1]


def draw_key(settings: CurateSettings, *parts: str) -> str:
    """Return what a random order goes by: the same for the same seed, whatever else there is to draw from."""
    return sha256("\n".join((str(settings.seed), *parts)).encode()).hexdigest()


def judge_soundness(candidate: Candidate, settings: CurateSettings) -> str | None:
    """Return "sound" or "flawed" as the summary agent is to learn it, None where the judge contradicts itself.

    A wrong answer makes a chain flawed. A right one needs a score and step verdicts that say the same: no flawed step
    and a score from `reason_score`, or a flawed step and a score below. Without verdicts the score decides.
    """
    if candidate.outcome == WRONG:
        return FLAWED
    if candidate.score is None:
        return SOUND if settings.reason_score == 0 else None
    by_score = SOUND if candidate.score >= settings.reason_score else FLAWED
    by_steps = (FLAWED if FLAWED in candidate.verdicts else SOUND) if candidate.verdicts else by_score
    return by_score if by_score == by_steps else None


# -- the reasoning set -------------------------------------------------------------------------------------------------


def choose_best(
    candidates: Sequence[Candidate], settings: CurateSettings, preferences: Sequence[Preference] = ()
) -> tuple[Candidate | None, str | None]:
    """Return the path of a question that is best to imitate, and why it is not good enough, None where it is.

    Reviewers come before the judge: a path that they found worse than another good one is passed over.
    """
    written = [each for each in candidates if each.style != AGENT_STYLE]
    if not written:
        return None, "only paths of a trained agent" if candidates else "no path"
    complete = [each for each in written if each.status == COMPLETE and each.steps]
    if not complete:
        return None, "no complete path"
    correct = [each for each in complete if each.outcome == CORRECT]
    if not correct:
        return None, "no correct answer"
    scored = [each for each in correct if each.score is not None or settings.reason_score == 0]
    high = [each for each in scored if (each.score or 0) >= settings.reason_score]
    good = [each for each in high if not (settings.sound_steps and FLAWED in each.verdicts)]
    if good:
        return rank_best(good, settings, preferences), None
    if not scored:
        return rank_best(correct, settings, preferences), "no score"
    if not high:
        return rank_best(scored, settings, preferences), f"score below {settings.reason_score}"
    return rank_best(high, settings, preferences), "a flawed step"


def rank_best(
    candidates: Sequence[Candidate], settings: CurateSettings, preferences: Sequence[Preference]
) -> Candidate:
    """Return the candidate with the highest score that reviewers prefer no other one to; the seed settles ties."""
    known = {each.path for each in candidates}
    beaten = {each.worse for each in preferences if not each.tied and each.better in known}
    standing = [each for each in candidates if each.path not in beaten] or candidates
    return min(standing, key=lambda each: (-(each.score or 0), draw_key(settings, each.path)))


# -- the summary set ---------------------------------------------------------------------------------------------------


def add_to_pool(
    pool: SummaryPool,
    place: int,
    question: Question,
    candidates: Sequence[Candidate],
    best: Candidate | None,
    settings: CurateSettings,
) -> None:
    """Add what a question has for the summary set.

    `candidates` are from `keep_distinct`, `best` is the path in the reasoning set, and `place` the question's number.
    """
    pool.plain.append(
        (draw_key(settings, PLAIN, question.id), place, SetRow(question.id, None, PLAIN, question.answer))
    )
    by_kind: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        is_best = best is not None and candidate.steps == best.steps
        soundness = judge_soundness(best if best and is_best else candidate, settings)
        if soundness is None:
            unscored = candidate.score is None
            pool.left_out["a right answer without a score" if unscored else "score and step verdicts disagree"] += 1
        elif candidate.style == AGENT_STYLE:
            by_kind.setdefault(OWN_OUTPUT, []).append(candidate)
        elif is_best:
            pool.optimal.append(("", place, summary_row(question, candidate, OPTIMAL, SOUND)))
        elif soundness == FLAWED:
            by_kind.setdefault(flawed_kind(candidate, settings), []).append(candidate)
    for kind, found in by_kind.items():
        drawn = sorted(((draw_key(settings, each.path), each) for each in found), key=itemgetter(0))
        room = settings.own_per_question if kind == OWN_OUTPUT else 1  # one of a kind, for variety of questions
        target = pool.own if kind == OWN_OUTPUT else pool.flawed[kind]
        for key, candidate in drawn[:room]:
            verdict = judge_soundness(candidate, settings) or FLAWED
            target.append((key, place, summary_row(question, candidate, kind, verdict)))


def flawed_kind(candidate: Candidate, settings: CurateSettings) -> str:
    """Return the kind of a flawed chain: a wrong answer, or the band of its score."""
    if candidate.outcome == WRONG:
        return WRONG_ANSWER
    return FLAWED_MID if (candidate.score or 0) >= settings.mid_score else FLAWED_LOW


def summary_row(question: Question, candidate: Candidate, kind: str, verdict: str) -> SetRow:
    """Return a row that teaches a verdict on a chain and, whatever the chain says, the true answer."""
    return SetRow(question.id, candidate.path, kind, write_summary(SummaryReply(verdict, question.answer)))


def draw_summary(pool: SummaryPool, settings: CurateSettings) -> list[SetRow]:
    """Return the rows of the summary set in the order of their questions; `pool.left_out` counts what had no room."""
    room = round(settings.flawed_per_optimal * len(pool.optimal))
    weights = {FLAWED_MID: (1 - settings.wrong_share) / 2, FLAWED_LOW: (1 - settings.wrong_share) / 2}
    shares = share_out(
        room,
        {kind: len(rows) for kind, rows in pool.flawed.items()},
        weights | {WRONG_ANSWER: settings.wrong_share},
    )
    chosen = [*pool.optimal, *pool.own]
    for kind, rows in pool.flawed.items():
        chosen += take(pool, sorted(rows), shares[kind])
    chosen += take(pool, sorted(pool.plain), round(settings.plain_per_chain * len(chosen)))
    order = {kind: number for number, kind in enumerate(SUMMARY_KINDS)}
    return [row for _, _, row in sorted(chosen, key=lambda each: (each[1], order[each[2].kind], each[0]))]


def take(pool: SummaryPool, rows: list[Drawn], count: int) -> list[Drawn]:
    """Return the first rows, and count the others as left out."""
    if count < len(rows):
        pool.left_out[f"{rows[0][2].kind}: not drawn"] += len(rows) - count
    return rows[:count]


def share_out(total: int, available: Mapping[str, int], weights: Mapping[str, float]) -> dict[str, int]:
    """Divide a total by weights, as seats by votes; what one kind cannot fill goes to the others, weights or not.

    >>> share_out(10, {"a": 2, "b": 50, "c": 50}, {"a": 0.5, "b": 0.25, "c": 0.25})
    {'a': 2, 'b': 4, 'c': 4}
    """
    shares = dict.fromkeys(available, 0)
    for _ in range(min(total, sum(available.values()))):
        unfilled = [kind for kind in available if shares[kind] < available[kind]]
        neediest = max(unfilled, key=lambda kind: (weights[kind] / (shares[kind] + 0.5), -shares[kind]))
        shares[neediest] += 1
    return shares
