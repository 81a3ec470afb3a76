"""A zip archive, read without unpacking and without trust.

In: the path of a zip. Out: its members' names and bytes, or a refusal. What it unpacks to is bounded before anything is
unpacked; links, encryption, names that lead out and endless packing methods are refused. Knows no DICOM.
"""

from __future__ import annotations

import contextlib
import itertools
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lungseg3d.io.intake.limits import MAX_BYTES, MAX_FILES
from lungseg3d.io.intake.reading import refuse, shown

ZIP_MAGIC = b"PK\x03\x04"
_RATIO, _FREE_BYTES = 100, 64 * 2**20
# The others inflate a whole block however few bytes are asked for, so their output cannot be bounded.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, EOFError, OSError, ValueError)
_REMEDY = "Unpack it yourself if you trust where it comes from, and give the folder."


@dataclass(frozen=True, eq=False)
class ZipArchive:
    """An open zip whose members were checked."""

    path: Path
    file: zipfile.ZipFile

    def read(self, member: str, most: int | None = None) -> bytes:
        """The first `most` bytes of a member, or all; never more than the archive's directory says.

        Raises:
            IntakeError: E_CORRUPT when the member cannot be unpacked.
        """
        with _refusing_damage(self.path, member), self.file.open(member) as packed:
            return packed.read(self.size(member) + 1 if most is None else most)

    def size(self, member: str) -> int:
        """Bytes of a member when unpacked."""
        return self.file.getinfo(member).file_size


def open_archive(path: Path) -> tuple[ZipArchive, tuple[str, ...]]:
    """(archive, names of its files in order).

    Raises:
        IntakeError: E_CORRUPT, E_RESOURCE_LIMIT for a bomb, E_UNSAFE_ARCHIVE.
    """
    with _refusing_damage(path):
        file = zipfile.ZipFile(path)
    members = sorted(
        (info for info in file.infolist() if not info.filename.endswith("/")), key=lambda info: info.filename
    )
    size = sum(info.file_size for info in members)
    packed = path.stat().st_size
    if len(members) > MAX_FILES or size > MAX_BYTES or (size > _FREE_BYTES and size > _RATIO * packed):
        refuse(
            "E_RESOURCE_LIMIT",
            f"{shown(path)}: {packed} bytes unpack to {size} bytes in {len(members)} files.",
            "Check where the archive comes from; unpack it yourself if it is real, and give the folder.",
        )
    for info in members:
        _check_member(path, info)
    names = tuple(info.filename for info in members)
    if twice := next((one for one, two in itertools.pairwise(names) if one == two), None):
        refuse("E_UNSAFE_ARCHIVE", f"{shown(path)}: two members have the name {shown(twice)}.", _REMEDY)
    return ZipArchive(path, file), names


def _check_member(path: Path, info: zipfile.ZipInfo) -> None:
    name = PurePosixPath(info.filename.replace("\\", "/"))
    if not info.filename or name.is_absolute() or ".." in name.parts or stat.S_ISLNK(info.external_attr >> 16):
        found = f"the member '{info.filename and shown(info.filename)}' is a link, or its name leads out"
        remedy = "Do not unpack this archive; ask for another."
        refuse("E_UNSAFE_ARCHIVE", f"{shown(path)}: {found} of the archive.", remedy)
    if info.flag_bits & 1:
        refuse("E_UNSAFE_ARCHIVE", f"{shown(path)}: the archive is encrypted.", "Unpack it and give the folder.")
    if info.compress_type not in _METHODS:
        found = f"the member {shown(info.filename)} is packed by method {info.compress_type}"
        refuse("E_UNSAFE_ARCHIVE", f"{shown(path)}: {found}; expected none or deflate.", _REMEDY)


@contextlib.contextmanager
def _refusing_damage(path: Path, member: str = "") -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        name = f"{shown(path)}: {shown(member)}" if member else shown(path)
        refuse("E_CORRUPT", f"{name} cannot be unpacked ({error}).", "Copy or make the archive again.")
