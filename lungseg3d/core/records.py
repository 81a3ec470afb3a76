"""Frozen records that cross module borders, each with a JSON form.

In: numbers and names. Out: dataclasses; their JSON form is in `core.json_form`. Knows no file and no drawing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from lungseg3d.core.errors import LungSegError, unexpected_fault
from lungseg3d.core.named_places import Place
from lungseg3d.core.nodule import Nodule, nodule_of
from lungseg3d.core.remedies import remedy_text


class Severity(str, Enum):
    """How much an issue matters: `warning` is recorded and the case goes on, `error` stops the case."""

    WARNING = "warning"
    ERROR = "error"


SERIOUS_CODES = ("W_NO_LUNG", "W_ANATOMY_ORIENTATION", "W_LARGE_LESION", "W_DISEASED_LUNG")
"""Warnings that put the whole result in doubt, the gravest first."""
CANDIDATE_REASONS = {
    "below-point": "less sure than the operating point asks for",
    "outside-lungs": "most of it lies outside the lungs",
    "hilar-vessel": "continuous with a vessel of the hilum",
}
"""Why a finding is kept as a candidate and does not stand in the list of nodules: `Nodule.reason`, and its words."""
NO_LUNGS = "no_lungs"
"""Status of a case in which no lung was found: its files are written, and no nodule was looked for."""


@dataclass(frozen=True)
class QualityIssue:
    """One thing that a reader of the result must know about its input or output.

    Attributes:
        code: `W_...` for a warning, `E_...` for a refusal; stable, for programs.
        message: what was found, with slices, files or numbers.
        remedy: the way out; empty where there is none. Given as a template of `core.remedies`, kept as its text.
    """

    code: str
    message: str
    remedy: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "remedy", remedy_text(self.remedy))

    def __reduce__(self) -> tuple[type[QualityIssue], tuple[str, str, str]]:
        # By its constructor: what a decoder kept as a template becomes text in the process that receives it.
        return QualityIssue, (self.code, self.message, self.remedy)

    @classmethod
    def of(cls, error: BaseException, subject: str = "") -> QualityIssue:
        """The issue that says what an error says.

        Args:
            error: a `LungSegError` keeps its code, message and remedy; any other becomes E_UNEXPECTED with its place.
            subject: the case that an unexpected error happened to.
        """
        if isinstance(error, LungSegError):
            return cls(error.code, error.message, error.remedy)
        return cls(*unexpected_fault(error, subject))

    @property
    def severity(self) -> Severity:
        """By the code's first letter."""
        return Severity.ERROR if self.code.startswith("E_") else Severity.WARNING

    @property
    def is_serious(self) -> bool:
        """True for what puts the whole result in doubt: shown first, wherever a result is shown."""
        return self.code in SERIOUS_CODES


@dataclass(frozen=True)
class LowConfidence:
    """Below what a nodule is marked as of low confidence.

    Attributes:
        calibrated: limit of the calibrated confidence; at 0.5 more of its like were none than were.
        uncalibrated: limit of `Certainty.confidence` where nothing is calibrated: the networks waver over much of it.
    """

    calibrated: float = 0.5
    uncalibrated: float = 0.8

    @staticmethod
    def of_options(options: Mapping[str, Any]) -> LowConfidence:
        """The limits that the options of a record name, else the defaults."""
        asked = {"calibrated": "low_calibrated_confidence", "uncalibrated": "low_confidence"}
        return LowConfidence(**{field: float(options[key]) for field, key in asked.items() if key in options})

    def reason(self, nodule: Nodule) -> str:
        """The field of a nodule that is too low: `calibrated_confidence` or `confidence`; empty where none is."""
        raw, calibrated = nodule.certainty.confidence, nodule.certainty.calibrated_confidence
        if calibrated is not None:
            return "calibrated_confidence" if calibrated < self.calibrated else ""
        return "confidence" if raw is not None and raw < self.uncalibrated else ""


