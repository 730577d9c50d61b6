"""The lesson of looking things up: what its answers say must follow from the list alone."""

import re
from collections import Counter
from random import Random

import pytest

from insightv_core.nano.training.lookup import converse_lookup


def texts(message: dict) -> str:
    return "".join(part.get("text", "") for part in message["content"])


def drawn(count: int) -> list[tuple[str, str, str]]:
    """Return (list, question, answer) of many conversations."""
    found = []
    for seed in range(count):
        turns = [texts(message) for message in converse_lookup(Random(seed))[1:]]
        told, turns[0] = turns[0].split("\n")
        found += [(told, *turn) for turn in zip(turns[::2], turns[1::2], strict=True)]
    return found


def numbers_of(told: str) -> dict[str, int]:
    return {item.split(":")[0].split()[0]: int(re.findall(r"\d+", item)[-1]) for item in told.split(", ")}


def word_for(one: int, two: int) -> str:
    return "the same" if one == two else "more" if one > two else "less"


def answer(told: str, question: str) -> str:
    """Answer a question about a list another way than the lesson does."""
    if along := re.match(r"Count along by (\w+)", question):
        place, said, shapes = ["color", "shape"].index(along[1]), [], told.rstrip(".").split(", ")
        for at, shape in enumerate(shapes, 1):
            word = shape.split()[place]
            said.append(f"{shape} ({word} {' '.join(shapes[:at]).split().count(word)})")
        return ", ".join(said) + "."
    if each := re.match(r"Count each (\w+)", question):
        words = [item.split()[each[1] == "shape"] for item in told.rstrip(".").split(", ")]
        counts = Counter(words)
        return ", ".join(f"{word} {'only once' if n == 1 else n}" for word, n in counts.items()) + "."
    if many := re.match(r"How many are (\w+)", question):
        return str(len(re.findall(rf"\b{many[1]}\b", told)))
    if only := re.match(r"Which (color|shape) is there only once", question):
        words = [item.split()[only[1] == "shape"] for item in told.rstrip(".").split(", ")]
        return ", ".join(word for word in words if words.count(word) == 1)
    values = numbers_of(told)
    names, asked = list(values), [word for word in re.findall(r"\w+", question) if word in values]
    limit = int((re.findall(r"\d+", question) or ["0"])[0])
    if question.startswith("Which is the "):
        at = sorted(names, key=values.get, reverse="largest" in question)[0]
        return f"{values[at]} for {at}."
    if question.startswith("Which is "):
        return next(name for name in names if values[name] == limit)
    if question.startswith("What follows"):
        return [*names[1:], "nothing"][names.index(asked[0])]
    if question.startswith("Which are above"):
        return ", ".join(name for name in names if values[name] > limit) or "none"
    if question.startswith("Set each"):
        above = [name for name in names if values[name] > limit]
        counts = {name: f" ({above.index(name) + 1})" if name in above else "" for name in names}
        told = [f"{name} {values[name]} against {limit} is {word_for(values[name], limit)}" for name in names]
        return ", ".join(text + counts[name] for text, name in zip(told, names, strict=True)) + "."
    if best := re.match(r"Find the (\w+) one by one", question):
        choose, texts = (min if best[1] == "shortest" else max), []
        for count, name in enumerate(names, 1):
            so_far = choose(names[:count], key=values.get)
            kept = choose(names[: count - 1], key=values.get, default=None)
            than = f" {values[name]} against {values[kept]} is {word_for(values[name], values[kept])}," if kept else ""
            texts.append(f"{name} {values[name]},{than} {best[1]} so far {so_far} with {values[so_far]}.")
        return " ".join(texts)
    if question.startswith("What are"):
        one, two = (values[name] for name in asked)
        return f"{one} + {two} = {one + two}."
    if question.startswith("Is "):
        one, two = (values[name] for name in asked)
        return f"{one} is {'' if one > two else 'not '}more than {two}, so {'yes' if one > two else 'no'}."
    return str(values[asked[0]])


def test_answers_follow_from_the_list():
    wrong = [turn for turn in drawn(400) if answer(*turn[:2]) != turn[2]]
    assert wrong == []


@pytest.mark.parametrize(
    "start",
    ["What is", "Which is the", "Find the", "What follows", "Set each", "Is ", "Count along", "Count each", "How many"],
)
def test_every_kind_of_question_is_drawn(start):
    assert sum(question.startswith(start) for _, question, _ in drawn(100)) > 3
