"""Spheres and boxes whose measures are known, on straight, turned and tilted grids."""

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lungseg3d.analysis import axial_diameters_mm, kind_of, measure_lungs, measure_nodules
from lungseg3d.core import GeometryError, Grid, Lung, Volume

THIN = Grid((48, 48, 28), np.array([[0.7, 0, 0, 20], [0, 0.7, 0, -40], [0, 0, 1.25, 100], [0, 0, 0, 1]]))


def world_of(grid: Grid) -> np.ndarray:
    return grid.to_world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))


def make_ellipsoid(grid: Grid, radii_mm, centre_mm=None, turn_deg: float = 0.0) -> np.ndarray:
    centre = grid.to_world((np.array(grid.shape) - 1) / 2) if centre_mm is None else np.array(centre_mm)
    offset = (world_of(grid) - centre) @ Rotation.from_euler("z", turn_deg, degrees=True).as_matrix()
    return ((offset / np.array(radii_mm)) ** 2).sum(axis=-1) <= 1


def make_ct(grid: Grid, mask: np.ndarray, hu: int = 30) -> Volume:
    return Volume(np.where(mask, hu, -850).astype(np.int16), grid.affine)


def on(grid: Grid, mask: np.ndarray) -> Volume:
    return Volume(mask.astype(np.uint16), grid.affine)


def turned(grid: Grid, order, signs) -> tuple[Grid, tuple]:
    """The same place with axes permuted and flipped, and how to index an array of `grid` to get there."""
    affine = np.zeros((4, 4))
    affine[:, 3] = grid.affine[:, 3]
    for axis, (source, sign) in enumerate(zip(order, signs, strict=True)):
        affine[:3, axis] = sign * grid.affine[:3, source]
        if sign < 0:
            affine[:3, 3] += grid.affine[:3, source] * (grid.shape[source] - 1)
    return Grid(tuple(grid.shape[o] for o in order), affine), tuple(slice(None, None, s) for s in signs)


@pytest.mark.parametrize("offset_mm", [(0, 0, 0), (0.2, 0.1, 0.3), (0.35, 0.35, 0.6)])
def test_a_10_mm_sphere_measures_10_mm_on_an_anisotropic_grid(offset_mm):
    centre_mm = THIN.to_world((np.array(THIN.shape) - 1) / 2) + offset_mm
    mask = make_ellipsoid(THIN, (5, 5, 5), centre_mm)
    (nodule,) = measure_nodules(make_ct(THIN, mask), on(THIN, mask))
    assert nodule.diameters.equivalent_mm == pytest.approx(10, abs=0.1)
    assert nodule.volume_mm3 == pytest.approx(np.pi / 6 * 1000, rel=0.03)
    assert nodule.long_axis_mm == pytest.approx(10, abs=0.7)  # one pixel; the mean error follows
    assert nodule.diameters.perpendicular_mm == pytest.approx(10, abs=0.7)
    assert np.allclose(nodule.centroid.ras_mm, centre_mm, atol=0.1)


def test_the_mean_error_of_the_long_axis_of_a_10_mm_sphere_is_below_0_2_mm():
    rng = np.random.default_rng(3)
    middle = THIN.to_world((np.array(THIN.shape) - 1) / 2)
    errors = []
    for _ in range(20):
        mask = make_ellipsoid(THIN, (5, 5, 5), middle + rng.uniform(-0.5, 0.5, 3) * THIN.spacing_mm)
        errors.append(axial_diameters_mm(mask, THIN)[0] - 10)
    assert abs(np.mean(errors)) < 0.2


@pytest.mark.parametrize("turn_deg", [0, 20, 45, 70])
def test_axes_of_an_ellipse_in_any_direction_are_known_to_a_pixel_and_to_0_3_mm_on_average(turn_deg):
    rng = np.random.default_rng(turn_deg)
    middle = THIN.to_world((np.array(THIN.shape) - 1) / 2)
    centres = [middle + rng.uniform(-0.5, 0.5, 3) * THIN.spacing_mm for _ in range(10)]
    measured = [axial_diameters_mm(make_ellipsoid(THIN, (9, 5, 5), centre, turn_deg), THIN) for centre in centres]
    errors = np.array(measured) - (18, 10)
    assert np.abs(errors).max() < 0.7
    assert np.abs(errors.mean(axis=0)).max() < 0.3


