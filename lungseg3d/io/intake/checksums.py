"""The files of an input against a list of their SHA-256 sums: what no header can tell, such as one flipped bit.

In: a path, a list as `sha256sum` writes it (`sha256sum series/* > series.sha256`). Out: the files that were checked, or
E_CHECKSUM. Names in the list count from the folder that holds it.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import BinaryIO

from lungseg3d.io.intake.reading import refuse, shown

_LINE = re.compile(r"(\\?)([0-9a-fA-F]{64}) [ *](.+)")
_MOST_BYTES = 256 * 2**20
_AGAIN = "Copy the files again from their source, or write the list again if they are right."


def check_sums(path: Path, manifest: Path) -> frozenset[Path]:
    """Check every file that `manifest` lists at or under `path`.

    Returns:
        The files listed, resolved.

    Raises:
        IntakeError: E_CHECKSUM when one differs or is absent, or the list holds none of them; E_NOT_FOUND and
            E_BAD_HEADER when the list itself cannot be read.
    """
    inside = path.resolve()
    listed = {file: sum_ for file, sum_ in _read_list(manifest).items() if file == inside or inside in file.parents}
    if not listed:
        refuse("E_CHECKSUM", f"{shown(manifest)} lists no file of {shown(path)}.", "Give the list of this input.")
    for file, expected in listed.items():
        try:
            with open(file, "rb") as stream:
                found = _sha256(stream)
        except OSError as error:
            refuse("E_CHECKSUM", f"{shown(file, inside)}: {shown(manifest)} lists it, but {error.strerror}.", _AGAIN)
        if found != expected:
            text = f"SHA-256 {found[:12]}..., {shown(manifest)} says {expected[:12]}..."
            refuse("E_CHECKSUM", f"{shown(file, inside)}: {text}", _AGAIN)
    return frozenset(listed)


def check_listed(files: tuple[Path, ...], listed: frozenset[Path], root: Path, manifest: Path) -> None:
    """Refuse a reading that used files which the list does not hold. A zip is one file.

    Raises:
        IntakeError: E_CHECKSUM.
    """
    if root.is_file():
        return
    unlisted = [file for file in files if file.resolve() not in listed]
    if unlisted:
        text = f"{shown(unlisted[0], root)} and {len(unlisted) - 1} more" if unlisted[1:] else shown(unlisted[0], root)
        refuse("E_CHECKSUM", f"{text}: read, but not in {shown(manifest)}.", _AGAIN)


def _sha256(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(2**20):
        digest.update(chunk)
    return digest.hexdigest()


def _read_list(manifest: Path) -> dict[Path, str]:
    remedy = "Give a list as sha256sum writes it."
    try:
        if manifest.stat().st_size > _MOST_BYTES:
            refuse("E_RESOURCE_LIMIT", f"{shown(manifest)}: too large for a list of sums.", remedy)
        lines = manifest.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError as error:
        refuse("E_NOT_FOUND", f"{shown(manifest)}: cannot be opened ({error.strerror}).", "Check the path.")
    sums: dict[Path, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.rstrip("\r"))
        if found is None:
            refuse("E_BAD_HEADER", f"{shown(manifest)}: line {number} is no SHA-256 sum and name.", remedy)
        escaped, digest, name = found.groups()
        if escaped:  # sha256sum marks names with a newline or a backslash
            name = re.sub(r"\\([n\\])", lambda match: "\n" if match[1] == "n" else "\\", name)
        sums[(manifest.parent / name).resolve()] = digest.lower()
    return sums
