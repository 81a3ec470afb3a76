"""Spheres and ellipsoids of 4 to 20 mm with known volume and axes, on slices of 1 and 2.5 mm; solid parts, places."""

import numpy as np
import pytest

from lungseg3d.analysis import measure_nodules, volume_interval_mm3
from lungseg3d.core import Volume

PIXEL_MM = 0.7


def make_lung(shape, spacing_mm):
    affine = np.diag([*spacing_mm, 1.0])
    ct, labels = np.full(shape, -850, np.int16), np.ones(shape, np.uint8)
    return Volume(ct, affine), Volume(labels, affine)


def away_mm(volume: Volume, centre_mm) -> np.ndarray:
    return volume.grid.to_world(np.moveaxis(np.indices(volume.shape), 0, -1)) - np.array(centre_mm)


def make_ellipsoid(diameters_mm, step_mm, rng):
    """One ellipsoid at a random place of its grid, turned about z at random: (CT, mask).

    A voxel is as bright as it is full (4 x 4 x 4 points of it), and in the mask when its centre is in the ellipsoid.
    """
    spacing = np.array([PIXEL_MM, PIXEL_MM, step_mm])
    shape = (np.max(diameters_mm) / spacing).astype(int) + 14
    ct, _ = make_lung(shape, spacing)
    offset = away_mm(ct, ((shape - 1) / 2 + rng.uniform(-0.5, 0.5, 3)) * spacing)
    turn = rng.uniform(0, np.pi)

    def inside(at):
        x = at[..., 0] * np.cos(turn) + at[..., 1] * np.sin(turn)
        y = at[..., 1] * np.cos(turn) - at[..., 0] * np.sin(turn)
        return sum((v / (d / 2)) ** 2 for v, d in zip((x, y, at[..., 2]), diameters_mm, strict=True)) <= 1

    points = (np.moveaxis(np.indices((4, 4, 4)), 0, -1).reshape(-1, 3) - 1.5) / 4 * spacing
    share = np.mean([inside(offset + point) for point in points], axis=0)
    hu = np.rint(-850 + 890 * share).astype(np.int16)
    return Volume(hu, ct.affine), Volume(inside(offset).astype(np.uint16), ct.affine)


@pytest.mark.parametrize("step_mm", [1.0, 2.5])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 0.8, 0.9)])
@pytest.mark.parametrize("diameter_mm", [4, 6, 8, 12, 20])
def test_spheres_and_ellipsoids_measure_what_they_are(diameter_mm, shape, step_mm):
    rng = np.random.default_rng(7)
    diameters_mm = diameter_mm * np.array(shape)
    true_mm3 = np.pi / 6 * diameters_mm.prod()
    found = [measure_nodules(*make_ellipsoid(diameters_mm, step_mm, rng))[0] for _ in range(12)]
    covered = [n.volume.low_mm3 <= true_mm3 <= n.volume.high_mm3 for n in found]
    assert np.mean(covered) == 1.0
    errors = np.array([(n.volume_mm3 / true_mm3 - 1, n.diameters.mean_mm - diameters_mm[:2].mean()) for n in found])
    # In fewer than four slices, none through the middle, a single mask tells less: up to half a slice is not seen.
    few_slices = diameter_mm * shape[2] < 4 * step_mm
    assert np.abs(errors[:, 0]).mean() < 0.1
    assert np.abs(errors[:, 0]).max() < (0.25 if few_slices else 0.1)
    assert np.abs(errors[:, 1]).mean() < 0.5
    assert np.abs(errors[:, 1]).max() < (step_mm / 2 if few_slices else PIXEL_MM)


def test_the_interval_narrows_with_size_and_widens_with_slices():
    def width(diameter_mm, step_mm, blur_mm=None):
        _, mask = make_ellipsoid([diameter_mm] * 3, step_mm, np.random.default_rng(1))
        low, high = volume_interval_mm3(mask.array > 0, mask.spacing_mm, mask.voxel_volume_mm3, blur_mm)
        return high / low

    assert width(20, 1.0) < width(8, 1.0) < width(5, 1.0)
    assert width(8, 1.0) < width(8, 2.5)
    assert width(8, 1.0, (PIXEL_MM, PIXEL_MM, 1.0)) < width(8, 1.0, (PIXEL_MM, PIXEL_MM, 2.0))


def test_two_measurements_of_a_solid_8_mm_nodule_on_1_mm_slices_differ_by_25_percent_at_most():
    ct, mask = make_ellipsoid([8] * 3, 1.0, np.random.default_rng(1))
    (nodule,) = measure_nodules(ct, mask)
    one = np.log(nodule.volume.high_mm3 / nodule.volume_mm3)
    assert 100 * np.sqrt(2) * one == pytest.approx(25, abs=3)


def test_a_part_solid_nodule_tells_the_size_of_its_solid_part():
    ct, _ = make_lung((48, 48, 40), (0.7, 0.7, 1.0))
    away = np.linalg.norm(away_mm(ct, (16.5, 16.5, 19.5)), axis=-1)
    hu = np.select([away <= 3.5, away <= 8], [30, -550], -850).astype(np.int16)
    (nodule,) = measure_nodules(ct.with_array(hu), ct.with_array((away <= 8).astype(np.uint8)))
    assert nodule.kind == "part-solid"
    assert nodule.solid_part.long_axis_mm == pytest.approx(7, abs=0.7)
    assert nodule.solid_part.perpendicular_mm == pytest.approx(7, abs=0.7)
    assert nodule.solid_part.volume_mm3 == pytest.approx(np.pi / 6 * 343, rel=0.05)
    assert (nodule.size_classes.lung_rads_by_diameter, nodule.size_classes.fleischner_by_diameter) == (
        "4A",
        "part-solid, >=6 mm, solid part >=6 mm",
    )


