"""Texts and identifiers of a source header that DICOM does not allow: named, and mended as far as that is safe.

In: a header, changed in place. Out: what was odd, without the values, which may identify a person.
Source: DICOM PS3.5 6.2 (value representations), PS3.6 (value multiplicity), PS3.3 C.12.1.1.2 (character sets).

A text that is too long is cut and ends in `~`: no registration system issues such a value, so that it is never taken
for another one. The patient's ID alone is never altered: an object with a changed ID belongs to another patient, or to
none, and an archive that matches by ID puts it there without a word. With such an ID there is no SEG and no SR.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import MAX_VALUE_LEN

IDENTIFIERS = ("PatientID", "IssuerOfPatientID", "PatientName", "AccessionNumber", "StudyID")
"""By these archives and people match: each has a warning of its own."""
CUT_MARK = "~"
_UNCHANGEABLE = ("PatientID", "IssuerOfPatientID")
_COPIED_GROUPS = {0x0008, 0x0010, 0x0012, 0x0032, 0x0040}  # patient and study; geometry (0020) is the reader's matter
_COPIED_TAGS = {Tag(keyword) for keyword in ("StudyID", "PositionReferenceIndicator")}
_NAME_LIMIT, _MOST_NAME_GROUPS = 64, 3  # alphabetic, ideographic, phonetic
_LIMITS = {vr: MAX_VALUE_LEN[vr] for vr in ("LO", "SH", "ST", "LT")} | {"PN": _NAME_LIMIT}
_ONE_LINE = ("LO", "SH", "PN")


@dataclass(frozen=True)
class OddText:
    """One attribute with a text that DICOM does not allow.

    Attributes:
        keyword: of the attribute.
        problem: such as `has 70 characters, DICOM allows 64`; never the value.
        is_mended: whether an object may bear what now stands in the header.
    """

    keyword: str
    problem: str
    is_mended: bool

    @property
    def consequence(self) -> str:
        """For DICOM objects."""
        if self.is_mended:
            return f"SEG and SR bear it changed, marked by {CUT_MARK} where it is cut"
        return "SEG and SR are not made, for a changed ID is that of another patient"


def mend_texts(header: Dataset) -> tuple[OddText, ...]:
    """Mend the texts that objects copy from a header: those of patient, study and request, in sequences, too.

    Args:
        header: as it was read, its values not looked at before; it is changed.

    Returns:
        What was odd, in the order of the header; an attribute of several sequences once.
    """
    found: dict[str, OddText] = {}
    has_set = _has_character_set(header)
    for dataset, tag in _texts_of(header):
        odd = _mend(dataset, tag, has_set)
        if odd:
            found.setdefault(odd.keyword, odd)
    return tuple(found.values())


def is_copied(tag: BaseTag) -> bool:
    """Whether an attribute may go from a source's header into an object."""
    return tag.group in _COPIED_GROUPS or tag in _COPIED_TAGS


def _texts_of(header: Dataset, inside: bool = False) -> Iterator[tuple[Dataset, BaseTag]]:
    for tag in list(header.keys()):
        vr = _vr_of(header, tag)
        if not (inside or is_copied(tag)):
            continue
        if vr == "SQ":
            for item in header[tag].value or ():
                yield from _texts_of(item, inside=True)
        elif vr in _LIMITS:
            yield header, tag


def _vr_of(header: Dataset, tag: BaseTag) -> str:
    element: Any = header.get_item(tag)
    try:
        return str(element.VR or dictionary_VR(tag))
    except KeyError:  # of a private tag in implicit VR, which no object copies
        return ""


def _has_character_set(header: Dataset) -> bool:
    """Whether letters beyond ASCII are declared, by a character set that is known."""
    declared = header.get("SpecificCharacterSet") or ""
    names = [declared] if isinstance(declared, str) else list(declared)
    return any(name not in ("", "ISO_IR 6", "ISO 2022 IR 6") and name in python_encoding for name in names)


def _mend(dataset: Dataset, tag: BaseTag, has_set: bool) -> OddText | None:
    keyword, vr = keyword_for_tag(tag) or str(tag), _vr_of(dataset, tag)
    raw = dataset.get_item(tag)
    problems = []
    is_undeclared = isinstance(raw, RawDataElement) and isinstance(raw.value, bytes) and not raw.value.isascii()
    if is_undeclared and not has_set:
        problems.append("holds letters that SpecificCharacterSet does not declare")
        text = _decoded(raw.value)
        values = text.split("\\") if vr in _ONE_LINE else [text]
    else:
        value = dataset[tag].value
        values = [str(v) for v in value] if isinstance(value, (list, tuple, MultiValue)) else [str(value or "")]
    if any("\ufffd" in value for value in values):
        problems.append("holds bytes that are no letters of its SpecificCharacterSet")
    if len(values) > 1 and _is_single(tag):
        problems.append(f"has {len(values)} values, DICOM allows one")
        values = ["/".join(values)]
    mended = []
    for value in values:
        text, problem = (_fit_name if vr == "PN" else _fit_text)(value.rstrip(" \0"), vr)
        mended.append(text)
        problems += [problem] if problem else []
    if not problems:
        return None
    if keyword not in _UNCHANGEABLE:
        dataset[tag] = DataElement(tag, vr, mended if len(mended) > 1 else mended[0])
    return OddText(keyword, " and ".join(dict.fromkeys(problems)), keyword not in _UNCHANGEABLE)


def _decoded(value: bytes) -> str:
    """UTF-8 where the bytes are, for other text is not by chance; else Latin-1, as most readers take it."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _is_single(tag: BaseTag) -> bool:
    try:
        return dictionary_VM(tag) == "1"
    except KeyError:
        return False


def _fit_text(text: str, vr: str) -> tuple[str, str]:
    """(text that fits, what was wrong with it)."""
    # A text of one line has no control characters; paragraphs have line ends.
    plain = "".join(c if c.isprintable() else "?" for c in text) if vr in _ONE_LINE else text
    if len(plain) > _LIMITS[vr]:
        return _cut(plain, _LIMITS[vr]), f"has {len(plain)} characters, DICOM allows {_LIMITS[vr]}"
    return plain, "" if plain == text else "holds control characters"


def _fit_name(text: str, vr: str) -> tuple[str, str]:
    """A person's name: up to three groups of 64 characters, separated by `=`."""
    groups = text.split("=")
    fitted = [_fit_text(group, vr) for group in groups]
    problems = [problem for _, problem in fitted if problem]
    kept = [group for group, _ in fitted[:_MOST_NAME_GROUPS]]
    if len(groups) > _MOST_NAME_GROUPS:
        problems.append(f"has {len(groups)} parts of a name, DICOM allows {_MOST_NAME_GROUPS}")
        kept[-1] = _cut(kept[-1] + " ", min(len(kept[-1]) + 1, _NAME_LIMIT))
    return "=".join(kept), problems[0] if problems else ""


def _cut(text: str, limit: int) -> str:
    return text[: limit - 1] + CUT_MARK
