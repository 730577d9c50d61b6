"""Pictures of scenes: size, sameness, colours, shapes true to the numbers, and nothing cut off."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from insightv_core.errors import UserError
from insightv_core.nano import scenes
from insightv_core.nano.drawing.canvas import PALETTES
from insightv_core.nano.render import SIZE, render
from insightv_core.nano.scenes import COLORS, LEVELS, SHAPES, BarChart, LineChart, Mark, PieChart, ShapeGrid, Style

SAMPLERS = (
    scenes.sample_bar_chart,
    scenes.sample_line_chart,
    scenes.sample_pie_chart,
    scenes.sample_table,
    scenes.sample_production_table,
    scenes.sample_shape_grid,
    scenes.sample_triangle,
    scenes.sample_polygon,
    scenes.sample_route_map,
)
each_kind = pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.__name__[7:])
each_palette = pytest.mark.parametrize("palette", range(len(PALETTES)))


PLAIN = Style()


def draw_pixels(scene, style=PLAIN):
    return np.asarray(render(scene, style)).astype(np.int16)


def find_color(pixels, palette, name):
    """Return the mask of the pixels with exactly the shade of a colour name."""
    return (pixels == PALETTES[palette].colors[name]).all(axis=-1)


def name_nearest(pixel, palette):
    shades = PALETTES[palette].colors
    return min(shades, key=lambda name: sum((int(a) - b) ** 2 for a, b in zip(pixel, shades[name], strict=True)))


@each_kind
def test_same_scene_and_style_give_the_same_rgb_picture(sampler):
    scene, style = sampler(Random(5), 2), Style(noise=2, seed=9)
    picture = render(scene, style)
    assert (picture.mode, picture.size, SIZE) == ("RGB", (448, 448), 448)
    assert picture.tobytes() == render(scene, style).tobytes()


@each_kind
@pytest.mark.parametrize("level", LEVELS)
def test_every_level_renders_within_a_clear_border(sampler, level):
    for seed in range(8):
        rng = Random(seed)
        style = replace(scenes.sample_style(rng), noise=0)
        if seed < 2:
            style = replace(style, shift=((12, -12), (-12, 12))[seed], scale=1.0, font_size=34)
        pixels = draw_pixels(sampler(rng, level), style)
        paper = np.array(PALETTES[style.palette].paper)
        assert (pixels != paper).any(axis=-1).sum() > 2000, (seed, style)
        border = np.concatenate([pixels[:3], pixels[-3:], pixels[:, :3].swapaxes(0, 1), pixels[:, -3:].swapaxes(0, 1)])
        assert (border == paper).all(), (seed, style)


@each_kind
def test_looks_change_the_pixels(sampler):
    scene = sampler(Random(3), 2)
    changes = [{"palette": 1}, {"shift": (9, -7)}, {"scale": 0.9}, {"noise": 3}]
    if sampler is not scenes.sample_shape_grid:
        changes += [{"font": 1}, {"font_size": 26}]
    for change in changes:
        assert (draw_pixels(scene) != draw_pixels(scene, replace(PLAIN, **change))).any(), change


@pytest.mark.parametrize(
    "sampler", [scenes.sample_pie_chart, scenes.sample_triangle, scenes.sample_polygon, scenes.sample_route_map]
)
def test_seed_changes_the_layout(sampler):
    scene = sampler(Random(3), 2)
    assert (draw_pixels(scene, Style(seed=1)) != draw_pixels(scene, Style(seed=2))).any()


@each_kind
def test_noise_is_slight_and_of_the_asked_deviation(sampler):
    scene = sampler(Random(8), 2)
    difference = draw_pixels(scene, Style(noise=3)) - draw_pixels(scene)
    # Light paper is cut off at 255, which takes some of the noise away.
    assert 1.5 < difference.std() < 3.3
    assert abs(difference.mean()) < 0.6
    other = draw_pixels(scene, Style(noise=3, seed=1)) - draw_pixels(scene, Style(seed=1))
    assert (difference != other).any()


@each_palette
@pytest.mark.parametrize("value_labels", [True, False])
def test_bars_are_as_high_as_their_values(palette, value_labels):
    values = (1, 2, 4, 5, 7, 8, 10, 12)
    scene = BarChart("Sales", scenes.FRUITS[:8], COLORS, values)
    pixels = draw_pixels(scene, Style(palette=palette, value_labels=value_labels))
    heights, places = [], []
    for color in COLORS:
        rows, columns = np.nonzero(find_color(pixels, palette, color))
        heights.append(np.ptp(rows) + 2)
        places.append(columns.mean())
    assert places == sorted(places)
    assert np.allclose(np.array(heights) / heights[-1], np.array(values) / values[-1], atol=0.015)


@each_palette
def test_slices_are_as_large_as_their_values(palette):
    values = (4, 6, 8, 9, 11, 13, 15)
    pixels = draw_pixels(PieChart("Votes", COLORS[:7], values), Style(palette=palette, seed=palette))
    areas = np.array([find_color(pixels, palette, color).sum() for color in COLORS[:7]])
    # The numbers and the lines between slices hide a few pixels.
    assert np.allclose(areas / areas.sum(), np.array(values) / sum(values), atol=0.02)


def test_line_has_its_color_and_rises_to_its_values():
    scene = LineChart("Rain", "green", scenes.MONTHS[:6], (1, 3, 5, 7, 9, 11))
    for value_labels in (True, False):
        pixels = draw_pixels(scene, Style(value_labels=value_labels))
        found = {color for color in COLORS if find_color(pixels, 0, color).sum() > 300}
        assert found == {"green"}
        rows, columns = np.nonzero(find_color(pixels, 0, "green"))
        assert np.corrcoef(rows, columns)[0, 1] < -0.99


@each_palette
@pytest.mark.parametrize("shape", SHAPES)
def test_marks_stand_in_their_cells_with_colors_that_survive_a_small_picture(palette, shape):
    cells = [[Mark(shape, color) for color in COLORS[:3]], [Mark(shape, color) for color in COLORS[3:6]]]
    cells.append([Mark(shape, COLORS[6]), None, Mark(shape, COLORS[7])])
    picture = render(ShapeGrid(tuple(map(tuple, cells))), Style(palette=palette))
    small = picture.resize((144, 144))
    for row in range(3):
        for column in range(3):
            pixel = small.getpixel((72 + 44 * (column - 1), 72 + 44 * (row - 1)))
            mark = cells[row][column]
            if mark is None:
                assert min(pixel) > 230
            else:
                assert name_nearest(pixel, palette) == mark.color


def test_shapes_differ_from_each_other():
    masks = [
        find_color(draw_pixels(ShapeGrid(((Mark(shape, "red"), None), (None, None)))), 0, "red") for shape in SHAPES
    ]
    for number, first in enumerate(masks):
        assert first.sum() > 4000
        for second in masks[number + 1 :]:
            assert (first & second).sum() < 0.85 * (first | second).sum()


@each_palette
def test_color_names_are_far_apart(palette):
    shades = [np.array(shade) for shade in (*PALETTES[palette].colors.values(), PALETTES[palette].paper)]
    for number, first in enumerate(shades):
        for second in shades[number + 1 :]:
            assert np.linalg.norm(first - second) > 65


def test_axis_and_its_lines_are_there_whenever_values_are_not_written():
    scene = BarChart("Sales", ("pen", "cup", "book"), ("red", "blue", "green"), (2, 4, 3))
    bare = draw_pixels(scene, Style(value_labels=False, grid_lines=False))
    assert (bare == draw_pixels(scene, Style(value_labels=False, grid_lines=True))).all()
    grid = (bare == PALETTES[0].grid).all(axis=-1)
    lines = np.nonzero(grid.sum(axis=1) > 60)[0]
    # Zero is covered by the base line; 1, 2, 3 and 4 remain.
    assert 1 + (np.diff(lines) > 5).sum() == 4
    written = draw_pixels(scene, Style(value_labels=True, grid_lines=False))
    assert not (written == PALETTES[0].grid).all(axis=-1).any()


@pytest.mark.parametrize("seed", range(8))
def test_triangle_is_true_to_its_angles(seed):
    scene = scenes.sample_triangle(Random(seed), 3)
    pixels = draw_pixels(scene, Style(seed=seed))
    points = np.argwhere((pixels == PALETTES[0].surface).all(axis=-1)).astype(float)
    first = points[np.argmax(np.linalg.norm(points - points.mean(axis=0), axis=1))]
    second = points[np.argmax(np.linalg.norm(points - first, axis=1))]
    across = np.array([second[1] - first[1], first[0] - second[0]])
    third = points[np.argmax(np.abs((points - first) @ across))]
    measured = []
    for corner, one, other in ((first, second, third), (second, third, first), (third, first, second)):
        cosine = (one - corner) @ (other - corner) / np.linalg.norm(one - corner) / np.linalg.norm(other - corner)
        measured.append(np.degrees(np.arccos(cosine)))
    assert np.allclose(sorted(measured), sorted(scene.angles), atol=2.5)


@pytest.mark.parametrize("angles", [(20, 20, 140), (140, 20, 20), (20, 80, 80), (100, 60, 20), (60, 60, 60)])
def test_thin_triangles_find_room_for_their_angles_in_every_font(angles):
    for font in range(2):
        for hidden in range(3):
            render(scenes.Triangle(("A", "B", "C"), angles, hidden), Style(font=font, font_size=34, scale=0.88))


def test_needle_triangle_is_refused_in_one_line():
    with pytest.raises(UserError, match="use angles of at least 20 degrees"):
        render(scenes.Triangle(("A", "B", "C"), (1, 1, 178), 0), Style())


def test_unknown_scene_is_refused():
    with pytest.raises(UserError, match="cannot draw a str"):
        render("a cat", Style())
