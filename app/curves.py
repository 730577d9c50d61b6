"""Curves as inline SVG: pure functions that follow the colours of the page and need no library in the browser."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

Curve = Sequence[tuple[float, float]]
WIDTH, HEIGHT = 360, 180
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 24
MOST_DOTS = 40


def render_curves(title: str, curves: Mapping[str, Curve], *, x_name: str = "step", zero: bool = False) -> str:
    """Return a chart of up to four curves by name, with the last value of each; with `zero`, a line at 0.

    >>> "last 2" in render_curves("Loss", {"loss": [(1, 3.0), (2, 2.0)]})
    True
    """
    known = {name: [point for point in curve if math.isfinite(point[1])] for name, curve in curves.items()}
    known = {name: curve for name, curve in known.items() if curve}
    if not known:
        return ""
    xs = [x for curve in known.values() for x, _ in curve]
    ys = [y for curve in known.values() for _, y in curve] + ([0.0] if zero else [])
    ticks = nice_ticks(min(ys), max(ys))
    frame = Frame(min(xs), max(xs), min(ticks[0], *ys), max(ticks[-1], *ys))
    lines = "".join(
        f'<line class="{"zero" if zero and tick == 0 else "rule"}" x1="{LEFT}" x2="{WIDTH - RIGHT}" '
        f'y1="{frame.y(tick):.1f}" y2="{frame.y(tick):.1f}"/><text x="{LEFT - 6}" y="{frame.y(tick) + 4:.1f}" '
        f'text-anchor="end">{short(tick)}</text>'
        for tick in ticks
    )
    ends = "".join(
        f'<text x="{frame.x(x):.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{short(x)}</text>'
        for x, anchor in ((min(xs), "start"), (max(xs), "end"))[: 1 if min(xs) == max(xs) else 2]
    )
    drawn = "".join(draw(frame, curve, f"c{place}", x_name) for place, curve in enumerate(known.values()))
    named = "".join(
        f'<span class="key c{place}">{escape(name) if len(known) > 1 else ""} <span class="number">last '
        f"{short(curve[-1][1])}</span></span>"
        for place, (name, curve) in enumerate(known.items())
    )
    said = f"{title}: " + "; ".join(describe(name, curve, x_name) for name, curve in known.items())
    return (
        f'<figure class="chart"><figcaption><span class="chart-title">{escape(title)}</span>{named}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(said)}">{lines}{ends}{drawn}</svg>'
        "</figure>"
    )


@dataclass(frozen=True)
class Frame:
    """The span of values that a chart shows, and where they lie in it."""

    left: float
    right: float
    low: float
    high: float

    def x(self, value: float) -> float:
        """Return the place of a value from the left."""
        return LEFT + (value - self.left) / ((self.right - self.left) or 1.0) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Return the place of a value from the top."""
        return HEIGHT - BOTTOM - (value - self.low) / ((self.high - self.low) or 1.0) * (HEIGHT - TOP - BOTTOM)


def draw(frame: Frame, curve: Curve, css: str, x_name: str) -> str:
    """Return a curve with a dot at each point where they are few, or else at its end; dots say their values."""
    places = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in curve)
    shown = curve if len(curve) <= MOST_DOTS else curve[-1:]
    dots = "".join(
        f'<circle class="{css}" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3"><title>{x_name} {x:g}: {short(y)}'
        "</title></circle>"
        for x, y in shown
    )
    return f'<polyline class="{css}" points="{places}"/>{dots}'


def describe(name: str, curve: Curve, x_name: str) -> str:
    """Say a curve in words, for those who do not see it."""
    (first, start), (last, end) = curve[0], curve[-1]
    if len(curve) == 1:
        return f"{name} {short(start)} at {x_name} {first:g}"
    low, high = min(y for _, y in curve), max(y for _, y in curve)
    return (
        f"{name} from {short(start)} at {x_name} {first:g} to {short(end)} at {x_name} {last:g}, "
        f"between {short(low)} and {short(high)}"
    )


def nice_ticks(low: float, high: float) -> list[float]:
    """Return three to six round numbers around a span.

    >>> nice_ticks(0.12, 0.93), nice_ticks(5, 5)
    ([0.0, 0.25, 0.5, 0.75, 1.0], [4.0, 4.5, 5.0, 5.5, 6.0])
    """
    if low == high:
        spread = 10.0 ** math.floor(math.log10(abs(low) or 1))
        low, high = low - spread, high + spread
    rough = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def short(value: float) -> str:
    """Return a number in three significant digits, without a needless exponent.

    >>> short(1234.5), short(0.00012), short(0.5), short(20000), short(0)
    ('1,234', '0.00012', '0.5', '20,000', '0')
    """
    if value and not 1e-3 <= abs(value) < 1e7:
        return f"{value:.2g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
