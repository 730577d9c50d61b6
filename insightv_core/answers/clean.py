"""Answers as models write them, made plain: characters, emphasis, simple LaTeX, and the part that states the answer."""

import re
import unicodedata

PLAIN = str.maketrans(
    {
        **dict.fromkeys("\N{MINUS SIGN}\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{FIGURE DASH}\N{EN DASH}", "-"),
        **dict.fromkeys("\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}", "'"),
        **dict.fromkeys("\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}", '"'),
        **dict.fromkeys("\N{MASCULINE ORDINAL INDICATOR}\N{RING ABOVE}", "°"),
        "\N{MICRO SIGN}": "μ",
        "\N{FRACTION SLASH}": "/",
    }
)
SUPERSCRIPTS = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
VULGAR_FRACTION = re.compile("[¼-¾⅐-⅞↉]")
INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
# Stars between word characters may be products or powers, so only pairs around whole words are emphasis.
EMPHASIS = (
    re.compile(r"(?<!\w)\*\*([^*\n]+)\*\*(?!\w)"),
    re.compile(r"(?<![\w*])\*([^\s*][^*\n]*)\*(?![\w*])"),
    re.compile(r"(?<!\w)__([^_\n]+)__(?!\w)"),
)

TEXT_COMMAND = re.compile(r"\\(?:text(?:bf|it|rm)?|mathrm|mathbf|mathit|operatorname|mbox)\s?\{([^{}]*)\}")
NUMBER_IN_BRACES = r"\s?\{\s?([-+]?\d{1,30}(?:\.\d{1,30})?)\s?\}"
MIXED_FRACTION = re.compile(rf"(?<!\d)(\d{{1,9}})\s?\\[dtc]?frac{NUMBER_IN_BRACES}{NUMBER_IN_BRACES}")
FRACTION = re.compile(rf"\\[dtc]?frac{NUMBER_IN_BRACES}{NUMBER_IN_BRACES}")
SHORT_FRACTION = re.compile(r"\\[dtc]?frac\s?(\d)\s?(\d)(?!\d)")
MATH_MODE = re.compile(r"\\[()\[\]]|\$\$")
DOLLARS = re.compile(r"(?<!\\)\$([^$]*)(?<!\\)\$")
SIGNS = (
    (re.compile(r"\\(?:[,;!: ]|left|right|displaystyle|quad)"), " "),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\^\s?\{?\s?\\circ\s?\}?|\\degree"), "°"),
    (re.compile(r"\\times(?![A-Za-z])"), "×"),
    (re.compile(r"\\cdot(?![A-Za-z])"), "·"),
    (re.compile(r"\\(?:approx|simeq)(?![A-Za-z])"), "≈"),
    (re.compile(r"\\([%$&#])"), r"\1"),
)

STATES_ANSWER = re.compile(
    r"\b(?:answers?\b(?:\s+(?:to|for|of|in|here|then|therefore|thus)\b[^.:=\n]{0,80}?|\s?\([^()\n]{0,40}\))?"
    r"|(?:correct|right|best)\s+(?:option|choice|statement)\b)"
    r"\s?(?:\b(?:is|are|was|would be|should be|must be|will be)\b(?! (?:(?:in)?correct|wrong)\b)\s?:?|[:=]|-+>)\s?",
    re.IGNORECASE,
)
SENTENCE_END = re.compile(r"(?<=[\w)}\]%]{2})[.!?](?=\s+[A-Z])|(?<=\d)[.!?](?=\s+[A-Z])|\n")
TAKES_BACK = re.compile(r"\b(?:wait|actually|sorry|correction|rather|instead)\b", re.IGNORECASE)


def tidy(text: str) -> str:
    """Return the text with plain characters, no emphasis and single spaces; line breaks stay.

    >>> tidy("**−1½**  km²")
    '-1 1/2 km^2'
    """
    text = SUPERSCRIPTS.sub(lambda run: "^" + unicodedata.normalize("NFKC", run[0]), text)
    text = VULGAR_FRACTION.sub(lambda sign: f" {unicodedata.normalize('NFKC', sign[0])} ", text)
    text = unicodedata.normalize("NFKC", text.translate(PLAIN)).translate(PLAIN)
    text = INVISIBLE.sub("", text).replace("`", "")
    for emphasis in EMPHASIS:
        text = emphasis.sub(r"\1", text)
    text = re.sub(r"[^\S\n]+", " ", text)
    return re.sub(r" ?\n[ \n]*", "\n", text).strip()


def plain_latex(text: str) -> str:
    """Return the text with the LaTeX that only dresses numbers and words undone.

    >>> plain_latex(r"$2\\frac{1}{2}\\text{ cm}$")
    '2 1/2 cm'
    """
    text = MATH_MODE.sub(" ", text) if "\\" in text or "$$" in text else text
    text = DOLLARS.sub(r" \1 ", text)
    for _ in range(3):
        text = TEXT_COMMAND.sub(r"\1", text)
    text = MIXED_FRACTION.sub(r"\1 \2/\3", text)
    text = SHORT_FRACTION.sub(r"\1/\2", FRACTION.sub(r"\1/\2", text))
    for sign, plain in SIGNS:
        text = sign.sub(plain, text)
    return re.sub(r"[^\S\n]+", " ", text).strip()


def last_box(text: str) -> tuple[int, str] | None:
    """Return where the last LaTeX box starts and what it holds; None without a closed one."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, first = 0, start + len("\\boxed{")
    for place in range(first, len(text)):
        if text[place] == "{":
            depth += 1
        elif text[place] == "}" and depth == 0:
            return start, text[first:place].strip()
        elif text[place] == "}":
            depth -= 1
    return None


def stated(text: str) -> str:
    """Return the part of a tidy text that states the answer: the last "the answer is ..." or box, else all of it.

    >>> stated("The answer is 4. No, the answer is 5.")
    '5.'
    """
    phrases = list(STATES_ANSWER.finditer(text))
    box = last_box(text)
    if box and (not phrases or box[0] >= phrases[-1].start()):
        return box[1]
    return text[phrases[-1].end() :].strip() if phrases else text


def answer_part(text: str) -> str:
    """Return the first sentence of the part that states the answer; all of a text that never says "the answer is".

    Without those words the beginning of a text may just as well be the number of a step.
    """
    part = stated(text)
    return part if part == text else first_sentence(part)


def first_sentence(text: str) -> str:
    """Return the first sentence or line; all of the text where what follows takes it back.

    >>> first_sentence("5. There are 3 pears and 2 figs.")
    '5'
    >>> first_sentence("5. Wait, 6.")
    '5. Wait, 6.'
    """
    end = SENTENCE_END.search(text)
    if end is None or TAKES_BACK.search(text, end.end()):
        return text
    return text[: end.start()].strip()
