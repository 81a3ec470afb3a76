"""A folder without a CT that can be read: the cause at hand is named, and what lies there instead."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from lungseg3d.cli import app
from lungseg3d.core import IntakeError
from lungseg3d.io import open_ct, write_dicom_series
from tests.corpus.phantom import chest

CAPTURE, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.4.1"


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clean") / "ct"
    write_dicom_series(folder, chest((24, 20, 12)))
    return folder


@pytest.fixture
def changed(clean, tmp_path) -> Callable[..., Path]:
    """`changed(change)`: a copy of the series after `change(dataset, number)` of each slice."""

    def make(change: Callable[[pydicom.Dataset, int], object]) -> Path:
        shutil.copytree(clean, tmp_path / "ct")
        for number, path in enumerate(sorted((tmp_path / "ct").iterdir())):
            dataset = pydicom.dcmread(path)
            change(dataset, number)
            dataset.save_as(path)
        return tmp_path / "ct"

    return make


def refused(path: Path) -> IntakeError:
    with pytest.raises(IntakeError) as caught:
        open_ct(path)
    return caught.value


@pytest.mark.parametrize(("sop_class", "name"), [(CAPTURE, "Secondary Capture"), (ENHANCED_MR, "Enhanced MR")])
def test_a_ct_of_another_class_is_refused_for_its_class(changed, sop_class, name):
    error = refused(changed(lambda d, _: setattr(d, "SOPClassUID", sop_class)))
    assert error.code == "E_NOT_CT"
    assert f"12 x CT of the class {name}" in error.message
    assert "original series" in error.remedy


def test_a_uid_of_the_series_for_each_slice_is_the_cause_and_not_the_single_slices(changed):
    folder = changed(lambda d, n: setattr(d, "SeriesInstanceUID", generate_uid(entropy_srcs=["series", str(n)])))
    error = refused(folder)
    assert error.code == "E_TOO_FEW_SLICES"
    assert "12 series of one slice each, all of one study" in error.message
    assert "one UID for all of its slices" in error.remedy
    shown = CliRunner().invoke(app, ["check", str(folder)])
    assert shown.exit_code == 3
    assert len(shown.stdout.splitlines()) < 50
    assert "and 4 more series" in shown.stdout


def test_a_uid_of_the_study_for_each_slice_is_no_folder_of_twelve_studies(changed):
    def change(dataset, number):
        dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["series", str(number)])
        dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study", str(number)])

    error = refused(changed(change))
    assert "12 series of one slice each, of 12 studies" in error.message
    assert "StudyInstanceUID and a SeriesInstanceUID of its own" in error.message


def test_two_single_slices_stay_what_they_are(changed):
    folder = changed(lambda d, n: setattr(d, "SeriesInstanceUID", generate_uid(entropy_srcs=[str(n % 2)])))
    for path in sorted(folder.iterdir())[2:]:
        path.unlink()
    assert "the series has 1 slice" in refused(folder).message


def zipped(clean: Path, folder: Path) -> None:
    with zipfile.ZipFile(folder / "study.zip", "w") as archive:
        for path in clean.iterdir():
            archive.write(path, path.name)


def compressed(clean: Path, folder: Path) -> None:
    for path in clean.iterdir():
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))


def tarred(clean: Path, folder: Path) -> None:
    with tarfile.open(folder / "study.tar.gz", "w:gz") as archive:
        archive.add(clean, "ct")


def converted(clean: Path, folder: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), folder / "ct.nii.gz")


def drawn(clean: Path, folder: Path) -> None:
    (folder / "001.png").write_bytes(b"\x89PNG\r\n\x1a\n")


def indexed(clean: Path, folder: Path) -> None:
    (folder / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 400)


THERE = {
    "zip": (zipped, "1 x a zip archive (study.zip)", "Give the zip file itself"),
    "compressed slices": (compressed, "12 x gzip-compressed DICOM (slice-0001.dcm.gz, ...)", "gunzip"),
    "tar": (tarred, "1 x a gzip-compressed tar archive (study.tar.gz)", "Unpack"),
    "NIfTI": (converted, "1 x NIfTI (ct.nii.gz)", "Give the image file itself"),
    "pictures": (drawn, "1 x a PNG picture (001.png)", "DICOM or NIfTI"),
    "index": (indexed, "DICOMDIR, an index without its images", "Give the folder"),
}


@pytest.mark.parametrize("name", THERE)
def test_a_folder_without_dicom_says_what_lies_there_and_what_to_do_with_it(clean, tmp_path, name):
    make, found, remedy = THERE[name]
    (tmp_path / "given").mkdir()
    make(clean, tmp_path / "given")
    (tmp_path / "given" / "readme.txt").write_text("nothing to see")
    error = refused(tmp_path / "given")
    assert error.code == "E_NO_DICOM"
    assert found in error.message
    assert "readme" not in error.message
    assert remedy in error.remedy


@pytest.mark.parametrize(
    ("name", "found"), [("compressed slices", "12 x gzip-compressed DICOM"), ("NIfTI", "1 x NIfTI")]
)
def test_a_zip_without_dicom_says_what_is_in_it(clean, tmp_path, name, found):
    (tmp_path / "given").mkdir()
    THERE[name][0](clean, tmp_path / "given")
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "given")
    error = refused(tmp_path / "packed.zip")
    assert error.code == "E_NO_DICOM"
    assert found in error.message
    assert "zip archive" not in error.message


def test_a_folder_of_nothing_that_could_be_a_ct_says_just_that(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    assert refused(tmp_path).message.endswith("no DICOM images.")


@pytest.mark.parametrize("make", [tarred, compressed])
def test_a_packed_file_that_is_given_itself_is_to_be_unpacked(clean, tmp_path, make):
    make(clean, tmp_path)
    error = refused(sorted(tmp_path.iterdir())[0])
    assert error.code == "E_NOT_AN_IMAGE"
    assert "gzip-compressed" in error.message
    assert error.remedy == "Unpack it first."


def test_a_dicomdir_that_is_given_itself_is_named(tmp_path, clean):
    indexed(clean, tmp_path)
    error = refused(tmp_path / "DICOMDIR")
    assert "DICOMDIR, an index without its images" in error.message
    assert "folder" in error.remedy
