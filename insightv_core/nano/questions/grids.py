"""Question families about grids of shapes."""

from collections import Counter
from random import Random

from insightv_core.nano.questions.family import Family
from insightv_core.nano.questions.writer import Writer, runs_of
from insightv_core.nano.scenes import COLORS, Mark, ShapeGrid, sample_shape_grid

READ_GRID = ("Read the grid", "Read the rows", "List the shapes")
COUNT_BOTH = ("Count both", "Both counts")
COUNT_ALONG = ("Read and count", "Count along the rows")


def marks_of(scene: ShapeGrid) -> list[Mark]:
    """Return the marks of a grid, row by row, empty cells left out."""
    return [mark for row in scene.cells for mark in row if mark]


def say_mark(mark: Mark | None) -> str:
    """Return "red circle", or "empty"."""
    return f"{mark.color} {mark.shape}" if mark else "empty"


def with_article(mark: Mark | None) -> str:
    """Return "a red circle", "an orange star" or "empty"."""
    return f"a{'n' * (mark.color[0] in 'aeiou')} {say_mark(mark)}" if mark else "empty"


def say_rows(scene: ShapeGrid, rows: list[int]) -> str:
    """Describe whole rows: "Row 1: red circle, empty.": rows count from 1."""
    return " ".join(f"Row {row + 1}: {', '.join(map(say_mark, scene.cells[row]))}." for row in rows)


def plural(noun: str) -> str:
    """Return "stars", "crosses" or "red shapes"."""
    return noun + ("es" if noun.endswith("s") else "s")


def say_count(count: int, noun: str) -> str:
    """Return "There is 1 star." or "There are 3 stars."."""
    return f"There is 1 {noun}." if count == 1 else f"There are {count} {plural(noun)}."


def has(mark: Mark | None, feature: str) -> bool:
    """Tell whether a mark is of the given shape or colour."""
    return mark is not None and feature in (mark.shape, mark.color)


def read_grid(scene: ShapeGrid, writer: Writer) -> None:
    """Read all rows in one step, or two rows a step."""
    rows = list(range(len(scene.cells)))
    for part in [rows] if writer.rng.random() < 0.5 else runs_of(rows, 2):
        writer.step(READ_GRID, say_rows(scene, part))


def say_tallied(mark: Mark | None, features: list[str], counts: dict[str, int], writer: Writer) -> str:
    """Say a mark with how many of its feature have come up to it, "red star (red 2)", and count it."""
    found = next((feature for feature in features if has(mark, feature)), None)
    if not found:
        return say_mark(mark)
    counts[found] = max(1, writer.result(counts.get(found, 0) + 1))
    return f"{say_mark(mark)} ({found} {counts[found]})"


def tally(scene: ShapeGrid, features: list[str], writer: Writer) -> dict[str, int]:
    """Read the rows and count marks along the way: "Row 1: red circle (red 1), empty, red star (red 2).".

    A count taken in one look at a whole grid is what small and large models get wrong most; told beside each mark, it
    only goes up by one.
    """
    counts = dict.fromkeys(features, 0)
    lines = []
    for number, row in enumerate(scene.cells, 1):
        cells = [say_tallied(mark, features, counts, writer) for mark in row]
        lines.append(f"Row {number}: {', '.join(cells)}.")
    for part in [lines] if len(lines) < 3 else runs_of(lines, 2):
        writer.step(COUNT_ALONG, " ".join(part))
    return counts


def say_counts(counts: dict[str, int]) -> str:
    """Return "red 4, blue only once."."""
    return ", ".join(f"{name} only once" if count == 1 else f"{name} {count}" for name, count in counts.items()) + "."


# -- grid_difference ---------------------------------------------------------------------------------------------


def ask_grid_difference(scene: ShapeGrid, rng: Random) -> dict | None:
    by_color = rng.random() < 0.5
    counts = Counter(mark.color if by_color else mark.shape for mark in marks_of(scene))
    if len(counts) < 2:
        return None
    one, two = rng.sample(sorted(counts), 2)
    difference = counts[one] - counts[two]
    if difference <= 0 or (difference == 1 and rng.random() < 0.6):  # else one would be the best blind guess by far
        return None
    return {"first": one, "second": two, "one": plural(noun_of(one)), "two": plural(noun_of(two))}


def noun_of(feature: str) -> str:
    """Return "star" for a shape and "red shape" for a colour."""
    return f"{feature} shape" if feature in COLORS else feature


def feature_of(name: str) -> str:
    """Return "color" for the name of a colour and "shape" for that of a shape."""
    return "color" if name in COLORS else "shape"


def kinds_of(scene: ShapeGrid, feature: str) -> list[str]:
    """Return the colours or shapes of a grid as they come, row by row."""
    return list(dict.fromkeys(getattr(mark, feature) for mark in marks_of(scene)))


