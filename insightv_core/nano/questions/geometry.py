"""Question families about triangles, polygons and route maps."""

from random import Random

from insightv_core.nano.questions.charts import write_running_total
from insightv_core.nano.questions.family import Family
from insightv_core.nano.questions.writer import Named, Writer, runs_of
from insightv_core.nano.scenes import Polygon, RouteMap, Triangle, sample_polygon, sample_route_map, sample_triangle

# -- triangle_angle ----------------------------------------------------------------------------------------------


def write_triangle_angle(scene: Triangle, asked: dict, writer: Writer) -> str:
    known = writer.order([corner for corner in range(3) if corner != scene.hidden])
    names, values = [scene.corners[k] for k in known], [scene.angles[k] for k in known]
    plan = writer.choose(0.5, 0.3, 0.2)
    if plan < 2:
        writer.step(
            ("Read the angles", "Known angles"), f"Angle {names[0]} is {values[0]}, angle {names[1]} is {values[1]}."
        )
    if plan == 0:
        text, both = writer.total(values)
        writer.step(("Add the angles", "Add up"), text + ".")
        text, left = writer.compute("-", 180, both)
        writer.step(("Subtract from 180", "What is left"), text + ".")
        return str(left)
    left = 180
    for name, value in zip(names, values, strict=True):
        text, left = writer.compute("-", left, value)
        lead = f"Angle {name} is {value}. " if plan == 2 else ""
        writer.step(("Subtract", "Take an angle away"), f"{lead}{text}.")
    return str(left)


TRIANGLE_ANGLE = Family(
    name="triangle_angle",
    answer_type="integer",
    sample=sample_triangle,
    pictures=(Triangle,),
    ask=lambda scene, rng: {"corner": scene.corners[scene.hidden]},
    solve=lambda scene, asked: str(scene.angles[scene.hidden]),
    write=write_triangle_angle,
    phrasings=(
        "How large is the angle {corner}?",
        "What is the size of the angle {corner} in degrees?",
        "How many degrees is the angle {corner}?",
        "Find the missing angle {corner}.",
        "What is the missing angle of the triangle?",
        "Work out the angle {corner}.",
    ),
    held_out=("How many degrees is the missing angle?", "What is the size of the missing angle {corner}?"),
)

# -- polygon_perimeter -------------------------------------------------------------------------------------------


def sides_of(scene: Polygon) -> dict[str, int]:
    """Return each side's name, as in "AB", and its length."""
    ends = (*scene.corners[1:], scene.corners[0])
    return {a + b: side for a, b, side in zip(scene.corners, ends, scene.sides, strict=True)}


def write_polygon_perimeter(scene: Polygon, asked: dict, writer: Writer) -> str:
    return str(write_running_total(writer, list(sides_of(scene).items()), ("Read the sides", "List the sides")))


POLYGON_PERIMETER = Family(
    name="polygon_perimeter",
    answer_type="integer",
    sample=sample_polygon,
    pictures=(Polygon,),
    ask=lambda scene, rng: {},
    solve=lambda scene, asked: str(sum(scene.sides)),
    write=write_polygon_perimeter,
    phrasings=(
        "What is the perimeter?",
        "How long is the way around the shape?",
        "What do all the sides add up to?",
        "Add up all the sides. What do you get?",
        "Find the perimeter of the shape.",
        "How long are all sides together?",
    ),
    held_out=("What is the perimeter of the shape?", "If you add up all the sides, what is the total?"),
)

# -- routes ------------------------------------------------------------------------------------------------------


def ways_of(scene: RouteMap) -> dict[str, tuple[int, int]]:
    """Return, for each middle place, the two roads that lead through it."""
    lengths = {road.start + road.end: road.length for road in scene.roads}
    start, end = scene.places[:2]
    return {place: (lengths[start + place], lengths[place + end]) for place in scene.places[2:]}


