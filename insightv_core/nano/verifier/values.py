"""Claims about the values a picture shows: readings, extremes, counts, lists, totals and changes."""

import re

from insightv_core.nano.scenes import Polygon, ProductionTable, RouteMap, Triangle
from insightv_core.nano.verifier.facts import Context, Facts
from insightv_core.nano.verifier.numbers import OPS, compare, value_of
from insightv_core.nano.verifier.text import (
    NAME,
    NUM,
    ORDINALS,
    Found,
    Judged,
    Sentence,
    negated,
    number,
    rule,
    show,
    stand_for,
    unless_missing,
)

_LINK_WORDS = (
    r"is|are|was|were|be|being|=|:|has|have|had|having|shows|showed|show|showing|at|equals|equal|of|reads"
    r"|read|reading|measures|measured|reaches|reached|stands|sits|gets|got|scored|scores|with|worth"
    r"|contains|holds|counts|lists|on|\-|\->|a|an|the|its|his|her|value|values|height|length|size|number"
    r"|count|score|amount|to|exactly|only|just|about|around|also|probably|maybe|perhaps|labeled|labelled"
    r"|marked|shown|given|listed|drawn|not|never|clearly|again|now|then|each|bar|bars|slice|slices|column"
    r"|section|wedge|sector|part|piece|point|month|day|angle|angles|side|sides|road|roads|corner|degrees"
    r"|row|name|must|should|can|will|would|do|does|did|it"
)
LINK = rf"((?:(?:{_LINK_WORDS}) ){{0,7}})"
_NOT_ITSELF = (
    r"(?<!except )(?<!without )(?<!besides )(?<!than )(?<!after )(?<!before )(?<!beside )(?<!next to )(?<!left "
    r"of )(?<!right of )(?<!excluding )(?<!behind )(?<!ignoring )"
)
_NAMES = rf"{NAME}(?:(?: ,)?(?: and)? {NAME}){{1,11}}"
_NUMBERS = rf"{NUM}(?:(?: ,)?(?: and)? {NUM}){{1,11}}"
_SKIP_AFTER = r"(?! (?:[a-z]+ )?[<>]| times (?!$)| (?:more|less|higher|lower|fewer|times|of them|bars|slices))"

_GROUP_EACH = rule(rf"({_NAMES}) {LINK}({_NUMBERS})(?! [@=+*/])")
_GROUP_ONE = rule(
    rf"(?:both |all )?({_NAMES}) ((?:(?:[a-z]+|[=:,]) ){{0,6}}?)({NUM}){_SKIP_AFTER}( each| together| in total|"
    rf" in all| combined)?"
)
_PAIR_BRACKET = rule(rf"({NAME}) \( (?:[a-z]+ |= ){{0,2}}({NUM}) (?:[a-z]+ )?\)")
_BRACKET_PAIR = rule(rf"({NUM}) (?:[a-z]+ )?\( (?:(?:the|at|in|for|by|bar|angle|side|from) )*({NAME})(?: bar)? \)")
_BESIDE = rule(
    rf"(?<!to )(?<!in )(?<!except )(?<!without )(?<!next to )(?<!left of )(?<!right of )({NAME})(?: , which "
    rf"(?:is|has|shows|stands at)|(?: ,)? (?:with|at))? (-?[0-9]+){_SKIP_AFTER}"
)
_NUMBER_AT = rule(
    rf"(?<!by )(?<!down )(?<!up )({NUM}) (?:(?!and|but|so|then|while|not)[a-z]+ )?(?:in|for|at|"
    rf"on) (?:the )?({NAME})"
)
_READING = rule(rf"(?<!to ){_NOT_ITSELF}({NAME}) {LINK}({NUM}){_SKIP_AFTER}(?: (?:and|or) not [0-9])?")
_VALUE_OF = rule(
    rf"(?:the )?(?:value|height|length|size|number|score|count|measure|amount) (?:of|for|at|in) (?:the )?(?:bar |"
    rf"slice |side |angle |point )?({NAME}) {LINK}({NUM}){_SKIP_AFTER}"
)

