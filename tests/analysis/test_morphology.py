"""Morphology in mm on small masks whose results can be counted."""

import numpy as np

from lungseg3d.analysis.morphology import (
    closed,
    components_touching,
    dilated,
    eroded,
    filled,
    filled_in_plane,
    largest_component,
    opened,
)

SPACING_MM = (1.0, 1.0, 2.5)


def test_a_ball_in_mm_reaches_fewer_voxels_along_the_wide_spacing():
    point = np.zeros((11, 11, 11), bool)
    point[5, 5, 5] = True
    grown = dilated(point, 3.0, SPACING_MM)
    assert [int(grown.any(axis=axes).sum()) for axes in ((1, 2), (0, 2), (0, 1))] == [7, 7, 3]


def test_erosion_undoes_the_dilation_of_a_point_and_leaves_a_border_of_the_array_alone():
    point = np.zeros((11, 11, 11), bool)
    point[5, 5, 5] = True
    assert (eroded(dilated(point, 3.0, SPACING_MM), 3.0, SPACING_MM) == point).all()
    half = np.zeros((8, 8, 8), bool)
    half[:, :, :4] = True
    assert (eroded(half, 2.5, SPACING_MM).sum(axis=2) == 3).all()


def test_opening_removes_a_thin_bridge_and_closing_a_narrow_gap():
    bridge = np.zeros((30, 12, 12), bool)
    bridge[2:10, 2:10, 2:10] = bridge[20:28, 2:10, 2:10] = True
    bridge[10:20, 5, 5] = True
    assert not opened(bridge, 2.0, (1, 1, 1))[12:18].any()
    gap = np.zeros((30, 12, 12), bool)
    gap[2:14, 2:10, 2:10] = gap[16:28, 2:10, 2:10] = True
    assert closed(gap, 3.0, (1, 1, 1))[14:16, 4:8, 4:8].all()
    assert closed(gap, 3.0, (1, 1, 1)).sum() < 26 * 64 + 1


def test_closing_does_not_leak_to_the_sides_of_the_array_and_reaches_its_first_and_last_slice():
    tube = np.zeros((12, 12, 6), bool)
    tube[2:10, 2:10] = True
    tube[5:7, 2:5, :] = False  # a slit from the side, all the way from the first slice to the last
    healed = closed(tube, 4.0, (1, 1, 1))
    assert healed[5:7, 3:5, :].all()
    assert not healed[0].any()
    assert not healed[:, 0].any()


def test_a_hole_of_one_slice_is_filled_up_to_a_size_and_a_hole_in_3d_only_when_it_is_closed():
    tube = np.ones((10, 10, 10), bool)
    tube[0], tube[-1], tube[:, 0], tube[:, -1] = False, False, False, False
    tube[4:6, 4:6, :] = False  # open at both ends
    assert filled_in_plane(tube)[4:6, 4:6].all()
    assert not filled_in_plane(tube, largest=3)[4:6, 4:6].any()
    assert not filled(tube)[4:6, 4:6].any()
    tube[4:6, 4:6, 0] = tube[4:6, 4:6, -1] = True
    assert filled(tube)[4:6, 4:6].all()


def test_components_are_chosen_by_size_and_by_touch():
    mask = np.zeros((10, 4, 4), bool)
    mask[0:2], mask[5:9] = True, True
    seed = np.zeros_like(mask)
    seed[0, 0, 0] = True
    assert (largest_component(mask) == (np.arange(10) >= 5)[:, None, None] * mask).all()
    assert components_touching(mask, seed).sum() == 32
    assert not largest_component(np.zeros_like(mask)).any()
