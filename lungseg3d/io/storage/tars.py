"""A tar archive -> a folder, whole or not there, without trust.

In: the path of a .tar, plain or packed by gzip, bzip2 or xz, and the folder it must hold. Out: that folder. Links,
devices, names that lead out, two members of one name and bombs are refused. Knows no dataset.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from lungseg3d.core.progress import OnBytes
from lungseg3d.io.intake.limits import MAX_FILES
from lungseg3d.io.intake.reading import refuse, shown
from lungseg3d.io.storage.files import writing
from lungseg3d.io.storage.folders import make_folder, placing_folder

_DAMAGE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, OverflowError, ValueError)
_REMEDY = "Download the archive again from its publisher."
_CHUNK = 2**20
_MOST_HEADER_BYTES = 4 * 2**20
_UNPACKERS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda packed: gzip.GzipFile(fileobj=packed, mode="rb"),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}


def unpack_tar(archive: Path, folder: str, into: Path, most_bytes: int, on_bytes: OnBytes | None = None) -> Path:
    """Unpack the top folder `folder` of an archive to `into / folder`, which must not exist; other members are left.

    Args:
        archive: .tar, plain or compressed.
        folder: top folder that is wanted.
        into: existing folder.
        most_bytes: that the members may be together, headers and padding aside.
        on_bytes: called with (bytes unpacked, 0).

    Returns:
        `into / folder`.

    Raises:
        IntakeError: E_NOT_FOUND, E_CORRUPT, E_UNSAFE_ARCHIVE, E_RESOURCE_LIMIT.
        OutputError: E_OUTPUT_EXISTS, E_NO_SPACE, E_WRITE.
    """
    if not archive.is_file():
        refuse("E_NOT_FOUND", f"{shown(archive)}: is no file.", "Check the path.")
    with open(archive, "rb") as packed, placing_folder(into / folder) as stage:
        try:
            size = 0
            for parts, chunks in _members(packed, archive, folder, most_bytes):
                target = stage.joinpath(*parts[1:])
                make_folder(target.parent)
                with writing(target) as file:
                    for chunk in chunks:
                        file.write(chunk)
                        size += len(chunk)
                if on_bytes:
                    on_bytes(size, 0)
        except _DAMAGE as error:
            refuse("E_CORRUPT", f"{shown(archive)}: cannot be unpacked ({error}).", _REMEDY)
        if not any(stage.iterdir()):
            refuse("E_CORRUPT", f"{shown(archive)}: holds no folder {folder}.", _REMEDY)
    return into / folder


def _members(
    packed: IO[bytes], archive: Path, folder: str, most_bytes: int
) -> Iterator[tuple[tuple[str, ...], Iterator[bytes]]]:
    """(parts of the name, content in pieces) of each file below `folder`; every member is checked."""
    size = count = 0
    seen: set[tuple[str, ...]] = set()
    stream = _Bounded(_unpacked(packed), archive, most_bytes)
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as file:
        for member in file:
            count += 1
            parts = _checked_parts(archive, member)
            # AppleDouble files, which macOS leaves in archives, look like images by their endings.
            if member.isdir() or parts[-1].startswith("._") or parts[0] != folder:
                continue
            size += member.size
            if size > most_bytes or count > MAX_FILES:
                _refuse_size(archive, most_bytes)
            if parts in seen or len(parts) < 2:
                text = f"{shown(archive)}: two members have the name {shown(member.name)}."
                refuse("E_UNSAFE_ARCHIVE", text, _REMEDY)
            seen.add(parts)
            yield parts, _content(file, member)
    stream.finish()


def _content(file: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    stream = file.extractfile(member)
    left = member.size
    while left and stream is not None:
        chunk = stream.read(min(_CHUNK, left))
        if not chunk:
            raise EOFError("the archive ends too early")
        left -= len(chunk)
        yield chunk


def _unpacked(packed: IO[bytes]) -> IO[bytes]:
    magic = packed.read(6)
    packed.seek(0)
    unpacker = next((unpacker for start, unpacker in _UNPACKERS.items() if magic.startswith(start)), None)
    return unpacker(packed) if unpacker else packed


def _checked_parts(archive: Path, member: tarfile.TarInfo) -> tuple[str, ...]:
    path = Path(member.name)
    backslash = "\\" in member.name
    if (
        not (member.isfile() or member.isdir())
        or path.is_absolute()
        or ".." in path.parts
        or backslash
        or not path.parts
    ):
        text = f"{shown(archive)}: the member {shown(member.name)} is a link or a device, or its name leads out."
        refuse("E_UNSAFE_ARCHIVE", text, _REMEDY)
    return path.parts


def _refuse_size(archive: Path, most_bytes: int) -> None:
    text = f"{shown(archive)}: unpacks to more than {most_bytes / 2**30:.1f} GiB or {MAX_FILES} files."
    refuse("E_RESOURCE_LIMIT", text, _REMEDY)


class _Bounded:
    """What tarfile reads from: no header of gigabytes is taken into memory, no skip goes on for ever."""

    def __init__(self, stream: IO[bytes], archive: Path, most_bytes: int) -> None:
        self._stream, self._archive, self._most_bytes = stream, archive, most_bytes
        self.tell = stream.tell
        self._last = b""

    def read(self, size: int = -1) -> bytes:
        """As a file's; never all that is left."""
        if not 0 <= size <= _MOST_HEADER_BYTES:
            _refuse_size(self._archive, self._most_bytes)
        self._last = self._stream.read(size)
        return self._last

    def finish(self) -> None:
        """See that the archive has its end, which tarfile does not ask for, and the packing its checksum.

        Raises:
            EOFError: it was cut.
        """
        if self._last != bytes(tarfile.BLOCKSIZE):
            raise EOFError("the archive ends too early")
        while self._stream.read(_CHUNK):
            if self._stream.tell() > self._most_bytes + 2048 * MAX_FILES:
                _refuse_size(self._archive, self._most_bytes)

    def seek(self, place: int, whence: int = 0) -> int:
        """As a file's; not beyond what all members may be, with headers and padding."""
        if whence != 0 or place > self._most_bytes + 2048 * MAX_FILES:
            _refuse_size(self._archive, self._most_bytes)
        return self._stream.seek(place)
