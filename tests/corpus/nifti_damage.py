"""Rows N22-N29: NIfTI files that are cut, damaged, something else, misnamed, or claim too much."""

from __future__ import annotations

from collections.abc import Callable

from tests.corpus.case import row
from tests.corpus.nifti_files import file_of, nifti, nifti_bytes, packed, plain, ras_chest

_WEB_PAGE = b"<!DOCTYPE html>\n<html><head><title>403 Forbidden</title></head><body>Log in.</body></html>\n"


def _cut(keep: float) -> Callable[[], bytes]:
    def cut() -> bytes:
        data = packed(plain())
        return data[: int(keep * len(data))] if keep > 0 else data[: int(keep)]

    return cut


def _flipped(at: int) -> Callable[[], bytes]:
    def flipped() -> bytes:
        data = bytearray(packed(plain()))
        data[at] ^= 0x40
        return bytes(data)

    return flipped


def _huge(packed_too: bool) -> Callable[[], bytes]:
    def huge() -> bytes:
        header = nifti_bytes(ras_chest().array, ras_chest().affine, dim=[3, 8192, 8192, 8192, 1, 1, 1, 1])
        return packed(header) if packed_too else header

    return huge


def _gzip_bomb() -> bytes:
    """A header that claims 1024 x 1024 x 1600, and 3.2 GB of zeros in 3 MB: gzip members, repeated."""
    header = nifti_bytes(ras_chest().array, ras_chest().affine, dim=[3, 1024, 1024, 1600, 1, 1, 1, 1])[:352]
    return packed(header) + packed(bytes(16 * 2**20)) * 200


def _hidden_bomb() -> bytes:
    """A small CT, followed by 3.2 GB of zeros."""
    return packed(plain()) + packed(bytes(16 * 2**20)) * 200


_GZ, _NII = "ct.nii.gz", "ct.nii"
_SIZE = len(ras_chest().array.tobytes())
_BAD = "E_BAD_HEADER"

CASES = (
    row("N22", ".nii.gz cut at 50 %", file_of(_GZ, _cut(0.5)), "E_TRUNCATED"),
    row("N22-99", ".nii.gz cut at 99 %", file_of(_GZ, _cut(0.99)), "E_TRUNCATED"),
    row("N22-trailer", ".nii.gz cut in the trailer", file_of(_GZ, _cut(-4)), "E_TRUNCATED"),
    row(
        "N23",
        ".nii cut at 50 %",
        file_of(_NII, lambda: plain()[: 352 + _SIZE // 2]),
        "E_TRUNCATED",
        says=f"expected {_SIZE} bytes of voxels, got {_SIZE // 2}",
    ),
    row("N23-header", "header only", file_of(_NII, lambda: plain()[:352]), "E_TRUNCATED", says="got 0"),
    row(
        "N23-offset",
        "vox_offset past the end",
        nifti(truth=False, name=_NII, vox_offset=1e6),
        "E_TRUNCATED",
        says="1000000",
    ),
    row("N24", "a byte flipped in the gzip data", file_of(_GZ, _flipped(3000)), "E_CORRUPT"),
    row("N24-crc", "a wrong gzip checksum", file_of(_GZ, _flipped(-6)), "E_CORRUPT"),
    row("N25", "0 bytes", file_of(_GZ, lambda: b""), "E_NOT_AN_IMAGE", says="empty"),
    row("N25-text", "text", file_of(_NII, lambda: b"to be done\n" * 50), "E_NOT_AN_IMAGE", says="looks like text"),
    row("N25-html", "a web page", file_of(_GZ, lambda: _WEB_PAGE), "E_NOT_AN_IMAGE", says="web page"),
    row("N26", ".nii named .nii.gz", file_of(_GZ, plain, truth=True), "W_EXTENSION"),
    row("N26-gz", ".nii.gz named .nii", file_of(_NII, lambda: packed(plain()), truth=True), "W_EXTENSION"),
    row("N27", "a header that claims 8192^3", file_of(_NII, _huge(False)), "E_RESOURCE_LIMIT", says="8192", heavy=True),
    row("N27-gz", "the same, compressed", file_of(_GZ, _huge(True)), "E_RESOURCE_LIMIT", says="8192", heavy=True),
    row("N27-bomb", "a gzip bomb of 3.2 GB", file_of(_GZ, _gzip_bomb), "E_RESOURCE_LIMIT", says="1600", heavy=True),
    row("N27-behind", "a gzip bomb behind a CT", file_of(_GZ, _hidden_bomb), "E_RESOURCE_LIMIT", heavy=True),
    row("N28", "dim[0] = 9", nifti(truth=False, dim=[9, 24, 20, 40, 1, 1, 1, 1]), _BAD, says="[9, 24"),
    row("N28-negative", "dim below 0", nifti(truth=False, dim=[3, 24, -20, 40, 1, 1, 1, 1]), _BAD, says="-20"),
    row("N28-datatype", "datatype 9999", nifti(truth=False, datatype=9999), _BAD, says="9999"),
    row("N29", "bytes after the voxels", file_of(_NII, lambda: plain() + b"junk" * 9, truth=True), "W_TRAILING_BYTES"),
    row(
        "N29-in",
        "bytes after the voxels, compressed",
        file_of(_GZ, lambda: packed(plain() + b"junk"), truth=True),
        "W_TRAILING_BYTES",
    ),
    row(
        "N29-gz",
        "bytes after the gzip data",
        file_of(_GZ, lambda: packed(plain()) + b"junk", truth=True),
        "W_TRAILING_BYTES",
    ),
)
