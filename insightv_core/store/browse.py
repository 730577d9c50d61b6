"""Browsing a project: pages of paths and questions, the counts of every facet, and what search finds.

No listing scans: a page is read from the mark where the one before ended, along an index that begins with `facets`
(see `schema`), and every count is a sum over `facets` and `facet_scores`, or over one question's paths.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Generic, TypeVar

from insightv_core.errors import UserError
from insightv_core.records import COMPLETE
from insightv_core.store.filters import (
    ANY_SCORE,
    EVERYTHING,
    SORTS,
    Condition,
    PathFilter,
    checked,
    filter_from_query,
    filter_to_query,
    in_facets,
    in_places,
    in_scores,
    score_range,
    wanted_facets,
)
from insightv_core.store.orders import Span, look_ahead, merge, spans_of, stream
from insightv_core.store.project import Store
from insightv_core.store.schema import FACETS, SCORE_SPAN, STEP_SPAN
from insightv_core.store.search import (
    MANY_HITS,
    catch_up,
    index_new_steps,
    many_hits,
    match_expression,
    unsearchable_paths,
)

__all__ = [
    "Count", "Page", "PathFilter", "PathRow", "QuestionRow", "SearchHit", "count_paths", "facet_counts",
    "filter_from_query", "filter_to_query", "funnel", "index_new_steps", "list_paths", "list_questions",
    "score_histogram", "search_paths", "unsearchable_paths",
]  # fmt: skip

CORRECT = "correct"
FEW_PATHS = 10_000
LARGEST_PAGE = 1000
BY_QUESTION = "paths INDEXED BY paths_by_question_score_order_facets"
BY_FACETS = "paths INDEXED BY paths_by_facets_place_position"
BY_KEY = "paths NOT INDEXED"
IN_ORDER = {"place": "paths INDEXED BY paths_by_place_facets", "key": BY_KEY}
Row = TypeVar("Row")
Counted = TypeVar("Counted")


@dataclass(frozen=True)
class PathRow:
    """What a listing shows of a path; `titles` are those of its accepted steps, `created` is in seconds since 1970."""

    id: str
    question: str
    question_text: str
    truth: str
    image: str
    family: str
    source: str
    run: str
    model: str | None
    sample: int
    status: str
    failure: str | None
    answer: str | None
    outcome: str | None
    score: int | None
    reviewed: bool
    step_count: int
    tokens: int
    created: float
    titles: tuple[str, ...]


@dataclass(frozen=True)
class QuestionRow:
    """What a listing shows of a question; `paths`, `correct` and `best` are over all its paths, whatever the filter."""

    id: str
    text: str
    answer: str
    image: str
    family: str
    source: str
    level: int | None
    paths: int
    correct: int
    best: int | None


@dataclass(frozen=True)
class SearchHit:
    """The step of a path that fits a search best; `turn` counts the path's replies from 0.

    `excerpt` is its text in pieces, each with whether it is what was looked for.
    """

    path: PathRow
    turn: int
    excerpt: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Rows of a listing, and the mark from which it goes on: None on the last page."""

    rows: tuple[Row, ...]
    next: str | None


@dataclass(frozen=True)
class Count:
    """A number of paths; where it is not exact there are at least so many, and it is written "10,000+"."""

    number: int
    exact: bool = True

    def __str__(self) -> str:
        return f"{self.number:,}{'' if self.exact else '+'}"


# -- paths -------------------------------------------------------------------------------------------------------------


def list_paths(store: Store, filter: PathFilter, *, after: str | None = None, limit: int = 50) -> Page[PathRow]:
    """Return a page of the paths that a filter lets through, in its order; `after` is the page before's `next`.

    Raises `UserError` for a mark of another order, an order that there is not, or a limit beyond 1 to 1000.
    """
    place = _read_mark(checked(filter), after, limit)
    expression = _prepare_search(store, filter)
    with store.snapshot():
        values = list(islice(_path_values(store, filter, place, expression), limit + 1))
        rows = _path_rows(store, [value % SCORE_SPAN for value in values[:limit]])
    return Page(tuple(rows), _write_mark(filter, values, limit))


