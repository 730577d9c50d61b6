"""The page Chat: a picture and a question for both agents, step by step, beside the base model's direct answer."""

import base64
import binascii
import contextlib
import io
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any

from app import render
from app.access import REVIEWER, VIEWER, Account, as_problem, handler, listener, may, reading
from app.history import BASE, REASONING, SUMMARY, keep_turn, open_picture, render_deleted, render_history, restore_turn
from app.pages import Project, needs, read_query
from app.turn import DIRECT, DONE, FAILED, JUDGING, STOPPED, WRITING, Turn, render_turn
from insightv_core.agents import Agent, SolveSettings, answer_directly, judge_chains, solve
from insightv_core.errors import UserError
from insightv_core.generate import GenerateSettings
from insightv_core.images import encode_image
from insightv_core.parse import parse_summary
from insightv_core.records import Question, Sampling, identify
from insightv_core.store.browse import PathFilter, list_questions
from insightv_core.store.chats import delete_chat, purge_chats, restore_chat
from insightv_core.vlm import ERROR, VLM

if TYPE_CHECKING:
    from PIL import Image

EXAMPLES = 8
MOST_UPLOADS = 16
MOST_TURNS = 64
LONGEST = 4000  # characters of a question, or of a step
EVERY = 0.08  # seconds between two looks at what the models said
PREVIEW = 1024  # pixels
SAVED = "chat-"  # begins the name of a saved chat's picture
Stopper = Callable[[], bool]


