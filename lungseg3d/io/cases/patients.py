"""Whether two CTs are of one patient, as far as their DICOM headers say.

In: paths of CTs. Out: `PatientHeader`s that can be compared and nothing else. What they hold stays in memory: it is
never printed, stored or hashed, as a hash of a short number is the number.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom

from lungseg3d.core import IntakeError
from lungseg3d.io.dicom.files import scan_dicom
from lungseg3d.io.dicom.series import CT_CLASSES
from lungseg3d.io.dicom_headers.headers import read_header
from lungseg3d.io.dicom_headers.records import ByteSource, DicomFile
from lungseg3d.io.intake.reading import Findings
from lungseg3d.io.intake.sniff import sniff_format

_TAGS = ["PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID"]
# What anonymisers write into every PatientID: equal ones say nothing.
_PLACEHOLDER = re.compile(
    r"(anon\w*|de-?ident\w*|unknown|none|null|n/?a|no ?id|test|patient|phantom|[0x*?._\s-]*)", re.I
)


@dataclass(frozen=True, repr=False)
class PatientHeader:
    """What a CT's header says of its patient; empty texts where it does not say. It shows nothing of itself."""

    patient_id: str = ""
    issuer: str = ""
    birth_date: str = ""
    sex: str = ""
    study_uid: str = ""

    def __repr__(self) -> str:
        return "PatientHeader(...)"

    @property
    def is_known(self) -> bool:
        """Whether it names a patient at all: an empty PatientID, or an anonymiser's placeholder, names none."""
        return not is_placeholder(self.patient_id)

    def is_same(self, other: PatientHeader) -> bool:
        """One patient: one study; or one PatientID, with issuer, birth date and sex that do not contradict it."""
        if self.study_uid and self.study_uid == other.study_uid:
            return True
        if not self.is_known or self.patient_id.casefold() != other.patient_id.casefold():
            return False
        pairs = ((self.issuer, other.issuer), (self.birth_date, other.birth_date), (self.sex, other.sex))
        return all(not ours or not theirs or ours.casefold() == theirs.casefold() for ours, theirs in pairs)


def is_placeholder(patient_id: str) -> bool:
    """Whether a PatientID, without spaces around it, is empty or one that anonymisers write for everybody."""
    return _PLACEHOLDER.fullmatch(patient_id) is not None


def read_patient(path: Path) -> PatientHeader | None:
    """The patient of the first CT image under a path, by name; None where there is no DICOM CT, or it is unreadable.

    Args:
        path: folder of a series, zip or DICOM file; of other files nothing is read but the first bytes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns with values of the header
        try:
            header = next(_ct_headers(Path(path)), None)
            if header is None:
                return None
            with header.place.open() as stream:
                tags = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
            values = (" ".join(str(tags.get(tag) or "").split()) for tag in _TAGS)
            return PatientHeader(*values)
        except (IntakeError, OSError, ValueError, AttributeError, NotImplementedError):
            return None  # reading the case will say why


def _ct_headers(path: Path) -> Iterator[DicomFile]:
    if path.is_dir():
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            try:
                header = read_header(ByteSource(file))
            except (IntakeError, OSError):
                continue
            if header.sop_class in CT_CLASSES:
                yield header
        return
    kind = sniff_format(path, Findings())
    if kind == "dicom":
        yield read_header(ByteSource(path))
    elif kind == "zip":
        yield from (header for header in scan_dicom(path).files if header.sop_class in CT_CLASSES)
