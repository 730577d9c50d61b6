"""Browsing: every page, count and hit equals what looking at each path one by one gives, and nothing scans."""

import random
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from stored import add_all, make_path, make_question, make_run, make_turn

from insightv_core.errors import UserError
from insightv_core.records import ModelVersion, identify
from insightv_core.store import browse, open_store, orders, project, search
from insightv_core.store.browse import (
    PathFilter,
    count_paths,
    facet_counts,
    filter_from_query,
    filter_to_query,
    funnel,
    index_new_steps,
    list_paths,
    list_questions,
    score_histogram,
    search_paths,
    unsearchable_paths,
)
from insightv_core.store.filters import SORTS
from insightv_core.store.schema import FACETS

QUESTIONS, PATHS = 30, 160
WORDS = ("red", "blue", "bar", "is", "three", "nine", "Größe", "don't")
MODELS = (ModelVersion("nano-teacher", "a" * 20), ModelVersion("other", "b" * 20), None)
quick = settings(deadline=None, suppress_health_check=list(HealthCheck))

filters = st.builds(
    PathFilter,
    family=st.sampled_from([None, None, "family 1", "family 2", "none such"]),
    source=st.sampled_from([None, None, "source 1"]),
    outcome=st.sampled_from([None, None, "", "correct", "wrong"]),
    run=st.sampled_from([None, None, identify("run", 1)]),
    model=st.sampled_from([None, None, "", "a" * 20]),
    status=st.sampled_from([None, None, "complete", "failed"]),
    reviewed=st.sampled_from([None, None, True, False]),
    question=st.sampled_from([None] * 6 + [identify("question", 3), identify("question", 29)]),
    score_low=st.sampled_from([None, None, 1, 40, 70]),
    score_high=st.sampled_from([None, None, 70, 100]),
    scored=st.sampled_from([None, None, None, True, False]),
    search=st.sampled_from([""] * 5 + [" ", "red ", "bar IS ", "bars", "thr", "größe ", "don't ", "+"]),
    sort=st.sampled_from(SORTS),
)
# The ways to read a page, each made to happen in a store that is too small to need them.
ways = st.sampled_from([(500, 10_000, 20_000), (1, -1, 20_000), (5, 10_000, 3), (1, -1, 3), (5, 10, 20_000)])


def fill(store, draw):
    """Fill a store with questions, the last of them without paths, and paths of all kinds."""
    questions = [
        make_question(number, family=f"family {number % 3}", source=f"source {number % 2}")
        for number in range(QUESTIONS)
    ]
    store.add_questions(questions)
    runs = [make_run(number, model) for number, model in enumerate(MODELS)]
    for run in runs:
        store.start_run(run)
    store.add_paths(
        make_path(
            number, draw.choice(questions[:25])[0], draw.choice(runs),
            tuple(
                make_turn(" ".join(draw.choices(WORDS, k=3)), draw.choice(WORDS), draw.random() < 0.9)
                for _ in range(draw.randint(0, 2))
            ),
            status=draw.choice(["complete", "failed"]),
        )
        for number in range(PATHS)
    )  # fmt: skip
    change(store, range(1, PATHS + 1), draw)
    index_new_steps(store)


def change(store, keys, draw):
    """Give paths another outcome, score and review."""
    with store.transaction():
        for key in keys:
            store.db.conn.execute(
                "UPDATE paths SET (outcome, score, reviewed) = (?, ?, ?) WHERE key = ?",
                (
                    draw.choice([None, "correct", "wrong"]), draw.choice([None, 1, 40, 55, 70, 100]),
                    draw.random() < 0.3, key,
                ),
            )  # fmt: skip


def look_at_all(store):
    """Return every path with its steps' texts and every question with its paths, read without the code under test."""
    paths, questions = store.rows("SELECT * FROM paths"), store.rows("SELECT * FROM questions")
    steps = store.rows("SELECT * FROM steps WHERE number IS NOT NULL")
    for path in paths:
        path["texts"] = [f"{step['summary']} {step['content']}" for step in steps if step["path"] == path["key"]]
    for question in questions:
        question["paths"] = [path for path in paths if path["question"] == question["id"]]
        question["best"] = max((path["score"] or 0 for path in question["paths"]), default=0)
    return paths, questions


def holds(text, search):
    words = re.findall(r"\w+", text.lower())
    *whole, last = re.findall(r"\w+", search.lower()) or ["no such word"]
    return all(word in words for word in whole) and any(
        word == last or word.startswith(last) and not search.endswith(" ") for word in words
    )


