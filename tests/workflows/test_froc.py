"""`froc`: the challenge's files through the program, and what is wrong with others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lungseg3d.cli.program import app
from lungseg3d.core import LungSegError
from lungseg3d.workflows.froc import score_files

HEAD = "seriesuid,coordX,coordY,coordZ,"


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Path]:
    """Two scans and a nodule in each; one is found, and a mark on an excluded finding counts for nothing."""
    texts = {
        "annotations": HEAD + "diameter_mm\n007,0,0,0,8\nb,50,0,0,6\n",
        "excluded": HEAD + "diameter_mm\n007,90,0,0,-1\n",
        "scans": "seriesuid\n007\nb\n",
        "candidates": (HEAD + "probability\n7,1,0,0,0.9\n7,90,0,1,0.8\nb,0,0,0,0.7\nc,0,0,0,0.99\n").replace(",", "\t"),
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_text(text)
    return {name: tmp_path / f"{name}.csv" for name in texts}


def words_of(tables: dict[str, Path]) -> list[str]:
    return ["froc", *(word for name, path in tables.items() for word in (f"--{name}", str(path)))]


def test_tabs_leading_zeros_and_excluded_findings_are_understood(tables, tmp_path):
    scored = score_files(*(tables[name] for name in ("annotations", "excluded", "scans", "candidates")))
    assert scored.content["sensitivity"] == [0.5] * 7
    assert scored.curve.rate[-1] == 0.5
    assert scored.unlisted == ("c",)


def test_the_program_prints_the_score_and_writes_it_alike_twice(tables, tmp_path):
    written = []
    for name in ("one", "two"):
        ran = CliRunner().invoke(app, [*words_of(tables), "--out", str(tmp_path / name)])
        assert ran.exit_code == 0, ran.output
        assert "CPM  0.500" in ran.output
        assert "2 scans, 2 nodules, 3 candidates" in ran.output
        assert "Candidates of 1 scans that are not listed count for nothing: c" in ran.output
        written.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert set(written[0]) == {"froc.json", "froc.csv", "froc.html"}
    assert written[0] == written[1]
    assert json.loads(written[0]["froc.json"])["cpm"] == 0.5
    assert b"Research use only" in written[0]["froc.html"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("candidates", HEAD + "score\n7,1,0,0,0.9\n", "has no column probability"),
        ("candidates", HEAD + "probability\n7,1,x,0,0.9\n", "line 2: 1, x, 0, 0.9 are no four numbers"),
        ("annotations", HEAD + "diameter_mm\nzz,0,0,0,8\n", "has no nodule in a scan that"),
        ("annotations", HEAD + "diameter_mm\n7,0,0\n", "are no four numbers"),
        ("scans", "\n", "lists no scan"),
        ("candidates", HEAD + "probability\n7,1,0,0," + "9" * 200_000 + "\n", "field larger than field limit"),
        ("candidates", "\xff\xfe", "E_TABLE"),
    ],
)
def test_a_table_that_is_none_is_named_with_its_line(tables, name, text, said):
    tables[name].write_bytes(text.encode("latin-1"))
    with pytest.raises(LungSegError, match="E_TABLE") as caught:
        score_files(*(tables[part] for part in ("annotations", "excluded", "scans", "candidates")))
    assert said in str(caught.value)
    ran = CliRunner().invoke(app, words_of(tables))
    assert ran.exit_code == 3
