"""The first step of a process that trains: it holds its folder, and what is refused ends it with a code.

In: the folder of a training. Out: a lock that lasts as long as the process; no traceback for errors that have a code.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import ignite.distributed as idist

from lungseg3d.core import LungSegError
from lungseg3d.engines.training.ending import LOCK_HANDLE, STOPPED_EXIT, end_refused
from lungseg3d.io import FolderLock, make_folder

LOCK_NAME = ".lock"

_held: dict[Path, FolderLock] = {}


def begin_training(output_dir: Path | str) -> None:
    """Hold the folder of a training against another one; `initialize` of a bundle's `train.json` calls it first.

    From here on an error with a code that nobody catches ends the process with its message and exit code 3, as it does
    inside a trainer (`ExitCodes`); MONAI would show a traceback of its own wrappers.

    Args:
        output_dir: the folder, made when it is missing. Only the first of several processes holds it.

    Raises:
        OutputError: E_LOCKED when another training holds it; E_WRITE, E_NO_SPACE.
    """
    if not isinstance(sys.excepthook, functools.partial):
        sys.excepthook = functools.partial(_end_with_code, sys.excepthook)
    folder = Path(output_dir).absolute()
    if idist.get_rank() > 0 or folder in _held or _is_inherited(folder):
        return
    _held[folder] = FolderLock(make_folder(folder) / LOCK_NAME)


def _is_inherited(folder: Path) -> bool:
    """Whether the parent process holds the folder; then its lock names this process from now on."""
    text = os.environ.get(LOCK_HANDLE, "")
    try:
        handle = int(text)
        if not os.path.samestat(os.fstat(handle), os.stat(folder / LOCK_NAME)):
            return False
        os.truncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()}\n".encode(), 0)
    except (ValueError, OSError):
        return False
    return True


def _end_with_code(before: Any, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Excepthook: of an error with a code, only that; SystemExit raised in a hook sets the exit code."""
    if isinstance(error, KeyboardInterrupt):
        raise SystemExit(STOPPED_EXIT)
    if (refusal := _refusal_in(error)) is not None:
        end_refused(refusal)
    before(kind, error, trace)


def _refusal_in(error: BaseException | None) -> LungSegError | None:
    """The error with a code that this one was raised from; MONAI wraps what its components raise."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, LungSegError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None
