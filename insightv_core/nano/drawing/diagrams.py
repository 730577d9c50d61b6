"""Draw grids of shapes, triangles, polygons and maps of roads."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from insightv_core.errors import UserError
from insightv_core.nano.drawing.canvas import SMALLEST_TEXT, Box, Canvas, Color, Point, darken, mix, overlap
from insightv_core.nano.scenes import Mark, Polygon, RouteMap, ShapeGrid, Triangle


@dataclass(frozen=True)
class Part:
    """Something to fit on the canvas: a point that grows with the drawing, and a box at a fixed distance from it."""

    point: Point
    offset: Point = (0.0, 0.0)
    half_width: float = 3.0
    half_height: float = 3.0


@dataclass(frozen=True)
class TriangleLayout:
    """A triangle on the canvas: its corners, the middles of their names, and those of the angles' texts."""

    size: int
    corners: list[Point]
    names: list[Point]
    spots: list[Point]


def draw_shape_grid(canvas: Canvas, scene: ShapeGrid) -> None:
    """Draw a square grid of coloured shapes with light borders."""
    left, top, right, bottom = canvas.area
    count = len(scene.cells)
    cell = (right - left) / count
    canvas.box((left - 2, top - 2, right + 2, bottom + 2), canvas.palette.grid, 12)
    # The paper in the grid is lighter than around it, so that shapes stand out.
    canvas.box((left, top, right, bottom), mix(canvas.palette.paper, (255, 255, 255), 0.7), 10)
    for number in range(1, count):
        across, down = left + cell * number, top + cell * number
        canvas.line([(across, top), (across, bottom)], canvas.palette.grid, 2)
        canvas.line([(left, down), (right, down)], canvas.palette.grid, 2)
    for row, marks in enumerate(scene.cells):
        for column, mark in enumerate(marks):
            if mark is not None:
                center = (left + cell * (column + 0.5), top + cell * (row + 0.5))
                _draw_mark(canvas, mark, center, cell * 0.34)
                canvas.name(*center, mark.color, mark.shape)


def draw_triangle(canvas: Canvas, scene: Triangle) -> None:
    """Draw a triangle true to its angles, two of which are written at their corners."""
    texts = [f"{angle}°" for angle in scene.angles]
    texts[scene.hidden] = "?"
    layout = _lay_out_triangle(canvas, scene.angles, texts)
    canvas.polygon(layout.corners, canvas.palette.surface)
    for place, text in enumerate(texts):
        _draw_angle(canvas, layout.corners, place, canvas.text_box(*layout.spots[place], text, layout.size))
        canvas.text(*layout.spots[place], text, layout.size)
    canvas.round_line([*layout.corners, layout.corners[0]], canvas.palette.ink, 3.5)
    for name, spot in zip(scene.corners, layout.names, strict=True):
        canvas.text(*spot, name, canvas.style.font_size, _accent(canvas))


def draw_polygon(canvas: Canvas, scene: Polygon) -> None:
    """Draw a convex polygon with its corners named and a length at the middle of each side; not to scale."""
    count = len(scene.corners)
    unit = _sample_round_polygon(canvas, count)
    size = canvas.style.font_size
    height = canvas.cap_height(size)
    names = [Part(point, _scale(_direct(point), height / 2 + 14), 13, height / 2) for point in unit]
    lengths = []
    for first, second, length in zip(unit, unit[1:] + unit[:1], scene.sides, strict=True):
        middle = ((first[0] + second[0]) / 2, (first[1] + second[1]) / 2)
        outward = _direct((second[1] - first[1], first[0] - second[0]))
        half = canvas.width(str(length), size) / 2
        away = abs(outward[0]) * half + abs(outward[1]) * height / 2 + 11
        lengths.append(Part(middle, _scale(outward, away), half, height / 2))
    scale, origin = _fit_parts([*map(Part, unit), *names, *lengths], canvas.area)
    corners = [_locate(Part(point), scale, origin) for point in unit]
    canvas.polygon(corners, canvas.palette.surface)
    canvas.round_line([*corners, corners[0]], canvas.palette.ink, 3.5)
    for corner in corners:
        canvas.circle(corner, 5, canvas.palette.ink)
    for part, text in zip(names + lengths, (*scene.corners, *map(str, scene.sides)), strict=True):
        color = canvas.palette.ink if text.isdigit() else _accent(canvas)
        canvas.text(*_locate(part, scale, origin), text, size, color)


def draw_route_map(canvas: Canvas, scene: RouteMap) -> None:
    """Draw places as circled letters and roads as lines with their length on a plate at the middle."""
    spots = _place_towns(canvas, scene.places)
    for road in scene.roads:
        canvas.round_line([spots[road.start], spots[road.end]], mix(canvas.palette.ink, canvas.palette.paper, 0.45), 5)
    size = canvas.style.font_size
    for road in scene.roads:
        (x1, y1), (x2, y2) = spots[road.start], spots[road.end]
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        left, top, right, bottom = canvas.text_box(x, y, str(road.length), size)
        canvas.box((left - 8, top - 7, right + 8, bottom + 7), canvas.palette.paper, 9)
        canvas.text(x, y, str(road.length), size)
    for name, spot in spots.items():
        canvas.circle(spot, 28, canvas.palette.paper)
        canvas.circle(spot, 26, _accent(canvas))
        canvas.text(*spot, name, size, (255, 255, 255))


def _accent(canvas: Canvas) -> Color:
    return mix(canvas.palette.colors["blue"], canvas.palette.ink, 0.35)


def _draw_mark(canvas: Canvas, mark: Mark, center: Point, radius: float) -> None:
    color = canvas.palette.colors[mark.color]
    if mark.shape == "circle":
        canvas.circle(center, radius, darken(color))
        canvas.circle(center, radius - 2, color)
        return
    points = _outline_shape(mark.shape, center, radius)
    canvas.polygon(points, color)
    canvas.round_line([*points, points[0]], darken(color), 2)


def _outline_shape(shape: str, center: Point, radius: float) -> list[Point]:
    """Return the corners of a shape that fills about the same surface as the others of this radius."""
    if shape == "square":
        return _ring(center, [radius * 1.24] * 4, 45)
    if shape == "diamond":
        narrow = radius * 0.82
        return _ring(center, [radius * 1.22, narrow, radius * 1.22, narrow], -90)
    if shape == "triangle":
        return _ring((center[0], center[1] + radius * 0.2), [radius * 1.28] * 3, -90)
    if shape == "star":
        return _ring((center[0], center[1] + radius * 0.05), [radius * 1.26, radius * 0.52] * 5, -90)
    arm, half = radius * 1.06, radius * 0.36
    steps = ((-half, -arm), (half, -arm), (half, -half), (arm, -half), (arm, half), (half, half))
    around = steps + tuple((-x, -y) for x, y in steps)
    return [(center[0] + x, center[1] + y) for x, y in around]


def _ring(center: Point, reaches: Sequence[float], start: float) -> list[Point]:
    turn = 360 / len(reaches)
    angles = [math.radians(start + turn * place) for place in range(len(reaches))]
    return [
        (center[0] + reach * math.cos(angle), center[1] + reach * math.sin(angle))
        for reach, angle in zip(reaches, angles, strict=True)
    ]


def _lay_out_triangle(canvas: Canvas, angles: Sequence[int], texts: Sequence[str]) -> TriangleLayout:
    """Turn the triangle at random; keep the largest drawing in which the angles fit at the largest text size."""
    mirrored = canvas.random.random() < 0.5
    turns = _sample_turns(canvas, angles, mirrored)
    drawings = sorted((_fit_triangle(canvas, angles, turn, mirrored) for turn in turns), reverse=True)
    for gap, smallest in ((7, 24), (4, SMALLEST_TEXT), (2, SMALLEST_TEXT)):
        for size in (*range(canvas.style.font_size, smallest, -2), smallest):
            for _, corners, names in drawings:
                spots = _find_angle_spots(canvas, corners, angles, texts, size, gap)
                if spots is not None:
                    return TriangleLayout(size, corners, names, spots)
    raise UserError(
        f"cannot draw a triangle with the angles {tuple(angles)}: their numbers do not fit inside it; "
        "use angles of at least 20 degrees"
    )


def _sample_turns(canvas: Canvas, angles: Sequence[int], mirrored: bool) -> list[float]:
    """Return a few random turns; a sharp triangle lies down, as its corners then have room for a line of text."""
    if min(angles) >= 40:
        return [canvas.random.uniform(0, 360) for _ in range(4)]
    widest = max(range(3), key=lambda corner: angles[corner])
    unit = _shape_triangle(angles, 0, mirrored)
    (x1, y1), (x2, y2) = unit[(widest + 1) % 3], unit[(widest + 2) % 3]
    level = -math.degrees(math.atan2(y2 - y1, x2 - x1)) + canvas.random.choice((0, 180))
    slack = 14 if min(angles) < 30 else 35
    return [level + canvas.random.uniform(-slack, slack) for _ in range(4)] + [level]


def _fit_triangle(
    canvas: Canvas, angles: Sequence[int], turn: float, mirrored: bool
) -> tuple[float, list[Point], list[Point]]:
    """Return the scale, the corners and the middles of the corner names of a triangle turned by `turn` degrees."""
    unit = _shape_triangle(angles, turn, mirrored)
    height = canvas.cap_height(canvas.style.font_size)
    names = [
        Part(corner, _scale(_bisect(unit, place), -(height / 2 + 13)), 13, height / 2)
        for place, corner in enumerate(unit)
    ]
    scale, origin = _fit_parts([*map(Part, unit), *names], canvas.area)
    corners = [_locate(Part(corner), scale, origin) for corner in unit]
    return scale, corners, [_locate(part, scale, origin) for part in names]


def _shape_triangle(angles: Sequence[int], turn: float, mirrored: bool) -> list[Point]:
    # On a circle, the arc between two corners is twice the angle at the third.
    places = (0.0, 2.0 * angles[2], 2.0 * (angles[2] + angles[0]))
    sign = -1 if mirrored else 1
    return [(math.cos(math.radians(sign * a + turn)), math.sin(math.radians(sign * a + turn))) for a in places]


def _bisect(corners: Sequence[Point], place: int) -> Point:
    """Return the direction from a corner into the triangle, halfway between its two sides."""
    corner, first, second = (corners[(place + step) % 3] for step in range(3))
    one = _direct((first[0] - corner[0], first[1] - corner[1]))
    other = _direct((second[0] - corner[0], second[1] - corner[1]))
    return _direct((one[0] + other[0], one[1] + other[1]))


def _find_angle_spots(
    canvas: Canvas, corners: Sequence[Point], angles: Sequence[int], texts: Sequence[str], size: int, gap: float
) -> list[Point] | None:
    """Return the middles of the texts inside the triangle, or None where one of them finds no place."""
    taken: list[Box] = []
    spots = [(0.0, 0.0)] * 3
    # The sharpest corner has the fewest places for its number, so it chooses first.
    for place in sorted(range(3), key=lambda corner: angles[corner]):
        half = (canvas.width(texts[place], size) / 2, canvas.cap_height(size) / 2)
        spot = _find_angle_spot(corners, place, half, angles[place], taken, gap)
        if spot is None:
            return None
        spots[place] = spot
        taken.append((spot[0] - half[0], spot[1] - half[1], spot[0] + half[0], spot[1] + half[1]))
    return spots


def _find_angle_spot(
    corners: Sequence[Point], place: int, half: Point, angle: int, taken: Sequence[Box], gap: float
) -> Point | None:
    """Return the free spot nearest to its corner for a text of the given half width and height, `gap` off the sides."""
    x, y = corners[place]
    inward = _bisect(corners, place)
    spots = []
    for lean in (0, 0.12, -0.12, 0.24, -0.24):
        turn = math.radians(angle * lean)
        way = (
            inward[0] * math.cos(turn) - inward[1] * math.sin(turn),
            inward[0] * math.sin(turn) + inward[1] * math.cos(turn),
        )
        low, high = _span_inside(corners, place, way, half, gap)
        # A spot off the middle line must save some way, or it would only look crooked.
        spots += [(away + 60 * abs(lean), away, way) for away in (low, low + 9, low + 18) if away <= high]
    for _, away, way in sorted(spots):
        spot = (x + way[0] * away, y + way[1] * away)
        box = (spot[0] - half[0], spot[1] - half[1], spot[0] + half[0], spot[1] + half[1])
        nearest = min(math.dist(spot, corner) for number, corner in enumerate(corners) if number != place)
        if away < nearest and not any(overlap(box, other, gap + 4) for other in taken):
            return spot
    return None


def _span_inside(corners: Sequence[Point], place: int, way: Point, half: Point, gap: float) -> tuple[float, float]:
    """Return from where to where a text that moves from a corner in direction `way` is clear of all sides."""
    low, high = half[1] + 18.0, math.inf
    start = corners[place]
    for number in range(3):
        first, second, across = corners[number], corners[(number + 1) % 3], corners[(number + 2) % 3]
        normal = _direct((second[1] - first[1], first[0] - second[0]))
        if normal[0] * (across[0] - first[0]) + normal[1] * (across[1] - first[1]) < 0:
            normal = (-normal[0], -normal[1])
        clear = abs(normal[0]) * half[0] + abs(normal[1]) * half[1] + gap
        lacking = clear - normal[0] * (start[0] - first[0]) - normal[1] * (start[1] - first[1])
        speed = normal[0] * way[0] + normal[1] * way[1]
        if speed > 1e-9:
            low = max(low, lacking / speed)
        elif speed < -1e-9:
            high = min(high, lacking / speed)
    return low, high


def _draw_angle(canvas: Canvas, corners: Sequence[Point], place: int, box: Box) -> None:
    """Draw an arc between the corner and its text."""
    corner, first, second = (corners[(place + step) % 3] for step in range(3))
    near_x = min(max(corner[0], box[0]), box[2])
    near_y = min(max(corner[1], box[1]), box[3])
    radius = min(math.hypot(near_x - corner[0], near_y - corner[1]) - 5, 52)
    angles = [math.degrees(math.atan2(y - corner[1], x - corner[0])) for x, y in (first, second)]
    start, end = angles if (angles[1] - angles[0]) % 360 < 180 else reversed(angles)
    canvas.arc(corner, radius, start, end, _accent(canvas), 2)


def _sample_round_polygon(canvas: Canvas, count: int) -> list[Point]:
    """Return points of a circle, clockwise, irregular but never close together."""
    turn = canvas.random.uniform(0, 360)
    steps = [canvas.random.uniform(0.78, 1.22) for _ in range(count)]
    points, angle = [], turn
    for step in steps:
        points.append((math.cos(math.radians(angle)), math.sin(math.radians(angle))))
        angle += 360 * step / sum(steps)
    return points


def _place_towns(canvas: Canvas, places: Sequence[str]) -> dict[str, Point]:
    left, top, right, bottom = (edge + sign * 28 for edge, sign in zip(canvas.area, (1, 1, -1, -1), strict=True))
    start, end, *middle = places
    jitter = canvas.random.uniform
    spots = {start: (left, (top + bottom) / 2 + jitter(-14, 14)), end: (right, (top + bottom) / 2 + jitter(-14, 14))}
    step = (bottom - top) / max(len(middle) - 1, 1)
    for place, name in enumerate(middle):
        y = top + step * place + jitter(-8, 8)
        spots[name] = ((left + right) / 2 + jitter(-22, 22), min(max(y, top), bottom))
    return spots


def _direct(vector: Point) -> Point:
    length = math.hypot(*vector) or 1.0
    return vector[0] / length, vector[1] / length


def _scale(vector: Point, factor: float) -> Point:
    return vector[0] * factor, vector[1] * factor


def _locate(part: Part, scale: float, origin: Point) -> Point:
    x, y = (origin[axis] + part.point[axis] * scale + part.offset[axis] for axis in (0, 1))
    return x, y


def _fit_parts(parts: Sequence[Part], area: Box) -> tuple[float, Point]:
    """Return the greatest scale at which every part lies in `area`, and the origin that centres them."""
    low, high = 0.0, 2000.0
    for _ in range(20):
        scale = (low + high) / 2
        left, top, right, bottom = _bound_parts(parts, scale)
        fits = right - left <= area[2] - area[0] and bottom - top <= area[3] - area[1]
        low, high = (scale, high) if fits else (low, scale)
    left, top, right, bottom = _bound_parts(parts, low)
    return low, ((area[0] + area[2] - left - right) / 2, (area[1] + area[3] - top - bottom) / 2)


def _bound_parts(parts: Sequence[Part], scale: float) -> Box:
    xs = [(part.point[0] * scale + part.offset[0], part.half_width) for part in parts]
    ys = [(part.point[1] * scale + part.offset[1], part.half_height) for part in parts]
    return (
        min(x - half for x, half in xs), min(y - half for y, half in ys),
        max(x + half for x, half in xs), max(y + half for y, half in ys),
    )  # fmt: skip