def test_the_long_axis_is_axial_even_when_the_nodule_is_longest_along_z():
    grid = Grid((30, 30, 60), np.diag([1.0, 1.0, 1.0, 1.0]))
    long_mm, _ = axial_diameters_mm(make_ellipsoid(grid, (5, 5, 20)), grid)
    assert long_mm == pytest.approx(10, abs=0.4)


def test_one_voxel_has_a_diameter_near_its_own_size():
    mask = np.zeros(THIN.shape, bool)
    mask[20, 20, 10] = True
    long_mm, across_mm = axial_diameters_mm(mask, THIN)
    assert 0.7 <= long_mm <= 1.0
    assert 0.6 <= across_mm <= long_mm


@pytest.mark.parametrize("seed", range(8))
def test_any_scatter_of_voxels_has_diameters_within_its_box(seed):
    random = np.random.default_rng(seed)
    for _ in range(20):
        mask = random.random((5, 4, 3)) < random.uniform(0.02, 0.9)
        mask[0, 0, 0] = True
        long_mm, across_mm = axial_diameters_mm(mask, THIN)
        assert 0 < across_mm <= long_mm <= np.hypot(6, 5) * 0.7


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (-1, -1, -1)])
def test_a_turned_scan_gives_the_same_measures(order, signs):
    centre_mm = (34.0, -25.0, 112.0)
    mask = make_ellipsoid(THIN, (7, 4, 5), centre_mm, turn_deg=30)
    lungs = make_ellipsoid(THIN, (12, 12, 14)).astype(np.uint8)
    (straight,) = measure_nodules(make_ct(THIN, mask), on(THIN, mask), lungs=Volume(lungs, THIN.affine))
    grid, flips = turned(THIN, order, signs)
    ct, ids, sides = (
        Volume(a.transpose(order)[flips], grid.affine)
        for a in (make_ct(THIN, mask).array, mask.astype(np.uint16), lungs)
    )
    (nodule,) = measure_nodules(ct, ids, lungs=sides)
    for name in ("volume_mm3", "long_axis_mm", "perpendicular_mm", "centroid_ras_mm", "pleura_distance_mm", "mean_hu"):
        assert nodule.value(name) == pytest.approx(straight.value(name), abs=1e-6), name
    assert np.allclose(grid.to_world(np.array(nodule.centroid.voxel)), straight.centroid.ras_mm)


@pytest.mark.parametrize("kind", ["oblique", "sheared"])
def test_a_sphere_keeps_its_measures_on_a_tilted_grid(kind):
    affine = np.diag([0.7, 0.7, 1.0, 1.0])
    if kind == "oblique":
        affine[:3, :3] = Rotation.from_euler("xyz", [15, 10, 25], degrees=True).as_matrix() @ affine[:3, :3]
    else:
        affine[1, 2] = np.tan(np.radians(20)) * 1.0
    grid = Grid((40, 40, 30), affine)
    mask = make_ellipsoid(grid, (6, 6, 6))
    (nodule,) = measure_nodules(make_ct(grid, mask), on(grid, mask))
    assert nodule.volume_mm3 == pytest.approx(np.pi / 6 * 1728, rel=0.03)
    assert nodule.long_axis_mm == pytest.approx(12, abs=0.4)
    assert nodule.diameters.perpendicular_mm == pytest.approx(12, abs=0.4)


def test_world_centres_are_named_rightly_and_lps_turns_x_and_y():
    mask = np.zeros(THIN.shape, bool)
    mask[10:13, 20:23, 5] = True
    (nodule,) = measure_nodules(make_ct(THIN, mask), on(THIN, mask))
    assert nodule.centroid.voxel == pytest.approx((11, 21, 5))
    assert nodule.centroid.ras_mm == pytest.approx((27.7, -25.3, 106.25))
    assert nodule.centroid.lps_mm == pytest.approx((-27.7, 25.3, 106.25))


def test_hu_are_those_inside_the_mask_and_the_solid_part_lies_above_minus_300():
    mask = np.zeros(THIN.shape, bool)
    mask[10:14, 10, 10] = True
    ct = make_ct(THIN, mask)
    ct.array[10:14, 10, 10] = (-600, -300, 0, 100)
    (nodule,) = measure_nodules(ct, on(THIN, mask))
    assert nodule.density.mean_hu == pytest.approx(-200)
    assert nodule.density.sd_hu == pytest.approx(np.std([-600, -300, 0, 100]))
    assert nodule.density.solid_fraction == 0.5
    assert nodule.kind == "solid"


