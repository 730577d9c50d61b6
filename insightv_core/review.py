"""Reviews of preference pairs: what events add up to, and which pair a reviewer sees next and why. Pure functions.

What a reviewer did with two paths is a stack of events: "undo" takes the last one off, "reply" answers what the judge
says about it, and anything else goes on top. Events are never changed, so the state is a fold over them, from the
first or from any state in between. Two paths are the same matter whichever curating run paired them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from zlib import crc32

from insightv_core.records import Preference, ReviewEvent, identify

VOTE, SKIP, FLAG, EDIT, REPLY, SETTLE, UNDO = "vote", "skip", "flag", "edit", "reply", "settle", "undo"
EVENTS = (VOTE, SKIP, FLAG, EDIT, REPLY, SETTLE, UNDO)
CHOSEN, REJECTED, TIE, BOTH_BAD = "chosen", "rejected", "tie", "both_bad"
CHOICES = (CHOSEN, REJECTED, TIE, BOTH_BAD)
JUDGE_WRONG, I_WAS_WRONG, UNCLEAR = "judge_wrong", "i_was_wrong", "unclear"
REPLIES = (JUDGE_WRONG, I_WAS_WRONG, UNCLEAR)

SECOND_OPINION_ONE_IN = 5  # pairs that two reviewers see, so that agreement can be measured
GOLD_ONE_IN = 10  # cards that were settled before
CLOSE = 10  # points between two scores that lie close together
UNKNOWN_DISTANCE = 30.0  # where a pair stands in the queue whose scores do not compare

Matter = tuple[str, str]  # the ids of two paths, sorted


@dataclass(frozen=True)
class Deed:
    """An event that stands, and what the reviewer replied to the judge's view of it, None where nothing."""

    event: ReviewEvent
    reply: str | None = None


Stack = tuple[Deed, ...]
State = dict[tuple[Matter, str], Stack]


# -- events ------------------------------------------------------------------------------------------------------------


def matter_of(one: str, other: str) -> Matter:
    """Return what two paths are filed under."""
    return (one, other) if one <= other else (other, one)


def fold(events: Iterable[ReviewEvent], state: State | None = None) -> State:
    """Return by matter and reviewer the events that stand after these, which follow those of `state`."""
    found: State = dict(state or {})
    for event in events:
        place = (matter_of(event.chosen, event.rejected), event.reviewer)
        found[place] = advance(found.get(place, ()), event)
    return found


def advance(stack: Stack, event: ReviewEvent) -> Stack:
    """Return a stack after one more event; nothing to take back and nothing to reply to change nothing."""
    if event.event == UNDO:
        return stack[:-1]
    if event.event == REPLY:
        return (*stack[:-1], replace(stack[-1], reply=event.choice)) if stack else stack
    return (*stack, Deed(event))


def last_deed(state: State, reviewer: str) -> Deed | None:
    """Return what a reviewer's next undo takes back: the last event of theirs that stands."""
    tops = [stack[-1] for (_, name), stack in state.items() if name == reviewer and stack]
    return max(tops, key=lambda deed: deed.event.key, default=None)


def chosen_left(pair: str, reviewer: str) -> bool:
    """Tell whether the chosen path of a pair stands on the left for a reviewer: drawn once, always the same."""
    return int(identify("side", pair, reviewer)[0], 16) % 2 == 0


# -- opinions ----------------------------------------------------------------------------------------------------------


def opinion(stack: Stack) -> Deed | None:
    """Return the vote or flag that stands; skipping says nothing, and rewriting does not vote again."""
    return next((deed for deed in reversed(stack) if deed.event.event in (VOTE, FLAG)), None)


def preferred(event: ReviewEvent) -> str | None:
    """Return the path that an event prefers, None where it prefers neither."""
    return {CHOSEN: event.chosen, REJECTED: event.rejected}.get(event.choice or "")


def withdrawn(deed: Deed) -> bool:
    """Tell whether its reviewer took a vote out of the count on seeing what the judge says."""
    return deed.event.event == VOTE and deed.reply in (I_WAS_WRONG, UNCLEAR)


def by_matter(state: State) -> dict[Matter, dict[str, Stack]]:
    """Return the stacks that hold anything, by matter and then by reviewer."""
    found: dict[Matter, dict[str, Stack]] = defaultdict(dict)
    for (matter, reviewer), stack in state.items():
        if stack:
            found[matter][reviewer] = stack
    return dict(found)


def opinions(stacks: Mapping[str, Stack]) -> dict[str, Deed]:
    """Return of each reviewer of a matter the opinion that counts."""
    held = {reviewer: opinion(stack) for reviewer, stack in stacks.items()}
    return {reviewer: deed for reviewer, deed in held.items() if deed is not None and not withdrawn(deed)}


