"""Pixel data of one DICOM file -> stored values, for every transfer syntax that a permitted decoder reads.

In: `DicomFile`. Out: frame index -> integer array (rows, columns), before any rescale.
The decoders are those of imagecodecs (BSD; libjpeg-turbo, CharLS, OpenJPEG). Not gdcm: of 17,000 damaged frames it
ended the process at 529, these at none.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import NoReturn

import numpy as np
from pydicom.encaps import generate_fragmented_frames

from lungseg3d.core import IntakeError
from lungseg3d.io.dicom_headers.headers import inflated
from lungseg3d.io.dicom_headers.records import DicomFile, Pixels
from lungseg3d.io.dicom_pixels.codestreams import decode_frame
from lungseg3d.io.intake.reading import refuse, shown

_COMPRESSED = "1.2.840.10008.1.2.4."
NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"}
_FAMILIES = {
    **{f"{_COMPRESSED}{n}": "jpeg" for n in (50, 51, 53, 55, 57, 70)},
    **{f"{_COMPRESSED}{n}": "jpeg-ls" for n in (80, 81)},
    **{f"{_COMPRESSED}{n}": "jpeg2000" for n in (90, 91)},
    "1.2.840.10008.1.2.5": "rle",
}
DECODABLE = NATIVE | set(_FAMILIES)
ALWAYS_LOSSY = {f"{_COMPRESSED}{n}" for n in (50, 51, 53, 55)}
_BIG_ENDIAN = "1.2.840.10008.1.2.2"


def stored_frames(file: DicomFile) -> Callable[[int], np.ndarray]:
    """A function from frame index to stored values (rows, columns)."""
    name = shown(file.path)
    try:
        if file.transfer_syntax in NATIVE:
            return _native(file)
        return _compressed(file)
    except (IntakeError, MemoryError):
        raise
    except (Exception, RecursionError) as error:
        _unreadable(name, error)


def _unreadable(name: str, error: BaseException) -> NoReturn:
    text = " ".join(str(error).split())[:160] or type(error).__name__
    refuse("E_UNREADABLE_SLICE", f"{name}: the pixels cannot be decoded ({text}).", "Export the series again.")


def stored_dtype(pixels: Pixels, big_endian: bool = False) -> np.dtype:
    """The number type of uncompressed pixels."""
    letter = "i" if pixels.signed else "u"
    return np.dtype(f"{'>' if big_endian else '<'}{letter}{(pixels.bits_allocated or 16) // 8}")


def _native(file: DicomFile) -> Callable[[int], np.ndarray]:
    pixels = file.pixels
    dtype = stored_dtype(pixels, file.transfer_syntax == _BIG_ENDIAN)
    rows, columns = pixels.rows or 0, pixels.columns or 0
    expected = rows * columns * dtype.itemsize

    def stored(frame: int) -> np.ndarray:
        with inflated(file.place) if file.place.deflated else file.place.open() as stream:
            stream.seek(pixels.offset + frame * expected)
            data = stream.read(expected)
        if len(data) < expected:
            refuse(
                "E_UNREADABLE_SLICE",
                f"{shown(file.path)}: expected {expected} bytes of pixels, got {len(data)}.",
                "Copy or export the series again.",
            )
        return np.frombuffer(data, dtype).reshape(rows, columns)

    return stored


def _compressed(file: DicomFile) -> Callable[[int], np.ndarray]:
    pixels = file.pixels
    dtype, family = stored_dtype(pixels), _FAMILIES[file.transfer_syntax]
    with file.place.open() as stream:
        stream.seek(pixels.offset)
        held = BytesIO(stream.read())  # asked for more than there is, it gives what there is and asks for no memory
    fragments = list(generate_fragmented_frames(held, number_of_frames=pixels.number_of_frames))
    if len(fragments) < pixels.number_of_frames:
        raise ValueError(f"{len(fragments)} frames, expected {pixels.number_of_frames}")

    def stored(frame: int) -> np.ndarray:
        try:
            return decode_frame(b"".join(fragments[frame]), family, pixels.rows or 0, pixels.columns or 0, dtype)
        except MemoryError:
            raise
        except Exception as error:
            _unreadable(shown(file.path), error)

    return stored
