"""A folder tree of anything: which cases are found in it. The reader is not asked; slices come from the corpus."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from lungseg3d.io import (
    CaseNames,
    CaseSource,
    case_id_of,
    find_cases,
    is_case_name,
    joined_sha256,
    open_ct,
    sha256_of,
    signature_of,
)
from lungseg3d.io.intake.reading import ReadOptions
from tests.corpus.phantom import Series


def found(root: Path, **options) -> list[tuple[str, str, str]]:
    """Relative path, study and series of every case."""
    sources = find_cases(root, **options).sources
    return [(source.path.relative_to(root).as_posix(), source.study, source.series) for source in sources]


def paths(root: Path, **options) -> list[str]:
    return [path for path, _, _ in found(root, **options)]


def test_volume_files_are_cases_wherever_they_lie_and_other_files_are_counted(tmp_path):
    for name in ("a/ct.nii.gz", "b/deep/er/ct.nrrd", "c.mha", "d/e.nii"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("not read here")
    for name in ("a/notes.txt", "report.docx", ".hidden.nii.gz", "a/Thumbs.db"):
        (tmp_path / name).write_text("PK\x03\x04")
    assert paths(tmp_path) == ["a/ct.nii.gz", "b/deep/er/ct.nrrd", "c.mha", "d/e.nii"]
    assert find_cases(tmp_path).ignored == 4


def test_a_study_is_one_case_in_the_deepest_folder_that_holds_all_of_it(tmp_path):
    Series(study="1", uid="1").write(tmp_path / "p1" / "study" / "thin")
    Series(study="1", uid="2").write(tmp_path / "p1" / "study" / "thick")
    Series(study="2", uid="3").write(tmp_path / "p2" / "dicom")
    (tmp_path / "p2" / "masks").mkdir()
    (tmp_path / "p2" / "masks" / "lungs.nii.gz").touch()
    assert found(tmp_path) == [("p1/study", "", ""), ("p2/dicom", "", ""), ("p2/masks/lungs.nii.gz", "", "")]


def test_every_series_of_a_study_is_a_case_when_asked(tmp_path):
    Series(study="1", uid="1").write(tmp_path / "thin")
    Series(study="1", uid="2").write(tmp_path / "thick")
    both = found(tmp_path, every_series=True)
    assert [path for path, _, _ in both] == [".", "."]
    assert len({series for _, _, series in both}) == 2
    for _, _, series in both:
        assert open_ct(tmp_path, ReadOptions(series=series)).volume.shape[2] > 2


def test_two_studies_in_one_folder_are_two_cases_that_the_reader_can_tell_apart(tmp_path):
    Series(study="1", uid="1").write(tmp_path / "mixed")
    for number, path in enumerate(sorted(Series(study="2", uid="2").write(tmp_path / "other").iterdir())):
        path.rename(tmp_path / "mixed" / f"other-{number}")
    (tmp_path / "other").rmdir()
    cases = found(tmp_path)
    assert [path for path, _, _ in cases] == ["mixed", "mixed"]
    for _, study, _ in cases:
        assert open_ct(tmp_path / "mixed", ReadOptions(study=study)).volume.shape[2] > 2


def test_slices_of_one_series_over_many_folders_are_one_case(tmp_path):
    for path in list(Series(study="1", uid="1").write(tmp_path / "all").iterdir()):
        (tmp_path / "spread" / path.stem).mkdir(parents=True)
        path.rename(tmp_path / "spread" / path.stem / "slice")
    (tmp_path / "all").rmdir()
    Series(study="2", uid="2").write(tmp_path / "spread" / "another")
    cases = found(tmp_path)
    assert [path for path, _, _ in cases] == ["spread", "spread/another"]
    study = cases[0][1]
    assert open_ct(tmp_path / "spread", ReadOptions(study=study)).source["slices"] > 2


def test_copies_of_a_study_are_cases_of_their_own(tmp_path):
    for name in ("first", "second"):
        Series(study="1", uid="1").write(tmp_path / name / "ct")
    assert found(tmp_path) == [("first/ct", "", ""), ("second/ct", "", "")]


def test_what_is_empty_or_cannot_be_read_is_a_case_that_can_be_explained(tmp_path):
    (tmp_path / "patient-7").mkdir()
    (tmp_path / "patient-8").mkdir()
    (tmp_path / "patient-8" / "readme.txt").write_text("no CT here")
    (tmp_path / "patient-9").mkdir()
    (tmp_path / "patient-9" / "1.dcm").write_text("no DICOM")
    Series(study="1", uid="1").write(tmp_path / "whole")
    assert paths(tmp_path) == ["patient-7", "patient-8", "patient-9", "whole"]


def test_an_unreadable_slice_does_not_take_other_studies_with_it(tmp_path):
    Series(study="1", uid="1").write(tmp_path / "below" / "whole")
    (tmp_path / "stray.dcm").write_text("no DICOM")
    assert paths(tmp_path) == ["below/whole", "stray.dcm"]


def test_links_out_of_the_tree_are_cases_that_can_be_explained_and_the_output_folder_is_left_out(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "elsewhere"
    (outside / "folder").mkdir(parents=True)
    (outside / "ct.nii.gz").touch()
    (inside / "results").mkdir(parents=True)
    (inside / "results" / "labels.nii.gz").touch()
    (inside / "a.nii.gz").touch()
    (inside / "link.nii.gz").symlink_to(outside / "ct.nii.gz")
    (inside / "linked").symlink_to(outside)
    (inside / "earlier").symlink_to(inside / "results")
    assert paths(inside, leave_out=inside / "results") == ["a.nii.gz", "link.nii.gz", "linked"]


def test_a_zip_is_a_case_and_one_file_is_a_tree_of_itself(tmp_path):
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("a", "b")
    (tmp_path / "ct.nii.gz").touch()
    assert paths(tmp_path) == ["ct.nii.gz", "export.zip"]
    assert find_cases(tmp_path / "ct.nii.gz").sources == (CaseSource(tmp_path / "ct.nii.gz"),)
    slices = Series(study="1", uid="1").write(tmp_path / "dicom")
    assert paths(slices) == ["."]


def test_a_thousand_equal_names_become_a_thousand_names():
    names = CaseNames(["patient-3"])
    given = [names.name(Path(f"p{number}/x/patient.nii.gz")) for number in range(1000)]
    assert given[:3] == ["patient", "patient-2", "patient-4"]
    assert len({name.lower() for name in given}) == 1000
    assert case_id_of("p/patient.nii.gz", taken=["Patient"]) == "patient-2"


@pytest.mark.parametrize("name", ["", "..", "a/b", "x" * 81, "-a", "ä", ".hidden", "a\n"])
def test_names_that_could_lead_elsewhere_name_no_case(name):
    assert not is_case_name(name)


def test_a_signature_changes_with_size_time_and_name_and_not_by_reading(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / "1").write_text("one")
    before, content = signature_of(folder), sha256_of(folder)
    assert signature_of(folder) == before
    (folder / "1").rename(folder / "2")
    renamed = signature_of(folder)
    (folder / "2").write_text("other")
    assert len({before, renamed, signature_of(folder)}) == 3
    assert sha256_of(folder) != content


def test_several_sums_make_one_that_knows_their_order_and_one_alone_stays():
    one, other = "ab" * 32, "cd" * 32
    assert joined_sha256(one) == joined_sha256("", one) == one
    assert len({joined_sha256(one, other), joined_sha256(other, one), one, other}) == 4
    assert joined_sha256() == joined_sha256("", "") == ""
