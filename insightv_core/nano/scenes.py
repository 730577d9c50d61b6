"""What a nano picture shows: one frozen dataclass per kind of picture, and how each is drawn at random.

A scene knows everything about its picture except its looks, which are a `Style`. Samplers take a
`random.Random`, so a seed gives the same scene on every machine.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from random import Random

COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black")
SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross")
NAMES = ("Mia", "Leo", "Ana", "Sam", "Zoe", "Max", "Tom", "Kim")
FRUITS = ("apple", "pear", "plum", "fig", "kiwi", "lime", "melon", "grape")
GOODS = ("pen", "book", "cup", "lamp", "ball", "kite", "drum", "coat")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
PLACES = tuple("ABCDEFGH")
TITLES = ("Sales", "Votes", "Books", "Goals", "Visits", "Birds", "Cakes", "Rain", "Trees", "Coins", "Games", "Miles")
COLUMN_PAIRS = (("price", "sold"), ("won", "lost"), ("boys", "girls"), ("new", "old"))
LEVELS = (1, 2, 3)


@dataclass(frozen=True)
class BarChart:
    """Upright bars, each with a name below it and a colour of its own; values are whole numbers from 1 to 20."""

    title: str
    labels: tuple[str, ...]
    colors: tuple[str, ...]
    values: tuple[int, ...]


@dataclass(frozen=True)
class LineChart:
    """One line over months or days in calendar order; values are whole numbers from 1 to 20."""

    title: str
    color: str
    labels: tuple[str, ...]
    values: tuple[int, ...]


@dataclass(frozen=True)
class PieChart:
    """Slices told apart by colour, each with its whole number written on it."""

    title: str
    colors: tuple[str, ...]
    values: tuple[int, ...]


@dataclass(frozen=True)
class Table:
    """Named rows under two or three named columns; `cells[row][column]` is a whole number from 1 to 20."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    cells: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ProductionTable:
    """Workers, output, price and revenue of a small firm, as in the paper's Figure 5.

    Row k stands for k + 1 workers; `revenue[k]` is what the table prints and equals price times output.
    """

    price: int
    output: tuple[int, ...]
    revenue: tuple[int, ...]


@dataclass(frozen=True)
class Mark:
    """One coloured shape of a grid."""

    shape: str
    color: str


@dataclass(frozen=True)
class ShapeGrid:
    """A square grid, `cells[row][column]`, each cell a coloured shape or None when empty."""

    cells: tuple[tuple[Mark | None, ...], ...]


@dataclass(frozen=True)
class Triangle:
    """A triangle whose corners are named; `angles` in whole degrees sum to 180 and one of them is not written."""

    corners: tuple[str, str, str]
    angles: tuple[int, int, int]
    hidden: int


@dataclass(frozen=True)
class Polygon:
    """A closed shape with four to seven named corners; `sides[k]` is the length from corner k to the next."""

    corners: tuple[str, ...]
    sides: tuple[int, ...]


@dataclass(frozen=True)
class Road:
    """A road between two places and its length."""

    start: str
    end: str
    length: int


@dataclass(frozen=True)
class RouteMap:
    """Places joined by roads of given length: from the first place over one middle place each to the second place."""

    places: tuple[str, ...]
    roads: tuple[Road, ...]


Scene = BarChart | LineChart | PieChart | Table | ProductionTable | ShapeGrid | Triangle | Polygon | RouteMap


@dataclass(frozen=True)
class Style:
    """How a scene is drawn: nothing here changes what is true of the picture."""

    palette: int = 0  # 0..3: exact shades of the colour names, and background tint
    font: int = 0  # 0..1
    font_size: int = 30  # points at 448 pixels, 26..34
    shift: tuple[int, int] = (0, 0)  # pixels at 448, -12..12 each
    scale: float = 1.0  # 0.88..1.0 of the drawing area
    grid_lines: bool = True
    value_labels: bool = True  # bar and line charts: write each value beside its mark
    noise: int = 0  # standard deviation of the pixel noise, 0..4
    seed: int = 0  # layout choices that carry no meaning: rotation of a pie, corners of a polygon, noise


