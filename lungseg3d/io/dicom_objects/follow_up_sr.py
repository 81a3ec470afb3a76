"""Two CTs of one person compared -> a DICOM SR after TID 1500: each nodule at both times, change, doubling time.

In: a `FollowUp`, the SEG of each CT. Out: a dataset, the same bytes every time. A nodule has one group of measurements
for each time at which it was found, under the tracking UID of its segment in that SEG (TID 1411), with its time point
(TID 1502); its change stands in the current one's, or in the prior one's where it is gone. A time at which it was a
candidate has no segment and no group: the comment of the other group names it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom

from lungseg3d.core import Change, Estimate, FollowUp, IntakeError, Nodule, NoduleChange, to_json
from lungseg3d.core.labels import NODULE, CodedTerm
from lungseg3d.io.dicom_objects.identity import quiet_libraries, stamp_of, uid_of
from lungseg3d.io.dicom_objects.seg import RESEARCH_USE, coded, laterality_of, series_number
from lungseg3d.io.dicom_objects.sr_report import ReportHead, comment_item, make_report
from lungseg3d.io.dicom_objects.sr_terms import SCHEME, nodule_content

_CHANGE = CodedTerm(SCHEME, "change", "Change since the prior CT, no diagnosis")
_VOLUME_CHANGE = CodedTerm(SCHEME, "volume-change", "Change of volume since the prior CT")
_DOUBLING_TIME = CodedTerm(SCHEME, "doubling-time", "Volume doubling time")
_DAYS = CodedTerm(SCHEME, "days-since-prior", "Time since the prior CT")
_PERCENT, _DAY = CodedTerm("UCUM", "%", "percent"), CodedTerm("UCUM", "d", "day")


@dataclass(frozen=True, eq=False)
class TimePointSeg:
    """The SEG of one CT.

    Attributes:
        name: `prior` or `current`.
        order: 1 or 2.
        seg: the dataset.
        segments: by the id of the nodule.
    """

    name: str
    order: int
    seg: Any
    segments: dict[int, Any]


def read_time_point_seg(path: Path, name: str, nodule_ids: set[int]) -> TimePointSeg:
    """The SEG that `segment` or `export` wrote for a CT.

    Args:
        path: its file.
        name: `prior` or `current`.
        nodule_ids: nodules that it must hold.

    Raises:
        IntakeError: E_NO_DICOM_SOURCE where there is none, E_NOT_A_RESULT where it holds other nodules.
    """
    if not path.is_file():
        text = f"{path.parent.name}: no {path.name}, to which an SR of the follow-up would refer."
        way_out = "Make it: lungseg3d export RESULT --source SERIES, or segment with --format nifti,seg,sr."
        raise IntakeError("E_NO_DICOM_SOURCE", text, way_out)
    seg = pydicom.dcmread(path, stop_before_pixels=True)
    words = {str(s.get("TrackingID", "")): s for s in seg.SegmentSequence}
    segments = {int(w.rpartition(" ")[2]): s for w, s in words.items() if w.startswith(f"{NODULE.title} ")}
    if set(segments) != nodule_ids:
        text = f"{path.parent.name}: {path.name} holds other nodules than result.json."
        raise IntakeError(
            "E_NOT_A_RESULT", text, "Export it again: lungseg3d export RESULT --source SERIES --overwrite"
        )
    return TimePointSeg(name, 1 if name == "prior" else 2, seg, segments)


def make_follow_up_sr(found: FollowUp, prior: TimePointSeg, current: TimePointSeg) -> Any:
    """The SR, ready to be written; it belongs to the study of the current CT.

    Returns:
        A `highdicom.sr.ComprehensiveSR`.
    """
    version = str(found.provenance.get("versions", {}).get("lungseg3d", "unknown"))
    facts = json.dumps(to_json([found.changes, found.days, found.issues]), sort_keys=True)
    uids = [str(time.seg.SOPInstanceUID) for time in (prior, current)]
    days = "" if found.days is None else f" {found.days:g} days between the CTs."
    about = f"{RESEARCH_USE}. Changes below 25 % are not told from measurement; classes are no diagnosis.{days}"
    head = ReportHead(
        uid_of("follow-up SR", *uids, facts),
        # The SEG has number 100 n + 1 for the source's n.
        int(current.seg.get("SeriesNumber") or series_number(current.seg, 0)) + 2,
        f"Lung nodules over time. {RESEARCH_USE}",
        "\n".join([*found.headlines, about, *(f"{issue.code}: {issue.message}" for issue in found.issues)]),
        version,
    )
    with quiet_libraries():
        groups = [group for change in found.changes for group in _groups(change, found.days, prior, current)]
        evidence = [current.seg] if uids[0] == uids[1] else [current.seg, prior.seg]
        return make_report(head, groups, evidence, stamp_of(current.seg))


def _groups(change: NoduleChange, days: float | None, prior: TimePointSeg, current: TimePointSeg) -> list[Any]:
    """The prior nodule's group and the current one's, the change in the last; candidates have no segment."""
    both = ((prior, change.prior), (current, change.current))
    there = [(time, nodule) for time, nodule in both if nodule and not nodule.reason]
    groups = [_group(change, time, nodule, nodule is there[-1][1]) for time, nodule in there]
    _add_change(groups[-1], change, days if change.current else None)
    return groups


def _group(change: NoduleChange, time: TimePointSeg, nodule: Nodule, has_change: bool) -> Any:
    import highdicom

    segment, laterality = time.segments[nodule.id], laterality_of(nodule.side)
    measurements, evaluations = nodule_content(nodule)
    if has_change:
        word = change.change.value
        word_code = coded(CodedTerm(SCHEME, _short(change.change), word))
        evaluations.append(highdicom.sr.QualitativeEvaluation(coded(_CHANGE), word_code))
    site = highdicom.sr.FindingSite(
        anatomic_location=coded(NODULE.region or NODULE.code), laterality=coded(laterality) if laterality else None
    )
    group = highdicom.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=highdicom.sr.TrackingIdentifier(
            uid=str(segment.TrackingUID), identifier=str(segment.TrackingID)
        ),
        referenced_segment=highdicom.sr.ReferencedSegment(
            sop_class_uid=time.seg.SOPClassUID,
            sop_instance_uid=time.seg.SOPInstanceUID,
            segment_number=int(segment.SegmentNumber),
            source_series=highdicom.sr.SourceSeriesForSegmentation(_source_series_uid(time.seg)),
        ),
        time_point_context=highdicom.sr.TimePointContext(time_point=time.name, time_point_order=time.order),
        finding_category=coded(NODULE.category),
        finding_type=coded(NODULE.code),
        finding_sites=[site],
        measurements=measurements,
        qualitative_evaluations=evaluations or None,
    )
    text = f"Nodule {change.id} of the follow-up: {change.change.value}"
    group[0].ContentSequence.append(comment_item(f"{text} ({change.reason})" if change.reason else text))
    return group


def _add_change(group: Any, change: NoduleChange, days: float | None) -> None:
    """Change of volume and doubling time with their intervals, and the days between, where they are known."""
    percent = Estimate(*(None if x is None else 100 * x for x in _parts(change.volume_change)))
    estimates = ((_VOLUME_CHANGE, percent, _PERCENT, 1), (_DOUBLING_TIME, change.doubling_time_days, _DAY, 0))
    for name, estimate, unit, digits in estimates:
        if estimate.value is not None:
            group[0].ContentSequence.extend(_measurement(name, estimate, unit, digits))
    if days is not None:
        group[0].ContentSequence.extend(_measurement(_DAYS, Estimate(days), _DAY, 0))


def _measurement(name: CodedTerm, estimate: Estimate, unit: CodedTerm, digits: int) -> Any:
    """A number; an end of its interval that is open is left out."""
    import highdicom

    value, low, high = _parts(estimate)
    assert value is not None
    properties = None
    if high is not None or low is not None:
        properties = highdicom.sr.MeasurementProperties(
            upper_measurement_uncertainty=None if high is None else round(high - value, digits),
            lower_measurement_uncertainty=None if low is None else round(value - low, digits),
        )
    return highdicom.sr.Measurement(
        name=coded(name), value=round(value, digits), unit=coded(unit), properties=properties
    )


def _parts(estimate: Estimate) -> tuple[float | None, float | None, float | None]:
    return estimate.value, estimate.low, estimate.high


def _short(change: Change) -> str:
    """A code has 16 characters at most."""
    return change.value[:16]


def _source_series_uid(seg: Any) -> str:
    return str(seg.ReferencedSeriesSequence[0].SeriesInstanceUID)
