"""LUNA16's tables -> nodules and excluded findings of each scan.

In: `annotations.csv`, `annotations_excluded.csv` (Setio et al. 2017, Med Image Anal 42:1). Out: `LunaFinding`s by scan.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from lungseg3d.core import LungSegError
from lungseg3d.data.csv_files import read_csv

_PLACE = ("coordX", "coordY", "coordZ")
_DIAMETER = "diameter_mm"


@dataclass(frozen=True)
class LunaFinding:
    """One row: the centre as the table has it, which is LPS mm, and the diameter; None where the table says -1."""

    centre_lps_mm: tuple[float, float, float]
    diameter_mm: float | None


def read_luna_findings(table: Path | str) -> dict[str, list[LunaFinding]]:
    """seriesuid -> its findings, in the order of the table.

    Raises:
        LungSegError: E_TABLE with the line when a column is absent or a number is none.
    """
    table = Path(table)
    found: dict[str, list[LunaFinding]] = {}
    try:
        _, rows = read_csv(table, strict=False)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _refusal(f"{table.name}: cannot be read ({error})") from error
    for number, row in enumerate(rows, 2):
        try:
            x, y, z, diameter = (float(row[column]) for column in (*_PLACE, _DIAMETER))
            uid = row["seriesuid"]
        except (KeyError, ValueError) as error:
            raise _refusal(f"{table.name} line {number}: {type(error).__name__} {error}") from error
        if not all(map(math.isfinite, (x, y, z, diameter))):
            raise _refusal(f"{table.name} line {number}: a number that is not finite")
        found.setdefault(uid, []).append(LunaFinding((x, y, z), diameter if diameter > 0 else None))
    return found


def _refusal(found: str) -> LungSegError:
    columns = ", ".join(("seriesuid", *_PLACE, _DIAMETER))
    return LungSegError("E_TABLE", f"{found}; expected the columns {columns}.", "Download the table again.")
