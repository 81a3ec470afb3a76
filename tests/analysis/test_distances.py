"""Distances without a distance transform of everything: equal to it, in any order of memory, on any spacing."""

import numpy as np
import pytest
from scipy import ndimage

from lungseg3d.analysis.distances import shortest_way, surface, within

SPACINGS = [(1.0, 1.0, 1.0), (0.7, 0.7, 2.5), (3.0, 1.0, 0.5)]


@pytest.mark.parametrize("spacing_mm", SPACINGS)
@pytest.mark.parametrize("radius_mm", [0.0, 1.0, 2.5, 6.0, 40.0])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_lies_within_a_radius_is_what_a_distance_transform_says(spacing_mm, radius_mm, order):
    mask = np.asarray(np.random.default_rng(3).random((14, 11, 9)) < 0.01, order=order)
    mask[0, 5, 8] = True
    expected = ndimage.distance_transform_edt(~mask, sampling=spacing_mm) <= radius_mm
    assert np.array_equal(within(mask, radius_mm, spacing_mm), expected)


def test_nothing_lies_within_any_distance_of_nothing():
    assert not within(np.zeros((5, 5, 5), bool), 3.0, (1.0, 1.0, 1.0)).any()


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_the_shortest_way_is_the_least_of_a_distance_transform(spacing_mm):
    mask = np.random.default_rng(4).random((16, 16, 16)) < 0.002
    start = ~mask & (np.random.default_rng(5).random(mask.shape) < 0.002)
    mm, step = shortest_way(start, mask, spacing_mm)
    assert mm == ndimage.distance_transform_edt(~mask, sampling=spacing_mm)[start].min()
    assert np.linalg.norm(step * np.array(spacing_mm)) == pytest.approx(mm)


def test_the_surface_of_a_cube_is_all_but_its_middle():
    cube = np.zeros((5, 5, 5), bool)
    cube[1:4, 1:4, 1:4] = True
    inner = cube & ~surface(cube)
    assert np.argwhere(inner).tolist() == [[2, 2, 2]]
