"""Two masks -> how much they overlap: Dice, IoU, sensitivity, PPV, specificity, accuracy, volume error.

In: bool arrays of one shape. Out: numbers. Needs no spacing but for volumes; knows no file and no torch.
"""

from __future__ import annotations

import math

import numpy as np


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Twice the common voxels over the voxels of both, 0 to 1.

    Empty case: two empty masks agree, 1.0; one empty mask, 0.0. (MONAI's `DiceMetric` gives 1.0 for two empty masks
    only with `ignore_empty=False`.)

    Args:
        prediction, reference: bool or 0/1, one shape.

    Raises:
        ValueError: the shapes differ.

    Source: Dice 1945, Ecology 26:297-302.
    """
    common, predicted, wanted = _counts(prediction, reference)
    return 2 * common / (predicted + wanted) if predicted + wanted else 1.0


def iou(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Common voxels over the voxels of either (Jaccard 1912), 0 to 1; two empty masks 1.0, one empty 0.0."""
    common, predicted, wanted = _counts(prediction, reference)
    return common / (predicted + wanted - common) if predicted + wanted else 1.0


def sensitivity(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Share of the reference that was found (recall), 0 to 1; nan for an empty reference."""
    common, _, wanted = _counts(prediction, reference)
    return common / wanted if wanted else math.nan


def ppv(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Positive predictive value: share of the prediction that is right (precision), 0 to 1; nan for an empty one."""
    common, predicted, _ = _counts(prediction, reference)
    return common / predicted if predicted else math.nan


def specificity(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Share of the voxels outside the reference that the prediction leaves out, 0 to 1; nan where there are none.

    Grows with the air around: compare it only on equal grids.
    """
    common, predicted, wanted = _counts(prediction, reference)
    outside = reference.size - wanted
    return (outside - (predicted - common)) / outside if outside else math.nan


def accuracy(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Share of all voxels on which both agree, 0 to 1; grows with the air around, as `specificity`."""
    common, predicted, wanted = _counts(prediction, reference)
    return (reference.size - predicted - wanted + 2 * common) / reference.size if reference.size else math.nan


def volume_error(prediction: np.ndarray, reference: np.ndarray) -> float:
    """(Predicted - reference volume) / reference volume: -1 nothing found, 0 equal, 1 twice as much.

    A ratio, so no voxel size is needed. Two empty masks 0.0; an empty reference otherwise nan.
    """
    _, predicted, wanted = _counts(prediction, reference)
    if wanted == 0:
        return 0.0 if predicted == 0 else math.nan
    return (predicted - wanted) / wanted


def _counts(prediction: np.ndarray, reference: np.ndarray) -> tuple[int, int, int]:
    """(common, predicted, reference) voxels."""
    if prediction.shape != reference.shape:
        raise ValueError(f"the masks lie on different grids: {prediction.shape} and {reference.shape}")
    predicted, wanted = prediction.astype(bool, copy=False), reference.astype(bool, copy=False)
    return tuple(int(np.count_nonzero(m)) for m in (predicted & wanted, predicted, wanted))  # type: ignore[return-value]