@dataclass(frozen=True)
class Lung:
    """One segmented lung: `right_lung` or `left_lung` and its volume, nodules included."""

    name: str
    volume_ml: float


@dataclass(frozen=True)
class Case:
    """One CT of a manifest.

    Attributes:
        case_id: file-safe, unique in its manifest; never a patient's name.
        image: file or series folder.
        label: reference mask, or None.
        patient: pseudonym that keeps one patient's cases on one side of a split.
        fold: cross-validation fold, or None.
    """

    case_id: str
    image: Path
    label: Path | None = None
    patient: str = ""
    fold: int | None = None


@dataclass(frozen=True)
class CaseResult:
    """All that is known about one segmented case; written as `result.json`.

    Attributes:
        case_id: name of the result's folder.
        status: `done`, `no_lungs` (no lung was found, so no nodule was looked for), `refused` (the input) or `failed`
            (the program).
        source: what was read: format, series, slices; no patient identifiers.
        grid: shape, spacing_mm and affine_ras of the CT's own grid.
        lungs: what was found, measured.
        nodules: the findings at or above the operating point, measured, the surest first: the list for a reader.
        candidates: what else the networks marked, measured, each with its `reason`; masks in `candidates.nii.gz`.
        operating_point: by what `nodules` and `candidates` were told apart: `name` (`default`, `sensitive`, `fp=N`,
            `min-confidence`, `settings`, `none`, or `places` where a person named some), `least_confidence`
            (calibrated, by kind of nodule), and what it costs where that was measured: `false_findings_a_scan`,
            `sensitivity`. Empty in records of schema 1, whose `nodules` are everything that was found.
        places: what a person named to be outlined, and what became of each; where there are some, nothing else was
            searched for, and every nodule was outlined at one of them.
        issues: what a reader of the result must know.
        checks: what was measured after segmentation: `orientation` of the image against its header (`agrees`, `against`
            or `not determined` for each axis, and the signs found), `disease` of the lungs.
        provenance: versions, bundles, weights' SHA-256, options.
        timings_s: seconds by step, in order.
        peak_memory_mib: largest resident memory of the process so far.
        files: names of the files written beside the record.
    """

    case_id: str
    status: str
    source: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, Any] = field(default_factory=dict)
    lungs: tuple[Lung, ...] = ()
    nodules: tuple[Nodule, ...] = ()
    candidates: tuple[Nodule, ...] = ()
    operating_point: dict[str, Any] = field(default_factory=dict)
    places: tuple[Place, ...] = ()
    issues: tuple[QualityIssue, ...] = ()
    checks: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    timings_s: dict[str, float] = field(default_factory=dict)
    peak_memory_mib: float | None = None
    files: tuple[str, ...] = ()

    @property
    def findings(self) -> tuple[Nodule, ...]:
        """Everything that the networks marked: the nodules of the list, then the candidates."""
        return self.nodules + self.candidates


def case_result_of(record: Mapping[str, Any]) -> CaseResult:
    """The record that was written as `result.json`: the inverse of `to_json`.

    Keys that this version does not know (of a later one) are left out, those of nodules too; what an earlier version
    did not write has its default.

    Raises:
        TypeError, KeyError, ValueError: it is no record of a case.
    """
    known = _known(CaseResult, record)
    for key in ("nodules", "candidates"):
        known[key] = tuple(nodule_of(_with_tuples(row)) for row in record.get(key, ()))
    known["places"] = tuple(Place(**_known(Place, _with_tuples(row))) for row in record.get("places", ()))
    known["lungs"] = tuple(Lung(**_known(Lung, row)) for row in record.get("lungs", ()))
    known["issues"] = tuple(QualityIssue(**_known(QualityIssue, row)) for row in record.get("issues", ()))
    known["files"] = tuple(record.get("files", ()))
    return CaseResult(**known)


def _known(kind: type, row: Mapping[str, Any]) -> dict[str, Any]:
    names = {f.name for f in dataclasses.fields(kind)}
    return {name: value for name, value in row.items() if name in names}


def _with_tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
