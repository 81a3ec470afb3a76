"""Path -> case id: a name for results that comes from paths only, never from a header.

In: a path and the names already taken. Out: a file-safe name. Opens no file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from pathlib import Path

_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".dicom", ".ima", ".zip", ".img", ".hdr")
# Folder names that say nothing about the case they hold.
_EMPTY_NAME = re.compile(
    r"(dicoms?|dcm|series|study|scans?|ct|images?|img|data|export|input|volume|thorax|chest|lung"
    r"|(se|st|pa|im|s|i)?[-_ ]?\d{1,8})",
    re.IGNORECASE,
)
_MAX_LENGTH = 80


def case_id_of(path: Path | str, taken: Collection[str] = ()) -> str:
    """The name of the results of `path`: ASCII letters, digits, `.`, `_`, `-`; 1 to 80 characters.

    The file's name without its endings, or the folder's name; with its parent's in front where the name says
    nothing (`dicom`, `series`, `ct`, `0001`, `SE000001`, ...). A suffix -2, -3, ... keeps it apart from `taken`,
    upper and lower case counted as equal, because some file systems do so.
    """
    path = Path(path)
    if path.name in ("", ".", "..") or ".." in path.parts:
        path = path.resolve()
    name = _file_safe(_stem(path.name))
    parent = path.parent if path.parent.name else path.absolute().parent
    for _ in range(3):
        if name and not _EMPTY_NAME.fullmatch(name.split("_")[0]):
            break
        front = _file_safe(parent.name)
        if not front:
            break
        name = f"{front}_{name}" if name else front
        parent = parent.parent
    name = name[:_MAX_LENGTH].strip("._-") or "case"
    occupied = {other.lower() for other in taken}
    unique, number = name, 2
    while unique.lower() in occupied:
        suffix = f"-{number}"
        unique = name[: _MAX_LENGTH - len(suffix)] + suffix
        number += 1
    return unique


def _stem(name: str) -> str:
    for ending in _ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name


def _file_safe(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"-{2,}", "-", re.sub(r"[^A-Za-z0-9._-]+", "-", plain)).strip("._-")