def write_ways(scene: RouteMap, writer: Writer) -> Named:
    """Add up every way and keep the shortest: the middle place and the length."""
    start, end = scene.places[:2]
    ways = ways_of(scene)
    plan = writer.choose(0.4, 0.35, 0.25)
    if plan == 1:
        read = [f"{start} to {place} is {one}, {place} to {end} is {two}" for place, (one, two) in ways.items()]
        writer.step(("Read the map", "Read the roads"), ", ".join(read) + ".")
    order = writer.order(ways)
    best: Named | None = None
    for part in [[place] for place in order] if plan == 0 else runs_of(order, 2) if plan == 2 else [order]:
        lengths = [(place, *writer.total(ways[place])) for place in part]
        told = [(f"Via {place}: {text}", (f"via {place}", length)) for place, text, length in lengths]
        text, best = writer.best_along(told, "shortest", best)
        writer.step(("Add up a way", "Length of the way"), text)
    if best is None:
        raise ValueError("a map without ways has no shortest one")
    writer.step(("Find the shortest", "Compare"), f"The shortest is {best[0]} with {best[1]}.")
    return best[0].removeprefix("via "), best[1]


def ask_shortest_way(scene: RouteMap, rng: Random) -> dict | None:
    totals = sorted(one + two for one, two in ways_of(scene).values())
    return {"start": scene.places[0], "end": scene.places[1]} if totals[0] < totals[1] else None


ROUTE_SHORTEST = Family(
    name="route_shortest",
    answer_type="word",
    sample=sample_route_map,
    pictures=(RouteMap,),
    ask=ask_shortest_way,
    solve=lambda scene, asked: min(ways_of(scene), key=lambda place: sum(ways_of(scene)[place])),
    write=lambda scene, asked, writer: write_ways(scene, writer)[0],
    phrasings=(
        "Which place is on the shortest way from {start} to {end}?",
        "Through which place does the shortest way from {start} to {end} go?",
        "You want the shortest way from {start} to {end}. Which place do you pass?",
        "Going from {start} to {end}, which place makes the way shortest?",
        "Which place do you pass on the shortest way from {start} to {end}?",
        "From {start} to {end}: which place lies on the shortest way?",
    ),
    held_out=(
        "Which place lies on the shortest way from {start} to {end}?",
        "Which place do you go through on the shortest way from {start} to {end}?",
    ),
)

ROUTE_LENGTH = Family(
    name="route_length",
    answer_type="integer",
    sample=sample_route_map,
    pictures=(RouteMap,),
    ask=ask_shortest_way,
    solve=lambda scene, asked: str(min(sum(roads) for roads in ways_of(scene).values())),
    write=lambda scene, asked, writer: str(write_ways(scene, writer)[1]),
    phrasings=(
        "How long is the shortest way from {start} to {end}?",
        "What is the length of the shortest way from {start} to {end}?",
        "How far is it from {start} to {end} at least?",
        "From {start} to {end}, how long is the shortest way?",
        "Find the length of the shortest way from {start} to {end}.",
        "What is the shortest distance from {start} to {end}?",
    ),
    held_out=(
        "How far is it from {start} to {end} on the shortest way?",
        "What length does the shortest way from {start} to {end} have?",
    ),
)

# -- perception --------------------------------------------------------------------------------------------------


def ask_side_length(scene: Polygon, rng: Random) -> dict:
    return {"side": rng.choice(list(sides_of(scene)))}


def write_side_length(scene: Polygon, asked: dict, writer: Writer) -> str:
    value = sides_of(scene)[asked["side"]]
    writer.step(("Read the side", "Find the side"), writer.values([(asked["side"], value)]) + ".")
    return str(value)


SIDE_LENGTH = Family(
    name="side_length",
    perception=True,
    answer_type="integer",
    sample=sample_polygon,
    pictures=(Polygon,),
    ask=ask_side_length,
    solve=lambda scene, asked: str(sides_of(scene)[asked["side"]]),
    write=write_side_length,
    phrasings=(
        "How long is the side {side}?",
        "What is the length of {side}?",
        "Read the length of the side {side}.",
        "What is the side {side}?",
        "How long is {side}?",
        "What number stands at the side {side}?",
    ),
    held_out=("What is the length of the side {side}?", "What length does the side {side} have?"),
)

GEOMETRY_FAMILIES = (TRIANGLE_ANGLE, POLYGON_PERIMETER, ROUTE_SHORTEST, ROUTE_LENGTH, SIDE_LENGTH)
