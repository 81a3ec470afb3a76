"""Who and when of the DICOM objects we write: UIDs by hash, dates, what is impossible in the source's header left out.

In: a header of the source series. Out: UIDs, dates, a header that objects can be derived from.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from pydicom.config import RAISE
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.uid import generate_uid
from pydicom.valuerep import validate_value

from lungseg3d.io.dicom_headers.dates import mend_dates
from lungseg3d.io.dicom_headers.texts import is_copied

SOURCE_DATES, TRUE_DATES = "source", "now"
"""Which dates objects bear: those of the source, so that the same input gives the same bytes; or of their creation."""
_DATES = ("Content", "Acquisition", "Series", "Study")
_TYPE_2 = (
    "PatientID PatientName PatientBirthDate PatientSex StudyID StudyDate StudyTime AccessionNumber "
    "ReferringPhysicianName PositionReferenceIndicator"
).split()
_FREE_TEXT = ("PatientComments", "AdditionalPatientHistory")  # optional, and nobody knows whom they speak of
_DATE, _TIME = re.compile(r"\d{8}"), re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")


def uid_of(*parts: str) -> str:
    """A UID that is a hash of its parts."""
    return str(generate_uid(entropy_srcs=["lungseg3d", *parts]))


def stamp_of(header: Dataset, dates: str = SOURCE_DATES) -> tuple[str, str]:
    """(date, time) that our objects bear, as DICOM writes them.

    `SOURCE_DATE_EPOCH` (seconds since 1970, UTC) where it is set. Else, with `dates` = `source`, the first date that
    the source has of content, acquisition, series and study, or 1 January 1970: so two runs write the same bytes. With
    `now` the clock's, in local time, as archives that sort by creation expect it.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if epoch.isdigit():
        moment = datetime.datetime.fromtimestamp(int(epoch), datetime.timezone.utc)
        return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    if dates == TRUE_DATES:
        now = datetime.datetime.now()  # DICOM's times are local ones
        return now.strftime("%Y%m%d"), now.strftime("%H%M%S.%f")
    for kind in _DATES:
        date, time = str(header.get(f"{kind}Date") or ""), str(header.get(f"{kind}Time") or "")
        if _is_date(date):
            return date, time if _TIME.fullmatch(time) else "000000"
    return "19700101", "000000"


def usable_header(header: Dataset) -> tuple[str, ...]:
    """Complete a header so that objects can be derived from it: what they must carry and it lacks becomes empty.

    Values that are none of their kind (a date of `20AB`) are emptied, because nobody knows what they mean; texts are
    mended before, by `dicom_texts.mend_texts`.

    Args:
        header: of the first instance, without pixels; it is changed.

    Returns:
        Keywords of the attributes that were emptied.
    """
    for keyword in _TYPE_2:
        if keyword not in header:
            setattr(header, keyword, None)
    mend_dates(header)
    for keyword in _FREE_TEXT:
        if keyword in header:
            delattr(header, keyword)
    emptied = []
    tags = list(header.keys())
    for tag in [tag for tag in tags if is_copied(tag) and not _is_valid(header, tag)]:
        header[tag] = DataElement(tag, header.get_item(tag).VR or "UN", None)
        emptied.append(keyword_for_tag(tag) or str(tag))
    if header.PatientSex not in ("M", "F", "O"):
        emptied += ["PatientSex"] if header.PatientSex else []
        header.PatientSex = None
    for keyword in ("ReferencedStudySequence", "ReferencedPatientSequence"):
        # Anonymisers leave items of these empty; a copy of them would make our objects invalid, too.
        if any(
            not i.get("ReferencedSOPClassUID") or not i.get("ReferencedSOPInstanceUID") for i in header.get(keyword, ())
        ):
            delattr(header, keyword)
    return tuple(dict.fromkeys(emptied))


def _is_valid(header: Dataset, tag: BaseTag) -> bool:
    """Whether each value is one that its kind may have: an age of `0Y` and a date of `20AB` are none."""
    try:
        element = header[tag]
    except Exception:  # pydicom may raise anything for a value that it cannot convert
        return False
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


def stamp(dataset: Dataset, moment: tuple[str, str]) -> None:
    """Put our date and time where the writing library put the clock's."""
    date, time = moment
    for kind in ("Content", "InstanceCreation", "Series"):
        setattr(dataset, f"{kind}Date", date)
        setattr(dataset, f"{kind}Time", time)
    set_everywhere(dataset.get("ContributingEquipmentSequence", ()), "ContributionDateTime", date + time)


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Nothing of what pydicom and highdicom remark inside the block reaches the screen.

    They name paths and UIDs, and what matters of it is an issue with a code.
    """
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


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