def _path_values(store: Store, filter: PathFilter, place: int | None, expression: str | None) -> Iterator[int]:
    """Yield the values of the paths in the filter's order: their places, or their keys."""
    scores = score_range(filter)
    many = expression is not None and many_hits(store, expression)
    found = _found_paths(expression) if expression is not None and not many else None
    values = chain.from_iterable(
        _span_values(store, filter, span, found) for span in spans_of(filter.sort, "key", scores, place)
    )
    if expression is None or not many:
        return values
    return (value for value in values if _matches(store, expression, value % SCORE_SPAN))


def _span_values(store: Store, filter: PathFilter, span: Span, found: Condition | None) -> Iterator[int]:
    """Yield the values of a span along whichever index leaves the least to look at."""
    every = in_facets(filter) & in_scores(filter)
    if filter.question is not None:
        condition = Condition("question = ?", (filter.question,)) & every
        return stream(store, BY_QUESTION, condition & found if found else condition, span)
    if found:
        return stream(store, BY_KEY, found & every, span)
    bounded = span.column != "place" and score_range(filter) != ANY_SCORE
    if not wanted_facets(filter) and not bounded:
        return stream(store, "paths", EVERYTHING, span)

    def others(rest: Span) -> Iterator[int]:
        if bounded and _few_paths(store, filter):
            return stream(store, BY_FACETS, in_facets(filter) & in_places(filter), rest)
        return merge(store, filter, rest)

    return look_ahead(store, IN_ORDER[span.column], every if bounded else in_facets(filter), span, others)


def _few_paths(store: Store, filter: PathFilter) -> bool:
    """Tell whether so few paths match that reading and sorting them all is quick."""
    condition = in_facets(filter) & in_places(filter)
    count = f"SELECT count(*) FROM (SELECT 1 FROM {BY_FACETS} WHERE {condition.sql} LIMIT ?)"
    return store.value(count, (*condition.parameters, FEW_PATHS + 1)) <= FEW_PATHS


def _path_rows(store: Store, keys: Sequence[int]) -> list[PathRow]:
    """Return the rows of paths in the order of their keys."""
    if not keys:
        return []
    marks = ",".join("?" * len(keys))
    titles: dict[int, list[str]] = {key: [] for key in keys}
    for key, title in store.tuples(
        f"SELECT path, summary FROM steps WHERE path IN ({marks}) AND number IS NOT NULL AND summary IS NOT NULL "
        "ORDER BY path, turn",
        keys,
    ):
        titles[key].append(title)
    rows = store.rows(
        "SELECT key, paths.id, question, text AS question_text, questions.answer AS truth, image, paths.family, "
        "paths.source, run, model, sample, status, failure, paths.answer, outcome, score, reviewed, step_count, "
        f"tokens, created FROM paths JOIN questions ON questions.id = question WHERE key IN ({marks})",
        keys,
    )
    found = {row.pop("key"): row for row in rows}
    return [
        PathRow(**found[key] | {"reviewed": bool(found[key]["reviewed"]), "titles": tuple(titles[key])}) for key in keys
    ]


# -- questions ---------------------------------------------------------------------------------------------------------


def list_questions(store: Store, filter: PathFilter, *, after: str | None = None, limit: int = 50) -> Page[QuestionRow]:
    """Return a page of the questions with a path that a filter lets through.

    Those without any path are there too where the filter asks for nothing that only paths have. Their order is that of
    their best score over all paths, or of their import. A search finds a question by its own text as well.
    """
    place = _read_mark(checked(filter), after, limit)
    expression = _prepare_search(store, filter)
    with store.snapshot():
        values = list(islice(_question_values(store, filter, place, expression), limit + 1))
        rows = _question_rows(store, [value % SCORE_SPAN for value in values[:limit]])
    return Page(tuple(rows), _write_mark(filter, values, limit))


def _question_values(store: Store, filter: PathFilter, place: int | None, expression: str | None) -> Iterator[int]:
    many = expression is not None and many_hits(store, expression)
    found = _found_questions(filter, expression) if expression is not None and not many else None
    values = chain.from_iterable(
        _question_span(store, filter, span, found) for span in spans_of(filter.sort, "position", ANY_SCORE, place)
    )
    if expression is None or not many:
        return values
    return (value for value in values if _question_matches(store, filter, expression, value % SCORE_SPAN))


