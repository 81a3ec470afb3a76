"""Scored marks of many scans -> the confidence from which marks are kept, for a wanted rate of false ones.

In: `ScanMatches` of each scan, as for a FROC curve. Out: `OperatingPoint`. Knows no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lungseg3d.metrics.agreement import Interval
from lungseg3d.metrics.froc import ScanMatches, froc_curve
from lungseg3d.metrics.patient_means import mean_of_patients


@dataclass(frozen=True)
class OperatingPoint:
    """Where to cut, and what that cut is worth on the scans it was chosen on: too good, as it was chosen there.

    Attributes:
        least_confidence: marks below are dropped; 0 where all marks together are not too many.
        asked: false positives a scan that were allowed.
        false_positives_a_scan: at this cut, with its interval over patients.
        sensitivity: share of all nodules found at this cut, with its interval over patients.
        scans, nodules: how many there were.
    """

    least_confidence: float
    asked: float
    false_positives_a_scan: Interval
    sensitivity: Interval
    scans: int
    nodules: int


def pick_operating_point(
    matches: Sequence[ScanMatches], rate: float, patients: Sequence[str] | None = None
) -> OperatingPoint:
    """The lowest cut at which there are at most `rate` false positives a scan.

    The cut lies midway between the last mark that is kept and the next one, so that the last digit of a confidence,
    which depends on the machine, decides nothing.

    Args:
        matches: of each scan.
        rate: false positives a scan that are allowed.
        patients: whose each scan is; None: each is another's.

    Raises:
        ValueError: no scan, no nodule, a rate that is not above 0, or more false positives than allowed among the marks
            of the highest confidence alone.
    """
    if not rate > 0:
        raise ValueError(f"{rate:g} false positives a scan; ask for more than 0")
    curve = froc_curve(matches)
    kept = int(np.flatnonzero(curve.rate <= rate)[-1])
    if kept == 0 and len(curve.thresholds) > 1:
        lone = f"the surest marks alone (confidence {curve.thresholds[1]:g}) are {curve.rate[1]:g} false ones a scan"
        raise ValueError(f"no cut has at most {rate:g} false positives a scan: {lone}")
    everything = kept + 1 == len(curve.thresholds)
    cut = 0.0 if everything else float(curve.thresholds[kept : kept + 2].mean())
    false = [float((match.false_positives >= cut).sum()) for match in matches]
    found = [float((match.found >= cut).sum()) for match in matches]  # one that no mark hit is nan, and not above
    wanted = [len(match.found) for match in matches]
    whose = [str(number) for number in range(len(matches))] if patients is None else list(patients)
    return OperatingPoint(
        cut,
        rate,
        mean_of_patients(false, whose),
        mean_of_patients(*_each_nodule(found, wanted, whose), is_share=True),
        len(matches),
        curve.nodules,
    )


def _each_nodule(
    found: Sequence[float], wanted: Sequence[int], patients: Sequence[str]
) -> tuple[list[float], list[str]]:
    """1 or 0 for each nodule, and whose it is."""
    hits: list[float] = []
    whose: list[str] = []
    for hit, count, patient in zip(found, wanted, patients, strict=True):
        hits += [1.0] * int(hit) + [0.0] * (count - int(hit))
        whose += [patient] * count
    return hits, whose
