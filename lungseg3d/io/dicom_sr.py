"""Measurements of a case -> a DICOM SR after TID 1500, by highdicom; each group refers to its segment of the SEG.

In: lungs and nodules as measured, the SEG, its `SourceSeries`. Out: a dataset, the same bytes every time.
Source: DICOM PS3.16, TID 1500 (Measurement Report) and TID 1411 (Volumetric ROI Measurements). Terms without a code of
SNOMED CT or DICOM have one of ours, under the scheme 99LUNGSEG3D, which the object explains.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lungseg3d.core import Lung, Nodule, to_json
from lungseg3d.core.labels import Code
from lungseg3d.io.dicom_identity import stamp, uid_of
from lungseg3d.io.dicom_reference import SourceSeries
from lungseg3d.io.dicom_seg import (
    CHARACTER_SET,
    RESEARCH_USE,
    Algorithm,
    Masks,
    Segment,
    coded,
    laterality_of,
    series_number,
)

SCHEME = "99LUNGSEG3D"
_MM, _MM3 = Code("UCUM", "mm", "millimeter"), Code("UCUM", "mm3", "cubic millimeter")
_ML, _HU, _ONE = (
    Code("UCUM", "mL", "milliliter"),
    Code("UCUM", "[hnsf'U]", "Hounsfield unit"),
    Code("UCUM", "1", "no units"),
)
_BIT = Code("UCUM", "bit", "bit")
_MEAN, _SD = Code("SCT", "373098007", "Mean"), Code("SCT", "386136009", "Standard Deviation")
_VOLUME, _ATTENUATION = Code("SCT", "118565006", "Volume"), Code("DCM", "112031", "Attenuation Coefficient")
_VOXEL_SUM = Code("DCM", "126030", "Sum of segmented voxel method for volume")
_PARTIAL_VOLUME = Code(SCHEME, "partial-volume", "Sum of voxels, each by its share of the nodule's HU")
_CHEST_CT = Code("SCT", "169069000", "Computed tomography of chest")


@dataclass(frozen=True)
class Measure:
    """How one field of a `Nodule` is written.

    Attributes:
        field: its name.
        name, unit: codes.
        derivation: such as the mean; None for a plain value.
        digits: decimals.
    """

    field: str
    name: Code
    unit: Code
    derivation: Code | None = None
    digits: int = 2


NODULE_MEASURES: tuple[Measure, ...] = (
    Measure("volume_mm3", _VOLUME, _MM3),
    Measure("voxel_sum_mm3", Code(SCHEME, "voxel-sum", "Volume of the segment's voxels"), _MM3),
    Measure("long_axis_mm", Code("SCT", "103339001", "Long Axis"), _MM),
    Measure("perpendicular_mm", Code("SCT", "103340004", "Short Axis"), _MM),
    Measure("mean_diameter_mm", Code("SCT", "81827009", "Diameter"), _MM, _MEAN),
    Measure("mean_hu", _ATTENUATION, _HU, _MEAN, 1),
    Measure("sd_hu", _ATTENUATION, _HU, _SD, 1),
    Measure("solid_long_axis_mm", Code(SCHEME, "solid-long-axis", "Long axis of the solid part"), _MM),
    Measure("solid_perpendicular_mm", Code(SCHEME, "solid-short-axis", "Short axis of the solid part"), _MM),
    Measure("solid_volume_mm3", Code(SCHEME, "solid-volume", "Volume of the solid part"), _MM3),
    Measure("pleura_distance_mm", Code(SCHEME, "pleura-distance", "Distance to the border of the lung"), _MM),
    Measure(
        "vessel_distance_mm", Code(SCHEME, "vessel-distance", "Distance to dense tissue, most often a vessel"), _MM
    ),
    Measure("confidence", Code(SCHEME, "confidence", "Confidence of the networks that it is a nodule"), _ONE, None, 3),
    Measure("calibrated_confidence", Code(SCHEME, "calibrated", "Calibrated confidence"), _ONE, None, 3),
    Measure("uncertainty", Code(SCHEME, "uncertainty", "Mean entropy of mirrored views"), _BIT, None, 3),
    Measure("view_agreement", Code(SCHEME, "view-agreement", "Mean Dice of mirrored views"), _ONE, None, 3),
)

# Field of a Nodule -> what is judged.
_EVALUATIONS: tuple[tuple[str, Code], ...] = (
    ("kind", Code(SCHEME, "kind", "Attenuation type by HU")),
    ("third", Code(SCHEME, "third", "Cranio-caudal third of the lung")),
    ("lung_rads_by_diameter", Code(SCHEME, "lungrads-mm", "Lung-RADS 2022 size and type by diameter, no diagnosis")),
    ("lung_rads_by_volume", Code(SCHEME, "lungrads-mm3", "Lung-RADS 2022 size and type by volume, no diagnosis")),
    ("fleischner_by_diameter", Code(SCHEME, "fleischner-mm", "Fleischner 2017 size class by diameter, no diagnosis")),
    ("fleischner_by_volume", Code(SCHEME, "fleischner-mm3", "Fleischner 2017 size class by volume, no diagnosis")),
)


@dataclass(frozen=True, eq=False)
class Measured:
    """What a report tells.

    Attributes:
        lungs, nodules: as measured.
        segments: of the SEG, as `list_segments` gives them.
        masks: whose algorithms are named.
        seg: the SEG itself.
    """

    lungs: Sequence[Lung]
    nodules: Sequence[Nodule]
    segments: Sequence[Segment]
    masks: Masks
    seg: Any


def make_dicom_sr(measured: Measured, source: SourceSeries) -> Any:
    """The SR, ready to be written: one group of measurements for each lung and nodule that is a segment.

    Returns:
        A `highdicom.sr.ComprehensiveSR`.
    """
    first, masks = source.headers[0], measured.masks
    facts = json.dumps(to_json([measured.lungs, measured.nodules]), sort_keys=True)
    uid = uid_of("SR", str(measured.seg.SOPInstanceUID), facts)
    head = ReportHead(
        uid,
        series_number(first, 2),
        f"Lung nodules measured. {RESEARCH_USE}",
        f"{RESEARCH_USE}. Lung volumes include the nodules; size classes are no diagnosis.",
        masks.software_version,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd values in the source's header
        groups = _groups(measured, str(first.SeriesInstanceUID))
        return make_report(head, groups, [measured.seg, *source.headers], first)


@dataclass(frozen=True)
class ReportHead:
    """What an SR says of itself.

    Attributes:
        uid: of the instance; its series has a hash of it.
        series_number: of that series.
        description: of that series.
        comment: what a reader must know, in the report itself.
        software_version: of this program.
    """

    uid: str
    series_number: int
    description: str
    comment: str
    software_version: str


def make_report(head: ReportHead, groups: list[Any], evidence: Sequence[Any], header: Any) -> Any:
    """A `highdicom.sr.ComprehensiveSR` of TID 1500 with these groups; patient, study and dates are those of `header`.

    Args:
        head: what it says of itself.
        groups: of measurements.
        evidence: datasets that it refers to; the first one's study is the report's.
        header: of the series it belongs to.
    """
    import highdicom

    report = highdicom.sr.MeasurementReport(
        observation_context=_observer(head.software_version),
        procedure_reported=coded(_CHEST_CT),
        imaging_measurements=groups,
        title=coded(Code("DCM", "126000", "Imaging Measurement Report")),
    )
    report[0].ContentSequence.append(comment_item(head.comment))
    sr = highdicom.sr.ComprehensiveSR(
        evidence=evidence,
        content=report[0],
        series_instance_uid=uid_of("SR series", head.uid),
        series_number=head.series_number,
        sop_instance_uid=head.uid,
        instance_number=1,
        manufacturer="lungseg3d",
        is_complete=True,
        manufacturer_model_name="lungseg3d",
        software_versions=head.software_version,
        device_serial_number="0",
        series_description=head.description,
        specific_character_set=CHARACTER_SET,
        coding_schemes=[
            highdicom.coding_schemes.CodingSchemeIdentificationItem(
                designator=SCHEME, name="lungseg3d", responsible_organization="lungseg3d"
            )
        ],
    )
    stamp(sr, header)
    return sr


def comment_item(text: str) -> Any:
    """A comment, as part of what contains it."""
    import highdicom

    return highdicom.sr.TextContentItem(
        name=coded(Code("DCM", "121106", "Comment")),
        value=text,
        relationship_type=highdicom.sr.RelationshipTypeValues.CONTAINS,
    )


def _observer(version: str) -> Any:
    import highdicom

    device = highdicom.sr.DeviceObserverIdentifyingAttributes(
        uid=uid_of("device", version), name="lungseg3d", manufacturer_name="lungseg3d", model_name=version
    )
    context = highdicom.sr.ObserverContext(
        observer_type=coded(Code("DCM", "121007", "Device")), observer_identifying_attributes=device
    )
    return highdicom.sr.ObservationContext(observer_device_context=context)


def _groups(measured: Measured, series_uid: str) -> list[Any]:
    nodules = {nodule.id: nodule for nodule in measured.nodules}
    lungs = {lung.name: lung for lung in measured.lungs}
    groups = []
    for segment in measured.segments:
        if segment.nodule_id in nodules:
            groups.append(_nodule_group(segment, nodules[segment.nodule_id], measured, series_uid))
        elif segment.label.name in lungs:
            groups.append(_lung_group(segment, lungs[segment.label.name], measured, series_uid))
    return groups


def _nodule_group(segment: Segment, nodule: Nodule, measured: Measured, series_uid: str) -> Any:
    measurements, evaluations = nodule_content(nodule)
    return _group(segment, measured, series_uid, nodule.side, measurements, evaluations)


def nodule_content(nodule: Nodule) -> tuple[list[Any], list[Any]]:
    """What is measured and what is judged of a nodule, as items of its group."""
    import highdicom

    measurements = [_measurement(nodule, row) for row in NODULE_MEASURES if getattr(nodule, row.field) is not None]
    words = [(name, str(getattr(nodule, field))) for field, name in _EVALUATIONS]
    evaluations = [
        highdicom.sr.QualitativeEvaluation(coded(name), coded(value_code(name, word)))
        for name, word in words
        if word not in ("", "unknown")
    ]
    return measurements, evaluations


def _lung_group(segment: Segment, lung: Lung, measured: Measured, series_uid: str) -> Any:
    import highdicom

    volume = highdicom.sr.Measurement(
        name=coded(_VOLUME), value=round(lung.volume_ml, 2), unit=coded(_ML), method=coded(_VOXEL_SUM)
    )
    return _group(segment, measured, series_uid, lung.name.removesuffix("_lung"), [volume], [])


def _group(
    segment: Segment, measured: Measured, series_uid: str, side: str, measurements: list[Any], evaluations: list[Any]
) -> Any:
    import highdicom

    seg, laterality = measured.seg, laterality_of(side)
    site = highdicom.sr.FindingSite(
        anatomic_location=coded(segment.label.region or segment.label.code),
        laterality=coded(laterality) if laterality else None,
    )
    return highdicom.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=highdicom.sr.TrackingIdentifier(uid=segment.tracking_uid, identifier=segment.tracking_id),
        referenced_segment=highdicom.sr.ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=segment.number,
            source_series=highdicom.sr.SourceSeriesForSegmentation(series_uid),
        ),
        finding_category=coded(segment.label.category),
        finding_type=coded(segment.label.code),
        finding_sites=[site],
        algorithm_id=_algorithm(
            measured.masks.nodule_algorithm if segment.nodule_id else measured.masks.lung_algorithm
        ),
        measurements=measurements,
        qualitative_evaluations=evaluations or None,
    )


def _measurement(nodule: Nodule, row: Measure) -> Any:
    import highdicom

    value = getattr(nodule, row.field)
    low, high = nodule.volume_low_mm3, nodule.volume_high_mm3
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


def _method_of(nodule: Nodule) -> Code:
    return _VOXEL_SUM if nodule.volume_method == "voxels" else _PARTIAL_VOLUME


def value_code(name: Code, word: str) -> Code:
    """The code of one word under a name of ours: the word as its meaning, a short form of it as its value."""
    if name.value.startswith("lungrads"):
        return Code(SCHEME, f"lungrads-{word}", f"Lung-RADS size and type category {word}")
    if name.value.startswith("fleischner"):
        # "part-solid, >=6 mm, solid part <6 mm" becomes "p:>=6mm,s<6mm": a code has 16 characters at most.
        kind, _, size = word.replace(", solid part ", ",s").replace(" ", "").partition(",")
        return Code(SCHEME, f"{kind[0]}:{size}", word)
    return Code(SCHEME, word, word)


def _algorithm(algorithm: Algorithm) -> Any:
    import highdicom

    return highdicom.sr.AlgorithmIdentification(
        name=algorithm.name[:64],
        version=algorithm.version[:64],
        parameters=[f"{key}={value}" for key, value in algorithm.parameters.items()] or None,
    )
