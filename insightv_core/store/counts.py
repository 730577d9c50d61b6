"""How many paths a filter lets through: in all, by facet, by score, and by how far a project has come.

Every count is a sum over `facets` and `facet_scores`, or over one question's paths (see `schema`).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from insightv_core.records import COMPLETE
from insightv_core.store import search
from insightv_core.store.filters import (
    ANY_SCORE,
    EVERYTHING,
    SORTS,
    Condition,
    PathFilter,
    checked,
    in_facets,
    score_range,
    wanted_facets,
)
from insightv_core.store.project import Store
from insightv_core.store.schema import FACETS
from insightv_core.store.search import found_paths, many_hits, prepare_search

CORRECT = "correct"
BY_QUESTION = "paths INDEXED BY paths_by_question_score_order_facets"
BY_KEY = "paths NOT INDEXED"
Counted = TypeVar("Counted")


@dataclass(frozen=True)
class Count:
    """A number of paths; where it is not exact there are at least so many, and it is written "10,000+"."""

    number: int
    exact: bool = True

    def __str__(self) -> str:
        return f"{self.number:,}{'' if self.exact else '+'}"


def count_paths(store: Store, filter: PathFilter) -> Count:
    """Return how many paths a filter lets through; with a search that very many steps fit, how many at least."""
    expression = prepare_search(store, checked(filter))

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
    expression = prepare_search(store, checked(filter))
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
    expression = prepare_search(store, checked(filter))

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
        tests &= found_paths(expression, newest=search.MANY_HITS)
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
    counts the `pairs` on which a vote of somebody stands.
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
            "reviewed": store.value(
                "SELECT count(DISTINCT pair) FROM reviews WHERE event = 'vote' AND key NOT IN "
                "(SELECT details ->> 'taken_back' FROM reviews WHERE event = 'undo' AND details ->> 'taken_back' > 0)"
            ),
        }
