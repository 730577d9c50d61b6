"""Small questions that one look answers and no family asks: what comes next, how many there are, what stands where.

Chains over a chart went on after its last item or told one twice, and read one angle for two: nothing had ever asked
for what follows an item, or for a number in pictures that no perception family is about.
"""

from collections import Counter
from collections.abc import Sequence
from random import Random

from insightv_core.nano.questions.grids import marks_of, say_mark
from insightv_core.nano.questions.tables import say_workers
from insightv_core.nano.scenes import (
    BarChart,
    LineChart,
    PieChart,
    Polygon,
    ProductionTable,
    RouteMap,
    Scene,
    ShapeGrid,
    Table,
    Triangle,
)

Look = tuple[str, str]  # a question and its answer
NOTHING = "nothing"
FOLLOWING = ("What comes after {}?", "Which one follows {}?", "What stands next after {}?")


def ask_looks(scene: Scene, rng: Random, count: int) -> list[Look]:
    """Ask up to `count` of the small questions about a picture, each once."""
    looks = looks_at(scene, rng)
    return rng.sample(looks, min(count, len(looks)))


def looks_at(scene: Scene, rng: Random) -> list[Look]:
    """Return the small questions about a picture with their answers, in one wording each."""
    match scene:
        case BarChart():
            highest = ("How high is the highest bar?", str(max(scene.values)))
            lowest = ("How high is the lowest bar?", str(min(scene.values)))
            return [*_follow(scene.labels, "bars", rng), highest, lowest]
        case LineChart():
            moves = zip(scene.labels, scene.values, scene.labels[1:], scene.values[1:], strict=False)
            rises = [
                (f"Is {name} above {before}?", "yes" if value > former else "no")
                for before, former, name, value in moves
            ]
            return [*_follow(scene.labels, "points", rng), *rises]
        case PieChart():
            asked = rng.choice(("How large is the {} slice?", "What number is on the {} slice?", "How much is {}?"))
            sizes = [(asked.format(color), str(value)) for color, value in zip(scene.colors, scene.values, strict=True)]
            return [*sizes, ("How many slices are there?", str(len(scene.colors)))]
        case Table():
            return _follow(scene.rows, "rows", rng)
        case ProductionTable():
            return _look_at_production(scene)
        case ShapeGrid():
            return _look_at_grid(scene)
        case Triangle():
            written = [NOTHING if at == scene.hidden else str(angle) for at, angle in enumerate(scene.angles)]
            asked = rng.choice(("Which angle is written at {}?", "What number stands at {}?"))
            return [(asked.format(corner), angle) for corner, angle in zip(scene.corners, written, strict=True)]
        case Polygon():
            return [
                ("How many sides are there?", str(len(scene.sides))),
                ("Which is the last corner?", scene.corners[-1]),
            ]
        case RouteMap():
            return _look_at_roads(scene, rng)


def _follow(names: Sequence[str], noun: str, rng: Random) -> list[Look]:
    """Ask what comes after each of a row of names, and how many there are."""
    asked = rng.choice(FOLLOWING)
    pairs = zip(names, [*names[1:], NOTHING], strict=True)
    return [*((asked.format(name), after) for name, after in pairs), (f"How many {noun} are there?", str(len(names)))]


def _look_at_production(scene: ProductionTable) -> list[Look]:
    looks = [("What is the price?", str(scene.price)), ("How many workers are there at most?", str(len(scene.output)))]
    for workers, (made, revenue) in enumerate(zip(scene.output, scene.revenue, strict=True), 1):
        looks.append((f"What do{'es' * (workers == 1)} {say_workers(workers)} make?", str(made)))
        looks.append((f"What is the revenue with {say_workers(workers)}?", str(revenue)))
    return looks


def _look_at_grid(scene: ShapeGrid) -> list[Look]:
    """Ask where marks are that are there once, what is in a cell, and how many there are of each kind at once."""
    at = {(r, c): mark for r, row in enumerate(scene.cells, 1) for c, mark in enumerate(row, 1)}
    marks = marks_of(scene)
    looks = [(f"What is in row {row}, column {column}?", say_mark(mark)) for (row, column), mark in at.items()]
    looks += [
        (f"Where is the {say_mark(mark)}?", f"row {row}, column {column}")
        for (row, column), mark in at.items()
        if mark and marks.count(mark) == 1
    ]
    for feature in ("shape", "color"):
        counts = Counter(getattr(mark, feature) for mark in marks)
        looks.append((f"Count each {feature}.", ", ".join(f"{name} {count}" for name, count in counts.items()) or "0"))
    return looks


def _look_at_roads(scene: RouteMap, rng: Random) -> list[Look]:
    asked = rng.choice(("How long is the road from {} to {}?", "How far is it straight from {} to {}?"))
    roads = [(asked.format(road.start, road.end), str(road.length)) for road in scene.roads]
    start, end, *middle = scene.places
    return [*roads, (f"Over which places can you go from {start} to {end}?", ", ".join(middle))]
