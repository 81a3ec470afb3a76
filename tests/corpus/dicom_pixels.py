"""Rows D28-D33, D63, D68-D72: what stored values mean, and how many of them there are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from lungseg3d.core import Volume
from tests.corpus.case import Made, row
from tests.corpus.phantom import COLUMNS, INTERCEPT_HU, ROWS, Series, chest

_RESCALE = ("RescaleSlope", "RescaleIntercept")


def _no_rescale(stored_is_hu: bool) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        series = Series()
        if stored_is_hu:
            for one in series.slices:
                one.stored = (one.stored + INTERCEPT_HU).astype("<i2")
        series.each(*_RESCALE)
        return Made(series.write(folder / "ct"), series.volume if stored_is_hu else None)

    return make


def _no_intercept_value(fixed: bool) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        series = Series(RescaleIntercept="0")
        return Made(series.write(folder / "ct"), series.volume if fixed else None)

    return make


def _rescale_by_slice(folder: Path) -> Made:
    series = Series()
    for k, one in enumerate(series.slices):
        one.stored = ((one.stored + INTERCEPT_HU + 1000 + k) * 2).astype("<i2")
        one.dataset.RescaleSlope, one.dataset.RescaleIntercept = "0.5", str(-1000 - k)
    return Made(series.write(folder / "ct"), series.volume)


def _padded(value: int, signed: bool) -> Callable[[Path], Made]:
    """The two outermost columns hold the padding value instead of air."""

    def make(folder: Path) -> Made:
        series = Series(PixelRepresentation=int(signed))
        for one in series.slices:
            stored = one.stored
            stored[:, :2] = value
            one.stored = stored
            one.dataset.add_new("PixelPaddingValue", "SS" if signed else "US", value)
        return Made(series.write(folder / "ct"), series.volume)

    return make


def _twelve_bits(spoil: Callable[[np.ndarray, np.random.Generator], np.ndarray], truth: bool) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        series = Series(PixelRepresentation=0, BitsStored=12, HighBit=11)
        rng = np.random.default_rng(3)
        for one in series.slices:
            one.stored = spoil(one.stored, rng).astype("<u2")
        return Made(series.write(folder / "ct"), series.volume if truth else None)

    return make


def _rubbish_above(stored: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return stored | (rng.integers(0, 16, stored.shape).astype("<u2") << 12)


def _image_above(stored: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    stored[8:12, 8:12] += 4000
    return stored


def _one_bit_flipped(folder: Path) -> Made:
    """What the file says is what is read: HU 1 higher in one voxel, and nobody can know it from the file."""
    series = Series()
    one = series.slices[20]
    stored = one.stored
    stored[10, 12] ^= 1
    one.stored = stored
    array = np.array(series.volume.array)
    array[12, 10, 20] = stored[10, 12] + INTERCEPT_HU
    return Made(series.write(folder / "ct"), Volume(array, series.volume.affine))


def _listed(make: Callable[[Path], Made], left_out: int = 0) -> Callable[[Path], Made]:
    """What `make` makes, with the SHA-256 sums of the clean series beside it."""

    def make_listed(folder: Path) -> Made:
        series = Series()
        sums = [
            f"{hashlib.sha256(one.encoded()).hexdigest()}  ct/{name}\n"
            for name, one in zip(series.names(), series.slices, strict=True)
        ]
        (folder / "ct.sha256").write_text("".join(sums[left_out:]))
        return replace(make(folder), options={"verify_manifest": folder / "ct.sha256"})

    return make_listed


def _clean(folder: Path) -> Made:
    series = Series()
    return Made(series.write(folder / "ct"), series.volume)


def _no_pixels(folder: Path) -> Made:
    return Made(Series().each("PixelData").write(folder / "ct"))


def _matrix(size: int) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        volume = chest((size, size, 4), (0.4, 0.4, 2.5))
        return Made(Series(volume).write(folder / "ct"), volume)

    return make


def _thousand(folder: Path) -> Made:
    volume = chest((COLUMNS, ROWS, 1000), (0.8, 0.7, 0.3))
    return Made(Series(volume).write(folder / "ct"), volume)


def _float_pixels(folder: Path) -> Made:
    series = Series(BitsAllocated=32, BitsStored=32, HighBit=31)
    for one in series.slices:
        d = one.dataset
        d.FloatPixelData = np.frombuffer(d.PixelData, "<i2").astype("<f4").tobytes()
        del d.PixelData
    return Made(series.write(folder / "ct"), series.volume)


def _wide_integers(folder: Path) -> Made:
    series = Series(BitsAllocated=32, BitsStored=32, HighBit=31)
    for one in series.slices:
        one.dataset.PixelData = np.frombuffer(one.dataset.PixelData, "<i2").astype("<i4").tobytes()
    return Made(series.write(folder / "ct"), series.volume)


def _monochrome1(folder: Path) -> Made:
    series = Series(PhotometricInterpretation="MONOCHROME1")
    for one in series.slices:
        one.stored = (-1 - one.stored).astype("<i2")
    return Made(series.write(folder / "ct"), series.volume)


CASES = (
    row("D28", "rescale tags absent", _no_rescale(False), "E_MISSING_TAG", says="RescaleSlope"),
    row("D28-assume", "rescale tags absent, values in HU", _no_rescale(True), "W_ASSUMED_HU", assume_hu=True),
    row("D28-zero", "rescale intercept 0 where it is -1024", _no_intercept_value(False), "E_NOT_HOUNSFIELD"),
    row("D28-fix", "rescale intercept 0, to be fixed", _no_intercept_value(True), "W_OFFSET_FIXED", fix_offset=True),
    row("D29", "rescale differs from slice to slice", _rescale_by_slice),
    row("D30", "padding -2000, signed", _padded(-2000, True)),
    row("D31", "padding 63536, unsigned", _padded(63536, False)),
    row("D32", "rubbish in the high 4 bits", _twelve_bits(_rubbish_above, True), "W_HIGH_BITS_SET"),
    row("D33", "values above 4095 with BitsStored 12", _twelve_bits(_image_above, False), "E_BITS_STORED"),
    row("D63", "one bit flipped in the pixels", _one_bit_flipped),
    row("D63-sums", "the same, with a list of sums", _listed(_one_bit_flipped), "E_CHECKSUM", says="0020.dcm"),
    row("D63-clean", "a clean series with a list of sums", _listed(_clean)),
    row("D63-unlisted", "a slice that the list lacks", _listed(_clean, 1), "E_CHECKSUM", says="0000.dcm"),
    row("D68", "headers without pixel data", _no_pixels, "E_MISSING_TAG", says="PixelData"),
    row("D69-768", "matrix of 768", _matrix(768), "W_SHORT_COVERAGE"),
    row("D69-1024", "matrix of 1024", _matrix(1024), "W_SHORT_COVERAGE"),
    row("D70", "1000 slices of 0.3 mm", _thousand),
    row("D71", "float pixel data", _float_pixels, "E_PIXEL_FORMAT"),
    row("D71-int32", "32-bit integer pixels", _wide_integers),
    row("D72", "MONOCHROME1", _monochrome1),
)
