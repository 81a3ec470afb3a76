"""A folder, a file or a zip -> every DICOM file in it, with the rest sorted into ignored and unreadable.

In: a path. Out: `Scan`. Follows links as `io.intake.links` says, and no reference of a DICOMDIR. Knows nothing of
series.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pydicom

from lungseg3d.core import IntakeError
from lungseg3d.io.dicom.directory import check_references
from lungseg3d.io.dicom_headers.headers import DICOMDIR, read_header
from lungseg3d.io.dicom_headers.records import ByteSource, DicomFile
from lungseg3d.io.intake.archives import ZIP_MAGIC, open_archive
from lungseg3d.io.intake.limits import MAX_FILES
from lungseg3d.io.intake.links import LeftLink, LinkRule, is_pointer_file, links_error, placeholder_error, walk_folders
from lungseg3d.io.intake.reading import refuse, shown

_DICOM_SUFFIXES = {".dcm", ".dicom", ".ima"}
_JUNK_NAMES = {"thumbs.db", "desktop.ini", "dicomdir", "dirfile", "lockfile", "version"}


@dataclass(frozen=True)
class Scan:
    """What lies under a path.

    Attributes:
        root: the path itself.
        files: parsed DICOM files, by name.
        unreadable: files that are or should be DICOM but cannot be parsed, with the refusal.
        ignored: number of files that are not DICOM.
        left: links to what may be slices that were not followed.
    """

    root: Path
    files: tuple[DicomFile, ...]
    unreadable: tuple[tuple[Path, IntakeError], ...]
    ignored: int
    left: tuple[LeftLink, ...] = ()

    def of_study(self, uid: str) -> Scan:
        """One study alone. Unreadable files stay: nobody knows whose they are."""
        return replace(self, files=tuple(file for file in self.files if file.study_uid == uid))


def scan_dicom(root: Path, rule: LinkRule | None = None) -> Scan:
    """Parse the headers of every DICOM file under `root`, recursively.

    Args:
        root: a folder, a file or a zip.
        rule: which links are followed; None follows those that stay inside of `root`.

    Raises:
        IntakeError: E_RESOURCE_LIMIT for bombs and endless folders, E_UNSAFE_ARCHIVE for a zip
            or a DICOMDIR with links or `..`.
    """
    files: list[DicomFile] = []
    unreadable: list[tuple[Path, IntakeError]] = []
    empty: list[Path] = []
    left: list[LeftLink] = []
    ignored = 0
    with pydicom.config.disable_value_validation():
        for count, place in enumerate(_places(root, rule or LinkRule(root), left)):
            if count >= MAX_FILES:
                refuse("E_RESOURCE_LIMIT", f"{shown(root)}: more than {MAX_FILES} files.", "Give a smaller folder.")
            kind = _kind(place)
            if kind == "empty":
                empty.append(place.name)
            elif kind == "placeholder":
                unreadable.append((place.name, placeholder_error(place.name, root)))
            elif kind == "junk":
                ignored += 1
                if place.name.name.lower() == "dicomdir":
                    check_references(place, root)
            else:
                try:
                    files.append(read_header(place))
                    if files[-1].sop_class == DICOMDIR:
                        check_references(place, root)
                except IntakeError as error:
                    if error.code in ("E_RESOURCE_LIMIT", "E_UNSAFE_ARCHIVE"):
                        raise
                    unreadable.append((place.name, error))
    # An empty file counts as a lost slice only where slices carry the same ending.
    endings = {_ending(file.path) for file in files}
    for path in empty:
        if _ending(path) in endings or _is_dicom_name(path):
            unreadable.append((path, _lost(path, root)))
        else:
            ignored += 1
    left = [link for link in left if _may_be_slice(link, endings)]
    broken = [link for link in left if link.why == "broken"]
    lost = (link for link in broken if not endings or _ending(link.path) in endings or _is_dicom_name(link.path))
    unreadable += [(link.path, links_error(broken, root)) for link in lost]
    return Scan(root, tuple(files), tuple(unreadable), ignored, tuple(left))


def _may_be_slice(link: LeftLink, endings: set[tuple[Path, str]]) -> bool:
    """Whether a link may lead to slices, by its name and by what lies beside it."""
    name = link.path.name.lower()
    if name.startswith(".") or name in _JUNK_NAMES:
        return False
    is_beside_slices = any(folder == link.path.parent for folder, _ in endings) and not link.is_folder
    return not is_beside_slices or _ending(link.path) in endings or _is_dicom_name(link.path)


def _ending(path: Path) -> tuple[Path, str]:
    """A file's folder and the ending of its name: slices that lie together mostly have one."""
    return path.parent, path.suffix.lower()


def _is_dicom_name(path: Path) -> bool:
    return path.suffix.lower() in _DICOM_SUFFIXES


def _lost(path: Path, root: Path) -> IntakeError:
    return IntakeError(
        "E_UNREADABLE_SLICE", f"{shown(path, root)}: 0 bytes, a slice is expected.", "Copy or export the series again."
    )


def _kind(place: ByteSource) -> str:
    """`dicom`, `empty`, `placeholder` or `junk`, by the first bytes."""
    name = place.name.name.lower()
    if name.startswith(".") or name in _JUNK_NAMES:
        return "junk"
    try:
        start = place.start(132)
    except OSError as error:
        refuse("E_UNREADABLE_SLICE", f"{shown(place.name)}: {error.strerror}.", "Check the permissions of the file.")
    if not start:
        return "empty"
    if is_pointer_file(start):
        return "placeholder"
    if start[128:132] == b"DICM":
        return "dicom"
    # Without a preamble a data set starts with group 2 or 8, little or big endian, and a small element number.
    if len(start) >= 8 and start[:2] in (b"\x02\x00", b"\x08\x00") and start[3] == 0:
        return "dicom"
    if len(start) >= 8 and start[:2] in (b"\x00\x02", b"\x00\x08") and start[2] == 0:
        return "dicom"
    return "empty" if place.name.suffix.lower() in _DICOM_SUFFIXES and not start.strip(b"\0") else "junk"


def _places(root: Path, rule: LinkRule, left: list[LeftLink]) -> Iterator[ByteSource]:
    """Where the files under a path lie; links that are not followed go to `left`."""
    if root.is_dir():
        for listing in walk_folders(root, rule):
            left += listing.left
            yield from (ByteSource(path) for path in listing.files if path.is_file())
    elif ByteSource(root).start(4) == ZIP_MAGIC:
        archive, members = open_archive(root)
        for member in members:
            yield ByteSource(root, member, archive)
    else:
        yield ByteSource(root)
