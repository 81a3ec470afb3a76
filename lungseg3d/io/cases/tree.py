"""A folder tree of anything -> the CTs in it, one case a study, whatever lies where.

In: a folder. Out: `CaseTree`: what the reader is to be given for each case, sorted by path. Decodes no pixel, follows
links as `io.intake.links` says, and judges nothing: what cannot be read, or is a link that was not followed, is a
case, too, and the reader says why.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pydicom

from lungseg3d.core import IntakeError
from lungseg3d.io.dicom.series import CT_CLASSES
from lungseg3d.io.dicom_headers.headers import read_header
from lungseg3d.io.dicom_headers.records import ByteSource, DicomFile
from lungseg3d.io.intake.links import LeftLink, LinkRule, walk_folders
from lungseg3d.io.intake.reading import Findings
from lungseg3d.io.intake.sniff import sniff_format

_VOLUME_ENDINGS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".zip")
_DICOM_ENDINGS = (".dcm", ".dicom", ".ima")
_SKIPPED_FOLDERS = ("__MACOSX", "__pycache__")
_SKIPPED_FILES = {"thumbs.db", "desktop.ini", "dicomdir", "dirfile", "lockfile", "version"}


@dataclass(frozen=True, order=True)
class CaseSource:
    """One case as the reader takes it: a file or a folder, and the study or series in it where there are several.

    Attributes:
        rule: for its links, where it was found in a tree.
    """

    path: Path
    study: str = ""
    series: str = ""
    rule: LinkRule | None = field(default=None, compare=False)


@dataclass(frozen=True)
class CaseTree:
    """The cases of a tree, and how many files in it are none of any."""

    sources: tuple[CaseSource, ...]
    ignored: int


@dataclass
class _Folder:
    """What one folder itself holds."""

    instances: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # study -> SOP instances
    series: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # study -> series
    ct_series: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # study -> CT series
    unreadable: list[Path] = field(default_factory=list)
    links: list[Path] = field(default_factory=list)  # not followed, and perhaps slices
    volumes: list[Path] = field(default_factory=list)
    ignored: int = 0
    is_leaf: bool = True


OnFiles = Callable[[int], object]
_TELL_EVERY = 100


def find_cases(
    root: Path,
    every_series: bool = False,
    leave_out: Path | None = None,
    on_files: OnFiles | None = None,
    follow_links: bool = False,
) -> CaseTree:
    """Every CT under `root`.

    A volume file or a zip is a case. The DICOM files of one study are a case, in the deepest folder that holds them
    all; copies of a study in several folders are several. A folder at the end of a branch that holds nothing is a
    case as well, which the reader refuses: it may be a patient whose CT is missing.

    Args:
        root: the tree.
        every_series: each CT series of a study is a case; else the reader chooses the best one of the study.
        leave_out: a folder that is not looked into, such as that of the results.
        on_files: called now and then with the number of files that were looked at; the headers of 500,000 slices take
            minutes.
        follow_links: also those that lead out of the tree.
    """
    rule = LinkRule(root if root.is_dir() else root.parent, follow_links)
    folders = dict(_walk(root, rule, leave_out, on_files))
    found: set[CaseSource] = set()
    for folder in folders.values():
        found.update(CaseSource(path) for path in folder.volumes)
    studies = _Studies(folders)
    homes: set[Path] = set()
    for study in sorted(studies.places):
        for home in studies.homes(study):
            homes.add(home)
            alone = studies.below[home] == {study}
            ct_series = sorted(studies.ct_series(home, study)) if every_series else []
            found.update(CaseSource(home, "" if alone else study, uid) for uid in ct_series or [""])
    for path, folder in folders.items():
        if homes.isdisjoint((path, *path.parents)):
            found.update(_unread(path, folder, bool(studies.below.get(path))))
    # One file that was given by its name is what its user says it is, be it a link.
    sources = (replace(source, rule=rule) if root.is_dir() else source for source in sorted(found))
    return CaseTree(tuple(sources), sum(folder.ignored for folder in folders.values()))


def _unread(path: Path, folder: _Folder, has_dicom_below: bool) -> Iterator[CaseSource]:
    """What no study covers: files that should be DICOM, links that were not followed, the empty end of a branch."""
    if (folder.unreadable or folder.links) and has_dicom_below:
        yield from (CaseSource(file) for file in (*folder.unreadable, *folder.links[:1]))
    elif folder.unreadable or folder.links or (folder.is_leaf and not folder.volumes):
        yield CaseSource(path)


class _Studies:
    """Which folders hold which studies, and where each study is at home."""

    def __init__(self, folders: dict[Path, _Folder]) -> None:
        self._folders = folders
        self.places: dict[str, list[Path]] = defaultdict(list)
        self.below: dict[Path, set[str]] = defaultdict(set)
        for path, folder in folders.items():
            for study in folder.instances:
                self.places[study].append(path)
                for parent in (path, *path.parents):
                    self.below[parent].add(study)

    def homes(self, study: str) -> Iterator[Path]:
        """The folders to read the study from: one, or one for each copy or stray part of it."""
        yield from self._homes(study, self.places[study])

    def ct_series(self, home: Path, study: str) -> set[str]:
        """The CT series of a study at or under a folder."""
        places = (path for path in self.places[study] if home in (path, *path.parents))
        return {uid for path in places for uid in self._folders[path].ct_series[study]}

    def _homes(self, study: str, places: list[Path]) -> Iterator[Path]:
        if len(places) == 1:
            yield places[0]
            return
        home = Path(os.path.commonpath(places))
        groups: dict[str, list[Path]] = defaultdict(list)
        for path in places:
            groups[path.relative_to(home).parts[0] if path != home else ""].append(path)
        instances = [uid for path in places for uid in self._folders[path].instances[study]]
        has_copies = len(instances) != len(set(instances))
        if not has_copies and (self.below[home] == {study} or self._is_spread(study, list(groups.values()))):
            yield home
            return
        for group in groups.values():
            yield from self._homes(study, group)

    def _is_spread(self, study: str, groups: list[list[Path]]) -> bool:
        """Whether the slices of one series lie in more than one of the groups."""
        found = [{uid for path in group for uid in self._folders[path].series[study]} for group in groups]
        return sum(map(len, found)) != len(set().union(*found))


def _walk(
    root: Path, rule: LinkRule, leave_out: Path | None, on_files: OnFiles | None
) -> Iterator[tuple[Path, _Folder]]:
    if not root.is_dir():
        alone = _Folder()
        _sort_in(root, alone)
        yield root.parent, alone if alone.volumes else _Folder(volumes=[root])
        return
    seen = 0

    def is_skipped(folder: Path) -> bool:
        hidden = folder.name.startswith(".") or folder.name in _SKIPPED_FOLDERS
        return hidden or (leave_out is not None and folder.resolve().is_relative_to(leave_out.resolve()))

    for listing in walk_folders(root, rule, is_skipped):
        folder = _Folder(is_leaf=not listing.folders and not any(link.is_folder for link in listing.left))
        with pydicom.config.disable_value_validation():
            for file in listing.files:
                _sort_in(file, folder)
                seen += 1
                if on_files is not None and seen % _TELL_EVERY == 0:
                    on_files(seen)
        for link in listing.left:
            _sort_in_left(link, folder)
        yield listing.folder, folder


def _sort_in_left(link: LeftLink, folder: _Folder) -> None:
    """Add a link that was not followed: nobody looks behind it, so its name says what it may be."""
    name = link.path.name.lower()
    if name.startswith(".") or name in _SKIPPED_FILES:
        folder.ignored += 1
    elif link.is_folder or name.endswith(_VOLUME_ENDINGS):
        folder.volumes.append(link.path)
    elif name.endswith(_DICOM_ENDINGS) or not link.path.suffix or link.path.suffix[1:].isdecimal():
        folder.links.append(link.path)
    else:
        folder.ignored += 1


def _sort_in(file: Path, folder: _Folder) -> None:
    """Add a file to what its folder holds, by its first bytes; by its name where they say nothing."""
    name = file.name.lower()
    if name.startswith(".") or name in _SKIPPED_FILES or not file.is_file():
        folder.ignored += 1
        return
    try:
        kind = sniff_format(file, Findings())
    except IntakeError as error:
        # A placeholder without an ending stands for a slice, as those of DICOM have none.
        kind = "placeholder" if error.code == "E_LINK_BROKEN" and not file.suffix else ""
    except OSError:
        kind = ""
    if kind == "dicom":
        _sort_in_dicom(file, folder)
    elif kind == "placeholder" or (name.endswith(_DICOM_ENDINGS) and not kind):
        folder.unreadable.append(file)
    elif name.endswith(_VOLUME_ENDINGS) or kind not in ("", "zip"):  # a .docx is a zip, too
        folder.volumes.append(file)
    else:
        folder.ignored += 1


def _sort_in_dicom(file: Path, folder: _Folder) -> None:
    try:
        header = read_header(ByteSource(file))
    except (IntakeError, OSError):
        folder.unreadable.append(file)
        return
    study = header.study_uid
    folder.instances[study].add(header.sop_uid)
    folder.series[study].add(header.series_uid)
    if header.sop_class in CT_CLASSES and not _is_localizer(header):
        folder.ct_series[study].add(header.series_uid)


def _is_localizer(header: DicomFile) -> bool:
    return bool(header.frames) and all(frame.is_localizer for frame in header.frames)
