"""What every picture is drawn on: colours, fonts, and a canvas that draws shapes at twice the size and text on top."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw, ImageFont

from insightv_core.nano.scenes import COLORS, Style

SIZE = 448
MARGIN = 18  # from the edge of the picture to the drawing area; more than the greatest shift of a style
SMALLEST_TEXT = 20
FINE = 2  # shapes are drawn this many times too large and reduced, which smooths their edges
FONT_FILES = ("OpenSans-Semibold.ttf", "RobotoSlab-Bold.otf")

Color = tuple[int, int, int]
Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Palette:
    """The shades of one look: a colour for each name, and those of paper, text, lines and quiet surfaces."""

    colors: dict[str, Color]
    paper: Color
    surface: Color
    grid: Color
    ink: Color


@dataclass(frozen=True)
class Glyphs:
    """A line of text as a mask, and where its corner lies from the left end of the baseline."""

    mask: Image.Image
    left: int
    top: int


def _palette(shades: Iterable[Color], paper: Color, surface: Color, grid: Color, ink: Color) -> Palette:
    return Palette(dict(zip(COLORS, shades, strict=True)), paper, surface, grid, ink)


# Shades in the order of COLORS: red, orange, yellow, green, blue, purple, pink, black.
PALETTES = (
    _palette(
        ((222, 49, 55), (247, 138, 29), (252, 211, 52), (52, 163, 83), (42, 111, 219), (120, 66, 186),
         (247, 146, 193), (33, 37, 46)),
        paper=(251, 251, 249), surface=(238, 240, 240), grid=(213, 216, 218), ink=(30, 35, 45),
    ),
    _palette(
        ((203, 45, 48), (236, 124, 28), (243, 198, 30), (44, 138, 84), (34, 99, 176), (108, 54, 158),
         (241, 134, 178), (36, 33, 36)),
        paper=(253, 248, 238), surface=(245, 236, 219), grid=(223, 212, 193), ink=(45, 36, 32),
    ),
    _palette(
        ((232, 42, 46), (255, 130, 20), (255, 220, 50), (38, 158, 64), (28, 112, 220), (134, 62, 198),
         (255, 148, 200), (22, 27, 40)),
        paper=(241, 246, 252), surface=(225, 235, 247), grid=(198, 211, 227), ink=(20, 32, 54),
    ),
    _palette(
        ((194, 54, 52), (230, 134, 52), (238, 203, 78), (74, 148, 84), (62, 112, 184), (114, 76, 160),
         (236, 148, 184), (44, 48, 56)),
        paper=(245, 245, 243), surface=(232, 232, 229), grid=(208, 208, 204), ink=(38, 40, 44),
    ),
)  # fmt: skip


@lru_cache(maxsize=128)
def load_font(index: int, size: int) -> ImageFont.FreeTypeFont:
    """Load font `index` of FONT_FILES at `size` pixels, once."""
    path = Path(__file__).parents[1] / "fonts" / FONT_FILES[index]
    # The basic engine is part of every Pillow, so that the same picture comes out everywhere.
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=8192)
def draw_glyphs(index: int, size: int, text: str) -> Glyphs:
    """Draw `text` once as a mask; the same few words and numbers return in thousands of pictures."""
    font = load_font(index, size)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text, anchor="ls"))
    left = min(left, 0)
    mask = Image.new("L", (max(right - left, 1), max(bottom - top, 1)), 0)
    ImageDraw.Draw(mask).text((-left, -top), text, font=font, fill=255, anchor="ls")
    ink = mask.getbbox() or (0, 0, *mask.size)
    return Glyphs(mask.crop(ink), left + ink[0], top + ink[1])


def mix(first: Color, second: Color, share: float) -> Color:
    """Return `first` with `share` (0..1) of `second` in it."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def darken(color: Color) -> Color:
    """Return a deeper shade for the outline of something filled with `color`."""
    return mix(color, (0, 0, 0), 0.22)


def overlap(first: Box, second: Box, gap: float = 0.0) -> bool:
    """Say whether two boxes come closer than `gap` to each other."""
    return (
        first[0] < second[2] + gap
        and second[0] < first[2] + gap
        and first[1] < second[3] + gap
        and second[1] < first[3] + gap
    )


def crosses(box: Box, start: Point, end: Point) -> bool:
    """Say whether the straight line from `start` to `end` meets `box`."""
    enter, leave = 0.0, 1.0
    for axis in (0, 1):
        step = end[axis] - start[axis]
        near, far = box[axis] - start[axis], box[axis + 2] - start[axis]
        if abs(step) < 1e-9:
            if near > 0 or far < 0:
                return False
            continue
        near, far = sorted((near / step, far / step))
        enter, leave = max(enter, near), min(leave, far)
    return enter <= leave


