"""Frozen records of two CTs of one person compared: each nodule over time, and all that belongs to it.

In: numbers and records of `core.records`. Out: dataclasses that `core.to_json` takes. Knows no file and no drawing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from lungseg3d.core.records import CaseResult, Nodule, QualityIssue

Point = tuple[float, float, float]


class Change(str, Enum):
    """What became of a nodule."""

    NEW = "new"
    GONE = "gone"
    GROWN = "grown"
    SHRUNK = "shrunk"
    STABLE = "stable"
    NOT_MEASURABLE = "not-measurable"


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: None = not defined.
        low, high: ends of the interval; None = open.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class NoduleChange:
    """One nodule over time.

    Attributes:
        id: number in this follow-up, from 1.
        change: what became of it.
        reason: why a change cannot be measured, or what else to know; else empty.
        prior, current: its measurements; None = not found there.
        place_prior_ras_mm, place_current_ras_mm: its middle in each CT; where it was not found, where registration
            puts it.
        distance_mm: between its middle in the current CT and where registration puts the prior one; None without both.
        volume_change: (current - prior) / prior; not defined unless matched.
        doubling_time_days: volume doubling time; the value is not defined where the nodule did not grow by 25 %, `high`
            is open where it may not have grown at all.
    """

    id: int
    change: Change
    reason: str
    prior: Nodule | None
    current: Nodule | None
    place_prior_ras_mm: Point
    place_current_ras_mm: Point
    distance_mm: float | None = None
    volume_change: Estimate = Estimate(None)
    doubling_time_days: Estimate = Estimate(None)


@dataclass(frozen=True)
class FollowUp:
    """Two CTs of one person compared; written as `follow_up.json`.

    Attributes:
        prior, current: the records of both.
        changes: nodules, those that matter most first.
        days: between both CTs; None = not known.
        days_from: `DICOM`, `given` or empty.
        registration: how the lungs were brought together and how well.
        issues: what a reader must know, differences of the scans among them.
        provenance: versions and rules.
    """

    prior: CaseResult
    current: CaseResult
    changes: tuple[NoduleChange, ...]
    days: float | None = None
    days_from: str = ""
    registration: dict[str, Any] = field(default_factory=dict)
    issues: tuple[QualityIssue, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
