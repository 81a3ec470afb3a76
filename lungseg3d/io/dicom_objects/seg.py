"""Label map + nodule map -> a DICOM SEG of the series they were made of, by highdicom.

In: masks on the CT's grid, a `SourceSeries`, who made them. Out: a dataset, the same bytes every time.
One segment for each lung and each nodule, no frame without a voxel; frames lie in the source's own planes, so a tilted
gantry or an uneven step stays as it was. Source: DICOM PS3.3 A.51 (Segmentation IOD).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lungseg3d.core import GeometryError, OutputError, Volume
from lungseg3d.core.labels import LUNGS, NODULE, Label
from lungseg3d.core.labels import CodedTerm as CodeRow
from lungseg3d.io.dicom.series_identity import is_integer
from lungseg3d.io.dicom_objects.identity import (
    SOURCE_DATES,
    TRUE_DATES,
    quiet_libraries,
    set_everywhere,
    stamp,
    stamp_of,
    uid_of,
)
from lungseg3d.io.dicom_objects.source_series import SourceSeries
from lungseg3d.io.intake.geometry import LPS_TO_RAS

RESEARCH_USE = "Research use only; not for diagnosis"
CHARACTER_SET = "ISO_IR 192"  # UTF-8 holds every name, whatever the source's own set
_MANUFACTURER = "lungseg3d"


@dataclass(frozen=True)
class Algorithm:
    """What made a mask: shown by viewers, and the way back to the weights.

    Attributes:
        name: at most 64 characters.
        version: of it.
        parameters: further facts, such as the weights' SHA-256.
    """

    name: str
    version: str
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Segment:
    """One structure of a SEG.

    Attributes:
        number: segment number, from 1.
        label: row of the table of labels.
        nodule_id: `Nodule.id`; 0 for a lung.
        tracking_id, tracking_uid: its name in this object and everywhere; the SR bears the same.
    """

    number: int
    label: Label
    nodule_id: int
    tracking_id: str
    tracking_uid: str


@dataclass(frozen=True, eq=False)
class Masks:
    """What was found, on one grid.

    Attributes:
        labels: label map of `core.labels`.
        nodules: one value for each nodule.
        lung_algorithm, nodule_algorithm: what made them.
        software_version: of this program.
        sides: `right` or `left` of each nodule by id; others are unknown.
        dates: which dates the objects bear, see `dicom_identity.stamp_of`.
    """

    labels: Volume
    nodules: Volume
    lung_algorithm: Algorithm
    nodule_algorithm: Algorithm
    software_version: str
    sides: Mapping[int, str]
    dates: str = SOURCE_DATES


def list_segments(masks: Masks, source: SourceSeries) -> tuple[Segment, ...]:
    """Lungs, then nodules by id; a structure without voxels is none. UIDs are a hash of the series and the voxels."""
    voxels = [_on_source(volume, source).array.astype("<u2").tobytes() for volume in (masks.labels, masks.nodules)]
    print_of_masks = "".join(hashlib.sha256(part).hexdigest() for part in voxels)
    series_uid = str(source.headers[0].SeriesInstanceUID)
    found = [(lung, 0, lung.title) for lung in LUNGS if (masks.labels.array == lung.value).any()]
    ids = np.flatnonzero(np.bincount(masks.nodules.array.ravel()))
    found += [(NODULE, int(i), f"{NODULE.title} {i}") for i in ids if i > 0]
    return tuple(
        Segment(number, label, nodule_id, title, uid_of(series_uid, print_of_masks, label.name, str(nodule_id)))
        for number, (label, nodule_id, title) in enumerate(found, start=1)
    )


def make_dicom_seg(masks: Masks, source: SourceSeries) -> Any:
    """The SEG, ready to be written.

    Args:
        masks: on the grid of `source`, or on the same voxels with axes swapped and turned, as a NIfTI of it has.
        source: the series.

    Returns:
        A `highdicom.seg.Segmentation`.

    Raises:
        OutputError: E_EMPTY_RESULT without a voxel: a SEG has at least one segment.
        GeometryError: E_GRID_MISMATCH when the masks do not lie on the series' grid.
    """
    import highdicom

    segments = list_segments(masks, source)
    if not segments:
        raise OutputError("E_EMPTY_RESULT", "no lung and no nodule: a DICOM SEG without segments does not exist.")
    numbers = _segment_numbers(masks, segments)
    planes = np.ascontiguousarray(_on_source(masks.labels.with_array(numbers), source).array.transpose(2, 1, 0))
    first = source.headers[0]
    moment = stamp_of(first, masks.dates)
    # One UID is one object: with the clock's time in it, an object made a second later is another one.
    clock = moment if masks.dates == TRUE_DATES else ()
    words = (*(s.tracking_uid for s in segments), masks.software_version, *clock)
    uid = uid_of("SEG", str(first.SeriesInstanceUID), *words)
    with quiet_libraries():
        seg = highdicom.seg.Segmentation(
            source_images=list(source.headers),
            **_frames(planes, source),
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_description(segment, masks) for segment in segments],
            series_instance_uid=uid_of("SEG series", uid),
            series_number=series_number(first, 1),
            sop_instance_uid=uid,
            instance_number=1,
            manufacturer=_MANUFACTURER,
            manufacturer_model_name=_MANUFACTURER,
            software_versions=masks.software_version,
            device_serial_number="0",
            content_label="LUNGS_NODULES",
            content_description=f"Lungs and nodules. {RESEARCH_USE}",
            series_description=f"Lungs and nodules. {RESEARCH_USE}",
            specific_character_set=CHARACTER_SET,
        )
    stamp(seg, moment)
    organisation = uid_of("dimensions", uid)
    set_everywhere(seg.DimensionOrganizationSequence, "DimensionOrganizationUID", organisation)
    set_everywhere(seg.DimensionIndexSequence, "DimensionOrganizationUID", organisation)
    return seg


def series_number(header: Any, offset: int) -> int:
    """The number of a derived series: right behind its source's, 301 for the series 3."""
    text = str(header.get("SeriesNumber") or 0)
    number = int(text) if is_integer(text) else 0  # letters in it do not spoil the results
    return 100 * number + offset if 0 <= number < 10**7 else offset