def lets_through(filter, path, *, searching=True):
    if any(getattr(filter, facet) not in (None, path[facet] or "") for facet in FACETS if facet != "reviewed"):
        return False
    low, high = filter.score_low or 0, filter.score_high or 100
    bounded = filter.scored or filter.score_low or filter.score_high
    return (
        filter.reviewed in (None, bool(path["reviewed"]))
        and filter.question in (None, path["question"])
        and (not bounded or path["score"] is not None and low <= path["score"] <= high)
        and not (filter.scored is False and path["score"] is not None)
        and (not searching or not filter.search.strip() or any(holds(text, filter.search) for text in path["texts"]))
    )


def asks_for_paths(filter):
    facets = set(FACETS) - {"family", "source"}
    bounds = (filter.score_low, filter.score_high, filter.scored)
    return any(getattr(filter, facet) is not None for facet in facets) or any(bound is not None for bound in bounds)


def lets_question_through(filter, question):
    paths = [path for path in question["paths"] if lets_through(filter, path, searching=False)]
    found = [path for path in paths if lets_through(filter, path)]
    return (
        filter.family in (None, question["family"])
        and filter.source in (None, question["source"])
        and filter.question in (None, question["id"])
        and (bool(paths) or not asks_for_paths(filter))
        and (not filter.search.strip() or bool(found) or holds(question["text"], filter.search))
    )


def in_order(rows, sort, score, age):
    keys = {
        "score": lambda row: (-(row[score] or 0), -row[age]), "lowest": lambda row: (row[score] or 101, row[age]),
        "newest": lambda row: -row[age], "oldest": lambda row: row[age],
    }  # fmt: skip
    return [row["id"] for row in sorted(rows, key=keys[sort])]


def all_pages(listing, store, filter, limit):
    rows, mark = [], None
    while True:
        page = listing(store, filter, after=mark, limit=limit)
        assert len(page.rows) == limit or page.next is None
        rows += page.rows
        if page.next is None:
            return rows
        mark = page.next


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    with open_store(tmp_path_factory.mktemp("browse") / "project.db", create=True) as store:
        fill(store, random.Random(1))
        yield store, *look_at_all(store)


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "project.db", create=True) as store:
        yield store


def go(way, patch):
    ahead, few, many = way
    patch.setattr(orders, "AHEAD", ahead)
    patch.setattr(browse, "FEW_PATHS", few)
    patch.setattr(search, "MANY_HITS", many)
    patch.setattr(browse, "LOOKED_AT", min(ahead, 40))
    patch.setattr(browse, "LOOKED_AT_ONCE", min(ahead, 8))


# -- pages and counts --------------------------------------------------------------------------------------------------


@settings(quick, max_examples=150)
@given(filters, ways, st.integers(1, 60))
def test_pages_hold_every_path_and_question_of_a_filter_once_and_in_order(full, filter, way, limit):
    store, paths, questions = full
    with pytest.MonkeyPatch.context() as patch:
        go(way, patch)
        found = [row.id for row in all_pages(list_paths, store, filter, limit)]
        asked = [row.id for row in all_pages(list_questions, store, filter, limit)]
    assert found == in_order([path for path in paths if lets_through(filter, path)], filter.sort, "score", "key")
    wanted = [question for question in questions if lets_question_through(filter, question)]
    assert asked == in_order(wanted, filter.sort, "best", "position")


@settings(quick, max_examples=80)
@given(filters)
def test_counts_equal_counting_one_by_one(full, filter):
    store, paths, _ = full
    for facet, counts in facet_counts(store, filter).items():
        others = replace(filter, **{facet: None})
        one_by_one = Counter(path[facet] or "" for path in paths if lets_through(others, path))
        assert dict(counts) == ({bool(v): n for v, n in one_by_one.items()} if facet == "reviewed" else one_by_one)
        assert counts == sorted(counts, key=lambda pair: (-pair[1], pair[0]))
    wanted = [path for path in paths if lets_through(filter, path)]
    assert str(count_paths(store, filter)) == str(len(wanted))
    assert score_histogram(store, filter) == Counter(path["score"] for path in wanted)


@settings(quick, max_examples=15)
@given(st.randoms(use_true_random=False), filters)
def test_counts_are_right_after_every_write_of_this_and_of_another_connection(draw, filter):
    filter = replace(filter, search="", question=None)
    with open_store(":memory:", create=True) as store:
        fill(store, random.Random(3))
        for _ in range(3):
            change(store, [draw.randint(1, PATHS) for _ in range(5)], draw)
            with store.transaction():
                store.db.conn.execute("DELETE FROM paths WHERE key = ?", [draw.randint(1, PATHS)])
            paths = [path for path in store.rows("SELECT * FROM paths") if lets_through(filter, path)]
            assert count_paths(store, filter).number == len(paths)
            assert score_histogram(store, filter) == Counter(path["score"] for path in paths)
            assert dict(facet_counts(store, filter)["outcome"]) == Counter(
                path["outcome"] or "" for path in store.rows("SELECT * FROM paths")
                if lets_through(replace(filter, outcome=None), path)
            )  # fmt: skip
            asked = list_questions(store, PathFilter(), limit=QUESTIONS).rows
            assert [row.id for row in asked] == in_order(look_at_all(store)[1], "score", "best", "position")


