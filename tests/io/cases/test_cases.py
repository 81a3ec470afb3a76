"""A folder becomes a data list: one entry a CT, each with a name of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungseg3d.io import list_cases, list_studies
from tests.corpus.phantom import Series, chest, part


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def listed(root: Path) -> list[tuple[str, str]]:
    return [(Path(entry["image"]).relative_to(root).as_posix(), entry["case_id"]) for entry in list_cases(root)]


def test_every_volume_file_and_every_folder_of_a_folder_is_a_case(tmp_path):
    make(tmp_path, "b.nii.gz", "a.nrrd", "C.MHA", "patient-x/1.dcm", "notes.txt", ".hidden/1.dcm", ".b.nii")
    assert sorted(listed(tmp_path)) == [
        ("C.MHA", "C"),
        ("a.nrrd", "a"),
        ("b.nii.gz", "b"),
        ("patient-x", "patient-x"),
    ]


def test_the_list_is_sorted_by_path(tmp_path):
    make(tmp_path, "c.nii", "a.nii", "b.nii")
    assert [path for path, _ in listed(tmp_path)] == ["a.nii", "b.nii", "c.nii"]


def test_a_folder_of_series_folders_is_a_case_each(tmp_path):
    make(tmp_path, "scan-one/1.dcm", "scan-two/1.dcm")
    assert listed(tmp_path) == [("scan-one", "scan-one"), ("scan-two", "scan-two")]


def test_a_series_folder_and_a_single_file_are_one_case(tmp_path):
    make(tmp_path, "scan-a/IM0001", "scan-a/IM0002", "scan-b.nii.gz")
    for name, case_id in (("scan-a", "scan-a"), ("scan-b.nii.gz", "scan-b")):
        (entry,) = list_cases(str(tmp_path / name))
        assert entry == {"image": str(tmp_path / name), "case_id": case_id}


def test_two_files_of_one_name_get_names_of_their_own(tmp_path):
    make(tmp_path, "scan.nii", "scan.nii.gz", "scan.mha", "Scan.nrrd")
    names = [case_id for _, case_id in listed(tmp_path)]
    assert len({name.lower() for name in names}) == 4


def test_an_empty_folder_has_no_case(tmp_path):
    assert list_cases(tmp_path) == []


def test_a_folder_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list_cases(tmp_path / "nowhere")


def test_the_studies_of_a_folder_are_listed_and_other_inputs_have_none(tmp_path):
    for study in ("2", "1"):
        Series(part(chest(), slice(2)), study=study).write(tmp_path / "both" / study)
    Series(part(chest(), slice(2)), study="7", SOPClassUID="1.2.840.10008.5.1.4.1.1.4").write(tmp_path / "both" / "mr")
    assert list_studies(tmp_path / "both") == ("1.2.826.1", "1.2.826.2")
    make(tmp_path, "ct.nii.gz", "empty/notes.txt")
    assert list_studies(tmp_path / "ct.nii.gz") == list_studies(tmp_path / "empty") == ()
