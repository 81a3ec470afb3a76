"""Values of patients -> their mean and what is sure of it: exact where they are independent, by patient where not.

In: one number and one patient for each case or nodule. Out: `Interval`. Knows no masks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lungseg3d.metrics.agreement import Interval, bootstrap_ratio

LEAST_PATIENTS = 6
"""Fewer patients give a mean and neither an interval nor a p: a two-sided signed-rank test of five pairs cannot fall
below 2 / 2**5 = 0.0625, whatever they show, and a bootstrap of so few is far too narrow."""


def proportion_interval(hits: float, n: float, *, confidence: float = 0.95) -> Interval:
    """A share of independent units with its exact interval: 7 of 7 is 1, 0.59 to 1.

    Args:
        hits: units that have it, 0 to `n`.
        n: units; patients, or nodules of different patients. Neither need be whole (see `mean_of_patients`).
        confidence: 0.95 for at least 95 % coverage.

    Returns:
        hits / n and the bounds of Clopper and Pearson; all nan and n = 0 without a unit.

    Raises:
        ValueError: confidence outside (0, 1), or hits outside 0 to n.

    Source: Clopper & Pearson 1934, Biometrika 26:404-413, by quantiles of the beta distribution.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence lies between 0 and 1, not {confidence}")
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} of {n} is no share")
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    from scipy import stats  # half a second, for a program that starts at every CT

    tail = (1 - confidence) / 2
    low = float(stats.beta.ppf(tail, hits, n - hits + 1)) if hits > 0 else 0.0
    high = float(stats.beta.isf(tail, hits + 1, n - hits)) if hits < n else 1.0
    return Interval(hits / n, low, high, math.floor(n))


def mean_of_patients(
    values: Sequence[float],
    patients: Sequence[str],
    *,
    is_share: bool = False,
    within: tuple[float, float] | None = None,
) -> Interval:
    """Mean over all values, with an interval whose unit is the patient.

    Args:
        values: of cases or nodules, shape (N,); nan is left out. Of a share, 1 and 0.
        patients: whose each is, shape (N,).
        is_share: whether the values are hits (1) and misses (0).
        within: least and largest value that there can be, such as (0, 1) for Dice; None for distances and volumes.

    Returns:
        Mean, bounds and n (values). A share with one value a patient, of two patients or more, has the bounds of
        `proportion_interval`. Else at least `LEAST_PATIENTS` are needed, which are resampled whole. Where that
        collapses (all found, none found, all alike), a share or a bounded mean has the exact bounds that as many
        patients have, and other means none: no interval has width zero. What has no interval has nan for bounds.

    Source: Field & Welsh 2007, J R Statist Soc B 69:369-390; Clopper & Pearson 1934. For values within 0 to 1 that are
    all 1, P(all 1) <= mean ** n bounds the mean as it bounds a share.
    """
    groups: dict[str, list[float]] = {}
    for value, patient in zip(values, patients, strict=True):
        if not math.isnan(value):
            groups.setdefault(patient, []).append(float(value))
    sums, counts = [sum(group) for group in groups.values()], [len(group) for group in groups.values()]
    if is_share and len(groups) > 1 and max(counts) == 1:
        return proportion_interval(sum(sums), len(sums))
    interval = bootstrap_ratio(sums, counts)
    if len(groups) < LEAST_PATIENTS:
        return replace(interval, low=math.nan, high=math.nan)
    if interval.high - interval.low > 1e-9 or not math.isfinite(interval.mean):
        return interval
    bounds = (0.0, 1.0) if is_share else within
    if bounds is None:
        return replace(interval, low=math.nan, high=math.nan)
    return _not_collapsed(interval, bounds, len(groups))


def _not_collapsed(interval: Interval, bounds: tuple[float, float], patients: int) -> Interval:
    """The exact bounds of a share of as many patients, on the scale of the values."""
    least, width = bounds[0], bounds[1] - bounds[0]
    share = float(np.clip((interval.mean - least) / width, 0, 1))
    exact = proportion_interval(share * patients, patients)
    return replace(interval, low=least + width * exact.low, high=least + width * exact.high)
