"""Polygons fill the pixels whose centre they hold."""

import numpy as np

from lungseg3d.core.polygons import fill_polygons, outline_pixels

SQUARE = np.array([[1.5, 2.5], [5.5, 2.5], [5.5, 6.5], [1.5, 6.5]])


def box(shape, x, y):
    mask = np.zeros(shape, bool)
    mask[x, y] = True
    return mask


def test_a_square_between_pixel_centres_holds_exactly_its_pixels():
    assert np.array_equal(fill_polygons([SQUARE], (10, 9)), box((10, 9), slice(2, 6), slice(3, 7)))


def test_direction_and_first_vertex_do_not_matter():
    turned = np.roll(SQUARE[::-1], 1, axis=0)
    assert np.array_equal(fill_polygons([turned], (10, 9)), fill_polygons([SQUARE], (10, 9)))


def test_a_polygon_inside_another_is_a_hole_and_one_inside_that_is_filled_again():
    nested = [np.array([4.0, 4.0]) + size * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) for size in (3.5, 2.5, 1.5)]
    mask = fill_polygons(nested, (9, 9))
    assert mask.sum() == 7 * 7 - 5 * 5 + 3 * 3
    assert (mask[4, 4], mask[4, 2], mask[4, 1]) == (True, False, True)


def test_a_hole_cut_by_a_keyhole_is_a_hole():
    outer, inner = [[0.5, 0.5], [8.5, 0.5], [8.5, 8.5], [0.5, 8.5]], [[3.5, 3.5], [3.5, 5.5], [5.5, 5.5], [5.5, 3.5]]
    keyhole = np.array([*outer, outer[0], *inner, inner[0]])
    assert fill_polygons([keyhole], (10, 10)).sum() == 8 * 8 - 2 * 2


def test_two_squares_that_share_an_edge_through_pixel_centres_share_no_pixel_and_lose_none():
    left, right = (np.array([[a, 1], [b, 1], [b, 4], [a, 4]], float) for a, b in ((1, 3), (3, 6)))
    parts = [fill_polygons([square], (8, 8)) for square in (left, right)]
    assert not (parts[0] & parts[1]).any()
    assert (parts[0] | parts[1]).sum() == 5 * 3


def test_what_leaves_the_image_is_cut():
    mask = fill_polygons([np.array([[-5.0, -5.0], [2.5, -5.0], [2.5, 20.0], [-5.0, 20.0]])], (6, 4))
    assert np.array_equal(mask, box((6, 4), slice(0, 3), slice(None)))


def test_an_ellipse_has_its_area():
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    ellipse = np.stack([50 + 30.3 * np.cos(angle), 40 + 20.7 * np.sin(angle)], axis=1)
    assert abs(fill_polygons([ellipse], (100, 80)).sum() / (np.pi * 30.3 * 20.7) - 1) < 0.005


def test_an_outline_closes_itself_and_leaves_no_gap():
    pixels = {tuple(p) for p in outline_pixels(np.array([[0, 0], [4, 0], [4, 4]]))}
    assert pixels == {(i, 0) for i in range(5)} | {(4, i) for i in range(5)} | {(i, i) for i in range(5)}


def test_the_outline_of_one_point_is_that_pixel():
    assert outline_pixels(np.array([[3, 2]])).tolist() == [[3, 2]]
