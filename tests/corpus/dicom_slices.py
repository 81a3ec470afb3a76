"""Rows D01-D07, D14, D20-D23, D50-D57: slices that are missing, repeated, uneven, or in any order."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from lungseg3d.core import Volume
from tests.corpus.case import Made, row
from tests.corpus.phantom import COLUMNS, ROWS, Series, chest, part, thinned


def _clean(folder: Path) -> Made:
    series = Series()
    return Made(series.write(folder / "ct"), series.volume)


def _without(*lost: int, truth: bool = False) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        series = Series()
        series.slices = [one for k, one in enumerate(series.slices) if k not in lost]
        return Made(series.write(folder / "ct"), series.volume if truth else None)

    return make


def _short(folder: Path) -> Made:
    series = Series()
    del series.slices[30:]
    return Made(series.write(folder / "ct"), part(series.volume, slice(30)))


def _repeated(uid_suffix: str, other_pixels: bool = False) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        series = Series()
        for k in (3, 17):
            twin = series.slices[k].twin(uid_suffix)
            if other_pixels:
                twin.stored = twin.stored + 40
            series.slices.append(twin)
        return Made(series.write(folder / "ct"), None if other_pixels else series.volume)

    return make


def _two_spacings(truth: bool) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        series = Series()
        series.slices = series.slices[:20] + series.slices[20::2]
        return Made(series.write(folder / "ct"), part(series.volume, slice(39)) if truth else None)

    return make


def _misleading_names(folder: Path) -> Made:
    series = Series()
    names = [f"slice_{n:02d}.dcm" for n in random.Random(1).sample(range(40), 40)]
    return Made(series.write(folder / "ct", names), series.volume)


def _numbered(numbers: list[int | None]) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        series = Series()
        for one, number in zip(series.slices, numbers, strict=True):
            if number is None:
                del one.dataset.InstanceNumber
            else:
                one.dataset.InstanceNumber = number
        return Made(series.write(folder / "ct"), series.volume)

    return make


def _stack(volume: Volume, **tags: object) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        return Made(Series(volume, **tags).write(folder / "ct"), volume)

    return make


def _one_slice(folder: Path) -> Made:
    series = Series()
    del series.slices[1:]
    return Made(series.write(folder / "ct"), part(series.volume, slice(1)))


def _two_phases(folder: Path) -> Made:
    series = Series()
    second = [one.twin(".9") for one in series.slices]
    for n, one in enumerate(second):
        one.dataset.AcquisitionNumber, one.dataset.InstanceNumber = 2, 41 + n
        one.stored = one.stored + 60
    series.slices += second
    return Made(series.write(folder / "ct"))


def _one_other_matrix(folder: Path) -> Made:
    series = Series()
    odd = series.slices[8]
    odd.dataset.Rows, odd.dataset.Columns = ROWS // 2, 2 * COLUMNS
    return Made(series.write(folder / "ct"))


def _one_other_spacing(folder: Path) -> Made:
    series = Series()
    series.slices[8].dataset.PixelSpacing = ["0.9", "1.0"]
    return Made(series.write(folder / "ct"))


_SHUFFLED: list[int | None] = [*random.Random(2).sample(range(1, 41), 40)]
_HRCT = chest((COLUMNS, ROWS, 12), (0.8, 0.7, 10.0))
_OVERLAP = chest((COLUMNS, ROWS, 80), (0.8, 0.7, 1.25))

CASES = (
    row("D01", "clean axial series", _clean),
    row("D02", "1 slice missing inside", _without(19), "E_MISSING_SLICES", says="1 slice missing near z = -2.5 mm"),
    row("D02-allow", "the same, to be filled", _without(19, truth=True), "W_GAPS_FILLED", allow_gaps=True),
    row("D03", "5 slices missing", _without(9, 10, 20, 29, 30), "E_MISSING_SLICES", says="5 slices missing near z = "),
    row("D03-run", "5 slices missing in a row", _without(20, 21, 22, 23, 24), "E_MISSING_SLICES", says="5 slices"),
    row(
        "D03-allow",
        "5 slices missing, to be filled",
        _without(9, 10, 20, 29, 30, truth=True),
        "W_GAPS_FILLED",
        allow_gaps=True,
    ),
    row("D04", "end of the series missing", _short, "W_SHORT_COVERAGE"),
    row("D05", "repeated slices, same UID", _repeated(""), "W_DUPLICATE_DROPPED"),
    row("D06", "repeated slices, new UID, same pixels", _repeated(".9"), "W_DUPLICATE_DROPPED"),
    row("D07", "same position, different pixels", _repeated(".9", other_pixels=True), "E_DUPLICATE_CONFLICT"),
    row("D14", "2.5 mm, then 5 mm", _two_spacings(False), "E_NONUNIFORM_SPACING", says="2.50 to 5.00 mm"),
    row(
        "D14-allow",
        "2.5 mm, then 5 mm, to be filled",
        _two_spacings(True),
        "W_GAPS_FILLED",
        "W_SHORT_COVERAGE",
        allow_gaps=True,
    ),
    row("D20", "misleading file names", _misleading_names),
    row("D21", "InstanceNumber against the position", _numbered([*range(40, 0, -1)])),
    row("D22", "InstanceNumber random", _numbered(_SHUFFLED)),
    row("D23", "InstanceNumber absent", _numbered([None] * 40)),
    row("D50", "10 mm slices", _stack(thinned(chest((COLUMNS, ROWS, 60)), 4)), "W_THICK_SLICES"),
    row("D51", "overlapping reconstruction", _stack(_OVERLAP, SliceThickness="2.5")),
    row("D52", "HRCT: 1 mm every 10 mm", _stack(_HRCT, SliceThickness="1"), "W_SPARSE_COVERAGE"),
    row("D53", "SpacingBetweenSlices lies", _stack(chest(), SpacingBetweenSlices="7", SliceThickness="5")),
    row("D54", "one slice", _one_slice, "E_TOO_FEW_SLICES"),
    row("D55", "two phases under one UID", _two_phases, "E_DUPLICATE_CONFLICT"),
    row("D56", "another matrix in one slice", _one_other_matrix, "E_MIXED_MATRIX", says="0008.dcm"),
    row("D57", "another pixel spacing in one slice", _one_other_spacing, "E_MIXED_SPACING", says="0008.dcm"),
)
