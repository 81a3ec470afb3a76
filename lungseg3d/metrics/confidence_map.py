"""Confidences and what was true -> a monotone map from confidence to the share of findings that are true.

In: one confidence and one verdict for each finding. Out: `ConfidenceMap`, and what it would have said of findings that
it was not fitted on. Knows no file and no network.

Sources: Platt 1999, Advances in Large Margin Classifiers, 61-74 (with its smoothed targets, on the logit of the
confidence); Zadrozny & Elkan 2002, KDD, 694-699 (isotonic).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, logit

METHODS = ("platt", "isotonic")
LEAST_OF_EACH = 5
"""True and false findings without which nothing is fitted."""
_NEAREST = 1e-4  # logits of 0 and 1 are infinite
_PLATT_KNOTS = 65


@dataclass(frozen=True)
class ConfidenceMap:
    """A monotone, piecewise linear map; constant beyond its ends.

    Attributes:
        confidence: knots, ascending, 0 to 1.
        probability: its value there, never falling, 0 to 1.

    Raises:
        ValueError: not so.
    """

    confidence: tuple[float, ...]
    probability: tuple[float, ...]

    def __post_init__(self) -> None:
        knots, values = np.asarray(self.confidence, float), np.asarray(self.probability, float)
        if knots.ndim != 1 or knots.shape != values.shape or not knots.size:
            raise ValueError(f"{knots.size} knots and {values.size} values make no map")
        inside = all(((part >= 0) & (part <= 1)).all() for part in (knots, values))  # false for nan, too
        if not inside or (np.diff(knots) <= 0).any() or (np.diff(values) < 0).any():
            raise ValueError("knots must rise and values must never fall, both between 0 and 1")

    def __call__(self, confidences: Sequence[float] | np.ndarray) -> np.ndarray:
        """Calibrated confidences, (N,), of confidences (N,)."""
        probabilities: np.ndarray = np.interp(np.asarray(confidences, float), self.confidence, self.probability)
        return probabilities

    def where_true_ones_are(self, times: float) -> ConfidenceMap:
        """The map where true findings are so many times as frequent beside the false ones as where it was fitted.

        A set that was made around nodules holds far more of them than scans do. The odds of every confidence change by
        the same factor (prior shift; Saerens et al. 2002, Neural Comput 14:21-41).

        Raises:
            ValueError: not above 0.
        """
        if not times > 0:
            raise ValueError(f"true findings are {times} times as frequent; expected a number above 0")
        before = np.asarray(self.probability)
        return _map_of(np.asarray(self.confidence), before * times / (before * times + 1 - before))


def fit_confidence_map(
    confidences: Sequence[float] | np.ndarray, is_true: Sequence[bool] | np.ndarray, method: str = "platt"
) -> ConfidenceMap:
    """The map that fits findings best.

    Args:
        confidences: 0 to 1, (N,).
        is_true: whether each finding is one, (N,).
        method: `platt`, a sigmoid of two parameters, for some dozens of findings; `isotonic`, any rising steps, for
            thousands.

    Raises:
        ValueError: another method, fewer than `LEAST_OF_EACH` true or false findings, a confidence outside 0 to 1.
    """
    sure, true = np.asarray(confidences, dtype=float).ravel(), np.asarray(is_true, dtype=bool).ravel()
    if sure.shape != true.shape:
        raise ValueError(f"{sure.size} confidences cannot be paired with {true.size} verdicts")
    if not ((sure >= 0) & (sure <= 1)).all():
        raise ValueError("a confidence lies between 0 and 1")
    if min(true.sum(), (~true).sum()) < LEAST_OF_EACH:
        found = f"{int(true.sum())} true and {int((~true).sum())} false findings"
        raise ValueError(f"{found}: at least {LEAST_OF_EACH} of each are needed")
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; it can be {' or '.join(METHODS)}")
    return _platt(sure, true) if method == "platt" else _isotonic(sure, true)


def held_out_confidences(
    confidences: Sequence[float] | np.ndarray,
    is_true: Sequence[bool] | np.ndarray,
    folds: Sequence[int] | np.ndarray,
    method: str = "platt",
) -> np.ndarray:
    """What maps fitted on all other folds say of each finding, (N,).

    Raises:
        ValueError: one fold only, or what `fit_confidence_map` raises.
    """
    sure, true = np.asarray(confidences, float).ravel(), np.asarray(is_true, bool).ravel()
    fold_of = np.asarray(folds).ravel()
    if len(np.unique(fold_of)) < 2:
        raise ValueError("one fold alone holds nothing out")
    held = np.empty_like(sure)
    for fold in np.unique(fold_of):
        out = fold_of == fold
        held[out] = fit_confidence_map(sure[~out], true[~out], method)(sure[out])
    return held


def _platt(sure: np.ndarray, true: np.ndarray) -> ConfidenceMap:
    positives, negatives = true.sum(), (~true).sum()
    targets = np.where(true, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    scores = logit(np.clip(sure, _NEAREST, 1 - _NEAREST))

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        slope, offset = parameters
        logits = slope * scores + offset
        # Cross-entropy with soft targets: log(1 + e^z) - t z, which never overflows.
        error = expit(logits) - targets
        value = (np.logaddexp(0, logits) - targets * logits).sum()
        return float(value), np.array([(error * scores).sum(), error.sum()])

    # A falling map would call the surest findings the least likely: then the confidence tells nothing, slope 0.
    fit = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(0.0, None), (None, None)])
    # Beyond what was seen the map is constant, and it is never surer than its own targets.
    knots = np.linspace(scores.min(), scores.max(), _PLATT_KNOTS)
    return _map_of(expit(knots), np.clip(expit(fit.x[0] * knots + fit.x[1]), targets.min(), targets.max()))


def _isotonic(sure: np.ndarray, true: np.ndarray) -> ConfidenceMap:
    knots, places = np.unique(sure, return_inverse=True)
    counts = np.bincount(places).astype(float)
    shares = np.bincount(places, weights=true) / counts
    fitted = isotonic_regression(shares, weights=counts)
    starts, values = fitted.blocks[:-1], fitted.x
    sizes = np.add.reduceat(counts, starts)
    # A step of few findings is no certainty: one more true and one more false in each (rule of succession).
    smoothed = (values[starts] * sizes + 1) / (sizes + 2)
    smoothed = isotonic_regression(smoothed, weights=sizes).x
    centres = np.add.reduceat(knots * counts, starts) / sizes
    return _map_of(centres, smoothed)


def _map_of(knots: np.ndarray, values: np.ndarray) -> ConfidenceMap:
    """Rounded to six digits, as it is written down."""
    knots, first = np.unique(np.round(knots, 6), return_index=True)
    values = np.maximum.accumulate(np.round(values[first], 6))
    return ConfidenceMap(tuple(knots.tolist()), tuple(values.tolist()))