LARGE = ("largest", "highest", "biggest", "greatest", "tallest", "maximum", "max", "most", "longest", "top", "best")
SMALL = ("smallest", "lowest", "least", "shortest", "minimum", "min", "fewest", "worst", "minimal")
_SUPERLATIVE = rule(rf"(?<!at )(?:very |single )?({'|'.join(LARGE + SMALL)})")
_EXTREME = r"\^(max|min)"
_SCOPE = re.compile(
    r"\b(?:remaining|rest|so far|first|others|other|even|odd|next|now|among|except|not counting|possible|"
    r"than)\b"
)
_APART = re.compile(r" (?:without|except|besides|excluding|ignoring|apart from|other than|leaving out) ")
_PLAIN = (
    r"(?:(?!sum|total|rise|rises|change|changes|after|than|except|besides|before|increase|drop|drops|fall|falls|"
    r"jump|difference|count|by)[a-z]+|[:=(]|whole way)"
)
_RANK = rf"(?:({'|'.join(ORDINALS)}|ord[0-9]+|next) )?"
_EXTREME_IS = rule(
    rf"(?:the )?{_RANK}{_EXTREME} ((?:{_PLAIN} ){{0,8}}?)({NAME}(?:(?: ,)?(?: and| or)? {NAME}){{0,11}}|{NUM})"
)
_EXTREME_OF = rule(
    rf"(?:the )?{_RANK}{_EXTREME} ((?:{_PLAIN} ){{0,8}}?)({NUM}) "
    rf"(?:(?:,|at|for|from|of|with|by|which|that|is|it|goes) ){{0,3}}({NAME})(?= $)"
)
_IS_EXTREME = rule(
    rf"({NAME}(?:(?: ,)?(?: and) {NAME}){{0,11}}|{NUM}) ((?:(?!than)(?:[a-z]+|[:=,]) ){{0,6}}?){_RANK}{_EXTREME}"
)
_OF_LIST = rule(
    rf"(?:the )?{_EXTREME} (?:[a-z]+ ){{0,2}}(?:of|among|between|out of|in) (?:the )?(?:numbers |values )?({NUM}|"
    rf"{NAME})((?:(?: ,)?(?: and| or)? (?:{NUM}|{NAME}))+)(?: (?:is|:|=|would be))+ (?:the )?({NUM}|{NAME})"
)
_LIST_IS = rule(
    rf"({NUM}|{NAME}) (?:is|=|:) (not )?(?:the )?{_EXTREME} (?:[a-z]+ ){{0,2}}(?:of|among|between|"
    rf"out of) (?:the )?(?:numbers |values )?((?:{NUM}|{NAME})(?:(?: ,)?(?: and| or)? (?:{NUM}|{NAME}))+)"
)
_OTHERS = (
    r"(?:all|any|every|each)(?: of)?(?: the)? (?:other|others|rest)(?: [a-z]+)?|the (?:others|rest|"
    r"other [a-z]+)|(?:anyone|anything|everything|everyone) else"
)
_THAN_OTHERS = rule(rf"({NAME}) ((?:[a-z]+ ){{0,4}}?)([<>]) (?:{_OTHERS})")

