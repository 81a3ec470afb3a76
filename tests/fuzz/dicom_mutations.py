"""Ways to spoil a DICOM file that know its elements: tags, VRs, lengths, values, sequences, pixel streams.

In: the bytes of a file and a random generator. Out: other bytes. Walks the elements itself, so that no
parser under test is asked what to break.
"""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import dataclass

from tests.fuzz.byte_mutations import interesting_bytes, spoil_bytes

_LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_VRS = (*sorted(_LONG_VRS), *b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US ZZ".split(), b"\0\0")
_TEXTS = (
    b"", b" ", b"0", b"-1", b"1\\2", b"1\\2\\3\\4\\5\\6\\7", b"nan", b"inf", b"1e400", b"-1e308", b"1e-300",
    b"9" * 400, b"0x10", b"\\\\\\", b"\n\r\x1b[2J", b"\xff\xfe", b"\xc3\x28", b"1.2.840.10008.1.2",
    b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.51",
    b"1.2.840.10008.1.2.4.70", b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.5",
    b"1.2.840.10008.1.2.4.201", b"1.2.840.10008.5.1.4.1.1.2", b"1.2.840.10008.5.1.4.1.1.2.1", b"LOCALIZER",
    b"MONOCHROME1", b"RGB", b"ISO 2022 IR 87", b"\\ISO 2022 IR 149", b"utf-8", b"rot13", b"A" * 3000, b"../../x",
    b"%s%n", b"1\x00", b"\xd9\xa3",
)  # fmt: skip
_KNOWN_TAGS = (
    0x00080005, 0x00080008, 0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x00200032, 0x00200037, 0x00280002,
    0x00280004, 0x00280008, 0x00280010, 0x00280011, 0x00280030, 0x00280100, 0x00280101, 0x00280102, 0x00280103,
    0x00280120, 0x00280121, 0x00281052, 0x00281053, 0x00281054, 0x00282110, 0x00282112, 0x00020010, 0x00020000,
    0x52009229, 0x52009230, 0x7FE00008, 0x7FE00009, 0x7FE00010, 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0xFFFCFFFC,
)  # fmt: skip


@dataclass(frozen=True)
class Element:
    """Where one element lies: its tag at `start`, its length field, its value."""

    start: int
    vr: bytes
    length_at: int
    length_size: int
    value_at: int
    end: int


def spoil_dicom(data: bytes, rng: random.Random) -> bytes:
    """One mutation of one element, or of the inflated data of a deflated file."""
    if b"1.2.840.10008.1.2.1.99" in data[:400] and rng.random() < 0.6:
        return _spoil_deflated(data, rng)
    start, order, implicit = _encoding(data)
    elements = _elements(data, start, order, implicit)
    if not elements:
        return spoil_bytes(data, rng)
    element = rng.choice(elements)
    return rng.choice(_MUTATIONS)(bytearray(data), element, order, rng)


def _encoding(data: bytes) -> tuple[int, str, bool]:
    start = 132 if data[128:132] == b"DICM" else 0
    head = data[:600]
    order = ">" if b"1.2.840.10008.1.2.2\0" in head else "<"
    implicit = b"1.2.840.10008.1.2\0" in head
    return start, order, implicit


def _elements(data: bytes, at: int, order: str, implicit: bool) -> list[Element]:
    """All elements in the order of the file, those inside sequences too."""
    found: list[Element] = []
    while at + 8 <= len(data) and len(found) < 400:
        little_meta = data[at : at + 2] == b"\x02\x00"
        way, plain = ("<", False) if little_meta else (order, implicit)
        group, _ = struct.unpack(way + "HH", data[at : at + 4])
        vr = data[at + 4 : at + 6]
        if group == 0xFFFE or plain:
            size, length_at, vr = 4, at + 4, b"" if group != 0xFFFE else b"SQ"
        elif vr in _LONG_VRS:
            size, length_at = 4, at + 8
        else:
            size, length_at = 2, at + 6
        if length_at + size > len(data):
            break
        (length,) = struct.unpack(way + ("L" if size == 4 else "H"), data[length_at : length_at + size])
        value_at = length_at + size
        inside = vr == b"SQ" or length == 0xFFFFFFFF or (plain and group in (0x5200,))
        end = value_at if inside else value_at + length
        found.append(Element(at, vr, length_at, size, value_at, end))
        at = end
    return found


def _spoil_deflated(data: bytes, rng: random.Random) -> bytes:
    length = struct.unpack("<L", data[140:144])[0] if len(data) > 144 else 0
    body_at = 144 + length
    try:
        body = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[body_at:], 2**20)
    except zlib.error:
        return spoil_bytes(data, rng)
    elements = _elements(body, 0, "<", False)
    if elements and rng.random() < 0.7:
        body = rng.choice(_MUTATIONS)(bytearray(body), rng.choice(elements), "<", rng)
    else:
        body = spoil_bytes(body, rng)
    engine = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return data[:body_at] + engine.compress(body) + engine.flush()


