"""One measured nodule, in parts: size, density, place, certainty, and the guidelines' size classes.

In: numbers and words. Out: frozen records; `RECORD_KEYS` ties them to the flat keys of `result.json`.

The parts follow how nodules are reported: Fleischner 2017 and Lung-RADS 2022 ask for diameters, the volume and the
solid part, by attenuation type, and derive a size class from them; radiomics (IBSI) tells shape from intensity; the
place, and what the networks say of the finding, are neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from operator import attrgetter
from typing import Any


@dataclass(frozen=True)
class VolumeEstimate:
    """Volume of a nodule, with its interval (`analysis.nodules.volume_interval`, `.partial_volume`).

    Attributes:
        mm3: voxels times voxel volume; of a small solid nodule by its HU, too (`method`).
        low_mm3, high_mm3: 95 % interval of the volume of this outline, from partial volume and slice thickness; what
            another reader or network would outline is not in it. None where an earlier version did not write it.
        method: `voxels`, or `partial-volume` where few voxels would err and the HU of the nodule and its rim were
            weighed in.
        voxel_sum_mm3: voxels times voxel volume, whatever the method.
    """

    mm3: float
    low_mm3: float | None = None
    high_mm3: float | None = None
    method: str = "voxels"
    voxel_sum_mm3: float | None = None


@dataclass(frozen=True)
class Diameters:
    """Diameters of a nodule in mm (`analysis.nodules.diameters`).

    Attributes:
        equivalent_mm: of the sphere of its volume.
        long_axis_mm: longest diameter in any one axial plane (RECIST 1.1; Eisenhauer et al. 2009).
        perpendicular_mm: longest diameter at right angles to it in the same plane.
        mean_mm: mean of long axis and perpendicular, as Fleischner 2017 and Lung-RADS 2022 take it.
    """

    equivalent_mm: float
    long_axis_mm: float
    perpendicular_mm: float
    mean_mm: float | None = None


@dataclass(frozen=True)
class SolidPart:
    """Size of what is solid (above -300 HU) in a part-solid nodule; None for the other kinds.

    Attributes:
        long_axis_mm, perpendicular_mm: of the largest solid part, in the slice where it is longest.
        volume_mm3: of everything solid.
    """

    long_axis_mm: float | None = None
    perpendicular_mm: float | None = None
    volume_mm3: float | None = None


@dataclass(frozen=True)
class Density:
    """Attenuation of the CT inside a nodule's mask.

    Attributes:
        mean_hu, sd_hu: mean and standard deviation.
        solid_fraction: share of the mask above -300 HU, 0 to 1.
        kind: `solid`, `part-solid` or `ground-glass`, by `solid_fraction` (`analysis.nodules.measure.kind_of`).
    """

    mean_hu: float
    sd_hu: float
    solid_fraction: float
    kind: str


@dataclass(frozen=True)
class Centroid:
    """Centre of mass of a nodule's mask.

    Attributes:
        ras_mm, lps_mm: in the world, axes to right, anterior, superior, or to left, posterior, superior.
        voxel: as voxel index of the CT's own grid, from 0.
    """

    ras_mm: tuple[float, float, float]
    lps_mm: tuple[float, float, float]
    voxel: tuple[float, float, float]


@dataclass(frozen=True)
class LungPosition:
    """Where in the lungs a nodule lies (`analysis.nodules.measure`).

    Attributes:
        side: `right`, `left` or `unknown` (no lung mask).
        pleura_distance_mm: shortest distance from the nodule's surface to the border of its lung; None when unknown.
        third: `upper`, `middle` or `lower` third of its lung's height; `unknown` without a lung mask. Lobes are not
            told: that takes the fissures.
        vessel_distance_mm: shortest way to dense tissue inside the lung that is no nodule, most often a vessel; None
            where none lies within 15 mm, or without a lung mask.
    """

    side: str
    pleura_distance_mm: float | None
    third: str = "unknown"
    vessel_distance_mm: float | None = None


@dataclass(frozen=True)
class Certainty:
    """How sure the networks are of a finding; what was not asked for, or cannot be known, is None.

    Attributes:
        confidence: that it is a nodule, 0 to 1, for ranking; None for a reference mask.
        calibrated_confidence: share of findings of this confidence that were nodules on held-out cases, 0 to 1; None
            where the bundle has no calibration.
        uncertainty: mean entropy of the probability in and around the mask, 0 (sure) to 1 bit.
        view_agreement: mean Dice of the outline in each mirrored view with that of all of them, 0 to 1.
    """

    confidence: float | None
    calibrated_confidence: float | None = None
    uncertainty: float | None = None
    view_agreement: float | None = None


@dataclass(frozen=True)
class SizeClasses:
    """Size classes of guidelines (`analysis.nodules.size_classes`); no diagnosis. Empty where the record does not say.

    Attributes:
        lung_rads_by_diameter, lung_rads_by_volume: Lung-RADS 2022 category of the size and kind alone, as at a first
            screening (in a follow-up, of a new nodule where it is one).
        fleischner_by_diameter, fleischner_by_volume: size class of the Fleischner 2017 guideline, such as
            `solid, 6-8 mm`.
    """

    lung_rads_by_diameter: str = ""
    lung_rads_by_volume: str = ""
    fleischner_by_diameter: str = ""
    fleischner_by_volume: str = ""


@dataclass(frozen=True)
class Nodule:
    """One measured nodule.

    Attributes:
        id: value in `nodules.nii.gz`, or of a candidate in `candidates.nii.gz`; 1 is the surest, and among equally sure
            ones the largest. Candidates count on behind the nodules, so that a number means one finding of a case.
        volume: its volume, with the interval.
        diameters: in the axial plane, and of the sphere of its volume.
        density: HU inside its mask, and the attenuation type.
        centroid: centre of mass, in the world and as a voxel.
        position: its lung, and the distances in it.
        certainty: how sure the networks are of it.
        solid_part: size of the solid part of a part-solid nodule.
        size_classes: what guidelines say of its size and kind.
        reason: why it is a candidate and not in the list, a key of `CANDIDATE_REASONS`; empty for a listed nodule.
    """

    id: int
    volume: VolumeEstimate
    diameters: Diameters
    density: Density
    centroid: Centroid
    position: LungPosition
    certainty: Certainty
    solid_part: SolidPart = SolidPart()
    size_classes: SizeClasses = SizeClasses()
    reason: str = ""

    @property
    def volume_mm3(self) -> float:
        """The estimate of its volume."""
        return self.volume.mm3

    @property
    def long_axis_mm(self) -> float:
        """Longest axial diameter."""
        return self.diameters.long_axis_mm

    @property
    def kind(self) -> str:
        """Attenuation type: `solid`, `part-solid` or `ground-glass`."""
        return self.density.kind

    @property
    def side(self) -> str:
        """Its lung: `right`, `left` or `unknown`."""
        return self.position.side

    def value(self, key: str) -> Any:
        """What `result.json` has under a key, one of `RECORD_KEYS`.

        Raises:
            KeyError: there is no such key.
        """
        return attrgetter(RECORD_KEYS[key])(self)


RECORD_KEYS: dict[str, str] = {
    "id": "id",
    "volume_mm3": "volume.mm3",
    "equivalent_diameter_mm": "diameters.equivalent_mm",
    "long_axis_mm": "diameters.long_axis_mm",
    "perpendicular_mm": "diameters.perpendicular_mm",
    "mean_hu": "density.mean_hu",
    "sd_hu": "density.sd_hu",
    "solid_fraction": "density.solid_fraction",
    "kind": "density.kind",
    "centroid_ras_mm": "centroid.ras_mm",
    "centroid_lps_mm": "centroid.lps_mm",
    "centroid_voxel": "centroid.voxel",
    "side": "position.side",
    "pleura_distance_mm": "position.pleura_distance_mm",
    "confidence": "certainty.confidence",
    "volume_low_mm3": "volume.low_mm3",
    "volume_high_mm3": "volume.high_mm3",
    "mean_diameter_mm": "diameters.mean_mm",
    "solid_long_axis_mm": "solid_part.long_axis_mm",
    "solid_perpendicular_mm": "solid_part.perpendicular_mm",
    "solid_volume_mm3": "solid_part.volume_mm3",
    "third": "position.third",
    "vessel_distance_mm": "position.vessel_distance_mm",
    "lung_rads_by_diameter": "size_classes.lung_rads_by_diameter",
    "lung_rads_by_volume": "size_classes.lung_rads_by_volume",
    "fleischner_by_diameter": "size_classes.fleischner_by_diameter",
    "fleischner_by_volume": "size_classes.fleischner_by_volume",
    "calibrated_confidence": "certainty.calibrated_confidence",
    "uncertainty": "certainty.uncertainty",
    "view_agreement": "certainty.view_agreement",
    "volume_method": "volume.method",
    "voxel_sum_mm3": "volume.voxel_sum_mm3",
    "reason": "reason",
}
"""Key of a nodule in `result.json` -> where the record has it, in the order of the file; keys are only added.

