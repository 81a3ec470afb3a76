"""Measurements of many cases -> mean with its uncertainty, agreement of two methods.

In: one number per case. Out: `Interval`, `Agreement`. Knows no masks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval, in the unit of the values; `n` values counted."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}] (n={self.n})"


@dataclass(frozen=True)
class Agreement:
    """Bias and 95 % limits of agreement, in the unit of the measurements; `n` cases."""

    bias: float
    low: float
    high: float
    sd: float
    n: int


def bootstrap_mean(
    values: Sequence[float] | np.ndarray, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Mean of the cases with a percentile bootstrap interval.

    Args:
        values: one number per independent case (patient), shape (N,). nan (a metric that is undefined for a case)
            is left out; inf is kept and makes mean and bounds inf.
        confidence: 0.95 for the 2.5th to the 97.5th percentile of the resampled means.
        resamples: number of resamples with replacement.
        seed: of the random numbers; the same seed gives the same interval.

    Returns:
        Mean, bounds and number of values; all nan and n = 0 without a value.

    Raises:
        ValueError: confidence outside (0, 1).

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence lies between 0 and 1, not {confidence}")
    known = np.asarray(values, dtype=np.float64).ravel()
    known = known[~np.isnan(known)]
    if known.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    random = np.random.default_rng(seed)
    means = [known[random.integers(0, known.size, known.size)].mean() for _ in range(resamples)]
    tail = 100 * (1 - confidence) / 2
    # "lower" and "higher" do not interpolate: inf - inf between two infinite means would be nan.
    low, high = np.percentile(means, tail, method="lower"), np.percentile(means, 100 - tail, method="higher")
    return Interval(float(known.mean()), float(low), float(high), int(known.size))


def bootstrap_ratio(
    sums: Sequence[float] | np.ndarray,
    counts: Sequence[float] | np.ndarray,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean over things that come in clusters, such as nodules of patients, with an interval over the clusters.

    Args:
        sums: sum of the values of each cluster, shape (N,): of Dice, or of hits for a sensitivity.
        counts: number of things in each cluster, shape (N,).
        confidence, resamples, seed: as in `bootstrap_mean`.

    Returns:
        Sum of all values over the number of all things, its percentile interval, and that number; all nan and n = 0
        without a thing.

    Raises:
        ValueError: confidence outside (0, 1), or different numbers of sums and counts.

    Source: Efron & Tibshirani 1993; clusters are resampled whole (Field & Welsh 2007, J R Statist Soc B 69:369-390).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence lies between 0 and 1, not {confidence}")
    over, under = (np.asarray(numbers, dtype=np.float64).ravel() for numbers in (sums, counts))
    if over.shape != under.shape:
        raise ValueError(f"{over.size} sums cannot be divided by {under.size} counts")
    if under.sum() == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    over, under = over[under > 0], under[under > 0]
    random = np.random.default_rng(seed)
    drawn = random.integers(0, under.size, (resamples, under.size))
    ratios = over[drawn].sum(axis=1) / under[drawn].sum(axis=1)
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(ratios, tail, method="lower"), np.percentile(ratios, 100 - tail, method="higher")
    return Interval(float(over.sum() / under.sum()), float(low), float(high), int(under.sum()))


def intraclass_correlation(predicted: Sequence[float] | np.ndarray, reference: Sequence[float] | np.ndarray) -> float:
    """ICC(2,1): two-way random effects, absolute agreement, single measurement; 1 = equal, nan below two cases.

    Args:
        predicted, reference: one number per case in one unit, shape (N,).

    Raises:
        ValueError: different numbers of cases.

    Source: Shrout & Fleiss 1979, Psychol Bull 86:420-428; McGraw & Wong 1996, Psychol Methods 1:30-46.
    """
    ours, theirs = (np.asarray(values, dtype=np.float64).ravel() for values in (predicted, reference))
    if ours.shape != theirs.shape:
        raise ValueError(f"{ours.size} measurements cannot be paired with {theirs.size}")
    n, k = ours.size, 2
    if n < 2:
        return math.nan
    table = np.stack([ours, theirs], axis=1)
    mean = table.mean()
    between_cases = k * ((table.mean(axis=1) - mean) ** 2).sum() / (n - 1)
    between_methods = n * ((table.mean(axis=0) - mean) ** 2).sum() / (k - 1)
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + mean
    error = (rest**2).sum() / ((n - 1) * (k - 1))
    under = between_cases + (k - 1) * error + k * (between_methods - error) / n
    return float((between_cases - error) / under) if under else math.nan


def correlation(predicted: Sequence[float] | np.ndarray, reference: Sequence[float] | np.ndarray) -> float:
    """Pearson's r of two measurements of the same cases; nan below two cases, or where one of them never varies."""
    ours, theirs = (np.asarray(values, dtype=np.float64).ravel() for values in (predicted, reference))
    if ours.size < 2 or ours.std() == 0 or theirs.std() == 0:
        return math.nan
    return float(np.corrcoef(ours, theirs)[0, 1])


def bland_altman(predicted: Sequence[float] | np.ndarray, reference: Sequence[float] | np.ndarray) -> Agreement:
    """Bias and 95 % limits of agreement of two measurements of the same cases.

    Args:
        predicted, reference: one number per case in one unit (ml, mm3, mm), shape (N,), N >= 2.

    Returns:
        Mean of predicted - reference, and that mean -/+ 1.96 sample SD.

    Raises:
        ValueError: fewer than two cases, different numbers of cases, or a value that is not finite.

    Source: Bland & Altman 1986, Lancet 327:307-310.
    """
    ours, theirs = (np.asarray(values, dtype=np.float64).ravel() for values in (predicted, reference))
    if ours.shape != theirs.shape:
        raise ValueError(f"{ours.size} measurements cannot be paired with {theirs.size}")
    if ours.size < 2:
        raise ValueError(f"limits of agreement need two cases or more, there are {ours.size}")
    difference = ours - theirs
    if not np.isfinite(difference).all():
        raise ValueError("every case needs two finite measurements; leave the others out")
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    return Agreement(bias, bias - 1.96 * sd, bias + 1.96 * sd, sd, int(ours.size))
