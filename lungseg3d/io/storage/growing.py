"""Files that are not written at once: journals and logs that grow, downloads that go on, scratch files without a name.

In: a path. Out: an open file. Each is an exception from "whole or not there", with its reason; all others are written
by `io.files`.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lungseg3d.io.storage.files import output_error, sync


def open_to_append(path: Path | str) -> io.FileIO:
    """A file for lines that are added one by one: a journal, a log, a lock.

    Unbuffered: a line is one write, so a kill leaves whole lines and at most one torn one, which its reader must know
    to leave out.

    Raises:
        OSError: it cannot be opened.
    """
    return open(path, "a+b", buffering=0)


@contextlib.contextmanager
def growing(path: Path | str, start: int) -> Iterator[BinaryIO]:
    """A file that keeps its first `start` bytes and goes on from there, synced in the end: a download's `.part`.

    It keeps what came before an error, so that the next try need not load it again. It never has a final name.

    Raises:
        OSError: it cannot be opened, cut or synced.
    """
    with open(path, "r+b" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        yield file
        file.flush()
        os.fsync(file.fileno())


def name_finished(part: Path, target: Path) -> None:
    """Give a file that has grown to its end its final name.

    Raises:
        OutputError: E_NO_SPACE, E_WRITE.
    """
    try:
        os.replace(part, target)
        sync(target.parent)
    except OSError as error:
        raise output_error(target, error) from error


@contextlib.contextmanager
def scratch_file(folder: Path, size: int) -> Iterator[BinaryIO]:
    """A file of `size` bytes without a name, which the system drops when nobody uses it any more: for memory maps.

    Its space is reserved: a map of a file that outgrows the disk kills the process (SIGBUS).

    Raises:
        OSError: no space, or no folder.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        yield file
