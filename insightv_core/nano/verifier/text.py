"""Text of the verifier: words and signs made canonical, cut into sentences, and rewritten rule by rule.

A token is a plain word, a sign, a number (`9`, or `~9` when it was worked out), `@name` for a thing with a value,
`%name` for a column, `$name` for a colour, `&name` for a shape, `!a` for an option letter, or `#` once consumed.
Rules are regular expressions over the tokens of one sentence, joined by single spaces.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeVar

_NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_ORDINAL_WORDS = "first second third fourth fifth sixth seventh eighth ninth tenth"
NUMBER_WORDS = {word: str(value) for value, word in enumerate(_NUMBER_WORDS.split())}
ORDINALS = {word: value for value, word in enumerate(_ORDINAL_WORDS.split(), 1)}
SIGNS = {
    "×": "*", "✕": "*", "⋅": "*", "·": "*", "∙": "*", "÷": "/", "−": "-", "–": "-", "—": "-", "‒": "-",
    "＝": "=", "→": "->", "⇒": "->", "➔": "->", "=>": "->", "==": "=", "≤": "<=", "≥": ">=", "≠": "!=",
    "[": "(", "]": ")", "|": ",", "plus": "+", "minus": "-", "colour": "color", "colours": "colors",
    "coloured": "colored", "isnt": "is not",
}  # fmt: skip
KEPT_SIGNS = frozenset([*".!?;:,=+-*/()<>", "<=", ">=", "!=", "->"])
SAYING = frozenset(["is", "are", "was", "were", "has", "have", "had", "=", "<", ">", ":", "shows", "equals", "than"])
ENDS = frozenset(".!?;\n")
LONGEST_NUMBER = 12
LONGEST_SENTENCE = 100

_TOKEN = re.compile(
    r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+(?:\.[0-9]+)?(?:st|nd|rd|th)?(?![A-Za-z])|[0-9]+"
    r"|[A-Za-z]+(?:['’][A-Za-z]+)?|->|=>|==|<=|>=|!=|\n|[^\w\s]|[^\W_]",
    re.IGNORECASE,
)
NUM = r"~?-?[0-9]+(?:\.[0-9]+)?"
NAME = r"@\S+"
Value = TypeVar("Value")


@dataclass
class Token:
    """One canonical token, where it stands in the text, and whether a claim has consumed it."""

    canon: str
    start: int
    end: int
    used: bool = False


@dataclass(frozen=True)
class Judged:
    """One claim as a rule sees it: true, false or None for not checkable, with the reason."""

    truth: bool | None
    reason: str


@dataclass(frozen=True)
class Found:
    """What a rule makes of a match: claims, and the token that stands for the match from now on."""

    claims: tuple[Judged, ...] = ()
    canon: str = "#"


@dataclass
class Sentence:
    """The tokens of one sentence and the claims found in it so far, as (start, end, Judged)."""

    tokens: list[Token]
    asks: bool = False
    claims: list[tuple[int, int, Judged]] = field(default_factory=list)

    def line(self) -> str:
        """Return the tokens as rules read them: single spaces between and around."""
        return " " + " ".join(token.canon for token in self.tokens) + " "

    def rewrite(self, pattern: re.Pattern, act: Callable[[re.Match], Found | None]) -> None:
        """Offer each match of `pattern` to `act`, and put what it returns in the place of the matched tokens."""
        line = self.line()
        starts, position = [], 1
        for token in self.tokens:
            starts.append(position)
            position += len(token.canon) + 1
        tokens, done = [], 0
        for match in pattern.finditer(line):
            first = bisect_right(starts, match.start()) - 1
            last = bisect_right(starts, match.end() - 1)
            if first < done or not (found := act(match)):
                continue
            tokens += self.tokens[done:first]
            tokens.append(self._merge(first, last, found))
            done = last
        self.tokens = tokens + self.tokens[done:]

    def _merge(self, first: int, last: int, found: Found) -> Token:
        start, end = self.tokens[first].start, self.tokens[last - 1].end
        self.claims += [(start, end, judged) for judged in found.claims]
        used = bool(found.claims) or all(token.used for token in self.tokens[first:last])
        return Token(found.canon, start, end, used)

    def left(self) -> list[Token]:
        """Return what no claim has consumed: numbers, and the names of a sentence that says something of them."""
        numbers = [t for t in self.tokens if not t.used and re.match(r"~?-?[0-9]", t.canon) and t.canon != "1"]
        numbers += [t for t in self.tokens if not t.used and t.canon == "1" and t.end - t.start == 1]
        says = any(token.canon in SAYING for token in self.tokens)
        names = [t for t in self.tokens if not t.used and re.match(r"[@$%&]\w", t.canon)] if says or numbers else []
        return sorted(numbers + names, key=lambda token: token.start)


def rule(pattern: str) -> re.Pattern:
    """Compile a rule: it matches whole tokens only."""
    return re.compile(rf"(?<= )(?:{pattern})(?= )")


def stand_for(canon: str) -> Callable[[re.Match], Found]:
    """Return what puts the token `canon` in the place of every match."""
    return lambda match: Found(canon=canon)


def unless_missing(values: Iterable[Value | None]) -> list[Value] | None:
    """Return the values, or None where one of them is missing."""
    listed = list(values)
    known = [value for value in listed if value is not None]
    return known if len(known) == len(listed) else None


def number(text: str) -> Fraction:
    """Return the exact value of a number token."""
    return Fraction(text.lstrip("~"))


def show(value: Fraction | int) -> str:
    """Write a value as a reader expects it."""
    value = Fraction(value)
    return str(value.numerator) if value.denominator == 1 else f"{float(value):g}"


def negated(words: str) -> bool:
    """Tell whether the words of a link deny what they link."""
    return len(re.findall(r"(?<![a-z])(?:not|never|nor|!=)(?![a-z])", words)) % 2 == 1


def _spell(word: str) -> str:
    word = word.lower().replace("’", "'")
    if word.endswith("n't"):
        return {"can't": "can not", "won't": "will not"}.get(word, word[:-3] + " not")
    if word in ("it's", "that's", "there's", "here's", "which's", "what's", "let's"):
        return word[:-2] + " is"
    return word.removesuffix("'s").removesuffix("'")


def _canon(raw: str, names: Mapping[str, str]) -> str:
    if raw[0].isdigit():
        digits = raw.replace(",", "").lower()
        if digits[-1].isalpha():
            return "ord" + digits.rstrip("sthndr") if len(digits) < LONGEST_NUMBER else "number"
        return (digits.lstrip("0") or "0") if len(digits) <= LONGEST_NUMBER and "." not in digits else _decimal(digits)
    if raw in names:
        return names[raw]
    word = _spell(raw)
    base = word.split(" ")[0]
    return names.get(word) or NUMBER_WORDS.get(word) or SIGNS.get(word) or (word if base else "")


def _decimal(digits: str) -> str:
    return show(Fraction(digits)) if len(digits) <= LONGEST_NUMBER else "@number"


def _tokens(text: str, names: Mapping[str, str]) -> Iterator[Token]:
    for match in _TOKEN.finditer(text):
        raw = match[0]
        if raw[0].isalnum():
            for canon in _canon(raw, names).split():
                yield Token(canon, match.start(), match.end())
        else:
            sign = SIGNS.get(raw, raw)
            if sign in KEPT_SIGNS or sign == "\n":
                yield Token(sign, match.start(), match.end())
            elif sign == "%":
                yield Token("percent", match.start(), match.end())


def _is_operand(token: Token | None) -> bool:
    return token is not None and (token.canon[0] in "@)~" or token.canon[0].isdigit())


def _is_pronoun(before: Token | None, after: Token | None) -> bool:
    """Tell whether "one" between these tokens stands for a thing ("the red one", "one of") and not for a number."""
    pointing = ("the", "this", "that", "which", "no", "each", "every", "any", "another", "other")
    follows = before is not None and (before.canon in pointing or before.canon[0] == "$")
    follows = follows or (before is not None and (before.canon.endswith("est") or before.canon in ORDINALS))
    return follows or (
        after is not None and after.canon in ("of", "another", "is", "has", "was", "that", "which", "belongs")
    )


def _join_signs(tokens: list[Token]) -> list[Token]:
    """Settle what depends on neighbours: signed numbers, `x` and `times` as signs, bullets and stray stars."""
    kept: list[Token] = []
    for index, token in enumerate(tokens):
        before = kept[-1] if kept else None
        after = tokens[index + 1] if index + 1 < len(tokens) else None
        between = _is_operand(before) and after is not None and (_is_operand(after) or after.canon == "(")
        if token.canon == "1" and token.end - token.start == 3 and _is_pronoun(before, after):
            token.canon = "one"
        elif token.canon in ("x", "times") and between:
            token.canon = "*"
        elif token.canon == "*" and not between:
            continue
        elif token.canon == "-" and not _is_operand(before):
            if before is None or before.canon == "\n":
                continue
            if after is not None and after.canon[0].isdigit() and after.start == token.end:
                after.canon = "-" + after.canon
                continue
        elif token.canon == "percent" and before is not None and before.canon[0].isdigit():
            before.canon = "@percent"
            continue
        kept.append(token)
    return kept


def split_sentences(text: str, names: Mapping[str, str]) -> list[Sentence]:
    """Cut a text into sentences of canonical tokens; `names` maps lower-case (or exact) words to name tokens."""
    sentences: list[Sentence] = []
    current: list[Token] = []
    for token in _join_signs(list(_tokens(text, names))):
        if token.canon == "\n" and current and current[-1].canon in (":", ","):
            continue
        if token.canon in ENDS or (len(current) >= LONGEST_SENTENCE and token.canon == ","):
            sentences.append(Sentence(current, asks=token.canon == "?"))
            current = []
        else:
            current.append(token)
            if len(current) >= 2 * LONGEST_SENTENCE:
                sentences.append(Sentence(current))
                current = []
    sentences.append(Sentence(current))
    return [sentence for sentence in sentences if sentence.tokens]
