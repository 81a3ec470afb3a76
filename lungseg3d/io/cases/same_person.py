"""Whether the headers of two CTs name one person: compared in memory, said in words, never with a value.

In: two headers of `time_point_headers`. Out: for PatientID, sex and birth date `same`, `different` or `not compared`.
No value leaves this module, not even as a hash: the hash of a short number is the number.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from pydicom.dataset import Dataset

from lungseg3d.io.cases.patients import is_placeholder
from lungseg3d.io.dicom_headers.dates import date_of
from lungseg3d.io.dicom_headers.time_point_headers import text_in

SAME, DIFFERENT, NOT_COMPARED = "same", "different", "not compared"
_SEXES = {"m": "male", "male": "male", "f": "female", "female": "female", "w": "female"}
_UNKNOWN_BIRTH_YEARS = (1800, 1900)


@dataclass(frozen=True)
class PersonComparison:
    """What two headers say of the person.

    Attributes:
        patient_id, sex, birth_date: `same`, `different` or `not compared`.
    """

    patient_id: str = NOT_COMPARED
    sex: str = NOT_COMPARED
    birth_date: str = NOT_COMPARED

    @property
    def differing(self) -> list[str]:
        """What differs, by the names that a reader knows."""
        names = (("PatientID", self.patient_id), ("sex", self.sex), ("birth date", self.birth_date))
        return [name for name, verdict in names if verdict == DIFFERENT]


def compare_persons(prior: Dataset | None, current: Dataset | None) -> PersonComparison:
    """Compare PatientID, sex and birth date of two CTs; what one of them does not state is not compared.

    Spelling counts for nothing: spaces, case, letters of full width, zeros at the front of a number, `M` for `male`,
    dots in a date. What a de-identified header puts in place of a value (`ANONYMOUS`, 0, the year 1900) is no value,
    and of a birth date on 1 January, as many write an unknown day, the year alone is compared. Numbers of two issuers
    are not compared.
    """
    issuers = [_plain(text_in(header, "IssuerOfPatientID")) for header in (prior, current)]
    ids = [_id(text_in(header, "PatientID")) for header in (prior, current)]
    if all(issuers) and issuers[0] != issuers[1]:
        ids = ["", ""]
    sexes = [_SEXES.get(_plain(text_in(header, "PatientSex")), "") for header in (prior, current)]
    return PersonComparison(_verdict(*ids), _verdict(*sexes), _verdict(*_birth_dates(prior, current)))


def _verdict(first: str, second: str) -> str:
    if not first or not second:
        return NOT_COMPARED
    return SAME if first == second else DIFFERENT


def _plain(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _id(text: str) -> str:
    plain = _plain(text)
    return "" if is_placeholder(plain) else re.sub(r"(?<![0-9])0+(?=[0-9])", "", plain)


def _birth_dates(prior: Dataset | None, current: Dataset | None) -> tuple[str, str]:
    """Both as text, as exactly as both are known."""
    days = [date_of(text_in(header, "PatientBirthDate")) for header in (prior, current)]
    if any(day is None or day.year in _UNKNOWN_BIRTH_YEARS for day in days):
        return "", ""
    only_year = any(day is not None and (day.month, day.day) == (1, 1) for day in days)
    first, second = (str(day.year) if only_year and day else str(day) for day in days)
    return first, second
