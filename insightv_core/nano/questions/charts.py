"""Question families about bar, line and pie charts."""

from random import Random

from insightv_core.nano.questions.family import Family
from insightv_core.nano.questions.writer import Named, Writer, runs_of, side
from insightv_core.nano.scenes import (
    MONTHS,
    BarChart,
    LineChart,
    PieChart,
    sample_bar_chart,
    sample_line_chart,
    sample_pie_chart,
)

READ_BARS = ("Read the bars", "Read the chart", "List the values")
ADD_UP = ("Add up", "Sum", "Total")
SUBTRACT = ("Subtract", "Difference")
COMPARE = ("Compare", "Decide")
COUNT = ("Count", "Count them")


def bars_of(scene: BarChart) -> dict[str, int]:
    """Return each bar's name and value, left to right."""
    return dict(zip(scene.labels, scene.values, strict=True))


def write_running_total(writer: Writer, values: list[tuple[str, int]], read_titles: tuple[str, ...]) -> int:
    """Read named values and add them all up: read first, by threes, or as they come."""
    plan = writer.choose(0.45, 0.3, 0.25)
    values = writer.order(values)
    if plan == 0:
        writer.step(read_titles, writer.values(values) + ".")
        text, total = writer.running_total(values)
        writer.step(ADD_UP, text + ".")
        return total
    if plan == 1:
        sums = []
        for part in runs_of(values, 3):
            text, part_total = writer.running_total(part)
            writer.step(("Add some", "Add a part"), text + ".")
            sums.append(part_total)
        text, total = writer.total(sums)
        if len(sums) > 1:
            writer.step(("Add the parts", *ADD_UP), text + ".")
        return total
    total = 0
    for index, part in enumerate(runs_of(values, 2)):
        numbers = [value for _, value in part]
        text, total = writer.total(numbers if index == 0 else [total, *numbers])
        writer.step(("Read and add", "Keep adding"), f"{writer.values(part)}. {text}.")
    return total


# -- bar_total ---------------------------------------------------------------------------------------------------

BAR_TOTAL = Family(
    name="bar_total",
    answer_type="integer",
    sample=sample_bar_chart,
    pictures=(BarChart,),
    ask=lambda scene, rng: {},
    solve=lambda scene, asked: str(sum(scene.values)),
    write=lambda scene, asked, writer: str(write_running_total(writer, list(bars_of(scene).items()), READ_BARS)),
    phrasings=(
        "What is the total of all bars?",
        "What do all the bars add up to?",
        "Add up all the bars. What do you get?",
        "How much do the bars have together?",
        "What is the sum of all values in the chart?",
        "Find the total of the chart.",
    ),
    held_out=("If you add up all the bars, what is the total?", "What do the values of the chart sum to?"),
)

# -- bar_range ---------------------------------------------------------------------------------------------------


def write_bar_range(scene: BarChart, asked: dict, writer: Writer) -> str:
    bars = bars_of(scene)
    largest, smallest = max(bars, key=lambda name: bars[name]), min(bars, key=lambda name: bars[name])
    largest = writer.pick(largest, [name for name in bars if bars[name] < bars[largest]])
    smallest = writer.pick(smallest, [name for name in bars if bars[name] > bars[smallest]])
    top, low = bars[largest], bars[smallest]
    plan = writer.choose(0.4, 0.3, 0.3)
    if plan != 1:
        writer.step(READ_BARS, writer.values(writer.order(bars.items())) + ".")
    if plan == 2:
        writer.step(("Largest and smallest", "Extremes"), f"The largest is {top}, the smallest is {low}.")
    else:
        writer.step(("Find the largest", "Largest"), f"The largest is {top}.")
        writer.step(("Find the smallest", "Smallest"), f"The smallest is {low}.")
    text, difference = writer.compute("-", top, low)
    writer.step(SUBTRACT, text + ".")
    return str(difference)


BAR_RANGE = Family(
    name="bar_range",
    answer_type="integer",
    sample=sample_bar_chart,
    pictures=(BarChart,),
    ask=lambda scene, rng: {},
    solve=lambda scene, asked: str(max(scene.values) - min(scene.values)),
    write=write_bar_range,
    phrasings=(
        "What is the difference between the largest and the smallest bar?",
        "How much larger is the largest bar than the smallest?",
        "By how much does the tallest bar exceed the shortest bar?",
        "Subtract the smallest value from the largest. What is left?",
        "What is the range of the values?",
        "How far apart are the largest and the smallest value?",
    ),
    held_out=(
        "How much taller is the tallest bar than the shortest?",
        "What is the difference between the tallest and the shortest bar?",
    ),
)

# -- bar_count_above ---------------------------------------------------------------------------------------------


def ask_bar_count_above(scene: BarChart, rng: Random) -> dict:
    return {"limit": rng.choice(sorted(scene.values)[:-1])}