def _question_span(store: Store, filter: PathFilter, span: Span, found: Condition | None) -> Iterator[int]:
    own = [(name, getattr(filter, name)) for name in ("family", "source") if getattr(filter, name) is not None]
    named = [("id", filter.question)] if filter.question is not None else []
    condition = Condition(
        " AND ".join(["1", *(f"questions.{name} = ?" for name, _ in own + named)]), tuple(v for _, v in own + named)
    )
    by_path = score_range(filter) != ANY_SCORE or set(wanted_facets(filter)) - {"family", "source"}
    every = condition & _has_path(filter) if by_path else condition
    if found or named or not by_path:
        return stream(store, "questions", every & found if found else every, span)

    def others(rest: Span) -> Iterator[int]:
        if rest.column == "position":
            return merge(store, filter, rest)
        if _few_paths(store, filter):
            few = in_facets(filter) & in_places(filter)
            with_path = Condition(f"position IN (SELECT position FROM {BY_FACETS} WHERE {few.sql})", few.parameters)
            return stream(store, "questions", condition & with_path, rest)
        return stream(store, "questions", every, rest)

    return look_ahead(store, "questions", every, span, others)


def _has_path(filter: PathFilter) -> Condition:
    every = in_facets(filter) & in_scores(filter)
    return Condition(
        f"EXISTS (SELECT 1 FROM {BY_QUESTION} WHERE question = questions.id AND {every.sql})", every.parameters
    )


def _question_rows(store: Store, positions: Sequence[int]) -> list[QuestionRow]:
    """Return the rows of questions in the order of their positions."""
    if not positions:
        return []
    marks = ",".join("?" * len(positions))
    rows = store.tuples(
        f"SELECT position, id, text, answer, image, family, source, level FROM questions WHERE position IN ({marks})",
        positions,
    )
    ids = [row[1] for row in rows]
    counts = store.tuples(
        f"SELECT question, count(*), count(CASE WHEN facets.outcome = ? THEN 1 END), max(score_order) "
        f"FROM {BY_QUESTION} JOIN facets ON facets.key = paths.facets WHERE question IN ({marks}) GROUP BY question",
        (CORRECT, *ids),
    )
    counted = {question: (paths, correct, best or None) for question, paths, correct, best in counts}
    found = {row[0]: (*row[1:], *counted.get(row[1], (0, 0, None))) for row in rows}
    return [QuestionRow(*found[position]) for position in positions]


# -- counts ------------------------------------------------------------------------------------------------------------


def count_paths(store: Store, filter: PathFilter) -> Count:
    """Return how many paths a filter lets through; with a search that very many steps fit, how many at least."""
    expression = _prepare_search(store, checked(filter))

    def count() -> Count:
        cells = _cells(filter, expression, scores=False) & in_facets(filter)
        number = store.value(f"SELECT coalesce(sum(paths), 0) FROM {cells.sql}", cells.parameters)
        return Count(number, expression is None or not many_hits(store, expression))

    return _remembered(store, "count", filter, count)


def facet_counts(store: Store, filter: PathFilter) -> dict[str, list[tuple[str | bool, int]]]:
    """Return for each facet its values, those with the most paths first, and the number of paths of each.

    The numbers are what one would see on choosing another value: the filter's own value of that facet is left out.
    With a search that more than 20,000 steps fit, they are over the newest of these.
    """
    expression = _prepare_search(store, checked(filter))
    counts = _remembered(store, "facets", filter, lambda: _facet_counts(store, filter, expression))
    return {facet: list(pairs) for facet, pairs in counts.items()}


