"""One gzip member from a header and an array: every unpacker reads it, and gets the bytes that went in."""

import gzip
import io
import zlib

import numpy as np
import pytest

from lungseg3d.io.storage.packing import write_gzip


def packed(head: bytes, body: np.ndarray) -> bytes:
    file = io.BytesIO()
    write_gzip(file, head, body)
    return file.getvalue()


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_unpacked_is_the_header_and_the_array_x_fastest(order):
    body = np.asarray(np.random.default_rng(0).integers(0, 4, (7, 5, 3)), np.uint16, order=order)
    assert gzip.decompress(packed(b"header", body)) == b"header" + body.tobytes(order="F")


def test_it_is_one_member_for_unpackers_that_read_one_only():
    unpacker = zlib.decompressobj(31)
    data = unpacker.decompress(packed(b"x" * 352, np.zeros((64, 64, 64), np.uint8)))
    assert unpacker.eof
    assert not unpacker.unused_data
    assert data == b"x" * 352 + bytes(64**3)


def test_an_empty_array_leaves_the_header():
    assert gzip.decompress(packed(b"header", np.zeros((0, 4, 4), np.uint8))) == b"header"
