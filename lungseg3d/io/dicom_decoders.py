"""Pixel data of one DICOM file -> stored values, for every transfer syntax that a permitted decoder reads.

In: `DicomFile`. Out: frame index -> integer array (rows, columns), before any rescale.
gdcm is BSD-licensed; no GPL decoder is used.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pydicom
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from lungseg3d.core import IntakeError
from lungseg3d.io.dicom_headers import inflated
from lungseg3d.io.dicom_records import DicomFile, Pixels
from lungseg3d.io.reading import refuse, shown

NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"}
_PYDICOM_DECODES = {f"1.2.840.10008.1.2.4.{n}" for n in (50, 57, 70, 80, 81, 90, 91)} | {"1.2.840.10008.1.2.5"}
# pydicom refuses 12-bit lossy JPEG and the retired processes; gdcm itself decodes them rightly.
_GDCM_DECODES = {f"1.2.840.10008.1.2.4.{n}" for n in (51, 53, 55)}
DECODABLE = NATIVE | _PYDICOM_DECODES | _GDCM_DECODES
ALWAYS_LOSSY = {f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55)}
_BIG_ENDIAN = "1.2.840.10008.1.2.2"


def stored_frames(file: DicomFile) -> Callable[[int], np.ndarray]:
    """A function from frame index to stored values (rows, columns)."""
    name = shown(file.path)
    try:
        if file.transfer_syntax in NATIVE:
            return _native(file)
        if file.transfer_syntax in _GDCM_DECODES:
            return _by_gdcm(file)
        return _by_pydicom(file)
    except IntakeError:
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


def _by_pydicom(file: DicomFile) -> Callable[[int], np.ndarray]:
    with file.place.open() as stream:
        dataset = pydicom.dcmread(stream, force=True)
    decoder = get_decoder(UID(file.transfer_syntax))
    shape = (file.pixels.rows, file.pixels.columns)

    def stored(frame: int) -> np.ndarray:
        try:
            values, _ = decoder.as_array(dataset, index=frame, raw=True)
            return values.reshape(shape)
        except (Exception, RecursionError) as error:
            _unreadable(shown(file.path), error)

    return stored


def _by_gdcm(file: DicomFile) -> Callable[[int], np.ndarray]:
    import gdcm

    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
    with tempfile.TemporaryDirectory() as folder:
        path = file.place.path
        if file.place.member is not None:
            path = Path(folder, "slice.dcm")
            with file.place.open() as stream:
                path.write_bytes(stream.read())
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        if not reader.Read():
            raise ValueError("gdcm cannot read it")
        data = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
    values = np.frombuffer(data, stored_dtype(file.pixels))
    stack = values.reshape(file.pixels.number_of_frames, file.pixels.rows or 0, file.pixels.columns or 0)
    return lambda frame: stack[frame]
