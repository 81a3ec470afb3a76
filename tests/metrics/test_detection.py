"""Nodules paired one to one, on maps small enough to count."""

import numpy as np
import pytest

from lungseg3d.metrics import match_nodules


def line(*parts: tuple[int, int, int]) -> np.ndarray:
    """A row of 40 voxels; (value, start, stop) for each nodule."""
    found = np.zeros((40, 1, 1), np.uint16)
    for value, start, stop in parts:
        found[start:stop] = value
    return found


def test_found_missed_and_false_are_told_apart():
    matches = match_nodules(line((1, 0, 4), (2, 30, 34)), line((5, 2, 6), (7, 20, 24)))
    (pair,) = matches.pairs
    assert (pair.reference, pair.prediction) == (5, 1)
    assert pair.iou == pytest.approx(2 / 6)
    assert pair.dice == pytest.approx(0.5)
    assert matches.missed == (7,)
    assert matches.false == (2,)


def test_a_touch_below_the_least_iou_is_no_hit():
    assert match_nodules(line((1, 0, 10)), line((1, 9, 19))).pairs == ()
    assert len(match_nodules(line((1, 0, 10)), line((1, 9, 19)), least_iou=0.05).pairs) == 1


def test_a_nodule_in_two_pieces_is_found_by_the_better_one():
    matches = match_nodules(line((1, 0, 3), (2, 4, 10)), line((1, 0, 10)))
    assert [pair.prediction for pair in matches.pairs] == [2]
    assert matches.false == (1,)


def test_two_nodules_under_one_prediction_are_one_found_and_one_missed():
    matches = match_nodules(line((1, 0, 10)), line((1, 0, 4), (2, 5, 10)))
    assert [pair.reference for pair in matches.pairs] == [2]
    assert matches.missed == (1,)


def test_the_sum_of_overlaps_decides_not_the_first_come():
    # Prediction 1 overlaps both, 2 only the first: 1 goes to the second although the first fits it better.
    prediction, reference = line((1, 4, 12), (2, 0, 4)), line((1, 0, 10), (2, 10, 13))
    assert [(pair.reference, pair.prediction) for pair in match_nodules(prediction, reference).pairs] == [
        (1, 2),
        (2, 1),
    ]


def test_empty_maps_and_other_grids():
    empty = line()
    assert match_nodules(empty, empty) == match_nodules(empty, empty)
    assert match_nodules(empty, line((1, 0, 2))).missed == (1,)
    assert match_nodules(line((1, 0, 2)), empty).false == (1,)
    with pytest.raises(ValueError, match="different grids"):
        match_nodules(empty, np.zeros((2, 2, 2)))
