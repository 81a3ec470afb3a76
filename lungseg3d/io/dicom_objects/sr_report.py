"""A DICOM SR after TID 1500 around groups of measurements, by highdicom.

In: groups, what the report says of itself, what it refers to. Out: a dataset.
Source: DICOM PS3.16, TID 1500 (Measurement Report).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lungseg3d.core.labels import CodedTerm
from lungseg3d.io.dicom_objects.identity import stamp, uid_of
from lungseg3d.io.dicom_objects.seg import CHARACTER_SET, coded
from lungseg3d.io.dicom_objects.sr_terms import SCHEME

_CHEST_CT = CodedTerm("SCT", "169069000", "Computed tomography of chest")


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


def make_report(head: ReportHead, groups: list[Any], evidence: Sequence[Any], moment: tuple[str, str]) -> Any:
    """A `highdicom.sr.ComprehensiveSR` of TID 1500 with these groups.

    Args:
        head: what it says of itself.
        groups: of measurements.
        evidence: datasets that it refers to; the first one's study is the report's.
        moment: date and time that it bears, see `dicom_identity.stamp_of`.
    """
    import highdicom

    report = highdicom.sr.MeasurementReport(
        observation_context=_observer(head.software_version),
        procedure_reported=coded(_CHEST_CT),
        imaging_measurements=groups,
        title=coded(CodedTerm("DCM", "126000", "Imaging Measurement Report")),
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
    stamp(sr, moment)
    return sr


def comment_item(text: str) -> Any:
    """A comment, as part of what contains it."""
    import highdicom

    return highdicom.sr.TextContentItem(
        name=coded(CodedTerm("DCM", "121106", "Comment")),
        value=text,
        relationship_type=highdicom.sr.RelationshipTypeValues.CONTAINS,
    )


def _observer(version: str) -> Any:
    import highdicom

    device = highdicom.sr.DeviceObserverIdentifyingAttributes(
        uid=uid_of("device", version), name="lungseg3d", manufacturer_name="lungseg3d", model_name=version
    )
    context = highdicom.sr.ObserverContext(
        observer_type=coded(CodedTerm("DCM", "121007", "Device")), observer_identifying_attributes=device
    )
    return highdicom.sr.ObservationContext(observer_device_context=context)
