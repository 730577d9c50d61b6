"""The page Review: curators compare pairs by keyboard, one after the other; every key press is saved before the next.

The script holds a few cards ahead. What it is sent before a vote is the blind card alone; it names a side, "1" or "2",
and which path stood there is known here.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.access import REVIEWER, VIEWER, Account, as_problem, handler, named, reading
from app.pages import Project, needs
from app.pair import (
    SIDES,
    TAGS,
    choice_of,
    judge_prefers,
    longer_path,
    render_card,
    render_editor,
    render_reveal,
)
from app.review_views import render_disagreements, render_reviewers, render_shell
from insightv_core.curate.sets import write_chain
from insightv_core.errors import UserError
from insightv_core.parse import Unparsed, parse_chain
from insightv_core.records import Path, Question, ReviewEvent, Step
from insightv_core.review import (
    BOTH_BAD,
    EDIT,
    FLAG,
    REPLIES,
    REPLY,
    SETTLE,
    SKIP,
    TIE,
    VOTE,
    Deed,
    Ledger,
    Queue,
    Turn,
    chosen_left,
    has_decided,
    look_ahead,
    matter_of,
    opinion,
    opinions,
    preferred,
)  # fmt: skip
from insightv_core.review_report import pace
from insightv_core.store import Store
from insightv_core.store.assessments import latest_assessments
from insightv_core.store.curation import find_curation
from insightv_core.store.reviews import (
    add_reviewer,
    check_reviewer,
    hold_pairs,
    load_events,
    load_pair,
    load_queue,
    mark_queue,
    save_event,
    undo_last,
)  # fmt: skip

AHEAD = 3  # cards that the script holds, the one on screen included
LONGEST_SECONDS = 3600.0  # after an hour a reviewer was elsewhere
LONGEST_STEP = 4000  # characters
SETTLING = "reviewers disagree, and what you press now settles it"
OPENED = "you opened it"
UNDONE = "taken back, and here to be decided again"


@dataclass
class Desk:
    """What reviews need between two calls: the events folded so far, and the queue of the newest curating run."""

    project: Project
    ledger: Ledger = field(default_factory=Ledger)
    events: list[ReviewEvent] = field(default_factory=list)
    queue: Queue = field(default_factory=lambda: Queue(()))
    marked: tuple = ()
    lock: threading.Lock = field(default_factory=threading.Lock)

    def catch_up(self, store: Store) -> Ledger:
        """Return what every event that is saved adds up to."""
        with self.lock:
            new = load_events(store, after=self.events[-1].key if self.events else 0)
            if new:
                self.events = [*self.events, *new]
                self.ledger = self.ledger.after(new)
            return self.ledger

    def pairs(self, store: Store) -> Queue:
        """Return the pairs of the newest curating run in the order of the queue."""
        run = find_curation(store).id
        with self.lock:
            mark = mark_queue(store, run)
            if mark != self.marked:
                self.queue, self.marked = Queue(load_queue(store, run)), mark
            return self.queue

    # -- what the script asks for --------------------------------------------------------------------------------------

    def deal(self, store: Store, given: Mapping[str, Any]) -> dict:
        """Return the next cards for a reviewer who holds the pairs `have` already, or the one that `pair` names."""
        reviewer, have = str(given["reviewer"]), [str(pair) for pair in given.get("have", ())]
        if given.get("pair"):
            return {"cards": [self.open_card(store, str(given["pair"]), reviewer)]}
        outlook = look_ahead(self.pairs(store), self.catch_up(store).standings, reviewer)
        turns = (turn for turn in outlook.turns if turn.pair not in have)
        held = hold_pairs(store, reviewer, turns, max(AHEAD - len(have), 1))
        speed = pace(self.events, reviewer)
        return {
            "cards": [self.card(store, turn, reviewer) for turn in held],
            "done": outlook.done, "left": outlook.left, "pace": None if speed is None else round(speed),
        }  # fmt: skip

    def card(self, store: Store, turn: Turn, reviewer: str, note: str = "") -> dict:
        """Return a blind card."""
        question, sides, _ = lay_out(store, turn.pair, reviewer)
        return {"pair": turn.pair, "html": render_card(question, sides, turn.reason, note)}

    def open_card(self, store: Store, pair: str, reviewer: str) -> dict:
        """Return a pair that was asked for: blind until its reviewer has voted, then with everything, to settle it."""
        found, state = load_pair(store, pair), self.catch_up(store).state
        stack = state.get((matter_of(found["chosen"], found["rejected"]), reviewer), ())
        if not has_decided(stack):
            return self.card(store, Turn(pair, OPENED), reviewer)
        card = self.card(store, Turn(pair, SETTLING), reviewer)
        deed = opinion(stack)
        return card | {"settles": True, "reveal": self.reveal(store, pair, reviewer, deed.event if deed else None)}

    def reveal(self, store: Store, pair: str, reviewer: str, event: ReviewEvent | None) -> str:
        """Return what judge and reviewers say of a pair that its reviewer has decided."""
        question, sides, found = lay_out(store, pair, reviewer)
        stacks = self.catch_up(store).matters.get(matter_of(found["chosen"], found["rejected"]), {})
        return render_reveal(
            question, sides, latest_assessments(store, question.id), model_names(store, sides), opinions(stacks), event
        )

    def act(self, store: Store, given: Mapping[str, Any]) -> dict:
        """Save what a reviewer did with a pair, and after a vote return what the judge says."""
        reviewer, pair, event = str(given["reviewer"]), str(given["pair"]), given.get("event")
        question, sides, found = lay_out(store, pair, reviewer)
        judged = judge_prefers(sides, latest_assessments(store, question.id))
        token, seconds = str(given["token"]), read_seconds(given.get("seconds"))
        if event in (VOTE, SETTLE):
            side = str(given.get("choice"))
            choice = choice_of(side, sides, found["chosen"]) or {"0": TIE, "x": BOTH_BAD}.get(side)
            if choice is None:
                raise UserError(f"{side!r} is no choice: press 1, 2, 0 or X")
            details = {
                "side": side, "left": sides[0].id, "longer": longer_path(sides), "judge": judged,
                "tags": [tag for tag in TAGS if tag in given.get("tags", ())], "zoomed": bool(given.get("zoomed")),
                "again": bool(given.get("again")),
            }  # fmt: skip
            step = read_step(given.get("step"), sides)
            save_event(
                store, pair, reviewer, event, choice=choice, step=step, details=details, seconds=seconds, token=token
            )
            return self.confront(store, pair, reviewer, sides, judged) if event == VOTE else {}
        if event == REPLY:
            if given.get("choice") not in REPLIES:
                raise UserError("press 1, 2 or 3 to say who was wrong")
            save_event(store, pair, reviewer, REPLY, choice=given["choice"], token=token)
        elif event in (SKIP, FLAG):
            save_event(store, pair, reviewer, event, details={"left": sides[0].id}, seconds=seconds, token=token)
        elif event == EDIT:
            path = self.preferred_path(store, pair, reviewer, sides)
            chain = write_chain(read_steps(given.get("steps"), path))
            save_event(store, pair, reviewer, EDIT, details={"path": path.id, "chain": chain}, token=token)
        else:
            raise UserError(f"{event!r} is nothing that can be done with a pair")
        return {}

    def confront(self, store: Store, pair: str, reviewer: str, sides: Sequence[Path], judged: str | None) -> dict:
        """Return the judge's view of a pair that was just voted on, and whether it prefers the other path."""
        deed = opinion(self.stack(store, sides, reviewer))
        mine = preferred(deed.event) if deed else None
        asks = bool(mine and judged and mine != judged)
        side = SIDES[[path.id for path in sides].index(judged)] if asks and judged else None
        return {"reveal": self.reveal(store, pair, reviewer, deed.event if deed else None), "judge": side}

    def stack(self, store: Store, sides: Sequence[Path], reviewer: str) -> tuple[Deed, ...]:
        """Return what stands of what a reviewer did with two paths."""
        return self.catch_up(store).state.get((matter_of(sides[0].id, sides[1].id), reviewer), ())

    def take_back(self, store: Store, given: Mapping[str, Any]) -> dict:
        """Take back a reviewer's last event and return its pair to be decided again."""
        reviewer = str(given["reviewer"])
        event = undo_last(store, reviewer, token=str(given["token"]))
        if event is None:
            return {"nothing": True}
        return {**self.card(store, Turn(event.pair, UNDONE), reviewer), "event": event.event}

    def edit(self, store: Store, given: Mapping[str, Any]) -> dict:
        """Return the form to rewrite the response that a reviewer prefers."""
        reviewer, pair = str(given["reviewer"]), str(given["pair"])
        _, sides, _ = lay_out(store, pair, reviewer)
        path = self.preferred_path(store, pair, reviewer, sides)
        steps: Sequence[Step] = path.steps
        for deed in self.stack(store, sides, reviewer):
            if deed.event.event == EDIT and deed.event.details["path"] == path.id:
                chain = parse_chain(deed.event.details["chain"])
                steps = steps if isinstance(chain, Unparsed) else [step for _, step in chain]
        return {"form": render_editor(SIDES[[each.id for each in sides].index(path.id)], steps)}

    def preferred_path(self, store: Store, pair: str, reviewer: str, sides: Sequence[Path]) -> Path:
        """Return the path that a reviewer voted for."""
        deed = opinion(self.stack(store, sides, reviewer))
        wanted = preferred(deed.event) if deed else None
        for path in sides:
            if path.id == wanted:
                return path
        raise UserError("prefer 1 or 2 first: only the response that you prefer can be rewritten")

    def view(self, store: Store, given: Mapping[str, Any]) -> dict:
        """Return one of the page's other views as HTML: the disagreements, or how reviewers do."""
        state = self.catch_up(store).state
        if given.get("view") == "disagreements":
            return {"html": render_disagreements(store, state, str(given["reviewer"]))}
        return {"html": render_reviewers(state, self.events)}