def content_hash(scene: Scene) -> str:
    """Return the sha256 of everything the scene states, its looks left out."""
    content = json.dumps([type(scene).__name__, asdict(scene)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def sample_style(rng: Random) -> Style:
    """Draw the looks of a picture."""
    return Style(
        palette=rng.randrange(4),
        font=rng.randrange(2),
        font_size=rng.randint(26, 34),
        shift=(rng.randint(-12, 12), rng.randint(-12, 12)),
        scale=round(rng.uniform(0.88, 1.0), 2),
        grid_lines=rng.random() < 0.7,
        value_labels=rng.random() < 0.75,
        noise=rng.choice((0, 0, 1, 2, 3, 4)),
        seed=rng.randrange(1 << 30),
    )


def _pick(rng: Random, pool: tuple, count: int) -> tuple:
    return tuple(rng.sample(pool, count))


def sample_bar_chart(rng: Random, level: int) -> BarChart:
    """Draw a bar chart of 3-4, 5-6 or 7-8 bars."""
    count = rng.randint(2 * level + 1, 2 * level + 2)
    pool = rng.choice((NAMES, FRUITS, GOODS))
    top = (9, 12, 15)[level - 1]
    values = tuple(rng.randint(1, top) for _ in range(count))
    return BarChart(rng.choice(TITLES), _pick(rng, pool, count), _pick(rng, COLORS, count), values)


def sample_line_chart(rng: Random, level: int) -> LineChart:
    """Draw a line over 4, 5-6 or 7-8 consecutive months, or days where a week is enough."""
    count = (4, rng.randint(5, 6), rng.randint(7, 8))[level - 1]
    pool = rng.choice((MONTHS, DAYS)) if count <= len(DAYS) else MONTHS
    first = rng.randint(0, len(pool) - count)
    top = (9, 12, 15)[level - 1]
    values = tuple(rng.randint(1, top) for _ in range(count))
    return LineChart(rng.choice(TITLES), rng.choice(COLORS), pool[first : first + count], values)


def sample_pie_chart(rng: Random, level: int) -> PieChart:
    """Draw a pie of 3, 4-5 or 6-7 slices."""
    count = (3, rng.randint(4, 5), rng.randint(6, 7))[level - 1]
    low, top = ((2, 9), (3, 12), (4, 15))[level - 1]
    values = tuple(rng.randint(low, top) for _ in range(count))
    return PieChart(rng.choice(TITLES), _pick(rng, COLORS, count), values)


def sample_table(rng: Random, level: int) -> Table:
    """Draw a table of 3, 4 or 5-6 rows and two columns."""
    count = (3, 4, rng.randint(5, 6))[level - 1]
    columns = rng.choice(COLUMN_PAIRS)
    pool = rng.choice((FRUITS, GOODS)) if columns == COLUMN_PAIRS[0] else rng.choice((NAMES, FRUITS, GOODS))
    top = (9, 9, 12)[level - 1]
    cells = tuple(tuple(rng.randint(1, top) for _ in columns) for _ in range(count))
    return Table(rng.choice(TITLES), columns, _pick(rng, pool, count), cells)


def sample_production_table(rng: Random, level: int) -> ProductionTable:
    """Draw a table of 3, 4 or 5 workers whose marginal product is 1 to 7."""
    price = rng.randint(2, (4, 6, 9)[level - 1])
    output = [rng.randint(2, 6)]
    for _ in range(level + 1):
        output.append(output[-1] + rng.randint(1, 7))
    return ProductionTable(price, tuple(output), tuple(price * made for made in output))


def sample_shape_grid(rng: Random, level: int) -> ShapeGrid:
    """Draw a 2x2 to 4x4 grid with few kinds of shape and colour, so that counts repeat, and some empty cells."""
    size = rng.choice((2, 3)) if level == 1 else level + 1
    shapes, colors = _pick(rng, SHAPES, rng.randint(2, 3)), _pick(rng, COLORS, rng.randint(2, 4))
    empty = rng.choice((0.0, 0.1, 0.25))

    def cell() -> Mark | None:
        return None if rng.random() < empty else Mark(rng.choice(shapes), rng.choice(colors))

    return ShapeGrid(tuple(tuple(cell() for _ in range(size)) for _ in range(size)))


def sample_triangle(rng: Random, level: int) -> Triangle:
    """Draw a triangle with angles of at least 20 degrees: tens, fives or any."""
    unit = (10, 5, 1)[level - 1]
    first = unit * rng.randint(20 // unit, 120 // unit)
    second = unit * rng.randint(20 // unit, (160 - first) // unit)
    angles = (first, second, 180 - first - second)
    return Triangle(_pick(rng, PLACES, 3), angles, rng.randrange(3))


def sample_polygon(rng: Random, level: int) -> Polygon:
    """Draw a polygon of 4, 5 or 6-7 sides."""
    count = (4, 5, rng.randint(6, 7))[level - 1]
    top = (9, 12, 15)[level - 1]
    return Polygon(PLACES[:count], tuple(rng.randint(2, top) for _ in range(count)))


def sample_route_map(rng: Random, level: int) -> RouteMap:
    """Draw a map with a start, an end and 2, 3 or 4 middle places, each joined to both ends."""
    start, end, *middle = rng.sample(PLACES, 3 + level)
    roads = [Road(start, place, rng.randint(1, 12)) for place in middle]
    roads += [Road(place, end, rng.randint(1, 12)) for place in middle]
    return RouteMap((start, end, *middle), tuple(roads))
