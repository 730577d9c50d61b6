"""Claims about the question itself: which statement is false, what the answer is, and yes or no."""

import re
from collections.abc import Callable

from insightv_core.nano.verifier.facts import Context, Facts
from insightv_core.nano.verifier.text import NUM, Found, Judged, Sentence, negated, number, rule

_OPTION = r"(?:(?:the )?(?:statement|option|choice|answer|claim) )?[(]? ?[!@]([a-d])(?: [)])?"
_TRUE = "true|correct|right|ok|fine|valid|accurate"
_FALSE = "false|wrong|incorrect|untrue|invalid|inaccurate"
_MATCHES = "matches|holds|agrees|fits|checks out|match|hold|agree|fit"
_IS_JUDGED = rule(
    rf"({_OPTION}(?:(?: ,)?(?: and)? [!@][a-d])*) ((?:(?:is|are|=|:|was|must|be|being|does|do|not|also|indeed|"
    rf"clearly|therefore|thus|so|then|the|never|all|both|,|-|statement|one|that|which) ){{0,5}})({_TRUE}|"
    rf"{_FALSE}|{_MATCHES})(?! or)"
)
_JUDGED_IS = rule(
    rf"(?:the |only |one )*({_FALSE}|{_TRUE}|not (?:true|correct)) (?:statement|option|one|claim|"
    rf"answer)? ?(?:that )?((?:(?:is|=|:|must|be|not|would|therefore|thus|so) )+){_OPTION}(?! (?:(?:is|says)\b|"
    rf"[0-9]))"
)
_FAILS = rule(
    rf"{_OPTION} (?:fails|contradicts|mismatches|disagrees)|(?:statement|one) that (?:does not match|fails|"
    rf"is false|is wrong) is {_OPTION}"
)
_SAYS = rule(
    rf"{_OPTION} (says|claims|states|gives|said|reads|asserts) (?:that )?(\S+(?: (?!but |so |which |however |"
    rf"and this|and that|while |whereas |instead |not |-> )\S+){{0,30}}?)(?= (?:, |but |so |which |however |and |"
    rf"while |whereas |instead |not |-> |$))"
)
_QUOTES = rule(
    rf"(?:statement|option|choice) [!@]([a-d]) :(?! (?:{_TRUE}|{_FALSE}) )((?: (?!but |so |which |however |"
    rf"-> )\S+){{2,30}}?)(?= (?:, |but |so |which |however |-> |$))"
)
_BACK = rule(
    rf"(?:so |and |, |which |therefore |thus |but |hence )*(?:this|that|it|which|statement|this statement|"
    rf"that statement) (is|was|does|=)((?: (?:not|indeed|also|clearly|therefore))*) ({_TRUE}|{_FALSE}|"
    rf"{_MATCHES})"
)
_ALONE = re.compile(rf" (?:(?:so|, |and|thus|therefore|hence|->|-|:) ?)*(not )?({_TRUE}|{_FALSE}) ")

_ANSWER = rule(
    rf"(?:final |correct |right |true )*(?:answer|solution)(?: to (?:the|this) question)? ((?:(?:is|=|:|must|"
    rf"be|should|would|will|not|the|therefore|thus|then|"
    rf"option|statement|via|through|number|value|equals|to|so|bar|a|an) )*)[(]?({NUM}|[@$%&!]\S+|[a-z][a-z]*)(?: [)])?"
)
_YES_NO = rule(
    r"(?:so|thus|hence|therefore|->|conclusion|,|:|^|=|means|is)(?: ,| the answer is| it is| that is| :)* (yes|"
    r"no)(?= (?:,|:|-|because|since|as|it|they|the sum|[)]|$)|$)"
)


def decide_options(statements: tuple[str, ...], judge: Callable[[str], bool | None]) -> dict[str, bool | None]:
    """Tell which statements are true; `judge` gives True, False or None for one, and exactly one is false."""
    holds = {letter: judge(text) for letter, text in zip("abcdefgh", statements, strict=False)}
    open_letters = [letter for letter, truth in holds.items() if truth is None]
    if False in holds.values():
        return {letter: truth is not False for letter, truth in holds.items()}
    if len(open_letters) == 1:
        holds[open_letters[0]] = False
    return holds