def lay_out(store: Store, pair: str, reviewer: str) -> tuple[Question, tuple[Path, Path], dict]:
    """Return the question of a pair, its two paths as they stand for this reviewer, and the pair itself."""
    found = load_pair(store, pair)
    chosen, rejected = store.path(found["chosen"]), store.path(found["rejected"])
    sides = (chosen, rejected) if chosen_left(pair, reviewer) else (rejected, chosen)
    return store.question(found["question"]), sides, found


def model_names(store: Store, sides: Sequence[Path]) -> list[str]:
    """Return who wrote each of two paths."""
    models = [store.run(path.run).model for path in sides]
    return [model.name if model else "no model" for model in models]


# -- what the script sends ---------------------------------------------------------------------------------------------


def read_step(given: Any, sides: Sequence[Path]) -> int | None:
    """Return the number of the step that decided, None where there is none or no such step."""
    longest = max(len(path.steps) for path in sides)
    return given if type(given) is int and 1 <= given <= longest else None


def read_seconds(given: Any) -> float | None:
    """Return how long a reviewer looked at a card, None where that is no sensible number."""
    return float(given) if type(given) in (int, float) and 0 < given < LONGEST_SECONDS else None


def read_steps(given: Any, path: Path) -> list[Step]:
    """Return the steps of a path in a reviewer's words, in the path's order; none may be empty."""
    if not isinstance(given, list) or len(given) != len(path.steps):
        raise UserError(f"a rewritten response keeps its {len(path.steps)} steps: reload the page")
    steps = []
    for number, (texts, step) in enumerate(zip(given, path.steps, strict=True), 1):
        title, content = (" ".join(str(text).split("\x00")).strip()[:LONGEST_STEP] for text in texts)
        if not title or not content:
            raise UserError(f"step {number} is empty: give it a title and a text")
        steps.append(Step(title, content, step.action))
    if steps == list(path.steps):
        raise UserError("nothing is changed yet: change a step, or leave it with Esc")
    if isinstance(parse_chain(write_chain(steps)), Unparsed):
        raise UserError("a step holds a line break that training cannot read: write it on one line")
    return steps


