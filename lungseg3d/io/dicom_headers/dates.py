"""A date as DICOM headers write it -> `datetime.date`: the standard's form, the old one with dots, and what is common.

In: text of a DA or DT value, or a header. Out: a date, or None where it is none; dates of a header mended in place.
"""

from __future__ import annotations

import datetime
import re

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

_TIME = r"(?:[T ]?[0-9]{2}.*|[+-][0-9]{4})?"
_FORMS = (
    # DA and DT of DICOM PS3.5, table 6.2-1: 20230501, 20230501123000.000000+0100
    re.compile(rf"([0-9]{{4}})([0-9]{{2}})([0-9]{{2}}){_TIME}"),
    # ACR-NEMA's 2023.05.01, which PS3.5 asks readers to take; 2023-05-01T12:30, 2023/5/1, 2023 05 01
    re.compile(r"([0-9]{4}) ?([.\-/ ]) ?([0-9]{1,2}) ?\2 ?([0-9]{1,2})(?:[T ].*)?"),
)


def date_of(text: str) -> datetime.date | None:
    """The day that a DA or DT value names; None for an empty value, a spelling that is not known, or no day at all.

    The year comes first in each form that is read: 01/05/2023 is two days, depending on the country.
    """
    plain = " ".join(text.replace("\0", " ").split("\\")[0].split())
    for form in _FORMS:
        match = form.fullmatch(plain)
        if match:
            year, month, day = (int(part) for part in match.groups() if part.isdigit())
            try:
                return datetime.date(year, month, day)
            except ValueError:
                return None
    return None


def mend_dates(header: Dataset) -> None:
    """Write the dates of a header (DA, top level) in the standard's form where another spelling names a day.

    What names no day stays as it is: whoever makes an object of the header leaves it out.
    """
    for tag in list(header.keys()):
        item = header.get_item(tag)
        vr = item.VR or (dictionary_VR(tag) if dictionary_has_tag(tag) else "")
        if vr != "DA" or not item.value:
            continue
        text = item.value.decode("ascii", "ignore") if isinstance(item.value, bytes) else str(item.value)
        day = date_of(text)
        if day is not None and "\\" not in text:
            header[tag] = DataElement(tag, "DA", day.strftime("%Y%m%d"))
