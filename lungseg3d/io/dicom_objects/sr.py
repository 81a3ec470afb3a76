"""Measurements of a case -> a DICOM SR after TID 1500, by highdicom; each group refers to its segment of the SEG.

In: lungs and nodules as measured, the SEG, its `SourceSeries`. Out: a dataset, the same bytes every time.
Source: DICOM PS3.16, TID 1500 (Measurement Report) and TID 1411 (Volumetric ROI Measurements).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lungseg3d.core import Lung, Nodule, to_json
from lungseg3d.io.dicom_objects.identity import quiet_libraries, uid_of
from lungseg3d.io.dicom_objects.seg import RESEARCH_USE, Algorithm, Masks, Segment, coded, laterality_of, series_number
from lungseg3d.io.dicom_objects.source_series import SourceSeries
from lungseg3d.io.dicom_objects.sr_report import ReportHead, make_report
from lungseg3d.io.dicom_objects.sr_terms import lung_volume, nodule_content


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
    with quiet_libraries():
        groups = _groups(measured, str(first.SeriesInstanceUID))
        moment = str(measured.seg.ContentDate), str(measured.seg.ContentTime)
        return make_report(head, groups, [measured.seg, *source.headers], moment)


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


def _lung_group(segment: Segment, lung: Lung, measured: Measured, series_uid: str) -> Any:
    return _group(segment, measured, series_uid, lung.name.removesuffix("_lung"), [lung_volume(lung)], [])


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


def _algorithm(algorithm: Algorithm) -> Any:
    import highdicom

    return highdicom.sr.AlgorithmIdentification(
        name=algorithm.name[:64],
        version=algorithm.version[:64],
        parameters=[f"{key}={value}" for key, value in algorithm.parameters.items()] or None,
    )
