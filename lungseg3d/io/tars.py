"""A tar archive -> a folder, whole or not there, without trust.

In: the path of a .tar or .tar.gz, and the folder it must hold. Out: that folder. Links, devices, names that lead out
and bombs are refused. Knows no dataset.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from lungseg3d.core import OutputError
from lungseg3d.io.limits import MAX_FILES
from lungseg3d.io.reading import refuse, shown

_DAMAGE = (tarfile.ReadError, tarfile.HeaderError, EOFError, zlib.error)
_REMEDY = "Download the archive again from its publisher."


def unpack_tar(
    archive: Path, folder: str, into: Path, most_bytes: int, on_bytes: Callable[[int, int], None] | None = None
) -> Path:
    """Unpack the top folder `folder` of an archive to `into / folder`, which must not exist; other members are left.

    Args:
        archive: .tar, plain or compressed.
        folder: top folder that is wanted.
        into: existing folder.
        most_bytes: that the members may claim together.
        on_bytes: called with (bytes unpacked, 0).

    Returns:
        `into / folder`.

    Raises:
        IntakeError: E_CORRUPT, E_UNSAFE_ARCHIVE, E_RESOURCE_LIMIT.
        OutputError: E_OUTPUT_EXISTS, E_WRITE.
    """
    target = into / folder
    if target.exists():
        raise OutputError("E_OUTPUT_EXISTS", f"{target}: is there already.", "Remove it, or use it as it is.")
    try:
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=into) as temporary:
            _unpack(archive, folder, Path(temporary), most_bytes, on_bytes)
            if not (Path(temporary) / folder).is_dir():
                refuse("E_CORRUPT", f"{shown(archive)}: holds no folder {folder}.", _REMEDY)
            os.replace(Path(temporary) / folder, target)
    except _DAMAGE as error:
        refuse("E_CORRUPT", f"{shown(archive)}: cannot be unpacked ({error}).", _REMEDY)
    except OSError as error:
        raise OutputError("E_WRITE", f"{target}: cannot be written ({error.strerror}).", "Free some space.") from error
    return target


def _unpack(
    archive: Path, folder: str, into: Path, most_bytes: int, on_bytes: Callable[[int, int], None] | None
) -> None:
    size = count = 0
    with tarfile.open(archive, "r:*") as file:
        for member in file:
            # AppleDouble files, which macOS leaves in archives, look like images by their endings.
            parts = Path(member.name).parts
            if member.isdir() or Path(member.name).name.startswith("._") or parts[:1] != (folder,):
                _check(archive, member)
                continue
            _check(archive, member)
            size, count = size + member.size, count + 1
            if size > most_bytes or count > MAX_FILES:
                text = f"{shown(archive)}: unpacks to more than {most_bytes / 2**30:.1f} GiB or {MAX_FILES} files."
                refuse("E_RESOURCE_LIMIT", text, _REMEDY)
            file.extract(member, into, filter="data")
            if on_bytes:
                on_bytes(size, 0)


def _check(archive: Path, member: tarfile.TarInfo) -> None:
    path = Path(member.name)
    if not (member.isfile() or member.isdir()) or path.is_absolute() or ".." in path.parts:
        text = f"{shown(archive)}: the member {shown(member.name)} is a link or a device, or its name leads out."
        refuse("E_UNSAFE_ARCHIVE", text, _REMEDY)
