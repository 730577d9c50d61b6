"""Small questions about pictures: their answers hold, none is asked twice, and every picture has some."""

from collections import Counter
from random import Random

import pytest

from insightv_core.nano.questions.geometry import sides_of
from insightv_core.nano.scenes import BarChart, PieChart, ProductionTable, RouteMap, Scene, ShapeGrid, Triangle
from insightv_core.nano.training import corpus
from insightv_core.nano.training.looks import ask_looks
from insightv_core.nano.world import FAMILIES, PERCEPTION, make_example


def looks_of(family: str, scenes: int = 40) -> list[tuple[Scene, str, str]]:
    """Return scenes of a family with a question and its answer each."""
    found = []
    for seed in range(scenes):
        scene = make_example(seed, family=family).scene
        found += [(scene, *look) for look in ask_looks(scene, Random(seed), 20)]
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_every_picture_has_small_questions_and_asks_each_once(family):
    scene = make_example(3, family=family).scene
    looks = ask_looks(scene, Random(0), 3)
    asked = [question for question, _ in ask_looks(scene, Random(1), 99)]
    assert 2 <= len(looks) <= 3 and len(set(asked)) == len(asked)


@pytest.mark.parametrize("family, noun", [("bar_total", "bars"), ("line_rises", "points"), ("table_cell", "rows")])
def test_what_follows_ends_with_nothing(family, noun):
    for seed in range(20):
        scene = make_example(seed, family=family).scene
        names = list(getattr(scene, "rows", None) or scene.labels)
        looks = dict(ask_looks(scene, Random(seed), 99))
        assert looks[f"How many {noun} are there?"] == str(len(names))
        told = {question: answer for question, answer in looks.items() if "after" in question or "follows" in question}
        after = {next(name for name in names if question.endswith(f" {name}?")): told[question] for question in told}
        assert after == dict(zip(names, [*names[1:], "nothing"], strict=True))


def test_numbers_are_read_where_no_family_asks_for_them():
    seen = Counter()
    for family in ("pie_difference", "triangle_angle", "route_length", "production_false"):
        for scene, question, answer in looks_of(family):
            words = question.rstrip("?").split()
            match scene:
                case PieChart() if color := next((word for word in words if word in scene.colors), None):
                    exact = scene.values[scene.colors.index(color)]
                case Triangle():
                    at = scene.corners.index(words[-1])
                    exact = "nothing" if at == scene.hidden else scene.angles[at]
                case RouteMap() if question.startswith("How"):
                    ends = {word for word in words if word in scene.places}
                    exact = next(road.length for road in scene.roads if {road.start, road.end} == ends)
                case ProductionTable() if "worker" in words[-1] or words[-1] == "make":
                    workers = int(next(word for word in words if word.isdigit()))
                    exact = (scene.revenue if "revenue" in words else scene.output)[workers - 1]
                case _:
                    continue
            assert answer == str(exact), question
            seen[family] += 1
    assert min(seen.values()) > 50 and len(seen) == 4


def test_grids_are_asked_where_what_and_how_many():
    seen = Counter()
    for scene, question, answer in looks_of("grid_walk"):
        assert isinstance(scene, ShapeGrid)
        marks = [mark for row in scene.cells for mark in row if mark]
        if question.startswith("Where is"):
            row, column = (int(word) for word in answer.replace(",", "").split() if word.isdigit())
            mark = scene.cells[row - 1][column - 1]
            assert question == f"Where is the {mark.color} {mark.shape}?" and marks.count(mark) == 1
        elif question.startswith("What is in"):
            row, column = (int(word) for word in question.strip("?").replace(",", "").split() if word.isdigit())
            mark = scene.cells[row - 1][column - 1]
            assert answer == (f"{mark.color} {mark.shape}" if mark else "empty")
        else:
            feature = question.split()[-1].rstrip(".")
            counts = Counter(getattr(mark, feature) for mark in marks)
            assert dict(item.split() for item in answer.split(", ")) == {k: str(v) for k, v in counts.items()}
        seen[question.split()[0]] += 1
    assert min(seen[word] for word in ("Where", "What", "Count")) > 20


def test_bars_and_polygons_end_where_they_end():
    for scene, question, answer in looks_of("bar_range", 10):
        assert isinstance(scene, BarChart)
        if question.startswith("How high"):
            assert answer == str(max(scene.values) if "highest bar" in question else min(scene.values))
    for scene, question, answer in looks_of("polygon_perimeter", 10):
        assert answer == (scene.corners[-1] if "corner" in question else str(len(sides_of(scene))))


def test_pictures_that_no_family_of_perception_is_about_are_asked_looks_alone():
    rng = Random(0)
    for family in ("triangle_angle", "route_length", "production_false"):
        for seed in range(20):
            example = make_example(seed, family=family)
            talk = corpus.converse("perception", example, rng)
            asked = [str(message["content"]) for message in talk.messages if message["role"] == "user"]
            assert not any(example.question.split("\n")[0] in each for each in asked)
            assert len(asked) >= corpus.LOOKS[0]
    assert all(family not in PERCEPTION for family in ("triangle_angle", "route_length", "production_false"))
