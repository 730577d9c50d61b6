"""Number words below a thousand, and the usual fractions, as digits."""

import re

SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
PARTS = {
    "half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourths": 4, "fifth": 5,
    "fifths": 5, "sixths": 6, "sevenths": 7, "eighth": 8, "eighths": 8, "tenth": 10, "tenths": 10,
}  # fmt: skip
BELOW_HUNDRED = rf"(?:(?:{'|'.join(TENS)})(?:[ -](?:{'|'.join(SMALL[1:10])}))?|{'|'.join(reversed(SMALL))})"
NUMBER_WORD = re.compile(
    rf"\b(?:(?P<hundreds>{'|'.join(SMALL[1:10])}|a) hundred(?: (?:and )?(?P<rest>{BELOW_HUNDRED}))?"
    rf"|a(?= (?:thousand|million|billion)\b)|(?P<below>{BELOW_HUNDRED}))\b",
    re.IGNORECASE,
)
# "One" counts things only where it is the answer itself: "the red one" names a thing.
COUNTS_BEFORE = re.compile(
    r"(?:^|[:=(]|\b(?:is|are|was|only|just|exactly|get|has|have|equals|be|minus|negative)) ?$", re.IGNORECASE
)
AND_A_PART = re.compile(
    r"(?<![\w.])(\d{1,9}) and (?:(?:a|1) (half|quarter|third)|(half))\b",
    re.IGNORECASE,
)
A_PART = re.compile(r"^(?:a |1[ -])?(half|quarter|third|fifth|eighth|tenth)(?=[.,!]?$| of\b)", re.IGNORECASE)
PARTS_OF = re.compile(rf"(?<![\w.,])(\d{{1,9}})[ -]({'|'.join(name for name in PARTS if name.endswith('s'))})\b", re.I)


def read_below_hundred(words: str) -> int:
    """Return the number that words such as "seven" or "twenty-one" name."""
    first, _, second = words.lower().replace("-", " ").partition(" ")
    return (
        SMALL.index(first) if first in SMALL else 10 * TENS.index(first) + 20 + (SMALL.index(second) if second else 0)
    )


def to_digits(match: re.Match) -> str:
    """Return the digits of a number word; a "one" that names a thing stays."""
    if match["hundreds"]:
        hundreds = 1 if match["hundreds"].lower() == "a" else SMALL.index(match["hundreds"].lower())
        return str(100 * hundreds + (read_below_hundred(match["rest"]) if match["rest"] else 0))
    if not match["below"]:
        return "1"
    if match["below"].lower() == "one":
        before = match.string[max(0, match.start() - 20) : match.start()]
        counts = COUNTS_BEFORE.search(before) and not re.match(r" of\b", match.string[match.end() :])
        return "1" if counts else match[0]
    return str(read_below_hundred(match["below"]))


def words_to_digits(text: str) -> str:
    """Write the number words of a text in digits.

    >>> words_to_digits("one hundred and twenty-three pears, two and a half figs, the red one")
    '123 pears, 2 1/2 figs, the red one'
    """
    text = NUMBER_WORD.sub(to_digits, text)
    text = AND_A_PART.sub(lambda part: f"{part[1]} 1/{PARTS[(part[2] or part[3]).lower()]}", text)
    text = A_PART.sub(lambda part: f"1/{PARTS[part[1].lower()]}", text)
    return PARTS_OF.sub(lambda part: f"{part[1]}/{PARTS[part[2].lower()]}", text)
