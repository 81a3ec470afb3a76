"""Measuring a member: masks with known overlap, and what is not defined."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lungseg3d.networks.cost import gflop_of
from lungseg3d.workflows.compare.measures import measure_masks


def cube(start: int, stop: int) -> np.ndarray:
    mask = np.zeros((12, 12, 12), bool)
    mask[start:stop, 2:6, 2:6] = True
    return mask


def test_a_cube_shifted_by_half_its_side_overlaps_by_half():
    found = measure_masks(cube(4, 8)[None], cube(2, 6)[None], (1.5, 1.0, 1.0), ["nodule"])["nodule"]
    assert (found["dice"], found["sensitivity"], found["ppv"]) == (0.5, 0.5, 0.5)
    assert found["iou"] == pytest.approx(1 / 3)
    assert found["hd95_mm"] == pytest.approx(3.0)  # two voxels of 1.5 mm
    assert (found["reference_mm3"], found["predicted_mm3"]) == (96.0, 96.0)


def test_an_empty_prediction_has_dice_0_and_no_ppv_and_no_hd95():
    found = measure_masks(cube(0, 0)[None], cube(2, 6)[None], (1.0, 1.0, 1.0), ["nodule"])["nodule"]
    assert (found["dice"], found["sensitivity"], found["ppv"], found["hd95_mm"]) == (0.0, 0.0, None, None)


def test_channels_are_the_structures_in_their_order():
    pred, label = np.stack([cube(2, 6), cube(8, 10)]), np.stack([cube(2, 6), cube(6, 8)])
    found = measure_masks(pred, label, (1.0, 1.0, 1.0), ["right lung", "left lung"])
    assert {name: values["dice"] for name, values in found.items()} == {"right lung": 1.0, "left lung": 0.0}


def test_other_channels_than_structures_are_refused():
    with pytest.raises(RuntimeError, match="gives 2 foreground classes and the label 1"):
        measure_masks(np.zeros((2, 4, 4, 4), bool), np.zeros((1, 4, 4, 4), bool), (1.0, 1.0, 1.0), ["nodule"])


def test_gflop_of_a_convolution_are_two_for_each_product():
    # 8^3 voxels x 27 weights x 3 channels out, a multiplication and an addition each.
    network = torch.nn.Conv3d(1, 3, 3, padding=1, bias=False)
    assert gflop_of(network, torch.device("cpu"), side=8) == pytest.approx(2 * 8**3 * 27 * 3 / 1e9)
