"""Surface distances of shapes whose distances are known, and the same numbers as MONAI's."""

import math

import numpy as np
import pytest

from lungseg3d.metrics import (
    SurfaceDistances,
    hd95_mm,
    mean_surface_distance_mm,
    normalised_surface_dice,
    surface_distances_mm,
)

SPACING_MM = (0.7, 0.8, 2.5)


def make_cube(start: int, stop: int, size: int = 20) -> np.ndarray:
    mask = np.zeros((size, size, size), bool)
    mask[start:stop, start:stop, start:stop] = True
    return mask


def make_sphere(diameter_mm: float, spacing_mm: float = 0.5, size: int = 60) -> np.ndarray:
    axis = (np.arange(size) - (size - 1) / 2) * spacing_mm
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    return x**2 + y**2 + z**2 <= (diameter_mm / 2) ** 2


def test_equal_masks_lie_0_mm_apart():
    cube = make_cube(5, 12)
    assert hd95_mm(cube, cube, SPACING_MM) == mean_surface_distance_mm(cube, cube, SPACING_MM) == 0.0
    assert normalised_surface_dice(cube, cube, SPACING_MM, tolerance_mm=0) == 1.0


def test_a_slab_moved_by_two_slices_lies_5_mm_away():
    slab, moved = np.zeros((2, 10, 10, 20), bool)
    slab[:, :, 5], moved[:, :, 7] = True, True
    assert hd95_mm(slab, moved, SPACING_MM) == mean_surface_distance_mm(slab, moved, SPACING_MM) == pytest.approx(5.0)
    assert normalised_surface_dice(slab, moved, SPACING_MM, tolerance_mm=4.99) == 0.0
    assert normalised_surface_dice(slab, moved, SPACING_MM, tolerance_mm=5.01) == 1.0


def test_concentric_spheres_of_10_and_14_mm_lie_2_mm_apart():
    small, large = make_sphere(10), make_sphere(14)
    spacing_mm = (0.5, 0.5, 0.5)
    assert mean_surface_distance_mm(small, large, spacing_mm) == pytest.approx(2, abs=0.15)
    assert hd95_mm(small, large, spacing_mm) == pytest.approx(2, abs=0.35)
    assert normalised_surface_dice(small, large, spacing_mm, tolerance_mm=1.2) == 0.0
    assert normalised_surface_dice(small, large, spacing_mm, tolerance_mm=2.8) == 1.0


def test_one_far_voxel_among_many_does_not_move_the_95_percent_distance():
    cube = make_cube(5, 12)
    with_speck = cube.copy()
    with_speck[19, 19, 19] = True
    assert hd95_mm(with_speck, cube, (1, 1, 1)) == 0.0
    assert surface_distances_mm(with_speck, cube, (1, 1, 1))[0].max() == pytest.approx(8 * math.sqrt(3))


def test_empty_masks_agree_with_each_other_and_with_nothing_else():
    empty, cube = make_cube(5, 5), make_cube(5, 12)
    assert hd95_mm(empty, empty, SPACING_MM) == mean_surface_distance_mm(empty, empty, SPACING_MM) == 0.0
    assert normalised_surface_dice(empty, empty, SPACING_MM, tolerance_mm=1) == 1.0
    for pair in ((empty, cube), (cube, empty)):
        assert hd95_mm(*pair, SPACING_MM) == mean_surface_distance_mm(*pair, SPACING_MM) == math.inf
        assert normalised_surface_dice(*pair, SPACING_MM, tolerance_mm=1) == 0.0


def test_a_mask_that_fills_the_array_has_a_surface_at_its_border():
    full = np.ones((4, 4, 4), bool)
    assert surface_distances_mm(full, full, (1, 1, 1))[0].size == 4**3 - 2**3


def test_a_negative_tolerance_and_two_shapes_are_refused():
    cube = make_cube(5, 12)
    with pytest.raises(ValueError, match="tolerance"):
        normalised_surface_dice(cube, cube, SPACING_MM, tolerance_mm=-1)
    with pytest.raises(ValueError, match="different grids"):
        hd95_mm(cube, cube[1:], SPACING_MM)


@pytest.mark.parametrize("seed", range(5))
def test_surface_metrics_equal_monais_on_random_blobs(seed):
    import torch
    from monai.metrics import HausdorffDistanceMetric, SurfaceDiceMetric, SurfaceDistanceMetric
    from scipy import ndimage

    random = np.random.default_rng(seed)
    prediction, reference = (ndimage.gaussian_filter(random.normal(size=(18, 16, 12)), 2) > 0.02 for _ in range(2))
    ours, theirs = (torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (prediction, reference))
    given = {"spacing": list(SPACING_MM)}
    hausdorff = HausdorffDistanceMetric(include_background=True, percentile=95)(ours, theirs, **given)
    mean = SurfaceDistanceMetric(include_background=True, symmetric=True)(ours, theirs, **given)
    share = SurfaceDiceMetric([1.5], include_background=True)(ours, theirs, **given)
    assert hd95_mm(prediction, reference, SPACING_MM) == pytest.approx(float(hausdorff), abs=1e-4)
    assert mean_surface_distance_mm(prediction, reference, SPACING_MM) == pytest.approx(float(mean), abs=1e-4)
    nsd = normalised_surface_dice(prediction, reference, SPACING_MM, tolerance_mm=1.5)
    assert nsd == pytest.approx(float(share), abs=1e-5)


def test_hd100_is_the_largest_distance_where_hd95_leaves_one_spike_out():
    ours, theirs = np.zeros((2, 40, 20, 20), bool)
    ours[5:15, 5:15, 5:15] = theirs[5:15, 5:15, 5:15] = True
    ours[15:25, 10, 10] = True
    found = SurfaceDistances.between(ours, theirs, (2.0, 1.0, 1.0))
    assert found.hd100_mm == 20.0
    assert found.hd95_mm < 3
    empty = np.zeros_like(ours)
    assert SurfaceDistances.between(empty, empty, (1, 1, 1)).hd100_mm == 0.0
    assert SurfaceDistances.between(ours, empty, (1, 1, 1)).hd100_mm == float("inf")
