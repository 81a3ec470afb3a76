"""Boxes of what lies in an array: none is missed, no component lies in two, whatever the order in memory."""

import numpy as np
import pytest
from scipy import ndimage

from lungseg3d.core import Box, boxes_by_value, islands


def make_labels(order: str = "F") -> np.ndarray:
    labels = np.zeros((20, 18, 16), np.uint16, order=order)
    labels[2:5, 3:6, 4:7] = 2
    labels[10:12, 3:9, 5:6] = 7
    labels[15, 10, 10] = 7
    return labels


@pytest.mark.parametrize("order", ["C", "F"])
def test_every_value_gets_its_smallest_box(order):
    assert boxes_by_value(make_labels(order)) == {2: Box((2, 3, 4), (5, 6, 7)), 7: Box((10, 3, 5), (16, 11, 11))}


def test_a_turned_view_gets_the_turned_boxes():
    turned = make_labels()[::-1, :, ::-1].transpose(1, 0, 2)
    assert boxes_by_value(turned)[2] == Box((3, 15, 9), (6, 18, 12))


def test_an_empty_map_has_no_boxes():
    assert boxes_by_value(np.zeros((4, 4, 4), np.uint8)) == {}
    assert islands(np.zeros((4, 4, 4), bool)) == []


def test_components_of_random_masks_lie_in_one_island_each():
    mask = np.random.default_rng(0).random((24, 24, 24)) < 0.01
    parts, count = ndimage.label(mask, np.ones((3, 3, 3)))
    boxes = islands(mask)
    held = [set(np.unique(parts[box.slices])) - {0} for box in boxes]
    assert sum(map(len, held)) == count
    assert set.union(*held) == set(range(1, count + 1))
    assert sum(int(mask[box.slices].sum()) for box in boxes) == mask.sum()


def test_the_box_around_a_label_map_is_that_of_its_mask():
    for array in (make_labels("C"), make_labels("F")[::-1], -make_labels("F").astype(np.int16)):
        assert Box.around(array) == Box.around(array != 0)
