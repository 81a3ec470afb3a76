"""`convert`: the file holds exactly what the reader read."""

import numpy as np
import pytest

from lungseg3d.core import IntakeError, OutputError, Volume
from lungseg3d.io import read_volume, write_dicom_series
from lungseg3d.workflows.convert import convert


@pytest.fixture
def series(tmp_path):
    rng = np.random.default_rng(3)
    hu = rng.integers(-1000, 900, (16, 14, 60)).astype(np.int16)
    affine = np.diag([0.7, 0.8, 2.5, 1.0])
    affine[:3, 3] = (-10.25, 20.5, -400)
    write_dicom_series(tmp_path / "series", Volume(hu, affine))
    return tmp_path / "series"


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_converted_series_reads_back_voxel_for_voxel(tmp_path, series, ending):
    reading = convert(series, tmp_path / f"ct{ending}")
    back = read_volume(tmp_path / f"ct{ending}")
    assert np.array_equal(back.array, reading.volume.array)
    assert back.grid.matches(reading.volume.grid, 1e-3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"ct{ending}", "series"]


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_a_tilted_series_keeps_its_shear(tmp_path, ending):
    affine = np.diag([0.7, 0.8, 2.5, 1.0])
    affine[1, 2] = 0.6
    hu = np.random.default_rng(3).integers(-1000, 900, (8, 9, 50)).astype(np.int16)
    write_dicom_series(tmp_path / "tilted", Volume(hu, affine))
    reading = convert(tmp_path / "tilted", tmp_path / f"ct{ending}")
    assert read_volume(tmp_path / f"ct{ending}").grid.matches(reading.volume.grid, 1e-3)


def test_an_existing_file_is_kept_unless_told_otherwise(tmp_path, series):
    target = tmp_path / "ct.nii.gz"
    target.write_text("mine")
    with pytest.raises(OutputError, match="E_OUTPUT_EXISTS"):
        convert(series, target)
    assert target.read_text() == "mine"
    convert(series, target, overwrite=True)
    assert read_volume(target).shape == (16, 14, 60)


def test_an_unknown_ending_or_folder_is_refused_before_reading(tmp_path):
    with pytest.raises(OutputError, match="E_OUTPUT_TYPE"):
        convert(tmp_path / "absent", tmp_path / "ct.jpg")
    with pytest.raises(OutputError, match="E_WRITE"):
        convert(tmp_path / "absent", tmp_path / "nowhere" / "ct.nii")


def test_a_refused_source_leaves_nothing_behind(tmp_path):
    (tmp_path / "a.nii").write_text("no image")
    with pytest.raises(IntakeError):
        convert(tmp_path / "a.nii", tmp_path / "ct.nii.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii"]