def test_a_solid_nodule_has_no_solid_part_of_its_own():
    (nodule,) = measure_nodules(*make_ellipsoid([10] * 3, 1.0, np.random.default_rng(1)))
    assert (nodule.solid_part.long_axis_mm, nodule.solid_part.volume_mm3) == (None, None)
    assert (nodule.position.third, nodule.position.vessel_distance_mm) == ("unknown", None)


@pytest.mark.parametrize(("z_mm", "third"), [(8, "lower"), (30, "middle"), (52, "upper")])
def test_the_third_of_the_lung_counts_from_its_base(z_mm, third):
    ct, lungs = make_lung((40, 40, 60), (1.0, 1.0, 1.0))
    mask = np.linalg.norm(away_mm(ct, (20, 20, z_mm)), axis=-1) <= 4
    for turned in (ct, Volume(ct.array[:, :, ::-1], ct.affine @ np.array(FLIP_Z))):
        flip = np.s_[:, :, ::-1] if turned is not ct else np.s_[:]
        (nodule,) = measure_nodules(
            turned, turned.with_array(mask[flip].astype(np.uint8)), lungs=turned.with_array(lungs.array[flip])
        )
        assert (nodule.side, nodule.position.third) == ("right", third)


FLIP_Z = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 59], [0, 0, 0, 1]]


def test_the_way_to_a_vessel_is_measured_from_surface_to_surface():
    ct, lungs = make_lung((70, 50, 40), (0.8, 0.8, 1.0))
    hu = ct.array.copy()
    ball = np.linalg.norm(away_mm(ct, (24, 20, 20)), axis=-1) <= 4
    tube = np.linalg.norm(away_mm(ct, (36, 20, 0))[..., :2], axis=-1) <= 2  # along z, 12 mm from axis to centre
    hu[ball | tube] = 40
    lungs.array[:3] = 0  # a chest wall, far from both
    (nodule,) = measure_nodules(ct.with_array(hu), ct.with_array(ball.astype(np.uint8)), lungs=lungs)
    assert nodule.position.vessel_distance_mm == pytest.approx(12 - 4 - 2, abs=0.8)
    hu[tube] = -850
    (alone,) = measure_nodules(ct.with_array(hu), ct.with_array(ball.astype(np.uint8)), lungs=lungs)
    assert alone.position.vessel_distance_mm is None


def test_the_blurred_rim_of_a_nodule_is_no_vessel():
    ct, lungs = make_lung((60, 60, 40), (0.8, 0.8, 1.0))
    away = np.linalg.norm(away_mm(ct, (24, 24, 20)), axis=-1)
    hu = np.select([away <= 5, away <= 6.5], [40, -300], -850).astype(np.int16)
    (nodule,) = measure_nodules(ct.with_array(hu), ct.with_array((away <= 5).astype(np.uint8)), lungs=lungs)
    assert nodule.position.vessel_distance_mm is None


def test_hu_tell_the_volume_of_a_small_nodule_whose_voxels_do_not():
    cases = [make_ellipsoid([5, 5, 5], 2.5, np.random.default_rng(seed)) for seed in range(6)]
    nodules = [measure_nodules(ct, mask)[0] for ct, mask in cases]
    true_mm3 = np.pi / 6 * 125
    assert {n.volume.method for n in nodules} == {"partial-volume"}
    assert max(abs(n.volume.voxel_sum_mm3 / true_mm3 - 1) for n in nodules) > 0.12
    assert max(abs(n.volume_mm3 / true_mm3 - 1) for n in nodules) < 0.1


def test_voxels_are_counted_where_hu_tell_another_story():
    ct, mask = make_ellipsoid([5, 5, 5], 2.5, np.random.default_rng(0))
    ground_glass = ct.with_array(np.rint(-850 + (ct.array + 850.0) / 3).astype(np.int16))
    beside = ct.array.copy()
    beside[np.flatnonzero(mask.array.any((1, 2)))[-1] + 1 :] = 30
    for other in (ground_glass, ct.with_array(beside)):
        (nodule,) = measure_nodules(other, mask)
        assert (nodule.volume.method, nodule.volume_mm3) == ("voxels", nodule.volume.voxel_sum_mm3)


def test_a_neighbour_a_little_away_is_left_out():
    ct, mask = make_ellipsoid([5, 5, 5], 2.5, np.random.default_rng(0))
    (alone,) = measure_nodules(ct, mask)
    hu = ct.array.copy()
    hu[np.flatnonzero(mask.array.any((1, 2)))[-1] + 4, :, :] = 30
    (nodule,) = measure_nodules(ct.with_array(hu), mask)
    assert nodule.volume.method == "partial-volume"
    assert nodule.volume_mm3 == pytest.approx(alone.volume_mm3, rel=0.05)
