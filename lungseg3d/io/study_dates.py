"""Days between two DICOM series, without the dates themselves.

In: the files of two series. Out: a number of days, or None. No date leaves this module: with a name or a hospital it
would identify a person.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

_TAGS = ["AcquisitionDateTime", "AcquisitionDate", "SeriesDate", "StudyDate"]
"""The first that both series state; a de-identified series often keeps only some."""


def days_between(prior: Sequence[Path], current: Sequence[Path]) -> int | None:
    """Days from the prior to the current series, negative when it is the other way round.

    Args:
        prior, current: files of the slices; the first file of each is read.

    Returns:
        None where one of them is no DICOM file, or both do not state the same kind of date.
    """
    if not prior or not current:
        return None
    first, second = _dates(prior[0]), _dates(current[0])
    for tag in _TAGS:
        if tag in first and tag in second:
            return (second[tag] - first[tag]).days
    return None


def _dates(path: Path) -> dict[str, datetime.date]:
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
    except (InvalidDicomError, OSError):
        return {}
    dates = {}
    for tag in _TAGS:
        try:
            dates[tag] = datetime.datetime.strptime(str(dataset.get(tag) or "")[:8], "%Y%m%d").date()
        except ValueError:
            continue
    return dates