class Canvas:
    """A picture in the making; all coordinates are pixels of the finished picture, text lies above every shape.

    `words` lists what is to be read where: each text that was written, and what `name` noted.
    """

    def __init__(self, style: Style) -> None:
        self.style = style
        self.palette = PALETTES[style.palette]
        self.random = Random(style.seed)
        half = (SIZE / 2 - MARGIN) * style.scale
        middle_x, middle_y = SIZE / 2 + style.shift[0], SIZE / 2 + style.shift[1]
        self.area: Box = (middle_x - half, middle_y - half, middle_x + half, middle_y + half)
        self._picture = Image.new("RGB", (SIZE * FINE, SIZE * FINE), self.palette.paper)
        self._brush = ImageDraw.Draw(self._picture)
        self._texts: list[tuple[Glyphs, int, int, Color]] = []
        self.words: list[tuple[str, Box]] = []

    def finish(self) -> Image.Image:
        """Return the finished picture."""
        picture = self._picture.reduce(FINE)
        for glyphs, left, top, color in self._texts:
            picture.paste(color, (left, top), glyphs.mask)
        return picture

    def cap_height(self, size: int) -> int:
        """Return the height of a digit, without the tails of letters."""
        return draw_glyphs(self.style.font, size, "0").mask.height

    def width(self, text: str, size: int) -> int:
        """Return the width of the ink of `text`."""
        return draw_glyphs(self.style.font, size, text).mask.width

    def text_box(self, x: float, y: float, text: str, size: int) -> Box:
        """Return the box of the ink of `text` centred on (x, y), tails of letters included."""
        glyphs = draw_glyphs(self.style.font, size, text)
        left = round(x - glyphs.mask.width / 2)
        top = round(y + self.cap_height(size) / 2) + glyphs.top
        return (left, top, left + glyphs.mask.width, top + glyphs.mask.height)

    def fit_size(self, texts: Iterable[str], width: float) -> int:
        """Return the greatest text size, from the style's down to the smallest, at which each text fits `width`."""
        texts = list(texts)
        for size in range(self.style.font_size, SMALLEST_TEXT, -1):
            if all(self.width(text, size) <= width for text in texts):
                return size
        return SMALLEST_TEXT

    def text(self, x: float, y: float, text: str, size: int, color: Color | None = None) -> None:
        """Write `text` with the middle of its capitals at (x, y)."""
        left, top, right, bottom = self.text_box(x, y, text, size)
        color = color or self.palette.ink
        self.words.append((text, (left, top, right, bottom)))
        self._texts.append((draw_glyphs(self.style.font, size, text), int(left), int(top), color))

    def name(self, x: float, y: float, *words: str) -> None:
        """Note what stands at (x, y) without writing it: a colour, a shape, the value of a bar."""
        self.words += [(word, (x, y, x, y)) for word in words]

    def text_color_on(self, color: Color) -> Color:
        """Return white for dark surfaces and ink for light ones."""
        brightness = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
        return (255, 255, 255) if brightness < 138 else self.palette.ink

    def line(self, points: Sequence[Point], color: Color, width: float) -> None:
        """Draw a line with round joints through the points."""
        scaled = [(x * FINE, y * FINE) for x, y in points]
        self._brush.line(scaled, fill=color, width=max(round(width * FINE), 1), joint="curve")

    def round_line(self, points: Sequence[Point], color: Color, width: float) -> None:
        """Draw a line whose ends and corners are round."""
        self.line(points, color, width)
        for point in points:
            self.circle(point, width / 2 - 0.25, color)

    def polygon(self, points: Sequence[Point], fill: Color) -> None:
        """Fill the closed shape through the points."""
        self._brush.polygon([(x * FINE, y * FINE) for x, y in points], fill=fill)

    def circle(self, center: Point, radius: float, fill: Color) -> None:
        """Fill a circle."""
        x, y = center
        self._brush.ellipse(_fine(x - radius, y - radius, x + radius, y + radius), fill=fill)

    def box(self, box: Box, fill: Color, radius: float = 0.0, top_only: bool = False) -> None:
        """Fill a rectangle with corners rounded by `radius`, those at the top only if asked."""
        corners = (True, True, not top_only, not top_only)
        self._brush.rounded_rectangle(_fine(*box), radius * FINE, fill=fill, corners=corners)

    def slice(self, center: Point, radius: float, start: float, end: float, fill: Color) -> None:
        """Fill a slice of a disc; degrees run clockwise from the right."""
        x, y = center
        self._brush.pieslice(_fine(x - radius, y - radius, x + radius, y + radius), start, end, fill=fill)

    def arc(self, center: Point, radius: float, start: float, end: float, color: Color, width: float) -> None:
        """Draw part of a circle; degrees run clockwise from the right."""
        x, y = center
        box = _fine(x - radius, y - radius, x + radius, y + radius)
        self._brush.arc(box, start, end, fill=color, width=round(width * FINE))


def _fine(left: float, top: float, right: float, bottom: float) -> Box:
    # Pillow counts the last row and column in, hence the one less.
    return (round(left * FINE), round(top * FINE), round(right * FINE) - 1, round(bottom * FINE) - 1)