`result.json` stays flat, so that programs which read it need not know these parts.
"""

_PARTS: dict[str, type] = {
    "volume": VolumeEstimate,
    "diameters": Diameters,
    "density": Density,
    "centroid": Centroid,
    "position": LungPosition,
    "certainty": Certainty,
    "solid_part": SolidPart,
    "size_classes": SizeClasses,
}


def nodule_record(nodule: Nodule) -> dict[str, Any]:
    """A nodule as `result.json` has it: flat, in the order of `RECORD_KEYS`."""
    return {key: nodule.value(key) for key in RECORD_KEYS}


def nodule_of(record: Mapping[str, Any]) -> Nodule:
    """The nodule of a flat record, the inverse of `nodule_record`.

    Keys that this version does not know are left out; what an earlier version did not write has its default.

    Raises:
        TypeError: something that every version writes is missing.
    """
    if missing := [key for key in RECORD_KEYS if key not in record and _is_required(key)]:
        raise TypeError(_missing_text([repr(key) for key in missing]))
    own: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {name: {} for name in _PARTS}
    for key in RECORD_KEYS.keys() & record.keys():
        part, _, name = RECORD_KEYS[key].rpartition(".")
        (parts[part] if part else own)[name] = record[key]
    return Nodule(**own, **{name: kind(**parts[name]) for name, kind in _PARTS.items()})


def _is_required(key: str) -> bool:
    part, _, name = RECORD_KEYS[key].rpartition(".")
    return any(f.name == name and f.default is MISSING for f in fields(_PARTS[part] if part else Nodule))


def _missing_text(names: list[str]) -> str:
    """As Python says it of a constructor of these keys: what reads records has shown this text from the beginning."""
    count, (*first, last) = len(names), names
    listed = last if not first else f"{', '.join(first)}{',' if count > 2 else ''} and {last}"
    return f"Nodule.__init__() missing {count} required positional argument{'s' if count > 1 else ''}: {listed}"