def write_grid_difference(scene: ShapeGrid, asked: dict, writer: Writer) -> str:
    first, second = asked["first"], asked["second"]
    # All kinds are counted: to tell at each mark whether it is one of the two is more than a small model keeps in mind.
    counts = dict.fromkeys((first, second), 0) | tally(scene, kinds_of(scene, feature_of(first)), writer)
    both = f"{first} {counts[first]}, {second} {counts[second]}"
    text, difference = writer.compute("-", counts[first], counts[second])
    if writer.choose(0.6, 0.4) == 0:
        writer.step(COUNT_BOTH, both + ".")
    else:
        text = f"{both}: {text}"
    writer.step(("Subtract", "Difference"), text + ".")
    return str(difference)


def solve_grid_difference(scene: ShapeGrid, asked: dict) -> str:
    one, two = (sum(has(mark, asked[key]) for mark in marks_of(scene)) for key in ("first", "second"))
    return str(one - two)


GRID_DIFFERENCE = Family(
    name="grid_difference",
    answer_type="integer",
    sample=sample_shape_grid,
    pictures=(ShapeGrid,),
    ask=ask_grid_difference,
    solve=solve_grid_difference,
    write=write_grid_difference,
    phrasings=(
        "How many more {one} than {two} are there?",
        "What is the number of {one} minus the number of {two}?",
        "By how much do the {one} outnumber the {two}?",
        "Count the {one} and the {two}. What is the difference?",
        "What is the difference between the number of {one} and the number of {two}?",
        "There are more {one} than {two}. How many more?",
    ),
    held_out=(
        "How many more {one} are there than {two}?",
        "By how much is the number of {one} larger than the number of {two}?",
    ),
)

# -- grid_once ---------------------------------------------------------------------------------------------------


def ask_grid_once(scene: ShapeGrid, rng: Random) -> dict | None:
    feature = rng.choice(("shape", "color"))
    counts = Counter(getattr(mark, feature) for mark in marks_of(scene))
    return {"feature": feature} if sum(count == 1 for count in counts.values()) == 1 and len(counts) > 1 else None


def write_grid_once(scene: ShapeGrid, asked: dict, writer: Writer) -> str:
    names = kinds_of(scene, asked["feature"])
    counted = tally(scene, names, writer)
    writer.step(("Count each kind", "Count them all"), say_counts(counted))
    once = [name for name in names if counted[name] == 1] or names
    answer = writer.pick(once[0], [name for name in names if name not in once])
    said = (
        f"The {answer} appears only once." if asked["feature"] == "shape" else f"The color {answer} appears only once."
    )
    writer.step(("Find the odd one out", "Odd one out"), said)
    return answer


def solve_grid_once(scene: ShapeGrid, asked: dict) -> str:
    counts = Counter(getattr(mark, asked["feature"]) for mark in marks_of(scene))
    return next(name for name, count in counts.items() if count == 1)


GRID_ONCE = Family(
    name="grid_once",
    answer_type="word",
    sample=sample_shape_grid,
    pictures=(ShapeGrid,),
    ask=ask_grid_once,
    solve=solve_grid_once,
    write=write_grid_once,
    phrasings=(
        "Which {feature} appears only once?",
        "Which {feature} is the odd one out, appearing only once?",
        "One {feature} appears only once. Which one?",
        "What is the {feature} that is there only once?",
        "Find the {feature} that appears only once.",
        "Which {feature} is there exactly once?",
    ),
    held_out=("Which is the {feature} that appears only once?", "Which {feature} is there only once?"),
)

# -- grid_walk ---------------------------------------------------------------------------------------------------

WAYS = {"right": (0, 1), "left": (0, -1), "down": (1, 0), "up": (-1, 0)}
NUMBERS = ("zero", "one", "two", "three")


def find_mark(scene: ShapeGrid, mark: Mark) -> list[tuple[int, int]]:
    """Return the (row, column) of every cell that holds the mark, from 0."""
    return [(r, c) for r, row in enumerate(scene.cells) for c, cell in enumerate(row) if cell == mark]


def ask_grid_walk(scene: ShapeGrid, rng: Random) -> dict | None:
    size, marks = len(scene.cells), marks_of(scene)
    unique = [mark for mark in marks if marks.count(mark) == 1]
    if not unique:
        return None
    start = rng.choice(unique)
    row, column = find_mark(scene, start)[0]
    ends = [(r, c) for r in range(size) for c in range(size) if scene.cells[r][c] and (r, c) != (row, column)]
    if not ends:
        return None
    to_row, to_column = rng.choice(ends)
    across, down = to_column - column, to_row - row
    moves = [("right" if across > 0 else "left", abs(across)), ("down" if down > 0 else "up", abs(down))]
    moves = [move for move in moves if move[1]]
    rng.shuffle(moves)
    walk = " and then ".join(f"{NUMBERS[count]} {way}" for way, count in moves)
    return {"color": start.color, "shape": start.shape, "moves": moves, "walk": walk, "start": say_mark(start)}


