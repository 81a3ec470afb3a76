"""Why there is no CT to read under a path: what lies there instead, as far as the program can see it.

In: a `Scan` without CT images, or only single slices of many series. Out: a refusal that names the cause at hand.
Looks into files again, for their first bytes; that costs nothing where everything is fine.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from pydicom.uid import UID

from lungseg3d.core import IntakeError
from lungseg3d.io.dicom.files import Scan
from lungseg3d.io.dicom_headers.headers import DICOMDIR
from lungseg3d.io.dicom_headers.records import ByteSource, DicomFile
from lungseg3d.io.intake.archives import ZIP_MAGIC, open_archive
from lungseg3d.io.intake.reading import refuse, shown
from lungseg3d.io.intake.sniff import look_of

_MOST_LOOKED_AT = 2000
_LEAST_SPLIT = 3
_UNPACK = "Unpack them first, and give the folder."
# What a file looks like (by its beginning) -> what to do with it.
_REMEDIES = {
    "a zip archive": "Give the zip file itself, or unpack it.",
    "gzip-compressed DICOM": "Unpack them first (gunzip), and give the folder.",
    "NIfTI": "Give the image file itself.",
    "NRRD": "Give the image file itself.",
    "MetaImage": "Give the image file itself.",
    "a DICOMDIR": "Give the folder that it lies in, or the one that holds the images.",
    "a PNG picture": "A picture holds neither HU nor mm: give the DICOM or NIfTI that it was made of.",
    "a JPEG picture": "A picture holds neither HU nor mm: give the DICOM or NIfTI that it was made of.",
}


def refuse_no_ct(scan: Scan) -> NoReturn:
    """Refuse a path without CT images.

    Raises:
        IntakeError: E_NOT_CT for images of another kind, E_NO_DICOM without images, or why the first file that should
            be DICOM cannot be read.
    """
    root, images = scan.root, [file for file in scan.files if file.pixels.rows]
    if images:
        kinds = Counter(map(_kind_of_image, images))
        found = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common())
        remedy = "Give a CT series."
        if any(file.modality == "CT" for file in images):
            remedy = "Give the original series: a copy of another class has often lost its HU and its place."
        refuse("E_NOT_CT", f"{shown(root)}: no CT image, but {found}.", remedy)
    if scan.unreadable:
        raise scan.unreadable[0][1]
    found, remedy = _contents(root)
    others = f"{len(scan.files)} DICOM files without CT images" if scan.files and not found else found
    text = f"{shown(root)}: no DICOM images{f', but {others}' if others else ''}."
    refuse("E_NO_DICOM", text, remedy or "Give the CT folder, or an image file.")


def refuse_split(files: Mapping[str, Sequence[DicomFile]], scan: Scan) -> None:
    """Refuse a folder whose every series has one slice, as scanners and anonymisers write that give each its own UID.

    Args:
        files: of each series.
        scan: of the folder.

    Raises:
        IntakeError: E_TOO_FEW_SLICES.
    """
    if len(files) < _LEAST_SPLIT or any(sum(len(file.frames) for file in one) > 1 for one in files.values()):
        return
    studies = {file.study_uid for one in files.values() for file in one}
    whose = "StudyInstanceUID and a SeriesInstanceUID" if len(studies) == len(files) else "SeriesInstanceUID"
    where = "all of one study" if len(studies) == 1 else f"of {len(studies)} studies"
    refuse(
        "E_TOO_FEW_SLICES",
        f"{shown(scan.root)}: {len(files)} series of one slice each, {where}: each slice has a {whose} of its own, so "
        "nothing says which belong together.",
        "Export the series again with one UID for all of its slices, or give them one, for example with dcmodify.",
    )


def _kind_of_image(file: DicomFile) -> str:
    """Its modality, with the class where that is what is wrong."""
    name = UID(file.sop_class).name if file.sop_class else "no SOP class"
    if file.modality == "CT":
        return f"CT of the class {name}, not CT Image Storage"
    return file.modality or name


def _contents(root: Path) -> tuple[str, str]:
    """(what lies there, what to do with it): both empty where it is nothing that could be a CT."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, look in _looks(root):
        if look:
            found[look].append(name)
    if not found:
        return "", ""
    parts = [f"{len(names)} x {look} ({names[0]}{', ...' if len(names) > 1 else ''})" for look, names in found.items()]
    known = [remedy for look, remedy in _REMEDIES.items() if any(one.startswith(look) for one in found)]
    return ", ".join(parts[:4]), known[0] if known else _UNPACK


def _looks(root: Path) -> Iterator[tuple[str, str]]:
    """(name, what it looks like) of each file that holds something which may hold a CT."""
    for place in _places(root):
        path = place.name
        try:
            start = place.start(4096)
        except (OSError, IntakeError):
            continue
        if path.name.lower() == "dicomdir" or (start[128:132] == b"DICM" and DICOMDIR.encode() in start[:600]):
            # Beside images it is the index that it should be; here its images are missing.
            yield path.name, "a DICOMDIR, an index without its images"
        else:
            yield path.name, look_of(start)


def _places(root: Path) -> Iterator[ByteSource]:
    """The files of a folder, the members of a zip, or the file itself."""
    if not root.is_file():
        yield from map(ByteSource, _files(root))
    elif ByteSource(root).start(4) == ZIP_MAGIC:
        archive, members = open_archive(root)
        yield from (ByteSource(root, member, archive) for member in members[:_MOST_LOOKED_AT])
    else:
        yield ByteSource(root)


def _files(root: Path) -> Iterator[Path]:
    count = 0
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            count += 1
            if count > _MOST_LOOKED_AT:
                return
            if not name.startswith("."):
                yield Path(folder, name)
