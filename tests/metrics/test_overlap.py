"""Overlap of masks with known counts, and the same numbers as MONAI's."""

import math

import numpy as np
import pytest

from lungseg3d.metrics import accuracy, dice, iou, ppv, sensitivity, specificity, volume_error

EMPTY = np.zeros((4, 4, 4), bool)


def make_cubes() -> tuple[np.ndarray, np.ndarray]:
    """Prediction of 8 x 4 x 4 = 128 voxels, reference of 4 x 4 x 4 = 64 inside it and 32 beside it."""
    prediction, reference = np.zeros((2, 16, 8, 8), bool)
    prediction[0:8, 0:4, 0:4] = True
    reference[4:10, 0:4, 0:4] = True
    return prediction, reference


def test_overlap_of_two_boxes_is_that_of_pencil_and_paper():
    prediction, reference = make_cubes()  # 128 and 96 voxels, 64 in common
    assert dice(prediction, reference) == pytest.approx(128 / 224)
    assert iou(prediction, reference) == pytest.approx(64 / 160)
    assert sensitivity(prediction, reference) == pytest.approx(64 / 96)
    assert ppv(prediction, reference) == pytest.approx(0.5)
    assert volume_error(prediction, reference) == pytest.approx(32 / 96)
    # 1,024 voxels: 928 outside the reference, 64 of them predicted; 96 on which they differ.
    assert specificity(prediction, reference) == pytest.approx(864 / 928)
    assert accuracy(prediction, reference) == pytest.approx(928 / 1024)


def test_two_empty_masks_agree():
    assert dice(EMPTY, EMPTY) == iou(EMPTY, EMPTY) == 1.0
    assert volume_error(EMPTY, EMPTY) == 0.0
    assert math.isnan(sensitivity(EMPTY, EMPTY))
    assert math.isnan(ppv(EMPTY, EMPTY))
    assert specificity(EMPTY, EMPTY) == accuracy(EMPTY, EMPTY) == 1.0
    assert math.isnan(specificity(EMPTY, ~EMPTY))


def test_one_empty_mask_disagrees():
    assert dice(~EMPTY, EMPTY) == dice(EMPTY, ~EMPTY) == iou(EMPTY, ~EMPTY) == iou(~EMPTY, EMPTY) == 0.0
    assert sensitivity(EMPTY, ~EMPTY) == ppv(~EMPTY, EMPTY) == 0.0
    assert volume_error(EMPTY, ~EMPTY) == -1.0
    assert math.isnan(volume_error(~EMPTY, EMPTY))


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="different grids"):
        dice(EMPTY, EMPTY[1:])


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_masks_of_zeros_and_ones_count_as_bool(kind):
    prediction, reference = make_cubes()
    assert dice(prediction.astype(kind), reference.astype(kind)) == dice(prediction, reference)


@pytest.mark.parametrize("seed", range(5))
def test_dice_iou_sensitivity_and_ppv_equal_monais(seed):
    import torch
    from monai.metrics import DiceMetric, MeanIoU, compute_confusion_matrix_metric, get_confusion_matrix

    random = np.random.default_rng(seed)
    prediction, reference = random.random((2, 12, 10, 8)) < random.uniform(0.05, 0.6)
    ours, theirs = (torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (prediction, reference))
    matrix = get_confusion_matrix(ours, theirs)
    assert dice(prediction, reference) == pytest.approx(float(DiceMetric()(ours, theirs)), abs=1e-6)
    assert iou(prediction, reference) == pytest.approx(float(MeanIoU()(ours, theirs)), abs=1e-6)
    for ours_is, name in ((sensitivity, "sensitivity"), (ppv, "precision")):
        expected = float(compute_confusion_matrix_metric(name, matrix))
        assert ours_is(prediction, reference) == pytest.approx(expected, abs=1e-6)
