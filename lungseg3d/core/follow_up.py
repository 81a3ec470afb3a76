"""Frozen records of two CTs of one person compared: each nodule over time, and all that belongs to it.

In: numbers and records of `core.records`. Out: dataclasses that `core.to_json` takes. Knows no file and no drawing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from lungseg3d.core.nodule import Nodule
from lungseg3d.core.records import CaseResult, QualityIssue

Point = tuple[float, float, float]


class Change(str, Enum):
    """What became of a nodule.

    `not-measurable`: both CTs show its place, but a change cannot be told. `not-covered`: only one CT shows its place,
    so that it is neither new nor gone. `not-determined`: the CTs do not fit together, so nothing was compared.
    """

    NEW = "new"
    GONE = "gone"
    GROWN = "grown"
    SHRUNK = "shrunk"
    STABLE = "stable"
    NOT_MEASURABLE = "not-measurable"
    NOT_COVERED = "not-covered"
    NOT_DETERMINED = "not-determined"


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
        prior, current: its measurements; None = not found there. One of both may be a candidate of its CT, which has a
            `reason` of its own and no segment in that CT's DICOM SEG.
        place_prior_ras_mm, place_current_ras_mm: its middle in each CT; where it was not found, where registration
            puts it; None where registration failed.
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
    place_prior_ras_mm: Point | None
    place_current_ras_mm: Point | None
    distance_mm: float | None = None
    volume_change: Estimate = Estimate(None)
    doubling_time_days: Estimate = Estimate(None)


_HEADLINES = {
    "W_OTHER_PATIENT": "The two CTs may be of different patients.",
    "W_POOR_REGISTRATION": "No change was determined: the lungs of the two CTs do not fit together.",
    "W_SAME_SERIES": "Prior and current are the same CT: this is no follow-up.",
    "W_CURRENT_FIRST": "The CTs seem to be swapped: by its date the current one was taken first.",
}
"""What a reader must see before any number, by the code of the issue that says more."""


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
        person: for PatientID, sex and birth date of both DICOM headers `same`, `different` or `not compared`; never a
            value.
    """

    prior: CaseResult
    current: CaseResult
    changes: tuple[NoduleChange, ...]
    days: float | None = None
    days_from: str = ""
    registration: dict[str, Any] = field(default_factory=dict)
    issues: tuple[QualityIssue, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    person: dict[str, str] = field(default_factory=dict)

    @property
    def headlines(self) -> tuple[str, ...]:
        """What puts everything else in doubt, one sentence each; empty where nothing does."""
        codes = {issue.code for issue in self.issues}
        is_doubtful = {**dict.fromkeys(codes, True), "W_CURRENT_FIRST": "W_CURRENT_FIRST" in codes and self.days != 0}
        return tuple(text for code, text in _HEADLINES.items() if is_doubtful.get(code))
