"""Pieces of a mask are those of scipy.ndimage.label, in the same order."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lungseg3d.analysis.pieces import pieces_of
from lungseg3d.core import Box


@pytest.mark.parametrize("any_neighbour", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_random_masks_have_the_pieces_that_scipy_finds(any_neighbour, share, order):
    mask = np.asarray(np.random.default_rng(1).random((17, 9, 13)) < share, order=order)
    parts, count = ndimage.label(mask, np.ones((3, 3, 3)) if any_neighbour else None)
    pieces = pieces_of(mask, any_neighbour)
    assert len(pieces) == count
    for number, (piece, place) in enumerate(zip(pieces, ndimage.find_objects(parts), strict=True), start=1):
        assert piece.box.slices == place
        assert np.array_equal(piece.voxels, parts[place] == number)
        assert piece.middle == pytest.approx(ndimage.center_of_mass(parts == number))


def test_nothing_marked_is_no_piece_and_all_marked_is_one():
    assert pieces_of(np.zeros((3, 4, 5), bool)) == []
    (piece,) = pieces_of(np.ones((3, 4, 5), bool))
    assert (piece.box, piece.voxels.all()) == (Box((0, 0, 0), (3, 4, 5)), True)


def test_the_ends_of_two_rows_are_no_neighbours():
    mask = np.zeros((2, 1, 3), bool)
    mask[0, 0, 2] = mask[1, 0, 0] = True  # one behind the other in memory
    assert len(pieces_of(mask, any_neighbour=True)) == 2


def test_a_piece_is_placed_in_a_larger_box():
    mask = np.zeros((6, 6, 6), bool)
    mask[2, 3, 4] = True
    (piece,) = pieces_of(mask)
    assert np.array_equal(piece.within(Box((1, 1, 1), (6, 6, 6))), mask[1:, 1:, 1:])
