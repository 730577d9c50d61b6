"""Chats with the agents: saved turn by turn, listed, and deleted so that it can be undone.

Turns are only ever added. Deleting adds a turn by the speaker "deleted", which undoing takes back; a chat is gone for
good once `purge_chats` finds that turn old enough.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from insightv_core.errors import UserError
from insightv_core.records import StoredImage
from insightv_core.store.project import Store, storable

DELETED = "deleted"
KEPT_SECONDS = 7 * 86400.0
ALIVE = f"NOT EXISTS (SELECT 1 FROM chat_turns WHERE chat = chats.id AND speaker = '{DELETED}')"


@dataclass(frozen=True)
class ChatTurn:
    """What somebody said in a chat; `details` are plain data: who it was exactly, what it cost, how it was read."""

    speaker: str
    content: str
    details: Mapping


@dataclass(frozen=True)
class Chat:
    """A chat: its title, the sha256 of its picture, and when it began, in seconds since 1970."""

    id: str
    title: str
    image: str
    created: float


def add_image(store: Store, image: StoredImage) -> str:
    """Make a stored picture known to the project, and return its sha256."""
    with store.transaction():
        store.db.conn.execute(
            "INSERT INTO images VALUES (?, ?, ?, ?) ON CONFLICT (sha256) DO NOTHING", tuple(asdict(image).values())
        )
    return image.sha256


def add_chat(store: Store, chat: str, title: str, image: str, turns: Iterable[ChatTurn]) -> float:
    """Save a chat with its first turns, and return when, in seconds since 1970.

    `image` is the sha256 of a picture that the project knows.
    """
    now = time.time()
    with store.transaction():
        store.db.conn.execute("INSERT INTO chats VALUES (?, ?, ?, ?)", storable(chat, title, image, now))
        _insert_turns(store, chat, turns, now)
    return now


def add_turns(store: Store, chat: str, turns: Iterable[ChatTurn]) -> None:
    """Add turns to a chat."""
    with store.transaction():
        _insert_turns(store, chat, turns, time.time())


def _insert_turns(store: Store, chat: str, turns: Iterable[ChatTurn], now: float) -> None:
    first = store.value("SELECT coalesce(max(number), 0) + 1 FROM chat_turns WHERE chat = ?", [chat])
    store.db.conn.executemany(
        "INSERT INTO chat_turns VALUES (?, ?, ?, ?, ?, ?)",
        [
            storable(chat, number, turn.speaker, turn.content, json.dumps(turn.details, ensure_ascii=False), now)
            for number, turn in enumerate(turns, first)
        ],
    )


def list_chats(store: Store, *, limit: int = 50) -> list[Chat]:
    """Return the newest chats that are not deleted."""
    rows = store.tuples(f"SELECT * FROM chats WHERE {ALIVE} ORDER BY created DESC, id LIMIT ?", [limit])
    return [Chat(*row) for row in rows]


def load_chat(store: Store, chat: str) -> tuple[Chat, list[ChatTurn]]:
    """Return a chat with its turns in order; raise `UserError` where there is none, or it is deleted."""
    rows = store.tuples(f"SELECT * FROM chats WHERE id = ? AND {ALIVE}", [chat])
    if not rows:
        raise UserError("This chat is not in the project, or was deleted: choose another from the list.")
    turns = store.tuples("SELECT speaker, content, details FROM chat_turns WHERE chat = ? ORDER BY number", [chat])
    return Chat(*rows[0]), [ChatTurn(speaker, content, json.loads(details)) for speaker, content, details in turns]


def delete_chat(store: Store, chat: str) -> str:
    """Take a chat out of the list and return its title; `restore_chat` brings it back."""
    found, _ = load_chat(store, chat)
    add_turns(store, chat, [ChatTurn(DELETED, "", {})])
    return found.title


def restore_chat(store: Store, chat: str) -> None:
    """Bring a deleted chat back; one that is not deleted stays as it is."""
    with store.transaction():
        store.db.conn.execute("DELETE FROM chat_turns WHERE chat = ? AND speaker = ?", [chat, DELETED])


def purge_chats(store: Store, kept_seconds: float = KEPT_SECONDS) -> int:
    """Remove the chats that were deleted longer ago than that for good; return how many."""
    old = "SELECT chat FROM chat_turns WHERE speaker = ? AND created < ?"
    bound = time.time() - kept_seconds
    if not store.value(f"{old} LIMIT 1", [DELETED, bound]):
        return 0
    with store.transaction():
        return store.db.conn.execute(f"DELETE FROM chats WHERE id IN ({old})", [DELETED, bound]).rowcount
