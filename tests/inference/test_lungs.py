"""Lungs from the coarse grid onto the CT's own: right place, right side, whatever the grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lungseg3d.core import Grid, Volume
from lungseg3d.inference import LungsOnSourced, SegmentLungsd
from lungseg3d.inference.lungs import clean_lungs, lungs_on
from lungseg3d.tensors import orthogonalise, resample, to_meta_tensor, to_volume

LUNGS = {1: ((60.0, 5.0, 0.0), (35.0, 50.0, 60.0)), 2: ((-60.0, 0.0, 5.0), (32.0, 48.0, 55.0))}


def world_of(grid: Grid) -> np.ndarray:
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    return grid.to_world(voxels)


def away_from(value: int, world: np.ndarray) -> np.ndarray:
    """Distance from a lung's centre, 1 at its surface."""
    centre, radii = LUNGS[value]
    return np.linalg.norm((world - centre) / np.array(radii), axis=-1)


def lung_map(grid: Grid) -> np.ndarray:
    """Two ellipsoids: 1 to the right of the body (+R, positive x), 2 to the left."""
    world = world_of(grid)
    return np.where(away_from(1, world) <= 1, 1, np.where(away_from(2, world) <= 1, 2, 0)).astype(np.uint8)


def probabilities_on(grid: Grid) -> np.ndarray:
    """What a good network says: one half at the surface, over about 6 mm."""
    world = world_of(grid)
    soft = [1 / (1 + np.exp((away_from(v, world) - 1) * min(LUNGS[v][1]) / 1.5)) for v in (1, 2)]
    return np.stack(soft).astype(np.float32)


def grid_with(order=(0, 1, 2), signs=(1, 1, 1), spacing_mm=(2.6, 3.1, 4.0), shear=0.0, degrees=0.0) -> Grid:
    """240 x 140 x 160 mm around the world's origin."""
    shape = np.ceil(np.array([240, 140, 160]) / spacing_mm).astype(int)[list(order)]
    affine = np.eye(4)
    affine[:3, :3] = np.diag(np.array(spacing_mm) * signs)[:, list(order)]
    affine[1, :3] += shear * affine[2, :3]
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ affine[:3, :3]
    affine[:3, 3] = -affine[:3, :3] @ ((shape - 1) / 2)
    return Grid(tuple(shape), affine)


GRIDS = {
    "plain": grid_with(),
    "flipped": grid_with(signs=(-1, -1, 1)),
    "upside down": grid_with(signs=(1, -1, -1)),
    "permuted": grid_with(order=(2, 0, 1), signs=(-1, 1, 1)),
    "fine, thick slices": grid_with(spacing_mm=(1.5, 1.5, 7.0)),
    "coarser than the working grid": grid_with(spacing_mm=(5.0, 5.0, 5.0)),
    "sheared": grid_with(shear=0.2),
    "sheared and flipped": grid_with(shear=-0.2, signs=(-1, -1, 1)),
    "oblique": grid_with(degrees=8),
}


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def working_of(target: Volume) -> Volume:
    return resample(orthogonalise(target).as_ras(), 3.0)


@pytest.mark.parametrize("name", GRIDS)
def test_lungs_come_back_onto_the_cts_own_grid_on_their_own_sides(name):
    target = Volume(np.zeros(GRIDS[name].shape, np.int16), GRIDS[name].affine)
    working = working_of(target)
    labels = lungs_on(probabilities_on(working.grid), working, target)
    assert labels.grid.matches(target.grid, 1e-6)
    assert labels.array.dtype == np.uint8
    known = lung_map(target.grid)
    for value in (1, 2):
        assert dice(labels.array == value, known == value) > 0.97
        assert ((labels.array == value) & (known == 3 - value)).sum() == 0


def test_a_stray_piece_and_a_hole_are_put_right():
    target = Volume(np.zeros(GRIDS["plain"].shape, np.int16), GRIDS["plain"].affine)
    working = working_of(target)
    probabilities = probabilities_on(working.grid)
    world = world_of(working.grid)
    stray = np.linalg.norm(world - (0, 60, 70), axis=-1) < 7
    hole = np.linalg.norm(world - LUNGS[1][0], axis=-1) < 7
    probabilities[1][stray], probabilities[0][hole] = 0.95, 0.05
    labels = lungs_on(probabilities, working, target)
    known = lung_map(target.grid)
    assert dice(labels.array == 1, known == 1) > 0.97
    assert dice(labels.array == 2, known == 2) > 0.97
    at = np.rint(target.grid.to_voxel(np.array([(0, 60, 70), LUNGS[1][0]]))).astype(int)
    assert labels.array[tuple(at[0])] == 0
    assert labels.array[tuple(at[1])] == 1