def _facet_counts(store: Store, filter: PathFilter, expression: str | None) -> dict[str, list[tuple[str | bool, int]]]:
    cells = _cells(filter, expression, scores=False)
    wanted = wanted_facets(filter)
    misses = " + ".join(["0", *(f"({facet} <> ?)" for facet in wanted)])
    rows = store.tuples(
        f"SELECT number, {', '.join(FACETS)} FROM facets JOIN "
        f"(SELECT facets, sum(paths) AS number FROM {cells.sql} GROUP BY facets) ON key = facets "
        f"WHERE number > 0 AND {misses} <= 1",
        (*cells.parameters, *wanted.values()),
    )
    counts: list[Counter] = [Counter() for _ in FACETS]
    chosen = [(place, wanted[facet]) for place, facet in enumerate(FACETS) if facet in wanted]
    for number, *values in rows:
        missed = [place for place, value in chosen if values[place] != value]
        for place in missed or range(len(FACETS)):
            counts[place][values[place]] += number
    return {
        facet: sorted(
            ((bool(value) if facet == "reviewed" else value, paths) for value, paths in counts[place].items()),
            key=lambda pair: (-pair[1], pair[0]),
        )
        for place, facet in enumerate(FACETS)
    }


def score_histogram(store: Store, filter: PathFilter) -> dict[int | None, int]:
    """Return how many paths that a filter lets through have each score that occurs; None stands for no score.

    With a search that more than 20,000 steps fit, they are those among the newest of these.
    """
    expression = _prepare_search(store, checked(filter))

    def count() -> dict[int | None, int]:
        cells = _cells(filter, expression) & in_facets(filter)
        rows = store.tuples(
            f"SELECT score, sum(paths) AS number FROM {cells.sql} GROUP BY score HAVING number > 0 ORDER BY score",
            cells.parameters,
        )
        return {score or None: number for score, number in rows}

    return dict(_remembered(store, "histogram", filter, count))


def _remembered(store: Store, kind: str, filter: PathFilter, count: Callable[[], Counted]) -> Counted:
    """Return a count of that kind, which does not depend on the filter's order."""
    return store.remember((kind, replace(filter, sort=SORTS[0])), count)


def _cells(filter: PathFilter, expression: str | None, *, scores: bool = True) -> Condition:
    """Return "rows WHERE ..." that count the paths of all facets by score, under all of the filter but its facets.

    Where the `scores` are not needed and all are let through, the shorter table `facets` holds the same counts.
    """
    tests, table = EVERYTHING, BY_KEY
    if expression is not None:
        tests &= _found_paths(expression, newest=MANY_HITS)
    if filter.question is not None:
        tests, table = tests & Condition("question = ?", (filter.question,)), BY_QUESTION
    if tests != EVERYTHING:
        rows = f"(SELECT facets, score_order AS score, count(*) AS paths FROM {table} WHERE {tests.sql} GROUP BY 1, 2)"
    elif scores or score_range(filter) != ANY_SCORE:
        rows = "facet_scores"
    else:
        rows = "(SELECT key AS facets, 0 AS score, paths FROM facets)"
    return Condition(f"{rows} AS counted WHERE score BETWEEN ? AND ?", (*tests.parameters, *score_range(filter)))


def funnel(store: Store) -> dict[str, int]:
    """Return how far the project has come: questions, their paths, and what became of these.

    Of the `paths`, `complete` ended with an answer, `correct` with a right one, and `scored` have a score; `reviewed`
    counts the `pairs` that somebody voted on.
    """
    with store.snapshot():
        paths, complete, correct = store.tuples(
            "SELECT coalesce(sum(paths), 0), coalesce(sum(paths) FILTER (WHERE status = ?), 0), "
            "coalesce(sum(paths) FILTER (WHERE outcome = ?), 0) FROM facets",
            (COMPLETE, CORRECT),
        )[0]
        return {
            "questions": store.question_count(),
            "paths": paths,
            "complete": complete,
            "correct": correct,
            "scored": store.value("SELECT coalesce(sum(paths), 0) FROM facet_scores WHERE score > 0"),
            "pairs": store.value("SELECT count(*) FROM pairs"),
            "reviewed": store.value("SELECT count(DISTINCT pair) FROM reviews WHERE event = 'vote'"),
        }


# -- search ------------------------------------------------------------------------------------------------------------


