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

from lungseg3d.core.errors import LungSegError, unexpected
from lungseg3d.core.named_places import Place
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
        return cls(*unexpected(error, subject))

    @property
    def severity(self) -> Severity:
        """By the code's first letter."""
        return Severity.ERROR if self.code.startswith("E_") else Severity.WARNING

    @property
    def is_serious(self) -> bool:
        """True for what puts the whole result in doubt: shown first, wherever a result is shown."""
        return self.code in SERIOUS_CODES


@dataclass(frozen=True)
class Nodule:
    """One measured nodule.

    Attributes:
        id: value in `nodules.nii.gz`, or of a candidate in `candidates.nii.gz`; 1 is the surest, and among equally sure
            ones the largest. Candidates count on behind the nodules, so that a number means one finding of a case.
        volume_mm3: voxels times voxel volume; of a small solid nodule by its HU, too (`volume_method`).
        equivalent_diameter_mm: diameter of the sphere of that volume.
        long_axis_mm: longest diameter in any one axial plane (RECIST 1.1; Eisenhauer et al. 2009).
        perpendicular_mm: longest diameter at right angles to it in the same plane.
        mean_hu, sd_hu: of the CT inside the mask.
        solid_fraction: share of the mask above -300 HU, 0 to 1.
        kind: `solid`, `part-solid` or `ground-glass`, by `solid_fraction`.
        centroid_ras_mm, centroid_lps_mm: centre of mass in the world.
        centroid_voxel: the same as voxel index of the CT's own grid.
        side: `right`, `left` or `unknown` (no lung mask).
        pleura_distance_mm: shortest distance from the nodule's surface to the border of its lung; None when unknown.
        confidence: how sure the networks are that it is a nodule, 0 to 1, for ranking; None for a reference mask.
        volume_low_mm3, volume_high_mm3: 95 % interval of the volume of this outline, from partial volume and slice
            thickness (module `analysis.volume_interval`); what another reader or network would outline is not in it.
        volume_method: `voxels`, or `partial-volume` where few voxels would err and the HU of the nodule and its rim
            were weighed in (module `analysis.partial_volume`).
        voxel_sum_mm3: voxels times voxel volume, whatever the method.
        mean_diameter_mm: mean of long axis and perpendicular, as Fleischner 2017 and Lung-RADS 2022 take it.
        solid_long_axis_mm, solid_perpendicular_mm: of the largest solid part of a part-solid nodule, in the slice where
            it is longest; None for the other kinds.
        solid_volume_mm3: of everything solid in a part-solid nodule; None for the other kinds.
        third: `upper`, `middle` or `lower` third of its lung's height; `unknown` without a lung mask. Lobes are not
            told: that takes the fissures.
        vessel_distance_mm: shortest way to dense tissue inside the lung that is no nodule, most often a vessel; None
            where none lies within 15 mm, or without a lung mask.
        lung_rads_by_diameter, lung_rads_by_volume: Lung-RADS 2022 category of the size and kind alone, as at a first
            screening (in a follow-up, of a new nodule where it is one); not a diagnosis. Empty where not told.
        fleischner_by_diameter, fleischner_by_volume: size class of the Fleischner 2017 guideline, such as
            `solid, 6-8 mm`; not a diagnosis. Empty where the record does not say.
        calibrated_confidence: share of findings of this confidence that were nodules on held-out cases, 0 to 1; None
            where the bundle has no calibration.
        uncertainty: mean entropy of the probability in and around the mask, 0 (sure) to 1 bit; None when not asked for.
        view_agreement: mean Dice of the outline in each mirrored view with that of all of them, 0 to 1; None too.
        reason: why it is a candidate and not in the list, a key of `CANDIDATE_REASONS`; empty for a listed nodule.
    """

    id: int
    volume_mm3: float
    equivalent_diameter_mm: float
    long_axis_mm: float
    perpendicular_mm: float
    mean_hu: float
    sd_hu: float
    solid_fraction: float
    kind: str
    centroid_ras_mm: tuple[float, float, float]
    centroid_lps_mm: tuple[float, float, float]
    centroid_voxel: tuple[float, float, float]
    side: str
    pleura_distance_mm: float | None
    confidence: float | None
    volume_low_mm3: float | None = None
    volume_high_mm3: float | None = None
    mean_diameter_mm: float | None = None
    solid_long_axis_mm: float | None = None
    solid_perpendicular_mm: float | None = None
    solid_volume_mm3: float | None = None
    third: str = "unknown"
    vessel_distance_mm: float | None = None
    lung_rads_by_diameter: str = ""
    lung_rads_by_volume: str = ""
    fleischner_by_diameter: str = ""
    fleischner_by_volume: str = ""
    calibrated_confidence: float | None = None
    uncertainty: float | None = None
    view_agreement: float | None = None
    volume_method: str = "voxels"
    voxel_sum_mm3: float | None = None
    reason: str = ""


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
        known[key] = tuple(Nodule(**_known(Nodule, _with_tuples(row))) for row in record.get(key, ()))
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