# -- the page ----------------------------------------------------------------------------------------------------------


def add_review_page(project: Project) -> None:
    """Add the page to the app."""
    import gradio as gr

    desk = Desk(project)

    def show(query: str) -> str:
        with project.open() as store:
            return render_shell(store, query)

    def enter(name: object, account: Account) -> dict:
        with project.open() as store:
            return {"reviewer": add_reviewer(store, account.name or str(name))}

    acts = (desk.deal, desk.act, desk.take_back, desk.edit)
    asked = [answering(project, REVIEWER, act) for act in acts] + [answering(project, VIEWER, desk.view)]
    handlers = [reading(VIEWER, show), handler(REVIEWER, enter, as_problem), *asked]
    with gr.Column(elem_id="page-review", elem_classes="page"):
        gr.HTML(
            html_template="",
            js_on_load=f"insightvReview.start(insightv.add('review', server, trigger, {needs(handlers)}))",
            server_functions=handlers, apply_default_css=False,
        )  # fmt: skip


def answering(project: Project, role: str, work: Callable[[Store, Mapping[str, Any]], dict]) -> Callable[..., dict]:
    """Return a handler that opens the project, and says what the reviewer can mend.

    Whoever is logged in reviews under the account's name, whatever name the page sends.
    """

    def answer(given: Any, account: Account) -> dict:
        try:
            sent = given if not account.name else given | {"reviewer": account.name}
            with project.open() as store:
                check_reviewer(store, str(sent.get("reviewer", "")))
                return work(store, sent)
        except (KeyError, TypeError, AttributeError, ValueError):
            return as_problem("the page sent something that cannot be read: reload it")

    return handler(role, named(answer, work), as_problem)
