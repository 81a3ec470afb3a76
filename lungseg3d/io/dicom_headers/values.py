"""One element of a data set -> its value, by the short way where its bytes are plain.

In: a pydicom `Dataset` that was just read. Out: text, numbers, or lists of them; None = absent or empty.
Spaces and NULs around a value, and around each part of several, mean nothing (PS3.5 6.2); code strings (CS) know no
lower case. Both are put right here, so that nobody who compares has to think of it.
pydicom makes several objects for each value, which took longer than everything else that is done for a slice; what is
not plain (another VR than usual, other letters than ASCII, anything odd) goes through pydicom all the same.
"""

from __future__ import annotations

import struct
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

_TEXT_VRS = {"CS", "LO", "SH", "UI"}
_MEANINGLESS = " \0\t\r\n"
_SHORTS = {("US", True): "<H", ("US", False): ">H", ("SS", True): "<h", ("SS", False): ">h"}
_DIGITS = frozenset("0123456789")
_NUMBER_LETTERS = _DIGITS | frozenset("+-.eE ")
_TAGS: dict[str, BaseTag] = {}
_VRS: dict[str, str] = {}


def tag_of(keyword: str) -> BaseTag:
    """The tag of a keyword of the DICOM dictionary."""
    if keyword not in _TAGS:
        _TAGS[keyword] = Tag(keyword)
        _VRS[keyword] = dictionary_VR(_TAGS[keyword])
    return _TAGS[keyword]


def has(dataset: Dataset, keyword: str) -> bool:
    """Whether the element is there, be it empty."""
    return dataset.get_item(tag_of(keyword)) is not None


def value_of(dataset: Dataset, keyword: str) -> Any:
    """The value of an element; a list where it has several.

    Raises:
        Exception: whatever pydicom raises for a value that it cannot convert.
    """
    tag = tag_of(keyword)
    element = dataset.get_item(tag)
    if element is None:
        return None
    vr = _VRS[keyword]
    if isinstance(element, RawDataElement) and isinstance(element.value, bytes):
        is_unknown = element.VR in (None, "UN") and vr not in ("US", "SS")
        plain = _plain(element.value, vr if is_unknown else element.VR or vr, element.is_little_endian)
        if plain is not None:
            return _trimmed(plain, vr)
    return _trimmed(dataset[tag].value, vr)


def short_of(dataset: Dataset, tag: int) -> int | None:
    """An unsigned short by its tag, for groups that repeat (60xx), which have no keywords; None = absent or no number.

    Raises:
        Exception: whatever pydicom raises for a value that it cannot convert.
    """
    element = dataset.get_item(tag)
    if element is None:
        return None
    value = element.value
    if isinstance(element, RawDataElement) and isinstance(value, bytes):
        return struct.unpack("<H" if element.is_little_endian else ">H", value)[0] if len(value) == 2 else None
    return value if isinstance(value, int) else None


def _trimmed(value: Any, vr: str) -> Any:
    """Text without what means nothing, each part of several; None for what is empty then."""
    if isinstance(value, str):
        text = value.strip(_MEANINGLESS)
        return (text.upper() if vr == "CS" else text) or None
    if isinstance(value, (list, MultiValue)) and all(isinstance(part, str) for part in value):
        return [_trimmed(part, vr) or "" for part in value] or None
    return value


def text_of(dataset: Dataset, keyword: str) -> str:
    """The value as text; empty when absent."""
    value = value_of(dataset, keyword)
    return "" if value is None else str(value)


def _plain(data: bytes, vr: str, little: bool) -> Any:
    """The value of plain bytes, or None when pydicom has to look."""
    if (vr, little) in _SHORTS:
        return struct.unpack(_SHORTS[vr, little], data)[0] if len(data) == 2 else None
    if not data.isascii() or b"\x1b" in data:
        return None
    parts: list[Any] = [part.strip(_MEANINGLESS) for part in data.decode("ascii").split("\\")]
    if vr == "DS":
        if not all(part and _NUMBER_LETTERS.issuperset(part) for part in parts):
            return None
        try:
            parts = [float(part) for part in parts]
        except ValueError:
            return None
    elif vr == "IS":
        if not all(part and _DIGITS.issuperset(part) for part in parts):
            return None
        parts = [int(part) for part in parts]
    elif vr not in _TEXT_VRS:
        return None
    return parts[0] if len(parts) == 1 else parts
