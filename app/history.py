"""Earlier chats: turns of the app as turns of the store and back, and the list of them."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, fields
from html import escape
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from app import render
from app.overview import ago
from app.pages import link
from app.turn import DONE, STOPPED, PlayedStep, Recording, Turn, read_partial
from insightv_core.agents import Solution
from insightv_core.images import store_image
from insightv_core.parse import parse_step, parse_summary, write_step
from insightv_core.records import Question, Step, StepRecord
from insightv_core.store import Store
from insightv_core.store.chats import Chat, ChatTurn, add_chat, add_image, add_turns, list_chats, load_chat
from insightv_core.vlm import STOP, Reply

if TYPE_CHECKING:
    from PIL import Image

QUESTION, REASONING, SUMMARY, BASE, EDITOR = "question", "reasoning agent", "summary agent", "base model", "editor"
LISTED, SHOWN = 60, 5


def keep_turn(store: Store, turn: Turn, phase: str) -> None:
    """Save a turn that ends in that phase as a chat of its own, or what was added to one that is saved already.

    A turn that was stopped before anything was said is not kept.
    """
    if turn.chat is not None:
        add_turns(store, turn.chat, describe_edit(turn))
    elif turn.replies:
        image = turn.question.image or add_image(store, store_image(turn.picture, store.folder / "images"))
        chat = uuid.uuid4().hex[:20]
        turn.tokens = count_tokens(turn)
        created = add_chat(store, chat, turn.question.text, image, describe(turn, phase == STOPPED))
        turn.chat, turn.image, turn.recording = chat, image, make_recording(turn, created)


def describe(turn: Turn, stopped: bool) -> list[ChatTurn]:
    """Return a turn as what was said, by whom."""
    asked = {"question": asdict(turn.question), "stopped": stopped}
    said = [ChatTurn(QUESTION, turn.question.text, asked)]
    replies = [reply for _, reply in sorted(turn.replies.items())]
    solution = turn.solution
    steps = solution.steps if solution else read_steps([text for text, _, _ in replies])
    details: dict = {"model": turn.models[REASONING], "replies": replies, "solved": solution is not None}
    details["tokens"] = turn.tokens
    if solution:
        details |= {
            name: getattr(solution, name)
            for name in ("truncated", "chain_answer", "reasoning_tokens", "reasoning_seconds")
        }
    said.append(ChatTurn(REASONING, write_steps(steps), details))
    if solution:
        names = ("verdict", "answer", "problem", "summary_tokens", "summary_seconds")
        judged = {name: getattr(solution, name) for name in names}
        judged |= {"model": turn.models[SUMMARY], "at": turn.at.get(SUMMARY)}
        said.append(ChatTurn(SUMMARY, solution.summary_raw, judged))
    if turn.direct:
        details = {"model": turn.models[BASE], "at": turn.at.get(BASE), **cost_of(turn.direct)}
        said.append(ChatTurn(BASE, turn.direct.text, details))
    return said


def describe_edit(turn: Turn) -> list[ChatTurn]:
    """Return what somebody made of the chain, and what the summary agent said of that."""
    said = [ChatTurn(EDITOR, write_steps(turn.steps), {"edited": list(turn.edited)})]
    if turn.again_reply:
        said.append(
            ChatTurn(SUMMARY, turn.again_reply.text, {"model": turn.models[SUMMARY], **cost_of(turn.again_reply)})
        )
    return said


def cost_of(reply: Reply) -> dict:
    """Return what a reply cost."""
    return {"tokens": reply.tokens, "seconds": reply.seconds}


def count_tokens(turn: Turn) -> tuple[int | None, ...]:
    """Return the tokens of each reply; nothing where one reply holds several steps, or the chain has no end."""
    solution = turn.solution
    if solution is None or any(number for _, number in turn.replies) or len(solution.turns) > len(turn.replies):
        return ()
    known = [each.tokens for each in solution.turns]
    others = len(turn.replies) - len(known)
    # Replies after the steps give the answer: one alone took what the steps did not.
    rest = [solution.reasoning_tokens - sum(known)] if others == 1 else [None] * others
    return (*known, *rest)


def write_steps(steps: Sequence[Step]) -> str:
    """Return steps as JSON lines."""
    return "\n".join(map(write_step, steps))


def read_steps(lines: Sequence[str]) -> tuple[Step, ...]:
    """Return the steps among lines."""
    return tuple(step for step in map(parse_step, lines) if isinstance(step, Step))


# -- and back ----------------------------------------------------------------------------------------------------------


def restore_turn(store: Store, chat_id: str) -> Turn:
    """Return a saved chat as a turn that can be shown, and whose chain can be edited and judged again."""
    chat, said = load_chat(store, chat_id)
    asked, reasoned = said[0], said[1]
    known = {field.name for field in fields(Question)}
    given = {name: value for name, value in asked.details["question"].items() if name in known}
    question = Question(**given | {"options": tuple(given.get("options", ()))})
    turn = Turn(question, open_picture(store, chat.image), STOPPED if asked.details["stopped"] else DONE)
    turn.chat, turn.image = chat.id, chat.image
    turn.replies = {(place, 0): tuple(reply) for place, reply in enumerate(reasoned.details["replies"])}
    if reasoned.details["solved"]:
        turn.solution = restore_solution(question.id, reasoned, next(each for each in said if each.speaker == SUMMARY))
    for each in said:
        if each.speaker == BASE:
            turn.direct = restore_reply(each)
        if each.speaker != EDITOR and "model" in each.details:
            turn.models.setdefault(each.speaker, each.details["model"])
        if each.details.get("at") is not None:
            turn.at[each.speaker] = each.details["at"]
    turn.tokens = tuple(reasoned.details.get("tokens", ()))
    turn.recording = make_recording(turn, chat.created)
    restore_edit(turn, said)
    return turn


def restore_solution(question: str, reasoned: ChatTurn, judged: ChatTurn) -> Solution:
    """Return what both agents said."""
    steps = read_steps(reasoned.content.splitlines())
    one, other = reasoned.details, judged.details
    return Solution(
        question, tuple(StepRecord("", step, True, 0, None, 0.0) for step in steps), one["truncated"],
        one["chain_answer"], other["verdict"], other["answer"], other["problem"], judged.content,
        one["reasoning_tokens"], other["summary_tokens"], one["reasoning_seconds"], other["summary_seconds"],
    )  # fmt: skip


def restore_edit(turn: Turn, said: Sequence[ChatTurn]) -> None:
    """Put the last edit of the chain back, with what the summary agent said of it."""
    place = max((place for place, each in enumerate(said) if each.speaker == EDITOR), default=None)
    if place is None:
        return
    turn.steps, turn.edited = read_steps(said[place].content.splitlines()), tuple(said[place].details["edited"])
    if place + 1 < len(said):
        turn.again_reply = restore_reply(said[place + 1])
        turn.again = parse_summary(said[place + 1].content)


def restore_reply(said: ChatTurn) -> Reply:
    """Return a reply as far as it is shown again."""
    return Reply(said.content, said.details["tokens"], None, STOP, said.details["seconds"])


def open_picture(store: Store, sha256: str) -> "Image.Image":
    """Return a picture of the project."""
    from PIL import Image

    picture = Image.open(store.image_file(sha256))
    picture.load()
    return picture


# -- as it is played ---------------------------------------------------------------------------------------------------

SPREAD = "When each step was written is not recorded: the steps are spread over the chain's time by their length."
UNPAUSED = "Pauses between the models are not recorded: it plays without them."


def make_recording(turn: Turn, created: float) -> Recording:
    """Return what a page needs to play a saved turn as it was first said, before anybody edited its chain."""
    solution, direct = turn.solution, turn.direct
    steps, thought, spread = time_steps(turn)
    summary = base = None
    if solution:
        summary = max(thought, turn.at.get(SUMMARY, thought + solution.summary_seconds))
    if direct:
        before = thought if summary is None else summary
        base = max(before, turn.at.get(BASE, before + direct.seconds))
    unpaused = UNPAUSED if solution and SUMMARY not in turn.at else ""
    spent = count_spent(turn, thought, summary)
    saved = time.strftime("%Y-%m-%d %H:%M", time.localtime(created))
    note = " ".join(filter(None, (SPREAD if spread else "", unpaused)))
    return Recording(saved, name_models(turn), steps, thought, summary, base, spent, note)


def time_steps(turn: Turn) -> tuple[tuple[PlayedStep, ...], float, bool]:
    """Return the steps, when the last reply had ended, and whether their times are only spread by their length."""
    replies = [reply for _, reply in sorted(turn.replies.items())]
    ends = list(accumulate((seconds for *_, seconds in replies), initial=0.0))
    played: list[PlayedStep] = []
    for (text, done, _), (begins, end) in zip(replies, pairwise(ends), strict=True):
        step = parse_step(text)
        if isinstance(step, Step):
            played.append(PlayedStep(step.summary, step.content, begins, end))
        elif not done and turn.solution is None:
            played.append(PlayedStep(*read_partial(text), begins, end, whole=False))
    steps = turn.solution.steps if turn.solution else ()
    if turn.solution is None or len(steps) == len(played):
        return tuple(played), ends[-1], False
    thought = max(ends[-1], turn.solution.reasoning_seconds)
    lengths = [len(step.summary) + len(step.content) for step in steps]
    share = thought / max(1, sum(lengths))
    times = pairwise(accumulate((share * length for length in lengths), initial=0.0))
    spread = (PlayedStep(step.summary, step.content, *each) for step, each in zip(steps, times, strict=True))
    return tuple(spread), thought, True


def count_spent(turn: Turn, thought: float, summary: float | None) -> tuple[tuple[float, int], ...]:
    """Return times with the agents' tokens until then: after each reply where they are known, else after the chain."""
    if turn.solution is None or summary is None:
        return ()
    times, counts = [thought], [turn.solution.reasoning_tokens]
    known = [tokens for tokens in turn.tokens if tokens is not None]
    if len(known) == len(turn.replies):
        times = list(accumulate(seconds for _, (*_, seconds) in sorted(turn.replies.items())))
        counts = list(accumulate(known))
    return ((0.0, 0), *zip(times, counts, strict=True), (summary, counts[-1] + turn.solution.summary_tokens))