def read_statements(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Judge "A is true", "the false statement is C", "C says 150"; what a statement says is not claimed itself."""
    if not context.statements:
        return

    def judge(letters: list[str], said_true: bool) -> Found:
        context.letter = letters[-1]
        claims = []
        for letter in letters:
            truth = context.holds.get(letter)
            words = "not checkable" if truth is None else "true" if truth else "false"
            claims.append(
                Judged(None if truth is None else truth == said_true, f"statement {letter.upper()} is {words}")
            )
        return Found(tuple(claims))

    def positive(words: str, verdict: str) -> bool:
        return (re.fullmatch(_FALSE, verdict) is None) != negated(words + " " + verdict)

    sentence.rewrite(_SAYS, lambda m: _judge_quote(m[1], m[3], context))
    sentence.rewrite(_QUOTES, lambda m: _judge_quote(m[1], m[2], context))
    sentence.rewrite(
        _JUDGED_IS, lambda m: judge([m[3]], (re.search(_FALSE, m[1]) is None) != negated(m[1] + " " + m[2]))
    )
    sentence.rewrite(_FAILS, lambda m: judge([m[1] or m[2]], False))
    sentence.rewrite(_IS_JUDGED, lambda m: judge(re.findall(r"[!@]([a-d])", m[1]), positive(m[3], m[4])))
    if context.letter:
        sentence.rewrite(_BACK, lambda m: judge([context.letter], positive(m[2], m[3])))
        if alone := _ALONE.fullmatch(sentence.line()):
            sentence.rewrite(
                re.compile(r"(?<= ).+(?= $)"), lambda m: judge([context.letter], positive(alone[1] or "", alone[2]))
            )
    for token in sentence.tokens:
        if re.fullmatch(r"[!@][a-d]", token.canon) and "!" in token.canon:
            context.letter = token.canon[1]


def _judge_quote(letter: str, said: str, context: Context) -> Found | None:
    """Judge whether a statement says what it is said to say, by its numbers."""
    at = ord(letter) - ord("a")
    if at >= len(context.statements):
        return None
    context.letter = letter
    numbers = set(re.findall(r"[0-9]+", said.replace("@w:", " ").replace("@m:", " ")))
    stated = set(re.findall(r"[0-9]+", context.statements[at]))
    if not numbers:
        return Found((Judged(None, "the quoted words have no number to compare"),))
    truth = True if numbers <= stated else False if stated else None
    return Found((Judged(truth, f"statement {letter.upper()} says: {context.statements[at]}"),))


def read_answers(sentence: Sentence, facts: Facts, context: Context) -> None:
    """Judge "the answer is 6", "Answer: Mia" and "so yes" against the true answer."""

    def answer(match: re.Match) -> Found | None:
        said = match[2]
        if said in ("not", "the", "in", "of", "because", "from", "by", "can", "will", "we"):
            return None
        return Found((_judge_answer(said, negated(match[1]), facts, context),))

    def yes_no(match: re.Match) -> Found | None:
        if context.answer is not None and context.answer.lower() not in ("yes", "no"):
            return None
        return Found((_judge_answer(match[1], False, facts, context),))

    sentence.rewrite(_ANSWER, answer)
    sentence.rewrite(_YES_NO, yes_no)


def _judge_answer(said: str, denied: bool, facts: Facts, context: Context) -> Judged:
    if context.answer is None:
        return Judged(None, "the true answer is not known here")
    truth = same_answer(said, context.answer, facts)
    return Judged(truth != denied, f"the answer is {context.answer}")


def same_answer(said: str, answer: str, facts: Facts) -> bool:
    """Tell whether a token of a text means the answer."""
    answer = answer.strip()
    if re.fullmatch(r"-?[0-9]+(?:\.[0-9]+)?", answer):
        return bool(re.fullmatch(NUM, said)) and number(said) == number(answer)
    known = facts.words.get(answer) or facts.words.get(answer.lower()) or answer.lower()
    bare = said.lstrip("@$%&!~").removeprefix("via:")
    owner = facts.colors.get(bare)
    return bare == known.lstrip("@$%&!").removeprefix("via:") or (owner is not None and owner == answer.lower())
