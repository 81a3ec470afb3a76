"""What each verb says to do about an input: only what it can do itself, and what then works."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from lungseg3d.cli import app
from lungseg3d.core import IntakeError, Volume
from lungseg3d.io import open_ct, read_labels, write_dicom_series, write_labels, write_volume
from tests.corpus.phantom import chest
from tests.support.small_data import write_manifest

SHAPE = (16, 14, 12)
AFFINE = np.diag([2.0, 2.0, 2.5, 1.0])
AFFINE[:3, 3] = -128, -100, -50


def run(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="lungseg3d")


def options_of(verb: str) -> set[str]:
    return set(re.findall(r"--[a-z][a-z-]+", run(*verb.split(), "--help").output))


@pytest.fixture
def data(tmp_path) -> Path:
    """One case with its reference, and the CT without axes and in 4D."""
    hu = np.full(SHAPE, -1000, np.int16)
    hu[3:13, 3:11] = 40
    mask = (hu == 40).astype(np.uint8)
    write_volume(tmp_path / "ct.nii.gz", Volume(hu, AFFINE))
    write_labels(tmp_path / "label.nii.gz", Volume(mask, AFFINE))
    cases = [{"case_id": "c", "patient": "p", "files": {"image": "ct.nii.gz", "label": "label.nii.gz"}}]
    write_manifest(tmp_path / "set.json", cases)
    content = json.loads((tmp_path / "set.json").read_text())
    (tmp_path / "set.json").write_text(json.dumps({**content, "structures": {"1": "nodule"}}))
    for name, image in {
        "axes": nibabel.Nifti1Image(mask, None),
        "stack": nibabel.Nifti1Image(np.stack([1 - mask, mask], -1), AFFINE),
        "place": nibabel.Nifti1Image(mask, np.diag([2.0, 2.0, 2.5, 1.0])),
        "size": nibabel.Nifti1Image(mask[:-1], AFFINE),
    }.items():
        (tmp_path / name).mkdir()
        nibabel.save(image, tmp_path / name / "c.nii.gz")
    nibabel.save(nibabel.Nifti1Image(hu, None), tmp_path / "no-axes.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.stack([hu, hu], -1), AFFINE), tmp_path / "4d.nii.gz")
    return tmp_path


def evaluate(data: Path, name: str):
    words = ["-m", data / "set.json", "--predictions", data / name, "-o", data / f"e-{name}", "--no-pictures"]
    return run("evaluate", *words)


@pytest.mark.parametrize(("name", "code"), [("axes", "E_NO_GEOMETRY"), ("stack", "E_NOT_3D")])
def test_evaluate_offers_none_of_the_options_of_reading_a_ct(data, name, code):
    said = evaluate(data, name).output
    assert code in said
    assert "--assume-axes" not in said
    assert "--volume-index" not in said
    assert ("with its orientation" if name == "axes" else "Give one 3D volume.") in " ".join(said.split())


def test_check_offers_the_options_that_it_has_and_they_work(data):
    said = run("check", data / "no-axes.nii.gz")
    assert (said.exit_code, "--assume-axes RAS" in said.output) == (3, True)
    assert run("check", data / "no-axes.nii.gz", "--assume-axes", "RAS").exit_code == 0
    said = run("check", data / "4d.nii.gz")
    assert (said.exit_code, "--volume-index N" in said.output) == (3, True)
    assert run("check", data / "4d.nii.gz", "--volume-index", "1").exit_code == 0


def test_python_is_told_its_own_arguments(data):
    for path, argument in (("no-axes.nii.gz", 'assume_axes="RAS"'), ("4d.nii.gz", "volume_index=N")):
        with pytest.raises(IntakeError) as caught:
            open_ct(data / path)
        assert argument in caught.value.remedy
        assert "--" not in caught.value.remedy
    with pytest.raises(IntakeError) as caught:
        read_labels(data / "axes" / "c.nii.gz")
    assert caught.value.remedy == "Write it with its orientation."


def test_assuming_axes_is_not_offered_where_it_would_be_refused(data):
    nibabel.save(nibabel.load(data / "no-axes.nii.gz"), data / "nothing.nii")
    content = bytearray((data / "nothing.nii").read_bytes())
    content[80:92] = bytes(12)  # pixdim, the size of a voxel
    (data / "nothing.nii").write_bytes(content)
    said = run("check", data / "nothing.nii").output
    assert "--assume-axes" not in said
    assert "voxel size" in said


@pytest.mark.parametrize("name", ["place", "size"])
def test_a_prediction_elsewhere_is_told_where_it_and_the_reference_lie(data, name):
    said = " ".join(evaluate(data, name).output.split())
    assert "E_GRID_MISMATCH" in said
    assert "from (-128, -100, -50) mm RAS" in said
    if name == "place":
        assert "from (0, 0, 0) mm RAS" in said
        assert "up to 170 mm apart" in said
    else:
        assert "15 x 14 x 12 voxels" in said


@pytest.mark.parametrize(("low", "high", "helps"), [(0, 1424, True), (0, 700, False), (800, 2200, False)])
def test_subtracting_1024_is_offered_where_it_gives_air_and_tissue(tmp_path, low, high, helps):
    hu = np.full(SHAPE, low, np.int16)
    hu[3:13, 3:11] = high
    write_volume(tmp_path / "ct.nii.gz", Volume(hu, AFFINE))
    said = run("check", tmp_path / "ct.nii.gz")
    assert said.exit_code == 3
    assert ("--fix-offset" in said.output) == helps
    assert run("check", tmp_path / "ct.nii.gz", "--fix-offset").exit_code == (0 if helps else 3)


@pytest.fixture
def series(tmp_path) -> Path:
    write_dicom_series(tmp_path / "series", chest())
    return tmp_path / "series"


def test_gaps_are_to_be_filled_where_that_helps(series):
    sorted(series.iterdir())[20].unlink()
    said = run("check", series)
    assert (said.exit_code, "--allow-gaps" in said.output) == (3, True)
    assert run("check", series, "--allow-gaps").exit_code == 0


def test_a_series_shifted_sideways_is_refused_as_that_and_filling_gaps_is_not_offered(series):
    for path in sorted(series.iterdir())[20:]:
        dataset = pydicom.dcmread(path)
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [float(x) - 5, y, z]
        dataset.save_as(path)
    said = run("check", series)
    assert said.exit_code == run("check", series, "--allow-gaps").exit_code == 3
    assert "--allow-gaps" not in said.output
    assert "E_NONUNIFORM_SPACING" in said.output
    assert "5.00 mm along x between slices 20 and 21" in " ".join(said.output.split())


@pytest.mark.parametrize("verb", ["check", "segment", "prepare folder", "evaluate", "export", "explain", "follow-up"])
def test_every_reading_option_of_a_verb_is_one_that_its_help_shows(verb):
    from lungseg3d.core.remedies import offering, remedy_text

    with offering(options_of(verb)):
        said = remedy_text("Export it[, or pass --allow-gaps][, or pass --assume-axes=RAS].")
    assert ("--allow-gaps" in said) == ("--allow-gaps" in options_of(verb))
    assert ("--assume-axes" in said) == ("--assume-axes" in options_of(verb))


TABLES = {
    "commas": b"image,patient\nct.nii.gz,P1\n",
    "semicolons of Excel": "\ufeffimage;patient\r\nct.nii.gz;P1\r\n".encode(),
    "tabs of Excel in UTF-16": "image\tpatient\r\nct.nii.gz\tP1\r\n".encode("utf-16"),
    "blanks": b"image , patient\nct.nii.gz, P1\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_a_batch_reads_a_table_as_spreadsheets_write_it(data, name):
    (data / "list.csv").write_bytes(TABLES[name])
    said = run("batch", data / "list.csv", "--out", data / "out", "--list")
    assert said.exit_code == 0, said.output
    assert said.stdout.startswith("ct\t") or "ct.nii.gz" in said.stdout


def test_a_table_without_the_column_is_told_which_it_has(data):
    (data / "list.csv").write_text("scan;patient\nct.nii.gz;P1\n")
    said = run("batch", data / "list.csv", "--out", data / "out", "--list")
    assert said.exit_code == 3
    assert "no column named image, but scan, patient" in said.output


def test_a_prepared_folder_takes_semicolons_too(data):
    (data / "list").mkdir()
    for name in ("ct.nii.gz", "label.nii.gz"):
        (data / name).rename(data / "list" / name)
    (data / "list" / "cases.csv").write_text("image;label;patient\nct.nii.gz;label.nii.gz;P1\n")
    done = run("prepare", "folder", data / "list", data / "out", "--label", "1=nodule")
    assert done.exit_code == 0, done.output
    assert json.loads((data / "out" / "manifest.json").read_text())["cases"][0]["patient"] == "P1"
