"""Volumes, grids and boxes: answers known from pencil and paper."""

import itertools

import numpy as np
import pytest

from lungseg3d.core import Box, GeometryError, Grid, Volume


def make_volume(shape=(4, 5, 6), spacing_mm=(0.7, 0.8, 2.5), origin_mm=(10.0, -20.0, 30.0)) -> Volume:
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = origin_mm
    return Volume(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), affine)


def test_a_voxel_goes_to_the_world_and_back():
    grid = make_volume().grid
    assert np.allclose(grid.to_world(np.array([1, 2, 3])), [10.7, -18.4, 37.5])
    assert np.allclose(grid.to_voxel(grid.to_world(np.array([1.5, 2.25, 3.0]))), [1.5, 2.25, 3.0])


def test_a_crop_keeps_its_place_in_the_world_and_pastes_back():
    volume = make_volume()
    box = Box((1, 2, 3), (3, 5, 6))
    part = volume.crop(box)
    assert np.allclose(part.affine[:3, 3], volume.grid.to_world(np.array([1, 2, 3])))
    pasted = volume.pasted(part.with_array(part.array + 100), box)
    assert (pasted.array[box.slices] == volume.array[box.slices] + 100).all()
    assert pasted.array[0, 0, 0] == volume.array[0, 0, 0]


def test_a_part_from_elsewhere_cannot_be_pasted():
    volume = make_volume()
    with pytest.raises(GeometryError, match="E_GRID_MISMATCH"):
        volume.pasted(volume.crop(Box((0, 0, 0), (2, 2, 2))), Box((1, 1, 1), (3, 3, 3)))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_every_flip_and_permutation_comes_to_the_same_ras_array(order, signs):
    volume = make_volume()
    array = volume.array.transpose(order)[tuple(slice(None, None, s) for s in signs)]
    affine = np.zeros((4, 4))
    affine[:, 3] = volume.affine[:, 3]
    for axis, (source, sign) in enumerate(zip(order, signs, strict=True)):
        affine[:3, axis] = sign * volume.affine[:3, source]
        if sign < 0:
            affine[:3, 3] += volume.affine[:3, source] * (volume.shape[source] - 1)
    turned = Volume(array, affine)
    ras = turned.as_ras()
    assert (ras.array == volume.array).all()
    assert np.allclose(ras.affine, volume.affine)
    assert (turned.from_ras(ras).array == array).all()


def test_a_tilted_grid_is_not_orthogonal_and_its_voxel_volume_is_the_determinant():
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = np.tan(np.radians(20)) * 2
    grid = Grid((4, 4, 4), affine)
    assert not grid.is_orthogonal
    assert grid.voxel_volume_mm3 == pytest.approx(2.0)


def test_the_box_around_nothing_is_none_and_around_a_voxel_is_that_voxel():
    mask = np.zeros((5, 6, 7), dtype=bool)
    assert Box.around(mask) is None
    mask[2, 3, 4] = True
    assert Box.around(mask) == Box((2, 3, 4), (3, 4, 5))
    assert Box.around(mask).grown(10, within=mask.shape) == Box.whole(mask.shape)


def test_an_affine_that_flattens_space_is_refused():
    with pytest.raises(GeometryError, match="E_BAD_AFFINE"):
        Volume(np.zeros((2, 2, 2)), np.diag([1.0, 0.0, 1.0, 1.0]))


def test_a_box_is_seen_from_where_another_one_begins():
    array = np.arange(10 * 8 * 6).reshape(10, 8, 6)
    inner, outer = Box((3, 4, 2), (5, 6, 4)), Box((2, 1, 2), (9, 8, 6))
    assert np.array_equal(array[outer.slices][inner.seen_from(outer).slices], array[inner.slices])


def test_a_box_is_found_again_in_the_mirror_image():
    array, box = np.arange(4 * 5 * 6).reshape(4, 5, 6), Box((0, 1, 2), (3, 3, 6))
    for axes in ((), (0,), (1, 2), (0, 1, 2)):
        mirrored = np.flip(array, axes)[box.mirrored(axes, array.shape).slices]
        assert np.array_equal(np.flip(mirrored, axes), array[box.slices])
