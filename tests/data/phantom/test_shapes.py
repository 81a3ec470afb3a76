"""The drawing tools: exact where geometry says what is right."""

import numpy as np
import pytest

from lungseg3d.core import Grid
from lungseg3d.data.phantom.anatomy import LEFT, RIGHT, Anatomy
from lungseg3d.data.phantom.scanner import KERNELS, blur, make_noise
from lungseg3d.data.phantom.shapes import (
    Places,
    RandomField,
    ellipsoid_distance,
    smooth_union,
    soft_step,
)
from lungseg3d.data.phantom.trees import grow_tree, points_in_lung
from lungseg3d.data.phantom.tubes import Tube, paint_tubes


def cube(size_mm: float, spacing_mm: float) -> Places:
    n = int(size_mm / spacing_mm)
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = -spacing_mm * (n - 1) / 2
    return Places.of_grid(Grid((n, n, n), affine))


@pytest.mark.parametrize("radius_mm", [0.3, 0.6, 0.8, 1.5, 4.0])
def test_a_tube_fills_its_own_volume_even_when_thinner_than_a_voxel(radius_mm):
    places = cube(40, 1.25)
    occupancy = np.zeros(places.shape, dtype=np.float32)
    paint_tubes(occupancy, places, [Tube((-3, -30, 2), (9, 30, -5), radius_mm, radius_mm)])
    slope = np.sqrt(12**2 + 60**2 + 7**2) / 60
    area = occupancy.sum(axis=(0, 2)).mean() * 1.25**2
    assert area == pytest.approx(np.pi * radius_mm**2 * slope, rel=0.08)


def test_the_distance_to_an_ellipsoid_is_zero_on_it_and_true_on_its_axes():
    on_axis = Places.of_points(np.array([[20.0, 0, 0], [0, 10, 0], [0, 0, 30], [25, 0, 0], [0, 12, 0], [0, 0, 24]]))
    assert ellipsoid_distance(on_axis, (0, 0, 0), (20, 10, 30))[:3] == pytest.approx([0, 0, 0], abs=0.01)
    assert ellipsoid_distance(on_axis, (0, 0, 0), (20, 10, 30))[3:] == pytest.approx([5, 2, -6], abs=0.02)


def test_a_soft_edge_keeps_the_volume_of_a_ball():
    places = cube(30, 1.5)
    occupancy = soft_step(ellipsoid_distance(places, (0.3, -0.4, 0.2), (10, 10, 10)), places.edge_mm)
    assert occupancy.sum() * 1.5**3 == pytest.approx(4 / 3 * np.pi * 10**3, rel=0.015)


def test_far_from_the_crease_a_smooth_union_is_the_smaller_distance():
    a, b = np.array([5.0, -3.0, 0.0]), np.array([-8.0, 20.0, 0.0])
    assert smooth_union(a, b, 4.0) == pytest.approx([-8, -3, -1])


def test_a_random_field_is_the_same_in_the_world_on_any_grid():
    field = RandomField.of(np.random.default_rng(0), pitch_mm=4.0, period_mm=80)
    coarse, fine = cube(40, 2.0), cube(40, 1.0)
    # Middle of 2 x 2 x 2 fine voxels = a coarse voxel, up to the field's curvature.
    blocks = field.at(fine).reshape(20, 2, 20, 2, 20, 2).mean(axis=(1, 3, 5))
    assert np.abs(blocks - field.at(coarse)).max() < 0.25
    assert field.at(cube(80, 2.0)).std() == pytest.approx(1, abs=0.15)


def test_a_tree_ends_at_every_point_and_never_narrows_towards_the_root():
    points = np.random.default_rng(0).uniform(10, 60, (70, 3))
    tree = grow_tree(np.zeros(3), points, np.arange(70) % 2, np.random.default_rng(1))
    tips = tree.ends[tree.ends_served == 1]
    assert sorted(map(tuple, tips)) == sorted(map(tuple, points))
    children = tree.parents >= 0
    assert (tree.radii_mm[tree.parents[children]] > tree.radii_mm[children]).all()


@pytest.mark.parametrize("side", [RIGHT, LEFT])
def test_vessels_reach_to_within_15_mm_of_every_place_under_the_pleura(side):
    anatomy = Anatomy(0)
    ends = points_in_lung(anatomy, side, np.random.default_rng(0), depth_mm=2.0)
    probes = points_in_lung(anatomy, side, np.random.default_rng(5), depth_mm=2.0)
    gaps = np.linalg.norm(probes[::7, None] - ends[None], axis=-1).min(axis=1)
    assert gaps.max() < 15


def test_the_lung_kernel_is_sharper_and_its_noise_finer_than_the_soft_one():
    step = np.where(np.arange(64)[:, None, None] < 32, -850, 50).astype(np.float32) * np.ones((1, 16, 4), np.float32)
    edges = {k: np.abs(np.diff(blur(step.copy(), (0.7, 0.7, 1.0), KERNELS[k])[:, 8, 2])).max() for k in KERNELS}
    assert edges["lung"] > 1.3 * edges["soft"]
    for name, (low, high) in {"soft": (0.2, 0.8), "lung": (-0.4, 0.3)}.items():
        noise = make_noise((64, 64, 8), (0.7, 0.7, 1.0), KERNELS[name], np.random.default_rng(0))
        assert noise.std() == pytest.approx(1, abs=0.01)
        assert low < np.mean(noise[1:] * noise[:-1]) < high