def test_counts_follow_what_others_write_and_what_is_rolled_back(store):
    questions, runs, _ = add_all(store)
    assert count_paths(store, PathFilter()).number == 6
    with open_store(store.file) as other:
        other.add_paths([make_path(70, questions[0], runs[0])])
    assert count_paths(store, PathFilter()).number == 7
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.db.conn.execute("UPDATE paths SET outcome = 'wrong'")
        assert count_paths(store, PathFilter(outcome="wrong")).number == 7
        raise ZeroDivisionError
    assert count_paths(store, PathFilter(outcome="wrong")).number == 0


def test_the_funnel_counts_every_stage(store):
    questions, (run,), paths = add_all(store)
    store.add_paths([make_path(60, questions[0], run, status="failed")])
    with store.transaction():
        store.db.conn.execute("UPDATE paths SET outcome = 'correct', score = 80 WHERE sample < 2")
        store.db.conn.execute("UPDATE paths SET outcome = 'wrong' WHERE sample = 2")
        for number in (1, 2):
            store.db.conn.execute(
                "INSERT INTO pairs (id, run, question, chosen, rejected, kind, shared_steps, reason, created) "
                "VALUES (?, ?, ?, 1, 3, 'best', 0, '', 0)",
                (f"pair {number}", run.id, questions[0].id),
            )
        store.db.conn.execute("INSERT INTO reviewers VALUES ('Ana', 'reviewer', NULL, 0)")
        for event in ("vote", "vote", "skip"):
            store.db.conn.execute(
                "INSERT INTO reviews (pair, reviewer, event, details, created) VALUES (1, 'Ana', ?, '', 0)", [event]
            )
    assert funnel(store) == {
        "questions": 3, "paths": 7, "complete": 6, "correct": 2, "scored": 2, "pairs": 2, "reviewed": 1
    }  # fmt: skip


def test_rows_show_what_was_saved(store):
    question, image = make_question(1, level=2)
    store.add_questions([(question, image)])
    store.start_run(make_run())
    turns = (make_turn(summary="Read"), make_turn(summary="Wrong", accepted=False), make_turn(summary="Add"))
    path = make_path(1, question, make_run(), turns)
    store.add_paths([path])
    (row,) = list_paths(store, PathFilter()).rows
    assert (row.id, row.titles, row.step_count) == (path.id, ("Read", "Add"), 2)
    assert (row.question_text, row.truth, row.image) == (question.text, "3", image.sha256)
    assert (row.outcome, row.score, row.reviewed, row.model) == (None, None, False, "f" * 20)
    with store.transaction():
        store.db.conn.execute("UPDATE paths SET outcome = 'correct', score = 91, reviewed = 1")
    (row,) = list_paths(store, PathFilter(reviewed=True)).rows
    assert (row.outcome, row.score, row.reviewed) == ("correct", 91, True)
    (asked,) = list_questions(store, PathFilter()).rows
    assert (asked.paths, asked.correct, asked.best, asked.level) == (1, 1, 91, 2)


@settings(quick, max_examples=60)
@given(filters, ways)
def test_no_query_of_any_filter_scans_paths_steps_or_questions(full, filter, way):
    store, *_ = full
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        go(way, patch)
        store.db.conn.set_trace_callback(asked.append)
        try:
            first = list_paths(store, filter, limit=3)
            list_paths(store, filter, after=first.next)
            list_questions(store, filter, after=list_questions(store, filter, limit=3).next)
            for count in (count_paths, facet_counts, score_histogram):
                count(store, replace(filter, sort="newest"))
        finally:
            store.db.conn.set_trace_callback(None)
    queries = [query for query in asked if query.startswith("SELECT")]
    assert len(queries) > 3
    for query in queries:
        for row in store.rows(f"EXPLAIN QUERY PLAN {query}"):
            assert not re.match(r"SCAN (paths|steps|questions)( |$)", row["detail"]), query


# -- addresses and marks -----------------------------------------------------------------------------------------------

any_filter = st.builds(
    PathFilter, family=st.none() | st.text(), outcome=st.none() | st.text(), question=st.none() | st.text(),
    reviewed=st.none() | st.booleans(), scored=st.none() | st.booleans(), score_low=st.none() | st.integers(1, 100),
    score_high=st.none() | st.integers(1, 100), search=st.text(), sort=st.sampled_from(SORTS),
)  # fmt: skip


@given(any_filter)
@example(PathFilter())
def test_a_filter_comes_back_from_its_address(filter):
    query = filter_to_query(filter)
    assert filter_from_query(query) == filter_from_query(f"?page=2&{query}") == filter
    assert query.isascii() and (query == "") == (filter == PathFilter())


