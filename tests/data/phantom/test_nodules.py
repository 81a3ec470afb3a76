"""Synthetic nodules: volume, density and frequencies."""

import numpy as np
import pytest

from lungseg3d.core import Grid
from lungseg3d.data import NoduleSpec, make_nodule_specs, nodule_box, nodule_hu, nodule_occupancy


def grid_around(size_mm: float, spacing_mm: tuple[float, float, float]) -> Grid:
    shape = tuple(int(np.ceil(size_mm / s)) for s in spacing_mm)
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = -np.array(spacing_mm) * (np.array(shape) - 1) / 2
    return Grid(shape, affine)


@pytest.mark.parametrize("shape", ["round", "lobulated", "spiculated"])
@pytest.mark.parametrize("diameter_mm", [5.0, 12.0])
def test_a_nodule_has_the_volume_of_its_diameter_whatever_its_shape(shape, diameter_mm):
    grid = grid_around(3 * diameter_mm, (0.7, 0.7, 1.0))
    occupancy = nodule_occupancy(NoduleSpec(diameter_mm, shape=shape, seed=3), grid, (0.2, -0.1, 0.3))
    volume = np.pi / 6 * diameter_mm**3
    assert occupancy.sum() * grid.voxel_volume_mm3 == pytest.approx(volume, rel=0.015)
    assert (occupancy >= 0.5).sum() * grid.voxel_volume_mm3 == pytest.approx(volume, rel=0.08)


def test_a_flipped_and_turned_grid_shows_the_same_nodule():
    spec = NoduleSpec(10.0, shape="lobulated", seed=1)
    straight = grid_around(24, (1.0, 1.0, 1.0))
    flip = np.array([[0, 0, -1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    turned = Grid(straight.shape, flip @ straight.affine)
    same = nodule_occupancy(spec, turned, (0, 0, 0))
    for voxel in ((12, 12, 12), (9, 11, 14), (15, 12, 8)):
        partner = np.rint(straight.to_voxel(turned.to_world(np.array(voxel)))).astype(int)
        assert same[voxel] == pytest.approx(nodule_occupancy(spec, straight, (0, 0, 0))[tuple(partner)], abs=1e-5)


def test_the_box_holds_the_whole_nodule():
    spec, grid = NoduleSpec(14.0, shape="spiculated", seed=7), grid_around(50, (1.0, 1.0, 1.5))
    box = nodule_box(spec, grid, (3, -2, 1))
    assert box is not None
    inside = nodule_occupancy(spec, grid.cropped(box), (3, -2, 1)).sum()
    assert inside == pytest.approx(nodule_occupancy(spec, grid, (3, -2, 1)).sum(), rel=1e-6)
    assert nodule_box(spec, grid, (300, 0, 0)) is None


def test_solid_is_soft_tissue_ground_glass_is_air_and_tissue_part_solid_has_both():
    grid = grid_around(16, (0.8, 0.8, 0.8))
    for texture, low, high in (("solid", 0, 80), ("ground-glass", -720, -400)):
        occupancy, hu = nodule_hu(NoduleSpec(12.0, texture=texture, seed=2), grid, (0, 0, 0))
        assert low < np.median(hu[occupancy > 0.9]) < high
    occupancy, hu = nodule_hu(NoduleSpec(12.0, texture="part-solid", seed=2), grid, (0, 0, 0))
    assert np.percentile(hu[occupancy > 0.9], 2) < -400
    assert np.percentile(hu[occupancy > 0.9], 98) > -20


def test_random_nodules_have_the_sizes_and_textures_of_lidc():
    specs = make_nodule_specs(2000, np.random.default_rng(0))
    diameters = np.array([s.diameter_mm for s in specs])
    assert diameters.min() >= 3
    assert diameters.max() <= 30
    assert np.mean((diameters >= 4) & (diameters <= 12)) > 0.65
    shares = {t: np.mean([s.texture == t for s in specs]) for t in ("solid", "part-solid", "ground-glass")}
    assert 0.72 < shares["solid"] < 0.82
    assert 0.07 < shares["part-solid"] < 0.16
    assert 0.07 < shares["ground-glass"] < 0.16


@pytest.mark.parametrize("wrong", [{"diameter_mm": 0}, {"texture": "hard"}, {"shape": "square"}, {"attachment": "rib"}])
def test_impossible_nodules_are_refused(wrong):
    with pytest.raises(ValueError, match=r"above 0 mm|is none of"):
        NoduleSpec(**{"diameter_mm": 5.0, **wrong})
