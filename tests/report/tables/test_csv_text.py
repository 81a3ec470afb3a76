"""CSV text: one header, empty cells, quotes where they are needed."""

from __future__ import annotations

import csv
import io

import pytest

from lungseg3d.report import csv_text


def test_missing_cells_and_none_are_empty_and_lines_end_with_a_newline():
    rows = [{"a": 1, "b": None}, {"b": 0.1}]
    assert csv_text(rows, ("a", "b", "c")) == "a,b,c\n1,,\n,0.1,\n"


def test_without_rows_there_is_the_header():
    assert csv_text([], ("a", "b")) == "a,b\n"


def test_text_with_separators_is_read_back_as_it_was():
    row = {"a": 'says "x, y"', "b": "two\nlines"}
    assert list(csv.DictReader(io.StringIO(csv_text([row], ("a", "b")), newline=""))) == [row]


def test_a_cell_of_no_column_is_refused():
    with pytest.raises(ValueError, match="not in fieldnames"):
        csv_text([{"other": 1}], ("a",))
