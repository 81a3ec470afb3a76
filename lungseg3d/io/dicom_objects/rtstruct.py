"""DICOM RTSTRUCT -> structures with their contours in world mm.

In: one file. Out: `StructureSet`, in RAS like everything outside this room. Draws nothing: see `rtstruct_masks`.
"""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError

from lungseg3d.io.dicom_headers.values import text_of
from lungseg3d.io.intake.geometry import to_ras_mm
from lungseg3d.io.intake.reading import refuse, shown

_CLOSED = ("CLOSED_PLANAR", "CLOSED_PLANAR_XOR", "CLOSEDPLANAR_XOR")
_UNREADABLE = (
    ArithmeticError, AttributeError, BytesLengthException, EOFError, InvalidDicomError, LookupError,
    NotImplementedError, OSError, RecursionError, TypeError, ValueError, struct.error,
)  # fmt: skip
_MOST_BYTES = 2**30
_AGAIN = "Export the structures again from the planning system."


@dataclass(frozen=True, eq=False)
class Contour:
    """One closed planar contour: vertices (N, 3) in RAS mm, and the slice it was drawn on ("" where not said)."""

    points_mm: np.ndarray
    instance_uid: str


@dataclass(frozen=True, eq=False)
class Structure:
    """One region of interest: its name as the file has it, its frame of reference, its contours."""

    name: str
    frame_uid: str
    contours: tuple[Contour, ...]


@dataclass(frozen=True, eq=False)
class StructureSet:
    """One RTSTRUCT.

    Attributes:
        patient_id: as the header says; "" where it does not.
        series_uids: the image series that the contours refer to.
        frame_uids: the frames of reference that they lie in.
        structures: in the order of the file.
        skipped: number of contours that enclose nothing (points, open lines, fewer than 3 vertices).
    """

    patient_id: str
    series_uids: frozenset[str]
    frame_uids: frozenset[str]
    structures: tuple[Structure, ...]
    skipped: int

    def find(self, pattern: str) -> tuple[Structure, ...]:
        """Structures with contours whose whole name matches a pattern, letters large or small."""
        return tuple(s for s in self.structures if s.contours and re.fullmatch(pattern, s.name.strip(), re.IGNORECASE))


def read_structures(path: Path | str) -> StructureSet:
    """Read an RTSTRUCT (DICOM PS3.3 A.19).

    Raises:
        IntakeError: E_NOT_RTSTRUCT for another file; E_BAD_CONTOUR when contour data are not triples of numbers;
            E_MISSING_TAG without structures; E_RESOURCE_LIMIT above 1 GiB.
    """
    path = Path(path)
    if path.is_file() and path.stat().st_size > _MOST_BYTES:
        refuse("E_RESOURCE_LIMIT", f"{shown(path)}: larger than 1 GiB; no RTSTRUCT is.", "Check the file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, with full paths
            return _read(pydicom.dcmread(path), path)
    except _UNREADABLE as error:
        refuse("E_NOT_RTSTRUCT", f"{shown(path)}: cannot be read as DICOM ({type(error).__name__}).", _AGAIN)


def _read(dataset: Any, path: Path) -> StructureSet:
    modality = text_of(dataset, "Modality")
    if modality != "RTSTRUCT":
        refuse("E_NOT_RTSTRUCT", f"{shown(path)}: modality {modality or 'not said'}, expected RTSTRUCT.", _AGAIN)
    definitions = {_number(item): item for item in dataset.get("StructureSetROISequence") or ()}
    if not definitions:
        refuse("E_MISSING_TAG", f"{shown(path)}: StructureSetROISequence is absent or empty.", _AGAIN)
    drawn: dict[int, list[Contour]] = {number: [] for number in definitions}
    skipped = 0
    for item in dataset.get("ROIContourSequence") or ():
        number = int(item.get("ReferencedROINumber", -1))
        for part in item.get("ContourSequence") or ():
            contour = _contour(part, path)
            if contour is None or number not in drawn:
                skipped += 1
            else:
                drawn[number].append(contour)
    structures = tuple(_structure(item, drawn[number]) for number, item in definitions.items())
    frames = {s.frame_uid for s in structures if s.frame_uid}
    patient = text_of(dataset, "PatientID")
    return StructureSet(patient, frozenset(_series_uids(dataset)), frozenset(frames), structures, skipped)


def _structure(item: Any, contours: list[Contour]) -> Structure:
    # Exported twice, a contour would erase itself: even-odd counts crossings.
    once = {contour.points_mm.tobytes(): contour for contour in contours}
    frame_uid = text_of(item, "ReferencedFrameOfReferenceUID")
    return Structure(text_of(item, "ROIName"), frame_uid, tuple(once.values()))


def _number(item: Any) -> int:
    return int(item.get("ROINumber", -1))


def _contour(part: Any, path: Path) -> Contour | None:
    if text_of(part, "ContourGeometricType") not in _CLOSED:
        return None
    try:
        values = np.array([float(value) for value in part.get("ContourData") or ()])
    except (TypeError, ValueError) as error:
        refuse("E_BAD_CONTOUR", f"{shown(path)}: ContourData holds {error}; expected numbers.", _AGAIN)
    if values.size % 3 or not np.isfinite(values).all():
        refuse("E_BAD_CONTOUR", f"{shown(path)}: ContourData of {values.size} values; expected x, y, z in mm.", _AGAIN)
    points = to_ras_mm(values.reshape(-1, 3))
    if len(points) < 3:
        return None
    images = list(part.get("ContourImageSequence") or ())
    return Contour(points, text_of(images[0], "ReferencedSOPInstanceUID") if len(images) == 1 else "")


def _series_uids(dataset: Any) -> Iterable[str]:
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                if uid := text_of(series, "SeriesInstanceUID"):
                    yield uid
