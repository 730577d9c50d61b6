"""Which paths to show: a filter as a plain record, as the query string of an address, and as conditions in SQL."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from urllib.parse import parse_qs, urlencode

from insightv_core.errors import UserError
from insightv_core.store.schema import FACETS, SCORE_SPAN

SORTS = ("score", "lowest", "newest", "oldest")
ANY_SCORE = (0, 100)


@dataclass(frozen=True)
class PathFilter:
    """Which paths to show, and in what order; a field that is None takes every value.

    `outcome` "" means not judged, `model` "" no model. Bounds of the score, 1 to 100, leave unscored paths out;
    `scored` False leaves out the others. `search` is text as people type it: a step must hold all its words.
    `sort`: "score" (best first) or "lowest", both with the unscored last, "newest" or "oldest".
    """

    family: str | None = None
    source: str | None = None
    outcome: str | None = None
    run: str | None = None
    model: str | None = None
    status: str | None = None
    reviewed: bool | None = None
    question: str | None = None
    score_low: int | None = None
    score_high: int | None = None
    scored: bool | None = None
    search: str = ""
    sort: str = "score"


def filter_to_query(filter: PathFilter) -> str:
    """Return a filter as the query string of an address; that of the default filter is empty."""
    values = {field.name: getattr(filter, field.name) for field in fields(filter)}
    changed = {name: value for name, value in values.items() if value != getattr(PathFilter, name)}
    words = {name: ("yes" if value else "no") for name, value in changed.items() if isinstance(value, bool)}
    return urlencode(changed | words, errors="replace")


def filter_from_query(query: str) -> PathFilter:
    """Read a filter from a query string; parameters that are no part of a filter are left alone.

    Raises `UserError` for a value that the filter cannot have.
    """
    given = parse_qs(query.removeprefix("?"), keep_blank_values=True)
    readers: dict[str, Callable] = {
        "reviewed": _read_flag, "scored": _read_flag, "score_low": _read_score, "score_high": _read_score,
    }  # fmt: skip
    names = [field.name for field in fields(PathFilter) if field.name in given]
    values = {name: readers.get(name, _read_text)(name, given[name][-1]) for name in names}
    return checked(PathFilter(**values))


def _read_text(name: str, text: str) -> str:
    return text


def _read_flag(name: str, text: str) -> bool:
    if text not in ("yes", "no"):
        raise UserError(f"{name}={text} in the address: write yes or no, or leave it out to see both")
    return text == "yes"


def _read_score(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 3):
        raise UserError(f"{name}={text} in the address: scores are whole numbers from 1 to 100")
    return int(text)


def checked(filter: PathFilter) -> PathFilter:
    """Return the filter; raise `UserError` where it asks for what cannot be."""
    if filter.sort not in SORTS:
        raise UserError(f"paths cannot be sorted by {filter.sort!r}: take one of {', '.join(SORTS)}")
    for bound in (filter.score_low, filter.score_high):
        if bound is not None and not 1 <= bound <= 100:
            raise UserError(f"a score of {bound} in a filter: scores are whole numbers from 1 to 100")
    return filter


def score_range(filter: PathFilter) -> tuple[int, int]:
    """Return the lowest and highest score that a filter lets through, both included; 0 stands for no score."""
    bounded = filter.scored or filter.score_low is not None or filter.score_high is not None
    low = (filter.score_low or 1) if bounded else 0
    high = 0 if filter.scored is False else filter.score_high or 100
    return low, high


def wanted_facets(filter: PathFilter) -> dict[str, str | bool]:
    """Return the facets that a filter asks for, with their values."""
    values = {facet: getattr(filter, facet) for facet in FACETS}
    return {facet: value for facet, value in values.items() if value is not None}


@dataclass(frozen=True)
class Condition:
    """A condition in SQL with its parameters; `&` joins two."""

    sql: str
    parameters: tuple = ()

    def __and__(self, other: "Condition") -> "Condition":
        return Condition(f"{self.sql} AND {other.sql}", self.parameters + other.parameters)


EVERYTHING = Condition("1")


def facet_rows(filter: PathFilter) -> Condition:
    """Return the condition on rows of `facets` that a filter asks for."""
    wanted = wanted_facets(filter)
    return Condition(" AND ".join(["facets.paths > 0", *(f"facets.{facet} = ?" for facet in wanted)]),
                     tuple(wanted.values()))  # fmt: skip


def in_facets(filter: PathFilter) -> Condition:
    """Return the condition on `facets` of a path."""
    rows = facet_rows(filter)
    return Condition(f"facets IN (SELECT key FROM facets WHERE {rows.sql})", rows.parameters)


def in_scores(filter: PathFilter) -> Condition:
    """Return the condition on the score of a path, for indexes that hold it beside what they order by."""
    return Condition("score_order BETWEEN ? AND ?", score_range(filter))


def in_places(filter: PathFilter) -> Condition:
    """Return the same condition for indexes that order by `place`."""
    low, high = score_range(filter)
    return Condition("place > ? AND place < ?", (low * SCORE_SPAN, (high + 1) * SCORE_SPAN))
