"""Nodules of a prediction to nodules of a reference, one to one: found, missed, false.

In: two integer maps of one grid. Out: `NoduleMatches`. Knows no file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

LEAST_IOU = 0.1
"""A nodule is found where a predicted one overlaps it by this IoU (Baumgartner et al. 2021, MICCAI, nnDetection)."""


@dataclass(frozen=True)
class NodulePair:
    """A nodule that was found.

    Attributes:
        reference, prediction: values in the two maps.
        iou, dice: of the pair alone, 0 to 1.
    """

    reference: int
    prediction: int
    iou: float
    dice: float


@dataclass(frozen=True)
class NoduleMatches:
    """What became of all nodules of a case.

    Attributes:
        pairs: found ones, by their value in the reference.
        missed: values of the reference without a partner.
        false: values of the prediction without a partner.
    """

    pairs: tuple[NodulePair, ...]
    missed: tuple[int, ...]
    false: tuple[int, ...]


def match_nodules(prediction: np.ndarray, reference: np.ndarray, *, least_iou: float = LEAST_IOU) -> NoduleMatches:
    """Pair nodules so that the sum of the pairs' IoU is largest; each is in one pair at most.

    A nodule that was predicted in two pieces is found by the better one, and the other is false; two nodules under one
    prediction are one found and one missed.

    Args:
        prediction, reference: 0 and one positive value for each nodule, one shape.
        least_iou: above 0; pairs that overlap less are none.

    Raises:
        ValueError: the shapes differ.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"the maps lie on different grids: {prediction.shape} and {reference.shape}")
    predicted, sizes = np.unique(prediction[prediction > 0], return_counts=True)
    wanted, wanted_sizes = np.unique(reference[reference > 0], return_counts=True)
    both = (prediction > 0) & (reference > 0)
    common = np.zeros((len(wanted), len(predicted)), dtype=np.int64)
    rows, columns = np.searchsorted(wanted, reference[both]), np.searchsorted(predicted, prediction[both])
    np.add.at(common, (rows, columns), 1)
    iou = common / np.maximum(wanted_sizes[:, None] + sizes[None, :] - common, 1)
    kept = np.where(iou >= least_iou, iou, 0.0)
    pairs = []
    for i, j in zip(*linear_sum_assignment(kept, maximize=True), strict=True):
        if kept[i, j] > 0:
            dice = 2 * common[i, j] / (wanted_sizes[i] + sizes[j])
            pairs.append(NodulePair(int(wanted[i]), int(predicted[j]), float(iou[i, j]), float(dice)))
    found, used = {pair.reference for pair in pairs}, {pair.prediction for pair in pairs}
    return NoduleMatches(
        tuple(pairs),
        tuple(int(value) for value in wanted if value not in found),
        tuple(int(value) for value in predicted if value not in used),
    )
