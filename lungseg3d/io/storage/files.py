"""The one way a file gets onto the disk: complete under its name, or not at all.

In: a path and what to write. Out: the file, checked, synced and renamed. Knows no format. Folders: `io.folders`; files
that grow, and scratch files: `io.growing`. Nothing else writes; tests/test_floors.py keeps it so.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lungseg3d.core import OutputError

try:
    import fcntl
except ImportError:  # Windows: what a killed process left is not told from what a living one writes
    fcntl = None  # type: ignore[assignment]

UNFINISHED = ".writing-"
"""How the names of files and folders begin that are being written; after a kill they may stay: `remove_unfinished`."""
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_HELD = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES}
_BUFFER_BYTES = 2**20


@contextlib.contextmanager
def placing(path: Path | str) -> Iterator[Path]:
    """A temporary path in the same folder, with the same endings, that becomes `path` when the block ends well.

    The data are synced before the rename and the folder after it; on any error the temporary file goes away and what
    lay under `path` stays. A link under `path` is replaced, never written through.

    Raises:
        OutputError: E_NO_SPACE when the disk is full, E_WRITE for every other failure of the system.
    """
    path = Path(path)
    temporary: Path | None = None
    handle: int | None = None
    try:
        handle, temporary = _new_file(path)
        yield temporary
        sync(temporary)
        make_readable(temporary, 0o666)
        os.replace(temporary, path)
        temporary = None
        sync(path.parent)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        if handle is not None:
            os.close(handle)


@contextlib.contextmanager
def writing(path: Path | str) -> Iterator[BinaryIO]:
    """An open binary file that becomes `path` when the block ends well.

    A failure of the disk is reported as that, whatever a library in between makes of it, and a file that is shorter
    than what was written to it is an error.

    Raises:
        OutputError: E_NO_SPACE, E_WRITE; see `placing`.
    """
    with placing(path) as temporary:
        raw = _WatchedFile(temporary, "wb")
        try:
            with io.BufferedWriter(raw, _BUFFER_BYTES) as file:
                yield file
        except Exception as error:
            if raw.failure is not None:
                raise raw.failure from error
            raise
        if os.stat(temporary).st_size != raw.end:
            raise OSError(errno.EIO, "not all that was written is there")


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text, whole or not at all; line ends stay as they are.

    Raises:
        OutputError: E_NO_SPACE, E_WRITE.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path | str, data: bytes | memoryview) -> None:
    """Write bytes, whole or not at all.

    Raises:
        OutputError: E_NO_SPACE, E_WRITE.
    """
    with writing(path) as file:
        file.write(data)


def copy_file(source: Path | str, target: Path | str) -> None:
    """Copy the bytes of a file, whole or not at all.

    Raises:
        OutputError: E_NO_SPACE, E_WRITE; also where `source` cannot be read.
    """
    with writing(target) as file, open(source, "rb") as stream:
        shutil.copyfileobj(stream, file, _BUFFER_BYTES)


def sync(path: Path) -> None:
    """Have the disk keep a file's data, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def temporary_suffix(path: Path) -> str:
    """The end of a name for a temporary one, with what tells the format; 80 bytes at most."""
    return "-" + os.fsencode(path.name)[-80:].decode("utf-8", errors="ignore")


def make_readable(path: Path, mode: int) -> None:
    """Temporary files and folders are private; a result is as readable as any that its user creates."""
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(path, mode & ~mask)


def lock(handle: int, *, wait: bool = False) -> bool:
    """Mark an open file or folder as being written by a living process; False when that cannot be done.

    Args:
        handle: of the open file or folder.
        wait: until another process has let go; else False is returned at once.
    """
    return take_lock(handle, wait=wait) is True


def take_lock(handle: int, *, wait: bool = False) -> bool | None:
    """As `lock`, and tells the two reasons apart.

    Returns:
        True when the lock is held; False when another process holds it; None when this system or file system gives no
        locks, so that nobody can tell: NFS without its lock service (ENOLCK), FUSE and some Lustre (ENOSYS,
        EOPNOTSUPP), NFS 4 (EBADF).
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _HELD else None
    return True


def output_error(path: Path, error: OSError) -> OutputError:
    """What people are told about a failure of the system."""
    reason = error.strerror or str(error)
    if error.errno in _NO_SPACE:
        return OutputError("E_NO_SPACE", f"{path}: {reason}.", "Free some space, or write to another disk.")
    return OutputError("E_WRITE", f"{path}: cannot be written ({reason}).", "Check the folder and its permissions.")


def _new_file(path: Path) -> tuple[int, Path]:
    """A locked temporary file beside `path`, made again where `remove_unfinished` took it before it was locked."""
    while True:
        handle, name = tempfile.mkstemp(prefix=UNFINISHED, suffix=temporary_suffix(path), dir=path.parent)
        lock(handle, wait=True)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)


class _WatchedFile(io.FileIO):
    """A file that remembers why a write failed, and how long it must be in the end.

    PyTorch and others tell of a failed write as RuntimeError; ITK and NumPy's C code have been seen to tell nothing.
    """

    failure: OSError | None = None
    end = 0

    def write(self, data: Any) -> int:
        """As `io.FileIO.write`."""
        try:
            written = super().write(data)
        except OSError as error:
            self.failure = error
            raise
        self.end = max(self.end, self.tell())
        return written
