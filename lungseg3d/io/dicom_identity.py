"""Who and when of the DICOM objects we write: UIDs by hash, dates from the source, what is odd in its header left out.

In: a header of the source series. Out: UIDs, dates, a header that objects can be derived from; never a clock's time.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Sequence
from typing import Any

from pydicom.config import RAISE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import generate_uid
from pydicom.valuerep import validate_value

from lungseg3d.io.reading import refuse

_DATES = ("Content", "Acquisition", "Series", "Study")
_TYPE_2 = (
    "PatientID PatientName PatientBirthDate PatientSex StudyID StudyDate StudyTime AccessionNumber "
    "ReferringPhysicianName PositionReferenceIndicator"
).split()
_COPIED_GROUPS = {0x0008, 0x0010, 0x0012, 0x0032, 0x0040}  # patient and study; geometry (0020) is the reader's matter
_FREE_TEXT = ("PatientComments", "AdditionalPatientHistory")  # optional, and nobody knows whom they speak of
_DATE, _TIME = re.compile(r"\d{8}"), re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")


def uid_of(*parts: str) -> str:
    """A UID that is a hash of its parts."""
    return str(generate_uid(entropy_srcs=["lungseg3d", *parts]))


def stamp_of(header: Dataset) -> tuple[str, str]:
    """(date, time) that our objects bear, as DICOM writes them: never the clock's, so that two runs write the same.

    `SOURCE_DATE_EPOCH` (seconds since 1970, UTC) where it is set; else the first date that the source has of content,
    acquisition, series and study; else 1 January 1970.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if epoch.isdigit():
        moment = datetime.datetime.fromtimestamp(int(epoch), datetime.timezone.utc)
        return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    for kind in _DATES:
        date, time = str(header.get(f"{kind}Date") or ""), str(header.get(f"{kind}Time") or "")
        if _is_date(date):
            return date, time if _TIME.fullmatch(time) else "000000"
    return "19700101", "000000"


def usable_header(header: Dataset, name: str) -> Dataset:
    """The header with every attribute that a derived object must carry: absent ones empty, impossible ones empty.

    Without a frame of reference, as anonymised series often are, it gets one of its own, a hash of the series' UID: a
    new one claims no more than that these slices lie together.

    Args:
        header: of one instance, without pixels; it is changed.
        name: of the file, for messages.

    Raises:
        IntakeError: E_MISSING_TAG without study, series or instance: an object that names none of them belongs to
            nothing, and they are not made up here.
    """
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        if not header.get(keyword):
            refuse(
                "E_MISSING_TAG",
                f"{name}: no {keyword}, so no DICOM object can refer to this series.",
                "Export the series again, or do without seg and sr.",
            )
    if not header.get("FrameOfReferenceUID"):
        header.FrameOfReferenceUID = uid_of("frame of reference", str(header.SeriesInstanceUID))
    for keyword in _TYPE_2:
        if keyword not in header:
            setattr(header, keyword, None)
    for keyword in _FREE_TEXT:
        if keyword in header:
            delattr(header, keyword)
    for element in [e for e in header if e.tag.group in _COPIED_GROUPS and not _is_valid(e)]:
        header[element.tag].value = None
    if header.PatientSex not in ("M", "F", "O"):
        header.PatientSex = None
    for keyword in ("ReferencedStudySequence", "ReferencedPatientSequence"):
        # Anonymisers leave items of these empty; a copy of them would make our objects invalid, too.
        if any(
            not i.get("ReferencedSOPClassUID") or not i.get("ReferencedSOPInstanceUID") for i in header.get(keyword, ())
        ):
            delattr(header, keyword)
    return header


def _is_valid(element: DataElement) -> bool:
    """Whether each value is one that its kind may have: an age of `0Y` and a date of `20AB` are none."""
    values = element.value if isinstance(element.value, (list, MultiValue)) else [element.value]
    if element.VR == "SQ":
        return True
    if element.VR == "DA":
        return all(not value or _is_date(str(value)) for value in values)
    try:
        for value in values:
            validate_value(element.VR, value, RAISE)
    except (ValueError, TypeError):
        return False
    return True


def stamp(dataset: Dataset, header: Dataset) -> None:
    """Put our dates where the writing library put the clock's, and say what the object is for."""
    date, time = stamp_of(header)
    for kind in ("Content", "InstanceCreation", "Series"):
        setattr(dataset, f"{kind}Date", date)
        setattr(dataset, f"{kind}Time", time)
    set_everywhere(dataset.get("ContributingEquipmentSequence", ()), "ContributionDateTime", date + time)


def set_everywhere(items: Sequence[Dataset], keyword: str, value: Any) -> None:
    """Set one attribute in each item of a sequence."""
    for item in items:
        setattr(item, keyword, value)


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        datetime.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return True
