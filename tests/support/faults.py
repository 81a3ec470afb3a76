"""A disk that fails: the n-th opening, writing, syncing or renaming of the one writer goes wrong.

In: which call, and how. Out: the same program, whose n-th such call raises. That nothing else writes is kept by
tests/test_floors.py.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from lungseg3d.io.storage import files

KINDS = ("open", "write", "fsync", "rename")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)


@dataclass
class Fault:
    """The n-th call of a kind, from 0, and whether there were so many."""

    kind: str
    nth: int
    error: int
    calls: int = 0

    @property
    def happened(self) -> bool:
        """Whether the call was made, and failed."""
        return self.calls > self.nth

    def wrap(self, call):
        """The call, of which the n-th raises."""

        def failing(*given, **named):
            self.calls += 1
            if self.calls == self.nth + 1:
                raise OSError(self.error, os.strerror(self.error))
            return call(*given, **named)

        return failing


@contextlib.contextmanager
def failing(fault: Fault) -> Iterator[Fault]:
    """While it lasts, the disk fails as the fault says."""
    with contextlib.ExitStack() as stack:
        if fault.kind == "write":
            whole = files._WatchedFile.write

            def write(self, data):
                try:
                    return fault.wrap(whole)(self, data)
                except OSError as error:
                    self.failure = error
                    raise

            stack.enter_context(mock.patch.object(files._WatchedFile, "write", write))
        else:
            names = {
                "open": (tempfile, "mkstemp", "mkdtemp"),
                "fsync": (os, "fsync"),
                "rename": (os, "replace", "rename"),
            }
            module, *calls = names[fault.kind]
            for name in calls:
                stack.enter_context(mock.patch.object(module, name, fault.wrap(getattr(module, name))))
        yield fault


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its bytes; empty folders, too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }
