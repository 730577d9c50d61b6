"""Draw bar charts, line charts, pies and tables."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from insightv_core.nano.drawing.canvas import SMALLEST_TEXT, Box, Canvas, Point, crosses, darken, mix, overlap
from insightv_core.nano.scenes import BarChart, LineChart, PieChart, ProductionTable, Table

NAME_GAP = 12  # between neighbouring names below an axis
ROW_HEIGHT = 80  # of a table, at most
ONE_ROW_TEXT = 25  # names that would get smaller than this go on two rows


@dataclass(frozen=True)
class Plot:
    """Where the marks of a chart go: the centre of each column, and the heights of zero and of the top value."""

    centers: tuple[float, ...]
    slot: float
    zero: float
    top: float
    top_value: int

    def height(self, value: float) -> float:
        """Return the y of a value."""
        return self.zero - (self.zero - self.top) * value / self.top_value


@dataclass(frozen=True)
class Names:
    """The layout of the names below an axis."""

    size: int
    rows: int
    middles: tuple[float, ...]


def draw_bar_chart(canvas: Canvas, scene: BarChart) -> None:
    """Draw upright bars with names below and values above them or on an axis."""
    plot = _draw_plot(canvas, scene.title, scene.labels, scene.values, below=0)
    half = min(plot.slot * 0.34, 42)
    size = canvas.fit_size(map(str, scene.values), plot.slot - 6)
    for center, value, color in zip(plot.centers, scene.values, scene.colors, strict=True):
        fill = canvas.palette.colors[color]
        top = plot.height(value)
        canvas.box((center - half, top, center + half, plot.zero), darken(fill), 6, top_only=True)
        canvas.box((center - half + 1, top + 1, center + half - 1, plot.zero), fill, 5, top_only=True)
        if canvas.style.value_labels:
            y = top - 8 - canvas.cap_height(size) / 2
            _clear(canvas, canvas.text_box(center, y, str(value), size))
            canvas.text(center, y, str(value), size)
        canvas.name(center, top, str(value))
        canvas.name(center, (top + plot.zero) / 2, color)
    _draw_base(canvas, plot)


def draw_line_chart(canvas: Canvas, scene: LineChart) -> None:
    """Draw one line with a dot for each value."""
    below = canvas.cap_height(canvas.style.font_size) + 8 if canvas.style.value_labels else 0
    plot = _draw_plot(canvas, scene.title, scene.labels, scene.values, below)
    points = [(x, plot.height(value)) for x, value in zip(plot.centers, scene.values, strict=True)]
    color = canvas.palette.colors[scene.color]
    if canvas.style.value_labels:
        _write_values(canvas, points, scene.values, (plot.top, plot.zero + below))
    else:
        _draw_base(canvas, plot)
    canvas.round_line(points, darken(color), 7)
    canvas.round_line(points, color, 5)
    for point in points:
        canvas.circle(point, 9, darken(color))
        canvas.circle(point, 7.5, color)
    for point, value in zip(points, scene.values, strict=True):
        canvas.name(*point, str(value), scene.color)


def draw_pie_chart(canvas: Canvas, scene: PieChart) -> None:
    """Draw a pie with the number of each slice on it, in the given order clockwise."""
    left, top, right, bottom = canvas.area
    top = _write_title(canvas, scene.title)
    radius = min(right - left, bottom - top) / 2
    center = ((left + right) / 2, bottom - radius)
    turn, total = canvas.random.uniform(0, 360), sum(scene.values)
    edges = [turn]
    for value in scene.values:
        edges.append(edges[-1] + 360 * value / total)
    for start, end, color in zip(edges, edges[1:], scene.colors, strict=False):
        canvas.slice(center, radius, start, end, canvas.palette.colors[color])
    for edge in edges[1:]:
        rim = _polar(center, radius + 2, edge)
        canvas.line([center, rim], canvas.palette.paper, 3)
    canvas.circle(center, 1.5, canvas.palette.paper)
    for start, end, color, value in zip(edges, edges[1:], scene.colors, scene.values, strict=False):
        _write_on_slice(canvas, center, radius, (start, end), str(value), canvas.palette.colors[color])
        canvas.name(*_polar(center, radius * 0.64, (start + end) / 2), color)


def draw_table(canvas: Canvas, scene: Table) -> None:
    """Draw a titled table with a name at the left of each row."""
    top = _write_title(canvas, scene.title)
    rows = [(name, *map(str, cells)) for name, cells in zip(scene.rows, scene.cells, strict=True)]
    _draw_cells(canvas, top, ("", *scene.columns), rows, names_left=True)


def draw_production_table(canvas: Canvas, scene: ProductionTable) -> None:
    """Draw workers, output, price and revenue, a row for each number of workers."""
    rows = [
        (str(number), str(made), str(scene.price), str(earned))
        for number, (made, earned) in enumerate(zip(scene.output, scene.revenue, strict=True), 1)
    ]
    spare = canvas.area[3] - canvas.area[1] - ROW_HEIGHT * (len(rows) + 1)
    top = canvas.area[1] + max(spare / 2, 0)
    _draw_cells(canvas, top, ("workers", "output", "price", "revenue"), rows, names_left=False)


def choose_tick_step(highest: int) -> int:
    """Return the step between the numbers of an axis that reaches `highest`."""
    return next((step for limit, step in ((6, 1), (12, 2), (15, 3)) if highest <= limit), 5)


def _write_title(canvas: Canvas, title: str) -> float:
    left, top, right, _ = canvas.area
    size = canvas.fit_size([title], right - left)
    height = canvas.cap_height(size)
    canvas.text(left + canvas.width(title, size) / 2, top + height / 2, title, size)
    return top + height + 18


def _draw_plot(canvas: Canvas, title: str, names: Sequence[str], values: Sequence[int], below: float) -> Plot:
    """Draw title, grid, axis numbers and names; `below` is the room kept under zero for numbers."""
    left, _, right, bottom = canvas.area
    top = _write_title(canvas, title)
    step = choose_tick_step(max(values))
    labelled = canvas.style.value_labels
    ticks_size = canvas.style.font_size - 2
    top_value = max(values) if labelled else math.ceil(max(values) / step) * step
    if labelled:
        top += canvas.cap_height(canvas.style.font_size) + 12
    else:
        top += canvas.cap_height(ticks_size) / 2 + 2
        left += max(canvas.width(str(tick), ticks_size) for tick in range(0, top_value + 1, step)) + 10
    slot = (right - left) / len(names)
    centers = tuple(left + slot * (place + 0.5) for place in range(len(names)))
    layout = _place_names(canvas, names, centers)
    # Tails of letters reach into the row below them, and the axis number 0 stands beside the first row.
    row = canvas.cap_height(layout.size) + (10 if layout.rows == 1 else 14)
    space = 4 if labelled else 10
    zero = bottom - space - row * layout.rows - below
    plot = Plot(centers, slot, zero, top, top_value)
    _draw_grid(canvas, plot, (left, right), step, ticks_size)
    for place, (name, middle) in enumerate(zip(names, layout.middles, strict=True)):
        y = zero + below + row * (place % layout.rows + 0.5) + space
        canvas.text(middle, y, name, layout.size)
    return plot


def _draw_grid(canvas: Canvas, plot: Plot, span: tuple[float, float], step: int, size: int) -> None:
    numbered = not canvas.style.value_labels
    if not numbered and not canvas.style.grid_lines:
        return
    for tick in range(0, plot.top_value + 1, step):
        y = plot.height(tick)
        canvas.line([(span[0], y), (span[1], y)], canvas.palette.grid, 2 if numbered else 1.5)
        if numbered:
            canvas.text(span[0] - 10 - canvas.width(str(tick), size) / 2, y, str(tick), size)


def _draw_base(canvas: Canvas, plot: Plot) -> None:
    left, right = plot.centers[0] - plot.slot / 2, plot.centers[-1] + plot.slot / 2
    canvas.line([(left, plot.zero), (right, plot.zero)], mix(canvas.palette.ink, canvas.palette.paper, 0.35), 2)


def _place_names(canvas: Canvas, names: Sequence[str], centers: Sequence[float]) -> Names:
    """Find the largest names that keep apart, on one row or else by turns on two."""
    for rows, smallest in ((1, ONE_ROW_TEXT), (2, SMALLEST_TEXT)):
        for size in range(canvas.style.font_size, smallest - 1, -1):
            spans = [_span_name(canvas, name, center, size) for name, center in zip(names, centers, strict=True)]
            if all(first[1] + NAME_GAP <= second[0] for first, second in zip(spans, spans[rows:], strict=False)):
                break
        else:
            continue
        break
    return Names(size, rows, tuple((start + end) / 2 for start, end in spans))


def _span_name(canvas: Canvas, name: str, center: float, size: int) -> tuple[float, float]:
    # The first and last name may be wider than their column: they move inwards rather than off the area.
    width = canvas.width(name, size)
    start = min(max(center - width / 2, canvas.area[0]), canvas.area[2] - width)
    return start, start + width


def _clear(canvas: Canvas, box: Box) -> None:
    left, top, right, bottom = box
    canvas.box((left - 4, top - 3, right + 4, bottom + 3), canvas.palette.paper)


def _write_values(canvas: Canvas, points: Sequence[Point], values: Sequence[int], limits: tuple[float, float]) -> None:
    """Write each value beside its point, clear of the line and of the other numbers."""
    size = canvas.fit_size(map(str, values), (points[1][0] - points[0][0]) - 8)
    taken: list[Box] = []
    for place, value in enumerate(values):
        spots = _list_spots(canvas, points, place, canvas.width(str(value), size), canvas.cap_height(size))
        boxes = [canvas.text_box(x, y, str(value), size) for x, y in spots]
        costs = [_count_clashes(canvas, box, points, taken, limits) for box in boxes]
        best = costs.index(min(costs))
        taken.append(boxes[best])
        _clear(canvas, boxes[best])
        canvas.text(*spots[best], str(value), size)


def _list_spots(canvas: Canvas, points: Sequence[Point], place: int, width: float, height: float) -> list[Point]:
    """Return the spots for a number, best first: on the outer side of the bend, then to the sides."""
    x, y = points[place]
    before, after = points[max(place - 1, 0)][1], points[min(place + 1, len(points) - 1)][1]
    side = -1 if before + after >= 2 * y else 1
    spots = [(x, y + side * (height / 2 + reach)) for reach in (15, 19, 24)]
    lean = 1 if (after - before) * side < 0 else -1
    for direction in (side, -side):
        for reach in (0.3, 0.55, 0.75):
            for rise in (0.2, 0.6, 1.0):
                spots.append((x + lean * (width * reach + 7), y + direction * (height * (rise - 0.1) + 12)))
                spots.append((x - lean * (width * reach + 7), y + direction * (height * (rise - 0.1) + 12)))
    spots += [(x, y - side * (height / 2 + reach)) for reach in (15, 24)]
    spots += [(x + way * (width / 2 + 15), y) for way in (lean, -lean)]
    return spots


def _count_clashes(
    canvas: Canvas, box: Box, points: Sequence[Point], taken: Sequence[Box], limits: tuple[float, float]
) -> int:
    grown = (box[0] - 6, box[1] - 6, box[2] + 6, box[3] + 6)
    clashes = 3 * sum(overlap(box, other, 7) for other in taken)
    clashes += 2 * sum(crosses(grown, first, second) for first, second in zip(points, points[1:], strict=False))
    clashes += 3 * sum(overlap(box, (x - 10, y - 10, x + 10, y + 10), 2) for x, y in points)
    outside = box[1] < limits[0] - canvas.cap_height(canvas.style.font_size) - 20 or box[3] > limits[1] + 2
    return clashes + 4 * (outside or box[0] < canvas.area[0] - 2 or box[2] > canvas.area[2] + 2)


def _polar(center: Point, radius: float, degrees: float) -> Point:
    angle = math.radians(degrees)
    return center[0] + radius * math.cos(angle), center[1] + radius * math.sin(angle)


def _write_on_slice(canvas: Canvas, center: Point, radius: float, span: tuple, text: str, fill: tuple) -> None:
    """Write a number inside its slice, as near to the middle of the radius as the slice is wide enough."""
    middle = sum(span) / 2
    for size in range(canvas.style.font_size, SMALLEST_TEXT - 1, -1):
        for share in (0.64, 0.68, 0.72, 0.76, 0.8, 0.84):
            x, y = _polar(center, radius * share, middle)
            if _fits_slice(canvas.text_box(x, y, text, size), center, radius, span):
                canvas.text(x, y, text, size, canvas.text_color_on(fill))
                return
    x, y = _polar(center, radius * 0.8, middle)
    canvas.text(x, y, text, SMALLEST_TEXT, canvas.text_color_on(fill))


def _fits_slice(box: Box, center: Point, radius: float, span: tuple[float, float]) -> bool:
    half, middle = (span[1] - span[0]) / 2, sum(span) / 2
    for x, y in ((box[0], box[1]), (box[2], box[1]), (box[0], box[3]), (box[2], box[3])):
        away = math.hypot(x - center[0], y - center[1])
        angle = math.degrees(math.atan2(y - center[1], x - center[0]))
        off = abs((angle - middle + 180) % 360 - 180)
        if away > radius - 5 or off > half or away * math.sin(math.radians(min(half - off, 90))) < 5:
            return False
    return True


def _draw_cells(
    canvas: Canvas, top: float, header: Sequence[str], rows: Sequence[Sequence[str]], names_left: bool
) -> None:
    """Draw a header band and rows parted by thin lines, from `top` down to the end of the area at most."""
    left, _, right, bottom = canvas.area
    spread = _spread_named_columns if names_left else _spread_number_columns
    head_size, size, middles = spread(canvas, header, rows)
    height = min((bottom - top) / (len(rows) + 1), ROW_HEIGHT)
    canvas.box((left, top, right, top + height - 4), canvas.palette.surface, 8)
    for number, row in enumerate((header, *rows)):
        y = top + height * (number + 0.5) - 2
        if number > 1:
            line = top + height * number - 2
            canvas.line([(left, line), (right, line)], canvas.palette.grid, 1.5)
        text_size = size if number else head_size
        for column, text in enumerate(row):
            if text:
                at_left = names_left and column == 0
                x = middles[0] + canvas.width(text, text_size) / 2 if at_left else middles[column]
                canvas.text(x, y, text, text_size)


def _spread_named_columns(
    canvas: Canvas, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> tuple[int, int, list[float]]:
    """Return text sizes, the start of the names, and the middles of equally wide columns beside them."""
    left, _, right, _ = canvas.area
    size = canvas.fit_size((row[0] for row in rows), (right - left) * 0.4)
    start = left + 12
    names_end = start + max(canvas.width(row[0], size) for row in rows) + 8
    step = (right - names_end) / (len(header) - 1)
    head_size = canvas.fit_size(header[1:], step - 8)
    return head_size, size, [start] + [names_end + step * (column + 0.5) for column in range(len(header) - 1)]


def _spread_number_columns(
    canvas: Canvas, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> tuple[int, int, list[float]]:
    """Return text sizes and the middles of columns as wide as their headers, the spare width shared out evenly."""
    left, _, right, _ = canvas.area
    for head_size in range(canvas.style.font_size, SMALLEST_TEXT - 1, -1):
        widths = [canvas.width(text, head_size) for text in header]
        gap = (right - left - sum(widths)) / len(header)
        if gap >= 12:
            break
    middles, place = [], left + gap / 2
    for width in widths:
        middles.append(place + width / 2)
        place += width + gap
    return head_size, canvas.style.font_size, middles
