"""Case folders that one process finishes and another places, and one batch at a time in a folder.

In: a finished folder and the name that it gets. Out: the folder there, synced; whatever lay there before is whole until
then. A kill at any moment leaves the old one or the new one, or both in the work folder until `recover`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lungseg3d.core import OutputError
from lungseg3d.io.storage.files import output_error, sync, take_lock
from lungseg3d.io.storage.folders import remove_unfinished

_REPLACED = "replaced-"


class FolderLock:
    """Keeps a second process out of a folder for as long as this one lives, however it ends.

    Args:
        path: of the lock file; it stays when the lock is given back.

    Attributes:
        is_held: False where the file system gives no locks, so that a second process is not kept out.

    Raises:
        OutputError: E_LOCKED when another process holds it, E_WRITE, E_NO_SPACE.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise output_error(path, error) from error
        taken = take_lock(self._handle)
        if taken is False:
            holder = os.pread(self._handle, 32, 0).decode(errors="replace").strip()
            os.close(self._handle)
            text = f"{path.parent}: another process{f' ({holder})' if holder else ''} works in this folder."
            raise OutputError("E_LOCKED", text, "Wait until it has ended, or give another folder.")
        self.is_held = taken is True
        os.truncate(self._handle, 0)
        os.pwrite(self._handle, f"process {os.getpid()}\n".encode(), 0)

    def fileno(self) -> int:
        """File descriptor, for a child process that is to hold the folder as long as it lives."""
        return self._handle

    def release(self) -> None:
        """Let another process in."""
        os.close(self._handle)


def place_folder(finished: Path, path: Path, work: Path) -> None:
    """Give a finished folder its final name; a folder of that name is replaced.

    Args:
        finished: whose files are synced already.
        path: its final name.
        work: folder on the same file system for what is being replaced; see `recover`.

    Raises:
        OutputError: E_WRITE, E_NO_SPACE; then what lay under `path` lies there still.
    """
    replaced = work / f"{_REPLACED}{path.name}"
    try:
        if path.exists():
            os.rename(path, replaced)
            try:
                os.rename(finished, path)
            except OSError:
                os.rename(replaced, path)
                raise
        else:
            os.rename(finished, path)
        sync(path.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        raise output_error(path, error) from error


def recover(work: Path, results: Path) -> None:
    """Bring folders that a kill left behind in order: nothing half-made stays, nothing replaced is lost.

    Args:
        work: where cases are made.
        results: where they go, and what tells of them all.

    Raises:
        OutputError: E_WRITE, E_NO_SPACE.
    """
    remove_unfinished(results)
    try:
        for left in sorted(work.iterdir()) if work.is_dir() else []:
            final = results / left.name.removeprefix(_REPLACED)
            if left.name.startswith(_REPLACED) and not final.exists():
                os.rename(left, final)
            else:
                remove_folder(left)
    except OSError as error:
        raise output_error(work, error) from error


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it, or a file; nothing where there is none.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def set_aside(path: Path, into: Path) -> Path:
    """Move a folder or file away that nobody can make again; returns where it lies now.

    Raises:
        OutputError: E_WRITE, E_NO_SPACE.
    """
    try:
        into.mkdir(exist_ok=True)
        target, number = into / path.name, 2
        while os.path.lexists(target):
            target, number = into / f"{path.name}-{number}", number + 1
        os.rename(path, target)
    except OSError as error:
        raise output_error(path, error) from error
    return target
