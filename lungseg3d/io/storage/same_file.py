"""Two spellings of one path, told to be one input.

In: paths as people write them. Out: keys that are equal for one file or folder. Reads no content.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def file_key(path: Path | str) -> tuple[object, ...]:
    """A key that is the same however a path is spelled: relative, with `.` or `..`, by a link, in other letter case.

    What is there is known by its device and number (so a hard link is the same file, too); what is not, or on a file
    system that numbers nothing, by its resolved path.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        found = None
    if found is not None and found.st_ino:
        return found.st_dev, found.st_ino
    return (os.path.realpath(path),)


def find_twin(paths: Iterable[Path | str]) -> tuple[int, int] | None:
    """Positions of the first two paths that are one file or folder; None where all differ."""
    seen: dict[tuple[object, ...], int] = {}
    for number, path in enumerate(paths):
        first = seen.setdefault(file_key(path), number)
        if first != number:
            return first, number
    return None
