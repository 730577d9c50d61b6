"""Render a scene as a picture: the same scene and style give the same pixels on every machine."""

from collections.abc import Callable
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np
from PIL import Image, ImageChops

from insightv_core.errors import UserError
from insightv_core.nano import scenes
from insightv_core.nano.drawing import charts, diagrams
from insightv_core.nano.drawing.canvas import SIZE, Box, Canvas

__all__ = ["SIZE", "render"]

DRAWERS: dict[type, Callable[[Canvas, Any], None]] = {
    scenes.BarChart: charts.draw_bar_chart,
    scenes.LineChart: charts.draw_line_chart,
    scenes.PieChart: charts.draw_pie_chart,
    scenes.Table: charts.draw_table,
    scenes.ProductionTable: charts.draw_production_table,
    scenes.ShapeGrid: diagrams.draw_shape_grid,
    scenes.Triangle: diagrams.draw_triangle,
    scenes.Polygon: diagrams.draw_polygon,
    scenes.RouteMap: diagrams.draw_route_map,
}
NOISE_TILE = 1024
NOISE_ZERO = 128


def render(scene: scenes.Scene, style: scenes.Style) -> Image.Image:
    """Draw `scene` in the looks of `style`; return an RGB picture of SIZE x SIZE pixels.

    Raises UserError when `scene` is not one of the kinds in scenes.py.
    """
    return render_with_words(scene, style)[0]


def render_with_words(scene: scenes.Scene, style: scenes.Style) -> tuple[Image.Image, list[tuple[str, Box]]]:
    """Draw `scene` and also return what can be read where, as (word, (left, top, right, bottom) in pixels)."""
    drawer = DRAWERS.get(type(scene))
    if drawer is None:
        known = ", ".join(kind.__name__ for kind in DRAWERS)
        raise UserError(f"cannot draw a {type(scene).__name__}: it is not a kind of scene; pass one of {known}")
    canvas = Canvas(style)
    drawer(canvas, scene)
    picture = canvas.finish()
    return (_add_noise(picture, style) if style.noise else picture), canvas.words


@lru_cache(maxsize=5)
def _make_noise_tile(deviation: int) -> Image.Image:
    # Drawing normal numbers takes longer than the picture itself, so all pictures share one large tile.
    noise = np.random.default_rng(deviation).standard_normal((NOISE_TILE, NOISE_TILE, 3), dtype=np.float32)
    return Image.fromarray(np.clip(np.rint(noise * deviation + NOISE_ZERO), 0, 255).astype(np.uint8))


def _add_noise(picture: Image.Image, style: scenes.Style) -> Image.Image:
    rng = Random(style.seed)
    left, top = rng.randrange(NOISE_TILE - SIZE), rng.randrange(NOISE_TILE - SIZE)
    noise = _make_noise_tile(style.noise).crop((left, top, left + SIZE, top + SIZE))
    return ImageChops.add(picture, noise, 1, -NOISE_ZERO)
