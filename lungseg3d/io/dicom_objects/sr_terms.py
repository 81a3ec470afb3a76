"""What is said of a nodule in a DICOM SR: each value of a `Nodule`, its code and unit, and the items made of them.

In: a `Nodule`. Out: highdicom's measurements and evaluations. Terms without a code of SNOMED CT or DICOM have one of
ours, under the scheme 99LUNGSEG3D, which the object explains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lungseg3d.core import Lung, Nodule
from lungseg3d.core.labels import CodedTerm
from lungseg3d.io.dicom_objects.seg import coded

SCHEME = "99LUNGSEG3D"
_MM, _MM3 = CodedTerm("UCUM", "mm", "millimeter"), CodedTerm("UCUM", "mm3", "cubic millimeter")
_ML, _HU = CodedTerm("UCUM", "mL", "milliliter"), CodedTerm("UCUM", "[hnsf'U]", "Hounsfield unit")
_ONE, _BIT = CodedTerm("UCUM", "1", "no units"), CodedTerm("UCUM", "bit", "bit")
_MEAN, _SD = CodedTerm("SCT", "373098007", "Mean"), CodedTerm("SCT", "386136009", "Standard Deviation")
_VOLUME, _ATTENUATION = CodedTerm("SCT", "118565006", "Volume"), CodedTerm("DCM", "112031", "Attenuation Coefficient")
_VOXEL_SUM = CodedTerm("DCM", "126030", "Sum of segmented voxel method for volume")
_PARTIAL_VOLUME = CodedTerm(SCHEME, "partial-volume", "Sum of voxels, each by its share of the nodule's HU")


@dataclass(frozen=True)
class Measure:
    """How one value of a `Nodule` is written.

    Attributes:
        field: its key in `core.nodule.RECORD_KEYS`.
        name, unit: codes.
        derivation: such as the mean; None for a plain value.
        digits: decimals.
    """

    field: str
    name: CodedTerm
    unit: CodedTerm
    derivation: CodedTerm | None = None
    digits: int = 2


NODULE_MEASURES: tuple[Measure, ...] = (
    Measure("volume_mm3", _VOLUME, _MM3),
    Measure("voxel_sum_mm3", CodedTerm(SCHEME, "voxel-sum", "Volume of the segment's voxels"), _MM3),
    Measure("long_axis_mm", CodedTerm("SCT", "103339001", "Long Axis"), _MM),
    Measure("perpendicular_mm", CodedTerm("SCT", "103340004", "Short Axis"), _MM),
    Measure("mean_diameter_mm", CodedTerm("SCT", "81827009", "Diameter"), _MM, _MEAN),
    Measure("mean_hu", _ATTENUATION, _HU, _MEAN, 1),
    Measure("sd_hu", _ATTENUATION, _HU, _SD, 1),
    Measure("solid_long_axis_mm", CodedTerm(SCHEME, "solid-long-axis", "Long axis of the solid part"), _MM),
    Measure("solid_perpendicular_mm", CodedTerm(SCHEME, "solid-short-axis", "Short axis of the solid part"), _MM),
    Measure("solid_volume_mm3", CodedTerm(SCHEME, "solid-volume", "Volume of the solid part"), _MM3),
    Measure("pleura_distance_mm", CodedTerm(SCHEME, "pleura-distance", "Distance to the border of the lung"), _MM),
    Measure(
        "vessel_distance_mm", CodedTerm(SCHEME, "vessel-distance", "Distance to dense tissue, most often a vessel"), _MM
    ),
    Measure(
        "confidence", CodedTerm(SCHEME, "confidence", "Confidence of the networks that it is a nodule"), _ONE, None, 3
    ),
    Measure("calibrated_confidence", CodedTerm(SCHEME, "calibrated", "Calibrated confidence"), _ONE, None, 3),
    Measure("uncertainty", CodedTerm(SCHEME, "uncertainty", "Mean entropy of mirrored views"), _BIT, None, 3),
    Measure("view_agreement", CodedTerm(SCHEME, "view-agreement", "Mean Dice of mirrored views"), _ONE, None, 3),
)

# Key of a value -> what is judged.
_EVALUATIONS: tuple[tuple[str, CodedTerm], ...] = (
    ("kind", CodedTerm(SCHEME, "kind", "Attenuation type by HU")),
    ("third", CodedTerm(SCHEME, "third", "Cranio-caudal third of the lung")),
    (
        "lung_rads_by_diameter",
        CodedTerm(SCHEME, "lungrads-mm", "Lung-RADS 2022 size and type by diameter, no diagnosis"),
    ),
    ("lung_rads_by_volume", CodedTerm(SCHEME, "lungrads-mm3", "Lung-RADS 2022 size and type by volume, no diagnosis")),
    (
        "fleischner_by_diameter",
        CodedTerm(SCHEME, "fleischner-mm", "Fleischner 2017 size class by diameter, no diagnosis"),
    ),
    ("fleischner_by_volume", CodedTerm(SCHEME, "fleischner-mm3", "Fleischner 2017 size class by volume, no diagnosis")),
)


def nodule_content(nodule: Nodule) -> tuple[list[Any], list[Any]]:
    """What is measured and what is judged of a nodule, as items of its group."""
    import highdicom

    measurements = [_measurement(nodule, row) for row in NODULE_MEASURES if nodule.value(row.field) is not None]
    words = [(name, str(nodule.value(field))) for field, name in _EVALUATIONS]
    evaluations = [
        highdicom.sr.QualitativeEvaluation(coded(name), coded(value_code(name, word)))
        for name, word in words
        if word not in ("", "unknown")
    ]
    return measurements, evaluations


def lung_volume(lung: Lung) -> Any:
    """The one measurement of a lung."""
    import highdicom

    return highdicom.sr.Measurement(
        name=coded(_VOLUME), value=round(lung.volume_ml, 2), unit=coded(_ML), method=coded(_VOXEL_SUM)
    )


def _measurement(nodule: Nodule, row: Measure) -> Any:
    import highdicom

    value = nodule.value(row.field)
    low, high = nodule.volume.low_mm3, nodule.volume.high_mm3
    interval = None
    if row.field == "volume_mm3" and low is not None and high is not None:
        interval = highdicom.sr.MeasurementProperties(
            upper_measurement_uncertainty=round(high - value, row.digits),
            lower_measurement_uncertainty=round(value - low, row.digits),
        )
    return highdicom.sr.Measurement(
        name=coded(row.name),
        value=round(float(value), row.digits),
        unit=coded(row.unit),
        derivation=coded(row.derivation) if row.derivation else None,
        method=coded(_method_of(nodule)) if row.name is _VOLUME else None,
        properties=interval,
    )


def _method_of(nodule: Nodule) -> CodedTerm:
    return _VOXEL_SUM if nodule.volume.method == "voxels" else _PARTIAL_VOLUME


def value_code(name: CodedTerm, word: str) -> CodedTerm:
    """The code of one word under a name of ours: the word as its meaning, a short form of it as its value."""
    if name.value.startswith("lungrads"):
        return CodedTerm(SCHEME, f"lungrads-{word}", f"Lung-RADS size and type category {word}")
    if name.value.startswith("fleischner"):
        # "part-solid, >=6 mm, solid part <6 mm" becomes "p:>=6mm,s<6mm": a code has 16 characters at most.
        kind, _, size = word.replace(", solid part ", ",s").replace(" ", "").partition(",")
        return CodedTerm(SCHEME, f"{kind[0]}:{size}", word)
    return CodedTerm(SCHEME, word, word)
