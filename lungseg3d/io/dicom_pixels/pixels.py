"""Stored values of DICOM slices -> int16 HU in an array that is already there.

In: `DicomFile`s whose headers were checked, and the planes (rows, columns) to fill. Out: the planes, and
facts for warnings. Knows no geometry.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lungseg3d.io.dicom_headers.records import DicomFile, Frame, Pixels
from lungseg3d.io.dicom_pixels.decoders import stored_frames
from lungseg3d.io.intake.hounsfield import PADDING
from lungseg3d.io.intake.reading import refuse, shown

_TISSUE_HU = (-900, 3500)
_WORKERS = min(8, 2 * (os.cpu_count() or 1))


@dataclass(frozen=True)
class VolumePlane:
    """Where one frame goes: plane `index` of the volume."""

    file: DicomFile
    frame: Frame
    index: int


@dataclass
class PixelFacts:
    """What was met while decoding."""

    high_bits: int = 0
    overlays: int = 0
    unusual_padding: int = 0


def read_planes(planes: Sequence[VolumePlane], volume: np.ndarray) -> PixelFacts:
    """Fill `volume` (slices, rows, columns), int16, with HU; padding becomes `PADDING`.

    Raises:
        IntakeError: E_UNREADABLE_SLICE, E_BITS_STORED, E_NOT_HOUNSFIELD, with the file's name.
    """
    by_file: dict[int, list[VolumePlane]] = {}
    for plane in planes:
        by_file.setdefault(id(plane.file), []).append(plane)
    facts = PixelFacts()

    def read(group: list[VolumePlane]) -> None:
        stored_of = stored_frames(group[0].file)
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


def _to_hu(stored: np.ndarray, plane: VolumePlane, out: np.ndarray, facts: PixelFacts) -> None:
    """Stored values -> HU: overlays and padding first, then unused bits, MONOCHROME1, rescale."""
    pixels, frame = plane.file.pixels, plane.frame
    if not stored.dtype.isnative:
        stored = stored.astype(stored.dtype.newbyteorder("="))
    slope, intercept = frame.slope or 0.0, frame.intercept or 0.0
    bits = pixels.bits_stored or pixels.bits_allocated or 16
    raw, padding = stored, _padding_values(pixels, stored.dtype)
    overlays = pixels.overlay_bits & _bits(bits, 8 * stored.dtype.itemsize)
    if overlays:  # drawn on padding, too, which may itself have these bits: both without them
        stored, padding = (_without_overlays(values, overlays, bits) for values in (stored, padding))
    padded = _padding_mask(stored, padding, slope, intercept, facts)
    if overlays:
        facts.overlays += bool((stored != raw if padded is None else (stored != raw) & ~padded).any())
    low, high = _range(stored, padded)
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


def _bits(first: int, end: int) -> int:
    """A mask of the bits from `first` up to `end`."""
    return (1 << end) - (1 << first)


def _without_overlays(stored: np.ndarray, overlays: int, bits: int) -> np.ndarray:
    """Stored values whose overlay bits, all above the `bits` of a value, hold what they would without an overlay.

    That is 0, or the sign of a signed value. Whatever else is above the value stays, to be judged as where no overlay
    is declared; the other bits of a signed value may repeat its sign or be 0.
    """
    plain = stored.view(f"u{stored.dtype.itemsize}")
    size = 8 * stored.dtype.itemsize
    overlay, others = (np.array(mask, plain.dtype) for mask in (overlays, _bits(bits, size) & ~overlays))
    filled = plain & ~overlay
    if stored.dtype.kind == "i":
        rest = plain & others
        is_negative = ((plain >> (bits - 1)) & 1 == 1) & ((rest == others) | (rest == 0))
        filled = np.where(is_negative, filled | overlay | others, filled)
    pixels: np.ndarray = filled.astype(plain.dtype).view(stored.dtype)
    return pixels


def _padding_values(pixels: Pixels, dtype: np.dtype) -> np.ndarray:
    """First and last padding value, or none, in the type of the pixels.

    The tag's VR often disagrees with PixelRepresentation: equal bits are equal values.
    """
    values = [value % (1 << 8 * dtype.itemsize) for value in pixels.padding or ()]
    return np.array(values, f"u{dtype.itemsize}").view(dtype)


def _padding_mask(
    stored: np.ndarray, padding: np.ndarray, slope: float, intercept: float, facts: PixelFacts
) -> np.ndarray | None:
    if not padding.size:
        return None
    first, last = int(padding.min()), int(padding.max())
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


def _without_high_bits(stored: np.ndarray, padded: np.ndarray | None, plane: VolumePlane, bits: int) -> np.ndarray:
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