def write_bar_count_above(scene: BarChart, asked: dict, writer: Writer) -> str:
    bars, limit = list(bars_of(scene).items()), asked["limit"]
    plan = writer.choose(0.35, 0.35, 0.3)
    if plan == 0:
        writer.step(READ_BARS, writer.values(bars) + ".")
    count = 0
    for part in runs_of(bars, 3) if plan == 1 else [bars]:
        text, count = writer.count_along([side(bar, limit) for bar in part], count)
        writer.step(("Check the bars", "Compare with the limit"), text + ".")
    writer.step(COUNT, f"{count} bar{'s are' if count != 1 else ' is'} above {limit}.")
    return str(count)


BAR_COUNT_ABOVE = Family(
    name="bar_count_above",
    answer_type="integer",
    sample=sample_bar_chart,
    pictures=(BarChart,),
    ask=ask_bar_count_above,
    solve=lambda scene, asked: str(sum(value > asked["limit"] for value in scene.values)),
    write=write_bar_count_above,
    phrasings=(
        "How many bars are above {limit}?",
        "How many bars have more than {limit}?",
        "Count the bars that are larger than {limit}.",
        "How many of the values are larger than {limit}?",
        "What number of bars are above {limit}?",
        "How many bars are taller than {limit}?",
    ),
    held_out=("How many of the bars are above {limit}?", "Count the values larger than {limit}."),
)

# -- bar_pairs ---------------------------------------------------------------------------------------------------


def ask_bar_pairs(scene: BarChart, rng: Random) -> dict | None:
    if len(scene.labels) < 4:
        return None
    bars = bars_of(scene)
    a, b, c, d = rng.sample(scene.labels, 4)
    difference = bars[a] + bars[b] - bars[c] - bars[d]
    wanted = rng.random() < 0.5
    if difference == 0:
        return None
    if (difference > 0) != wanted:
        a, b, c, d = c, d, a, b
    return {"a": a, "b": b, "c": c, "d": d}


def write_bar_pairs(scene: BarChart, asked: dict, writer: Writer) -> str:
    bars = bars_of(scene)
    plan = writer.choose(0.4, 0.4, 0.2)
    if plan == 0:
        writer.step(READ_BARS, writer.values([(asked[key], bars[asked[key]]) for key in "abcd"]) + ".")
    elif plan == 2:
        writer.step(READ_BARS, writer.values(bars.items()) + ".")
    sums = []
    for one, two in (("a", "b"), ("c", "d")):
        names = (asked[one], asked[two])
        text, total = writer.total([bars[name] for name in names])
        lead = (
            writer.values([(name, bars[name]) for name in names]) + ". "
            if plan == 1
            else f"{names[0]} and {names[1]}: "
        )
        writer.step(("Add a pair", "Sum of a pair"), f"{lead}{text}.")
        sums.append(total)
    compared, said = writer.compare(*sums)
    answer = "yes" if said == "more" else "no"
    writer.step(COMPARE, f"{compared}, so {answer}.")
    return answer


def solve_bar_pairs(scene: BarChart, asked: dict) -> str:
    a, b, c, d = (bars_of(scene)[asked[key]] for key in "abcd")
    return "yes" if a + b > c + d else "no"


BAR_PAIRS = Family(
    name="bar_pairs",
    answer_type="yes/no",
    sample=sample_bar_chart,
    pictures=(BarChart,),
    ask=ask_bar_pairs,
    solve=solve_bar_pairs,
    write=write_bar_pairs,
    phrasings=(
        "Do {a} and {b} together have more than {c} and {d}?",
        "Is the sum of {a} and {b} larger than the sum of {c} and {d}?",
        "Are {a} and {b} together above {c} and {d} together?",
        "Taken together, do {a} and {b} have more than {c} and {d}?",
        "Is {a} plus {b} more than {c} plus {d}?",
        "Does the total of {a} and {b} exceed that of {c} and {d}?",
    ),
    held_out=(
        "Is the total of {a} and {b} more than the total of {c} and {d}?",
        "Do {a} and {b} add up to more than {c} and {d}?",
    ),
)

# -- line charts -------------------------------------------------------------------------------------------------


def points_of(scene: LineChart) -> dict[str, int]:
    """Return each point's name and value, left to right."""
    return dict(zip(scene.labels, scene.values, strict=True))


def unit_of(scene: LineChart) -> str:
    """Return "month" or "day"."""
    return "month" if scene.labels[0] in MONTHS else "day"


def rises_of(scene: LineChart) -> list[int]:
    """Return the change from each point to the next."""
    return [after - before for before, after in zip(scene.values, scene.values[1:], strict=False)]


