"""A case's record as text for programs: nodules as CSV, everything as JSON.

In: a `CaseResult`. Out: text with fixed digits and a fixed order, the same for the same record. Writes no file.
"""

from __future__ import annotations

import math
from typing import Any

from lungseg3d.core import CaseResult, Nodule, finite, json_text, to_json
from lungseg3d.report.tables.csv_text import csv_text

SCHEMA_VERSION = 2
"""Raised when a key of `result.json` is renamed, removed or changes its meaning; not when one is added.

2: `nodules` are the findings at or above the operating point, the surest first (in 1 all findings, the largest first);
the others stand under `candidates`.
"""

_COLUMNS: tuple[tuple[str, str], ...] = (
    ("id", "d"),
    ("volume_mm3", ".2f"),
    ("equivalent_diameter_mm", ".2f"),
    ("long_axis_mm", ".2f"),
    ("perpendicular_mm", ".2f"),
    ("mean_hu", ".1f"),
    ("sd_hu", ".1f"),
    ("solid_fraction", ".3f"),
    ("kind", "s"),
    ("side", "s"),
    ("pleura_distance_mm", ".2f"),
    ("confidence", ".3f"),
)
_POINTS: tuple[tuple[str, str], ...] = (
    ("centroid_ras", "_mm"),
    ("centroid_lps", "_mm"),
    ("centroid_voxel", ""),
)
# Behind the places, so that programs that count columns go on as they were.
_LATER: tuple[tuple[str, str], ...] = (
    ("volume_low_mm3", ".2f"),
    ("volume_high_mm3", ".2f"),
    ("mean_diameter_mm", ".2f"),
    ("solid_long_axis_mm", ".2f"),
    ("solid_perpendicular_mm", ".2f"),
    ("solid_volume_mm3", ".2f"),
    ("third", "s"),
    ("vessel_distance_mm", ".2f"),
    ("lung_rads_by_diameter", "s"),
    ("lung_rads_by_volume", "s"),
    ("fleischner_by_diameter", "s"),
    ("fleischner_by_volume", "s"),
    ("calibrated_confidence", ".3f"),
    ("uncertainty", ".3f"),
    ("view_agreement", ".3f"),
    ("volume_method", "s"),
    ("voxel_sum_mm3", ".2f"),
)


def nodules_csv(result: CaseResult) -> str:
    """One header and one row per nodule, in the order of the record.

    Units stand in the column names; `centroid_voxel_*` are indices, counted from 0, of the CT's own grid. What is
    unknown or not finite is an empty cell. Lines end with a newline alone.
    """
    names = [name for name, _ in _COLUMNS]
    places = [f"{point}_{axis}{unit}" for point, unit in _POINTS for axis in "xyz"]
    columns = names + places + [name for name, _ in _LATER]
    return csv_text((dict(zip(columns, _row(nodule), strict=True)) for nodule in result.nodules), columns)


def result_json(result: CaseResult) -> str:
    """The whole record as indented JSON, `schema_version` first.

    Keys of the record and steps of `timings_s` keep their order, those of `source`, `grid` and `provenance` are
    sorted; a number that is not finite is written as null.

    Raises:
        TypeError: the record holds something that has no JSON form.
    """
    record = {"schema_version": SCHEMA_VERSION, **finite(to_json(result))}
    for key in ("source", "grid", "operating_point", "provenance"):
        record[key] = _sorted(record[key])
    return json_text(record, indent=2)


def _row(nodule: Nodule) -> list[str]:
    cells = [cell(nodule.value(name), digits) for name, digits in _COLUMNS]
    points = (nodule.value(f"{point}_mm" if unit else point) for point, unit in _POINTS)
    places = [cell(value, ".2f") for point in points for value in point]
    return cells + places + [cell(nodule.value(name), digits) for name, digits in _LATER]


def cell(value: Any, digits: str) -> str:
    """A number with fixed digits, or a word; empty where it is None or not finite."""
    is_number = digits.endswith("f")
    if value is None or (is_number and not math.isfinite(value)):
        return ""
    # Adding 0.0 turns -0.0 into 0.0; rounding first catches -0.001 too.
    return format(round(float(value), int(digits[1])) + 0.0, digits) if is_number else format(value, digits)


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
