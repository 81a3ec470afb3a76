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
from lungseg3d.io.intake.links import LinkRule, walk_folders

_DATA_FILE = re.compile(rb"^\s*(?:ElementDataFile\s*=|data ?file\s*:)\s*(\S.*?)\s*$", re.IGNORECASE | re.MULTILINE)
_DETACHED = (".mhd", ".nhdr")


def sha256_of(path: Path | str, rule: LinkRule | None = None) -> str:
    """SHA-256 of a file; of several files that belong together, that of their list as `sha256sum` prints it.

    A folder is the list of all its files by relative path, in the order of their bytes; a `.mhd` or `.nhdr` the list
    of itself and its data file. Moving a folder leaves its sum as it is, renaming a file in it does not.

    Args:
        path: of the input.
        rule: which links are followed; of another, its text counts and not what it leads to. None follows files, and
            folders that stay inside.

    Raises:
        OSError: the path cannot be read.
    """
    path = Path(path)
    if not _is_folder(path, rule) and path.suffix.lower() not in _DETACHED:
        return _sum_of_file(path, rule)
    return _sum_of_list(*_files_of(path, rule), rule)


def joined_sha256(*sums: str) -> str:
    """One SHA-256 for several, in their order: the only one itself; empty ones do not count, and none give none."""
    known = [sum_ for sum_ in sums if sum_]
    return known[0] if len(known) == 1 else hashlib.sha256("\n".join(known).encode()).hexdigest() if known else ""


def signature_of(path: Path | str, rule: LinkRule | None = None) -> str:
    """A sum over names, sizes and times of change of the files that `sha256_of` reads, without reading them.

    As long as it stays, so does `sha256_of`, unless somebody sets a file's time back.

    Raises:
        OSError: the path cannot be read.
    """
    files, root = _files_of(Path(path), rule)
    digest = hashlib.sha256()
    for file in files:
        found = file.lstat() if _is_left(file, rule) else file.stat()
        name = os.fsencode(file.relative_to(root).as_posix())
        digest.update(b"%d %d  %s\n" % (found.st_size, found.st_mtime_ns, name))
    return digest.hexdigest()


def voxels_crc32(volume: Volume) -> str:
    """CRC-32 of the HU of a CT, 8 hexadecimal digits: which CT a result was made of, whatever its file was called."""
    # In the order of X first, which most files have: no copy then.
    return f"{zlib.crc32(np.ascontiguousarray(volume.array.T).data):08x}"


def _is_left(path: Path, rule: LinkRule | None) -> bool:
    """Whether a path is a link that is not followed."""
    return rule is not None and path.is_symlink() and bool(rule.why_not(path))


def _is_folder(path: Path, rule: LinkRule | None) -> bool:
    return path.is_dir() and not _is_left(path, rule)


def _files_of(path: Path, rule: LinkRule | None) -> tuple[list[Path], Path]:
    """The files that make up an input, in the order of their names' bytes, and the folder that the names start from."""
    if _is_folder(path, rule):
        listings = walk_folders(path, rule or LinkRule(path))
        found = (
            file
            for listing in listings
            for file in (*listing.files, *(link.path for link in listing.left if rule or not link.is_folder))
        )
        # A pipe or a socket in a folder would never end, and no reader looks at it.
        files = (file for file in found if file.is_file() or not file.exists() or _is_left(file, rule))
        return sorted(files, key=lambda file: os.fsencode(file.relative_to(path))), path
    is_header = path.suffix.lower() in _DETACHED and not _is_left(path, rule)
    return [path, *(_data_files(path) if is_header else [])], path.parent


def _sum_of_list(files: list[Path], root: Path, rule: LinkRule | None) -> str:
    digest = hashlib.sha256()
    for file in files:
        name = os.fsencode(file.relative_to(root).as_posix())
        digest.update(_sum_of_file(file, rule).encode() + b"  " + name + b"\n")
    return digest.hexdigest()


def _sum_of_file(path: Path, rule: LinkRule | None) -> str:
    if _is_left(path, rule):
        return hashlib.sha256(os.fsencode(os.readlink(path))).hexdigest()
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
