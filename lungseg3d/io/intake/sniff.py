"""What a file is, by its first bytes; its name has no say.

In: a path. Out: `dicom`, `nifti`, `nifti.gz`, `nrrd`, `metaimage`, `zip`, or E_NOT_AN_IMAGE that says what it is.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from lungseg3d.io.intake.archives import ZIP_MAGIC
from lungseg3d.io.intake.links import is_pointer_file, placeholder_error
from lungseg3d.io.intake.reading import Findings, refuse, shown

_LOOKS = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"%PDF", "a PDF"),
    (b"BM", "a bitmap"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"BZh", "a bzip2 file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"\xfd7zXZ", "an xz file"),
)
_TITLES = {"zip": "a zip archive", "nifti": "NIfTI", "nifti.gz": "NIfTI", "nrrd": "NRRD", "metaimage": "MetaImage"}
_ENDINGS = {
    "nifti": (".nii",),
    "nifti.gz": (".nii.gz",),
    "nrrd": (".nrrd", ".nhdr"),
    "metaimage": (".mha", ".mhd"),
}


def sniff_format(path: Path, findings: Findings) -> str:
    """The format of a file; warns W_EXTENSION where the name says another.

    Raises:
        IntakeError: E_NOT_AN_IMAGE; E_LINK_BROKEN for a placeholder whose content was not fetched.
    """
    with open(path, "rb") as stream:
        start = stream.read(4096)
    if is_pointer_file(start):
        raise placeholder_error(path)
    kind = _kind(start)
    if not kind:
        refuse(
            "E_NOT_AN_IMAGE",
            f"{shown(path)}: {path.stat().st_size} bytes, {_look(start)}; no CT format.",
            "Unpack it first." if _is_packed(start) else "Give a DICOM series folder, .nii, .nii.gz, .nrrd or .mha.",
        )
    endings = _ENDINGS.get(kind)
    if endings and not path.name.lower().endswith(endings):
        findings.warn("W_EXTENSION", f"{shown(path)} is {kind} by its content, not by its name.")
    return kind


def _is_packed(start: bytes) -> bool:
    return any(word in look_of(start) for word in ("archive", "gzip-compressed DICOM", "bzip2", "zstd", "xz file"))


def _kind(start: bytes) -> str:
    if start[128:132] == b"DICM":
        return "dicom"
    if start[:4] == ZIP_MAGIC:
        return "zip"
    if start[:5] == b"NRRD0":
        return "nrrd"
    if start[:2] == b"\x1f\x8b":
        return "nifti.gz" if _is_nifti(_first_inflated(start)) else ""
    if _is_nifti(start):
        return "nifti"
    first_line = start.split(b"\n", 1)[0].split(b"=")[0].strip()
    if first_line in (b"ObjectType", b"NDims", b"Comment") and b"NDims" in start:
        return "metaimage"
    if start[:2] in (b"\x08\x00", b"\x02\x00") and start[3:4] == b"\0" and len(start) > 132:
        return "dicom"
    return ""


def _first_inflated(start: bytes) -> bytes:
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(start, 4096)
    except zlib.error:
        return b""


def _is_nifti(start: bytes) -> bool:
    if len(start) < 4:
        return False
    return any(struct.unpack(order + "i", start[:4])[0] in (348, 540) for order in "<>")


def look_of(start: bytes) -> str:
    """What the first 4096 bytes of a file that may hold a CT look like; empty for text and for what is not known."""
    kind = _kind(start)
    if kind in _TITLES:
        return _TITLES[kind]
    for magic, name in _LOOKS:
        if start.startswith(magic):
            return name
    if start[257:262] == b"ustar":
        return "a tar archive"
    if start[:2] == b"\x1f\x8b":
        inside = _first_inflated(start)
        if inside[128:132] == b"DICM":
            return "gzip-compressed DICOM"
        return "a gzip-compressed tar archive" if inside[257:262] == b"ustar" else "gzip-compressed data"
    return ""


def _look(start: bytes) -> str:
    if not start:
        return "empty"
    if name := look_of(start):
        return "gzip-compressed data that are not NIfTI" if name == "gzip-compressed data" else f"looks like {name}"
    text = start[:512].lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "looks like a web page, perhaps of a failed download"
    if not start.strip(b"\0"):
        return "zeros only"
    if all(byte >= 32 or byte in b"\t\r\n" for byte in start[:512]):
        return "looks like text"
    return "unknown content"
