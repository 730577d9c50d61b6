"""Browsing a project: pages of paths and questions, and what search finds; `counts` counts them.

No listing scans: a page is read from the mark where the one before ended, along an index that begins with `facets`
(see `schema`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Generic, TypeVar

from insightv_core.errors import UserError
from insightv_core.store.counts import (
    BY_KEY,
    BY_QUESTION,
    CORRECT,
    Count,
    count_paths,
    facet_counts,
    funnel,
    score_histogram,
)
from insightv_core.store.filters import (
    ANY_SCORE,
    EVERYTHING,
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
from insightv_core.store.project import Store, marks_for
from insightv_core.store.schema import SCORE_SPAN, STEP_SPAN
from insightv_core.store.search import (
    MANY_HITS,
    begins_words,
    catch_up,
    found_paths,
    index_new_steps,
    many_hits,
    match_expression,
    matching_paths,
    matching_questions,
    prepare_search,
    unsearchable_paths,
)

__all__ = [
    "Count", "Page", "PathFilter", "PathRow", "QuestionRow", "SearchHit", "count_paths", "facet_counts",
    "filter_from_query", "filter_to_query", "funnel", "image_known", "index_new_steps", "list_paths", "list_questions",
    "score_histogram", "search_paths", "unsearchable_paths",
]  # fmt: skip

FEW_PATHS = 10_000
LARGEST_PAGE = 1000
LOOKED_AT_ONCE = 32  # rows, for what many of them hold
LOOKED_AT, RARE = 128, 16  # rows, until the beginning of a word counts as rare where fewer than one in so many hold it
BY_FACETS = "paths INDEXED BY paths_by_facets_place_position"
IN_ORDER = {"place": "paths INDEXED BY paths_by_place_facets", "key": BY_KEY}
Row = TypeVar("Row")


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


# -- paths -------------------------------------------------------------------------------------------------------------


def list_paths(store: Store, filter: PathFilter, *, after: str | None = None, limit: int = 50) -> Page[PathRow]:
    """Return a page of the paths that a filter lets through, in its order; `after` is the page before's `next`.

    Raises `UserError` for a mark of another order, an order that there is not, or a limit beyond 1 to 1000.
    """
    place = _read_mark(checked(filter), after, limit)
    expression = prepare_search(store, filter)
    with store.snapshot():
        values = list(islice(_path_values(store, filter, place, expression), limit + 1))
        rows = _path_rows(store, [value % SCORE_SPAN for value in values[:limit]])
    return Page(tuple(rows), _write_mark(filter, values, limit))


def _path_values(store: Store, filter: PathFilter, place: int | None, expression: str | None) -> Iterator[int]:
    """Yield the values of the paths in the filter's order: their places, or their keys."""
    scores = score_range(filter)

    def values(place: int | None, found: Condition | None) -> Iterator[int]:
        spans = spans_of(filter.sort, "key", scores, place)
        return chain.from_iterable(_span_values(store, filter, span, found) for span in spans)

    if expression is None:
        return values(place, None)
    matching = partial(matching_paths, store, expression)
    return _found_values(store, expression, values, place, found_paths(expression), matching)


def _found_values(
    store: Store,
    expression: str,
    values: Callable[[int | None, Condition | None], Iterator[int]],
    place: int | None,
    found: Condition,
    matching: Callable[[list[int]], set[int]],
) -> Iterator[int]:
    """Yield those values after a place that hold what is looked for, by whichever way is quick.

    Rows are looked at in their order where what is looked for is frequent: most pages are full soon. Else what the
    search index finds is sorted. How frequent the beginning of a word is takes long to count, so it is tried.
    """
    begins = begins_words(expression)
    if not begins and not many_hits(store, expression):
        yield from values(place, found)
        return
    rows, looked, held = values(place, None), 0, 0
    while chunk := list(islice(rows, LOOKED_AT_ONCE)):
        keys = matching([value % SCORE_SPAN for value in chunk])
        yield from (value for value in chunk if value % SCORE_SPAN in keys)
        looked, held = looked + len(chunk), held + len(keys)
        if begins and looked >= LOOKED_AT and held < looked / RARE:
            yield from values(chunk[-1], found)
            return


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
    marks = marks_for(keys)
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
    expression = prepare_search(store, filter)
    with store.snapshot():
        values = list(islice(_question_values(store, filter, place, expression), limit + 1))
        rows = _question_rows(store, [value % SCORE_SPAN for value in values[:limit]])
    return Page(tuple(rows), _write_mark(filter, values, limit))


def _question_values(store: Store, filter: PathFilter, place: int | None, expression: str | None) -> Iterator[int]:
    # A question with a path of that score or more has it as its best, or a better one; others need no look.
    scores = (score_range(filter)[0], ANY_SCORE[1])

    def values(place: int | None, found: Condition | None) -> Iterator[int]:
        spans = spans_of(filter.sort, "position", scores, place)
        return chain.from_iterable(_question_span(store, filter, span, found) for span in spans)

    if expression is None:
        return values(place, None)
    matching = partial(_matching_questions, store, filter, expression)
    return _found_values(store, expression, values, place, _found_questions(filter, expression), matching)


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
    marks = marks_for(positions)
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


def _found_questions(filter: PathFilter, expression: str) -> Condition:
    paths = found_paths(expression) & in_facets(filter) & in_scores(filter)
    return Condition(
        f"position IN (SELECT position FROM {BY_KEY} WHERE {paths.sql} "
        "UNION SELECT rowid FROM questions_search WHERE questions_search MATCH ?)",
        (*paths.parameters, expression),
    )


def _matching_questions(store: Store, filter: PathFilter, expression: str, positions: list[int]) -> set[int]:
    """Return which of some questions, or which of their paths that the filter lets through, hold what is looked for."""
    if not begins_words(expression):
        return {position for position in positions if _question_matches(store, filter, expression, position)}
    found = matching_questions(store, expression, positions)
    left = [position for position in positions if position not in found]
    if not left:
        return found
    paths = _paths_of(store, filter, left)
    holding = matching_paths(store, expression, [key for key, _ in paths])
    return found | {position for key, position in paths if key in holding}


def _paths_of(store: Store, filter: PathFilter, positions: Sequence[int]) -> list[tuple[int, int]]:
    """Return the keys of the paths of some questions that the filter lets through, with the questions' positions."""
    every = in_facets(filter) & in_scores(filter)
    return store.tuples(
        f"SELECT key, position FROM {BY_QUESTION} WHERE question IN "
        f"(SELECT id FROM questions WHERE position IN ({marks_for(positions)})) AND {every.sql}",
        (*positions, *every.parameters),
    )


def _question_matches(store: Store, filter: PathFilter, expression: str, position: int) -> bool:
    if matching_questions(store, expression, [position]):
        return True
    return any(matching_paths(store, expression, [key]) for key, _ in _paths_of(store, filter, [position]))


# -- pictures ----------------------------------------------------------------------------------------------------------


def image_known(store: Store, sha256: str) -> bool:
    """Tell whether the project holds a picture with that hash."""
    return store.value("SELECT 1 FROM images WHERE sha256 = ?", [sha256]) is not None


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