def name_models(turn: Turn) -> str:
    """Return who spoke, in words."""
    one, other = turn.models.get(REASONING), turn.models.get(SUMMARY)
    if one == other:
        named = [f"both agents {one}"]
    else:
        named = [f"{speaker} {turn.models[speaker]}" for speaker in (REASONING, SUMMARY) if turn.models.get(speaker)]
    return " · ".join([*named, *([f"{BASE} {turn.models[BASE]}"] if turn.direct and BASE in turn.models else [])])


# -- the list ----------------------------------------------------------------------------------------------------------


def render_history(store: Store, notice: str = "") -> str:
    """Return the earlier chats, newest first, with a way to delete each."""
    lines = [render_chat_line(chat) for chat in list_chats(store, limit=LISTED)]
    rest = lines[SHOWN:]
    more = f"<summary>{len(rest)} more</summary><ul>{''.join(rest)}</ul>"
    folded = f'<details class="fold">{more}</details>' if rest else ""
    listed = f'<p class="label">Earlier chats</p><ul>{"".join(lines[:SHOWN])}</ul>{folded}' if lines else ""
    return notice + listed


def render_chat_line(chat: Chat) -> str:
    """Return a chat as a line of the list."""
    title, picture = escape(chat.title), render.picture_address(chat.image, 320)
    return (
        f'<li><a href="{link("chat", chat=chat.id)}" title="{title}"><img src="{picture}" alt="" loading="lazy">'
        f'<span class="chat-title">{title}</span><span class="soft">{escape(ago(chat.created))}</span></a>'
        f'<button class="quiet" type="button" data-forget="{escape(chat.id)}" aria-label="Delete the chat: {title}">'
        "delete</button></li>"
    )


def render_deleted(chat: str, title: str) -> str:
    """Return the word that a chat is deleted, with the way to undo that."""
    return (
        f'<p class="soft deleted" role="status">Deleted “{escape(title)}”. <button class="quiet" type="button" '
        f'data-restore="{escape(chat)}">undo</button></p>'
    )
