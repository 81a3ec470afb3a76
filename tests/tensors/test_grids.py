"""Working grids: every value stays where it lies in the world, and labels stay labels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lungseg3d.core import Grid, Volume
from lungseg3d.tensors import AIR_HU, orthogonalise, resample, sample_on

SLOPES = np.array([2.0, -3.0, 1.5])


def ramp_on(grid: Grid) -> Volume:
    """HU that rise evenly with the world position: the answer at any point is known."""
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    return Volume((grid.to_world(voxels) @ SLOPES).astype(np.float32), grid.affine)


def diagonal(spacing_mm, origin_mm=(-20.0, 7.0, 33.0)) -> np.ndarray:
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = origin_mm
    return affine


def rotated(degrees: float, spacing_mm) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) * np.asarray(spacing_mm)
    return affine


def inner(array: np.ndarray, border: int) -> np.ndarray:
    """Without the border, where a filter has nothing to one side."""
    return array[(slice(border, -border),) * 3]


@pytest.mark.parametrize("wanted_mm", [0.4, 0.7, 1.0, (1.0, 0.3, 1.2)])
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_a_world_ramp_stays_that_ramp_on_a_finer_grid(wanted_mm, signs):
    source = ramp_on(Grid((20, 18, 16), diagonal(np.array([1.0, 1.2, 1.4]) * signs)))
    result = resample(source.as_ras(), wanted_mm)
    assert result.shape >= source.shape
    np.testing.assert_allclose(inner(result.array, 4), inner(ramp_on(result.grid).array, 4), atol=2e-3)


@pytest.mark.parametrize("wanted_mm", [1.3, 2.4, 3.0, (3.0, 0.7, 1.9)])
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_a_world_ramp_stays_that_ramp_on_a_coarser_grid_to_a_twentieth_of_a_voxel(wanted_mm, signs):
    source = ramp_on(Grid((30, 26, 22), diagonal(np.array([1.0, 1.2, 1.4]) * signs)))
    result = resample(source.as_ras(), wanted_mm)
    error = inner(result.array, 2) - inner(ramp_on(result.grid).array, 2)
    # A triangle of a few samples is centred to a few hundredths of a source voxel only; nothing is shifted as a whole.
    assert np.abs(error).max() <= 0.05 * (np.abs(SLOPES) * source.spacing_mm).sum()
    assert abs(error.mean()) < 0.01


def test_an_oblique_world_ramp_stays_that_ramp():
    source = ramp_on(Grid((30, 26, 22), rotated(20, (1.0, 1.2, 1.4))))
    result = resample(source, (2.0, 0.6, 0.7))
    np.testing.assert_allclose(inner(result.array, 2), inner(ramp_on(result.grid).array, 2), atol=5e-3)


@pytest.mark.parametrize("wanted_mm", [0.7, 1.0, 2.3])
def test_resampling_keeps_the_extent_and_comes_near_the_asked_spacing(wanted_mm):
    source = ramp_on(Grid((30, 26, 22), diagonal((1.0, 1.2, 1.4))))
    result = resample(source, wanted_mm)
    for volume in (source, result):
        edges = volume.grid.to_world(np.array([(-0.5,) * 3, np.array(volume.shape) - 0.5]))
        np.testing.assert_allclose(edges, [[-20.5, 6.4, 32.3], [9.5, 37.6, 63.1]])
    # Half a voxel over the whole extent is the most that rounding can do.
    extent_mm = np.array(source.shape) * source.spacing_mm
    assert (np.abs(extent_mm / wanted_mm - result.shape) <= 0.5).all()


def test_halving_the_grid_averages_noise_away_instead_of_aliasing_it():
    noise = np.random.default_rng(0).normal(0, 100, (48, 48, 48)).astype(np.float32)
    # A triangle over two voxels to each side weighs 1, 3, 3, 1: its power is 20 / 64 along each axis.
    result = resample(Volume(noise, np.eye(4)), 2.0)
    assert inner(result.array, 2).std() == pytest.approx(100 * (20 / 64) ** 1.5, rel=0.03)


def test_the_grid_that_is_there_already_changes_nothing():
    hu = np.random.default_rng(1).integers(-1000, 1000, (7, 8, 9)).astype(np.int16)
    result = resample(Volume(hu, diagonal((1.0, 2.0, 3.0))), (1.0, 2.0, 3.0))
    assert result.array.dtype == np.float32
    assert np.array_equal(result.array, hu)
    assert np.array_equal(result.affine, diagonal((1.0, 2.0, 3.0)))


def test_a_single_slice_and_a_huge_spacing_leave_at_least_one_voxel():
    assert resample(Volume(np.zeros((9, 9, 1), np.int16), np.eye(4)), 50.0).shape == (1, 1, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, bool])
@pytest.mark.parametrize("wanted_mm", [0.4, 1.7, 3.0])
def test_labels_stay_labels_and_take_the_nearest_voxel(dtype, wanted_mm):
    labels = np.random.default_rng(2).choice([0, 1, 3], (12, 11, 10)).astype(dtype)
    source = Volume(labels, diagonal((1.0, 1.1, 1.2)))
    result = resample(source, wanted_mm, labels=True)
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in result.shape], indexing="ij"), axis=-1)
    exact = source.grid.to_voxel(result.grid.to_world(voxels))
    # Half-way between two voxels both are nearest, so those positions may take either.
    clear = (np.abs(exact % 1 - 0.5) > 1e-6).all(axis=-1)
    nearest = np.clip(np.rint(exact).astype(int), 0, np.array(source.shape) - 1)
    assert result.array.dtype == dtype
    assert clear.any()
    assert np.array_equal(result.array[clear], labels[tuple(nearest[clear].T)])


def sheared(shape=(24, 24, 20)) -> Volume:
    affine = diagonal((1.0, 1.0, 2.0))
    affine[1, 2] = 0.6  # slices step to the front as they rise, as with a tilted gantry
    return ramp_on(Grid(shape, affine))


def test_a_sheared_ramp_lies_in_the_same_place_at_right_angles():
    source = sheared()
    result = orthogonalise(source)
    assert result.grid.is_orthogonal
    np.testing.assert_allclose(result.spacing_mm, source.spacing_mm)
    expected = ramp_on(result.grid).array
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in result.shape], indexing="ij"), axis=-1)
    where = source.grid.to_voxel(result.grid.to_world(voxels))
    covered = ((where >= 0.01) & (where <= np.array(source.shape) - 1.01)).all(axis=-1)
    assert covered.mean() > 0.4
    np.testing.assert_allclose(result.array[covered], expected[covered], atol=1e-2)


def test_the_right_angled_grid_holds_every_corner_of_the_sheared_one():
    source = sheared()
    corners = np.array(list(itertools.product(*[(0, n - 1) for n in source.shape])))
    result = orthogonalise(source)
    inside = result.grid.to_voxel(source.grid.to_world(corners))
    assert (inside >= -1e-6).all()
    assert (inside <= np.array(result.shape) - 1 + 1e-6).all()


def test_what_the_tilted_gantry_did_not_see_is_air_or_background():
    source = Volume(np.full((24, 24, 20), 40, np.int16), sheared().affine)
    result = orthogonalise(source)
    assert set(np.unique(result.array)) == {AIR_HU, 40}
    labels = orthogonalise(source.with_array(np.full(source.shape, 2, np.uint8)), order=0, fill=0)
    assert labels.array.dtype == np.uint8
    assert set(np.unique(labels.array)) == {0, 2}


def test_a_grid_at_right_angles_comes_back_as_it_is():
    source = ramp_on(Grid((5, 6, 7), rotated(31, (1.0, 2.0, 3.0))))
    assert orthogonalise(source) is source


def test_sampling_on_another_grid_reads_the_world():
    source = ramp_on(Grid((30, 30, 30), diagonal((1.0, 1.0, 1.0), (0, 0, 0))))
    wanted = Grid((6, 5, 4), rotated(25, (1.5, 1.0, 2.0)) + np.array([[0, 0, 0, 10.0]] * 3 + [[0, 0, 0, 0]]))
    np.testing.assert_allclose(sample_on(source, wanted).array, ramp_on(wanted).array, atol=1e-3)
