"""Placements of patches: how far they reach, that bending cannot fold, and what a flip does to labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lungseg3d.engines import PatchGeometry
from lungseg3d.engines.augmentation.geometry import Placement

CPU, P = torch.device("cpu"), 24


def source_voxels(placement: Placement, shape=(40, 50, 60), centre=(20.0, 25.0, 30.0), size: int = P) -> np.ndarray:
    """Voxel coordinates (P, P, P, 3) in a source of this shape that a patch takes its voxels from."""
    grid = placement.sampling_grid(size, np.array(centre), np.array(shape), CPU)[0].numpy()[..., ::-1]
    return ((grid + 1) * np.array(shape) - 1) / 2


def test_an_identity_takes_the_voxels_around_the_centre():
    voxels = source_voxels(Placement(np.eye(3)))
    offsets = np.arange(P) - (P - 1) / 2
    expected = np.stack(np.meshgrid(20 + offsets, 25 + offsets, 30 + offsets, indexing="ij"), axis=-1)
    np.testing.assert_allclose(voxels, expected, atol=1e-4)


def test_a_matrix_turns_about_the_centre():
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    voxels = source_voxels(Placement(quarter))
    # One step along the patch's x is one step along the source's y.
    np.testing.assert_allclose(voxels[1, 0, 0] - voxels[0, 0, 0], [0, 1, 0], atol=1e-4)
    np.testing.assert_allclose(voxels.reshape(-1, 3).mean(axis=0), [20, 25, 30], atol=1e-4)


def test_a_bend_moves_the_corner_by_the_shift_of_its_control_point():
    bend = np.zeros((3, 4, 4, 4))
    bend[1, 3, 0, 0] = 2.0  # at the far end along x: 2 voxels along y
    moved = source_voxels(Placement(np.eye(3), bend=bend)) - source_voxels(Placement(np.eye(3)))
    np.testing.assert_allclose(moved[-1, 0, 0], [0, 2, 0], atol=1e-4)
    np.testing.assert_allclose(moved[: P // 2], 0, atol=1e-4)
    assert np.abs(moved[..., [0, 2]]).max() < 1e-4


@pytest.mark.parametrize("seed", range(5))
def test_bent_patches_stretch_by_no_more_than_the_strain_and_never_fold(seed):
    geometry = PatchGeometry(0.0, (1.0, 1.0), 0.0, (), strain=0.3, elastic_probability=1.0)
    voxels = source_voxels(geometry.draw(np.random.default_rng(seed), P))
    steps = np.stack([np.diff(voxels, axis=a)[: P - 1, : P - 1, : P - 1] for a in range(3)], axis=-1)
    # Shifts are drawn at random, so half of the bound is always met by some.
    assert np.abs(steps - np.eye(3)).max() <= 0.3 * P / (P - 1) + 1e-3
    assert np.abs(steps - np.eye(3)).max() > 0.15
    assert np.linalg.det(steps).min() > 0


@pytest.mark.parametrize("strain", [0.0, 0.3])
def test_no_voxel_lies_beyond_the_reach(strain):
    geometry = PatchGeometry(45.0, (0.5, 2.0), strain=strain, elastic_probability=1.0)
    for seed in range(20):
        placement = geometry.draw(np.random.default_rng(seed), P)
        away = np.abs(source_voxels(placement) - [20, 25, 30]).max()
        assert away <= placement.reach(P)


def test_patches_are_bent_as_often_as_asked():
    geometry = PatchGeometry(strain=0.1, elastic_probability=0.25)
    bent = sum(geometry.draw(np.random.default_rng(seed), P).bend is not None for seed in range(400))
    # 100 expected, with a standard deviation of 9.
    assert 65 < bent < 135


def test_swaps_change_places_and_leave_the_rest():
    label = torch.tensor([0, 1, 2, 3])
    assert PatchGeometry(flip_swaps=((1, 2),)).swapped(label).tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize("wrong", [{"strain": 0.4}, {"strain": -0.1}, {"scale_range": (0.0, 1.0)}])
def test_what_could_fold_or_vanish_is_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        PatchGeometry(**wrong)
