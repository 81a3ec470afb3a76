"""Rows D34-D43: encodings of the same pixels. The lossless ones are bit-exact with the uncompressed twin.

RLE is encoded by pydicom, 12-bit JPEG by imagecodecs, JPEG-LS, JPEG 2000 and lossless JPEG by gdcm.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import gdcm
import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
    RLELossless,
)

from tests.corpus.case import Made, row
from tests.corpus.phantom import Series, Slice

SYNTAXES = gdcm.TransferSyntax


def by_gdcm(one: Slice, syntax: int) -> Slice:
    """The slice compressed by gdcm, as a new slice."""
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = str(Path(folder, "plain")), str(Path(folder, "packed"))
        Path(plain).write_bytes(one.encoded())
        reader = gdcm.ImageReader()
        reader.SetFileName(plain)
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        if not reader.Read():
            raise ValueError("gdcm cannot read the slice")
        change.SetInput(reader.GetImage())
        if not change.Change():
            raise ValueError(f"gdcm cannot encode transfer syntax {syntax}")
        writer = gdcm.ImageWriter()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(packed)
        if not writer.Write():
            raise ValueError("gdcm cannot write the slice")
        return Slice(Path(packed).read_bytes())


def as_rle(one: Slice) -> Slice:
    """The slice compressed by pydicom, in place."""
    one.dataset.compress(RLELossless, generate_instance_uid=False)
    return one


def _in(syntax: str) -> Callable[[Slice], Slice]:
    def encode(one: Slice) -> Slice:
        one.dataset.file_meta.TransferSyntaxUID = syntax
        return one

    return encode


def _big_endian(one: Slice) -> Slice:
    d = one.dataset
    d.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    d.PixelData = np.frombuffer(d.PixelData, "<i2").astype(">i2").tobytes()
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, d, little_endian=False, implicit_vr=False)
    return Slice(buffer.getvalue())


def _gdcm(syntax: int) -> Callable[[Slice], Slice]:
    return lambda one: by_gdcm(one, syntax)


def _encoded(encode: Callable[[Slice], Slice]) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        series = Series()
        series.slices = [encode(one) for one in series.slices]
        return Made(series.write(folder / "ct"), series.volume)

    return make


def _mixed(folder: Path) -> Made:
    series = Series()
    ways = (as_rle, _in(ImplicitVRLittleEndian), _gdcm(SYNTAXES.JPEGLSLossless), _in(DeflatedExplicitVRLittleEndian))
    series.slices = [ways[k % 5](one) if k % 5 < 4 else one for k, one in enumerate(series.slices)]
    return Made(series.write(folder / "ct"), series.volume)


def _lossy(folder: Path) -> Made:
    """12-bit JPEG (gdcm would state 16 bits, which lossy JPEG does not have), off by some HU."""
    series = Series(PixelRepresentation=0, BitsStored=12, HighBit=11)
    for one in series.slices:
        d = one.dataset
        frame = imagecodecs.jpeg_encode(one.stored, bitspersample=12, level=95)
        d.file_meta.TransferSyntaxUID = JPEGExtended12Bit
        d.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
        d["PixelData"].is_undefined_length = True
    series.each(LossyImageCompression="01", LossyImageCompressionRatio="9.5")
    return Made(series.write(folder / "ct"), series.volume, tolerance_hu=20)


def _said_lossy(folder: Path) -> Made:
    series = Series(LossyImageCompression="01", LossyImageCompressionRatio="9.5")
    return Made(series.write(folder / "ct"), series.volume)


def _undecodable(uid: str) -> Callable[[Path], Made]:
    """pydicom writes no syntax that it does not know, so the UID is put in afterwards; all have the same length."""

    def make(folder: Path) -> Made:
        series = Series()
        for one in series.slices:
            d = one.dataset
            d.file_meta.TransferSyntaxUID = _HTJ2K
            d.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(96)])
            d["PixelData"].is_undefined_length = True
        series.slices = [Slice(one.encoded().replace(_HTJ2K.encode(), uid.encode())) for one in series.slices]
        return Made(series.write(folder / "ct"))

    return make


_HTJ2K, _JPEG_XL, _UNKNOWN = "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.999"

CASES = (
    row("D34", "RLE", _encoded(as_rle)),
    row("D35", "JPEG-LS lossless", _encoded(_gdcm(SYNTAXES.JPEGLSLossless))),
    row("D36", "JPEG 2000 lossless", _encoded(_gdcm(SYNTAXES.JPEG2000Lossless))),
    row("D37", "JPEG lossless, process 14", _encoded(_gdcm(SYNTAXES.JPEGLosslessProcess14))),
    row("D37-sv1", "JPEG lossless, process 14, first-order", _encoded(_gdcm(SYNTAXES.JPEGLosslessProcess14_1))),
    row("D38", "deflated", _encoded(_in(DeflatedExplicitVRLittleEndian))),
    row("D39", "implicit VR", _encoded(_in(ImplicitVRLittleEndian))),
    row("D40", "five encodings in one series", _mixed),
    row("D41", "12-bit lossy JPEG", _lossy, "W_LOSSY_SOURCE", says="9.5"),
    row("D41-said", "uncompressed, once compressed with loss", _said_lossy, "W_LOSSY_SOURCE", says="9.5"),
    row("D42", "HTJ2K", _undecodable(_HTJ2K), "E_TRANSFER_SYNTAX", says=_HTJ2K),
    row("D42-jxl", "JPEG XL", _undecodable(_JPEG_XL), "E_TRANSFER_SYNTAX", says=_JPEG_XL),
    row("D42-unknown", "an unknown transfer syntax", _undecodable(_UNKNOWN), "E_TRANSFER_SYNTAX", says=_UNKNOWN),
    row("D43", "big endian", _encoded(_big_endian)),
)