def test_no_lung_gives_an_empty_map():
    target = Volume(np.zeros((10, 11, 12), np.int16), np.eye(4))
    labels = lungs_on(np.zeros((2, 5, 5, 5), np.float32), resample(target, 2.2), target)
    assert labels.shape == (10, 11, 12)
    assert not labels.array.any()


def test_less_lung_than_asked_is_none():
    probabilities = np.zeros((2, 20, 20, 20), np.float32)
    probabilities[0, 5:15, 5:15, 5:15] = 1  # 1,000 voxels of 27 mm3: 27 ml
    working = Volume(np.zeros((20, 20, 20), np.int16), np.diag([3.0, 3.0, 3.0, 1.0]))
    assert lungs_on(probabilities, working, working, least_ml=26.9).array.sum() == 1000
    assert not lungs_on(probabilities, working, working, least_ml=27.1).array.any()


def test_the_border_lies_where_both_lungs_together_have_the_threshold():
    working = Volume(np.zeros((20, 20, 20), np.int16), np.diag([3.0, 3, 3, 1]))
    probabilities = np.zeros((2, 20, 20, 20), np.float32)
    probabilities[0, 5:15, 5:15, 5:15] = 1.0
    probabilities[0, 4, 5:15, 5:15] = 0.45
    assert lungs_on(probabilities, working, working).array.sum() == 1000
    assert lungs_on(probabilities, working, working, threshold=0.4).array.sum() == 1100


def test_cleaning_keeps_large_pieces_drops_small_ones_and_fills_holes():
    labels = np.zeros((30, 30, 30), np.uint8)
    labels[2:12, 2:22, 2:22] = 1  # 4000 voxels
    labels[5, 10, 10] = 0  # a hole
    labels[20:23, 2:10, 2:12] = 1  # 240: 6 % of the largest, kept
    labels[27, 2:12, 2:12] = 1  # 100: 2.5 %, dropped
    labels[20:24, 15:25, 15:25] = 2
    labels[6, 12, 12] = 2  # a speck of left inside the right lung
    clean = clean_lungs(labels)
    assert clean[5, 10, 10] == clean[6, 12, 12] == 1
    assert (clean[20:23, 2:10, 2:12] == 1).all()
    assert not clean[27].any()
    assert (clean == 1).sum() == 4000 + 240
    assert (clean == 2).sum() == 400
    assert labels[6, 12, 12] == 2


def test_cleaning_nothing_gives_nothing():
    assert not clean_lungs(np.zeros((4, 4, 4), np.uint8)).any()


def test_the_transform_takes_probabilities_to_the_cts_grid_and_meta():
    target = Volume(np.zeros(GRIDS["flipped"].shape, np.int16), GRIDS["flipped"].affine)
    working = working_of(target)
    pred = to_meta_tensor(working)
    pred = type(pred)(torch.from_numpy(probabilities_on(working.grid)), affine=pred.affine)
    data = LungsOnSourced("pred")({"pred": pred, "ct": to_meta_tensor(target, {"filename_or_obj": "ct.nii"})})
    assert data["lungs"].shape == (1, *target.shape)
    assert data["lungs"].dtype == torch.uint8
    assert data["lungs"].meta["filename_or_obj"] == "ct.nii"
    expected = lungs_on(probabilities_on(working.grid), working, target)
    assert np.array_equal(to_volume(data["lungs"]).array, expected.array)
    assert np.array_equal(to_volume(data["lungs"]).affine, target.affine)


def test_the_full_roi_is_the_whole_volume_without_lungs_and_needs_no_bundle():
    ct = to_meta_tensor(Volume(np.full((4, 5, 6), 40, np.int16), np.diag([-1.0, 2, 3, 1])))
    data = SegmentLungsd("ct", bundle_root="nowhere", roi="full")({"ct": ct})
    assert not data["lungs"].any()
    assert data["roi"].all()
    assert data["roi"].shape == data["lungs"].shape == (1, 4, 5, 6)
    assert torch.equal(data["roi"].affine, ct.affine)


def test_an_unknown_roi_is_an_error():
    with pytest.raises(ValueError, match="'lungs' or 'full'"):
        SegmentLungsd("ct", bundle_root="nowhere", roi="heart")
