"""Ways to spoil NIfTI, NRRD and MetaImage headers that know their fields.

In: the bytes of a file and a random generator. Out: other bytes. Compressed NIfTI is spoilt inside and out.
"""

from __future__ import annotations

import gzip
import random
import struct
import zlib

from tests.fuzz.byte_mutations import INTERESTING, interesting_float, spoil_bytes

# name: (offset, struct letters) of the fields that a reader acts on; nibabel/nifti1.py and nifti2.py list them all.
_NIFTI_1 = {
    "sizeof_hdr": (0, "i"), "dim": (40, "8h"), "datatype": (70, "h"), "bitpix": (72, "h"), "pixdim": (76, "8f"),
    "vox_offset": (108, "f"), "scl": (112, "2f"), "xyzt_units": (123, "b"), "codes": (252, "2h"),
    "quaternion": (256, "6f"), "sform": (280, "12f"), "magic": (344, "4b"), "extension": (348, "4b"),
}  # fmt: skip
_NIFTI_2 = {
    "sizeof_hdr": (0, "i"), "magic": (4, "8b"), "datatype": (12, "h"), "bitpix": (14, "h"), "dim": (16, "8q"),
    "pixdim": (104, "8d"), "vox_offset": (168, "q"), "scl": (176, "2d"), "codes": (344, "2i"), "quaternion": (352,
    "6d"), "sform": (400, "12d"), "xyzt_units": (500, "i"),
}  # fmt: skip
_DATATYPES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, 9999, -1)
_WORDS = (
    "", "0", "-1", "1", "2", "3", "4 4", "8 7 4", "8 7 4 2", "1e400", "nan nan nan", "inf", "0 0 0",
    "99999999 99999999 9", "65536 65536 65536", "3.7", "9" * 5000, "true", "raw", "gzip", "bzip2", "ascii", "hex",
    "zlib", "LOCAL", "LIST", "short", "float", "MET_SHORT", "MET_DOUBLE", "MET_OTHER", "block",
    "left-posterior-superior", "scanner-xyz", "(1,0,0)", "none", "(1,0,0) (0,1,0) (0,0,1)",
    "(nan,0,0) (0,1,0) (0,0,1)", "(1,0) (0,1) (0,0)", "none (1,0,0) (0,1,0) (0,0,1)", "(,,)",
    "(1e300,0,0) (0,1e300,0) (0,0,1e300)", "/etc/passwd", "../d.raw", "d.raw", "d.nhdr", "d.mhd", "\x00", "v.nrrd",
    "\u0663", "%s", "5" * 30, "little", "big", "True", "0 0 0 0 0 0 0 0 0", "1 0 0 0 1 0 0 0 1",
    "1e-300 1e-300 1e-300", "-1 -1 -1", "1_0 7 4",
)  # fmt: skip
_KEYS = (
    "sizes", "dimension", "type", "endian", "encoding", "space", "space directions", "space origin", "kinds",
    "data file", "line skip", "byte skip", "spacings", "space units", "NDims", "DimSize", "ElementType",
    "ElementSpacing", "ElementSize", "TransformMatrix", "Offset", "ElementDataFile", "CompressedData",
    "CompressedDataSize", "BinaryData", "HeaderSize", "ElementNumberOfChannels", "BinaryDataByteOrderMSB",
    "ElementByteOrderMSB", "Comment", "ObjectType",
)  # fmt: skip


def spoil_nifti(data: bytes, rng: random.Random) -> bytes:
    """One to eight numbers of one header field become others."""
    if len(data) < 348:
        return spoil_bytes(data, rng)
    order = "<" if data[:4] in (struct.pack("<i", 348), struct.pack("<i", 540)) else ">"
    table = _NIFTI_2 if data[:4] == struct.pack(order + "i", 540) else _NIFTI_1
    field, (at, letters) = rng.choice(list(table.items()))
    kind, count = letters[-1], int(letters[:-1] or 1)
    size = struct.calcsize(kind)
    spoilt = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = at + size * rng.randrange(count)
        if kind in "fd":
            value = struct.pack(order + kind, interesting_float(rng))
        else:
            number = rng.choice(_DATATYPES if field == "datatype" else INTERESTING) % (1 << 8 * size)
            value = number.to_bytes(size, "little" if order == "<" else "big")
        spoilt[place : place + size] = value
    return bytes(spoilt)


def spoil_gzip(data: bytes, rng: random.Random) -> bytes:
    """A spoilt file, rightly compressed again, with the sum right; sometimes as two members or with junk behind."""
    try:
        inner = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, 2**20)
    except zlib.error:
        return spoil_bytes(data, rng)
    inner = spoil_nifti(inner, rng) if rng.random() < 0.6 else spoil_bytes(inner, rng)
    if rng.random() < 0.1:
        half = len(inner) // 2
        return gzip.compress(inner[:half], 1, mtime=0) + gzip.compress(inner[half:], 1, mtime=0)
    return gzip.compress(inner, 1, mtime=0) + (b"junk" if rng.random() < 0.05 else b"")


def spoil_header_lines(data: bytes, rng: random.Random) -> bytes:
    """One line of a text header (NRRD, MetaImage) changed, lost, doubled, moved or added."""
    separator = b" = " if b"ElementDataFile" in data[:4000] else b": "
    end = data.find(b"\n\n") if separator == b": " else data.find(b"\n", data.find(b"ElementDataFile"))
    if end < 0:
        return spoil_bytes(data, rng)
    lines, rest = data[:end].split(b"\n"), data[end:]
    at = rng.randrange(len(lines))
    word = rng.choice(_WORDS).encode()
    choice = rng.randrange(7)
    if choice <= 2:
        lines[at] = lines[at].partition(separator.strip())[0].strip() + separator + word
    elif choice == 3:
        del lines[at]
    elif choice == 4:
        lines.insert(rng.randrange(len(lines) + 1), lines[at])
    elif choice == 5:
        lines.insert(at, rng.choice(_KEYS).encode() + separator + word)
    else:
        lines[at] = spoil_bytes(lines[at], rng)
    return (rng.choice((b"\n", b"\n", b"\n", b"\r\n", b"\r"))).join(lines) + rest
