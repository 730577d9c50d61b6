"""What is true of a scene, as the verifier looks it up: a value for each name, groups of names, columns and words."""

from dataclasses import dataclass, field

from insightv_core.nano.scenes import (
    COLORS,
    DAYS,
    FRUITS,
    GOODS,
    MONTHS,
    NAMES,
    PLACES,
    SHAPES,
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

_LONG = (
    "January February March April May June July August September October November December "
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
)
LONG_NAMES = dict(zip(MONTHS + DAYS, _LONG.split(), strict=True))


@dataclass
class Context:
    """What the text has said so far, and what is known about the question.

    `results` are the results of true sums, `listed` the length of the last list, `cell` the last cell, `noun` the
    last kind of mark counted, `letter` the last option spoken of, `told` the names that came up; `holds` tells which
    options are true.
    """

    answer: str | None = None
    statements: tuple[str, ...] = ()
    holds: dict[str, bool | None] = field(default_factory=dict)
    results: set = field(default_factory=set)
    listed: int | None = None
    cell: tuple[int, int] | None = None
    noun: str = ""
    letter: str = ""
    column: str = ""
    told: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Facts:
    """A scene as the verifier sees it.

    `values` maps each name (of a bar, a cell such as "apple/price", a way such as "via:c") to its number, `main` the
    names that counts and extremes range over, `words` each word of a text to its token, `shown` each name to its
    words. `rows` and `columns` are those of a table, `colors` the colour of each bar.
    """

    scene: Scene
    values: dict[str, int] = field(default_factory=dict)
    main: tuple[str, ...] = ()
    words: dict[str, str] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    colors: dict[str, str] = field(default_factory=dict)

    def show(self, name: str) -> str:
        """Return a name as a reader knows it."""
        return self.shown.get(name, name)

    def total(self) -> int:
        """Return the sum over the main names."""
        return sum(self.values[name] for name in self.main)


def gather_facts(scene: Scene) -> Facts:
    """Return the facts of a scene of any kind."""
    match scene:
        case BarChart():
            return _bars(scene)
        case LineChart():
            return _line(scene)
        case PieChart():
            return _pie(scene)
        case Table():
            return _table(scene)
        case ProductionTable():
            return _production(scene)
        case ShapeGrid():
            return _grid(scene)
        case Triangle():
            return _triangle(scene)
        case Polygon():
            return _polygon(scene)
        case RouteMap():
            return _routes(scene)


def _spellings(names: tuple[str, ...]) -> dict[str, str]:
    """Map every spelling of the names, plural and long forms too, to name tokens."""
    words: dict[str, str] = {}
    for name in names:
        low = name.lower()
        token = f"@{low}"
        long = LONG_NAMES.get(name, "").lower()
        for spelling in (low, low + "s", low + "es", long, *(("sept",) if low == "sep" else ())):
            if spelling:
                words[spelling] = token
    return words


def _strangers(labels: tuple[str, ...]) -> dict[str, str]:
    """Map the names of the same pool that the picture does not show, written as names are, to their tokens."""
    words: dict[str, str] = {}
    for pool in (NAMES, FRUITS, GOODS, MONTHS, DAYS):
        if set(labels) <= set(pool):
            absent = [name for name in pool if name not in labels]
            words |= {name: f"@{name.lower()}" for name in absent if pool not in (MONTHS, DAYS) or name != "May"}
    return words


def _named(labels: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    shown = {name.lower(): name for pool in (NAMES, FRUITS, GOODS, MONTHS, DAYS) for name in pool}
    return _strangers(labels) | _spellings(labels), shown | {label.lower(): label for label in labels}


def _color_words() -> dict[str, str]:
    return {color: f"${color}" for color in COLORS}


def _bars(scene: BarChart) -> Facts:
    words, shown = _named(scene.labels)
    names = tuple(label.lower() for label in scene.labels)
    colors = dict(zip(names, scene.colors, strict=True))
    values = dict(zip(names, scene.values, strict=True))
    return Facts(scene, values, names, _color_words() | words, shown, colors=colors)


def _line(scene: LineChart) -> Facts:
    words, shown = _named(scene.labels)
    names = tuple(label.lower() for label in scene.labels)
    return Facts(scene, dict(zip(names, scene.values, strict=True)), names, words, shown)


def _pie(scene: PieChart) -> Facts:
    words = {color: f"@{color}" for color in COLORS}
    return Facts(scene, dict(zip(scene.colors, scene.values, strict=True)), scene.colors, words)


def _table(scene: Table) -> Facts:
    words, shown = _named(scene.rows)
    rows = tuple(row.lower() for row in scene.rows)
    values = {}
    for row, cells in zip(rows, scene.cells, strict=True):
        for column, value in zip(scene.columns, cells, strict=True):
            values[f"{row}/{column}"] = value
            shown[f"{row}/{column}"] = f"{shown[row]} {column}"
    columns = {column: f"%{column}" for column in scene.columns}
    columns |= {"prices": "%price"} if "price" in columns else {}
    return Facts(scene, values, (), columns | words, shown, rows, scene.columns)


def _production(scene: ProductionTable) -> Facts:
    values: dict[str, int] = {}
    for worker, (made, earned) in enumerate(zip(scene.output, scene.revenue, strict=True), 1):
        before = scene.output[worker - 2] if worker > 1 else 0
        values |= {
            f"{worker}/output": made,
            f"{worker}/revenue": earned,
            f"{worker}/marginal": made - before,
            f"{worker}/gain": (made - before) * scene.price,
        }
    rows = tuple(str(worker + 1) for worker in range(len(scene.output)))
    names = {"marginal": "the marginal product", "gain": "the extra revenue"}
    shown = {name: f"{names.get(name[2:], 'the ' + name[2:])} at worker {name[0]}" for name in values}
    values["price"] = scene.price
    words = {"price": "@price", "prices": "@price"}
    return Facts(scene, values, (), words, shown, rows, ("output", "revenue", "marginal", "gain"))


def _grid(scene: ShapeGrid) -> Facts:
    words = _color_words()
    for shape in SHAPES:
        words |= {shape: f"&{shape}", shape + "s": f"&{shape}", shape + "es": f"&{shape}"}
    return Facts(scene, words=words)


def _letters(letters: tuple[str, ...]) -> dict[str, str]:
    return {letter: f"@{letter.lower()}" for letter in letters}


def _triangle(scene: Triangle) -> Facts:
    names = tuple(corner.lower() for corner in scene.corners)
    shown = {name: f"angle {name.upper()}" for name in names}
    return Facts(scene, dict(zip(names, scene.angles, strict=True)), names, _letters(scene.corners), shown)


def _polygon(scene: Polygon) -> Facts:
    # Sides that other shapes have are names too: "FA is 6" is false of one with the corners A to E.
    corners = dict.fromkeys((*scene.corners, *PLACES))
    pairs = [one + other for one in corners for other in corners if one != other]
    words = {pair: f"@{name_side(pair)}" for pair in pairs}
    shown = {name_side(pair): "".join(sorted(pair)) for pair in pairs}
    ends = (*scene.corners[1:], scene.corners[0])
    values = {name_side(one + end): side for one, end, side in zip(scene.corners, ends, scene.sides, strict=True)}
    words |= {
        pair.lower(): token
        for pair, token in words.items()
        if pair not in ("BE", "AD") and set(pair) <= set(scene.corners)
    }
    return Facts(scene, values, tuple(values), words | _letters(scene.corners), shown)


def name_side(pair: str) -> str:
    """Return the name of a side whichever end is said first."""
    return "".join(sorted(pair.lower()))


def _routes(scene: RouteMap) -> Facts:
    values, shown, words = {}, {}, _letters(scene.places)
    for road in scene.roads:
        name = name_side(road.start + road.end)
        values[name] = road.length
        shown[name] = f"{road.start} to {road.end}"
    start, end, *middle = (place.lower() for place in scene.places)
    for place in middle:
        first, second = ("".join(sorted((place, side))) for side in (start, end))
        if first in values and second in values:
            values[f"via:{place}"] = values[first] + values[second]
            shown[f"via:{place}"] = f"via {place.upper()}"
    for place in scene.places:
        for other in scene.places:
            if place != other:
                words[place + other] = "@" + "".join(sorted((place + other).lower()))
    return Facts(scene, values, tuple(name for name in values if name[:4] == "via:"), words, shown)
