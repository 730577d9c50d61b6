"""Claims about how a line moves: from one point to the next, how often, and where the most."""

import re

from insightv_core.nano.scenes import LineChart
from insightv_core.nano.verifier.facts import Context, Facts
from insightv_core.nano.verifier.text import NAME, NUM, Found, Judged, Sentence, negated, number, rule, stand_for

_FLAT = (
    r"(?:stays?|remains?|stayed|remained|keeps?)(?: [a-z]+)? (?:the same|flat|level|constant|unchanged|equal|"
    r"even)|(?:does|did) not (?:change|move)|is (?:the same|unchanged|flat|level|constant)|no change|unchanged|"
    r"flat"
)
_UP = (
    r"(?:rises|rise|rose|rising|risen|increases?|increased|increasing|(?:goes|went|going|moves|moved) up|up|"
    r"grows|grew|growing|grow|climbs?|climbed|gains?|gained|jumps?|jumped)"
)
_DOWN = (
    r"(?:falls|fall|fell|falling|fallen|drops?|dropped|decreases?|decreased|decreasing|declines?|declined|"
    r"(?:goes|went|going|moves|moved) down|down|sinks|sank|dips?|dipped|loses?|lost|shrinks)"
)
_MOVES = ((rule(_FLAT), "^flat"), (rule(_UP), "^up"), (rule(_DOWN), "^down"))
_RANGE = rf"(?:(?:from|between) )?({NAME}) (?:to|->|-|and|until|through) ({NAME})"
_VERB = r"(\^up|\^down|\^flat)"
_FILL = (
    r"((?:(?:is|are|was|it|the|line|value|values|:|,|=|a|an|there|has|does|by|of|not|never|chart|also|only|\(|"
    r"shows|we|have|see|change|by|slightly|sharply|then) )*)"
)
_RANGE_MOVES = rule(rf"{_RANGE} {_FILL}{_VERB}(?: (?:(?:by|of|is|:|=|just|only|exactly|\() )*({NUM}))?(?! times)")
_MOVES_RANGE = rule(
    rf"{_VERB} ((?:(?:by|of|is|not|:|only|just) )*)(?:({NUM}) )?(?:[a-z]+ )?(?:(?:from|between) )({NAME}) (?:to|"
    rf"->|-|and|until|through) ({NAME})(?: by ({NUM}))?"
)
_MOVES_IN = rule(rf"{_VERB} ((?:(?:by|of|only|not|just) )*)(?:({NUM}) )?(?:[a-z]+ )?(?:in|at|on|for) ({NAME})")
_IN_MOVES = rule(
    rf"(?:(?<=^ )|(?<=, )|(?<=and )|(?<=but ))(?:in|at|on|for) ({NAME}) {_FILL}{_VERB}(?: (?:by |of |= |"
    rf": )*({NUM}))?(?! times)"
)
_RANGE_CHANGE = rule(rf"{_RANGE} ((?:(?:is|=|:|of|was|a|the|change|difference) )+)([+] )?({NUM})(?! to )")
_CHANGE_RANGE = rule(
    rf"(?:change|difference|step) (?:from|between) ({NAME}) (?:to|and) ({NAME}) ((?:is|=|:|of|not) )+({NUM})"
)
_FROM_TO = rule(rf"from ({NUM}) (?:in|at|on) ({NAME}) to ({NUM}) (?:in|at|on) ({NAME})")
_EXTREME = r"\^(max|min)"
_BIGGEST = rule(
    rf"(?:the )?{_EXTREME} {_VERB} ((?:(?:is|was|:|=|of|in|at|on|by|the|one|not|comes|happens|occurs|takes|"
    rf"place|from|between|with|it|,|units|points|[+]) )*)"
    rf"(?:({NUM})(?: (?:[a-z]+|,|:|\(|-))*? )?(?:({NAME})(?: (?:to|->|-|and) ({NAME}))?)?(?: (?:with|by|at|"
    rf"of|,|:|\(|a|\^up|\^down|which|is)+)*(?: ({NUM}))?"
)
_MOST = rule(rf"{_VERB} (?:the )?\^(max)(?: (?:in|from|at|on|between|is|:))+ ({NAME})(?: (?:to|->|-|and) ({NAME}))?")
_RANGE_MOST = rule(rf"{_RANGE} (?:(?:is|has|shows|was|:|=|had) )+(not )?(?:the )?{_EXTREME} {_VERB}")
_TIMES = rule(rf"{_VERB} ((?:(?:exactly|only|not|just|in|total|a|of) )*)({NUM} times?|once|twice)")
_NUMBER_OF = rule(
    rf"(?:there (?:is|are)|has|shows|have|count|with) ((?:(?:exactly|only|just|not) )*)({NUM}) {_VERB}s?|"
    rf"(?:number of|how many) {_VERB} (?:is |= |: )({NUM})"
)
_UP_LIST = rule(
    rf"(?:the |it |line |goes )*{_VERB} (?:(?:are|is|at|in|on|:|to|the|line|from|steps|months|"
    rf"days) )+({_RANGE}(?:(?: ,| and)+ {_RANGE})*|{NAME}(?:(?: ,| and)+ {NAME})+)"
)


