"""What a DICOMDIR refers to: never followed, and refused where it leads out of its folder.

In: the bytes of a DICOMDIR. Out: nothing, or E_UNSAFE_ARCHIVE. Source: PS3.10 8.2 (File IDs); CVE-2026-32711.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lungseg3d.io.dicom_headers.records import ByteSource
from lungseg3d.io.intake.reading import refuse, shown

_REFERENCED_FILE_ID = b"\x04\x00\x00\x15"
_MOST_BYTES = 64 * 2**20


def check_references(place: ByteSource, root: Path) -> None:
    """Refuse a DICOMDIR whose ReferencedFileID climbs (`..`) or is absolute: whoever follows it reads another folder.

    The bytes are searched, not parsed: neither nesting nor damage hides a reference.

    Raises:
        IntakeError: E_UNSAFE_ARCHIVE.
    """
    with place.open() as stream:
        data = stream.read(_MOST_BYTES)
    for value in _values(data):
        parts = [part.strip(b" \0") for part in value.split(b"\\")]
        if not parts[0] or any(part == b".." or b"/" in part or b":" in part for part in parts):
            refuse(
                "E_UNSAFE_ARCHIVE",
                f"{shown(place.name, root)}: a reference of this DICOMDIR leads out of its folder ({_text(value)}).",
                "Remove the DICOMDIR; the slices are found without it.",
            )


def _text(value: bytes) -> str:
    return "".join(c if c.isprintable() else "?" for c in value[:80].decode("latin-1").rstrip(" \0"))


def _values(data: bytes) -> Iterator[bytes]:
    """Every value of ReferencedFileID, in explicit or implicit little endian; 8 parts of 16 characters at most."""
    at = data.find(_REFERENCED_FILE_ID)
    while at >= 0:
        start = at + 8
        explicit = data[at + 4 : at + 6] == b"CS"
        length = int.from_bytes(data[at + 6 : start] if explicit else data[at + 4 : start], "little")
        if 0 < length <= 1024:
            yield data[start : start + length]
        at = data.find(_REFERENCED_FILE_ID, at + 4)
