"""The DICOM series that a result was made of, found again: its headers, and where each slice of the grid comes from.

In: a path, and the series by its UID or the hash of it. Out: `SourceSeries`. Decodes no pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from lungseg3d.core import Grid, IntakeError, LungSegError, QualityIssue
from lungseg3d.core.errors import fault_of
from lungseg3d.io.dicom.files import scan_dicom
from lungseg3d.io.dicom.series import choose_series
from lungseg3d.io.dicom.series_choice import SeriesPlan
from lungseg3d.io.dicom.series_identity import find_oddities, frame_of_reference
from lungseg3d.io.dicom_headers.records import DicomFile
from lungseg3d.io.dicom_headers.texts import CUT_MARK, IDENTIFIERS, mend_texts
from lungseg3d.io.dicom_objects.identity import quiet_libraries, uid_of, usable_header
from lungseg3d.io.intake.links import link_rule, links_error
from lungseg3d.io.intake.reading import Findings, ReadOptions, refuse, shown
from lungseg3d.io.intake.sniff import sniff_format

_NOT_DICOM = "A NIfTI, NRRD or MetaImage file names no patient, study or frame of reference that DICOM objects need."
_IMAGE_KINDS = ("nifti", "nifti.gz", "nrrd", "metaimage")
_MOST_NAMED = 6


@dataclass(frozen=True, eq=False)
class SourceSeries:
    """One CT series, as objects that are derived from it must know it.

    Attributes:
        headers: one header a file, without pixels, in the order of the slices; a multi-frame file has one.
        grid: the CT's own grid, as the reader gives it: columns, rows, slices.
        places: for each slice of the grid the header (single frame) or the frame (multi-frame) it comes from, from 0;
            -1 for a slice that was filled in.
        frames: number of frames of the multi-frame file; 0 for a series of single frames.
        series_sha256: as in `Reading.source`.
        issues: what a reader of the objects must know.
    """

    headers: tuple[Dataset, ...]
    grid: Grid
    places: tuple[int, ...]
    frames: int
    series_sha256: str
    issues: tuple[QualityIssue, ...]


def find_source_series(
    path: Path | str,
    options: ReadOptions = ReadOptions(),  # noqa: B008 - frozen
    series_sha256: str | None = None,
) -> SourceSeries:
    """The series under a path that the reader takes with these options, or the one with this hash.

    Args:
        path: folder, zip or multi-frame file.
        options: as the CT was read; only what chooses the series matters.
        series_sha256: `source.series_sha256` of a result: that series, whatever the options would choose.

    Raises:
        IntakeError: E_NO_DICOM_SOURCE where there is no DICOM, E_SERIES_NOT_FOUND where no series has this hash,
            E_MISSING_TAG where the headers lack the UIDs that every object must name, E_NO_DICOM_OBJECTS where they
            are such that no object can refer to the series, else as `open_ct`.
    """
    path = Path(path)
    with quiet_libraries():
        plan = _plan(path, options, series_sha256)
        try:
            return _source_of(plan, path)
        except LungSegError:
            raise
        except Exception as error:  # of pydicom, at a header that it cannot take
            found = f"{shown(path)}: no SEG or SR can refer to the headers of this series ({fault_of(error)})."
            refuse("E_NO_DICOM_OBJECTS", found, "Do without seg and sr, and report this.")


def has_no_series(path: Path | str) -> bool:
    """Whether a path is an image file (NIfTI, NRRD, MetaImage) by its first bytes: no object can refer to one."""
    path = Path(path)
    try:
        return path.is_file() and sniff_format(path, Findings()) in _IMAGE_KINDS
    except (IntakeError, OSError):  # the reader says better what it is
        return False


def missing_objects(reason: str, made: Collection[str] = ()) -> QualityIssue:
    """The issue of a case whose objects are left out while its other results are written.

    Args:
        reason: a sentence; it names no value of a header.
        made: files of those that could be made all the same.
    """
    lacking = f"beside {', '.join(made)}, no other DICOM object" if made else "no SEG and no SR"
    remedy = "The masks are there as NIfTI; lungseg3d export makes SEG and SR of them when this is mended."
    return QualityIssue("W_NO_DICOM_OBJECTS", f"{lacking}: {reason}", remedy)


def _plan(path: Path, options: ReadOptions, series_sha256: str | None) -> SeriesPlan:
    scan = scan_dicom(path, link_rule(path, options))
    if not scan.files and scan.left:
        raise links_error(scan.left, path)
    if not scan.files:
        refuse("E_NO_DICOM_SOURCE", f"{shown(path)}: no DICOM series. {_NOT_DICOM}", _way_out())
    if options.study is not None:
        scan = scan.of_study(options.study)
    if series_sha256 is not None:
        uid = next((f.series_uid for f in scan.files if series_hash(f.series_uid) == series_sha256), None)
        if uid is None:
            refuse(
                "E_SERIES_NOT_FOUND",
                f"{shown(path)}: none of its series is the one that the result was made of.",
                "Give the folder that was segmented.",
            )
        # What the reader allowed then is not judged again: geometry is compared with the result's.
        options = replace(options, series=uid, allow_gaps=True, assume_hu=True)
    return choose_series(scan, options, Findings())


def series_hash(series_uid: str) -> str:
    """How records name a series: 16 digits of the SHA-256 of its UID."""
    return hashlib.sha256(series_uid.encode()).hexdigest()[:16]


def _way_out() -> str:
    return "Segment the DICOM series itself, or later: lungseg3d export RESULT --format seg,sr --source SERIES"


def _source_of(plan: SeriesPlan, path: Path) -> SourceSeries:
    stack = plan.stack
    assert stack is not None
    files = list(dict.fromkeys(id(file) for file, _ in plan.slices))
    by_id = {id(file): file for file, _ in plan.slices}
    ordered = [by_id[key] for key in files]
    multi_frame = len(ordered[0].frames) > 1
    if multi_frame and len(ordered) > 1:
        refuse(
            "E_NO_DICOM_OBJECTS",
            f"{shown(path)}: the series is spread over {len(ordered)} multi-frame files.",
            "Export it as one multi-frame file or as single slices, or do without seg and sr.",
        )
    headers = tuple(_header(file) for file in ordered)
    issues = _prepare_identity(ordered, headers)
    first = plan.slices[0][1]
    # Equal within the reader's tolerance; objects need them equal to the digit.
    for header in headers if not multi_frame else ():
        header.ImageOrientationPatient = headers[0].ImageOrientationPatient
        header.SliceThickness = first.thickness_mm or round(float(np.linalg.norm(stack.affine[:3, 2])), 6)
    if multi_frame:
        _share_geometry(headers[0], plan)
    pixels = ordered[0].pixels
    grid = Grid((pixels.columns or 0, pixels.rows or 0, stack.slices), stack.affine)
    places = np.full(stack.slices, -1)
    for (_, frame), index in zip(plan.slices, stack.slice_index, strict=True):
        if float(index).is_integer():
            places[int(index)] = frame.index if multi_frame else int(np.flatnonzero(stack.slice_index == index)[0])
    frames = len(ordered[0].frames) if multi_frame else 0
    return SourceSeries(headers, grid, tuple(int(p) for p in places), frames, series_hash(plan.uid), issues)


def _header(file: DicomFile) -> Dataset:
    """Everything that a file says before its pixels."""
    with file.place.open() as stream:
        return pydicom.dcmread(stream, stop_before_pixels=True, force=True)


def _prepare_identity(files: Sequence[DicomFile], headers: Sequence[Dataset]) -> tuple[QualityIssue, ...]:
    """Make the headers ones that objects can be derived from; what was odd about them, as the reader says it.

    Raises:
        IntakeError: E_MISSING_TAG without study, series or instance: an object that names none of them belongs to
            nothing, and they are not made up here; E_NO_DICOM_OBJECTS where what is there cannot be referred to.
    """
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        lacking = next((file for file, header in zip(files, headers, strict=True) if not header.get(keyword)), None)
        if lacking is not None:
            refuse(
                "E_MISSING_TAG",
                f"{shown(lacking.path)}: no {keyword}, so no DICOM object can refer to this series.",
                "Export the series again, or do without seg and sr.",
            )
    first = headers[0]
    oddities = find_oddities(files, texts := mend_texts(first))
    for oddity in oddities:
        if oddity.forbids:
            refuse("E_NO_DICOM_OBJECTS", oddity.issue.message, oddity.issue.remedy)
    emptied = usable_header(first)
    frame_uid = frame_of_reference(files) or uid_of("frame of reference", str(first.SeriesInstanceUID))
    for header in headers:
        header.FrameOfReferenceUID = frame_uid
    issues = [oddity.issue for oddity in oddities]
    more = [text.keyword for text in texts if text.keyword not in IDENTIFIERS]
    if more:
        text = f"{', '.join(more[:_MOST_NAMED])} of the header are longer than DICOM allows, or hold what it does not."
        issues.append(QualityIssue("W_INVALID_TEXT", f"{text} SEG and SR bear them cut, marked by {CUT_MARK}."))
    if emptied:
        text = f"{', '.join(emptied[:_MOST_NAMED])} of the header cannot be what they say; SEG and SR bear them empty."
        issues.append(QualityIssue("W_INVALID_VALUE", text))
    return tuple(issues)


def _share_geometry(header: Dataset, plan: SeriesPlan) -> None:
    """Orientation and pixel size of a multi-frame file where every object looks for them: in the shared groups."""
    frame = plan.slices[0][1]
    shared = (header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    header.SharedFunctionalGroupsSequence = [shared]
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = list(frame.orientation or ())
    measures.PixelSpacing = list(frame.pixel_spacing_mm or ())
    if frame.thickness_mm:
        measures.SliceThickness = frame.thickness_mm
    else:
        assert plan.stack is not None
        measures.SliceThickness = round(float(np.linalg.norm(plan.stack.affine[:3, 2])), 6)
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