@pytest.mark.parametrize(
    "query",
    ["sort=size", "score_low=0", "score_high=101", "score_low=ten", "score_low=-5", "reviewed=1", "scored=", "sort="],
)
def test_an_address_with_an_impossible_value_is_refused_by_name(query):
    with pytest.raises(UserError, match=re.escape(query.partition("=")[2]) or "scored|sorted"):
        filter_from_query(query)


@pytest.mark.parametrize(
    "mark", ["", "newest", "score-", "score-x", "score--1", "oldest-3", "score-" + "9" * 30, "score-²"]
)
def test_a_mark_of_another_listing_is_refused(full, mark):
    for listing in (list_paths, list_questions):
        with pytest.raises(UserError, match="first page"):
            listing(full[0], PathFilter(), after=mark)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_has_a_sensible_size(full, limit):
    with pytest.raises(UserError, match=f"{limit} rows"):
        list_paths(full[0], PathFilter(), limit=limit)


# -- search ------------------------------------------------------------------------------------------------------------

awkward = st.text(alphabet="\"'*^()-+:{}[]. \0aNOTRED\ud800é中", max_size=20)


@settings(quick, max_examples=150)
@given(
    st.text(max_size=40)
    | awkward
    | st.lists(st.sampled_from(["NOT", "AND", "OR", "NEAR(", "red", '"', "*"])).map(" ".join)
)
@example("red " * 5000)
@example('"')
def test_no_text_is_too_strange_to_search_for(full, text):
    store, *_ = full
    search_paths(store, text)
    for count in (list_paths, list_questions, count_paths, facet_counts):
        count(store, PathFilter(search=text))


@settings(quick, max_examples=60)
@given(
    st.text(st.characters(codec="utf-8", max_codepoint=0x2FF), max_size=30), st.text("abAB 1", min_size=1, max_size=8)
)
def test_search_finds_a_path_by_any_words_of_a_step(around, words):
    turn = make_turn(f"{around} {words} {around}")
    with open_store(":memory:", create=True) as store:
        (question, *_), (run,), _ = add_all(store)
        path = make_path(50, question, run, (make_turn(), turn))
        store.add_paths([path])
        for text in (words, words.upper()):
            if text.strip():
                hits = search_paths(store, text, limit=100)
                assert path.id in [hit.path.id for hit in hits]
                assert path.id in [row.id for row in list_paths(store, PathFilter(search=text), limit=100).rows]


def test_the_best_step_of_each_path_is_excerpted_with_its_finds_marked(store):
    (question, *_), (run,), _ = add_all(store)
    long = " ".join(["nothing"] * 50)
    store.add_paths(
        [
            make_path(50, question, run, (make_turn(f"{long} zebra {long}"), make_turn("zebra crossing"))),
            make_path(51, question, run, (make_turn("no animal"), make_turn(f"zebra {long}", accepted=False))),
        ]
    )
    (hit,) = search_paths(store, "ZEBRA")
    assert (hit.path.id, hit.turn) == (identify("path", 50), 1)
    assert hit.excerpt == (("zebra", True), (" crossing", False))


def test_steps_become_searchable_behind_the_writer_even_while_it_writes(store, monkeypatch):
    (question, *_), (run,), _ = add_all(store)
    assert unsearchable_paths(store) == 6
    assert index_new_steps(store, 5) == 5 and 0 < unsearchable_paths(store) < 6
    assert index_new_steps(store) == 7 and index_new_steps(store) == unsearchable_paths(store) == 0
    store.add_paths([make_path(50, question, run, (make_turn("zebra"),))])
    monkeypatch.setattr(project, "BUSY_SECONDS", 60.0)
    with open_store(store.file) as writer, writer.transaction():
        assert search_paths(store, "zebra") == []
        assert len(search_paths(store, "bars")) == 6
    assert store.value("PRAGMA busy_timeout") == 60_000
    assert len(search_paths(store, "zebra")) == 1
    with store.transaction():
        store.db.conn.execute("DELETE FROM paths WHERE key = 7")
    assert search_paths(store, "zebra") == []
    store.add_paths([make_path(51, question, run, (make_turn("a second zebra"),))])
    assert len(search_paths(store, "zebra")) == 1


def test_a_search_that_very_much_fits_counts_at_least(store, monkeypatch):
    monkeypatch.setattr(search, "MANY_HITS", 4)
    monkeypatch.setattr(browse, "MANY_HITS", 4)
    add_all(store)
    assert str(count_paths(store, PathFilter(search="bars"))) == "2+"
    assert str(count_paths(store, PathFilter(search="zebra"))) == "0"
    assert len(list_paths(store, PathFilter(search="bars")).rows) == 6