@dataclass
class Desk:
    """What chats need between two calls: the models, uploaded pictures, and each session's turn.

    Each model is loaded once, and one generation runs at a time.
    """

    project: Project
    models: dict[str, VLM] = field(default_factory=dict)
    uploads: OrderedDict[str, "Image.Image"] = field(default_factory=OrderedDict)
    turns: OrderedDict[str, Turn] = field(default_factory=OrderedDict)
    stops: dict[str, threading.Event] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def model(self, name: str) -> VLM:
        """Return a model, loaded on its first use."""
        with self.lock:
            if name not in self.models:
                self.models[name] = self.project.load(name)
            return self.models[name]

    def warm_up(self) -> None:
        """Begin to load the models, so that they are there when the first question is typed."""

        def run() -> None:
            # What is wrong with a model is said to whoever asks it.
            with contextlib.suppress(Exception):
                self.model(self.project.base_model)
                self.project.team().load(self.model)

        threading.Thread(target=run, name="load models", daemon=True).start()

    def take_picture(self, address: str) -> dict[str, str]:
        """Take an uploaded picture, as a data address, encoded anew; return its id and a preview, or what is wrong."""
        try:
            encoded = encode_image(read_data_address(address))
        except UserError as error:
            return {"problem": str(error)}
        picture = read_picture(encoded.png)
        name = f"upload-{identify(encoded.png.hex())}"
        self.uploads[name] = picture
        while len(self.uploads) > MOST_UPLOADS:
            self.uploads.popitem(last=False)
        return {"picture": name, "preview": preview_address(picture), "note": "; ".join(encoded.notes)}

    def open_turn(self, asked: Mapping[str, Any]) -> Turn:
        """Return a turn for what a page asked; raise `UserError` where picture or question are missing."""
        text, name = str(asked.get("question") or "").strip()[:LONGEST], str(asked.get("picture") or "")
        if not name:
            raise UserError("There is no picture yet: drop one, paste one, or take an example.")
        if not text:
            raise UserError("The question is empty: say what you want to know about the picture.")
        if name in self.uploads:
            return Turn(Question("chat", text, "", "", "chat"), self.uploads[name])
        with self.project.open() as store:
            if name.startswith(SAVED):
                saved = restore_turn(store, name.removeprefix(SAVED))
                image = str(saved.image)
                same = text == saved.question.text
                return Turn(saved.question if same else Question("chat", text, "", image, "chat"), saved.picture)
            question = store.question(name)
            picture = open_picture(store, question.image)
        if text == question.text:
            return Turn(replace(question, id="chat"), picture)
        return Turn(Question("chat", text, "", question.image, "chat"), picture)

    def ask(self, asked: Mapping[str, Any], session: str) -> Iterator[str]:
        """Yield how a turn looks while base model and agents work on it."""
        try:
            turn = self.open_turn(asked)
        except UserError as error:
            yield render.render_problem(str(error))
            return
        self.turns[session] = turn
        while len(self.turns) > MOST_TURNS:
            self.turns.popitem(last=False)
        yield from self.show_work(turn, session, lambda stop: self.answer(turn, stop))

    def judge_again(self, asked: Mapping[str, Any], session: str) -> Iterator[str]:
        """Yield how a turn looks while the summary agent reads its chain with the contents that somebody edited."""
        try:
            turn, contents = self.find_turn(asked, session), asked.get("steps")
        except UserError as error:
            yield render.render_problem(str(error))
            return
        if turn is None or turn.solution is None or not turn.over:
            yield render.render_problem("This chain is no longer here: ask the question again.")
            return
        if not isinstance(contents, list) or len(contents) != len(turn.solution.steps):
            yield render.render_problem("The steps do not fit the chain: reload the page and ask again.")
            return
        chain = turn.edited_chain([str(content)[:LONGEST] for content in contents])
        if not turn.edited:
            yield render_turn(turn)
            return
        turn.again = turn.again_reply = turn.problem = None
        turn.phase = JUDGING

        def work(stop: Stopper) -> None:
            team = self.project.team()
            _, agent = team.load(self.model)
            turn.models[SUMMARY] = team.names()[1]
            asked_again = [(turn.question, turn.picture, chain)]
            for reply in judge_chains(asked_again, agent, SolveSettings().summary, stop=stop).values():
                if reply.finish == ERROR:
                    raise UserError(f"The model failed: {reply.text}")
                turn.again_reply, turn.again = reply, parse_summary(reply.text)

        yield from self.show_work(turn, session, work)

    def find_turn(self, asked: Mapping[str, Any], session: str) -> Turn | None:
        """Return the turn that a page shows: that of its session, or the saved one that it names."""
        turn, chat = self.turns.get(session), str(asked.get("chat") or "")
        if chat and (turn is None or turn.chat != chat):
            with self.project.open() as store:
                turn = self.turns[session] = restore_turn(store, chat)
        return turn

    def keep(self, turn: Turn, phase: str) -> None:
        """Save a turn that ends in that phase, so that it is there when the page is opened again."""
        with self.project.open() as store:
            keep_turn(store, turn, phase)

    def answer(self, turn: Turn, stop: Stopper) -> None:
        """Let both agents work step by step, then the base model answer directly."""
        team, asked = self.project.team(), [(turn.question, turn.picture)]
        reasoning, summary = team.load(self.model)
        turn.models = dict(zip((REASONING, SUMMARY), team.names(), strict=True)) | {BASE: self.project.base_model}
        settings = SolveSettings(GenerateSettings(Sampling((0.0,)), style=team.style))
        turn.phase, turn.started = WRITING, time.perf_counter()
        turn.solution = solve(turn.question, turn.picture, reasoning, summary, settings, listen=turn.hear, stop=stop)
        if stop():
            return
        turn.at[SUMMARY] = time.perf_counter() - turn.started
        base, turn.phase = self.model(self.project.base_model), DIRECT
        turn.direct = next((reply for _, reply in answer_directly(asked, Agent(base), stop=stop)), None)
        turn.at[BASE] = time.perf_counter() - turn.started

    def show_work(self, turn: Turn, session: str, work: Callable[[Stopper], None]) -> Iterator[str]:
        """Yield how a turn looks while a thread works on it; closing the iterator stops the model."""
        stop = self.stops[session] = threading.Event()

        def run() -> None:
            try:
                work(stop.is_set)
                # Shown as over once it is saved.
                phase = STOPPED if stop.is_set() else DONE
                self.keep(turn, phase)
                turn.phase = phase
            except UserError as error:
                turn.problem, turn.phase = str(error), FAILED
            except Exception as error:
                turn.problem, turn.phase = f"The model failed ({type(error).__name__}: {error}). Ask again.", FAILED

        thread = threading.Thread(target=run, name="chat", daemon=True)
        thread.start()
        shown = None
        try:
            while thread.is_alive():
                thread.join(EVERY)
                if thread.is_alive() and (now := render_turn(turn)) != shown:
                    shown = now
                    yield now
            yield render_turn(turn)
        finally:
            stop.set()
            thread.join(10)
            if self.stops.get(session) is stop:
                del self.stops[session]

    def stop(self, session: str) -> None:
        """Stop what a session's models are doing."""
        if running := self.stops.get(session):
            running.set()


