"""Compressed frames: the codestream must hold what the DICOM header says, all of it, before a decoder sees it."""

import struct

import imagecodecs
import numpy as np
import pytest
from pydicom.pixels.encoders.native import _encode_frame

from lungseg3d.io.dicom_pixels.codestreams import claim_of_jpeg, claim_of_jpeg2000, decode_frame

ROWS, COLUMNS = 20, 30
INT16, UINT16, UINT8 = np.dtype("<i2"), np.dtype("<u2"), np.dtype("u1")
VALUES = (np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) * 5).astype(np.uint16)


class _Runner:
    """What pydicom's RLE encoder asks."""

    rows, columns, samples_per_pixel, bits_allocated = ROWS, COLUMNS, 1, 16

    def get_option(self, name: str, default: object = None) -> object:
        return {"byteorder": "<"}.get(name, default)


FRAMES = {
    "jpeg": imagecodecs.jpeg8_encode(VALUES, lossless=True, bitspersample=16),
    "jpeg-ls": imagecodecs.jpegls_encode(VALUES),
    "jpeg2000": imagecodecs.jpeg2k_encode(VALUES, reversible=True, codecformat="j2k", level=0),
}


@pytest.mark.parametrize("family", FRAMES)
def test_a_lossless_frame_gives_its_values_back(family):
    assert np.array_equal(decode_frame(FRAMES[family], family, ROWS, COLUMNS, UINT16), VALUES)


@pytest.mark.parametrize("family", FRAMES)
@pytest.mark.parametrize(("rows", "columns"), [(ROWS + 1, COLUMNS), (COLUMNS, ROWS), (ROWS, 0)])
def test_a_frame_of_another_size_than_the_header_says_is_refused(family, rows, columns):
    with pytest.raises(ValueError, match="30 x 20 pixels"):
        decode_frame(FRAMES[family], family, rows, columns, UINT16)


@pytest.mark.parametrize("family", FRAMES)
def test_a_frame_of_more_bits_than_are_allocated_is_refused(family):
    with pytest.raises(ValueError, match="16 bits"):
        decode_frame(FRAMES[family], family, ROWS, COLUMNS, UINT8)


@pytest.mark.parametrize("family", FRAMES)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_frame_is_refused_and_not_filled_with_grey(family, share):
    frame = FRAMES[family]
    with pytest.raises((ValueError, RuntimeError)):
        decode_frame(frame[: int(share * len(frame))], family, ROWS, COLUMNS, UINT16)


def test_a_claim_of_65535_x_65535_pixels_is_refused_before_memory_is_taken():
    frame = bytearray(FRAMES["jpeg-ls"])
    at = frame.find(b"\xff\xf7")
    frame[at + 5 : at + 9] = struct.pack(">HH", 65535, 65535)
    claim = claim_of_jpeg(bytes(frame))
    assert (claim.rows, claim.columns) == (65535, 65535)
    with pytest.raises(ValueError, match="65535 x 65535"):
        decode_frame(bytes(frame), "jpeg-ls", ROWS, COLUMNS, UINT16)


def test_a_jpeg_2000_frame_of_a_million_tiles_is_refused():
    frame = bytearray(FRAMES["jpeg2000"])
    at = frame.find(b"\xff\x4f\xff\x51")
    frame[at + 8 : at + 16] = struct.pack(">LL", 4000, 4000)
    frame[at + 24 : at + 32] = struct.pack(">LL", 2, 2)
    with pytest.raises(ValueError, match="tiles"):
        claim_of_jpeg2000(bytes(frame))


@pytest.mark.parametrize("family", ["jpeg", "jpeg-ls", "jpeg2000"])
@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"\xff\x4f\xff\x51", bytes(100)])
def test_what_is_no_codestream_is_refused(family, data):
    with pytest.raises(ValueError, match="compressed frame"):
        decode_frame(data, family, ROWS, COLUMNS, UINT16)


@pytest.mark.parametrize("bits", [12, 16])
def test_the_dicom_header_decides_on_the_sign_where_the_codestream_knows_none(bits):
    values = np.array([[-3, 4], [-(1 << (bits - 1)), 5]], np.int16)
    codes = (values.view(np.uint16) & np.uint16((1 << bits) - 1)).astype(np.uint16)
    frame = imagecodecs.jpeg8_encode(codes, lossless=True, bitspersample=bits)
    assert np.array_equal(decode_frame(frame, "jpeg", 2, 2, INT16), values)


def test_rle_gives_its_values_back_and_refuses_cut_segments():
    frame = bytes(_encode_frame(VALUES.tobytes(), _Runner()))
    assert np.array_equal(decode_frame(frame, "rle", ROWS, COLUMNS, UINT16), VALUES)
    for damaged in (frame[:-40], frame[:70], frame[:30], b""):
        with pytest.raises((ValueError, RuntimeError)):
            decode_frame(damaged, "rle", ROWS, COLUMNS, UINT16)
    with pytest.raises(ValueError, match="segments"):
        decode_frame(frame, "rle", ROWS, COLUMNS, UINT8)