@pytest.mark.parametrize(("solid_fraction", "kind"), [(0.0, "ground-glass"), (0.1, "part-solid"), (0.6, "solid")])
def test_the_kind_follows_the_solid_part(solid_fraction, kind):
    assert kind_of(solid_fraction) == kind


def test_nodules_come_largest_first_with_their_own_ids_and_confidences():
    ids = np.zeros(THIN.shape, np.uint16)
    ids[2:4, 2:4, 2:4] = 1
    ids[10:20, 10:20, 10:14] = 3  # no nodule 2
    nodules = measure_nodules(make_ct(THIN, ids > 0), Volume(ids, THIN.affine), confidence=(0.9, 0.1, 0.7))
    assert [(n.id, n.certainty.confidence) for n in nodules] == [(3, 0.7), (1, 0.9)]
    assert measure_nodules(make_ct(THIN, ids > 9), Volume(ids * 0, THIN.affine)) == []
    with pytest.raises(ValueError, match="nodule 3 has no confidence"):
        measure_nodules(make_ct(THIN, ids > 0), Volume(ids, THIN.affine), confidence=(0.9,))


def test_volumes_on_two_grids_are_refused():
    mask = np.zeros(THIN.shape, bool)
    with pytest.raises(GeometryError, match="lung map"):
        measure_nodules(make_ct(THIN, mask), on(THIN, mask), lungs=Volume(mask[1:], THIN.affine))


MM = Grid((60, 30, 30), np.diag([1.0, 1.0, 1.0, 1.0]))


def make_lung_block() -> np.ndarray:
    """Left lung at x 2-27, right lung at x 32-57 (RAS: +x is right), y and z 2-27."""
    lungs = np.zeros(MM.shape, np.uint8)
    lungs[2:28, 2:28, 2:28] = 2
    lungs[32:58, 2:28, 2:28] = 1
    return lungs


@pytest.mark.parametrize("carved", [False, True])
def test_side_and_distance_to_the_pleura_are_known_whether_or_not_the_lung_map_holds_the_nodule(carved):
    lungs = make_lung_block()
    ids = np.zeros(MM.shape, np.uint16)
    ids[40:44, 10:14, 9:13] = 1  # 7 mm above the lung's floor at z = 2, 8 mm from the others
    ids[6:10, 10:14, 10:14] = 2  # 4 mm from x = 2
    if carved:
        lungs[ids > 0] = 3
    found = measure_nodules(make_ct(MM, ids > 0), Volume(ids, MM.affine), lungs=Volume(lungs, MM.affine))
    right, left = sorted(found, key=lambda nodule: nodule.id)
    assert (right.side, left.side) == ("right", "left")
    assert right.position.pleura_distance_mm == pytest.approx(7)
    assert left.position.pleura_distance_mm == pytest.approx(4)


def test_a_nodule_that_touches_or_crosses_the_pleura_has_distance_0():
    lungs = make_lung_block()
    ids = np.zeros(MM.shape, np.uint16)
    ids[2:6, 10:14, 10:14] = 1
    ids[54:60, 10:14, 10:14] = 2
    found = measure_nodules(make_ct(MM, ids > 0), Volume(ids, MM.affine), lungs=Volume(lungs, MM.affine))
    places = {nodule.id: (nodule.side, nodule.position.pleura_distance_mm) for nodule in found}
    assert places == {1: ("left", 0.0), 2: ("right", 0.0)}


def test_side_is_that_of_the_nearest_lung_and_unknown_without_lungs():
    ids = np.zeros(MM.shape, np.uint16)
    ids[58:60, 10:12, 10:12] = 1
    ct, nodules = make_ct(MM, ids > 0), Volume(ids, MM.affine)
    assert measure_nodules(ct, nodules, lungs=Volume(make_lung_block(), MM.affine))[0].side == "right"
    for lungs in (None, Volume(np.zeros(MM.shape, np.uint8), MM.affine)):
        (nodule,) = measure_nodules(ct, nodules, lungs=lungs)
        assert (nodule.side, nodule.position.pleura_distance_mm) == ("unknown", None)


def test_lung_volumes_count_a_nodule_to_the_lung_around_it():
    lungs = make_lung_block()
    lungs[40:44, 10:14, 10:14] = 3
    lungs[2:12, 2:12, 2:12] = 3
    each_ml = 26**3 / 1000
    assert measure_lungs(Volume(lungs, MM.affine)) == (Lung("right_lung", each_ml), Lung("left_lung", each_ml))
    assert measure_lungs(Volume(lungs * 0, MM.affine)) == ()
