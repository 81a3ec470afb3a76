"""A small chest whose HU tell the true place of every voxel, and the ways to write it as DICOM slices.

In: nothing. Out: `chest`, `Series`. HU rise by 2 a column, 1 a row and 5 a slice, on top of air, lung or body: a voxel
that lies elsewhere has another value, and linear interpolation along the slices is exact.
"""

from __future__ import annotations

import functools
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from lungseg3d.core import Volume
from lungseg3d.io import SeriesSpec, write_dicom_series

COLUMNS, ROWS, SLICES = 24, 20, 40
SPACING_MM = (0.8, 0.7, 2.5)
INTERCEPT_HU = -1024
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def chest(
    shape: tuple[int, int, int] = (COLUMNS, ROWS, SLICES),
    spacing_mm: tuple[float, float, float] = SPACING_MM,
    origin_mm: tuple[float, float, float] = (9.0, 6.0, -50.0),
) -> Volume:
    """Columns to the left, rows to the back, slices upward, as an axial DICOM series has them. HU -1000 to 160."""
    x, y, _ = shape
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    base = np.full((x, y, 1), -100)
    base[4 : x // 2 - 1, 5 : y - 5] = base[x // 2 + 1 : x - 4, 5 : y - 5] = -900
    hu = base + 2 * (i % COLUMNS) + j % ROWS + 5 * (k % SLICES)
    hu[:2] = hu[-2:] = hu[:, :2] = hu[:, -2:] = -1000
    affine = np.diag([-spacing_mm[0], -spacing_mm[1], spacing_mm[2], 1.0])
    affine[:3, 3] = origin_mm
    return Volume(hu.astype(np.int16), affine)


@functools.cache
def _header() -> bytes:
    """One slice as `write_dicom_series` writes it: the source of everything that is not geometry."""
    with tempfile.TemporaryDirectory() as folder:
        volume = chest((COLUMNS, ROWS, 2))
        return write_dicom_series(Path(folder, "series"), volume, spec=SeriesSpec())[0].read_bytes()


class Slice:
    """One DICOM file: parsed when it is looked at, encoded again only then."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._dataset: Dataset | None = None

    @property
    def dataset(self) -> Dataset:
        if self._dataset is None:
            self._dataset = pydicom.dcmread(io.BytesIO(self._data))
        return self._dataset

    @property
    def stored(self) -> np.ndarray:
        """Stored values (rows, columns), a copy."""
        d = self.dataset
        kind = "<i2" if d.PixelRepresentation else "<u2"
        return np.frombuffer(d.PixelData, kind).reshape(d.Rows, d.Columns).copy()

    @stored.setter
    def stored(self, values: np.ndarray) -> None:
        self.dataset.PixelData = values.tobytes()

    def encoded(self) -> bytes:
        if self._dataset is None:
            return self._data
        buffer = io.BytesIO()
        self._dataset.save_as(buffer)
        return buffer.getvalue()

    def twin(self, uid_suffix: str = "") -> Slice:
        """A copy; with a suffix, under its own instance UID."""
        twin = Slice(self.encoded())
        if uid_suffix:
            twin.dataset.SOPInstanceUID = twin.dataset.SOPInstanceUID[:60] + uid_suffix
            twin.dataset.file_meta.MediaStorageSOPInstanceUID = twin.dataset.SOPInstanceUID
        return twin


class Series:
    """A volume as slices in the order of its last axis, to be spoilt and written.

    Args:
        volume: array (column, row, slice) with any affine whose first two axes are at right angles.
        uid: distinguishes series of one study.
        study: distinguishes studies and patients.
        tags: for all slices.
    """

    def __init__(self, volume: Volume | None = None, uid: str = "1", study: str = "1", **tags: object) -> None:
        self.volume = chest() if volume is None else volume
        key = (self.volume.array.tobytes(), self.volume.shape, self.volume.affine.tobytes(), uid, study)
        self.slices = [Slice(data) for data in _encoded(key)]
        if tags:
            self.each(**tags)

    def each(self, *without: str, **tags: object) -> Series:
        """Set tags in all slices, and take others away."""
        for one in self.slices:
            for keyword, value in tags.items():
                setattr(one.dataset, keyword, value)
            for keyword in without:
                delattr(one.dataset, keyword)
        return self

    def change(self, change: Callable[[int, Dataset], object]) -> Series:
        """Call `change(slice number, data set)` for all slices."""
        for k, one in enumerate(self.slices):
            change(k, one.dataset)
        return self

    def write(self, folder: Path, names: Iterable[str] | None = None) -> Path:
        """One file a slice, named by number unless told otherwise."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, one in zip(names or self.names(), self.slices, strict=False):
            (folder / name).write_bytes(one.encoded())
        return folder

    def names(self) -> Iterator[str]:
        return (f"{n:04d}.dcm" for n in range(len(self.slices)))


@functools.lru_cache(maxsize=8)
def _encoded(key: tuple) -> list[bytes]:
    data, shape, affine, uid, study = key
    array = np.frombuffer(data, np.int16).reshape(shape)
    lps = _TO_LPS @ np.frombuffer(affine, np.float64).reshape(4, 4)
    steps = np.linalg.norm(lps[:3, :3], axis=0)
    d = pydicom.dcmread(io.BytesIO(_header()))
    d.Columns, d.Rows = shape[:2]
    d.ImageOrientationPatient = [_decimal(v) for v in (lps[:3, :2] / steps[:2]).T.ravel()]
    d.PixelSpacing = [_decimal(steps[1]), _decimal(steps[0])]
    d.SliceThickness = _decimal(steps[2])
    d.PatientID, d.StudyInstanceUID, d.SeriesInstanceUID = f"ID-{study}", f"1.2.826.{study}", f"1.2.826.{study}.{uid}"
    d.FrameOfReferenceUID, d.SeriesNumber = f"1.2.826.{study}.0", uid
    slices = []
    for k in range(shape[2]):
        d.SOPInstanceUID = d.file_meta.MediaStorageSOPInstanceUID = f"{d.SeriesInstanceUID}.{k + 1}"
        d.InstanceNumber = k + 1
        d.ImagePositionPatient = [_decimal(v) for v in lps[:3, 3] + k * lps[:3, 2]]
        d.SliceLocation = d.ImagePositionPatient[2]
        d.PixelData = np.ascontiguousarray(array[:, :, k].T - np.int16(INTERCEPT_HU)).astype("<i2").tobytes()
        buffer = io.BytesIO()
        d.save_as(buffer)
        slices.append(buffer.getvalue())
    return slices


def _decimal(value: float) -> str:
    text = f"{value:.9g}"  # 16 characters at most
    return "0" if text == "-0" else text


def turned(volume: Volume, affine: np.ndarray) -> Volume:
    """The volume moved in the world by a rigid `affine` (4, 4)."""
    return Volume(volume.array, affine @ volume.affine)


def rotation(degrees: float, axis: int = 2) -> np.ndarray:
    """A turn about a world axis, (4, 4)."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    a, b = [n for n in range(3) if n != axis]
    matrix = np.eye(4)
    matrix[a, a] = matrix[b, b] = cos
    matrix[a, b], matrix[b, a] = -sin, sin
    return matrix


def reordered(volume: Volume, order: tuple[int, int, int], signs: tuple[int, int, int]) -> Volume:
    """The same voxels in the same places, the array's axes swapped and turned."""
    array = volume.array.transpose(order)[tuple(slice(None, None, s) for s in signs)]
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for axis, (source, sign) in enumerate(zip(order, signs, strict=True)):
        turn[source, axis] = sign
        turn[source, 3] = volume.shape[source] - 1 if sign < 0 else 0
    return Volume(np.ascontiguousarray(array), volume.affine @ turn)


def thinned(volume: Volume, step: int) -> Volume:
    """Every `step`-th slice."""
    affine = volume.affine.copy()
    affine[:3, 2] *= step
    return Volume(np.ascontiguousarray(volume.array[:, :, ::step]), affine)


def part(volume: Volume, slices: slice) -> Volume:
    """Some slices, in their place."""
    affine = volume.affine.copy()
    affine[:3, 3] += (slices.start or 0) * affine[:3, 2]
    return Volume(np.ascontiguousarray(volume.array[:, :, slices]), affine)
