"""Where the lungs and the nodules lie."""

import numpy as np
import pytest

from lungseg3d.core import Box, Volume
from lungseg3d.report import Scene


@pytest.mark.parametrize("order", ["C", "F"])
def test_every_nodule_has_its_box_in_either_memory_order(chest, order):
    volumes = (Volume(np.asarray(v.array, order=order), v.affine) for v in chest(((14, 20, 10, 6), (44, 12, 6, 4))))
    assert Scene.of(*volumes).boxes == {1: Box((14, 20, 10), (20, 26, 16)), 2: Box((44, 12, 6), (48, 16, 10))}


def test_the_largest_section_is_where_most_voxels_lie(chest):
    ct, labels, nodule_map = chest(())
    nodule_map.array[20, 20, 10:13] = 1
    nodule_map.array[19:22, 19:22, 11] = 1
    scene = Scene.of(ct, labels, nodule_map)
    assert [scene.largest_section(1, axis) for axis in range(3)] == [20, 20, 11]


def test_a_slice_names_only_the_nodules_it_cuts(chest):
    scene = Scene.of(*chest(((14, 20, 10, 6), (44, 12, 6, 6))))
    assert [scene.nodules_in_slice(z) for z in (5, 6, 10, 12, 15, 16)] == [[], [2], [1, 2], [1], [1], []]


def test_the_chest_is_the_lungs_and_nodules_with_15_mm_around_them(chest):
    ct, labels, nodule_map = chest(((34, 42, 2, 3),), spacing_mm=(5.0, 5.0, 5.0))
    assert Scene.of(ct, labels, nodule_map).chest_box == Box((5, 5, 0), (59, 48, 29))


def test_without_lungs_everything_is_shown(chest):
    ct, labels, nodule_map = chest()
    scene = Scene.of(ct, labels.with_array(labels.array * 0), nodule_map)
    assert scene.lung_box is None
    assert scene.chest_box == Box.whole(ct.shape)
