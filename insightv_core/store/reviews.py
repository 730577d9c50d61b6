"""Saving and loading reviews: reviewers, their events, and who holds which pair.

Events are only ever added. One that is sent twice, with the same token, is saved once; one that is saved is on disk
when the call returns, even if the machine loses its power then.
"""

import json
import time
from collections.abc import Iterable, Mapping

from insightv_core.errors import UserError
from insightv_core.records import ReviewEvent
from insightv_core.review import UNDO, VOTE, QueuedPair, Turn, fold, last_deed, matter_of, opinion, rank_pair
from insightv_core.store.project import Store

LONGEST_NAME = 40
HOLD_SECONDS = 600.0

_EVENTS = (
    "SELECT reviews.key, pairs.id, pairs.question, one.id, other.id, reviewer, event, choice, step, details, "
    "reviews.seconds, reviews.created FROM reviews JOIN pairs ON pairs.key = reviews.pair "
    "JOIN paths AS one ON one.key = pairs.chosen JOIN paths AS other ON other.key = pairs.rejected"
)


# -- reviewers ---------------------------------------------------------------------------------------------------------


def add_reviewer(store: Store, name: str) -> str:
    """Save a reviewer by name and return the name as it is stored: "ana" is whoever came first as "Ana"."""
    name = " ".join(name.split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise UserError(f"a name has 1 to {LONGEST_NAME} characters; give yours")
    with store.transaction():
        known = {each.casefold(): each for each in store.column("SELECT name FROM reviewers")}
        if name.casefold() not in known:
            store.db.conn.execute("INSERT INTO reviewers VALUES (?, 'reviewer', NULL, ?)", (name, time.time()))
    return known.get(name.casefold(), name)


def check_reviewer(store: Store, name: str) -> None:
    """Raise `UserError` unless the project knows a reviewer."""
    if store.value("SELECT 1 FROM reviewers WHERE name = ?", [name]) is None:
        raise UserError(f"nobody called {name!r} reviews this project yet: give your name first")


# -- events ------------------------------------------------------------------------------------------------------------


def load_events(store: Store, *, after: int = 0) -> list[ReviewEvent]:
    """Return the events with keys above `after`, in the order in which they happened."""
    return [read_event(row) for row in store.tuples(f"{_EVENTS} WHERE reviews.key > ? ORDER BY reviews.key", [after])]


def read_event(row: tuple) -> ReviewEvent:
    """Return a row of `_EVENTS` as a record."""
    key, pair, question, chosen, rejected, reviewer, event, choice, step, details, seconds, created = row
    return ReviewEvent(
        key, pair, question, chosen, rejected, reviewer, event, choice, step, json.loads(details or "{}"), seconds,
        created,
    )  # fmt: skip


def save_event(
    store: Store,
    pair: str,
    reviewer: str,
    event: str,
    *,
    choice: str | None = None,
    step: int | None = None,
    details: Mapping | None = None,
    seconds: float | None = None,
    token: str | None = None,
) -> bool:
    """Save an event and give back the pair; return whether it is new, which one sent before is not."""
    with _lasting(store):
        row = store.rows("SELECT key, chosen, rejected FROM pairs WHERE id = ?", [pair])
        if not row:
            raise UserError(f"no pair {pair!r} in {store.file}: reload the page")
        return _insert(store, row[0], reviewer, event, choice, step, details or {}, seconds, token)


def undo_last(store: Store, reviewer: str, *, token: str | None = None) -> ReviewEvent | None:
    """Take back a reviewer's last event that stands and return it, None where nothing stands.

    The same token takes back the same event again, not one more.
    """
    with _lasting(store):
        mine = [
            read_event(row) for row in store.tuples(f"{_EVENTS} WHERE reviewer = ? ORDER BY reviews.key", [reviewer])
        ]
        sent = store.value("SELECT key FROM reviews WHERE token = ? AND token IS NOT NULL", [token])
        last = last_deed(fold(event for event in mine if sent is None or event.key < sent), reviewer)
        if last is None:
            return None
        row = store.rows("SELECT key, chosen, rejected FROM pairs WHERE id = ?", [last.event.pair])[0]
        if sent is None:
            _insert(store, row, reviewer, UNDO, last.event.event, None, {"taken_back": last.event.key}, None, token)
        return last.event


def _lasting(store: Store):
    """Return a transaction that waits for the disk itself."""
    store.db.conn.execute("PRAGMA synchronous=FULL")
    return store.transaction()


def _insert(store: Store, pair: Mapping, reviewer: str, event: str, choice, step, details, seconds, token) -> bool:
    cursor = store.db.conn.execute(
        "INSERT INTO reviews (pair, reviewer, event, choice, step, details, seconds, created, token) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (token) DO NOTHING",
        (
            pair["key"], reviewer, event, choice, step, json.dumps(details, ensure_ascii=False), seconds, time.time(),
            token,
        ),
    )  # fmt: skip
    if cursor.rowcount < 1:
        return False
    store.db.conn.execute("DELETE FROM reservations WHERE pair = ? AND reviewer = ?", (pair["key"], reviewer))
    if event in (VOTE, UNDO):
        _note_reviewed(store, (pair["chosen"], pair["rejected"]))
    return True


def _note_reviewed(store: Store, paths: Iterable[int]) -> None:
    """Let `paths.reviewed` say whether a vote stands on any pair of a path."""
    for path in paths:
        rows = store.tuples(
            f"{_EVENTS} WHERE reviews.pair IN (SELECT key FROM pairs WHERE chosen = ?1 UNION SELECT key FROM pairs "
            "WHERE rejected = ?1) ORDER BY reviews.key",
            [path],
        )
        stacks = fold(read_event(row) for row in rows).values()
        reviewed = any(deed is not None and deed.event.event == VOTE for deed in map(opinion, stacks))
        store.db.conn.execute("UPDATE paths SET reviewed = ?1 WHERE key = ?2 AND reviewed <> ?1", (reviewed, path))


# -- the queue ---------------------------------------------------------------------------------------------------------


def mark_queue(store: Store, run: str) -> tuple:
    """Return what changes whenever the queue of a curating run does, for who keeps it."""
    left_out = store.value("SELECT count(*) FROM pairs WHERE run = ? AND excluded IS NOT NULL", [run])
    return run, left_out, store.value("SELECT max(key) FROM assessments")


def load_queue(store: Store, run: str) -> list[QueuedPair]:
    """Return the pairs of a curating run that nobody has left out, those first of which a vote tells most.

    Pairs that were left out because reviewers are tied on them stay, so that their votes can be taken back.
    """
    flipped = set(
        store.column(
            "SELECT pairs.key FROM pairs JOIN assessments AS one ON one.path = pairs.chosen "
            "JOIN assessments AS other ON other.path = pairs.rejected AND other.run = one.run "
            "WHERE pairs.run = ? AND one.score <> other.score "
            "GROUP BY pairs.key HAVING min(one.score > other.score) <> max(one.score > other.score)",
            [run],
        )
    )
    rows = store.tuples(
        "SELECT pairs.key, pairs.id, one.id, other.id, margin FROM pairs JOIN paths AS one ON one.key = chosen "
        "JOIN paths AS other ON other.key = rejected WHERE pairs.run = ? "
        "AND (excluded IS NULL OR pairs.reason = 'human')",
        [run],
    )
    pairs = [QueuedPair(pair, matter_of(one, other), margin, key in flipped) for key, pair, one, other, margin in rows]
    return sorted(pairs, key=rank_pair)


def hold_pairs(
    store: Store, reviewer: str, turns: Iterable[Turn], count: int, *, now: float | None = None
) -> list[Turn]:
    """Reserve the first `count` turns that other reviewers leave room for, and return them.

    A reservation ends with an event of its reviewer on the pair, or after ten minutes without one.
    """
    now = time.time() if now is None else now
    held: list[Turn] = []
    with store.transaction():
        store.db.conn.execute("DELETE FROM reservations WHERE expires <= ?", [now])
        others = dict(
            store.tuples(
                "SELECT pairs.id, count(*) FROM reservations JOIN pairs ON pairs.key = pair WHERE reviewer <> ? "
                "GROUP BY pair",
                [reviewer],
            )
        )
        for turn in turns:
            if turn.room is None or others.get(turn.pair, 0) < turn.room:
                held.append(turn)
            if len(held) >= count:
                break
        store.db.conn.executemany(
            "INSERT OR REPLACE INTO reservations SELECT key, ?, ? FROM pairs WHERE id = ?",
            [(reviewer, now + HOLD_SECONDS, turn.pair) for turn in held],
        )
    return held


# -- one pair ----------------------------------------------------------------------------------------------------------


def load_pair(store: Store, pair: str) -> dict:
    """Return a pair by its id: question, the ids of both paths, run, margin, and why it was curated."""
    found = store.rows(
        "SELECT pairs.id, pairs.question, one.id AS chosen, other.id AS rejected, pairs.run, margin, reason "
        "FROM pairs JOIN paths AS one ON one.key = chosen JOIN paths AS other ON other.key = rejected "
        "WHERE pairs.id = ?",
        [pair],
    )
    if not found:
        raise UserError(f"no pair {pair!r} in {store.file}: go back to the queue with ?tab=review")
    return found[0]
