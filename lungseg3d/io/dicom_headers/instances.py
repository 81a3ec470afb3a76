"""A folder -> which DICOM series lie in it and which file is which slice; headers only.

In: a folder, or the files of one series. Out: `SeriesFiles`, instance UIDs. Judges nothing: see `dicom_series`.
"""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError

from lungseg3d.io.dicom_headers.values import text_of
from lungseg3d.io.intake.links import link_rule, walk_folders
from lungseg3d.io.intake.reading import ReadOptions

_TAGS = [
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "Modality",
]


@dataclass(frozen=True)
class SeriesFiles:
    """One series of one folder.

    Attributes:
        folder: that directly holds the files.
        series_uid, study_uid, frame_uid, patient_id, modality: of its first file; "" where it does not say.
        files: (SOPInstanceUID, path), by name.
    """

    folder: Path
    series_uid: str
    study_uid: str
    frame_uid: str
    patient_id: str
    modality: str
    files: tuple[tuple[str, Path], ...]


def find_series(
    root: Path,
    skip: Iterable[Path] = (),
    options: ReadOptions = ReadOptions(),  # noqa: B008 - frozen
) -> Iterator[SeriesFiles]:
    """Every DICOM series under `root`, folder by folder in the order of names; hidden files are left out.

    Args:
        root: a folder.
        skip: folders that are not looked into.
        options: which links are followed; the others are left out.
    """
    unwanted = {os.path.realpath(path) for path in skip}

    def is_skipped(folder: Path) -> bool:
        return folder.name.startswith(".") or os.path.realpath(folder) in unwanted

    for listing in walk_folders(root, link_rule(root, options), is_skipped):
        found: dict[str, list[tuple[dict[str, str], Path]]] = {}
        for path in listing.files:
            if not path.name.startswith(".") and path.is_file() and (header := _header(path)):
                found.setdefault(header["SeriesInstanceUID"], []).append((header, path))
        for series_uid, items in sorted(found.items()):
            first = items[0][0]
            files = tuple((header["SOPInstanceUID"], path) for header, path in items)
            yield SeriesFiles(
                listing.folder,
                series_uid,
                first["StudyInstanceUID"],
                first["FrameOfReferenceUID"],
                first["PatientID"],
                first["Modality"],
                files,
            )


def instance_uids(files: Iterable[Path]) -> tuple[str, ...]:
    """SOPInstanceUID of each file, "" for a file that is no DICOM: with `Reading.files`, that of each slice."""
    return tuple((_header(path) or {}).get("SOPInstanceUID", "") for path in files)


def _header(path: Path) -> dict[str, str] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with open(path, "rb") as stream:
                if stream.read(132)[128:] != b"DICM":
                    return None
            dataset: Any = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
            return {tag: text_of(dataset, tag) for tag in _TAGS}
        except (InvalidDicomError, OSError, ValueError, LookupError, EOFError, AttributeError, TypeError, struct.error):
            return None
