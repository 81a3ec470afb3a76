"""Folders that appear whole: made, filled and swapped in, or left as they were.

In: a path, and a block that fills a folder. Out: the folder with all of it, or as it was before. Knows no format.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from lungseg3d.core import OutputError
from lungseg3d.io.storage.files import UNFINISHED, lock, make_readable, output_error, sync, temporary_suffix

_BEFORE = ".before"


def make_folder(path: Path | str) -> Path:
    """The folder, made with its parents where it is missing.

    Raises:
        OutputError: E_NO_SPACE, E_WRITE.
    """
    path = Path(path)
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            sync(folder.parent)
    except OSError as error:
        raise output_error(path, error) from error
    return path


def check_writable(folder: Path | str) -> Path:
    """Make the folder where it is missing, and see that a file can be made in it: before the work, not after.

    Raises:
        OutputError: E_NO_SPACE, E_WRITE.
    """
    folder = make_folder(folder)
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise output_error(folder, error) from error
    return folder


def remove_unfinished(folder: Path | str) -> None:
    """Remove what a killed process left half-written in `folder`, and put back what it had begun to replace.

    What a living process writes there stays.
    """
    for path in Path(folder).glob(UNFINISHED + "*"):
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                if lock(handle):
                    _remove(path)
            finally:
                os.close(handle)


def _remove(path: Path) -> None:
    if not path.is_dir():
        path.unlink()
        return
    before = path / _BEFORE
    # With new files left that were not moved in, the old ones are the folder's content; else they have been replaced.
    if before.is_dir() and len(os.listdir(path)) > 1:
        for old in before.iterdir():
            os.replace(old, path.parent / old.name)
    shutil.rmtree(path)


def link_to(target: Path, link: Path) -> None:
    """A link to a folder, where there is nothing yet.

    Raises:
        OutputError: E_NO_SPACE, E_WRITE.
    """
    try:
        if not os.path.lexists(link):
            link.symlink_to(target, target_is_directory=True)
            sync(link.parent)
    except OSError as error:
        raise output_error(link, error) from error


@contextlib.contextmanager
def placing_folder(path: Path | str, *, replace: bool = False) -> Iterator[Path]:
    """An empty folder beside `path` that becomes `path` when the block ends well; else it goes away.

    Args:
        path: the folder to be.
        replace: put it in the place of a folder that is there, which is removed afterwards.

    Raises:
        OutputError: E_OUTPUT_EXISTS without `replace`; E_NO_SPACE, E_WRITE.
    """
    path = Path(path)
    if os.path.lexists(path) and not replace:
        raise OutputError("E_OUTPUT_EXISTS", f"{path}: is there already.", "Remove it, or use it as it is.")
    with _stage(path.parent, path) as stage:
        yield stage
        try:
            for folder, _, _ in os.walk(stage):
                sync(Path(folder))
            make_readable(stage, 0o777)
            if os.path.lexists(path):
                _swap(path, stage)
            else:
                os.rename(stage, path)
                sync(path.parent)
        except OSError as error:
            raise output_error(path, error) from error


@contextlib.contextmanager
def placing_together(folder: Path | str, last: str, stale: Collection[str] = ()) -> Iterator[Path]:
    """An empty folder whose files all go into `folder` when the block ends well, or none of them.

    Other files of `folder` stay. The old `last` goes first and the new one comes last, so a folder that holds it is
    complete at every moment, also after a kill. What cannot be placed is taken back.

    Args:
        folder: made when it is missing, and removed again when nothing came into it.
        last: name of the file that says that all is there.
        stale: names of old files that go, whether there are new ones or not.

    Raises:
        OutputError: E_NO_SPACE, E_WRITE.
    """
    folder = Path(folder)
    is_new = not folder.exists()
    make_folder(folder)
    try:
        remove_unfinished(folder)
        with _stage(folder, folder) as stage:
            yield stage
            try:
                names = sorted((path.name for path in stage.iterdir()), key=lambda name: (name == last, name))
                _move_in(stage, folder, names, [last, *stale, *names])
            except OSError as error:
                raise output_error(folder, error) from error
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


@contextlib.contextmanager
def _stage(parent: Path, path: Path) -> Iterator[Path]:
    """A folder of its own in `parent`, locked while this process lives, gone in the end unless it holds what was."""
    try:
        stage = Path(tempfile.mkdtemp(prefix=UNFINISHED, suffix=temporary_suffix(path), dir=parent))
        handle = os.open(stage, os.O_RDONLY)
    except OSError as error:
        raise output_error(path, error) from error
    try:
        lock(handle, wait=True)
        yield stage
    finally:
        os.close(handle)
        if not (stage / _BEFORE).is_dir():
            shutil.rmtree(stage, ignore_errors=True)


def _move_in(stage: Path, folder: Path, names: list[str], old: list[str]) -> None:
    """Old files out of the way, new ones in; on an error all back."""
    before = stage / _BEFORE
    before.mkdir()
    moved: list[tuple[Path, Path]] = []

    def move(source: Path, target: Path) -> None:
        os.replace(source, target)
        moved.append((source, target))

    try:
        for name in dict.fromkeys(old):
            if os.path.lexists(folder / name):
                move(folder / name, before / name)
        for name in names:
            move(stage / name, folder / name)
        sync(folder)
    except OSError:
        for source, target in reversed(moved):
            os.replace(target, source)  # where this fails, too, `remove_unfinished` does it another time
        before.rmdir()
        raise
    shutil.rmtree(before, ignore_errors=True)


def _swap(path: Path, stage: Path) -> None:
    """`stage` under the name `path`, and what was there removed; back where the second step fails."""
    aside = Path(tempfile.mkdtemp(prefix=UNFINISHED, suffix=temporary_suffix(path), dir=path.parent))
    try:
        os.rename(path, aside)
    except OSError:
        aside.rmdir()
        raise
    try:
        os.rename(stage, path)
        sync(path.parent)
    except OSError:
        if not stage.exists():
            os.rename(path, stage)
        os.rename(aside, path)
        raise
    shutil.rmtree(aside, ignore_errors=True)