def add_chat_page(project: Project) -> None:
    """Add the page to the app; models begin to load when it is first visited."""
    import gradio as gr

    desk = Desk(project)

    def show(query: object, account: Account) -> str:
        chat = read_query(str(query)).get("chat")
        if may(account, REVIEWER):
            # To read a saved chat, or to play it, needs no model, which this machine may be too small for.
            if not chat:
                desk.warm_up()
            with project.open() as store:
                purge_chats(store)
        return render_chat(desk, chat)

    def upload(address: str) -> dict[str, str]:
        return desk.take_picture(address)

    def stop(asked: Mapping[str, Any], session: str) -> Iterator[str]:
        desk.stop(session)
        yield from ()

    handlers = [handler(VIEWER, show), reading(REVIEWER, upload, as_problem), *list_handlers(project)]
    roles = needs(handlers, ask=REVIEWER, judge=REVIEWER)
    with gr.Column(elem_id="page-chat", elem_classes="page"):
        form = gr.HTML(
            html_template="", js_on_load=f"insightv.add('chat', server, trigger, {roles}, ['ask', 'judge', 'stop'])",
            server_functions=handlers, apply_default_css=False,
        )  # fmt: skip
        said = gr.HTML(
            html_template="", js_on_load="watch('value', () => insightv.paintTurn(props.value))",
            apply_default_css=False,
        )  # fmt: skip
        work = {"concurrency_id": "model", "concurrency_limit": 1, "show_progress": "hidden"}
        form.ask(listener(REVIEWER, desk.ask), None, said, **work)
        form.judge(listener(REVIEWER, desk.judge_again), None, said, **work)
        form.stop(listener(REVIEWER, stop), None, None, queue=False, show_progress="hidden")


def list_handlers(project: Project) -> list[Callable[..., str]]:
    """Return what the script asks of the list of earlier chats: to show it, to delete a chat, to bring one back."""

    def history(query: str) -> str:
        with project.open() as store:
            return render_history(store)

    def forget(chat: str) -> str:
        with project.open() as store:
            title = delete_chat(store, chat)
            return render_history(store, render_deleted(chat, title))

    def restore(chat: str) -> str:
        with project.open() as store:
            restore_chat(store, chat)
            return render_history(store)

    return [reading(VIEWER, history), reading(REVIEWER, forget), reading(REVIEWER, restore)]


def read_data_address(address: str) -> bytes:
    """Return the bytes of a data address; raise `UserError` for anything else."""
    head, _, data = str(address).partition(",")
    try:
        if not head.startswith("data:") or not head.endswith(";base64"):
            raise ValueError
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise UserError("The picture did not arrive whole: choose it again.") from None


def read_picture(png: bytes) -> "Image.Image":
    """Return a picture that images.py has encoded."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png))
    picture.load()
    return picture


def preview_address(picture: "Image.Image") -> str:
    """Return a picture as a data address that is small enough to be looked at."""
    small = picture.copy()
    small.thumbnail((PREVIEW, PREVIEW))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=90, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def render_chat(desk: Desk, chat: str | None = None) -> str:
    """Return the page with a saved chat opened, or before anything was asked: picture, question, examples."""
    with desk.project.open() as store:
        rows = list_questions(store, PathFilter(sort="oldest"), limit=EXAMPLES).rows
        earlier = render_history(store)
        opened = render_turn(restore_turn(store, chat)) if chat else render_hint(desk)
    examples = "".join(
        f'<li><button type="button" data-example="{escape(row.id)}" data-text="{escape(row.text)}" '
        f'data-source="{render.picture_address(row.image)}" aria-label="Example: {escape(row.text)}" '
        f'title="{escape(row.text)}"><img src="{render.picture_address(row.image, 320)}" alt=""></button></li>'
        for row in rows
    )
    listed = f'<p class="label">Examples</p><ul class="examples">{examples}</ul>' if rows else ""
    return (
        '<h1 class="unseen">Chat</h1><div class="chat"><form class="ask"><label class="drop"><input type="file" '
        'class="unseen" accept="image/*" aria-label="Choose a picture"><span class="soft">Drop or paste a picture '
        'here, or choose one</span><img alt="" hidden></label><p class="soft upload-note" role="status"></p>'
        '<label class="unseen" for="asked">Question</label><textarea id="asked" name="question" rows="3" '
        f'maxlength="{LONGEST}" placeholder="What do you want to know about the picture?"></textarea>'
        '<p class="buttons"><button class="main" data-needs="ask">Ask</button>'
        '<button type="button" data-stop disabled>Stop</button></p>'
        f'{listed}<div class="history">{earlier}</div></form><div class="said-side"><div id="turn">{opened}</div></div>'
        "</div>"
    )


def render_hint(desk: Desk) -> str:
    """Return what will be said where, before anything was asked."""
    reasoning, summary = desk.project.team().names()
    agents = (
        ("Reasoning agent", f"{reasoning} looks at the picture and works step by step."),
        ("Summary agent", f"{summary} judges these steps against the picture, then answers."),
        ("Base model", f"{desk.project.base_model} answers the same question without reasoning."),
    )
    waiting = "".join(f"<dt>{name}</dt><dd>{escape(what)}</dd>" for name, what in agents)
    return (
        f'<p class="hint">Take an example, or a picture and a question of your own.</p><dl class="facts">{waiting}</dl>'
    )
