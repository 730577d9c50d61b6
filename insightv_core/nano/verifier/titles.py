"""Claims about the title of a chart or table, checked letter by letter but for case and quotes."""

import re

from insightv_core.nano.scenes import TITLES, BarChart, LineChart, PieChart, Table
from insightv_core.nano.verifier.facts import Facts
from insightv_core.nano.verifier.text import Found, Judged, Sentence, Token, negated, rule

_PICTURE = r"(?:chart|table|graph|plot|picture|figure|diagram|image|pie)"
_WHERE = rf"(?: (?:of|on|in|at|above|over|for|the|top|this|bar|line|pie)){{0,5}} {_PICTURE}"
_LINKS = (
    r"(?:is|was|are|=|:|-|as|not|just|only|simply|the|a|single|one|word|text|it|being|given|written|clearly|"
    r"says|said|reads|states|shows|called|titled|named|entitled|headed)"
)
_TITLE_IS = rule(
    rf"(?:title|heading|headline|(?:word|text) (?:above|over|on top of|at the top of) the {_PICTURE})"
    rf"(?:{_WHERE})?((?: {_LINKS}){{0,6}}) (?P<said>\S+)"
)
_CALLED = rule(
    rf"({_PICTURE})((?: (?:that|which|,|is|was|has|been|not)){{0,3}} "
    rf"(?:called|titled|named|entitled|headed))(?: as)? (?P<said>\S+)"
)
_IS_TITLE = rule(r"(?P<said>\S+) ((?:is|as|was|not) )+(?:the |its )title")
_SAYS = re.compile(r" (?:says|said|reads|states|called|titled|named|entitled|headed)(?= |$)")
_LINKED = re.compile(rf"{_SAYS.pattern}| (?:is|was|are|=|as)(?= |$)")
_CLOSED = re.compile(r" (?:$|,|so |and |-> )")
_NO_TITLE = re.compile(r"so|it|that|this|nothing|none|otherwise|enough|more|what|all|much|word")
_KNOWN = frozenset(title.lower() for title in TITLES)
_QUOTES = "\"'“”‘’«»`*_"


def read_title(sentence: Sentence, facts: Facts, text: str) -> None:
    """Judge "the title says Birds", "a chart called Sales" and "Rain is the title"; `text` has the words as written."""
    scene = facts.scene
    if not isinstance(scene, BarChart | LineChart | PieChart | Table):
        return
    shouted = text[sentence.tokens[0].start : sentence.tokens[-1].end].isupper()

    def judge(match: re.Match, words: str, canon: str) -> Found | None:
        # This runs before any rule joins words, so each space of the line parts two tokens.
        at = match.string.count(" ", 0, match.start("said")) - 1
        said = _quote(sentence.tokens[at], text) or read_plain(match, words, at)
        if said is None:
            return None
        truth = (said.lower() == scene.title.lower()) != negated(words)
        return Found((Judged(truth, f"the title is {scene.title}"),), canon)

    def read_plain(match: re.Match, words: str, at: int) -> str | None:
        """Return what is said without quotes, None where it need not be a title: "the title is hard to read"."""
        closed = _CLOSED.match(match.string, match.end("said")) is not None
        if at and not shouted and (closed or _LINKED.search(words)) and (name := _name(sentence.tokens[at], text)):
            return name
        said = text[sentence.tokens[at].start : sentence.tokens[at].end].lower()
        if said in _KNOWN or (closed and _SAYS.search(words) and said.isalpha() and not _NO_TITLE.fullmatch(said)):
            return said
        return None

    sentence.rewrite(_CALLED, lambda m: judge(m, m[2], m[1]))
    sentence.rewrite(_TITLE_IS, lambda m: judge(m, m[1], "#"))
    sentence.rewrite(_IS_TITLE, lambda m: judge(m, m[0], "#"))


def _quote(token: Token, text: str) -> str | None:
    """Return the whole quote that a word opens, None where it opens none."""
    if not token.start or text[token.start - 1] not in _QUOTES:
        return None
    quote = re.compile(rf"[^\n{re.escape(_QUOTES)}]{{1,60}}").match(text, token.start)
    return quote[0].strip(" .,;:!?") if quote else None


def _name(token: Token, text: str) -> str | None:
    """Return the capitalized words that start at a token, None where it is written small."""
    name = re.compile(r"[A-Z][^\W_]*(?: [A-Z][^\W_]*){0,5}").match(text, token.start)
    return name[0] if name else None
