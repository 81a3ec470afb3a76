"""Files of a bundle, read once: what is checked, hashed and used is one and the same set of bytes.

In: a path. Out: the bundle's absolute folder; the bytes of a regular file. Evaluates nothing. Between two readings of
one path, whoever may write there can put another file under it; so nothing here is read a second time.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def bundle_folder(path: Path | str) -> Path:
    """The absolute path of a bundle's folder, `~` and `~user` replaced by the home folder; links stay as they are.

    Every check and every use starts from this path, so a relative one cannot mean two places.
    """
    return Path(os.path.expanduser(path)).absolute()


def read_once(path: Path | str, most_bytes: int) -> bytes:
    """The bytes of a regular file, by one opening.

    Args:
        path: the file; a link is followed.
        most_bytes: size that it may have.

    Raises:
        OSError: it cannot be read; ENOENT when it is absent, EINVAL for a folder, a pipe or a device, EFBIG when it
            is larger.
    """
    # A pipe would wait for its other end; without blocking it opens at once, and is then seen to be none.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        if found.st_size > most_bytes:
            raise OSError(errno.EFBIG, f"it is larger than {most_bytes / 2**20:g} MiB")
        return file.read(found.st_size)