def parts_of_line(scene: LineChart, writer: Writer) -> list[list[tuple[Named, Named]]]:
    """Read the line, or not, and return its moves as (point before, point), all at once or by threes."""
    points = list(points_of(scene).items())
    plan = writer.choose(0.4, 0.3, 0.3)
    if plan != 1:
        writer.step(("Read the line", "Read the points", "List the values"), writer.values(points) + ".")
    moves = list(zip(points, points[1:], strict=False))
    return [moves] if plan == 0 else runs_of(moves, 3)


def ask_largest_rise(scene: LineChart, rng: Random) -> dict | None:
    rises = rises_of(scene)
    unique = rises.count(max(rises)) == 1
    return {"unit": unit_of(scene)} if max(rises) > 0 and unique else None


def say_rise(before: Named, point: Named, writer: Writer) -> tuple[str, Named | None]:
    """Say whether a line rises to a point, and by how much."""
    text, rises = side(point, before)
    if not rises:
        return text, None
    change, rise = writer.compute("-", point[1], before[1])
    return f"{text}: {change}", (point[0], rise)


def write_largest_rise(scene: LineChart, asked: dict, writer: Writer) -> str:
    best: Named | None = None
    for part in parts_of_line(scene, writer):
        text, best = writer.best_along([say_rise(before, point, writer) for before, point in part], "largest", best)
        writer.step(("Work out the changes", "Changes"), text)
    if best is None:  # a misread line may never rise
        return writer.rng.choice(scene.labels[1:])
    writer.step(("Find the largest rise", "Largest rise"), f"The largest rise is in {best[0]} with {best[1]}.")
    return best[0]


LINE_LARGEST_RISE = Family(
    name="line_largest_rise",
    answer_type="word",
    sample=sample_line_chart,
    pictures=(LineChart,),
    ask=ask_largest_rise,
    solve=lambda scene, asked: scene.labels[1 + max(range(len(scene.values) - 1), key=lambda k: rises_of(scene)[k])],
    write=write_largest_rise,
    phrasings=(
        "In which {unit} did the line rise the most over the {unit} before?",
        "Which {unit} shows the largest rise over the {unit} before?",
        "In which {unit} did it grow the most compared with the {unit} before?",
        "Find the {unit} with the largest rise.",
        "When did the line rise the most? Name the {unit}.",
        "Which {unit} has the largest gain over the {unit} before it?",
    ),
    held_out=("Which {unit} grew the most over the {unit} before?", "In which {unit} is the largest rise?"),
)


def ask_line_rises(scene: LineChart, rng: Random) -> dict | None:
    return {"unit": unit_of(scene)} if any(rise > 0 for rise in rises_of(scene)) else None


def write_line_rises(scene: LineChart, asked: dict, writer: Writer) -> str:
    count = 0
    for part in parts_of_line(scene, writer):
        text, count = writer.count_along([side(point, before) for before, point in part], count)
        writer.step(("Compare with the point before", "Changes"), text + ".")
    writer.step(("Count the rises", *COUNT), f"The line rises {count} times." if count != 1 else "The line rises once.")
    return str(count)


LINE_RISES = Family(
    name="line_rises",
    answer_type="integer",
    sample=sample_line_chart,
    pictures=(LineChart,),
    ask=ask_line_rises,
    solve=lambda scene, asked: str(sum(rise > 0 for rise in rises_of(scene))),
    write=write_line_rises,
    phrasings=(
        "How many times does the line rise from one {unit} to the next?",
        "How often does the line go up from one {unit} to the next?",
        "Count how many times the line rises.",
        "From one {unit} to the next, how many times does the line go up?",
        "How many {unit}s are above the {unit} before them?",
        "How often is a {unit} above the {unit} before?",
    ),
    held_out=("How many times does the line go up?", "Count the rises from one {unit} to the next."),
)

# -- pie_difference ----------------------------------------------------------------------------------------------


