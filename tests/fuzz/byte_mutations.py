"""Ways to spoil bytes without knowing what they mean.

In: bytes and a random generator. Out: other bytes. Knows no format.
"""

from __future__ import annotations

import random
import struct

INTERESTING = (0, 1, 2, 7, 8, 16, 127, 128, 255, 256, 32767, 32768, 65534, 65535, 65536, 2**20, 2**24, 2**31 - 1,
               2**31, 2**32 - 2, 2**32 - 1)  # fmt: skip
"""Numbers at which lengths, counts and codes tip over."""
_RUN_BYTES = (b"\0", b"\xff", b"\x20", b"\x7f", b"\x80", b"\xfe", b"0", b"9", b"(", b"\n")
_MOST_BYTES = 64 * 2**10


def spoil_bytes(data: bytes, rng: random.Random) -> bytes:
    """One mutation anywhere; headers, which lie in front, are hit more often than voxels."""
    if not data:
        return rng.randbytes(rng.randint(1, 8))
    return rng.choice(_MUTATIONS)(bytearray(data), rng)[:_MOST_BYTES]


def somewhere(data: bytes | bytearray, rng: random.Random) -> int:
    """An index into `data`; half of them among the first 400."""
    near = min(len(data), 400) if rng.random() < 0.5 else len(data)
    return rng.randrange(near)


def interesting_bytes(rng: random.Random, size: int, order: str = "") -> bytes:
    """A number at which something tips over, in `size` bytes."""
    value = rng.choice(INTERESTING) % (1 << 8 * size)
    little = order == "<" or (not order and rng.random() < 0.7)
    return value.to_bytes(size, "little" if little else "big")


def interesting_float(rng: random.Random) -> float:
    """A float that headers should not hold, or barely."""
    return rng.choice((0.0, -0.0, 1.0, -1.0, 1e-30, 1e-3, 1e30, -1e30, 3e38, float("nan"), float("inf"), -float("inf")))


def _flip_bits(data: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        data[somewhere(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(data)


def _set_byte(data: bytearray, rng: random.Random) -> bytes:
    data[somewhere(data, rng)] = rng.randrange(256)
    return bytes(data)


def _set_number(data: bytearray, rng: random.Random) -> bytes:
    size = rng.choice((1, 2, 4, 4, 8))
    at = somewhere(data, rng)
    data[at : at + size] = interesting_bytes(rng, size)
    return bytes(data)


def _set_float(data: bytearray, rng: random.Random) -> bytes:
    at = somewhere(data, rng) & ~3
    data[at : at + 4] = struct.pack("<f", interesting_float(rng))
    return bytes(data)


def _cut(data: bytearray, rng: random.Random) -> bytes:
    return bytes(data[: rng.choice((somewhere(data, rng), len(data) - 1, max(0, len(data) - rng.randint(1, 40))))])


def _cut_out(data: bytearray, rng: random.Random) -> bytes:
    at = somewhere(data, rng)
    del data[at : at + rng.choice((1, 1, 2, 4, 8, 64))]
    return bytes(data)


def _insert(data: bytearray, rng: random.Random) -> bytes:
    at = somewhere(data, rng)
    run = rng.choice(_RUN_BYTES) * rng.choice((1, 2, 4, 100, 5000)) if rng.random() < 0.5 else rng.randbytes(4)
    return bytes(data[:at]) + run + bytes(data[at:])


def _overwrite(data: bytearray, rng: random.Random) -> bytes:
    at, size = somewhere(data, rng), rng.choice((2, 4, 16, 100))
    data[at : at + size] = rng.choice(_RUN_BYTES) * min(size, len(data) - at)
    return bytes(data)


def _repeat(data: bytearray, rng: random.Random) -> bytes:
    at, size = somewhere(data, rng), rng.choice((2, 8, 40, 200))
    return bytes(data[: at + size]) + bytes(data[at : at + size]) * rng.choice((1, 2, 20)) + bytes(data[at + size :])


def _swap_blocks(data: bytearray, rng: random.Random) -> bytes:
    size = rng.choice((1, 2, 4, 16, 64))
    first, second = somewhere(data, rng), somewhere(data, rng)
    block = bytes(data[first : first + size])
    data[first : first + len(block)] = data[second : second + len(block)]
    data[second : second + len(block)] = block
    return bytes(data)


_MUTATIONS = (
    _flip_bits,
    _set_byte,
    _set_number,
    _set_float,
    _cut,
    _cut_out,
    _insert,
    _overwrite,
    _repeat,
    _swap_blocks,
)
