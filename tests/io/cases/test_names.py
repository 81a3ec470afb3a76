"""Case ids: recognisable, file-safe, unique, from paths alone."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungseg3d.io import as_paths, case_id_of, is_case_name


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("scans/case-014.nii.gz", "case-014"),
        ("scans/case.v2.nrrd", "case.v2"),
        ("ct/4dlung-113/dicom", "4dlung-113_dicom"),
        ("study7/SE000001", "study7_SE000001"),
        ("lidc/0001/ct.nii.gz", "lidc_0001_ct"),
        ("patients/Ünïcode näme", "Unicode-name"),
        ("a/x/../b7/ct.mha", None),
    ],
)
def test_a_name_says_which_case_it_is(path, expected):
    name = case_id_of(path)
    assert name == expected if expected else name.endswith("b7_ct")


def test_a_taken_name_gets_a_number():
    assert case_id_of("x/scan-a.nii", {"scan-a"}) == "scan-a-2"
    assert case_id_of("x/scan-a.nii", {"SCAN-A", "scan-a-2"}) == "scan-a-3"


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_any_name_becomes_file_safe(text):
    name = case_id_of(Path("/root-folder") / "f" / text.replace("/", "_"))
    assert 1 <= len(name) <= 80
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert not name.startswith((".", "-"))


STUDY = "1.3.6.1.4.1.14519.5.2.1.6279.6001.298806137288633453246975630178"
SERIES = "1.3.6.1.4.1.14519.5.2.1.6279.6001.179049373636438705059720603192"


def test_one_uid_is_a_name_as_it_is():
    assert case_id_of(f"lidc/{SERIES}") == SERIES


def test_two_series_of_one_study_keep_apart_whatever_else_is_there():
    one, other = f"ct/{STUDY}_{SERIES}", f"ct/{STUDY}_{SERIES[:-1]}3"
    names = [case_id_of(one), case_id_of(other)]
    assert len(set(names)) == 2
    assert not any(name.endswith("-2") for name in names)
    for name in names:
        assert len(name) <= 72
        assert name.startswith(STUDY[:40])
        assert is_case_name(name)
    assert SERIES[-12:] in names[0]
    assert names[0] == case_id_of(one, taken=[names[1]])


def test_a_long_name_is_the_same_wherever_its_folder_lies_and_however_its_letters_are_stored():
    long = "Thorax-Ü" + "x" * 120
    assert case_id_of(f"/a/{long}") == case_id_of(f"/b/c/{unicodedata.normalize('NFD', long)}")
    assert case_id_of(f"/a/{long}", taken=[case_id_of(f"/a/{long}")]) == case_id_of(f"/a/{long}") + "-2"


@pytest.mark.parametrize("length", [79, 80, 81, 200, 250])
def test_a_name_of_any_length_fits_every_file_system(length):
    names = {case_id_of("/a/" + "n" * (length - 1) + end) for end in "xyz"}
    assert len(names) == 3
    assert all(len(name) <= 80 for name in names)


def test_one_path_is_one_path_and_a_list_is_a_list():
    assert as_paths("one/path") == as_paths(Path("one/path")) == as_paths(["one/path"]) == [Path("one/path")]
    assert as_paths(("a", Path("b"))) == [Path("a"), Path("b")]