def _set_value(data: bytearray, e: Element, order: str, rng: random.Random) -> bytes:
    """Another value of the same length."""
    size = min(e.end, len(data)) - e.value_at
    if size <= 0:
        return _set_length(data, e, order, rng)
    if size in (2, 4, 8) and rng.random() < 0.7:
        value = interesting_bytes(rng, size, order)
    else:
        value = rng.choice(_TEXTS)[:size].ljust(size, rng.choice((b" ", b"\0")))
    data[e.value_at : e.value_at + size] = value
    return bytes(data)


def _replace_value(data: bytearray, e: Element, order: str, rng: random.Random) -> bytes:
    """Another value with its right length."""
    value = rng.choice(_TEXTS)
    value += b" " * (len(value) % 2)
    length = struct.pack(order + ("L" if e.length_size == 4 else "H"), len(value))
    return bytes(data[: e.length_at]) + length + value + bytes(data[e.end :])


def _set_length(data: bytearray, e: Element, order: str, rng: random.Random) -> bytes:
    data[e.length_at : e.value_at] = interesting_bytes(rng, e.length_size, order)
    return bytes(data)


def _set_vr(data: bytearray, e: Element, order: str, rng: random.Random) -> bytes:
    data[e.start + 4 : e.start + 6] = rng.choice(_VRS)
    return bytes(data)


def _set_tag(data: bytearray, e: Element, order: str, rng: random.Random) -> bytes:
    tag = rng.choice(_KNOWN_TAGS)
    data[e.start : e.start + 4] = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    return bytes(data)


def _remove(data: bytearray, e: Element, order: str, rng: random.Random) -> bytes:
    del data[e.start : e.end]
    return bytes(data)


def _twice(data: bytearray, e: Element, order: str, rng: random.Random) -> bytes:
    return bytes(data[: e.end]) + bytes(data[e.start : e.end]) * rng.choice((1, 1, 300)) + bytes(data[e.end :])


def _nest(data: bytearray, e: Element, order: str, rng: random.Random) -> bytes:
    """Sequences in sequences, in front of an element."""
    explicit = struct.pack(order + "HH", 0x0008, 0x1140) + b"SQ\0\0" + b"\xff" * 4
    implicit = struct.pack(order + "HH", 0x0008, 0x1140) + b"\xff" * 4
    item = struct.pack(order + "HH", 0xFFFE, 0xE000) + b"\xff" * 4
    nest = (rng.choice((explicit, implicit)) + item) * rng.choice((1, 5, 60, 900))
    return bytes(data[: e.start]) + nest + bytes(data[e.start :])


def _spoil_value(data: bytearray, e: Element, order: str, rng: random.Random) -> bytes:
    """A byte mutation that stays inside the value: what decoders of pixels meet."""
    end = min(e.end, len(data))
    return bytes(data[: e.value_at]) + spoil_bytes(bytes(data[e.value_at : end]), rng) + bytes(data[end:])


_MUTATIONS = (_set_value, _set_value, _replace_value, _replace_value, _set_length, _set_vr, _set_tag, _remove, _twice,
              _nest, _spoil_value)  # fmt: skip