def decision(stacks: Mapping[str, Stack]) -> ReviewEvent | None:
    """Return the event that settled a matter whose reviewers disagreed, the last where there are several."""
    settled = [deed.event for stack in stacks.values() for deed in stack if deed.event.event == SETTLE]
    return max(settled, key=lambda event: event.key, default=None)


def are_divided(held: Iterable[Deed]) -> bool:
    """Tell whether as many reviewers prefer one path as the other."""
    sides = Counter(preferred(deed.event) for deed in held)
    sides.pop(None, None)
    return len(sides) == 2 and len(set(sides.values())) == 1


def settle(matter: Matter, stacks: Mapping[str, Stack]) -> Preference | None:
    """Return what reviewers make of two paths: what settled it, or else the majority; None where nobody's vote counts.

    Where reviewers balance, or prefer neither, the paths are tied.
    """
    first, second = matter
    settled = decision(stacks)
    said = [settled] if settled else [deed.event for deed in opinions(stacks).values()]
    if not said:
        return None
    sides = [preferred(event) for event in said]
    balance = sides.count(first) - sides.count(second)
    better, worse = (first, second) if balance >= 0 else (second, first)
    return Preference(better, worse, tied=balance == 0)


def settle_all(state: State) -> dict[str, list[Preference]]:
    """Return by question what reviewers make of its pairs: the one reading of votes that curating and reports share."""
    found: dict[str, list[Preference]] = defaultdict(list)
    for matter, stacks in by_matter(state).items():
        preference = settle(matter, stacks)
        if preference is not None:
            question = next(iter(stacks.values()))[0].event.question
            found[question].append(preference)
    return dict(found)


def standing_edits(state: State) -> dict[str, str]:
    """Return by path the chain as a reviewer last rewrote it, as JSON lines."""
    edits = [deed.event for stack in state.values() for deed in stack if deed.event.event == EDIT]
    return {event.details["path"]: event.details["chain"] for event in sorted(edits, key=lambda event: event.key)}


# -- the queue ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class QueuedPair:
    """A pair as the queue sees it: `margin` is how much higher the judge scored the curated side, None if unknown.

    `flipped` tells that two assessing runs scored the two paths the other way round.
    """

    id: str
    matter: Matter
    margin: float | None
    flipped: bool = False


@dataclass(frozen=True)
class Turn:
    """A pair that a reviewer may see next, why, and how many may hold it at once, None for any number."""

    pair: str
    reason: str
    room: int | None = None


DIVIDED = "reviewers disagree on it, and yours decides"
GOLD = "gold check: reviewers have settled it"
FLIPPED = "the judge changed its mind between two runs"
AGAINST = "judge and answer check disagree"
CLOSE_SCORES = "the judge's scores lie close together"
SECOND = "a second opinion is wanted"
BY_DISTANCE = "next by the distance of the judge's scores"
UNSCORED = "the judge's scores do not compare"
SKIPPED = "you skipped it before"


def rank_pair(pair: QueuedPair) -> tuple:
    """Return what pairs are ordered by: the less the judge can be sure, the more a vote tells."""
    return (not pair.flipped, UNKNOWN_DISTANCE if pair.margin is None else pair.margin, pair.id)


def explain_place(pair: QueuedPair) -> str:
    """Say why a pair stands where it does, without a number and without a side."""
    if pair.flipped:
        return FLIPPED
    if pair.margin is None:
        return UNSCORED
    if pair.margin < 0:
        return AGAINST
    return CLOSE_SCORES if pair.margin <= CLOSE else BY_DISTANCE


def wanted_opinions(pair: str) -> int:
    """Return how many reviewers should see a pair, drawn by its id alone."""
    return 2 if crc32(pair.encode()) % SECOND_OPINION_ONE_IN == 0 else 1


@dataclass(frozen=True)
class Queue:
    """Pairs in the order of `rank_pair`, and where each matter is among them."""

    pairs: Sequence[QueuedPair]

    @cached_property
    def of_matter(self) -> Mapping[Matter, Sequence[QueuedPair]]:
        """The pairs of each matter: curating runs may have paired two paths in more than one way."""
        found: dict[Matter, list[QueuedPair]] = defaultdict(list)
        for pair in self.pairs:
            found[pair.matter].append(pair)
        return dict(found)


@dataclass(frozen=True)
class Standing:
    """How a matter that somebody has looked at stands in the queue, whoever asks.

    `last` has of each reviewer the key of the last event that stands, `decided` who need not see it again; `held` are
    the opinions that count.
    """

    last: Mapping[str, int]
    decided: frozenset[str]
    held: int
    settled: bool
    divided: bool


