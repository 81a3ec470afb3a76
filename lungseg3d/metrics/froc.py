"""Scored marks and nodules of many scans -> FROC curve, sensitivities at fixed false-positive rates, CPM.

In: `ScanMarks` of each scan, centres in mm. Out: `Froc`. Scored as the LUNA16 challenge does it; knows no file.

Source: Setio et al. 2017, Med Image Anal 42:1-13, section 3.3, and the challenge's evaluation program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lungseg3d.metrics.patient_means import LEAST_PATIENTS, proportion_interval

LUNA16_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives a scan at which the challenge reads the sensitivity; their mean is the CPM."""
MOST_MARKS = 100
"""Marks of a scan that the challenge counts; of more, those with the highest scores."""
_UNKNOWN_DIAMETER_MM = 10.0


@dataclass(frozen=True)
class ScanMarks:
    """What is known of one scan and what a system marked in it; all positions in one world, mm.

    Attributes:
        nodules_mm: centres of the nodules that are to be found, (N, 3).
        diameters_mm: theirs, (N,); a negative one is unknown, and taken as 10 mm.
        ignored_mm, ignored_diameters_mm: findings that count neither way, (K, 3) and (K,).
        marks_mm: centres of the marks, (M, 3).
        scores: theirs, (M,), higher = surer.
    """

    nodules_mm: np.ndarray
    diameters_mm: np.ndarray
    ignored_mm: np.ndarray
    ignored_diameters_mm: np.ndarray
    marks_mm: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class ScanMatches:
    """One scan after matching.

    Attributes:
        found: score of the best mark of each nodule, (N,); nan where none lies inside its radius.
        false_positives: scores of the marks inside no nodule and no ignored finding, (F,).
        marks: marks that were counted.
    """

    found: np.ndarray
    false_positives: np.ndarray
    marks: int


@dataclass(frozen=True)
class Froc:
    """A free-response curve.

    Attributes:
        rate: false positives a scan at each threshold, (T,), ascending from 0.
        sensitivity: share of all nodules found at it, (T,).
        thresholds: scores, (T,), descending; the first is above all scores.
        scans, nodules, marks: how many there were.
    """

    rate: np.ndarray
    sensitivity: np.ndarray
    thresholds: np.ndarray
    scans: int
    nodules: int
    marks: int

    def sensitivity_at(self, rates: Sequence[float] = LUNA16_RATES) -> np.ndarray:
        """Sensitivity at false-positive rates, (R,): linear between thresholds, the last value beyond the curve."""
        sensitivities: np.ndarray = np.interp(rates, self.rate, self.sensitivity)
        return sensitivities

    @property
    def cpm(self) -> float:
        """Competition performance metric: mean sensitivity at `LUNA16_RATES`."""
        return float(self.sensitivity_at().mean())


def match_marks(scan: ScanMarks, most_marks: int | None = MOST_MARKS) -> ScanMatches:
    """Marks to nodules: a mark hits where its distance is strictly below the radius, and the best one counts.

    A mark that hits several nodules counts for each. Further marks inside a nodule, and those inside an ignored
    finding, are neither right nor wrong.

    Args:
        scan: nodules and marks.
        most_marks: marks that count, by score; None for all.
    """
    order = np.argsort(-scan.scores, kind="stable")[:most_marks]
    marks, scores = scan.marks_mm[order], scan.scores[order]
    inside = _inside(scan.nodules_mm, scan.diameters_mm, marks)
    ignored = _inside(scan.ignored_mm, scan.ignored_diameters_mm, marks)
    best = np.where(inside, scores[None, :], -np.inf).max(axis=1, initial=-np.inf)
    found = np.where(inside.any(axis=1), best, np.nan)
    return ScanMatches(found, scores[~inside.any(axis=0) & ~ignored.any(axis=0)], len(scores))


def froc_curve(matches: Sequence[ScanMatches]) -> Froc:
    """The curve of many scans, those without nodules or marks included: all of them are in the denominator.

    Raises:
        ValueError: no scan, or no nodule in any of them.
    """
    scores, is_nodule, _ = _events(matches)
    nodules = _nodules(matches)
    marks = sum(match.marks for match in matches)
    return Froc(*_curve(scores, is_nodule, np.ones(len(scores)), len(matches), nodules), len(matches), nodules, marks)