def name_moves(sentence: Sentence, facts: Facts) -> None:
    """Turn words for rising, falling and staying into `^up`, `^down` and `^flat`."""
    if isinstance(facts.scene, LineChart):
        for pattern, canon in _MOVES:
            sentence.rewrite(pattern, stand_for(canon))


def read_changes(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Judge what the sentence says of the line's moves."""
    if not isinstance(facts.scene, LineChart):
        return
    sentence.rewrite(_FROM_TO, lambda m: _judge_ends(m, facts))
    sentence.rewrite(_BIGGEST, lambda m: _judge_biggest(m, facts))
    sentence.rewrite(_MOST, lambda m: _judge_where("max", m[1], m[3], m[4], False, facts))
    sentence.rewrite(_RANGE_MOST, lambda m: _judge_where(m[4], m[5], m[1], m[2], bool(m[3]), facts))
    sentence.rewrite(_NUMBER_OF, lambda m: _judge_times(m[3] or m[4], m[2] or m[5], m[1] or "", facts))
    sentence.rewrite(_TIMES, lambda m: _judge_times(m[1], m[3], m[2], facts))
    sentence.rewrite(_UP_LIST, lambda m: _judge_ups(m, facts, context))
    sentence.rewrite(_RANGE_MOVES, lambda m: _judge_move(m[1], m[2], m[3], m[4], m[5], facts))
    sentence.rewrite(_MOVES_RANGE, lambda m: _judge_move(m[4], m[5], m[2], m[1], m[3] or m[6], facts))
    sentence.rewrite(_IN_MOVES, lambda m: _judge_move(_before(m[1], facts), m[1], m[2], m[3], m[4], facts))
    sentence.rewrite(_MOVES_IN, lambda m: _judge_move(_before(m[4], facts), m[4], m[2], m[1], m[3], facts))
    sentence.rewrite(_CHANGE_RANGE, lambda m: _judge_size(m[1], m[2], m[3], "", m[4], facts))
    sentence.rewrite(_RANGE_CHANGE, lambda m: _judge_size(m[1], m[2], m[3], m[4], m[5], facts))


def _judge_ends(match: re.Match, facts: Facts) -> Found | None:
    """Judge both readings of "from 4 in Jan to 7 in Feb"."""
    one, two = match[2], match[4]
    if _change(one, two, facts) is None:
        return None
    told = ((one, match[1]), (two, match[3]))
    claims = [
        Judged(
            number(n) == facts.values[name[1:]], f"the picture shows {facts.show(name[1:])} at {facts.values[name[1:]]}"
        )
        for name, n in told
    ]
    return Found(tuple(claims), f"from {one} to {two}")


def _before(name: str, facts: Facts) -> str:
    """Return the point before, or an unknown name for the first."""
    names = list(facts.main)
    at = names.index(name[1:]) if name[1:] in names else 0
    return "@" + names[at - 1] if at else "@nothing"


def _change(one: str, two: str, facts: Facts) -> int | None:
    first, second = facts.values.get(one.lstrip("@")), facts.values.get(two.lstrip("@"))
    return None if first is None or second is None else second - first


def _say(one: str, two: str, change: int, facts: Facts) -> str:
    move = f"rises by {change}" if change > 0 else f"falls by {-change}" if change else "stays the same"
    return f"{facts.show(one[1:])} to {facts.show(two[1:])} {move}"


def _judge_move(one: str, two: str, words: str, verb: str, told: str | None, facts: Facts) -> Found:
    change = _change(one, two, facts)
    if change is None:
        return Found((Judged(False, f"the line has no step from {facts.show(one[1:])} to {facts.show(two[1:])}"),))
    holds = {"^up": change > 0, "^down": change < 0, "^flat": change == 0}[verb]
    if told is not None:
        holds = holds and abs(number(told)) == abs(change)
    return Found((Judged(holds != negated(words), _say(one, two, change, facts)),))


def _judge_size(one: str, two: str, words: str, plus: str | None, told: str, facts: Facts) -> Found | None:
    change = _change(one, two, facts)
    if change is None:
        return None
    value = number(told)
    exact = change if plus or value < 0 else abs(change)
    return Found((Judged((value == exact) != negated(words), _say(one, two, change, facts)),))


def changes_of(facts: Facts) -> dict[str, int]:
    """Map each point of a line but the first to the change up to it."""
    names = facts.main
    return {name: facts.values[name] - facts.values[before] for before, name in zip(names, names[1:], strict=False)}


def _steps(verb: str, facts: Facts) -> dict[str, int]:
    """Map each point to the size of the move up to it, for moves in that direction."""
    sign = {"^up": 1, "^down": -1, "^flat": 0}[verb]
    return {name: abs(change) for name, change in changes_of(facts).items() if (change > 0) - (change < 0) == sign}


def _judge_times(verb: str, told: str, words: str, facts: Facts) -> Found:
    count = len(_steps(verb, facts))
    words_for = {"once": 1, "twice": 2}
    claimed = words_for[told] if told in words_for else number(told.split()[0])
    return Found((Judged((claimed == count) != negated(words), f"it {_word(verb)} {count} times"),))


def _word(verb: str) -> str:
    return {"^up": "rises", "^down": "falls", "^flat": "stays the same"}[verb]


def _judge_where(kind: str, verb: str, one: str, two: str | None, denied: bool, facts: Facts) -> Found:
    steps = _steps(verb, facts)
    if two is not None and _before(two, facts) != one:
        return Found((Judged(denied, "these are not neighbours"),))
    end = (two or one)[1:]
    best = (max if kind == "max" else min)(steps.values(), default=None)
    where = " and ".join(facts.show(name) for name, size in steps.items() if size == best)
    return Found(
        (
            Judged(
                (best is not None and steps.get(end) == best) != denied,
                f"it {_word(verb)} the most, by {best}, in {where}",
            ),
        )
    )


def _judge_biggest(match: re.Match, facts: Facts) -> Found | None:
    """Judge the size of the largest rise, where it is, or both."""
    kind, verb, words, first, one, two, last = match.groups()
    told = first or last
    if told is None and one is None:
        return None
    steps = _steps(verb, facts)
    best = (max if kind == "max" else min)(steps.values(), default=0)
    judged = [] if one is None else list(_judge_where(kind, verb, one, two, negated(words), facts).claims)
    if told is not None:
        judged.append(Judged((number(told) == best) != negated(words), f"the size is {best}"))
    truth = all(claim.truth for claim in judged)
    reason = next((claim.reason for claim in judged if claim.truth is not truth), judged[0].reason)
    return Found((Judged(truth, next((c.reason for c in judged if not c.truth), reason)),))


def _judge_ups(match: re.Match, facts: Facts, context: Context) -> Found:
    """Judge a list of steps in one direction; the points stand for the steps that end there."""
    ranges = re.findall(rf"({NAME}) (?:to|->|-) ({NAME})", match[2])
    names = [two[1:] for _, two in ranges] or [name[1:] for name in re.findall(NAME, match[2])]
    steps = _steps(match[1], facts)
    context.listed = len(names)
    claims = [
        Judged(name in steps, f"{facts.show(name)} is {'' if name in steps else 'not '}where it {_word(match[1])}")
        for name in names
    ]
    return Found(tuple(claims))
