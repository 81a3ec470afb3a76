"""The catalogue of tricky inputs, row by row: read right to the voxel, or refused with code, place and remedy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from lungseg3d.cli import app
from lungseg3d.core import CODES
from lungseg3d.io import ReadOptions, open_ct, write_labels
from tests.corpus import CASES, CorpusCase, Made, difference

ROOT = Path(__file__).parents[3]
MOST_SECONDS, MOST_MEBIBYTES = 2, 400
FILE_CODES = {code for code, (_, by) in CODES.items() if by == "reading and writing of files and bundles"}
_MOVED = {"W_UNITS_CONVERTED", "W_ASSUMED_AXES"}


def ids(cases: list[CorpusCase]) -> list:
    return [pytest.param(case, id=case.id) for case in cases]


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="lungseg3d")


def flags(case: CorpusCase, made: Made) -> list[str]:
    """The options of a row as the command line has them."""
    words = []
    for name, value in {**case.options, **made.options}.items():
        words += [f"--{name.replace('_', '-')}"] if value is True else [f"--{name.replace('_', '-')}", str(value)]
    return words


@pytest.mark.parametrize("case", ids([case for case in CASES if case.verdict != "refused"]))
def test_an_input_that_can_be_read_is_read_to_the_voxel_with_exactly_its_flags(case, tmp_path):
    made = case.make(tmp_path)
    reading = open_ct(made.path, ReadOptions(**case.options, **made.options))
    assert {issue.code for issue in reading.issues} == case.codes
    assert any(case.says in issue.message for issue in reading.issues) or not case.says
    assert reading.volume.array.dtype == np.int16
    assert difference(reading.volume, made.truth, made.tolerance_hu) == ""
    if ".nii" in made.path.name and not case.codes & _MOVED:
        write_labels(tmp_path / "labels.nii.gz", reading.volume.with_array((reading.volume.array > 0).astype(np.uint8)))
        ours, theirs = nibabel.load(tmp_path / "labels.nii.gz"), _loaded(made.path, tmp_path)
        assert ours.shape == reading.volume.shape == tuple(theirs.dataobj.shape[:3])
        np.testing.assert_allclose(ours.affine, theirs.affine, rtol=1e-6, atol=1e-5)


def _loaded(path: Path, folder: Path) -> nibabel.Nifti1Image:
    """The input by nibabel, which goes by the name where we go by the content."""
    named = folder / ("named.nii.gz" if path.read_bytes()[:2] == b"\x1f\x8b" else "named.nii")
    shutil.copy(path, named)
    return nibabel.load(named)


@pytest.mark.parametrize("case", ids([case for case in CASES if case.verdict == "refused" and not case.heavy]))
def test_an_input_that_cannot_be_read_is_refused_with_code_place_and_remedy(case, tmp_path):
    made = case.make(tmp_path)
    result = run("check", made.path, "--json", *flags(case, made))
    assert result.exit_code == 3
    assert isinstance(result.exception, SystemExit)
    said = json.loads(result.stdout)
    assert list(said) == ["series", "chosen", "status", "issues"]
    assert (said["status"], said["chosen"]) == ("refused", None)
    issue = said["issues"][-1]
    assert {issue["code"]} == case.codes
    assert case.says in issue["message"]
    assert issue["remedy"]
    assert len(f"{issue['message']}\n{issue['remedy']}".splitlines()) <= 3
    names = {path.name for path in tmp_path.rglob("*") if path.name}
    words = {word.rstrip(".") for word in re.split(r"[\s:;,()/]+", issue["message"])}
    assert words & names or re.search(r"\d+ bytes|--\w+", issue["message"]), issue["message"]


def test_every_code_of_the_corpus_is_in_the_table_of_codes():
    assert set().union(*(case.codes for case in CASES)) <= set(FILE_CODES)


def test_every_row_of_the_catalogue_has_a_case():
    rows = {case.id.split("-")[0] for case in CASES}
    assert rows == {f"D{n:02d}" for n in range(1, 79)} | {f"N{n:02d}" for n in range(1, 34)}
    assert len({case.id for case in CASES}) == len(CASES)


def test_convert_writes_nothing_for_a_refused_input_and_says_why_in_three_lines(tmp_path):
    (case,) = (case for case in CASES if case.id == "D02")
    result = run("convert", case.make(tmp_path).path, tmp_path / "out.nii.gz")
    assert result.exit_code == 3
    assert result.stderr.startswith("E_MISSING_SLICES: ")
    assert len(result.stderr.splitlines()) <= 3
    assert not (tmp_path / "out.nii.gz").exists()


HEAVY = [case for case in CASES if case.heavy]


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> dict[str, dict]:
    """What each heavy row costs, by id."""
    paths = [str(case.make(tmp_path_factory.mktemp(case.id)).path) for case in HEAVY]
    done = subprocess.run(
        [sys.executable, "-m", "tests.corpus.measured", *paths], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return dict(zip((case.id for case in HEAVY), map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("case", ids(HEAVY))
def test_a_bomb_or_a_boast_is_refused_before_it_costs_time_or_memory(case, measured):
    found = measured[case.id]
    assert found["status"] == "refused"
    assert {found["code"]} == case.codes
    assert found["seconds"] <= MOST_SECONDS
    assert found["mebibytes"] <= MOST_MEBIBYTES


@pytest.mark.real
def test_the_real_transfer_syntaxes_give_one_volume_and_the_lossy_ones_a_flag(real_data, tmp_path):
    folder = real_data / "dicom_corner_cases" / "transfer_syntaxes"
    paths = sorted(folder.glob("CTImage*.dcm"))
    assert len(paths) == 16
    reference = _twice(folder / "CTImage.dcm", tmp_path / "reference")
    lossy = set()
    for path in paths:
        reading = _twice(path, tmp_path / path.stem)
        off = np.abs(reading.volume.array.astype(int) - reference.volume.array).max()
        if "W_LOSSY_SOURCE" in {issue.code for issue in reading.issues}:
            lossy.add(path.name)
        else:
            assert off == 0, path.name
        assert off <= 65, path.name
        assert reading.volume.grid.matches(reference.volume.grid)
    assert len(lossy) == 6


def _twice(path: Path, folder: Path):
    """One slice as a series of two, 5 mm apart."""
    folder.mkdir()
    dataset = pydicom.dcmread(path)
    for n in range(2):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{n}"
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, float(z) + 5 * n]
        dataset.save_as(folder / f"{n}.dcm")
    return open_ct(folder)


@pytest.mark.real
def test_of_the_real_folder_of_two_series_the_whole_one_is_read_and_the_other_listed(real_data):
    result = run("check", real_data / "ct" / "lungdx-A0001" / "dicom", "--json")
    said = json.loads(result.stdout)
    assert (result.exit_code, said["status"]) == (0, "warn")
    slices = {series["uid"]: series["slices"] for series in said["series"]}
    assert sorted(slices.values()) == [4, 64]
    assert slices[said["chosen"]] == 64
    (issue,) = said["issues"]
    assert issue["code"] == "W_MULTI_SERIES"
    assert all(uid in issue["message"] for uid in slices)
