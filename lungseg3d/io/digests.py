"""A case's file or folder -> one SHA-256 that says whether it is still the same.

In: a path. Out: 64 hexadecimal digits. Knows no format but the two that keep their voxels in a second file.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from pathlib import Path

import numpy as np

from lungseg3d.core import Volume

_DATA_FILE = re.compile(rb"^\s*(?:ElementDataFile\s*=|data ?file\s*:)\s*(\S.*?)\s*$", re.IGNORECASE | re.MULTILINE)
_DETACHED = (".mhd", ".nhdr")


def sha256_of(path: Path | str) -> str:
    """SHA-256 of a file; of several files that belong together, that of their list as `sha256sum` prints it.

    A folder is the list of all its files by relative path, in the order of their bytes; a `.mhd` or `.nhdr` the list
    of itself and its data file. Moving a folder leaves its sum as it is, renaming a file in it does not.

    Raises:
        OSError: the path cannot be read.
    """
    path = Path(path)
    if not path.is_dir() and path.suffix.lower() not in _DETACHED:
        return _sum_of_file(path)
    return _sum_of_list(*_files_of(path))


def joined_sha256(*sums: str) -> str:
    """One SHA-256 for several, in their order: the only one itself; empty ones do not count, and none give none."""
    known = [sum_ for sum_ in sums if sum_]
    return known[0] if len(known) == 1 else hashlib.sha256("\n".join(known).encode()).hexdigest() if known else ""


def signature_of(path: Path | str) -> str:
    """A sum over names, sizes and times of change of the files that `sha256_of` reads, without reading them.

    As long as it stays, so does `sha256_of`, unless somebody sets a file's time back.

    Raises:
        OSError: the path cannot be read.
    """
    files, root = _files_of(Path(path))
    digest = hashlib.sha256()
    for file in files:
        found = file.stat()
        name = os.fsencode(file.relative_to(root).as_posix())
        digest.update(b"%d %d  %s\n" % (found.st_size, found.st_mtime_ns, name))
    return digest.hexdigest()


def voxels_crc32(volume: Volume) -> str:
    """CRC-32 of the HU of a CT, 8 hexadecimal digits: which CT a result was made of, whatever its file was called."""
    # In the order of X first, which most files have: no copy then.
    return f"{zlib.crc32(np.ascontiguousarray(volume.array.T).data):08x}"


def _files_of(path: Path) -> tuple[list[Path], Path]:
    """The files that make up an input, in the order of their names' bytes, and the folder that the names start from."""
    if path.is_dir():
        found = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
        # A pipe or a socket in a folder would never end, and no reader looks at it.
        files = (file for file in found if file.is_file() or not file.exists())
        return sorted(files, key=lambda file: os.fsencode(file.relative_to(path))), path
    return [path, *(_data_files(path) if path.suffix.lower() in _DETACHED else [])], path.parent


def _sum_of_list(files: list[Path], root: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        name = os.fsencode(file.relative_to(root).as_posix())
        digest.update(_sum_of_file(file).encode() + b"  " + name + b"\n")
    return digest.hexdigest()


def _sum_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _data_files(header: Path) -> list[Path]:
    with open(header, "rb") as stream:
        found = _DATA_FILE.search(stream.read(65536))
    name = os.fsdecode(found[1]) if found else ""
    beside = header.parent / name
    return [beside] if name and Path(name).name == name and beside.is_file() else []
