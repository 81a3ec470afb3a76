"""One element of a data set -> its value, by the short way where its bytes are plain.

In: a pydicom `Dataset` that was just read. Out: text, numbers, or lists of them; None = absent or empty.
pydicom makes several objects for each value, which took longer than everything else that is done for a slice; what is
not plain (another VR than usual, other letters than ASCII, anything odd) goes through pydicom all the same.
"""

from __future__ import annotations

import struct
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

_TEXT_VRS = {"CS", "LO", "SH", "UI"}
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
    element = dataset.get_item(tag_of(keyword))
    if element is None:
        return None
    if isinstance(element, RawDataElement) and isinstance(element.value, bytes):
        plain = _plain(element.value, element.VR or _VRS[keyword], element.is_little_endian)
        if plain is not None:
            return plain if plain != "" else None
    value = dataset[tag_of(keyword)].value
    return None if value is None or value == "" else value


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
    text = data.decode("ascii").rstrip(" \0")
    parts: list[Any] = text.split("\\")
    if vr == "DS":
        if not text or not all(part and _NUMBER_LETTERS.issuperset(part) for part in parts):
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
