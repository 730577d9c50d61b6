"""Reading an order from where a page ended: spans of an order, their values, and streams of them merged."""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from insightv_core.store.filters import ANY_SCORE, EVERYTHING, Condition, PathFilter, facet_rows, in_scores, score_range
from insightv_core.store.project import Store
from insightv_core.store.schema import SCORE_SPAN

END = 1 << 62
CHUNK, MERGED, LARGEST_CHUNK, AHEAD = 64, 8, 2048, 500


@dataclass(frozen=True)
class Span:
    """A stretch of an order: the values of a column between two bounds, both excluded."""

    column: str
    descending: bool
    low: int
    high: int

    def after(self, value: int) -> "Span":
        """Return what is left after a value."""
        return replace(self, high=value) if self.descending else replace(self, low=value)

    @property
    def inside(self) -> Condition:
        """The condition that a value is in the span."""
        return Condition(f"{self.column} > ? AND {self.column} < ?", (self.low, self.high))

    @property
    def order(self) -> str:
        """The SQL that sorts by it."""
        return f"{self.column} {'DESC' if self.descending else 'ASC'}"


def spans_of(sort: str, age: str, scores: tuple[int, int], after: int | None) -> list[Span]:
    """Return what is left of an order after a value; `age` is the column that orders by age.

    Orders by score hold the scores of that range alone; "lowest" has two spans, because the unscored come last.
    """
    if sort in ("newest", "oldest"):
        spans = [Span(age, sort == "newest", -1, END)]
    else:
        split = sort == "lowest" and scores[0] == 0 < scores[1]
        ranges = [(1, scores[1]), (0, 0)] if split else [scores]
        spans = [Span("place", sort == "score", low * SCORE_SPAN, (high + 1) * SCORE_SPAN) for low, high in ranges]
    if after is None:
        return spans
    for number, span in enumerate(spans):
        if span.low < after < span.high:
            return [span.after(after), *spans[number + 1 :]]
    return []


def stream(store: Store, table: str, condition: Condition, span: Span, chunk: int = CHUNK) -> Iterator[int]:
    """Yield the values of a span along an index that holds them in order, with each query some more."""
    while True:
        where = condition & span.inside
        values = store.column(
            f"SELECT {span.column} FROM {table} WHERE {where.sql} ORDER BY {span.order} LIMIT ?",
            (*where.parameters, chunk),
        )
        yield from values
        if len(values) < chunk:
            return
        span, chunk = span.after(values[-1]), min(2 * chunk, LARGEST_CHUNK)


def merge(store: Store, filter: PathFilter, span: Span) -> Iterator[int]:
    """Yield the values of a span over all combinations of facets that match, in order, each value once.

    One query finds where each combination begins; then only those are read that the order comes to.
    """
    ending = {"place": "place_position", "key": "key_score_order", "position": "position_score_order"}[span.column]
    table = f"paths INDEXED BY paths_by_facets_{ending}"
    scores, rows = EVERYTHING, facet_rows(filter)
    if span.column != "place" and score_range(filter) != ANY_SCORE:
        scores = in_scores(filter)
        # Without this, a combination that has no such score would be read to its end.
        rows &= Condition(
            "EXISTS (SELECT 1 FROM facet_scores AS counted WHERE counted.facets = facets.key "
            "AND counted.score BETWEEN ? AND ? AND counted.paths > 0)",
            score_range(filter),
        )
    tests = span.inside & scores
    heads = store.tuples(
        f"SELECT (SELECT {span.column} FROM {table} WHERE facets = facets.key AND {tests.sql} "
        f"ORDER BY {span.order} LIMIT 1) AS head, facets.key FROM facets WHERE {rows.sql}",
        tests.parameters + rows.parameters,
    )
    sign = -1 if span.descending else 1
    heap: list[tuple[int, int, Iterator[int] | None]]
    heap = [(sign * head, facets, None) for head, facets in heads if head is not None]
    heapq.heapify(heap)
    last = None
    while heap:
        value, facets, rest = heap[0]
        if value != last:
            yield sign * value
            last = value
        if rest is None:
            rest = stream(store, table, Condition("facets = ?", (facets,)) & scores, span.after(sign * value), MERGED)
        following = next(rest, None)
        if following is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (sign * following, facets, rest))


def look_ahead(
    store: Store, table: str, condition: Condition, span: Span, others: Callable[[Span], Iterator[int]]
) -> Iterator[int]:
    """Yield the values of a span that fulfil a condition; those beyond the table's next rows in its order by `others`.

    Where most rows fulfil it, a page is full at once, however many combinations of facets they have.
    """
    rows = store.tuples(
        f"SELECT {span.column}, {condition.sql} FROM {table} WHERE {span.inside.sql} ORDER BY {span.order} LIMIT ?",
        (*condition.parameters, *span.inside.parameters, AHEAD),
    )
    yield from (value for value, fulfils in rows if fulfils)
    if len(rows) == AHEAD:
        yield from others(span.after(rows[-1][0]))