_NOUN = (
    r"(?:bars?|columns?|slices?|values?|numbers?|points?|months?|days?|names?|people|persons?|sides?|angles?|"
    r"roads?|routes?|ways?|items?|entries|entry|sections?|sectors?|wedges?|colors?|categories|labels?|corners?|"
    r"places?|rows?|fruits?|goods|of them|of the (?:[a-z]+)|edges?|paths?)"
)
_COUNT_SIGN = rule(rf"({NUM}|no|none|all)(?: [a-z]+)? {_NOUN} ((?:[a-z]+ ){{0,4}}?)({OPS}) (?:the |of )*({NUM}|{NAME})")
_COUNT_BARE = rule(rf"({NUM}|none|no one|nothing) ((?:is |are |lies |lie ))({OPS}) ({NAME})")
_COUNT_OF = rule(
    rf"(?:the )?(?:number|count|amount) of (?:[a-z]+ ){{0,5}}({OPS}) ({NUM}|{NAME}) ((?:is|are|=|:|comes to|"
    rf"equals) )({NUM})"
)
_SIGN_COUNT = rule(rf"({OPS}) ({NUM}) (?:there )?(?:is|are|we have|we find|:) ({NUM})(?: {_NOUN})?(?! [<>=+*/-])")
_SIGN_LIST = rule(
    rf"(?:(?:the|all|only) )*(?:{_NOUN} )?(?:(?:that|which|with|are|is|have|has|a|value|values|of|"
    rf"who) )*({OPS}) (?:the )?({NUM}|{NAME})"
    rf" (?:(?:are|is|:|-|we|have|find|get|there|=|only|the|bars|"
    rf"ones) )+({NAME}(?:(?: ,)?(?: and)? {NAME}){{0,11}}|none|nothing|no bars?|no one|nobody)"
    rf"(?: bars?)?(?:(?: ,| :| \(| so| thus| which| that| makes| is| are| gives| ->| =| a| total| of| in)+ ({NUM}))?"
)
_THAT_MAKES = rule(
    rf"(?:so|that|this|it|which|thus|hence|therefore|these|those|they|there|in all|altogether|makes?|gives?|"
    rf"the count|the number|a total)(?: (?:that|this|it|is|are|makes?|gives?|we|have|get|a|total|of|there|"
    rf"count|the|number|in|all|counts?|so|,|:|=))* (-?[0-9]+)"
    rf"(?: {_NOUN})?(?: in (?:all|total))?(?= |$)"
)
_HOW_MANY = rule(
    rf"(?:there (?:is|are|were)|has|have|shows?|with|contains?|see|lists?|includes?) (?:(?:a|total|of|exactly|"
    rf"only|in|all) )*({NUM})(?: [a-z]+)? ({_NOUN})(?! (?:with|that|which|who|[<>]|are|is|have|has|of)\b)"
)

_WHOLE = rule(
    r"perimeter|grand total|overall total|(?:sum|total) of (?:all|every|each)(?: (?:of )?the| of)?(?: (?:bars|"
    r"slices|values|sides|angles|numbers|points|votes|colors))?(?! [a-z]* ?(?:first|last|other|remaining|above|"
    r"below))|(?:sum|total) of the (?:[0-9]+ )?(?:bars|slices|values|sides|angles|numbers|points)(?! (?:above|"
    r"below|of|with|that))|(?:all|every|each|the (?:bars|slices|sides|angles|values|numbers|points|"
    r"colors))(?: [a-z]+){0,4} (?:together|combined|in total|in all|add up to|adds up to|sum to|sums to|"
    r"sum up to|add to|total|equal)|(?:angles|sides|bars|slices|values) (?:add up to|sum to|add to|sum up to|"
    r"total)"
)
_WHOLE_IS = rule(rf"\^whole ((?:(?!not (?:equal|known))(?:[a-z]+|[:=,]) ){{0,6}}?)({NUM})")
_PART_IS = rule(
    rf"(?:(?:sum|total|altogether|in all|together|overall|in total|combined)((?: (?:[a-z]+|"
    rf"[:=,])){{0,6}}?) ({NUM})|({NUM})(?: [a-z]+)? (?:in total|in all|altogether|together|combined))"
)


