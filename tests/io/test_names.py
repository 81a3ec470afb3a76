"""Case ids: recognisable, file-safe, unique, from paths alone."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungseg3d.io import case_id_of


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
