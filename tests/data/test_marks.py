"""Marks of readers and detectors: those of a case, and tables that are none."""

from __future__ import annotations

import pytest

from lungseg3d.core import LungSegError
from lungseg3d.data.marks import read_marks

HEADER = "id,kind,x,y,z,diameter_mm,n_readers,score,near_reader_mark,on\n"


def table(folder, rows: str, header: str = HEADER):
    path = folder / "marks.csv"
    path.write_text(header + rows, encoding="utf-8")
    return path


def test_marks_are_those_of_the_case(tmp_path):
    path = table(tmp_path, "a,luna_nodule,1,2,3.5,10,4,,,\nb,small_nodule,8,8,8,,2,,,\n")
    (mark,) = read_marks(path, "a")
    assert (mark.kind, mark.voxel, mark.diameter_mm, mark.is_apart) == ("luna_nodule", (1.0, 2.0, 3.5), 10.0, True)
    assert [mark.kind for mark in read_marks(path, "b")] == ["small_nodule"]
    assert read_marks(path, "c") == ()


def test_a_table_without_cases_is_of_one(tmp_path):
    path = table(tmp_path, "small_nodule,1,2,3,,,\n", "kind,x,y,z,diameter_mm,near_reader_mark,on\n")
    (mark,) = read_marks(path, "whatever")
    assert (mark.voxel, mark.diameter_mm) == ((1.0, 2.0, 3.0), 0.0)


def test_a_mark_is_apart_that_lies_on_nothing_and_near_no_reader(tmp_path):
    rows = "".join(
        f"a,detector_false_positive,1,2,3,,,0.4,{near},{on}\n" for near, on in ((0, ""), (1, ""), (0, "nodule"))
    )
    assert [mark.is_apart for mark in read_marks(table(tmp_path, rows), "a")] == [True, False, False]


@pytest.mark.parametrize(
    ("header", "rows", "why"),
    [
        ("kind,x,y\n", "a,1,2\n", "it has no column z, diameter_mm, near_reader_mark, on"),
        (HEADER, "a,small_nodule,1,2,3,,2,,,\na,small_nodule,1,two,3,,2,,,\n", "line 3: x, y, z"),
    ],
)
def test_what_is_no_table_of_marks_is_refused_with_its_reason(tmp_path, header, rows, why):
    with pytest.raises(LungSegError, match=f"E_BAD_CSV: marks.csv, .*{why}"):
        read_marks(table(tmp_path, rows, header), "a")


def test_a_table_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(LungSegError, match=r"E_BAD_CSV: marks\.csv, .*cannot be read"):
        read_marks(tmp_path / "marks.csv")