def write_grid_walk(scene: ShapeGrid, asked: dict, writer: Writer) -> str:
    if writer.choose(0.45, 0.55) == 0:
        read_grid(scene, writer)
    places = find_mark(scene, Mark(asked["shape"], asked["color"]))
    size = len(scene.cells)
    row, column = places[0] if places else (writer.rng.randrange(size), writer.rng.randrange(size))
    writer.step(("Find the start", "Start"), f"The {asked['start']} is at row {row + 1}, column {column + 1}.")
    for way, count in asked["moves"]:
        down, right = WAYS[way]
        count = writer.result(count)
        row, column = (row + down * count) % size, (column + right * count) % size
        writer.step(
            ("Move", f"Go {way}"), f"{NUMBERS[min(count, 3)].capitalize()} {way}: row {row + 1}, column {column + 1}."
        )
    mark = scene.cells[row][column]
    writer.step(("Look there", "Read the cell"), f"Row {row + 1}, column {column + 1} is {with_article(mark)}.")
    return mark.color if mark else writer.rng.choice([each.color for each in marks_of(scene)])


def solve_grid_walk(scene: ShapeGrid, asked: dict) -> str:
    row, column = find_mark(scene, Mark(asked["shape"], asked["color"]))[0]
    for way, count in asked["moves"]:
        row, column = row + WAYS[way][0] * count, column + WAYS[way][1] * count
    mark = scene.cells[row][column]
    if mark is None:
        raise ValueError(f"the walk {asked['walk']} ends in an empty cell")
    return mark.color


GRID_WALK = Family(
    name="grid_walk",
    answer_type="word",
    sample=sample_shape_grid,
    pictures=(ShapeGrid,),
    ask=ask_grid_walk,
    solve=solve_grid_walk,
    write=write_grid_walk,
    phrasings=(
        "Start at the {start} and go {walk}. What color is the shape there?",
        "What is the color of the shape you reach from the {start} by going {walk}?",
        "From the {start}, go {walk}. Which color do you find?",
        "Go {walk} from the {start}. What color is there?",
        "Which color is the shape {walk} from the {start}?",
        "If you go {walk} from the {start}, what color do you reach?",
    ),
    held_out=(
        "Start at the {start}, go {walk}: which color is there?",
        "What color do you reach from the {start} if you go {walk}?",
    ),
)

# -- perception --------------------------------------------------------------------------------------------------


def ask_cell_color(scene: ShapeGrid, rng: Random) -> dict | None:
    full = [(r, c) for r, row in enumerate(scene.cells) for c, mark in enumerate(row) if mark]
    if not full:
        return None
    row, column = rng.choice(full)
    return {"row": row + 1, "column": column + 1}


def write_cell_color(scene: ShapeGrid, asked: dict, writer: Writer) -> str:
    mark = scene.cells[asked["row"] - 1][asked["column"] - 1]
    said = f"Row {asked['row']}, column {asked['column']} is {with_article(mark)}."
    writer.step(("Look at the cell", "Find the cell"), said)
    return mark.color if mark else "empty"


CELL_COLOR = Family(
    name="cell_color",
    perception=True,
    answer_type="word",
    sample=sample_shape_grid,
    pictures=(ShapeGrid,),
    ask=ask_cell_color,
    solve=lambda scene, asked: scene.cells[asked["row"] - 1][asked["column"] - 1].color,
    write=write_cell_color,
    phrasings=(
        "What color is the shape in row {row}, column {column}?",
        "Which color is in row {row}, column {column}?",
        "Name the color in row {row}, column {column}.",
        "Look at row {row}, column {column}. What color is it?",
        "What is the color of the shape at row {row}, column {column}?",
        "In row {row}, column {column}, which color do you see?",
    ),
    held_out=(
        "Which color is the shape in row {row}, column {column}?",
        "What color do you see at row {row}, column {column}?",
    ),
)


def ask_count_few(scene: ShapeGrid, rng: Random) -> dict | None:
    counts = Counter(mark.shape for mark in marks_of(scene))
    few = sorted(shape for shape, count in counts.items() if count <= 4)
    if not few:
        return None
    shape = rng.choice(few)
    return {"shape": shape, "plural": plural(shape)}


def write_count_few(scene: ShapeGrid, asked: dict, writer: Writer) -> str:
    count = tally(scene, [asked["shape"]], writer)[asked["shape"]]
    writer.step((f"Count the {asked['plural']}", "Count"), say_count(count, asked["shape"]))
    return str(count)


COUNT_FEW = Family(
    name="count_few",
    perception=True,
    answer_type="integer",
    sample=sample_shape_grid,
    pictures=(ShapeGrid,),
    ask=ask_count_few,
    solve=lambda scene, asked: str(sum(has(mark, asked["shape"]) for mark in marks_of(scene))),
    write=write_count_few,
    phrasings=(
        "How many {plural} are there?",
        "How many {plural} do you see?",
        "Count the {plural}.",
        "What is the number of {plural}?",
        "How many {plural} does the grid hold?",
        "How many {plural} are in the grid?",
    ),
    held_out=("What number of {plural} do you see?", "How many {plural} are there in the grid?"),
)

GRID_FAMILIES = (GRID_DIFFERENCE, GRID_ONCE, GRID_WALK, CELL_COLOR, COUNT_FEW)
