"""The one way a file gets onto the disk: complete under its name, or not at all.

In: a path and what to write. Out: the file, synced and renamed. Knows no format.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lungseg3d.core import OutputError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


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
    try:
        handle, name = tempfile.mkstemp(prefix=".writing-", suffix="-" + path.name[-80:], dir=path.parent)
        temporary = Path(name)
        os.close(handle)
        yield temporary
        _sync(temporary)
        # mkstemp makes private files; a result is as readable as any file its user creates.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
        temporary = None
        _sync(path.parent)
    except OSError as error:
        raise _output_error(path, error) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


@contextlib.contextmanager
def writing(path: Path | str) -> Iterator[BinaryIO]:
    """An open binary file that becomes `path` when the block ends well: `with writing(p) as file: file.write(...)`.

    Raises:
        OutputError: E_NO_SPACE, E_WRITE; see `placing`.
    """
    with placing(path) as temporary, open(temporary, "wb") as file:
        yield file


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text, whole or not at all; line ends stay as they are.

    Raises:
        OutputError: E_NO_SPACE, E_WRITE.
    """
    with writing(path) as file:
        file.write(text.encode("utf-8"))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _output_error(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    if error.errno in _NO_SPACE:
        return OutputError("E_NO_SPACE", f"{path}: {reason}.", "Free some space, or write to another disk.")
    return OutputError("E_WRITE", f"{path}: cannot be written ({reason}).", "Check the folder and its permissions.")
