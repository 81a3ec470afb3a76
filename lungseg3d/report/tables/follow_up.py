"""A follow-up as text for programs: nodules as CSV, everything as JSON.

In: a `FollowUp`. Out: text with fixed digits and a fixed order, the same for the same record. Writes no file.
"""

from __future__ import annotations

from typing import Any

from lungseg3d.core import FollowUp, NoduleChange, finite, json_text, to_json
from lungseg3d.report.tables.case import cell
from lungseg3d.report.tables.csv_text import csv_text

FOLLOW_UP_SCHEMA_VERSION = 1
"""Raised when a key of `follow_up.json` is renamed, removed or changes its meaning; not when one is added."""
_MEASURES = (("volume_mm3", ".2f"), ("long_axis_mm", ".2f"), ("mean_hu", ".1f"), ("kind", "s"), ("confidence", ".3f"))


def changes_csv(follow_up: FollowUp) -> str:
    """One header and one row per nodule, in the order of the record; what is not known is an empty cell.

    `prior_*` and `current_*` are the measurements of each CT, `volume_change_*` percents, `place_*` RAS mm;
    `*_candidate_reason` is filled where the finding is a candidate of that CT and not in its list.
    """
    rows = [_row(follow_up, change) for change in follow_up.changes]
    return csv_text(rows, list(rows[0] if rows else _row(follow_up, None)))


def follow_up_json(follow_up: FollowUp) -> str:
    """The whole record as indented JSON, `schema_version` first; a number that is not finite is null.

    Raises:
        TypeError: the record holds something that has no JSON form.
    """
    record = {"schema_version": FOLLOW_UP_SCHEMA_VERSION, **finite(to_json(follow_up))}
    return json_text(record, indent=2)


def _row(follow_up: FollowUp, change: NoduleChange | None) -> dict[str, Any]:
    """Cells by the name of their column; without a nodule the names alone."""
    row: dict[str, Any] = {}
    row["id"] = cell(change and change.id, "d")
    row["change"] = cell(change and change.change.value, "s")
    row["reason"] = cell(change and change.reason, "s")
    nodule = change and (change.current or change.prior)
    row["side"] = cell(nodule and nodule.side, "s")
    for when in ("prior", "current"):
        there = getattr(change, when, None)
        row[f"{when}_id"] = cell(getattr(there, "id", None), "d")
        for name, digits in _MEASURES:
            row[f"{when}_{name}"] = cell(there and there.value(name), digits)
    for name, key, factor, digits in (
        ("volume_change_percent", "volume_change", 100, ".1f"),
        ("doubling_time_days", "doubling_time_days", 1, ".0f"),
    ):
        estimate = getattr(change, key, None)
        for part in ("value", "low", "high"):
            value = getattr(estimate, part, None)
            row[name if part == "value" else f"{name}_{part}"] = cell(None if value is None else factor * value, digits)
    row["days"] = cell(follow_up.days, ".0f")
    row["distance_mm"] = cell(getattr(change, "distance_mm", None), ".2f")
    for when in ("prior", "current"):
        place = getattr(change, f"place_{when}_ras_mm", None) or (None, None, None)
        row |= {f"place_{when}_{axis}_mm": cell(x, ".2f") for axis, x in zip("xyz", place, strict=True)}
    for name in ("lung_rads_by_diameter", "lung_rads_by_volume"):
        row[f"current_{name}"] = cell(change and change.current and change.current.value(name), "s")
    for when in ("prior", "current"):
        there = getattr(change, when, None)
        row[f"{when}_calibrated_confidence"] = cell(there and there.certainty.calibrated_confidence, ".3f")
        row[f"{when}_candidate_reason"] = cell(getattr(there, "reason", None), "s")
    return row
