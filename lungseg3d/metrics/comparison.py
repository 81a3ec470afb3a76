"""Methods measured on the same cases -> which of them differ: paired differences, Wilcoxon, Holm.

In: one number per case and method. Out: `PairedTest`. Knows no masks and no networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lungseg3d.metrics.agreement import Interval, bootstrap_mean, bootstrap_ratio
from lungseg3d.metrics.patient_means import LEAST_PATIENTS


@dataclass(frozen=True)
class PairedTest:
    """A method against the reference method, on the cases that both have.

    Attributes:
        difference: mean of method - reference, with its bootstrap interval, in the unit of the values; its `n` are
            the pairs.
        p: of the two-sided Wilcoxon signed-rank test; 1 where no pair differs, nan without a pair.
        patients: independent units behind both.
    """

    difference: Interval
    p: float
    patients: int = 0


def paired_test(
    values: Sequence[float] | np.ndarray,
    reference: Sequence[float] | np.ndarray,
    patients: Sequence[str] | None = None,
) -> PairedTest:
    """Compare two methods case by case.

    Args:
        values, reference: one number per case or nodule, shape (N,), in the same order. A case where one of both is
            not finite is left out.
        patients: whose each is, shape (N,): what belongs to one patient is resampled together, and the ranks are those
            of the patients' mean differences. None: each is independent.

    Returns:
        Mean difference and p; a pair without a difference counts for the mean and not for the ranks. With `patients`,
        fewer than `LEAST_PATIENTS` have no interval and no p (nan), as their pairs hang together or are too few.

    Raises:
        ValueError: different numbers of cases.

    Source: Wilcoxon 1945, Biometrics Bulletin 1:80-83, by `scipy.stats.wilcoxon` (exact for at most 50 pairs without
    ties).
    """
    ours, theirs = (np.asarray(numbers, dtype=np.float64).ravel() for numbers in (values, reference))
    if ours.shape != theirs.shape:
        raise ValueError(f"{ours.size} cases cannot be paired with {theirs.size}")
    known = np.isfinite(ours) & np.isfinite(theirs)
    difference = ours[known] - theirs[known]
    if difference.size == 0:
        return PairedTest(bootstrap_mean([]), math.nan)
    if patients is None:
        return PairedTest(bootstrap_mean(difference), _signed_rank_p(difference), int(difference.size))
    whose = np.asarray(patients)
    if whose.shape != ours.shape:
        raise ValueError(f"{ours.size} cases cannot be of {whose.size} patients")
    names, place = np.unique(whose[known], return_inverse=True)
    sums, counts = np.bincount(place, weights=difference), np.bincount(place)
    interval = bootstrap_ratio(sums, counts)
    if len(names) < LEAST_PATIENTS:
        return PairedTest(replace(interval, low=math.nan, high=math.nan), math.nan, len(names))
    return PairedTest(interval, _signed_rank_p(sums / counts), len(names))


def _signed_rank_p(difference: np.ndarray) -> float:
    # Rounded, so that what differs by the last bits of a float is a tie.
    rounded = np.round(difference, 12)
    from scipy import stats  # half a second, for a program that starts at every CT

    return float(stats.wilcoxon(rounded).pvalue) if rounded.any() else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number, in the same order; nan stays and is not counted.

    Source: Holm 1979, Scand J Statist 6:65-70.
    """
    known = [i for i, p in enumerate(p_values) if not math.isnan(p)]
    corrected = [math.nan] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(known, key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, p_values[i] * (len(known) - rank)))
        corrected[i] = largest
    return corrected
