"""What a follow-up reads of a DICOM header: whose CT it is, and of which day. It stays in memory.

In: the files of a series, or the SEG made of it. Out: a `Dataset` of a few elements, for `study_dates` and
`same_person`; None where there is no DICOM. Nobody prints, hashes or stores what is in it.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset

from lungseg3d.io.intake.archives import open_archive

PERSON = ("PatientID", "IssuerOfPatientID", "PatientSex", "PatientBirthDate")
DATES = ("AcquisitionDateTime", "AcquisitionDate", "SeriesDate", "StudyDate")
_OF_ALL_OBJECTS = (*PERSON, "StudyDate", "SpecificCharacterSet")


def time_point_header(files: Sequence[Path], seg: Path | None = None) -> Dataset | None:
    """Person and dates of one CT.

    Args:
        files: of the series; the first one is read. A member of a zip is the zip's path with its name.
        seg: a SEG made of the series, which bears its patient and its study's date; read where `files` give none.
    """
    for path, keywords in ((files[0] if files else None, (*_OF_ALL_OBJECTS, *DATES)), (seg, _OF_ALL_OBJECTS)):
        header = None if path is None else _read(path, keywords)
        if header is not None:
            return header
    return None


def text_in(header: Dataset | None, keyword: str) -> str:
    """A value as text, without spaces around it; empty where it is absent or cannot be read."""
    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")  # pydicom's warnings hold the value
            value = None if header is None else header.get(keyword)
            return "" if value is None else str(value).replace("\0", " ").strip()
    except Exception:  # a hostile header can make pydicom raise anything
        return ""


def _read(path: Path, keywords: Sequence[str]) -> Dataset | None:
    try:
        with _opened(path) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=list(keywords))
            return header if len(header) else None
    except (Exception, RecursionError):
        return None


def _opened(path: Path) -> BinaryIO:
    if path.is_file():
        return open(path, "rb")
    for archive_path in path.parents:
        if archive_path.is_file():
            archive, _ = open_archive(archive_path)
            with archive.file:
                return io.BytesIO(archive.read(path.relative_to(archive_path).as_posix()))
    raise FileNotFoundError(path)
