"""Claims about numbers: sums and their chains, words for sums, and comparisons of numbers and named values."""

import re
from collections.abc import Callable
from fractions import Fraction

from insightv_core.nano.verifier.facts import Context, Facts
from insightv_core.nano.verifier.text import (
    NAME,
    NUM,
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

OPERAND = rf"(?:{NUM}|{NAME})"
TERM = rf"(?:\( )*{OPERAND}(?: \))*"
SUM = rf"{TERM}(?: [-+*/] {TERM})+"
EQUALS = (
    r"(?:(?:, )?(?:that |which |it |this |we |you )?(?:=|->|is|are|equals?|gives?|makes?|leaves?|yields?|"
    r"comes to|adds up to|sums to|"
    r"becomes?|gets?|to get|to give|to make)(?: (?:also|just|exactly|only|still|equal to|not|never|about|us|"
    r"you|a total of|"
    r"the total|a sum of|the sum|a difference of))*|!=)"
)
LIST = rf"{OPERAND}(?:(?: ,)?(?: and| or)? {OPERAND}){{1,11}}"
LISTED = re.compile(OPERAND)

_CHAIN = rule(
    rf"(?:{SUM}|{NUM})(?: {EQUALS} (?:{SUM}|{OPERAND}))+(?! (?:more|less|higher|lower|fewer|greater|larger|"
    rf"smaller|bigger|taller|times))"
)
_LONE_SUM = rule(SUM)
_EQUAL_RESULT = rule(rf"(~\S+) ({EQUALS}|:) ({NUM})(?! (?:more|less|[<>]))")
_EQUAL_PLAIN = rule(
    rf"(?<![<>] )(?<!than )(?<!of )({NUM}) (=|!=|equals?|is equal to|is not equal to|"
    rf"is (?:also )?the same as) ({NUM})"
)

_WORDS = (
    (rule(r"multiplied by"), "*"),
    (rule(r"divided by"), "/"),
    (rule(r"take away"), "-"),
    (rule(r"added to"), "+"),
)
_NOUNS = r"(?:the |numbers |values |bars |slices |sides |angles |both )*"
_FUNCTIONS = (
    (rule(rf"(?:the )?(?:sum|total|sum total) (?:of|for) {_NOUNS}({LIST})"), "+"),
    (rule(rf"(?:the )?(?:difference|gap|distance) (?:between|of) {_NOUNS}({LIST})"), "~"),
    (rule(rf"(?:the )?product of {_NOUNS}({LIST})"), "*"),
    (rule(rf"(?:add|adding|sum|summing)(?: up)? {_NOUNS}({LIST})(?: together| up)?"), "+"),
    (rule(rf"(?:multiply|multiplying) ({OPERAND} (?:by|and|with) {OPERAND})"), "*"),
    (rule(rf"(?:divide|dividing) ({OPERAND} by {OPERAND})"), "/"),
    (rule(rf"(?:subtract|subtracting|take|taking) ({OPERAND} (?:from) {OPERAND})"), "from"),
    (rule(rf"(?:add|adding) ({OPERAND} to {OPERAND})"), "+"),
    (rule(rf"({OPERAND} subtracted from {OPERAND})"), "from"),
    (
        rule(
            rf"({LIST})(?: together| combined)?(?= (?:makes?|gives?|adds? up to|sums? to|add to|sum up to|"
            rf"total) {NUM})"
        ),
        "+",
    ),
    (rule(rf"(?:twice|double|2 times) ({NUM})"), "2"),
    (rule(rf"half of ({NUM})"), "1/2"),
)

_LABELED = rule(
    rf"({NAME}(?:(?: ,| to|(?: ,)? and| [-+]| plus| minus| together){{1,2}} {NAME}){{1,11}})( :|"
    rf" together :)(?= ({NUM} [-+] [-0-9+*/=~ ,a-z]*))"
)

_ADDED = rule(rf"\+ ({NAME}) :(?= {NUM} \+ ({NUM}) (?:=|is|equals|gives|makes) )")

OPS = r"(?:>=|<=|!=|>|<)"
_MORE = r"(?:more|greater|larger|higher|bigger|taller|longer|better|above|further|wider)"
_LESS = r"(?:less|smaller|fewer|lower|shorter|worse|below)"
_INNER = r"(?: (?!than)[a-z]+| %\S+){0,3}"
_COMPARATORS = (
    (rule(rf"(?:at or {_MORE}|{_MORE} than or equal to|no {_LESS} than|at least)"), lambda m: ">="),
    (rule(rf"(?:at or {_LESS}|{_LESS} than or equal to|no {_MORE} than|at most)"), lambda m: "<="),
    (rule(
        rf"(?:by far |much |a lot |slightly |a bit |a little )?{_MORE}({_INNER}) than"
    ), lambda m: _with_column(m) + ">"),
    (rule(rf"(?:much |a lot |slightly |a bit |a little )?{_LESS}({_INNER}) than"), lambda m: _with_column(m) + "<"),
    (rule(r"(?:exceeds?|beats?|surpass(?:es)?|outnumbers?|tops|goes over)"), lambda m: ">"),
)  # fmt: skip
_VERTICAL = (
    (rule(r"(?:above|over)"), lambda m: ">"),
    (rule(r"(?:below|under)"), lambda m: "<"),
)
_SAME = (
    r"(?:the same(?: [a-z]+){0,2} as|as (?:many|much|high|tall|large|big|long|small)(?: [a-z]+)? as|"
    r"equal to|ties with|tied with)"
)

_BETWEEN = (
    r"(?:(?:is|are|was|were|has|have|had|gets?|sold|which|that|it|so|and|but|,|also|not|never|shows?|"
    r"clearly|indeed|both|all|"
    r"a|an|the|bar|bars|slice|slices|angle|side|value|with|being|stands|lies|sits|reaches|then|thus|each|"
    r"way|road|:) ){0,6}"
)
_COMPARE = rule(
    rf"((?:{NAME}(?: ,)?(?: and)? ){{0,11}}{NAME}|{NUM}) ({_BETWEEN}){OPS} (?:the |angle |side |that of )*{OPERAND}"
    rf"(?: {OPS} {OPERAND}|(?: ,)? and {OPERAND}(?! [a-z=:])){{0,11}}(?! (?:as|times))(?P<no>(?: ,| :| \(|"
    rf" ->| is)? (?:no|false|not true)(?= |$))?"
)
_BY = rule(rf"({OPERAND}) ({_BETWEEN})({NUM}) (?:[a-z]+ )?(?:by)?([<>]) (?:the |angle )?({NAME})")
_BY_AFTER = rule(rf"({NAME}) ({_BETWEEN})([<>]) (?:the |angle )?({NAME}) by (?:exactly )?({NUM})")
_TIMES = rule(
    rf"({OPERAND}) ({_BETWEEN})(twice|double|half|{NUM} times) (?:as [a-z]+ (?:[a-z]+ )?as |of |that of |"
    rf"the (?:size|value|height) of )?({OPERAND})"
)


def _with_column(match: re.Match) -> str:
    """Keep a column named inside "higher price than", and mark "2 more than": there the number is the difference."""
    column = re.search(r"%\S+", match[1])
    by = "by" if re.search(rf"{NUM} $", match.string[: match.start()]) else ""
    return f"{column[0]} {by}" if column else by


def value_of(token: str, facts: Facts) -> Fraction | None:
    """Return the value of a number or name token, None for a name without one."""
    if token.startswith("@"):
        value = facts.values.get(token[1:])
        return None if value is None else Fraction(value)
    return number(token)


def evaluate(tokens: list[str], facts: Facts) -> Fraction | None:
    """Return the exact value of a sum such as ["9", "+", "3", "*", "2"], None where it has none."""
    if tokens.count("(") != tokens.count(")"):
        tokens = [token for token in tokens if token not in "()"]
    stack: list[list] = [[]]
    for token in tokens:
        if token == "(":
            stack.append([])
        elif token == ")":
            if len(stack) == 1 or (value := _fold(stack.pop())) is None:
                return None
            stack[-1].append(value)
        else:
            item = token if token in "+-*/" else value_of(token, facts)
            if item is None:
                return None
            stack[-1].append(item)
    return _fold(stack[0]) if len(stack) == 1 else None


def _fold(items: list) -> Fraction | None:
    """Work out a run of numbers and signs without brackets."""
    if len(items) % 2 == 0 or any(isinstance(item, str) != (at % 2 == 1) for at, item in enumerate(items)):
        return None
    terms = [items[0]]
    for sign, value in zip(items[1::2], items[2::2], strict=True):
        if sign == "*":
            terms[-1] *= value
        elif sign == "/":
            if value == 0:
                return None
            terms[-1] /= value
        else:
            terms.append(value if sign == "+" else -value)
    return sum(terms, Fraction(0))


def read_labeled_sums(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Check that "Mia and Leo: 9 + 3 = 12" and "plus Leo: 9 + 3 = 12" add what the picture shows for Mia and Leo."""

    def act(match: re.Match) -> Found | None:
        names = [name[1:] for name in re.findall(NAME, match[1])]
        values = unless_missing(facts.values.get(name) for name in names)
        operands = first_operands(match[3])
        if values is None or len(operands) != len(values):
            return None
        ranged = " to " in match[0]
        return Found(
            (same_numbers(operands, values, [facts.show(name) for name in names]),), match[0] if ranged else "#"
        )

    def add(match: re.Match) -> Found | None:
        column = re.findall(r"%(\S+) :", match.string[: match.start()])
        name = "/".join([match[1][1:], *column[-1:]])
        value = facts.values.get(name)
        if value is None:
            return None
        return Found((Judged(number(match[2]) == value, f"the picture shows {facts.show(name)} at {value}"),))

    if facts.values:
        sentence.rewrite(_LABELED, act)
        sentence.rewrite(_ADDED, add)


def first_operands(text: str) -> list[Fraction]:
    """Return the numbers that "9 + 3 = 12, 12 + 5 = 17" brings in: 9, 3 and 5, running results left out."""
    operands: list[Fraction] = []
    result = None
    for link in re.split(r" , | and ", text):
        sides = re.split(r" (?:=|is|equals|gives|makes) ", link.strip())
        numbers = [number(n) for n in re.findall(NUM, sides[0])]
        if len(sides) == 1 or (result is not None and (not numbers or numbers[0] != result)):
            if result is None and len(sides) == 1:
                return numbers
            break
        operands += numbers if result is None else numbers[1:]
        for between in sides[1:-1]:
            operands += [number(n) for n in re.findall(NUM, between)][1:]
        last = re.findall(NUM, sides[-1])
        if not last:
            break
        result = number(last[-1])
    return operands


def same_numbers(told: list[Fraction], values: list[int], names: list[str]) -> Judged:
    """Judge numbers that a sum takes for the values of the names."""
    shown = ", ".join(f"{name} at {value}" for name, value in zip(names, values, strict=True))
    return Judged(sorted(told) == sorted(values), f"the picture shows {shown}")


def name_functions(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Turn "the sum of 9 and 3" and its like into the number they stand for."""
    for pattern, sign in _WORDS:
        sentence.rewrite(pattern, stand_for(sign))
    for pattern, kind in _FUNCTIONS:

        def act(match: re.Match, kind: str = kind) -> Found | None:
            values = unless_missing(value_of(token, facts) for token in LISTED.findall(match[1]))
            if values is None:
                return None
            value = _apply(kind, values)
            return None if value is None or abs(value) > 10**12 else Found(canon="~" + str_number(value))

        sentence.rewrite(pattern, act)


def _apply(kind: str, values: list[Fraction]) -> Fraction | None:
    if kind in ("2", "1/2"):
        return Fraction(kind) * values[0]
    if kind == "+":
        return sum(values, Fraction(0))
    if len(values) != 2:
        return None
    one, two = values
    if kind == "/":
        return one / two if two else None
    return {"~": abs(one - two), "*": one * two, "from": two - one}[kind]


def str_number(value: Fraction) -> str:
    """Write a number as a token."""
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.6f}".rstrip("0")


def read_sums(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Judge every sum with its result, link by link, and leave the last result in its place."""

    def judge_chain(match: re.Match) -> Found | None:
        parts = re.split(rf" ({EQUALS}) ", match[0])
        sides, joints = parts[::2], parts[1::2]
        if not any(re.search(r" [-+*/] ", side) for side in sides) and "~" not in match[0]:
            return None
        claims = []
        for left, joint, right in zip(sides, joints, sides[1:], strict=False):
            claims.append(_judge_link(left, negated(joint), right, facts))
        last = evaluate(sides[-1].split(), facts)
        if all(claim.truth for claim in claims) and last is not None:
            context.results.add(last)
        return Found(tuple(claims), "~" + str_number(last) if last is not None and abs(last) < 10**12 else "#")

    def judge_result(match: re.Match) -> Found:
        exact, told = number(match[1]), number(match[3])
        truth = _near(exact, told) != negated(match[2])
        if truth:
            context.results.add(told)
        return Found(
            (Judged(truth, f"it is {show(exact)}" + ("" if truth else f", not {show(told)}")),),
            f"~{match[3].lstrip('~')}",
        )

    def judge_plain(match: re.Match) -> Found:
        truth = (number(match[1]) == number(match[3])) != negated(match[2])
        return Found(
            (Judged(truth, f"{match[1]} and {match[3]} are {'the same' if match[1] == match[3] else 'different'}"),)
        )

    def work_out(match: re.Match) -> Found | None:
        if re.fullmatch(rf"{NAME} - {NUM}", match[0]):  # a dash between a name and its value
            return None
        value = evaluate(match[0].split(), facts)
        return None if value is None or abs(value) > 10**12 else Found(canon="~" + str_number(value))

    sentence.rewrite(_CHAIN, judge_chain)
    sentence.rewrite(_LONE_SUM, work_out)
    sentence.rewrite(_EQUAL_RESULT, judge_result)
    sentence.rewrite(_EQUAL_PLAIN, judge_plain)


def _near(one: Fraction, two: Fraction) -> bool:
    return abs(one - two) < Fraction(1, 10**5)


def _judge_link(left: str, denied: bool, right: str, facts: Facts) -> Judged:
    """Judge one "=" of a chain: in "3 + 9 = 12 + 5" the 12 alone may be the result, as people write running sums."""
    exact, whole = evaluate(left.split(), facts), evaluate(right.split(), facts)
    if exact is None or whole is None:
        return Judged(None, "the sum cannot be worked out")
    operand = re.search(OPERAND, right)
    first = value_of(operand[0], facts) if operand else None
    holds = _near(exact, whole) or (first is not None and _near(exact, first))
    said = f"{left} is {show(exact)}".replace("~", "").replace("@", "")
    return Judged(holds != denied, said if holds else f"{said}, not {show(whole)}")


# -- comparisons -------------------------------------------------------------------------------------------------


def name_comparators(sentence: Sentence, facts: Facts, vertical: bool) -> None:
    """Turn "more than", "fewer votes than" and their like into signs; `vertical` covers "above" and "below"."""
    for pattern, sign in (*_COMPARATORS, *(_VERTICAL if vertical else ())):

        def act(match: re.Match, sign: Callable[[re.Match], str] = sign) -> Found:
            return Found(canon=sign(match))

        sentence.rewrite(pattern, act)


def read_comparisons(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Judge "12 is more than 9", "Mia is higher than Leo", "Mia has 6 more than Leo" and "Mia is twice Leo"."""
    sentence.rewrite(_BY, lambda m: _judge_by(m[1], m[2], m[4], m[5], m[3], facts))
    sentence.rewrite(_BY_AFTER, lambda m: _judge_by(m[1], m[2], m[3], m[4], m[5], facts))
    sentence.rewrite(_TIMES, lambda m: _judge_times(m, facts))
    sentence.rewrite(_COMPARE, lambda m: _judge_comparison(m, facts))
    sentence.rewrite(
        rule(rf"({OPERAND}) ({_BETWEEN}){_SAME} (?:the |angle |side )?({OPERAND})"), lambda m: _judge_same(m, facts)
    )


def _judge_by(one: str, words: str, sign: str, two: str, told: str, facts: Facts) -> Found | None:
    first, second = value_of(one, facts), value_of(two, facts)
    if first is None or second is None:
        return Found((unseen(one if first is None else two, facts),))
    gap = first - second if sign == ">" else second - first
    reason = f"{describe(one, facts)} and {describe(two, facts)} differ by {show(abs(gap))}"
    return Found((Judged((gap == number(told)) != negated(words), reason),), one)


def _judge_times(match: re.Match, facts: Facts) -> Found | None:
    one, two = value_of(match[1], facts), value_of(match[4], facts)
    if one is None or two is None or match[1][0] != "@" and match[4][0] != "@":
        return None
    word = match[3]
    factor = {"twice": Fraction(2), "double": Fraction(2), "half": Fraction(1, 2)}.get(word)
    factor = number(word.split()[0]) if factor is None else factor
    reason = f"{describe(match[1], facts)}, {describe(match[4], facts)}"
    return Found((Judged((one == factor * two) != negated(match[2]), reason),), match[1])


def _judge_same(match: re.Match, facts: Facts) -> Found:
    one, two = value_of(match[1], facts), value_of(match[3], facts)
    if one is None or two is None:
        return Found((unseen(match[1] if one is None else match[3], facts),))
    reason = f"{describe(match[1], facts)}, {describe(match[3], facts)}"
    return Found((Judged((one == two) != negated(match[2]), reason),), match[1])


def _judge_comparison(match: re.Match, facts: Facts) -> Found:
    """Judge a chain of comparisons; a list on the left is compared item by item with what follows."""
    subjects = LISTED.findall(match[1])
    links = re.findall(rf"(?:({OPS}) (?:the |angle |side |that of )*|and )({OPERAND})", match[0][len(match[1]) :])
    denied, lefts, sign, claims = negated(match[2]) != bool(match["no"]), subjects, "", []
    for at, (told, right) in enumerate(links):
        if told and at:
            lefts = [links[at - 1][1]]
        sign = told or sign
        claims += [_judge_pair(left, sign, right, denied, facts) for left in lefts]
    return Found(tuple(claims), " , ".join(subjects))


def _judge_pair(left: str, sign: str, right: str, denied: bool, facts: Facts) -> Judged:
    one, two = value_of(left, facts), value_of(right, facts)
    if one is None or two is None:
        return unseen(left if one is None else right, facts)
    holds = compare(one, sign, two)
    first, second = describe(left, facts), describe(right, facts)
    said = {True: "more than", False: "less than"}[one > two] if one != two else "equal to"
    return Judged(holds != denied, f"{first} is {said} {second}")


def compare(one: Fraction | int, sign: str, two: Fraction | int) -> bool:
    """Apply a comparison sign."""
    return {">": one > two, "<": one < two, ">=": one >= two, "<=": one <= two, "!=": one != two}[sign]


def describe(token: str, facts: Facts) -> str:
    """Write a number or a name with its value."""
    if token[0] != "@":
        return token.lstrip("~")
    return f"{facts.show(token[1:])} ({facts.values[token[1:]]})"


def unseen(token: str, facts: Facts) -> Judged:
    """Judge a claim about a name that the picture gives no value for."""
    return Judged(False if facts.main else None, f"the picture gives no value for {facts.show(token.lstrip('@'))}")
