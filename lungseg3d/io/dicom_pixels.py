"""Stored values of DICOM slices -> int16 HU in an array that is already there.

In: `DicomFile`s whose headers were checked, and the planes (rows, columns) to fill. Out: the planes, and
facts for warnings. Knows no geometry.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import pydicom
from pydicom.pixels import get_decoder
from pydicom.uid import UID
from scipy import ndimage

from lungseg3d.core import IntakeError
from lungseg3d.io.dicom_headers import DicomFile, Frame, Pixels, inflated
from lungseg3d.io.hounsfield import PADDING
from lungseg3d.io.reading import refuse, shown

NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"}
_PYDICOM_DECODES = {f"1.2.840.10008.1.2.4.{n}" for n in (50, 57, 70, 80, 81, 90, 91)} | {"1.2.840.10008.1.2.5"}
# pydicom refuses 12-bit lossy JPEG and the retired processes; gdcm itself decodes them rightly.
_GDCM_DECODES = {f"1.2.840.10008.1.2.4.{n}" for n in (51, 53, 55)}
DECODABLE = NATIVE | _PYDICOM_DECODES | _GDCM_DECODES
ALWAYS_LOSSY = {f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55)}
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_TISSUE_HU = (-900, 3500)
_WORKERS = min(8, 2 * (os.cpu_count() or 1))


@dataclass(frozen=True)
class Plane:
    """Where one frame goes: plane `index` of the volume."""

    file: DicomFile
    frame: Frame
    index: int


@dataclass
class PixelFacts:
    """What was met while decoding."""

    high_bits: int = 0
    unusual_padding: int = 0


def read_planes(planes: Sequence[Plane], volume: np.ndarray) -> PixelFacts:
    """Fill `volume` (slices, rows, columns), int16, with HU; padding becomes `PADDING`.

    Raises:
        IntakeError: E_UNREADABLE_SLICE, E_BITS_STORED, E_NOT_HOUNSFIELD, with the file's name.
    """
    by_file: dict[int, list[Plane]] = {}
    for plane in planes:
        by_file.setdefault(id(plane.file), []).append(plane)
    facts = PixelFacts()

    def read(group: list[Plane]) -> None:
        stored_of = _frames_of(group[0].file)
        for plane in group:
            _to_hu(stored_of(plane.frame.index), plane, volume[plane.index], facts)

    with ThreadPoolExecutor(_WORKERS) as pool:
        jobs = [pool.submit(read, group) for group in by_file.values()]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            for job in jobs:
                job.cancel()
            raise
    return facts


def _frames_of(file: DicomFile) -> Callable[[int], np.ndarray]:
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


def _to_hu(stored: np.ndarray, plane: Plane, out: np.ndarray, facts: PixelFacts) -> None:
    """Stored values -> HU: padding first, then unused bits, MONOCHROME1, rescale."""
    pixels, frame = plane.file.pixels, plane.frame
    if not stored.dtype.isnative:
        stored = stored.astype(stored.dtype.newbyteorder("="))
    slope, intercept = frame.slope or 0.0, frame.intercept or 0.0
    padded = _padding_mask(stored, pixels, slope, intercept, facts)
    low, high = _range(stored, padded)
    bits = pixels.bits_stored or pixels.bits_allocated or 16
    least, most = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if pixels.signed else (0, (1 << bits) - 1)
    if low < least or high > most:
        stored = _without_high_bits(stored, padded, plane, bits)
        facts.high_bits += 1
        low, high = _range(stored, padded)
    if pixels.photometric == "MONOCHROME1":
        stored = (least + most) - stored.astype(np.int32)
        low, high = least + most - high, least + most - low
    ends = sorted((low * slope + intercept, high * slope + intercept))
    if ends[0] < -32767 or ends[1] > 32767:
        refuse(
            "E_NOT_HOUNSFIELD",
            f"{shown(plane.file.path)}: values {ends[0]:g}..{ends[1]:g} do not fit HU in 16 bits.",
            "Check the rescale slope and intercept; export the series again.",
        )
    if slope == 1.0 and intercept == int(intercept) and stored.dtype.itemsize == 2:
        # Addition modulo 2**16 is exact, as the true result fits int16.
        np.add(stored.view(np.uint16), np.uint16(int(intercept) % 65536), out=out.view(np.uint16))
    else:
        out[...] = np.rint(stored * slope + intercept)
    if padded is not None:
        out[padded] = PADDING


def _range(stored: np.ndarray, padded: np.ndarray | None) -> tuple[int, int]:
    valid = stored if padded is None else stored[~padded]
    return (int(valid.min()), int(valid.max())) if valid.size else (0, 0)


def _padding_mask(
    stored: np.ndarray, pixels: Pixels, slope: float, intercept: float, facts: PixelFacts
) -> np.ndarray | None:
    if pixels.padding is None:
        return None
    size = 8 * stored.dtype.itemsize
    modulus = 1 << size
    # The tag's VR often disagrees with PixelRepresentation: equal bits are equal values.
    ends = [value % modulus for value in pixels.padding]
    if stored.dtype.kind == "i":
        ends = [value - modulus if value >= modulus // 2 else value for value in ends]
    first, last = min(ends), max(ends)
    padded = stored == first if first == last else (stored >= first) & (stored <= last)
    if not padded.any():
        return None
    ends_hu = [first * slope + intercept, last * slope + intercept]
    if not any(_TISSUE_HU[0] < hu < _TISSUE_HU[1] for hu in ends_hu):
        return padded
    # A padding value that means tissue: trust it only where it surrounds the image.
    parts, _ = ndimage.label(padded)
    edge = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    facts.unusual_padding += 1
    around = np.isin(parts, edge[edge > 0])
    return around if around.any() else None


def _without_high_bits(stored: np.ndarray, padded: np.ndarray | None, plane: Plane, bits: int) -> np.ndarray:
    """Cut the bits above BitsStored when they are rubbish; refuse when they carry the image."""
    masked = stored.view(f"u{stored.dtype.itemsize}") & ((1 << bits) - 1)
    masked = masked.view(stored.dtype)
    if plane.file.pixels.signed:
        masked = np.where(masked >= 1 << (bits - 1), masked - (1 << bits), masked).astype(stored.dtype)
    low_end, high_end = (-(1 << (bits - 1)), 1 << (bits - 1)) if plane.file.pixels.signed else (0, 1 << bits)
    above = (stored < low_end) | (stored >= high_end)
    if padded is not None:
        above &= ~padded
    patterns = np.unique(stored[above].view(f"u{stored.dtype.itemsize}") >> bits).size
    # Rubbish lies all over the slice and makes neighbours differ; real values above the limit are few and in one place,
    # or make neighbours differ when they are cut.
    is_rubbish = (above.mean() > 0.3 or patterns >= 3) and _roughness(masked, padded) <= _roughness(stored, padded)
    if not is_rubbish:
        low, high = _range(stored, padded)
        refuse(
            "E_BITS_STORED",
            f"{shown(plane.file.path)}: values {low}..{high} do not fit the {bits} bits that the header states.",
            "Export the series again; cutting the values would lose data.",
        )
    return masked


def _roughness(values: np.ndarray, padded: np.ndarray | None) -> float:
    plain = values.astype(np.float64)
    if padded is not None:
        plain[padded] = 0
    return float(np.abs(np.diff(plain, axis=1)).sum())
