"""Claims told along a list: how each one stands against a limit, how many so far, and which is the best so far."""

import re
from fractions import Fraction

from insightv_core.nano.scenes import LineChart, RouteMap, Table
from insightv_core.nano.verifier.changes import changes_of
from insightv_core.nano.verifier.facts import Context, Facts
from insightv_core.nano.verifier.tables import judge_total, product_of
from insightv_core.nano.verifier.text import NAME, NUM, Found, Judged, Sentence, number, rule
from insightv_core.nano.verifier.values import judge_value

_SIDE = rule(rf"({NAME}) ({NUM}) is (not )?above (?:({NAME}) )?({NUM})(?: \( ({NUM}) \))?")
_IS_SAID = "is (not )?(more|less|the same|equal)"
_AGAINST = rule(rf"(?:({NAME}) )?({NUM}) against (?:({NAME}) )?({NUM}) {_IS_SAID}(?: \( ({NUM}) \))?")
_TOTALS = rule(
    rf"total %([a-z]+) ({NUM}) against total %([a-z]+) ({NUM}) {_IS_SAID}"
    rf"(?:(?= ,(?: so)? ({NUM}) - ({NUM})))?"
)
_SO_FAR = rule(rf"(?:the )?\^(max|min)( best)? so far (?:(?:is|:|in|=) )*({NAME}) (?:(?:with|at|by|is|=|:|,) )*({NUM})")
_THAN = rule(rf", (not )?(more|less) than ({NUM})(?= ,| $)")


def read_running(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Judge "fig 9 against 6 is more (2)", "Tue 8 is not above Mon 9" and "36 against 9 is more, best so far fig"."""
    sentence.rewrite(_AGAINST, lambda m: _judge_against(m, facts))
    if isinstance(facts.scene, Table):
        sentence.rewrite(_TOTALS, lambda m: _judge_totals(m, facts))
    if facts.main:
        sentence.rewrite(_SIDE, lambda m: _judge_side(m, facts))
    sentence.rewrite(_THAN, lambda m: _judge_than(m, facts))
    sentence.rewrite(_SO_FAR, lambda m: _judge_so_far(m, facts, context))
    context.told |= _names(sentence.line())


def _names(line: str) -> set[str]:
    return {name[1:].partition("/")[0] for name in re.findall(NAME, line)}


def _judge_against(match: re.Match, facts: Facts) -> Found:
    """Judge both readings, how one number compares with the other, and the count beside it."""
    name, value, other, limit, denied, said, count = match.groups()
    claims = [*_read_both(name, value, other, limit, facts), _judge_word(value, limit, said, bool(denied))]
    if not name:
        claims += _judge_taken(match, number(value), number(limit), facts)
    if count and name:
        claims.append(_judge_count(name[1:], other and other[1:], limit, count, facts))
    return Found(tuple(claims), f"{name} #" if name else "#")


def _judge_word(value: str, limit: str, said: str, denied: bool) -> Judged:
    """Judge "more", "less" or "the same" of one number against another."""
    one, two = number(value), number(limit)
    exact = "more" if one > two else "less" if one < two else "the same"
    return Judged((exact == ("the same" if said == "equal" else said)) != denied, f"{value} is {exact}")


def _judge_totals(match: re.Match, facts: Facts) -> Found:
    """Judge two columns' totals, how one compares with the other, and that it is they that are subtracted next."""
    one, left, two, right, denied, said, minuend, subtrahend = match.groups()
    totals = [judge_total(column, told, facts) for column, told in ((one, left), (two, right))]
    claims = [*totals, _judge_word(left, right, said, bool(denied))]
    if minuend and {number(minuend), number(subtrahend)} != {number(left), number(right)}:
        claims.append(Judged(False, f"the totals are {left} and {right}"))
    return Found(tuple(claims))


def _judge_taken(match: re.Match, one: Fraction, two: Fraction, facts: Facts) -> list[Judged]:
    """Return what is false of where two bare numbers come from: the one just told, and one that something has."""
    told = re.search(rf"({NUM}) , $", match.string[: match.start()])
    values = _compared(facts).values() if " so far " in match.string else ()
    claims = []
    if told and number(told[1]) != one:
        claims.append(Judged(False, f"just before it is {told[1]}"))
    if values and two not in values:
        claims.append(Judged(False, f"nothing has {match[4]}"))
    return claims


def _judge_side(match: re.Match, facts: Facts) -> Found:
    """Judge both readings, the side, and the count beside it."""
    name, value, denied, other, limit, count = match.groups()
    above = number(value) > number(limit)
    side = Judged(above != bool(denied), f"{value} is {'' if above else 'not '}above {limit}")
    claims = [*_read_both(name, value, other, limit, facts), side]
    if count:
        claims.append(_judge_count(name[1:], other and other[1:], limit, count, facts))
    return Found(tuple(claims), f"{name} #")


def _read_both(name: str | None, value: str, other: str | None, limit: str, facts: Facts) -> list[Judged]:
    """Judge what is read for the name before each number, where there is one."""
    read = [judge_value(named[1:], "", told, facts) for named, told in ((name, value), (other, limit)) if named]
    return [claim for claim in read if claim and facts.main]


def _judge_count(name: str, before: str | None, limit: str, told: str, facts: Facts) -> Judged:
    """Judge how many are above the limit, or above the point before each, up to a name."""
    names = list(facts.main)
    if name not in names:
        return Judged(False, f"the picture has no {facts.show(name)}")
    at = names.index(name)
    if before is None:
        come = sum(facts.values[each] > number(limit) for each in names[: at + 1])
    elif isinstance(facts.scene, LineChart) and at and names[at - 1] == before:
        come = sum(rise > 0 for each, rise in changes_of(facts).items() if names.index(each) <= at)
    else:
        return Judged(None, "it is not said what is counted")
    return Judged(come == number(told), f"{come} have come up to {facts.show(name)}")


def _judge_than(found: re.Match, facts: Facts) -> Found | None:
    """Judge that the number before is more, or less; before "so far" it is compared with one that something has."""
    told = re.search(rf"({NUM}) $", found.string[: found.start()])
    values = _compared(facts).values()
    if told is None or not values:
        return None
    one, two = number(told[1]), number(found[3])
    if two not in values and " so far " in found.string:
        return Found((Judged(False, f"nothing has {found[3]}"),), ",")
    holds = one > two if found[2] == "more" else one < two
    return Found((Judged(holds != bool(found[1]), f"{told[1]} is {'' if holds else 'not '}{found[2]}"),), ",")


def _judge_so_far(found: re.Match, facts: Facts, context: Context) -> Found:
    """Judge that a name has that number, and that none told before it in the step has a better one."""
    kind, best, name, told = found[1], found[2], found[3][1:], number(found[4])
    values = _compared(facts)
    if name not in values:
        return Found((Judged(False if values else None, f"{facts.show(name)} is not among what is compared"),))
    smallest = kind == "min" or (bool(best) and isinstance(facts.scene, RouteMap))
    before = (context.told | _names(found.string[: found.start()])) & values.keys()
    first = (min if smallest else max)([name, *sorted(before)], key=lambda each: values[each])
    holds = told == values[name] == values[first]
    return Found((Judged(holds, f"{facts.show(first)} has {values[first]}"),))


def _compared(facts: Facts) -> dict[str, int]:
    """Return what the best of is sought: rises of a line, products of a table's rows, else the values themselves."""
    if isinstance(facts.scene, LineChart):
        return changes_of(facts)
    if isinstance(facts.scene, Table):
        return {row: product_of(row, facts) for row in facts.rows}
    return {name: facts.values[name] for name in facts.main}
