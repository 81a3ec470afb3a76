"""What readers and detectors marked in CTs besides the labelled nodules: a table -> the marks of a case.

In: a CSV. Out: places in voxels. Knows no CT.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from lungseg3d.core import LungSegError
from lungseg3d.data.csv_files import read_csv

_COLUMNS = ("kind", "x", "y", "z", "diameter_mm", "near_reader_mark", "on")


@dataclass(frozen=True)
class MarkedPlace:
    """A point that a reader or a detector marked.

    Attributes:
        kind: `luna_nodule` (an accepted nodule), `excluded_nodule` (outlined by one or two readers), `small_nodule` and
            `non_nodule` (points), `detector_false_positive`.
        voxel: where, in voxels of the file's array.
        diameter_mm: 0 where nobody measured it.
        is_apart: it lies on no nodule, and, of a detector's marks, near no reader's.
    """

    kind: str
    voxel: tuple[float, float, float]
    diameter_mm: float
    is_apart: bool


def read_marks(path: Path | str, case_id: str | None = None) -> tuple[MarkedPlace, ...]:
    """The marks of a case.

    Args:
        path: a CSV with `kind, x, y, z, diameter_mm, near_reader_mark, on` and, where it is of several cases, `id`.
        case_id: whose; a table without `id` is of one case, whatever its name.

    Raises:
        LungSegError: E_BAD_CSV for a table that cannot be read, lacks a column, or has a place that is no number.
    """
    of_case = _marks_by_case(str(path))
    return of_case.get(case_id, of_case.get(None, ()))


@functools.lru_cache(maxsize=8)
def _marks_by_case(path: str) -> dict[str | None, tuple[MarkedPlace, ...]]:
    try:
        columns, rows = read_csv(Path(path))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        _refuse(path, f"it cannot be read ({type(error).__name__})")
    if lacking := [name for name in _COLUMNS if name not in columns]:
        _refuse(path, f"it has no column {', '.join(lacking)}")
    marks: dict[str | None, list[MarkedPlace]] = {}
    for number, row in enumerate(rows, start=2):
        try:
            voxel = (float(row["x"]), float(row["y"]), float(row["z"]))
            diameter_mm = float(row["diameter_mm"] or 0)
        except ValueError:
            _refuse(path, f"line {number}: x, y, z and diameter_mm must be numbers")
        is_apart = not row["on"] and row["near_reader_mark"] in ("", "0")
        marks.setdefault(row.get("id"), []).append(MarkedPlace(row["kind"], voxel, diameter_mm, is_apart))
    return {case: tuple(of_case) for case, of_case in marks.items()}


def _refuse(path: str, why: str) -> NoReturn:
    text = f"{Path(path).name}, marks of readers and detectors: {why}."
    raise LungSegError(
        "E_BAD_CSV", text, f"Its columns are {', '.join(_COLUMNS)}, and id where it is of several cases."
    )
