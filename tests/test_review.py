"""Reviewing without a browser: what events add up to, who sees what and when, and what curating makes of it."""

import json
import re
import subprocess
import sys
import threading
from itertools import combinations, count
from pathlib import Path as FilePath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from review_project import AGAIN, JUDGING, SECRETS, WRITING, build_project, curate_pairs, pair_ids

from app import review as page
from app.access import EVERYBODY, KEY, REVIEWER
from app.overview import render_overview
from app.pages import Project
from app.review import Desk, answering
from app.review_views import render_shell
from insightv_core import judge_report, review
from insightv_core.curate.rows import training_rows
from insightv_core.errors import UserError
from insightv_core.records import Preference, ReviewEvent
from insightv_core.review import Ledger, Queue, QueuedPair, Turn, fold, look_ahead
from insightv_core.review_report import (
    COUNTS,
    NEITHER,
    OUTVOTED,
    SETTLED,
    TAKEN_BACK,
    WAS_WRONG,
    describe_reviewers,
    list_disagreements,
    measure_agreement,
    tell_fates,
)
from insightv_core.store import curation, open_store
from insightv_core.store.counts import funnel
from insightv_core.store.reviews import (
    HOLD_SECONDS,
    add_reviewer,
    hold_pairs,
    load_events,
    load_pair,
    save_event,
    undo_last,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return build_project(tmp_path_factory.mktemp("made"), 12, flipped=(3,), close=(5, 7))


@pytest.fixture
def file(tmp_path, made):
    return copied(made, tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory, made):
    return copied(made, tmp_path_factory.mktemp("shared"))


def copied(made: FilePath, folder: FilePath) -> FilePath:
    with open_store(made) as store:
        store.db.conn.execute("VACUUM INTO ?", [str(folder / "project.db")])
    return folder / "project.db"


@pytest.fixture
def store(file):
    with open_store(file) as store:
        for name in ("Ana", "Ben", "Cleo"):
            add_reviewer(store, name)
        yield store


@pytest.fixture
def desk(file):
    return Desk(Project(file))


def event(key: int, kind: str = "vote", choice: str | None = "chosen", reviewer: str = "Ana", **more) -> ReviewEvent:
    given = {"pair": "p", "question": "q", "chosen": "a", "rejected": "b"} | more
    return ReviewEvent(key=key, reviewer=reviewer, event=kind, choice=choice, **given)


def side_of(store, pair: str, reviewer: str, choice: str = "chosen") -> str:
    """Return the key that prefers the chosen path, or the rejected one, for a reviewer."""
    return "1" if review.chosen_left(pair, reviewer) == (choice == "chosen") else "2"


def vote(desk, store, pair: str, reviewer: str = "Ana", choice: str = "chosen", kind: str = "vote", **more) -> dict:
    key = side_of(store, pair, reviewer, choice) if choice in ("chosen", "rejected") else choice
    token = f"{reviewer} {pair} {kind} {choice} {len(load_events(store))}"
    given = {"reviewer": reviewer, "pair": pair, "event": kind, "choice": key, "token": token, "seconds": 2.5}
    return desk.act(store, given | more)


# -- the fold ----------------------------------------------------------------------------------------------------------

happenings = st.builds(
    lambda kind, choice, reviewer, pair: (kind, choice, reviewer, pair),
    st.sampled_from(["undo", "undo", *review.EVENTS]),
    st.sampled_from([*review.CHOICES, *review.REPLIES]),
    st.sampled_from(["Ana", "Ben"]),
    st.sampled_from([("a", "b"), ("b", "a"), ("c", "d")]),
)
histories = st.lists(happenings, max_size=25).map(
    lambda found: [
        event(
            key, kind, choice, reviewer, chosen=pair[0], rejected=pair[1], details={"path": pair[0], "chain": f"{key}"}
        )
        for key, (kind, choice, reviewer, pair) in enumerate(found, 1)
    ]
)


def without_undone(events: list[ReviewEvent]) -> list[ReviewEvent]:
    """Return the events that stand, by crossing out on paper: each undo with what it takes back and its replies."""
    paper: list[list[ReviewEvent]] = []  # each deed with the replies to it, in the order of the deeds
    for each in events:
        same = [
            line for line in paper
            if line[0].reviewer == each.reviewer and {line[0].chosen, line[0].rejected} == {each.chosen, each.rejected}
        ]  # fmt: skip
        if each.event == "undo" and same:
            paper.remove(same[-1])
        elif each.event == "reply" and same:
            same[-1].append(each)
        elif each.event not in ("undo", "reply"):
            paper.append([each])
    return sorted((each for line in paper for each in line), key=lambda each: each.key)


def standing(state: review.State) -> review.State:
    return {place: stack for place, stack in state.items() if stack}


@given(histories)
def test_the_state_is_that_of_the_events_that_nobody_took_back(events):
    assert standing(fold(events)) == standing(fold(without_undone(events)))


@given(histories, st.data())
def test_folding_goes_on_from_any_moment_and_changes_nothing_that_was(events, data):
    cut = data.draw(st.integers(0, len(events)))
    before = fold(events[:cut])
    kept = dict(before)
    assert fold(events[cut:], before) == fold(events) and before == kept


@given(histories, st.data())
def test_a_ledger_that_grows_in_steps_is_that_of_all_events(events, data):
    cut = data.draw(st.integers(0, len(events)))
    first = Ledger().after(events[:cut])
    kept = dict(first.state), dict(first.matters), dict(first.standings)
    grown, whole = first.after(events[cut:]), Ledger().after(events)
    assert grown == whole and kept == (first.state, first.matters, first.standings)
    assert {matter: stacks for matter, stacks in grown.matters.items() if stacks} == review.by_matter(fold(events))


@given(histories)
def test_what_reviewers_prefer_does_not_depend_on_which_way_a_pair_was_curated(events):
    turned = {"chosen": "rejected", "rejected": "chosen"}
    other_way = [
        event(
            each.key, each.event, turned.get(each.choice, each.choice), each.reviewer, chosen=each.rejected,
            rejected=each.chosen, details=each.details,
        )
        for each in events
    ]  # fmt: skip
    assert review.settle_all(fold(events)) == review.settle_all(fold(other_way))


def test_the_last_opinion_of_each_reviewer_counts_and_what_was_settled_before_all():
    votes = [event(1), event(2, choice="rejected"), event(3, "skip", None), event(4, choice="tie", reviewer="Ben")]
    assert review.settle_all(fold(votes))["q"] == [Preference("b", "a")]
    votes.append(event(5, reviewer="Ben"))
    assert review.settle_all(fold(votes))["q"] == [Preference("a", "b", tied=True)]
    votes.append(event(6, "settle", reviewer="Cleo"))
    assert review.settle_all(fold(votes))["q"] == [Preference("a", "b")]
    assert review.settle_all(fold([*votes, event(7, "undo", reviewer="Cleo")]))["q"][0].tied


def test_a_vote_that_its_reviewer_calls_wrong_on_seeing_the_judge_does_not_count():
    for reply, counts in (("judge_wrong", True), ("i_was_wrong", False), ("unclear", False)):
        state = fold([event(1), event(2, "reply", reply)])
        assert bool(review.settle_all(state)) == counts
        assert fold([event(1), event(2, "reply", reply), event(3, "undo")]) == {(("a", "b"), "Ana"): ()}


# -- saving ------------------------------------------------------------------------------------------------------------

numbers = count()
kinds = st.sampled_from(["vote", "vote", "skip", "flag", "edit", "undo", "undo", "reply", "again"])


@settings(max_examples=12, deadline=None)
@given(steps=st.lists(st.tuples(kinds, st.integers(0, 3)), max_size=10))
def test_a_project_opened_again_holds_what_was_done_and_a_double_send_counts_once(shared, steps):
    name, expected, tokens = f"reviewer {next(numbers)}", [], []
    with open_store(shared) as store:
        add_reviewer(store, name)
        before = len(load_events(store))
    for kind, place in steps:
        with open_store(shared) as store:  # each step by a server that has just started
            pair = pair_ids(store)[place]
            known = {each.key for each in load_events(store)}
            token = f"{name} {len(tokens)}"
            if kind == "again" and tokens:
                token, (kind, pair) = tokens[-1]
            if kind in ("undo", "again"):
                undo_last(store, name, token=token)
            else:
                save_event(store, pair, name, kind, choice="chosen", details={"path": "", "chain": ""}, token=token)
            tokens.append((token, (kind, pair)))
            expected += [each for each in load_events(store) if each.key not in known]
    with open_store(shared) as store:
        mine = [each for each in load_events(store) if each.reviewer == name]
        assert mine == expected and len(load_events(store)) == before + len({t for t, _ in tokens}) - idle(mine, tokens)
        last = review.last_deed(fold(mine), name)
        paper = [each for each in without_undone(mine) if each.event != "reply"]
        assert (last.event if last else None) == max(paper, key=lambda each: each.key, default=None)


def idle(mine: list[ReviewEvent], tokens: list) -> int:
    """Return how many tokens were undos with nothing to take back, which leave no trace."""
    return len({token for token, _ in tokens}) - len(mine)


def test_twenty_five_votes_are_taken_back_one_by_one_after_a_restart(file, store):
    pairs = pair_ids(store)
    for number in range(25):
        save_event(store, pairs[number % 12], "Ana", "vote", choice="chosen", token=f"t{number}")
        save_event(store, pairs[number % 12], "Ben", "vote", choice="rejected")
    back = []
    for _ in range(25):
        with open_store(file) as again:
            back.append(undo_last(again, "Ana").pair)
    assert back == [pairs[number % 12] for number in reversed(range(25))]
    assert undo_last(store, "Ana") is None
    assert {each.reviewer for each in without_undone(load_events(store))} == {"Ben"}


def test_a_token_counts_once_for_a_vote_and_for_an_undo(store):
    first, second = pair_ids(store)[:2]
    assert save_event(store, first, "Ana", "vote", choice="chosen", token="one")
    assert not save_event(store, first, "Ana", "vote", choice="rejected", token="one")
    save_event(store, second, "Ana", "vote", choice="chosen", token="two")
    assert undo_last(store, "Ana", token="three").pair == undo_last(store, "Ana", token="three").pair == second
    assert [each.event for each in load_events(store)] == ["vote", "vote", "undo"]


def test_many_reviewers_at_once_lose_no_vote_and_double_none(file, store):
    pairs = pair_ids(store)
    names = [f"r{number}" for number in range(8)]
    problems = []

    def work(name: str) -> None:
        try:
            with open_store(file) as own:
                add_reviewer(own, name)
                for number, pair in enumerate(pairs):
                    for _ in range(2):
                        save_event(own, pair, name, "vote", choice="chosen", token=f"{name} {number}")
        except Exception as error:  # a thread's error would be lost
            problems.append(error)

    threads = [threading.Thread(target=work, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert sorted((each.reviewer, each.pair) for each in load_events(store)) == sorted(
        (name, pair) for name in names for pair in pairs
    )


VOTER = """
import sys
from insightv_core.store import open_store
from insightv_core.store.reviews import save_event
with open_store(sys.argv[1]) as store:
    for number in range(10**6):
        save_event(store, sys.argv[2], "Ana", "vote", choice="chosen", token=f"token {number}")
        print(number, flush=True)
"""


def test_a_server_that_is_killed_has_kept_every_vote_that_it_confirmed(file, store):
    pair = pair_ids(store)[0]
    process = subprocess.Popen([sys.executable, "-c", VOTER, str(file), pair], stdout=subprocess.PIPE, text=True)
    confirmed = [int(next(process.stdout)) for _ in range(20)]
    process.kill()
    confirmed += [int(line) for line in process.stdout]
    process.wait()
    assert len(load_events(store)) in (len(confirmed), len(confirmed) + 1)
    for number in confirmed:
        assert not save_event(store, pair, "Ana", "vote", choice="chosen", token=f"token {number}")


def test_paths_are_reviewed_while_a_vote_on_them_stands(store):
    pair = pair_ids(store)[0]
    reviewed = "SELECT count(*) FROM paths WHERE reviewed"
    save_event(store, pair, "Ana", "skip")
    assert store.value(reviewed) == 0
    save_event(store, pair, "Ana", "vote", choice="chosen")
    save_event(store, pair, "Ben", "vote", choice="tie")
    assert store.value(reviewed) == 2
    undo_last(store, "Ana")
    assert store.value(reviewed) == 2
    assert funnel(store)["reviewed"] == 1
    undo_last(store, "Ben")
    assert store.value(reviewed) == funnel(store)["reviewed"] == 0


def test_a_name_is_one_reviewer_however_it_is_typed(store):
    assert add_reviewer(store, "  aNa ") == "Ana"
    assert add_reviewer(store, "Ana  Maria") == "Ana Maria"
    for name in ("", "   ", "x" * 41, "a\x00b"):
        with pytest.raises(UserError, match="a name has"):
            add_reviewer(store, name)


# -- the queue ---------------------------------------------------------------------------------------------------------

FLIP, AGAINST, NEAR, FAR, BLANK = (
    QueuedPair("flip", ("a0", "b0"), 80.0, True), QueuedPair("against", ("a1", "b1"), -20.0),
    QueuedPair("near", ("a2", "b2"), 3.0), QueuedPair("far", ("a3", "b3"), 84.0),
    QueuedPair("blank", ("a4", "b4"), None),
)  # fmt: skip
PAIRS = sorted([FAR, BLANK, NEAR, AGAINST, FLIP], key=review.rank_pair)


def turns(*events: ReviewEvent, reviewer: str = "Ana") -> list[tuple[str, str]]:
    return [
        (turn.pair, turn.reason) for turn in look_ahead(Queue(PAIRS), Ledger().after(events).standings, reviewer).turns
    ]


def on(pair: QueuedPair, key: int, *given, **more) -> ReviewEvent:
    return event(key, *given, **more, pair=pair.id, chosen=pair.matter[0], rejected=pair.matter[1])


def test_the_queue_begins_where_the_judge_is_least_sure_and_says_why(monkeypatch):
    monkeypatch.setattr(review, "wanted_opinions", lambda pair: 2)
    assert turns() == [
        ("flip", review.FLIPPED), ("against", review.AGAINST), ("near", review.CLOSE_SCORES),
        ("blank", review.UNSCORED), ("far", review.BY_DISTANCE),
    ]  # fmt: skip
    # What is decided leaves, what is skipped comes last, and what one reviewer has seen wants a second opinion.
    events = (on(FLIP, 1), on(NEAR, 2, "skip", None), on(FAR, 3, reviewer="Ben"))
    assert turns(*events) == [
        ("against", review.AGAINST), ("blank", review.UNSCORED), ("far", review.SECOND), ("near", review.SKIPPED),
    ]  # fmt: skip
    assert ("flip", review.FLIPPED) in turns(*events, on(FLIP, 4, "undo"))


def test_what_others_disagree_on_comes_first_and_two_are_enough_for_the_rest(monkeypatch):
    monkeypatch.setattr(review, "wanted_opinions", lambda pair: 2)
    events = [on(FAR, 1, reviewer="Ben"), on(FAR, 2, reviewer="Cleo", choice="rejected")]
    events += [on(NEAR, 3, reviewer="Ben"), on(NEAR, 4, reviewer="Cleo")]
    assert turns(*events)[0] == ("far", review.DIVIDED) and "near" not in dict(turns(*events))
    settled = turns(*events, on(FAR, 5, "settle", reviewer="Ben"))
    assert settled[-1] == ("far", review.GOLD)
    outlook = look_ahead(Queue(PAIRS), Ledger().after(events).standings, "Ana")
    assert (outlook.done, outlook.left, len(list(outlook.turns))) == (0, 4, 4)


def test_one_card_in_ten_was_settled_before():
    fresh = [Turn(f"f{number}", "") for number in range(25)]
    gold = [Turn(f"g{number}", review.GOLD) for number in range(2)]
    mixed = [turn.pair for turn in review.mix(fresh, gold, done=4)]
    assert [mixed.index(turn.pair) + 1 for turn in gold] == [6, 17] and len(mixed) == 27


def test_the_queue_of_a_project_reads_scores_and_flips(store):
    run = curation.find_curation(store).id
    queue = review_queue(store, run)
    assert [pair.flipped for pair in queue] == [True] + [False] * 11
    assert [pair.margin for pair in queue[1:3]] == [6.0, 7.0] and queue[3].margin > 80
    assert all(reason not in SECRETS and not re.search(r"\d", reason) for reason in map(review.explain_place, queue))


def review_queue(store, run):
    from insightv_core.store.reviews import load_queue

    return load_queue(store, run)


def test_nobody_gets_a_pair_that_another_holds_until_it_expires(store):
    one, two, any_number = (Turn(pair, "", room) for pair, room in zip(pair_ids(store), (1, 2, None), strict=False))
    offered = [one, two, any_number]
    assert hold_pairs(store, "Ana", offered, 3, now=0) == offered
    assert hold_pairs(store, "Ana", offered, 3, now=1) == offered
    assert hold_pairs(store, "Ben", offered, 3, now=2) == [two, any_number]
    assert hold_pairs(store, "Cleo", offered, 3, now=3) == [any_number]
    save_event(store, one.pair, "Ana", "skip")
    assert hold_pairs(store, "Cleo", offered, 1, now=4) == [one]
    assert hold_pairs(store, "Ben", [one], 3, now=5) == []
    assert hold_pairs(store, "Ben", [one], 3, now=5 + HOLD_SECONDS) == [one]


def test_sides_are_drawn_for_pair_and_reviewer_and_stay():
    drawn = [review.chosen_left(f"pair {number}", name) for number in range(300) for name in ("Ana", "Ben")]
    assert 250 < sum(drawn) < 350
    assert drawn == [review.chosen_left(f"pair {number}", name) for number in range(300) for name in ("Ana", "Ben")]
    assert 100 < sum(left == right for left, right in zip(drawn[::2], drawn[1::2], strict=True)) < 200


# -- what is served ----------------------------------------------------------------------------------------------------


def test_before_the_vote_nothing_is_served_but_picture_question_and_chains(desk, store):
    vote(desk, store, pair_ids(store)[0], "Zoe Other" if add_reviewer(store, "Zoe Other") else "")
    for have in ([], pair_ids(store)[:9]):
        served = answered(desk.deal, desk, {"reviewer": "Ana", "have": have})
        assert served["cards"]
        assert set(served) == {"cards", "done", "left", "pace"} and all(
            set(card) == {"pair", "html"} for card in served["cards"]
        )
        assert not leaks(json.dumps(served["cards"]), store)
    opened = desk.deal(store, {"reviewer": "Ana", "pair": pair_ids(store)[0]})
    assert not leaks(json.dumps(opened), store)
    back = vote(desk, store, pair_ids(store)[0])
    assert leaks(json.dumps(back), store) >= {"97", "truth-key", "hidden-model", "Zoe Other"}
    again = desk.take_back(store, {"reviewer": "Ana", "token": "back"})
    assert not leaks(again["html"], store)


def answered(work, desk, given):
    """Return what the page is sent, in a project without accounts."""
    request = type("Request", (), {"scope": {KEY: EVERYBODY}})()
    return answering(desk.project, REVIEWER, work)(given, request)


def leaks(served: str, store) -> set[str]:
    """Return the secrets that a text holds: scores, models, answer key, verdicts, sides, votes, runs and paths."""
    text = re.sub(r"Why this pair: [^.]*\.", "", re.sub(r'/picture/\w+|"pair": "\w+"', "", served))
    ids = [*store.column("SELECT id FROM paths"), WRITING.id, JUDGING.id, AGAIN.id, "Zoe Other"]
    return {secret for secret in SECRETS if re.search(rf"(?<!\w){secret}", text)} | {id for id in ids if id in text}


def test_reasons_for_the_place_in_the_queue_tell_no_number_and_no_side(desk, store):
    served = desk.deal(store, {"reviewer": "Ana", "have": []})
    reasons = [re.search(r"Why this pair: ([^.]*)\.", card["html"])[1] for card in served["cards"]]
    assert reasons[0] == "the judge changed its mind between two runs"
    assert (
        reasons[1:] == ["the judge&#x27;s scores lie close together"] * 2
        or reasons[1:] == ["the judge's scores lie close together"] * 2
    )


def test_a_card_greys_what_is_shared_and_marks_where_the_chains_part(desk, store):
    html = desk.deal(store, {"reviewer": "Ana", "have": []})["cards"][0]["html"]
    assert html.count("same in both") == 1 and html.count(" parts") == 1 and html.count("the chain is over") == 1
    assert re.findall(r'data-step="(\d)"', html) == ["1", "2", "3"]
    assert html.index("same in both") < html.index(" parts")


def test_what_models_and_reviewers_wrote_stays_text(desk, store):
    name = add_reviewer(store, "<b>Eve</b>")
    pages = [card["html"] for card in desk.deal(store, {"reviewer": "Ana", "have": pair_ids(store)[:0]})["cards"]]
    pages += [desk.card(store, Turn(pair, "why"), "Ana")["html"] for pair in pair_ids(store)]
    pages.append(vote(desk, store, pair_ids(store)[0], name)["reveal"])
    pages.append(vote(desk, store, pair_ids(store)[0], "Ana", "rejected")["reveal"])
    pages += [desk.view(store, {"view": view, "reviewer": "Ana"})["html"] for view in ("disagreements", "reviewers")]
    assert sum("&lt;script&gt;" in html for html in pages) >= 1 and sum("&lt;b&gt;Eve" in html for html in pages) >= 3
    assert not any(tag in html for html in pages for tag in ("<img src=x", "<script", "<b>Eve"))


def test_the_stored_side_is_what_the_reviewer_saw(desk, store):
    for pair, name in zip(pair_ids(store)[:8], ("Ana", "Ben") * 4, strict=True):
        found = load_pair(store, pair)
        question, sides, _ = page.lay_out(store, pair, name)
        html = desk.card(store, Turn(pair, ""), name)["html"]
        order = [html.index(path.steps[1].content) for path in sides]
        assert order == sorted(order)
        vote(desk, store, pair, name, "rejected")
        saved = load_events(store)[-1]
        assert saved.details["left"] == sides[0].id and saved.choice == "rejected"
        assert review.preferred(saved) == found["rejected"]


def test_a_vote_keeps_step_reasons_and_what_was_looked_at_and_drops_what_makes_no_sense(desk, store):
    pair = pair_ids(store)[0]
    vote(desk, store, pair, step=3, tags=["logic", "no such tag"], zoomed=True)
    vote(desk, store, pair, step=99, tags=[], seconds=-1)
    first, second = load_events(store)
    assert first.step == 3 and first.details["tags"] == ["logic"] and first.details["zoomed"] and first.seconds == 2.5
    assert second.step is None and second.seconds is None and not second.details["zoomed"]


def test_the_judge_asks_only_where_it_disagrees(desk, store):
    pair = pair_ids(store)[-1]
    assert vote(desk, store, pair)["judge"] is None
    assert vote(desk, store, pair, choice="0")["judge"] is None
    assert vote(desk, store, pair, choice="rejected")["judge"] == side_of(store, pair, "Ana")


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"reviewer": "nobody"}, "give your name first"), ({"pair": "nothing"}, "no pair"),
        ({"choice": "chosen"}, "no choice"), ({"event": "undo"}, "nothing that can be done"),
        ({"event": "reply", "choice": "x"}, "press 1, 2 or 3"), ({"event": "edit", "steps": []}, "prefer 1 or 2 first"),
        ({"token": None, "pair": ["a"]}, "no pair"), ({"tags": 5}, "cannot be read"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_explained_and_not_saved(desk, store, changed, words):
    given = {"reviewer": "Ana", "pair": pair_ids(store)[0], "event": "vote", "choice": "1", "token": "t"}
    assert words in answered(desk.act, desk, given | changed)["problem"]
    for other in (None, [], "text", {}):
        assert answered(desk.act, desk, other)["problem"]
    assert not load_events(store)


def test_a_project_without_pairs_says_how_to_make_some(tmp_path):
    with open_store(tmp_path / "new.db", create=True) as store:
        assert "insightv curate --project" in render_shell(store, "?tab=review")


def test_the_overview_leads_to_the_pairs_that_wait(desk, store):
    assert 'href="?tab=review"' in render_overview(store).partition('class="two"')[0]


def test_votes_of_others_on_a_disagreement_are_shown_after_ones_own(desk, store):
    pair = pair_ids(store)[0]
    vote(desk, store, pair, "Ana", "chosen")
    vote(desk, store, pair, "Ben", "rejected")
    shown = {name: desk.view(store, {"view": "disagreements", "reviewer": name})["html"] for name in ("Ben", "Cleo")}
    assert "Ana:" in shown["Ben"] and "settle it" in shown["Ben"]
    assert "Ana" not in shown["Cleo"] and "2 votes, shown after yours" in shown["Cleo"]
    assert "settles" not in desk.deal(store, {"reviewer": "Cleo", "pair": pair})["cards"][0]
    card = desk.deal(store, {"reviewer": "Ben", "pair": pair})["cards"][0]
    assert card["settles"] and "Ana:" in card["reveal"]
    vote(desk, store, pair, "Ben", "chosen", "settle")
    ((_, _, settled),) = list_disagreements(desk.catch_up(store).state)
    assert settled.reviewer == "Ben"


def test_a_desk_follows_votes_of_other_processes(desk, store):
    assert desk.deal(store, {"reviewer": "Ana", "have": []})["done"] == 0
    save_event(store, pair_ids(store)[0], "Ana", "vote", choice="chosen")
    served = desk.deal(store, {"reviewer": "Ana", "have": []})
    assert served["done"] == 1 and pair_ids(store)[0] not in [card["pair"] for card in served["cards"]]


# -- what curating makes of it -----------------------------------------------------------------------------------------


def test_curating_reads_votes_edits_ties_and_what_was_withdrawn(desk, store):
    kept, turned, tied, bad, wrong = pair_ids(store)[:5]
    steps = [["Read the bars", "kiwi is 1."], ["Compare", "apple\nis taller."], ["Answer", "So it is apple."]]
    vote(desk, store, kept)
    vote(desk, store, kept, kind="edit", steps=steps)
    vote(desk, store, turned, choice="rejected")
    vote(desk, store, tied, choice="0")
    vote(desk, store, bad, choice="x")
    vote(desk, store, wrong, choice="rejected")
    desk.act(store, {"reviewer": "Ana", "pair": wrong, "event": "reply", "choice": "i_was_wrong", "token": "r"})
    before = {pair: load_pair(store, pair) for pair in (kept, turned, tied, bad, wrong)}
    rows = {
        frozenset((row.path, row.rejected_path)): row
        for row in training_rows(store, curate_pairs(store), "pairs", excluded=True)
    }
    rows = {pair: rows[frozenset((found["chosen"], found["rejected"]))] for pair, found in before.items()}
    assert rows[kept].reason == "human" and rows[kept].path == before[kept]["chosen"]
    assert [json.loads(line)["content"] for line in rows[kept].completion.splitlines()] == [text for _, text in steps]
    assert rows[turned].reason == "human" and rows[turned].path == before[turned]["rejected"]
    assert {rows[tied].excluded, rows[bad].excluded} == {"reviewers prefer neither"}
    assert rows[wrong].reason != "human" and rows[wrong].path == before[wrong]["chosen"]
    preferences = [each for found in curation.load_preferences(store).values() for each in found]
    assert judge_report.load_preferences(store) == [(one.better, one.worse) for one in preferences if not one.tied]


def test_an_edit_needs_a_preferred_response_and_every_step(desk, store):
    pair = pair_ids(store)[0]
    given = {"reviewer": "Ana", "pair": pair, "event": "edit", "token": "e"}
    vote(desk, store, pair, choice="0")
    with pytest.raises(UserError, match="prefer 1 or 2 first"):
        desk.edit(store, given)
    vote(desk, store, pair)
    form = desk.edit(store, given)["form"]
    assert form.count("<textarea") == 3 and "apple is taller by eleven" in form
    same = [[step.summary, step.content] for step in store.path(load_pair(store, pair)["chosen"]).steps]
    for steps, words in (
        (same, "nothing is changed"), (same[:2], "keeps its 3 steps"), ([["a", " "], *same[1:]], "step 1 is empty"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            desk.act(store, given | {"steps": steps})
    desk.act(store, given | {"steps": [["Look", "kiwi"], *same[1:]]})
    assert "Look" in desk.edit(store, given)["form"]
    desk.take_back(store, {"reviewer": "Ana", "token": "b"})
    assert "Look" not in desk.edit(store, given)["form"] and not curation.load_edits(store)


# -- figures -----------------------------------------------------------------------------------------------------------


def votes_on(units: list[tuple[str, ...]]) -> list[ReviewEvent]:
    return [
        event(
            10 * number + place, choice=choice, reviewer=f"r{place}", chosen=f"a{number:03}", rejected=f"b{number:03}"
        )
        for number, choices in enumerate(units)
        for place, choice in enumerate(choices)
    ]


def test_agreement_is_krippendorffs_alpha_over_pairs_that_two_voted_on():
    # Votes A A, A A, A B, B B and one alone: observed disagreement 2 / 8, expected 2 * 5 * 3 / (8 * 7).
    units = [("chosen", "chosen"), ("chosen", "chosen"), ("chosen", "rejected"), ("rejected", "rejected"), ("tie",)]
    found = measure_agreement(fold(votes_on(units)), resamples=50)
    assert found["value"] == pytest.approx(1 - (2 / 8) / (30 / 56)) and found["n"] == 4
    assert found["low"] <= found["value"] <= found["high"]
    # Categories have no order: 3 A, 2 ties, 2 B and 1 both bad, where half of the votes differ within their pair.
    mixed = [("chosen", "tie"), ("rejected", "rejected"), ("chosen", "chosen"), ("tie", "both_bad")]
    found = measure_agreement(fold(votes_on(mixed)), resamples=5)
    assert found["value"] == pytest.approx(1 - (4 / 8) / (1 - (3 * 2 + 2 * 1 + 2 * 1) / (8 * 7)))


def test_agreement_is_unknown_where_it_cannot_be_told():
    for units in ([], [("chosen",)], [("chosen", "chosen")], [("chosen", "chosen")] * 5):
        found = measure_agreement(fold(votes_on(units)))
        assert found["value"] is None and found["n"] == sum(len(unit) > 1 for unit in units)


def test_always_left_is_told_from_taste():
    def cast(lefts: list[bool]) -> dict:
        events = [
            event(
                number, choice="chosen" if left else "rejected", seconds=float(number % 9 + 1), chosen=f"a{number}",
                rejected=f"b{number}", details={"left": f"a{number}", "longer": f"b{number}", "judge": None},
            )
            for number, left in enumerate(lefts, 1)
        ]  # fmt: skip
        (found,) = describe_reviewers(fold(events), events)
        return found

    habit, even = cast([True] * 200), cast([True, False] * 100)
    assert habit["one_sided"] and habit["left"]["value"] == 1 and habit["left"]["n"] == 200
    assert not even["one_sided"] and even["left"]["low"] < 0.5 < even["left"]["high"]
    assert habit["longer"]["value"] == 0 and habit["judge"]["n"] == 0 and habit["seconds"] == 5
    assert not cast([True] * 3)["one_sided"]


def test_every_vote_counts_or_says_why_not():
    two = {"chosen": "c", "rejected": "d"}
    three = {"chosen": "e", "rejected": "f"}
    events = [
        event(1), event(2, reviewer="Ben"), event(3, choice="rejected", reviewer="Cleo"),
        event(4, choice="both_bad", **two), event(5, **three), event(6, "reply", "i_was_wrong", **three),
        event(7, choice="tie", reviewer="Ben", **three), event(8, reviewer="Ben", **two),
        event(9, "undo", None, reviewer="Ben", **two), event(10, "flag", None, reviewer="Cleo", **three),
    ]  # fmt: skip
    fates = tell_fates(fold(events))
    assert dict(fates["Ana"]) == {COUNTS: 1, NEITHER: 1, WAS_WRONG: 1}
    assert dict(fates["Ben"]) == {COUNTS: 1, NEITHER: 1} and fates["Cleo"][OUTVOTED] == 1
    described = {each["reviewer"]: each["fates"] for each in describe_reviewers(fold(events), events)}
    assert described["Ben"][TAKEN_BACK] == 1
    settled = tell_fates(fold([*events, event(11, "settle", "rejected", reviewer="Cleo")]))
    assert settled["Ana"][SETTLED] == 1 and settled["Cleo"][COUNTS] == 1


@given(histories)
def test_as_many_fates_as_opinions(events):
    state = fold(events)
    held = sum(review.opinion(stack) is not None for stack in state.values())
    assert sum(sum(counts.values()) for counts in tell_fates(state).values()) == held


# -- files -------------------------------------------------------------------------------------------------------------


def test_nothing_is_loaded_from_elsewhere():
    here = FilePath(page.__file__).parent
    for name in ("review.css", "review.js"):
        assert not re.findall(r"(?:https?:)?//[\w.]+\.\w+/", (here / name).read_text())


def test_every_key_is_one_thing():
    from app.review_views import render_dock

    keys = re.findall(r'data-press="(\w)"', render_dock())
    assert sorted(keys) == sorted("120xsfeu45678")
    assert all(one != other for one, other in combinations(keys, 2))