def froc_interval(
    matches: Sequence[ScanMatches],
    rates: Sequence[float] = LUNA16_RATES,
    *,
    patients: Sequence[str] | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap over scans, or patients, of the sensitivities at `rates` and of their mean.

    Args:
        matches: of each scan.
        rates: false positives a scan.
        patients: whose each scan is: all scans of a patient are resampled together. None: each is another's.
        confidence, resamples, seed: of the bootstrap.

    Returns:
        (low, high), each (R + 1,): one for each rate, then the mean of all rates (with `LUNA16_RATES` the CPM). With
        `patients`, nan for fewer than `LEAST_PATIENTS`. Where all resamples agree (all found, none found), the exact
        bounds of as many patients with nodules: no interval has width zero.

    Raises:
        ValueError: as `froc_curve`.

    Source: Efron & Tibshirani 1993; the challenge resamples scans 1,000 times too.
    """
    scores, is_nodule, scan_of = _events(matches)
    per_scan = np.array([len(match.found) for match in matches])
    _nodules(matches)
    names, whose = np.unique(range(len(matches)) if patients is None else list(patients), return_inverse=True)
    if patients is not None and len(names) < LEAST_PATIENTS:
        return np.full(len(rates) + 1, np.nan), np.full(len(rates) + 1, np.nan)
    random = np.random.default_rng(seed)
    drawn: list[list[float]] = []
    while len(drawn) < resamples:
        times = np.bincount(random.integers(0, len(names), len(names)), minlength=len(names))[whose]
        nodules = int((times * per_scan).sum())
        if nodules == 0:
            continue  # a draw without a nodule has no sensitivity
        rate, share, _ = _curve(scores, is_nodule, times[scan_of], int(times.sum()), nodules)
        values = np.interp(rates, rate, share)
        drawn.append([*values, values.mean()])
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=0)
    with_nodules = len(np.unique(whose[per_scan > 0]))
    for place in np.flatnonzero(high - low < 1e-9):
        found = float(np.clip(low[place], 0, 1))
        exact = proportion_interval(found * with_nodules, with_nodules, confidence=confidence)
        low[place], high[place] = exact.low, exact.high
    return low, high


def _inside(centres_mm: np.ndarray, diameters_mm: np.ndarray, marks_mm: np.ndarray) -> np.ndarray:
    """Whether each mark hits each finding, (N, M)."""
    if not len(centres_mm) or not len(marks_mm):
        return np.zeros((len(centres_mm), len(marks_mm)), bool)
    radii = np.where(diameters_mm < 0, _UNKNOWN_DIAMETER_MM, diameters_mm) / 2
    squared = ((centres_mm[:, None, :] - marks_mm[None, :, :]) ** 2).sum(axis=-1)
    is_hit: np.ndarray = squared < (radii**2)[:, None]
    return is_hit


def _events(matches: Sequence[ScanMatches]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Found nodules and false positives of all scans by falling score: scores, which is which, index of the scan."""
    parts = []
    for i, match in enumerate(matches):
        found = match.found[~np.isnan(match.found)]
        parts.append((found, np.ones(len(found), bool), np.full(len(found), i)))
        false = match.false_positives
        parts.append((false, np.zeros(len(false), bool), np.full(len(false), i)))
    if not parts:
        raise ValueError("a FROC curve needs a scan")
    scores, is_nodule, scan_of = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(-scores, kind="stable")
    return scores[order], is_nodule[order], scan_of[order]


def _nodules(matches: Sequence[ScanMatches]) -> int:
    nodules = sum(len(match.found) for match in matches)
    if nodules == 0:
        raise ValueError("a FROC curve needs a nodule in one of its scans")
    return nodules


def _curve(
    scores: np.ndarray, is_nodule: np.ndarray, times: np.ndarray, scans: int, nodules: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rate, sensitivity and threshold where each event counts `times` often; events of one score are one threshold."""
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True)) if len(scores) else np.zeros(0, int)
    found, false = np.cumsum(is_nodule * times)[last], np.cumsum(~is_nodule * times)[last]
    return np.append(0.0, false / scans), np.append(0.0, found / nodules), np.append(np.inf, scores[last])