def read_values(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Judge readings: "Mia is 9", "Mia (9)", "9 for Mia", "Mia and Leo are 9 and 3"; the name stays in place."""

    def one(name: str, words: str, told: str) -> Found | None:
        judged = judge_value(name[1:], words, told, facts)
        return Found((judged,), name) if judged else None

    def each(match: re.Match) -> Found | None:
        names, numbers = re.findall(NAME, match[1]), re.findall(NUM, match[3])
        if len(names) != len(numbers):
            return None
        claims = [judge_value(name[1:], match[2], told, facts) for name, told in zip(names, numbers, strict=True)]
        return Found(tuple(claim for claim in claims if claim), " , ".join(names))

    sentence.rewrite(_PAIR_BRACKET, lambda m: one(m[1], "", m[2]))
    sentence.rewrite(_BRACKET_PAIR, lambda m: one(m[2], "", m[1]))
    sentence.rewrite(_NUMBER_AT, lambda m: one(m[2], "", m[1]))
    sentence.rewrite(_GROUP_EACH, each)
    sentence.rewrite(_GROUP_ONE, lambda m: _judge_group(m, facts))
    sentence.rewrite(_VALUE_OF, lambda m: one(m[1], m[2], m[3]))
    sentence.rewrite(_READING, lambda m: one(m[1], m[2], m[3]))


def read_beside(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Judge readings that stand beside a name, "Mia (9)" or "Mia, which is 9"; the name stays free for more."""
    if not facts.main or re.search(r" \^(?:up|down|flat) ", sentence.line()):
        return

    def one(match: re.Match) -> Found | None:
        judged = judge_value(match[1][1:], "", match[2], facts)
        return Found((judged,), match[1]) if judged else None

    for pattern in (_PAIR_BRACKET, _BESIDE):
        sentence.rewrite(pattern, one)


def judge_value(name: str, words: str, told: str, facts: Facts) -> Judged | None:
    """Judge that a name has a value; a number that was worked out cannot contradict a reading."""
    denied = negated(words)
    if name not in facts.values:
        known = bool(facts.main or facts.rows) and not (
            isinstance(facts.scene, (RouteMap, Triangle, Polygon)) and len(name) == 1
        )
        return Judged(denied if known else None, f"the picture has no {facts.show(name)}")
    value = facts.values[name]
    holds = number(told) == value
    computed = told.startswith("~") and not isinstance(facts.scene, (Triangle, Polygon, RouteMap, ProductionTable))
    if computed and not holds:
        return Judged(None, f"it is not said what {told[1:]} has to do with {facts.show(name)}")
    return Judged(holds != denied, f"the picture shows {facts.show(name)} at {value}")


def _judge_group(match: re.Match, facts: Facts) -> Found | None:
    """Judge one number said of several names: each has it, or their sum or their difference is it."""
    names = [name[1:] for name in re.findall(NAME, match[1])]
    values = unless_missing(facts.values.get(name) for name in names)
    if values is None or re.search(
        r"(?<![a-z])(?:than|difference|differ|times|one|so|that|above|below)(?![a-z])", match[2]
    ):
        return None
    told, words = number(match[3]), f"{match[0]}"
    shown = ", ".join(f"{facts.show(name)} at {value}" for name, value in zip(names, values, strict=True))
    truth: bool | None
    if re.search(r" (?:each|both|all) ", f" {words} "):
        truth = all(value == told for value in values)
    elif re.search(r"together|total|in all|combined|sum|make|add", words):
        truth = sum(values) == told
    else:
        fits = told in (sum(values), max(values) - min(values), len(values)) or all(value == told for value in values)
        truth = True if fits else None
    if truth is not None:
        truth = truth != negated(match[2])
    return Found((Judged(truth, f"the picture shows {shown}"),))


# -- extremes ----------------------------------------------------------------------------------------------------


def name_extremes(sentence: Sentence) -> None:
    """Turn superlatives into `^max` and `^min`."""
    sentence.rewrite(
        _SUPERLATIVE, lambda m: Found(canon="^max best" if m[1] == "best" else "^max" if m[1] in LARGE else "^min")
    )


def pool_of(words: str, name: str, facts: Facts) -> tuple[str, ...]:
    """Return the names that an extreme ranges over, by the words around it."""
    if isinstance(facts.scene, RouteMap) and (
        re.search(r"road", words) or (name in facts.values and name[:4] != "via:")
    ):
        return tuple(key for key in facts.values if key[:4] != "via:")
    return facts.main


def read_extremes(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Judge "the largest is Mia", "Leo is the smallest", "the lowest value is 3", "12 is the largest of 9 and 12"."""
    if _APART.search(sentence.line()):
        return
    sentence.rewrite(_OF_LIST, lambda m: _judge_of_list(m[1], [m[2], *_items(m[3])], m[4], False, facts))
    sentence.rewrite(_LIST_IS, lambda m: _judge_of_list(m[3], _items(m[4]), m[1], bool(m[2]), facts))
    if facts.main:
        others = {">": "max", "<": "min"}
        sentence.rewrite(_THAN_OTHERS, lambda m: _judge_extreme(m[1], others[m[3]], "", m[2], facts))
        sentence.rewrite(_EXTREME_OF, lambda m: _judge_extreme_of(m, facts))
        sentence.rewrite(_EXTREME_IS, lambda m: _judge_extreme(m[4], m[2], m[1], m[3], facts))
        sentence.rewrite(_IS_EXTREME, lambda m: _judge_extreme(m[1], m[4], m[3], m[2], facts))


def _judge_extreme_of(match: re.Match, facts: Facts) -> Found | None:
    """Judge "the shortest is 9, via G": the number is the extreme, and the one named has it."""
    name = match[5][1:]
    if name not in pool_of(match[3], name, facts):
        return None
    number_found = _judge_extreme(match[4], match[2], match[1], match[3], facts)
    named = judge_value(name, "", match[4], facts)
    if number_found is None or named is None:
        return None
    return Found((*number_found.claims, named))


def _items(text: str) -> list[str]:
    return re.findall(rf"{NAME}|{NUM}", text)


def _judge_of_list(kind: str, listed: list[str], said: str, denied: bool, facts: Facts) -> Found | None:
    values = unless_missing(value_of(token, facts) for token in listed)
    told = value_of(said, facts)
    if values is None or told is None:
        return None
    exact = max(values) if kind == "max" else min(values)
    return Found((Judged((exact == told and told in values) != denied, f"the {_word(kind)} of them is {show(exact)}"),))


def _word(kind: str) -> str:
    return "largest" if kind == "max" else "smallest"


def _judge_extreme(said: str, kind: str, rank: str | None, words: str, facts: Facts) -> Found | None:
    """Judge names or a number said to be the largest or smallest, or of a given rank."""
    names = [name[1:] for name in re.findall(NAME, said)]
    if isinstance(facts.scene, RouteMap) and words.startswith("best"):
        kind = "min"
    pool = pool_of(words, names[0] if names else "", facts)
    if _SCOPE.search(words) or rank == "next":
        return Found((Judged(None, "it is not clear which ones are compared"),), said)
    place = ORDINALS.get(rank, int(rank[3:]) if rank and rank[3:].isdigit() else 1) if rank else 1
    order = sorted((facts.values[name] for name in pool), reverse=kind == "max")
    if place > len(order):
        return Found((Judged(False, f"there are only {len(order)}"),), said)
    exact = order[place - 1]
    holders = [name for name in pool if facts.values[name] == exact]
    if place > 1:
        levels = sorted(set(order), reverse=kind == "max")
        holders += [name for name in pool if place <= len(levels) and facts.values[name] == levels[place - 1]]
    shown = " and ".join(facts.show(name) for name in dict.fromkeys(holders))
    which = f"{rank} {_word(kind)}" if rank else _word(kind)
    truth = (
        all(name in holders for name in names) if names else number(said) in {facts.values[name] for name in holders}
    )
    return Found((Judged(truth != negated(words), f"the {which} is {shown} with {exact}"),), said)


# -- counts and lists --------------------------------------------------------------------------------------------


def read_counts(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Judge "3 bars are above 4", "above 4: Mia, Ana, Tom", "there are 8 bars"."""
    if not facts.main:
        return
    sentence.rewrite(_COUNT_OF, lambda m: _judge_count(m[4], m[1], m[2], m[3], facts, context))
    sentence.rewrite(_SIGN_LIST, lambda m: _judge_list(m, facts, context))
    sentence.rewrite(_COUNT_SIGN, lambda m: _judge_count(m[1], m[3], m[4], m[2], facts, context))
    sentence.rewrite(_COUNT_BARE, lambda m: _judge_count(m[1], m[3], m[4], "", facts, context))
    sentence.rewrite(_SIGN_COUNT, lambda m: _judge_count(m[3], m[1], m[2], "", facts, context))
    sentence.rewrite(_HOW_MANY, lambda m: _judge_how_many(m, facts))


def _picked(sign: str, limit: str, facts: Facts) -> list[str] | None:
    bound = value_of(limit, facts)
    return None if bound is None else [name for name in facts.main if compare(facts.values[name], sign, bound)]


def _judge_count(told: str, sign: str, limit: str, words: str, facts: Facts, context: Context) -> Found | None:
    picked = _picked(sign, limit, facts)
    if picked is None:
        return None
    claimed = len(facts.main) if told == "all" else number(told) if told[-1].isdigit() else 0
    count = len(facts.main) - len(picked) if negated(words) else len(picked)
    context.listed = count
    reason = (
        f"there are {count}: {', '.join(map(facts.show, picked)) or 'none'}"
        if count == len(picked)
        else f"there are {count}"
    )
    return Found((Judged(claimed == count, reason),))


def _judge_list(match: re.Match, facts: Facts, context: Context) -> Found | None:
    """Judge a list of those above or below a limit: each must belong, none may be missing, and a count must fit."""
    picked = _picked(match[1], match[2], facts)
    if picked is None:
        return None
    names = [name[1:] for name in re.findall(NAME, match[3])]
    limit = facts.show(match[2].lstrip("@"))
    claims = []
    for name in names:
        seen = facts.values.get(name)
        reason = (
            f"the picture has no {facts.show(name)}"
            if seen is None
            else f"the picture shows {facts.show(name)} at {seen}"
        )
        claims.append(Judged(name in picked, reason))
    if missing := [facts.show(name) for name in picked if name not in names]:
        claims.append(Judged(False, f"{' and '.join(missing)} should be listed for {match[1]} {limit}"))
    elif not names:
        claims.append(Judged(True, "there are none"))
    if match[4]:
        claims.append(Judged(number(match[4]) == len(names), f"the list has {len(names)}"))
    context.listed = len(names)
    return Found(tuple(claims))


def _judge_how_many(match: re.Match, facts: Facts) -> Found | None:
    noun, told = match[2].rstrip("s"), number(match[1])
    if noun.startswith("of ") or noun in ("place", "row", "corner"):
        return None
    pool = pool_of(noun, "", facts)
    return Found((Judged(told == len(pool), f"there are {len(pool)}"),))


def read_that_makes(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Judge "that makes 3" against the last list or result."""

    def act(match: re.Match) -> Found | None:
        told = number(match[1])
        if context.listed is not None:
            judged = Judged(told == context.listed, f"there are {context.listed}")
            context.listed = None
            return Found((judged,))
        return Found((Judged(True, "it was worked out before"),)) if told in context.results else None

    sentence.rewrite(_THAT_MAKES, act)


# -- totals ------------------------------------------------------------------------------------------------------


def read_totals(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Judge "all bars together are 41" and "the perimeter is 41"; a bare total may be that of a part."""
    if not facts.main or isinstance(facts.scene, RouteMap):
        return
    exact = facts.total()

    def part(match: re.Match) -> Found | None:
        told = number(match[2] or match[3])
        if told == exact or told in context.results:
            return Found((Judged(True, f"the total is {show(told)}"),))
        return Found((Judged(None, "it may be the total of a part"),))

    sentence.rewrite(
        _WHOLE_IS,
        lambda m: Found((Judged((number(m[2]) == exact) != negated(m[1]), f"the whole total is {exact}"),)),
    )
    sentence.rewrite(_PART_IS, part)


def name_totals(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Turn words for the total of the whole picture into `^whole`, and check what is added up for it."""
    if not facts.main or isinstance(facts.scene, RouteMap):
        return
    sentence.rewrite(_WHOLE, stand_for("^whole"))