def search_paths(store: Store, text: str, *, limit: int = 20) -> list[SearchHit]:
    """Return the paths with a step that holds all words of a text, those that fit best first.

    Any text is allowed; one without a letter or digit finds nothing. Where more than 20,000 steps fit, the newest of
    these are compared.
    """
    catch_up(store)
    expression = match_expression(text)
    with store.snapshot():
        ranked = store.column(
            "SELECT step, min(misfit) FROM (SELECT rowid AS step, bm25(steps_search) AS misfit FROM steps_search "
            "WHERE steps_search MATCH ? ORDER BY rowid DESC LIMIT ?) GROUP BY step / ? "
            "ORDER BY 2, step DESC LIMIT ?",
            (expression, MANY_HITS, STEP_SPAN, limit),
        )
        rows = _path_rows(store, [step // STEP_SPAN for step in ranked])
        return [
            SearchHit(row, step % STEP_SPAN, _excerpt(store, expression, step))
            for step, row in zip(ranked, rows, strict=True)
        ]


def _excerpt(store: Store, expression: str, step: int) -> tuple[tuple[str, bool], ...]:
    marked = store.value(
        "SELECT snippet(steps_search, -1, char(2), char(3), '…', 24) FROM steps_search "
        "WHERE steps_search MATCH ? AND rowid = ?",
        (expression, step),
    )
    pieces = marked.replace("\3", "\2").split("\2")
    return tuple((piece, bool(number % 2)) for number, piece in enumerate(pieces) if piece)


def _prepare_search(store: Store, filter: PathFilter) -> str | None:
    if not filter.search.strip():
        return None
    catch_up(store)
    return match_expression(filter.search)


def _found_paths(expression: str, newest: int | None = None) -> Condition:
    steps = "SELECT rowid FROM steps_search WHERE steps_search MATCH ?"
    if newest is None:
        return Condition(f"paths.key IN (SELECT rowid / {STEP_SPAN} FROM ({steps}))", (expression,))
    newest_steps = f"{steps} ORDER BY rowid DESC LIMIT ?"
    return Condition(f"paths.key IN (SELECT rowid / {STEP_SPAN} FROM ({newest_steps}))", (expression, newest))


def _matches(store: Store, expression: str, key: int) -> bool:
    """Tell whether a step of a path holds what is looked for."""
    return store.value(
        "SELECT 1 FROM steps_search WHERE steps_search MATCH ? AND rowid >= ? AND rowid < ? LIMIT 1",
        (expression, key * STEP_SPAN, (key + 1) * STEP_SPAN),
    ) is not None  # fmt: skip


def _found_questions(filter: PathFilter, expression: str) -> Condition:
    paths = _found_paths(expression) & in_facets(filter) & in_scores(filter)
    return Condition(
        f"position IN (SELECT position FROM {BY_KEY} WHERE {paths.sql} "
        "UNION SELECT rowid FROM questions_search WHERE questions_search MATCH ?)",
        (*paths.parameters, expression),
    )


def _question_matches(store: Store, filter: PathFilter, expression: str, position: int) -> bool:
    """Tell whether a question, or a step of one of its paths that the filter lets through, holds what is looked for."""
    if store.value(
        "SELECT 1 FROM questions_search WHERE questions_search MATCH ? AND rowid = ?", (expression, position)
    ):
        return True
    every = in_facets(filter) & in_scores(filter)
    keys = store.column(
        f"SELECT key FROM {BY_QUESTION} WHERE question = (SELECT id FROM questions WHERE position = ?) AND {every.sql}",
        (position, *every.parameters),
    )
    return any(_matches(store, expression, key) for key in keys)


# -- marks -------------------------------------------------------------------------------------------------------------


def _write_mark(filter: PathFilter, values: Sequence[int], limit: int) -> str | None:
    return f"{filter.sort}-{values[limit - 1]}" if len(values) > limit else None


def _read_mark(filter: PathFilter, mark: str | None, limit: int) -> int | None:
    if not 1 <= limit <= LARGEST_PAGE:
        raise UserError(f"a page of {limit} rows: ask for 1 to {LARGEST_PAGE}")
    if mark is None:
        return None
    sort, _, value = mark.partition("-")
    if sort != filter.sort or not (value.isascii() and value.isdigit() and len(value) < 19):
        raise UserError(f"the mark {mark!r} does not belong to this listing: open it from its first page")
    return int(value)
