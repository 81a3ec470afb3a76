"""One compressed DICOM frame -> stored values, after its own header was asked what it claims.

In: the bytes of a frame (JPEG, JPEG-LS, JPEG 2000, RLE) and what the DICOM header says of it. Out: stored values.
A decoder takes memory by what the codestream claims, and libjpeg fills in what is cut off, so both are checked before.
Sources: ITU-T T.81 B.2, T.87 C.2 (JPEG-LS), T.800 A.4-A.5 (JPEG 2000); DICOM PS3.5 8.2 and annex G (RLE).
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass

import imagecodecs
import numpy as np

_J2K_START = b"\xff\x4f\xff\x51"
_START_OF_FRAME = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xF7}
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_MOST_TILES = 65535
_END = b"\xff\xd9"


@dataclass(frozen=True)
class Claim:
    """What the header of a codestream says."""

    rows: int
    columns: int
    components: int
    bits: int


def decode_frame(data: bytes, family: str, rows: int, columns: int, dtype: np.dtype) -> np.ndarray:
    """A compressed frame -> stored values (rows, columns) of `dtype`.

    Args:
        data: the frame, its fragments joined.
        family: `jpeg`, `jpeg-ls`, `jpeg2000` or `rle`.
        rows, columns: as the DICOM header says; the codestream must agree.
        dtype: number type by BitsAllocated and PixelRepresentation, little endian.

    Raises:
        ValueError: the frame is cut, damaged, or is not what the DICOM header says.
    """
    size = 8 * dtype.itemsize
    if family == "rle":
        return _decode_rle(data, rows, columns, dtype)
    claim = claim_of_jpeg2000(data) if family == "jpeg2000" else claim_of_jpeg(data)
    if (claim.rows, claim.columns, claim.components) != (rows, columns, 1) or not 1 <= claim.bits <= size:
        found = f"{claim.columns} x {claim.rows} pixels of {claim.components} x {claim.bits} bits"
        raise ValueError(f"the compressed frame holds {found}, the header says {columns} x {rows} of 1 x {size}")
    if family == "jpeg2000":
        values = imagecodecs.jpeg2k_decode(data)
    elif family == "jpeg-ls":
        values = imagecodecs.jpegls_decode(data)
    else:
        values = imagecodecs.jpeg8_decode(data)
    if values.shape != (rows, columns) or values.dtype.kind not in "iu":
        raise ValueError(f"the frame decodes to {values.shape} {values.dtype}, the header says ({rows}, {columns})")
    return _fitted(values, claim.bits, dtype)


def _fitted(values: np.ndarray, bits: int, dtype: np.dtype) -> np.ndarray:
    """Values of `bits` bits as `dtype`: whether the codestream knows a sign or not, the DICOM header decides on it."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    stored = values.astype(unsigned, copy=False)
    if bits < 8 * dtype.itemsize:
        if values.dtype.kind == "i":
            stored = stored & unsigned.type((1 << bits) - 1)
        if dtype.kind == "i":
            gap = 8 * dtype.itemsize - bits
            extended: np.ndarray = (stored << unsigned.type(gap)).view(dtype) >> dtype.type(gap)
            return extended
    return stored.view(dtype)


def _decode_rle(data: bytes, rows: int, columns: int, dtype: np.dtype) -> np.ndarray:
    segments = struct.unpack("<L", data[:4])[0] if len(data) >= 64 else 0
    if segments != dtype.itemsize:
        raise ValueError(f"the frame has {segments} RLE segments, expected {dtype.itemsize}")
    starts = [*struct.unpack(f"<{segments}L", data[4 : 4 + 4 * segments]), len(data)]
    if starts[0] < 64 or any(a >= b for a, b in itertools.pairwise(starts)):
        raise ValueError("the offsets of the RLE segments are not in order")
    values = np.empty((rows * columns, segments), np.uint8)
    for number in range(segments):  # the most significant byte comes first
        plane = np.frombuffer(_unpacked(data[starts[number] : starts[number + 1]], rows * columns), np.uint8)
        values[:, segments - 1 - number] = plane
    pixels: np.ndarray = values.view(dtype.newbyteorder("<")).reshape(rows, columns)
    return pixels


def _unpacked(segment: bytes, count: int) -> bytes:
    """PackBits, as many bytes as there are pixels."""
    data = imagecodecs.packbits_decode(segment)  # at most 64 times the segment
    if len(data) < count:
        raise ValueError(f"an RLE segment holds {len(data)} bytes, expected {count}")
    return bytes(data[:count])


def claim_of_jpeg(data: bytes) -> Claim:
    """The first start-of-frame segment of JPEG or JPEG-LS.

    Raises:
        ValueError: there is none, or the codestream has no end.
    """
    if data[:2] != b"\xff\xd8":
        raise ValueError("the compressed frame does not start as JPEG does")
    if _END not in data[-64:]:  # padding may follow
        raise ValueError("the compressed frame ends too early")
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise ValueError("the markers of the compressed frame are damaged")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _ALONE:
            at += 2
            continue
        if marker in _START_OF_FRAME and at + 10 <= len(data):
            bits, rows, columns, components = struct.unpack(">BHHB", data[at + 4 : at + 10])
            return Claim(rows, columns, components, bits)
        at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    raise ValueError("the compressed frame has no header")


def claim_of_jpeg2000(data: bytes) -> Claim:
    """The size segment of a JPEG 2000 codestream, bare or in a JP2 file.

    Raises:
        ValueError: there is none, or it claims too many tiles.
    """
    start = data.find(_J2K_START)
    if start < 0 or len(data) < start + 43:
        raise ValueError("the compressed frame does not start as JPEG 2000 does")
    x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0 = struct.unpack(">8L", data[start + 8 : start + 40])
    components, depth = struct.unpack(">HB", data[start + 40 : start + 43])
    if x1 <= x0 or y1 <= y0 or not tile_x or not tile_y:
        raise ValueError("the compressed frame has no size")
    if -((tile_x0 - x1) // tile_x) * -((tile_y0 - y1) // tile_y) > _MOST_TILES:
        raise ValueError("the compressed frame claims too many tiles")
    return Claim(y1 - y0, x1 - x0, components, (depth & 0x7F) + 1)
