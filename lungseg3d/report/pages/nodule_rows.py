"""Nodules as a reader's table and panels have them: columns that are known for this case, numbers as text.

In: `Nodule`s, slice numbers. Out: `Column`s and rows of text. Knows no picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lungseg3d.core import LowConfidence, Nodule
from lungseg3d.report.plots.numbers import number_text


@dataclass(frozen=True)
class Column:
    """One measurement of the table.

    Attributes:
        key: name of the cell in a row.
        title: head of the column; `&shy;` where it may be cut is written as a soft hyphen.
        is_number: right-aligned.
        is_minor: left out on a narrow screen, where the nodule's panel has it.
    """

    key: str
    title: str
    is_number: bool = True
    is_minor: bool = False


_Cell = Callable[[Nodule], str]


def _optional(name: str, digits: int) -> _Cell:
    return lambda nodule: number_text(nodule.value(name), digits)


# Column, text of its cell. A column that says nothing about any nodule is left out.
_COLUMNS: tuple[tuple[Column, _Cell], ...] = (
    (Column("side", "Lung", is_number=False), lambda nodule: nodule.side),
    (Column("kind", "Kind", is_number=False), lambda nodule: nodule.kind),
    (Column("volume", "Volume mm³"), lambda nodule: number_text(nodule.volume_mm3, _volume_digits(nodule))),
    (
        Column("axes", "Long × perp. axis mm"),
        lambda nodule: f"{number_text(nodule.long_axis_mm, 1)} × {number_text(nodule.diameters.perpendicular_mm, 1)}",
    ),
    (Column("diameter", "Equiv. diameter mm", is_minor=True), _optional("equivalent_diameter_mm", 1)),
    (Column("mean_hu", "Mean HU", is_minor=True), _optional("mean_hu", 0)),
    (Column("pleura", "To pleura mm", is_minor=True), _optional("pleura_distance_mm", 1)),
    (Column("calibrated_confidence", "Confi\u00addence"), _optional("calibrated_confidence", 2)),
    (Column("confidence", "Uncali\u00adbrated confi\u00addence"), _optional("confidence", 2)),
    (Column("uncertainty", "Uncer\u00adtainty bit", is_minor=True), _optional("uncertainty", 2)),
    (Column("agreement", "Views agree", is_minor=True), _optional("view_agreement", 2)),
)
_LAST = (Column("slice", "Slice"), Column("position", "Centroid LPS mm", is_minor=True))


# Key of the row, name, and how the value is written.
_MEASURES: tuple[tuple[str, str, str], ...] = (
    ("kind", "Kind", "{}"),
    ("axes", "Axes", "{} mm"),
    ("mean_diameter", "Mean diameter", "{} mm"),
    ("volume", "Volume", "{} mm³"),
    ("interval", "95 % interval", "{} mm³"),
    ("mean_hu", "Mean", "{} HU"),
    ("solid_axes", "Solid part", "{} mm"),
    ("place", "Place", "{}"),
    ("pleura", "To pleura", "{} mm"),
    ("vessel", "To vessel", "{} mm"),
    ("fleischner", "Fleischner size class", "{}"),
    ("lung_rads", "Lung-RADS by size", "{}"),
    ("calibrated_confidence", "Confidence", "{}"),
    ("confidence", "Uncalibrated confidence", "{}"),
    ("uncertainty", "Uncertainty", "{} bit"),
    ("agreement", "Views agree", "{}"),
)


def nodule_columns(nodules: Sequence[Nodule]) -> list[Column]:
    """The columns in which some nodule has something; one confidence, the calibrated one where there is any."""
    known = [column for column, cell in _COLUMNS if any(cell(nodule) != "–" for nodule in nodules)]
    if any(nodule.certainty.calibrated_confidence is not None for nodule in nodules):
        known = [column for column in known if column.key != "confidence"]
    return [*known, *_LAST]


def nodule_row(nodule: Nodule, slice_number: int, low: LowConfidence) -> dict[str, Any]:
    """One nodule's measurements as they are printed, by the key of their column.

    `id` besides, and `unsure`: the key of the confidence that is too low; empty where none is.
    """
    row: dict[str, Any] = {column.key: cell(nodule) for column, cell in _COLUMNS}
    if nodule.certainty.calibrated_confidence is not None:
        row["confidence"] = "–"  # one confidence is shown; the raw one stays in result.json and nodules.csv
    position = ", ".join(number_text(value, 1) for value in nodule.centroid.lps_mm)
    return {"id": nodule.id, "unsure": low.reason(nodule), **row, "slice": slice_number, "position": position}


def nodule_measures(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, text) of what the panel of a nodule says of it; what is unknown is left out."""
    return [(title, text.format(row[key])) for key, title, text in _MEASURES if row.get(key, "–") != "–"]


def confidence_text(nodule: Nodule) -> tuple[str, str]:
    """(name, value) of the one confidence that is shown: calibrated where it is known; both empty where none is."""
    raw, calibrated = nodule.certainty.confidence, nodule.certainty.calibrated_confidence
    if calibrated is not None:
        return "confidence", number_text(calibrated, 2)
    return ("", "") if raw is None else ("uncalibrated confidence", number_text(raw, 2))


def _volume_digits(nodule: Nodule) -> int:
    return 0 if nodule.volume_mm3 >= 100 else 1
