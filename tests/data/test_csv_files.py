"""Tables as spreadsheets write them, by read_csv and by those who use it."""

from __future__ import annotations

import csv

import pytest

from lungseg3d.data import read_csv, read_luna_findings

ROWS = [{"image": "a, b.nii", "patient": "P1"}, {"image": "c.nii", "patient": ""}]


@pytest.mark.parametrize(
    "data",
    [
        b'image,patient\n"a, b.nii",P1\nc.nii\n',
        "\ufeffimage;patient\r\na, b.nii;P1\r\nc.nii;\r\n".encode(),
        "image\tpatient\r\na, b.nii\tP1\r\n\r\nc.nii\t\r\n".encode("utf-16"),
        b"image ; patient\na, b.nii ; P1\nc.nii;\n",
    ],
    ids=["commas", "semicolons", "tabs in UTF-16", "blanks"],
)
def test_the_separator_and_the_encoding_are_those_of_the_file(tmp_path, data):
    (tmp_path / "t.csv").write_bytes(data)
    assert read_csv(tmp_path / "t.csv") == (["image", "patient"], ROWS)


def test_what_is_no_table_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text('image,patient\n"a.nii,P1\n')
    with pytest.raises(csv.Error):
        read_csv(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(b"image\n\xe4.nii\n")
    with pytest.raises(UnicodeDecodeError):
        read_csv(tmp_path / "t.csv")


def test_annotations_that_went_through_a_spreadsheet_are_the_same(tmp_path):
    head, row = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm"), ("1.2.3", "-1.5", "2", "3", "6.5")
    for name, separator in (("a", ","), ("b", ";")):
        (tmp_path / name).write_text("\n".join(separator.join(words) for words in (head, row)))
    assert read_luna_findings(tmp_path / "a") == read_luna_findings(tmp_path / "b")
    ((finding,),) = read_luna_findings(tmp_path / "b").values()
    assert (finding.centre_lps_mm, finding.diameter_mm) == ((-1.5, 2.0, 3.0), 6.5)
