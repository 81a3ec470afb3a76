"""Rows D61, D62, D64, D74-D76: slices that are cut, empty or hostile."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from pydicom.uid import DeflatedExplicitVRLittleEndian

from tests.corpus.case import Made, row
from tests.corpus.dicom_syntaxes import SYNTAXES, as_rle, by_gdcm
from tests.corpus.phantom import Series, Slice, chest


def _cut(keep: float) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        path = Series().write(folder / "ct")
        data = (path / "0017.dcm").read_bytes()
        (path / "0017.dcm").write_bytes(data[: int(keep * len(data))])
        return Made(path)

    return make


def _cut_packed(encode: Callable[[Slice], Slice]) -> Callable[[Path], Made]:
    """One compressed slice that lost its last tenth: some decoders fill the rest of the image by themselves."""

    def make(folder: Path) -> Made:
        series = Series(chest((96, 80, 40)))
        data = encode(series.slices[17]).encoded()
        series.slices[17] = Slice(data[: len(data) * 9 // 10])
        return Made(series.write(folder / "ct"))

    return make


def _no_preamble(folder: Path) -> Made:
    path = Series().write(folder / "ct")
    for file in path.iterdir():
        file.write_bytes(file.read_bytes()[132:])
    return Made(path, chest())


def _no_meta(folder: Path) -> Made:
    """A bare data set, as in files of the 1990s: no preamble and no group 2."""
    series = Series()
    path = series.write(folder / "ct")
    for file in path.iterdir():
        data = file.read_bytes()
        (length,) = struct.unpack("<L", data[140:144])
        file.write_bytes(data[144 + length :])
    return Made(path, chest())


def deflate_bomb(mebibytes: int) -> bytes:
    """Raw deflate data that inflate to `mebibytes` MiB of zeros: one block, repeated."""
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = engine.compress(bytes(2**20)) + engine.flush(zlib.Z_FULL_FLUSH)
    return block * mebibytes + engine.flush()


def _deflate_bomb(folder: Path) -> Made:
    series = Series()
    series.slices[5].dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = series.write(folder / "ct")
    data = (path / "0005.dcm").read_bytes()
    (length,) = struct.unpack("<L", data[140:144])
    (path / "0005.dcm").write_bytes(data[: 144 + length] + deflate_bomb(968))
    return Made(path)


def _claims(frames: int | None, **tags: object) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        series = Series(**tags)
        if frames:
            series.each(NumberOfFrames=frames)
        return Made(series.write(folder / "ct"))

    return make


def _nested(folder: Path) -> Made:
    path = Series().write(folder / "ct")
    data = (path / "0004.dcm").read_bytes()
    nested = b"\x09\x00\x10\x00LO\x04\x00TEST" + (
        b"\x09\x00\x01\x10SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 20000
    )
    at = data.index(b"\x10\x00\x10\x00PN")
    (path / "0004.dcm").write_bytes(data[:at] + nested + data[at:])
    return Made(path)


_NAMED = "0017.dcm"

CASES = (
    row("D61", "one slice cut in its pixels", _cut(0.9), "E_UNREADABLE_SLICE", says=_NAMED),
    row("D61-header", "one slice cut in its header", _cut(0.3), "E_UNREADABLE_SLICE", says=_NAMED),
    row("D61-rle", "one slice cut, RLE", _cut_packed(as_rle), "E_UNREADABLE_SLICE", says=_NAMED),
    *(
        row(f"D61-{name}", f"one slice cut, {title}", _cut_packed(encode), "E_UNREADABLE_SLICE", says=_NAMED)
        for name, title, encode in (
            ("jls", "JPEG-LS", lambda one: by_gdcm(one, SYNTAXES.JPEGLSLossless)),
            ("j2k", "JPEG 2000", lambda one: by_gdcm(one, SYNTAXES.JPEG2000Lossless)),
            ("jpeg", "JPEG lossless", lambda one: by_gdcm(one, SYNTAXES.JPEGLosslessProcess14_1)),
        )
    ),
    row("D62", "one slice of 0 bytes", _cut(0), "E_UNREADABLE_SLICE", says=f"{_NAMED}: 0 bytes"),
    row("D64", "no preamble", _no_preamble, "W_NO_PREAMBLE"),
    row("D64-bare", "neither preamble nor file meta information", _no_meta, "W_NO_PREAMBLE"),
    row("D74", "a deflate bomb of 968 MiB", _deflate_bomb, "E_RESOURCE_LIMIT", says="0005.dcm", heavy=True),
    row("D75", "headers that claim 43 TB", _claims(5000, Rows=65535, Columns=65535), "E_RESOURCE_LIMIT", heavy=True),
    row(
        "D75-matrix",
        "headers that claim 65535 x 65535",
        _claims(None, Rows=65535, Columns=65535),
        "E_RESOURCE_LIMIT",
        heavy=True,
    ),
    row("D76", "20,000 nested sequences", _nested, "E_UNREADABLE_SLICE", says="0004.dcm", heavy=True),
)
