"""Scenes in words: the captions that teach reading, and the descriptions that stand in for a picture in text."""

from random import Random

from insightv_core.nano.questions.shapes import say_rows, sides_of
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


def describe(scene: Scene, rng: Random) -> str:
    """Describe everything a picture shows, in one of two manners; what the picture hides stays hidden."""
    short = rng.random() < 0.5
    match scene:
        case BarChart():
            bars = zip(scene.labels, scene.colors, scene.values, strict=True)
            joint = "{} {} {}" if short else "{} is {} with {}"
            return f"A bar chart titled {scene.title}. {', '.join(joint.format(*bar) for bar in bars)}."
        case LineChart():
            points = say_pairs(scene.labels, scene.values, short)
            return f"A {scene.color} line chart titled {scene.title}. {points}."
        case PieChart():
            return f"A pie chart titled {scene.title}. {say_pairs(scene.colors, scene.values, short)}."
        case Table():
            told = (
                f"{name}: {say_pairs(scene.columns, cells, True)}"
                for name, cells in zip(scene.rows, scene.cells, strict=True)
            )
            return f"A table titled {scene.title}. {'. '.join(told)}."
        case ProductionTable():
            rows = zip(scene.output, scene.revenue, strict=True)
            told = (f"{say_workers(n)}: output {made}, revenue {paid}" for n, (made, paid) in enumerate(rows, 1))
            return f"A production table. The price is {scene.price}. {'. '.join(told)}."
        case ShapeGrid():
            return f"A grid of shapes. {say_rows(scene, list(range(len(scene.cells))))}"
        case Triangle():
            known = [k for k in range(3) if k != scene.hidden]
            angles = ", ".join(f"angle {scene.corners[k]} is {scene.angles[k]}" for k in known)
            return f"A triangle. A{angles[1:]}, angle {scene.corners[scene.hidden]} is not given."
        case Polygon():
            sides = sides_of(scene)
            return f"A shape with {len(sides)} sides. {say_pairs(sides, sides.values(), short)}."
        case RouteMap():
            start, end = scene.places[:2]
            roads = (f"{road.start} to {road.end} is {road.length}" for road in scene.roads)
            return f"A map from {start} to {end}. {', '.join(roads)}."


def say_pairs(names, values, short: bool) -> str:
    """Join names and values as in "Jan 4, Feb 7" or "Jan is 4, Feb is 7"."""
    return ", ".join(
        f"{name} {value}" if short else f"{name} is {value}" for name, value in zip(names, values, strict=True)
    )
