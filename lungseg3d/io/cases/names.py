"""Path -> case id: a name for results that comes from paths only, never from a header.

In: a path and the names already taken. Out: a file-safe name. Opens no file.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path

_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".dicom", ".ima", ".zip", ".img", ".hdr")
# Folder names that say nothing about the case they hold.
_EMPTY_NAME = re.compile(
    r"(dicoms?|dcm|series|study|scans?|ct|images?|img|data|export|input|volume|thorax|chest|lung"
    r"|(se|st|pa|im|s|i)?[-_ ]?\d{1,8})",
    re.IGNORECASE,
)
_MAX_LENGTH = 80
# A long name keeps its beginning, its end (of a UID the part that differs) and 8 digits of the hash of the whole: two
# such names never become one, whatever else is segmented with them. 72 leaves room for a number behind it.
_SHORTENED_LENGTH, _KEPT_END, _HASH_DIGITS = 72, 16, 8


def as_paths(paths: Path | str | Iterable[Path | str]) -> list[Path]:
    """Paths that were given as a list, or as one: a text is one path, and not one for each of its letters."""
    return [Path(paths)] if isinstance(paths, (str, os.PathLike)) else [Path(path) for path in paths]


class CaseNames:
    """Names of cases that differ from one another, upper and lower case counted as equal, as some file systems do.

    Args:
        taken: names that are in use already.
    """

    def __init__(self, taken: Collection[str] = ()) -> None:
        self._occupied = {name.lower() for name in taken}
        self._next: dict[str, int] = {}

    def name(self, path: Path | str) -> str:
        """`case_id_of` the path, with a suffix -2, -3, ... where that name is in use; in use from now on."""
        name = _name_of(Path(path))
        unique, number = name, self._next.get(name.lower(), 2)
        while unique.lower() in self._occupied:
            suffix = f"-{number}"
            unique = name[: _MAX_LENGTH - len(suffix)] + suffix
            number += 1
        self._next[name.lower()] = number
        self._occupied.add(unique.lower())
        return unique


def case_id_of(path: Path | str, taken: Collection[str] = ()) -> str:
    """The name of the results of `path`: ASCII letters, digits, `.`, `_`, `-`; 1 to 80 characters.

    The file's name without its endings, or the folder's name; with its parent's in front where the name says
    nothing (`dicom`, `series`, `ct`, `0001`, `SE000001`, ...). A longer one, such as two UIDs in a row, becomes its
    beginning, its end and a hash of the whole. A suffix -2, -3, ... keeps it apart from `taken`;
    see `CaseNames` for many.
    """
    return CaseNames(taken).name(path)


def is_case_name(name: str) -> bool:
    """Whether a name that came from elsewhere may name a folder: characters and length as of `case_id_of`."""
    return 0 < len(name) <= _MAX_LENGTH and name == _file_safe(name)


def _name_of(path: Path) -> str:
    if path.name in ("", ".", "..") or ".." in path.parts:
        path = path.resolve()
    whole = _stem(path.name)
    name = _file_safe(whole)
    parent = path.parent if path.parent.name else path.absolute().parent
    for _ in range(3):
        if name and not _EMPTY_NAME.fullmatch(name.split("_")[0]):
            break
        front = _file_safe(parent.name)
        if not front:
            break
        whole = f"{parent.name}/{whole}"
        name = f"{front}_{name}" if name else front
        parent = parent.parent
    return _shortened(name.strip("._-"), whole) or "case"


def _shortened(name: str, whole: str) -> str:
    """A name of at most `_MAX_LENGTH` characters; `whole` is what it was made of, for the hash."""
    if len(name) <= _MAX_LENGTH:
        return name
    # The same letters may be stored in two ways, as macOS and Linux do; they are one name.
    plain = unicodedata.normalize("NFKD", whole).encode("utf-8", "surrogateescape")
    digits = hashlib.sha256(plain).hexdigest()[:_HASH_DIGITS]
    front = name[: _SHORTENED_LENGTH - _KEPT_END - _HASH_DIGITS - 2].strip("._-")
    return f"{front}-{name[-_KEPT_END:].strip('._-')}-{digits}"


def _stem(name: str) -> str:
    for ending in _ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name


def _file_safe(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"-{2,}", "-", re.sub(r"[^A-Za-z0-9._-]+", "-", plain)).strip("._-")
