"""Confidences and what was true -> how far a confidence can be believed: reliability curve, ECE.

In: one confidence and one verdict for each finding. Out: `Reliability`. Knows no network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lungseg3d.metrics.patient_means import LEAST_PATIENTS


@dataclass(frozen=True)
class Reliability:
    """Confidence against truth, in bins of equal width; a bin without a finding has nan.

    Attributes:
        edges: of the bins, (B + 1,), from 0 to 1.
        confidence: mean confidence in each bin, (B,).
        share: share of true findings in each bin, (B,).
        counts: findings in each bin, (B,).
        ece: expected calibration error, 0 to 1: the mean distance of the two, weighted by `counts`.
        low, high: 95 % percentile bootstrap interval of `ece` over findings or their groups; with few it is biased
            upwards. nan for fewer than `LEAST_PATIENTS` groups.
    """

    edges: np.ndarray
    confidence: np.ndarray
    share: np.ndarray
    counts: np.ndarray
    ece: float
    low: float
    high: float


def reliability(
    confidences: Sequence[float] | np.ndarray,
    is_true: Sequence[bool] | np.ndarray,
    *,
    groups: Sequence[str] | None = None,
    bins: int = 10,
    resamples: int = 1000,
    seed: int = 0,
) -> Reliability:
    """The reliability curve of findings.

    Args:
        confidences: 0 to 1, shape (N,).
        is_true: whether each finding is one, shape (N,).
        groups: whose finding each is, such as the patient, shape (N,); a group is resampled whole. None: each alone.
        bins: of equal width.
        resamples, seed: of the interval.

    Raises:
        ValueError: a confidence outside 0 to 1, or not one verdict for each.

    Source: Guo et al. 2017, ICML, "On calibration of modern neural networks".
    """
    sure, true = np.asarray(confidences, dtype=np.float64).ravel(), np.asarray(is_true, dtype=bool).ravel()
    if sure.shape != true.shape:
        raise ValueError(f"{sure.size} confidences cannot be paired with {true.size} verdicts")
    if not ((sure >= 0) & (sure <= 1)).all():
        raise ValueError("a confidence lies between 0 and 1")
    edges = np.linspace(0, 1, bins + 1)
    places = np.minimum((sure * bins).astype(int), bins - 1)
    counts, sums, hits = (np.bincount(places, weights=w, minlength=bins) for w in (None, sure, true))
    with np.errstate(invalid="ignore"):
        means, shares = sums / counts, hits / counts
    if not sure.size:
        return Reliability(edges, means, shares, counts, math.nan, math.nan, math.nan)
    _, of_group = np.unique(np.arange(sure.size) if groups is None else np.asarray(groups), return_inverse=True)
    if of_group.shape != sure.shape:
        raise ValueError(f"{sure.size} findings cannot be of {of_group.size} groups")
    ece = float(np.abs(sums - hits).sum() / sure.size)
    if groups is not None and of_group.max() + 1 < LEAST_PATIENTS:
        return Reliability(edges, means, shares, counts, ece, math.nan, math.nan)
    gaps = np.zeros((of_group.max() + 1, bins))
    np.add.at(gaps, (of_group, places), sure - true)
    sizes = np.bincount(of_group)
    random = np.random.default_rng(seed)
    errors = []
    for _ in range(resamples):
        drawn = random.integers(0, len(sizes), len(sizes))
        errors.append(np.abs(gaps[drawn].sum(axis=0)).sum() / sizes[drawn].sum())
    low, high = np.percentile(errors, [2.5, 97.5])
    return Reliability(edges, means, shares, counts, ece, float(low), float(high))