def join_names(names: list[str]) -> str:
    """Join names as in "red, blue and pink"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def ask_pie_difference(scene: PieChart, rng: Random) -> dict | None:
    left, right = ((2, 1), (2, 2), (3, 2))[min(2, (len(scene.colors) - 2) // 2)]
    if left + right > len(scene.colors):
        return None
    colors = rng.sample(scene.colors, left + right)
    values = dict(zip(scene.colors, scene.values, strict=True))
    one, two = colors[:left], colors[left:]
    if sum(values[name] for name in one) <= sum(values[name] for name in two):
        return None
    return {"left": one, "right": two, "one": join_names(one), "two": join_names(two)}


def write_pie_difference(scene: PieChart, asked: dict, writer: Writer) -> str:
    values = dict(zip(scene.colors, scene.values, strict=True))
    plan = writer.choose(0.35, 0.45, 0.2)
    wanted = asked["left"] + asked["right"]
    if plan != 1:
        names = wanted if plan == 0 else list(values)
        writer.step(
            ("Read the slices", "List the slices"), writer.values([(name, values[name]) for name in names]) + "."
        )
    sums = []
    for names in (asked["left"], asked["right"]):
        text, total = writer.running_total([(name, values[name]) for name in names])
        writer.step(("Add the slices", "Add one side"), text + ".")
        sums.append(total)
    text, difference = writer.compute("-", *sums)
    writer.step(SUBTRACT, text + ".")
    return str(difference)


def solve_pie_difference(scene: PieChart, asked: dict) -> str:
    values = dict(zip(scene.colors, scene.values, strict=True))
    return str(sum(values[name] for name in asked["left"]) - sum(values[name] for name in asked["right"]))


PIE_DIFFERENCE = Family(
    name="pie_difference",
    answer_type="integer",
    sample=sample_pie_chart,
    pictures=(PieChart,),
    ask=ask_pie_difference,
    solve=solve_pie_difference,
    write=write_pie_difference,
    phrasings=(
        "How much more do {one} have together than {two}?",
        "How many more are {one} together than {two}?",
        "Add {one}, then subtract {two}. What is left?",
        "By how much do {one} together exceed {two}?",
        "What is the difference between {one} together and {two}?",
        "How much larger are the slices {one} together than {two}?",
    ),
    held_out=(
        "By how much are {one} together larger than {two}?",
        "Taken together, how much more do {one} have than {two}?",
    ),
)

# -- perception --------------------------------------------------------------------------------------------------


def ask_bar_value(scene: BarChart, rng: Random) -> dict:
    return {"name": rng.choice(scene.labels)}


def write_bar_value(scene: BarChart, asked: dict, writer: Writer) -> str:
    bars, name = bars_of(scene), asked["name"]
    writer.step(("Find the bar", "Read the bar"), f"The {name} bar is {scene.colors[scene.labels.index(name)]}.")
    writer.step(("Read its value", "Read the height"), writer.values([(name, bars[name])]) + ".")
    return str(bars[name])


BAR_VALUE = Family(
    name="bar_value",
    perception=True,
    answer_type="integer",
    sample=sample_bar_chart,
    pictures=(BarChart,),
    ask=ask_bar_value,
    solve=lambda scene, asked: str(bars_of(scene)[asked["name"]]),
    write=write_bar_value,
    phrasings=(
        "What is the value of {name}?",
        "How much does {name} have?",
        "What does the bar of {name} show?",
        "Read the bar of {name}.",
        "What is the value of the {name} bar?",
        "How tall is the {name} bar?",
    ),
    held_out=("What value does {name} have?", "What does the {name} bar show?"),
)


def write_line_value(scene: LineChart, asked: dict, writer: Writer) -> str:
    writer.step(
        ("Read the point", "Find the point"), writer.values([(asked["name"], points_of(scene)[asked["name"]])]) + "."
    )
    return str(points_of(scene)[asked["name"]])


LINE_VALUE = Family(
    name="line_value",
    perception=True,
    answer_type="integer",
    sample=sample_line_chart,
    pictures=(LineChart,),
    ask=lambda scene, rng: {"name": rng.choice(scene.labels)},
    solve=lambda scene, asked: str(points_of(scene)[asked["name"]]),
    write=write_line_value,
    phrasings=(
        "What is the value in {name}?",
        "How much does the line show in {name}?",
        "Read the line in {name}.",
        "Where is the line in {name}?",
        "What does the chart show in {name}?",
        "What is the value of the point in {name}?",
    ),
    held_out=("What value does the line show in {name}?", "How much is it in {name}?"),
)


def write_title(scene: BarChart | LineChart | PieChart, asked: dict, writer: Writer) -> str:
    writer.step(("Look at the title", "Read the title"), f"The title says {scene.title}.")
    return scene.title


def sample_titled(rng: Random, level: int) -> BarChart | LineChart | PieChart:
    """Draw a chart of any kind that carries a title."""
    return rng.choice((sample_bar_chart, sample_line_chart, sample_pie_chart))(rng, level)


TITLE_WORD = Family(
    name="title_word",
    perception=True,
    answer_type="word",
    sample=sample_titled,
    pictures=(BarChart, LineChart, PieChart),
    ask=lambda scene, rng: {},
    solve=lambda scene, asked: scene.title,
    write=write_title,
    phrasings=(
        "What is the title of the chart?",
        "Which word stands above the chart?",
        "What does the title say?",
        "Read the title.",
        "What is the chart called?",
        "What word is the title?",
    ),
    held_out=("Which word is the title of the chart?", "What is written above the chart?"),
)

CHART_FAMILIES = (
    BAR_TOTAL, BAR_RANGE, BAR_COUNT_ABOVE, BAR_PAIRS, LINE_LARGEST_RISE, LINE_RISES, PIE_DIFFERENCE,
    BAR_VALUE, LINE_VALUE, TITLE_WORD,
)  # fmt: skip
