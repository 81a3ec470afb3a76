"""Probabilities with known spheres, brought onto other grids."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lungseg3d.analysis import CandidateRule, find_nodules
from lungseg3d.core import Grid, Volume

WORKING = Grid((50, 50, 50), np.diag([1.0, 1.0, 1.0, 1.0]))
FINE = Grid((64, 64, 40), np.diag([0.7, 0.7, 1.25, 1.0]))


def make_probability(*spheres: tuple[tuple[float, float, float], float], high: float = 0.9) -> Volume:
    """Soft-edged spheres (centre in mm, diameter in mm): `high` inside, 0.5 on the surface, fading over 1 mm."""
    world = WORKING.to_world(np.stack(np.meshgrid(*map(np.arange, WORKING.shape), indexing="ij"), axis=-1))
    value = np.zeros(WORKING.shape, np.float32)
    for centre_mm, diameter_mm in spheres:
        inwards_mm = diameter_mm / 2 - np.linalg.norm(world - np.array(centre_mm), axis=-1)
        value = np.maximum(value, np.clip(0.5 + 0.5 * inwards_mm, 0, high).astype(np.float32))
    return Volume(value, WORKING.affine)


def sphere_mm3(diameter_mm: float) -> float:
    return np.pi / 6 * diameter_mm**3


def oblique(shape=(60, 60, 60), spacing_mm=(0.8, 0.9, 1.1)) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [20, -35, 70], degrees=True).as_matrix() * spacing_mm
    affine[:3, 3] = np.array([25, 25, 25]) - affine[:3, :3] @ (np.array(shape) / 2)
    return Grid(shape, affine)


def sheared() -> Grid:
    affine = FINE.affine.copy()
    affine[1, 2] = np.tan(np.radians(20)) * 1.25
    affine[1, 3] = -8
    return Grid(FINE.shape, affine)


def permuted() -> Grid:
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = 1.25, -0.7, 0.7, 1
    affine[0, 3] = 44
    return Grid((40, 64, 64), affine)


GRIDS = {"same": WORKING, "fine": FINE, "oblique": oblique(), "sheared": sheared(), "permuted": permuted()}


@pytest.mark.parametrize("target", GRIDS.values(), ids=GRIDS.keys())
def test_a_12_mm_sphere_keeps_volume_and_place_on_any_grid(target):
    centre_mm = np.array([24.3, 25.6, 26.1])
    found = find_nodules(make_probability((tuple(centre_mm), 12)), target)
    mask = found.labels.array == 1
    assert found.labels.array.dtype == np.uint16
    assert found.labels.grid.matches(target)
    assert mask.sum() * target.voxel_volume_mm3 == pytest.approx(sphere_mm3(12), rel=0.03)
    assert np.allclose(target.to_world(np.argwhere(mask).mean(axis=0)), centre_mm, atol=0.15)


def test_the_largest_nodule_is_1_and_confidence_follows_the_ids():
    probability = make_probability(((12, 12, 12), 6), ((30, 30, 30), 12))
    array = probability.array.copy()
    array[20:, 20:, 20:] *= np.float32(0.8)
    found = find_nodules(probability.with_array(array), FINE)
    sizes = np.bincount(found.labels.array.ravel())
    assert len(sizes) == 3
    assert sizes[1] > 4 * sizes[2]
    assert found.labels.array[tuple(np.rint(FINE.to_voxel(np.array([30, 30, 30]))).astype(int))] == 1
    large, small = array[20:, 20:, 20:], array[:20, :20, :20]
    assert found.confidence == pytest.approx((large[large >= 0.5].mean(), small[small >= 0.5].mean()))


def test_the_confidence_is_that_of_the_network_however_thick_the_slices_are():
    probability = make_probability(((25, 25, 25), 6))
    thick = Grid((64, 64, 10), np.diag([0.8, 0.8, 5.0, 1.0]))
    confidences = [find_nodules(probability, target).confidence for target in (FINE, thick)]
    assert len(confidences[0]) == 1
    assert confidences[0] == confidences[1]


def test_a_weak_peak_and_a_small_volume_are_no_nodule():
    probability = make_probability(((25, 25, 25), 8), high=0.7)
    assert len(find_nodules(probability, FINE, rule=CandidateRule(peak=0.6)).confidence) == 1
    assert find_nodules(probability, FINE, rule=CandidateRule(peak=0.8)).confidence == ()
    assert find_nodules(probability, FINE, rule=CandidateRule(min_volume_mm3=500)).confidence == ()


def test_no_probability_gives_no_nodule():
    found = find_nodules(Volume(np.zeros(WORKING.shape, np.float32), WORKING.affine), FINE)
    assert found.confidence == ()
    assert not found.labels.array.any()


def test_a_nodule_outside_the_lungs_is_dropped_and_one_on_their_border_kept_whole():
    inside, border, outside = (12, 25, 25), (25.5, 25, 25), (40, 25, 25)
    probability = make_probability((inside, 8), (border, 8), (outside, 8))
    lungs = np.zeros((14, 25, 25), np.uint8)
    lungs[:13] = 1  # 2 mm voxels: lung up to x = 25 mm
    found = find_nodules(probability, FINE, lungs=Volume(lungs, np.diag([2.0, 2.0, 2.0, 1.0])))
    assert len(found.confidence) == 2
    sizes_mm3 = np.bincount(found.labels.array.ravel())[1:] * FINE.voxel_volume_mm3
    assert sizes_mm3 == pytest.approx([sphere_mm3(8)] * 2, rel=0.05)
    assert find_nodules(probability, FINE, lungs=Volume(lungs * 0, np.diag([2.0, 2.0, 2.0, 1.0]))).confidence == ()


def test_a_piece_of_vessel_is_dropped_and_an_oval_nodule_kept():
    array = np.zeros(WORKING.shape, np.float32)
    array[10:30, 10:13, 10:13] = 1.0  # 20 x 3 x 3 mm
    array[30:40, 30:36, 30:36] = 1.0  # 10 x 6 x 6 mm
    probability = Volume(array, WORKING.affine)
    found = find_nodules(probability, WORKING)
    assert len(found.confidence) == 1
    assert found.labels.array[35, 33, 33] == 1
    assert len(find_nodules(probability, WORKING, rule=CandidateRule(vessel_elongation=99)).confidence) == 2


def test_a_cavity_is_filled():
    array = make_probability(((25, 25, 25), 14)).array.copy()
    array[24:27, 24:27, 24:27] = 0
    filled = find_nodules(Volume(array, WORKING.affine), WORKING).labels.array
    hollow = find_nodules(Volume(array, WORKING.affine), WORKING, rule=CandidateRule(fill_holes=False)).labels.array
    assert filled[25, 25, 25] == 1
    assert filled.sum() - hollow.sum() == 27


def test_a_nodule_between_thick_slices_keeps_the_voxel_nearest_to_its_peak():
    thick = Grid((50, 50, 8), np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 7, 0.0], [0, 0, 0, 1]]))
    found = find_nodules(make_probability(((25, 25, 24.5), 4)), thick, rule=CandidateRule(min_volume_mm3=5))
    assert (found.labels.array == 1).sum() == 1


def test_two_nodules_a_voxel_apart_stay_two():
    array = np.zeros(WORKING.shape, np.float32)
    array[10:16, 10:16, 10:16] = 1.0
    array[17:23, 10:16, 10:16] = 1.0
    found = find_nodules(Volume(array, WORKING.affine), FINE)
    assert len(found.confidence) == 2
    assert np.bincount(found.labels.array.ravel())[1:] * FINE.voxel_volume_mm3 == pytest.approx([216, 216], rel=0.15)


def test_a_candidate_outside_the_target_grid_is_dropped():
    far = Grid((10, 10, 10), np.array([[1, 0, 0, 500], [0, 1, 0, 0], [0, 0, 1, 0.0], [0, 0, 0, 1]]))
    assert find_nodules(make_probability(((25, 25, 25), 10)), far).confidence == ()