@dataclass(frozen=True)
class Ledger:
    """What all events add up to, kept in such a way that a few more are quickly added."""

    state: State = field(default_factory=dict)
    matters: Mapping[Matter, Mapping[str, Stack]] = field(default_factory=dict)
    standings: Mapping[Matter, Standing] = field(default_factory=dict)

    def after(self, events: Sequence[ReviewEvent]) -> "Ledger":
        """Return the ledger after more events; this one stays as it is."""
        state = fold(events, self.state)
        changed: dict[Matter, dict[str, Stack]] = {}
        for event in events:
            matter = matter_of(event.chosen, event.rejected)
            stacks = changed.setdefault(matter, dict(self.matters.get(matter, {})))
            stacks[event.reviewer] = state[matter, event.reviewer]
        kept = {matter: {name: stack for name, stack in stacks.items() if stack} for matter, stacks in changed.items()}
        standings = {matter: stand(stacks) for matter, stacks in kept.items()}
        return Ledger(state, {**self.matters, **kept}, {**self.standings, **standings})


def stand(stacks: Mapping[str, Stack]) -> Standing:
    """Return how a matter stands."""
    held = opinions(stacks)
    return Standing(
        {name: stack[-1].event.key for name, stack in stacks.items()},
        frozenset(name for name, stack in stacks.items() if has_decided(stack)),
        len(held), decision(stacks) is not None, are_divided(held.values()),
    )  # fmt: skip


@dataclass(frozen=True)
class Outlook:
    """How many pairs a reviewer has decided, how many are left, and these in the order in which to see them."""

    done: int
    left: int
    turns: Iterator[Turn]


def look_ahead(queue: Queue, standings: Mapping[Matter, Standing], reviewer: str) -> Outlook:
    """Return what a reviewer has yet to see.

    First comes what other reviewers disagree on, then the rest by rank, then what this one skipped; of each ten cards
    one was settled before, where there is any.
    """
    known: dict[str, Turn | None] = {}
    done, order = 0, {}
    for matter, standing in standings.items():
        for pair in queue.of_matter.get(matter, ()) if standing.last else ():
            known[pair.id] = turn = place_known(pair, standing, reviewer)
            done += reviewer in standing.decided
            if turn:
                order[pair.id] = (standing.last.get(reviewer, 0), rank_pair(pair))
    by_reason = {name: [turn for turn in known.values() if turn and turn.reason == name] for name in STANDING}
    divided, gold = (sorted(by_reason[name], key=lambda turn: order[turn.pair][1]) for name in (DIVIDED, GOLD))
    skipped = sorted(by_reason[SKIPPED], key=lambda turn: order[turn.pair])
    fresh = (
        turn
        for pair in queue.pairs
        if (turn := known[pair.id] if pair.id in known else place_fresh(pair)) and turn.reason not in STANDING
    )
    left = len(queue.pairs) - sum(turn is None for turn in known.values())
    return Outlook(done, left, mix(chain(divided, fresh, skipped), gold, done))


STANDING = (DIVIDED, GOLD, SKIPPED)


def place_fresh(pair: QueuedPair) -> Turn:
    """Return the turn of a pair that nobody has touched."""
    return Turn(pair.id, explain_place(pair), wanted_opinions(pair.id))


def place_known(pair: QueuedPair, standing: Standing, reviewer: str) -> Turn | None:
    """Return the turn of a pair that somebody has done something with, None where this reviewer need not see it."""
    if reviewer in standing.decided:
        return None
    if standing.settled:
        return Turn(pair.id, GOLD)
    if standing.divided:
        return Turn(pair.id, DIVIDED)
    room = wanted_opinions(pair.id) - standing.held
    if room <= 0:
        return None
    if reviewer in standing.last:
        return Turn(pair.id, SKIPPED, room)
    return Turn(pair.id, SECOND if standing.held else explain_place(pair), room)


def mix(turns: Iterable[Turn], gold: Sequence[Turn], done: int) -> Iterator[Turn]:
    """Yield turns with a settled one in each ten, counted from the cards that are done."""
    checks = iter(gold)
    for place, turn in enumerate(turns, done + 1):
        check = next(checks, None) if place % GOLD_ONE_IN == 0 else None
        if check:
            yield check
        yield turn
    yield from checks


def has_decided(stack: Stack) -> bool:
    """Tell whether a reviewer has said something of a pair, and need not see it again."""
    return any(deed.event.event in (VOTE, FLAG, SETTLE) for deed in stack)
