"""`froc`: a challenge's CSV files in, its score out: sensitivities at fixed false-positive rates, and CPM.

In: annotations, excluded findings, scans and candidates as LUNA16 has them. Out: `Scored`; files where asked for.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lungseg3d.core import LungSegError, json_text
from lungseg3d.io import placing_together, write_text
from lungseg3d.metrics import LUNA16_RATES, Froc, ScanMarks, froc_curve, froc_interval, match_marks
from lungseg3d.report import csv_text, render_froc

_CENTRE = ("coordX", "coordY", "coordZ")
_REMEDY = "Give the files in the form of LUNA16: seriesuid, coordX, coordY, coordZ, diameter_mm or probability."
Rows = dict[str, list[list[float]]]
"""Scan -> rows of x, y, z in mm and one number more."""


@dataclass(frozen=True)
class Scored:
    """What a system's candidates are worth.

    Attributes:
        content: what `froc.json` holds: rates, sensitivities, intervals, `cpm`, counts.
        curve: all of it.
        unlisted: scans of the candidates that are not in the list of scans; they count for nothing.
    """

    content: dict[str, Any]
    curve: Froc
    unlisted: tuple[str, ...]


def score_files(
    annotations: Path, excluded: Path | None, scans: Path, candidates: Path, out: Path | None = None, *, most: int = 100
) -> Scored:
    """Score candidates as LUNA16 does.

    Args:
        annotations: CSV of nodules: `seriesuid, coordX, coordY, coordZ, diameter_mm`.
        excluded: CSV of findings that count neither way, of the same form, or None.
        scans: one scan a line; each is in the denominator, whatever was found in it.
        candidates: CSV of marks with `probability` for the diameter. Commas, tabs or semicolons; a scan whose name is
            a number is the same with leading zeros.
        out: folder for `froc.json`, `froc.csv` (the whole curve) and `froc.html`, or None.
        most: candidates of a scan that count, those with the highest probability.

    Raises:
        LungSegError: E_TABLE for a file that is not what it should be, with the line.
    """
    listed = list(dict.fromkeys(_names(scans)))
    nodules, marks = _rows(annotations, "diameter_mm"), _rows(candidates, "probability")
    ignored = _rows(excluded, "diameter_mm") if excluded else {}
    if not any(name in nodules for name in listed):
        found = f"{annotations} has no nodule in a scan that {scans} lists"
        raise LungSegError("E_TABLE", found, "Give both files of one set.")
    matches = []
    for name in listed:
        tables = (_columns(rows.get(name, [])) for rows in (nodules, ignored, marks))
        matches.append(match_marks(ScanMarks(*(column for table in tables for column in table)), most))
    curve = froc_curve(matches)
    low, high = froc_interval(matches)
    content = {
        "schema_version": 1,
        "scans": curve.scans,
        "nodules": curve.nodules,
        "candidates": curve.marks,
        "most_candidates_a_scan": most,
        "false_positives_a_scan": list(LUNA16_RATES),
        "sensitivity": _rounded(curve.sensitivity_at()),
        "sensitivity_low": _rounded(low[:-1]),
        "sensitivity_high": _rounded(high[:-1]),
        "cpm": round(curve.cpm, 6),
        "cpm_low": round(float(low[-1]), 6),
        "cpm_high": round(float(high[-1]), 6),
    }
    unlisted = tuple(sorted(set(marks) - set(listed)))
    if out is not None:
        with placing_together(out, last="froc.json") as stage:
            write_text(stage / "froc.csv", _curve_csv(curve))
            write_text(stage / "froc.html", render_froc(content, curve.rate.tolist(), curve.sensitivity.tolist()))
            write_text(stage / "froc.json", json_text(content))
    return Scored(content, curve, unlisted)


def _names(path: Path) -> list[str]:
    """The scans of a file with one a line, a title line allowed."""
    lines = [line.strip().strip(",;") for line in _text(path).splitlines()]
    names = [_plain(line) for line in lines if line and line.lower() != "seriesuid"]
    if not names:
        raise LungSegError("E_TABLE", f"{path} lists no scan", _REMEDY)
    return names


def _rows(path: Path, last: str) -> Rows:
    """The rows of a table by scan."""
    text = _text(path)
    first = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=max(",\t;", key=first.count))
    columns = (*_CENTRE, last)
    if missing := [name for name in ("seriesuid", *columns) if name not in (reader.fieldnames or ())]:
        raise LungSegError("E_TABLE", f"{path} has no column {missing[0]}, but {first.strip()[:100]!r}", _REMEDY)
    found: Rows = {}
    for row in _records(reader, path):
        try:
            numbers = [float(row[name]) for name in columns]
        except (TypeError, ValueError):
            numbers = [math.nan]
        if not all(map(math.isfinite, numbers)):
            values = ", ".join(str(row[name]) for name in columns)
            raise LungSegError("E_TABLE", f"{path}, line {reader.line_num}: {values} are no four numbers", _REMEDY)
        found.setdefault(_plain((row["seriesuid"] or "").strip()), []).append(numbers)
    return found


def _records(reader: csv.DictReader[str], path: Path) -> Iterator[dict[str, Any]]:
    try:
        yield from reader
    except csv.Error as error:
        raise LungSegError("E_TABLE", f"{path}, line {reader.line_num}: {error}", _REMEDY) from error


def _columns(rows: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return table[:, :3], table[:, 3]


def _plain(name: str) -> str:
    """A scan's name; one that is a number without leading zeros."""
    return str(int(name)) if name.isascii() and name.isdigit() else name


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LungSegError("E_TABLE", f"{path}: {error}", _REMEDY) from error


def _curve_csv(curve: Froc) -> str:
    rows = [
        {"threshold": f"{threshold:.9g}", "false_positives_a_scan": f"{rate:.6f}", "sensitivity": f"{share:.6f}"}
        for threshold, rate, share in zip(curve.thresholds, curve.rate, curve.sensitivity, strict=True)
    ]
    return csv_text(rows, ("threshold", "false_positives_a_scan", "sensitivity"))


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in values]


def froc_rows(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Rate and `sensitivity (interval)` of each rate, and the CPM, for a table of text."""
    columns = (content[key] for key in ("false_positives_a_scan", "sensitivity", "sensitivity_low", "sensitivity_high"))
    rows = [(f"{rate:g}", f"{mean:.3f} ({low:.3f}-{high:.3f})") for rate, mean, low, high in zip(*columns, strict=True)]
    return [*rows, ("CPM", f"{content['cpm']:.3f} ({content['cpm_low']:.3f}-{content['cpm_high']:.3f})")]
