"""Wrong readings of a picture, as a solver makes them: near misses, neighbours swapped, one shape taken for another."""

from dataclasses import replace
from random import Random

from insightv_core.nano.scenes import (
    COLORS,
    SHAPES,
    BarChart,
    LineChart,
    Mark,
    PieChart,
    Polygon,
    ProductionTable,
    Road,
    RouteMap,
    Scene,
    ShapeGrid,
    Table,
    Triangle,
)


def misread(scene: Scene, rng: Random) -> Scene:
    """Return the scene as a careless solver sees it: always different from the true one in one reading or two."""
    match scene:
        case BarChart() | LineChart() | PieChart():
            return replace(scene, values=misread_numbers(scene.values, rng))
        case Polygon():
            return replace(scene, sides=misread_numbers(scene.sides, rng))
        case Triangle():
            angles = list(scene.angles)
            at = rng.choice([corner for corner in range(3) if corner != scene.hidden])
            angles[at] = misread_numbers((angles[at],), rng)[0]
            one, two, three = angles
            return replace(scene, angles=(one, two, three))
        case ProductionTable():
            if rng.random() < 0.6:
                return replace(scene, output=misread_numbers(scene.output, rng))
            return replace(scene, revenue=misread_numbers(scene.revenue, rng))
        case Table():
            cells, width = sum(scene.cells, ()), len(scene.columns)
            cells = misread_numbers(cells, rng)
            return replace(scene, cells=tuple(cells[k : k + width] for k in range(0, len(cells), width)))
        case RouteMap():
            lengths = misread_numbers(tuple(road.length for road in scene.roads), rng)
            roads = (Road(road.start, road.end, n) for road, n in zip(scene.roads, lengths, strict=True))
            return replace(scene, roads=tuple(roads))
        case ShapeGrid():
            return misread_grid(scene, rng)


def misread_numbers(numbers: tuple[int, ...], rng: Random) -> tuple[int, ...]:
    """Swap two different neighbours, or miss one number by a little."""
    seen = list(numbers)
    unequal = [at for at in range(len(seen) - 1) if seen[at] != seen[at + 1]]
    if unequal and rng.random() < 0.3:
        at = rng.choice(unequal)
        seen[at], seen[at + 1] = seen[at + 1], seen[at]
        return tuple(seen)
    at = rng.randrange(len(seen))
    shifts = (-3, -2, -1, -1, 1, 1, 2, 3) if seen[at] < 20 else (-10, -5, -2, -1, 1, 2, 5, 10)
    seen[at] = rng.choice([seen[at] + shift for shift in shifts if seen[at] + shift > 0])
    return tuple(seen)


def misread_grid(scene: ShapeGrid, rng: Random) -> ShapeGrid:
    """Take one mark for another colour or shape, or overlook it unless it is the last; see one where there is none."""
    cells = [list(row) for row in scene.cells]
    full = [(r, c, mark) for r, row in enumerate(cells) for c, mark in enumerate(row) if mark]
    if not full:
        cells[0][0] = Mark(SHAPES[0], COLORS[0])
        return ShapeGrid(tuple(map(tuple, cells)))
    row, column, mark = rng.choice(full)
    kind = rng.random()
    if kind < 0.45:
        cells[row][column] = replace(mark, color=rng.choice([color for color in COLORS if color != mark.color]))
    elif kind < 0.9 or len(full) == 1:
        cells[row][column] = replace(mark, shape=rng.choice([shape for shape in SHAPES if shape != mark.shape]))
    else:
        cells[row][column] = None
    return ShapeGrid(tuple(map(tuple, cells)))