def _segment_numbers(masks: Masks, segments: Sequence[Segment]) -> np.ndarray:
    table = np.zeros(max(label.value for label in LUNGS) + 1, np.uint16)
    by_id = np.zeros(int(masks.nodules.array.max()) + 1, np.uint16)
    for segment in segments:
        (by_id if segment.nodule_id else table)[segment.nodule_id or segment.label.value] = segment.number
    lungs = np.where(masks.labels.array < len(table), masks.labels.array, 0)
    numbers = np.where(masks.nodules.array > 0, by_id[masks.nodules.array], table[lungs])
    return numbers.astype(np.uint8) if len(segments) < 256 else numbers


def _on_source(volume: Volume, source: SourceSeries) -> Volume:
    """On the grid of the source: as it is, or with axes swapped and turned.

    Raises:
        GeometryError: E_GRID_MISMATCH.
    """
    if volume.grid.matches(source.grid):
        return volume
    empty = Volume(np.broadcast_to(np.uint8(0), source.grid.shape), source.grid.affine)
    if not empty.as_ras().grid.matches(volume.as_ras().grid):
        raise GeometryError(
            "E_GRID_MISMATCH",
            f"the masks {volume.shape} do not lie on the grid of the series {source.grid.shape}.",
            "Give the series that was segmented.",
        )
    return empty.from_ras(volume.as_ras())


def _frames(planes: np.ndarray, source: SourceSeries) -> dict[str, Any]:
    """Planes as the source's files or frames have them; where slices were filled in, each with its own place."""
    import highdicom

    if source.frames:
        framed = np.zeros((source.frames, *planes.shape[1:]), planes.dtype)
        if -1 not in source.places:
            framed[list(source.places)] = planes
            return {"pixel_array": framed}
    elif -1 not in source.places:
        return {"pixel_array": planes}
    positions_mm = source.grid.to_world(np.array([[0, 0, k] for k in range(len(planes))])) @ LPS_TO_RAS[:3, :3]
    system = highdicom.CoordinateSystemNames.PATIENT
    positions = [highdicom.PlanePositionSequence(system, [round(float(v), 6) for v in p]) for p in positions_mm]
    return {"pixel_array": planes, "plane_positions": positions}


def _description(segment: Segment, masks: Masks) -> Any:
    import highdicom

    label = segment.label
    algorithm = masks.nodule_algorithm if segment.nodule_id else masks.lung_algorithm
    description = highdicom.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.tracking_id,
        segmented_property_category=coded(label.category),
        segmented_property_type=coded(label.code),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=algorithm.name[:64],
            family=coded(CodeRow("DCM", "123110", "Artificial Intelligence")),
            version=algorithm.version[:64],
            source=_MANUFACTURER,
            parameters=dict(algorithm.parameters) or None,
        ),
        tracking_uid=segment.tracking_uid,
        tracking_id=segment.tracking_id,
        anatomic_regions=[coded(label.region)] if label.region else None,
        display_color=highdicom.color.CIELabColor.from_rgb(*label.colour),
    )
    if label.laterality:
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [coded(label.laterality)]
    side = laterality_of(masks.sides.get(segment.nodule_id, ""))
    if label.region and side:
        description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [coded(side)]
    return description


def laterality_of(side: str) -> CodeRow | None:
    """The code of `right` or `left`; None for anything else."""
    return next((lung.laterality for lung in LUNGS if lung.name == f"{side}_lung"), None)


def coded(row: CodeRow) -> Any:
    """A row of our tables as highdicom takes it."""
    import highdicom

    return highdicom.sr.CodedConcept(row.value, row.scheme, row.meaning)
