"""Looking things up in one's own words: what chains do most, practised on short lists without a picture.

A step of a chain mostly fetches what an earlier step said: the number of a name, the name of a number, the last count
of a color. A model that sees this in chains alone learns it late: nano read its charts and then said "the best is 36
for fig" where melon had 36. Here every word of an answer is such a look-up.
"""

from random import Random

from insightv_core import prompts
from insightv_core.nano.questions.grids import say_counts, say_tallied
from insightv_core.nano.questions.writer import Named, Writer, side
from insightv_core.nano.scenes import COLORS, DAYS, FRUITS, GOODS, MONTHS, NAMES, PLACES, SHAPES, Mark

VOCABULARIES = (NAMES, FRUITS, GOODS, COLORS, MONTHS, DAYS, PLACES)
QUESTIONS = (2, 6)  # about one list, in a row
Listed = list[Named]


def converse_lookup(rng: Random) -> tuple[dict, ...]:
    """Write a list of named numbers, or of shapes, with several questions about it and their answers."""
    write = _tell_shapes if rng.random() < 0.3 else _tell_numbers
    told, turns = write(rng)
    messages = [prompts.ask("", prompts.DIRECT)[0]]
    for number, (question, answer) in enumerate(turns):
        asked = question if number else f"{told}\n{question}"
        messages += [prompts.user(asked), prompts.assistant(answer)]
    return tuple(messages)


def _tell_numbers(rng: Random) -> tuple[str, list[tuple[str, str]]]:
    """Return named numbers in words, and questions about them with answers."""
    vocabulary = rng.choice(VOCABULARIES)
    names = rng.sample(vocabulary, rng.randint(3, min(8, len(vocabulary))))
    if rng.random() < 0.35:
        factors = [(rng.randint(1, 12), rng.randint(1, 12)) for _ in names]
        listed = [(name, one * two) for name, (one, two) in zip(names, factors, strict=True)]
        lines = [f"{name}: {one} x {two} = {one * two}" for name, (one, two) in zip(names, factors, strict=True)]
    else:
        most = rng.choice((9, 15, 40))
        listed = [(name, rng.randint(1, most)) for name in names]
        manner = rng.choice(("{} is {}", "{} {}", "{} = {}", "{} has {}"))
        lines = [manner.format(name, value) for name, value in listed]
    return ", ".join(lines) + ".", [_ask_number(listed, rng) for _ in range(rng.randint(*QUESTIONS))]


def _ask_number(listed: Listed, rng: Random) -> tuple[str, str]:
    """Return a question about named numbers and its answer."""
    at, writer = rng.randrange(len(listed)), Writer(rng)
    name, value = listed[at]
    owner = next(each for each, number in listed if number == value)
    kind = rng.choice(("value", "name", "extreme", "best", "best", "next", "above", "each", "each", "pair", "order"))
    if kind == "value":
        return f"What is {name}?", str(value)
    if kind == "name":
        return f"Which is {value}?", owner
    if kind == "extreme":
        word, extreme = rng.choice((("largest", max), ("smallest", min)))
        number = extreme(number for _, number in listed)
        return f"Which is the {word}?", f"{number} for {next(each for each, value in listed if value == number)}."
    if kind == "next":
        return f"What follows {name}?", listed[at + 1][0] if at + 1 < len(listed) else "nothing"
    if kind == "above":
        return f"Which are above {value}?", ", ".join(each for each, number in listed if number > value) or "none"
    if kind == "each":
        return f"Set each against {value}.", writer.count_along([side(each, value) for each in listed])[0] + "."
    if kind == "best":
        word = rng.choice(("best", "largest", "shortest"))
        told = [(f"{each} {number}", (each, number)) for each, number in listed]
        return f"Find the {word} one by one.", writer.best_along(told, word)[0]
    other, number = rng.choice([pair for pair in listed if pair[0] != name])
    if kind == "pair":
        return f"What are {name} and {other} together?", f"{value} + {number} = {value + number}."
    sign = "is more than" if value > number else "is not more than"
    return f"Is {name} more than {other}?", f"{value} {sign} {number}, so {'yes' if value > number else 'no'}."


def _tell_shapes(rng: Random) -> tuple[str, list[tuple[str, str]]]:
    """Return a row of shapes in words, and questions that count along it, with answers."""
    colors, shapes = rng.sample(COLORS, rng.randint(2, 4)), rng.sample(SHAPES, rng.randint(2, 4))
    marks = [(rng.choice(colors), rng.choice(shapes)) for _ in range(rng.randint(4, 12))]
    said = [f"{color} {shape}" for color, shape in marks]
    turns, writer = [], Writer(rng)
    for place, word in rng.sample([(0, "color"), (1, "shape")], rng.randint(1, 2)):
        counts: dict[str, int] = {}
        kinds = list(dict.fromkeys(mark[place] for mark in marks))
        along = [say_tallied(Mark(shape, color), kinds, counts, writer) for color, shape in marks]
        turns.append((f"Count along by {word}.", ", ".join(along) + "."))
        turns.append((f"Count each {word}.", say_counts(counts)))
        turns += [
            (f"How many are {name}?", str(counts[name])) for name in rng.sample(list(counts), min(3, len(counts)))
        ]
        if once := [name for name, count in counts.items() if count == 1]:
            turns.append((f"Which {word} is there only once?", once[0] if len(once) == 1 else ", ".join(once)))
    return ", ".join(said) + ".", turns
