"""A small chest-like CT whose HU tell the true place of every slice, and ways to spoil it."""

import copy
import hashlib
import io
from pathlib import Path

import numpy as np
import pydicom
import pytest

from lungseg3d.core import IntakeError, Volume
from lungseg3d.io import ReadOptions, SeriesSpec, open_ct, write_dicom_series

SHAPE = (24, 20, 40)
_WRITTEN: dict = {}


def phantom(shape=SHAPE, spacing_mm=(0.8, 0.7, 2.5), origin_mm=(-9.0, -6.0, -50.0)) -> Volume:
    """Air, a body of 40 HU, two lungs, and a block whose HU is 10 x the slice number."""
    rng = np.random.default_rng(7)
    hu = np.full(shape, -1000, np.int16)
    x, y, _ = shape
    hu[2 : x - 2, 2 : y - 2] = 40
    hu[4 : x // 2 - 1, 5 : y - 5] = -850
    hu[x // 2 + 1 : x - 4, 5 : y - 5] = -850
    hu += rng.integers(-15, 15, shape).astype(np.int16)
    hu[3:6, 3:6] = 10 * np.arange(shape[2])
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = origin_mm
    return Volume(hu, affine)


class Series:
    """A series as pydicom data sets, lowest slice first, to be spoilt and written."""

    def __init__(self, folder: Path, volume: Volume, spec: SeriesSpec) -> None:
        self.volume = volume
        key = (hashlib.sha256(volume.array.tobytes()).digest(), volume.affine.tobytes(), spec)
        if key not in _WRITTEN:
            _WRITTEN[key] = [path.read_bytes() for path in write_dicom_series(folder, volume, spec=spec)]
        self.slices = [pydicom.dcmread(io.BytesIO(data)) for data in _WRITTEN[key]]

    @property
    def lps_array(self) -> np.ndarray:
        """The HU as the reader should give them: columns to the left, rows to the back, slices upward."""
        return self.volume.as_ras().array[::-1, ::-1]

    def copy_of(self, k: int, uid_suffix: str = "") -> pydicom.Dataset:
        twin = copy.deepcopy(self.slices[k])
        if uid_suffix:
            twin.SOPInstanceUID = twin.SOPInstanceUID[:60] + uid_suffix
            twin.file_meta.MediaStorageSOPInstanceUID = twin.SOPInstanceUID
        return twin

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for n, dataset in enumerate(self.slices):
            dataset.save_as(folder / f"{n:03d}.dcm")
        return folder


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """Syncing 40 small slices takes longer than all else in a test."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture
def ct() -> Volume:
    return phantom()


@pytest.fixture
def make_series(tmp_path):
    """`make_series(volume=None, **spec)` -> Series of the phantom."""
    count = iter(range(100))

    def make(volume: Volume | None = None, **spec) -> Series:
        return Series(tmp_path / f"clean-{next(count)}", phantom() if volume is None else volume, SeriesSpec(**spec))

    return make


@pytest.fixture
def codes_of():
    """`codes_of(reading)` -> set of its warning codes."""
    return lambda reading: {issue.code for issue in reading.issues}


@pytest.fixture
def refusal():
    """`refusal(path, options)` -> the IntakeError, which has at most 3 lines and says the way out."""

    def refuse(path: Path, options: ReadOptions | None = None) -> IntakeError:
        with pytest.raises(IntakeError) as caught:
            open_ct(path, options or ReadOptions())
        assert len(str(caught.value).splitlines()) <= 3
        assert caught.value.remedy
        return caught.value

    return refuse


@pytest.fixture
def in_world():
    """`in_world(volume)` -> {place in the world: HU}."""

    def places_of(volume: Volume) -> dict:
        index = np.indices(volume.shape).reshape(3, -1).T
        places = np.round(volume.grid.to_world(index), 2)
        return dict(zip(map(tuple, places + 0.0), volume.array.reshape(-1).tolist(), strict=True))

    return places_of
