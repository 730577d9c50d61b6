"""Units and currencies behind a number: what they measure, and their size against others of the same kind."""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

PREFIXES = {
    "p": ("pico", -12), "n": ("nano", -9), "μ": ("micro", -6), "u": ("micro", -6), "m": ("milli", -3),
    "c": ("centi", -2), "d": ("deci", -1), "k": ("kilo", 3), "M": ("mega", 6), "G": ("giga", 9),
}  # fmt: skip
# Symbol, names, what is measured. Grams stand for mass, since prefixes count from them.
PREFIXED = (
    ("m", "meter metre", "length"), ("g", "gram gramme", "mass"), ("s", "second sec", "time"),
    ("L", "liter litre", "volume"), ("l", "", "volume"), ("J", "joule", "energy"), ("W", "watt", "power"),
    ("V", "volt", "voltage"), ("A", "ampere amp", "current"), ("Ω", "ohm", "resistance"), ("N", "newton", "force"),
    ("Pa", "pascal", "pressure"), ("Hz", "hertz", "frequency"), ("mol", "mole", "amount"), ("eV", "", "electronvolt"),
)  # fmt: skip
# Names (and symbols), what is measured, size. A symbol is case-sensitive, a name of three letters and more is not.
OTHERS = (
    ("min mins minute", "time", 60), ("h hr hrs hour", "time", 3600), ("day", "time", 86_400),
    ("week", "time", 604_800), ("month", "month", 1), ("year yr yrs", "year", 1),
    ("in inch inches", "length", Fraction("0.0254")), ("ft foot feet", "length", Fraction("0.3048")),
    ("yd yard", "length", Fraction("0.9144")), ("mi mile", "length", Fraction("1609.344")),
    ("t ton tonne", "mass", 1_000_000), ("mph", "length/time", Fraction("0.44704")),
    ("° degree deg", "angle", 1), ("rad radian", "radian", 1), ("°C", "celsius", 1), ("°F", "fahrenheit", 1),
    ("K kelvin", "kelvin", 1), ("$ US$ USD dollar buck", "dollar", 1), ("¢ cent", "dollar", Fraction(1, 100)),
    ("€ EUR euro", "euro", 1), ("£ GBP", "sterling", 1), ("¥ JPY yen", "yen", 1), ("₹ INR rupee", "rupee", 1),
)  # fmt: skip
UNIT = re.compile(
    r"\s?(?:(?P<form>square|sq\.?|cubic)\s)?(?P<base>[A-Za-zμΩ°€£¥₹¢$]{1,20})(?:\^?(?P<power>[23])(?!\d))?"
    r"(?:(?:\s?/\s?|\s?\bper\s)(?P<over>[A-Za-z]{1,20})(?:\^?(?P<over_power>2)(?!\d))?)?(?!\w)"
)


@dataclass(frozen=True)
class Unit:
    """What is measured ("length", "dollar", "length/time" ...) and the unit's size against others of that kind."""

    kind: str
    size: Fraction = Fraction(1)


@lru_cache(maxsize=1)
def known_units() -> dict[str, Unit]:
    """Return every unit by its symbol and its names in the singular."""
    units: dict[str, Unit] = {}
    for symbol, names, kind in PREFIXED:
        for short, long, power in [("", "", 0), *((short, *rest) for short, rest in PREFIXES.items())]:
            unit = Unit(kind, Fraction(10) ** power)
            units |= {short + symbol: unit, **{long + name: unit for name in names.split()}}
    for names, kind, size in OTHERS:
        units |= {name: Unit(kind, Fraction(size)) for name in names.split()}
    return units


def find_unit(name: str) -> Unit | None:
    """Return the unit of that symbol or name, in the singular or the plural; None where it is none we know."""
    units = known_units()
    if name in units or len(name) < 3:
        return units.get(name)
    lower = name.lower()
    return units.get(lower) or units.get(lower.removesuffix("s"))


def read_unit(text: str, start: int) -> tuple[Unit, int] | None:
    """Read the unit that begins at `start`, perhaps after a space: the unit and where it ends.

    >>> read_unit("5 km/h", 1)[0].kind
    'length/time'
    """
    found = UNIT.match(text, start)
    unit = find_unit(found["base"]) if found else None
    if found is None or unit is None or (found["base"] == "in" and re.match(r" \w", text[found.end() :])):
        return None
    power = {"square": 2, "sq": 2, "sq.": 2, "cubic": 3}.get(found["form"] or "", int(found["power"] or 1))
    kind, size = unit.kind + (f"^{power}" if power > 1 else ""), unit.size**power
    if found["over"]:
        power = int(found["over_power"] or 1)
        over = find_unit(found["over"]) or Unit(found["over"].lower())
        kind, size = f"{kind}/{over.kind}" + (f"^{power}" if power > 1 else ""), size / over.size**power
    return Unit(kind, size), found.end()
