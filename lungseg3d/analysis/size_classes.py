"""Size and kind of a nodule -> the class that two guidelines give it. Not a diagnosis, and no advice.

In: mm, mm3 and a kind. Out: short names. Knows no mask.
A guideline weighs history, growth, number and look as well; none of these is here. `kind` is the program's own guess.

Sources: American College of Radiology, Lung-RADS v2022 (Christensen et al. 2024, J Am Coll Radiol 21:473-488), the rows
for a first screening; MacMahon et al. 2017, Radiology 284:228-243 (Fleischner Society), and for rounding Bankier et al.
2017, Radiology 285:584-600.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_RADS_MM = (6.0, 8.0, 15.0, 30.0)
_RADS_MM3 = (113.0, 268.0, 1767.0, 14137.0)


@dataclass(frozen=True)
class NoduleSize:
    """What the guidelines look at.

    Attributes:
        kind: `solid`, `part-solid` or `ground-glass`.
        mean_diameter_mm: mean of long axis and perpendicular in one axial slice.
        volume_mm3: of the whole nodule.
        solid_mean_diameter_mm, solid_volume_mm3: of the solid part of a part-solid nodule, 0 without one.
    """

    kind: str
    mean_diameter_mm: float
    volume_mm3: float
    solid_mean_diameter_mm: float = 0.0
    solid_volume_mm3: float = 0.0


def lung_rads(size: NoduleSize) -> tuple[str, str]:
    """(by diameter, by volume): `2`, `3`, `4A` or `4B` of Lung-RADS 2022, as if this were the first screening.

    Diameters are rounded to a tenth of a millimetre and volumes to a whole mm3 first, as Lung-RADS asks. Category 1 is
    for no nodule; 4X, and 2 for smooth juxtapleural nodules below 10 mm, rest on the look and are never given.
    """
    by_mm = _rads(size.kind, _rounded(size.mean_diameter_mm, 1), _rounded(size.solid_mean_diameter_mm, 1), _RADS_MM)
    return by_mm, _rads(size.kind, _rounded(size.volume_mm3), _rounded(size.solid_volume_mm3), _RADS_MM3)


def _rads(kind: str, whole: float, solid: float, limits: tuple[float, ...]) -> str:
    small, medium, large, huge = limits
    if kind == "ground-glass":
        return "2" if whole < huge else "3"
    if whole < small:
        return "2"
    if kind == "part-solid":
        if solid < small:
            return "3"
        return "4A" if solid < medium else "4B"
    if whole < medium:
        return "3"
    return "4A" if whole < large else "4B"


def fleischner(size: NoduleSize) -> tuple[str, str]:
    """(by diameter, by volume): the Fleischner 2017 size class, such as `solid, 6-8 mm` and `solid, 100-250 mm3`.

    The mean diameter is rounded to a whole millimetre first, as the Fleischner Society asks. Subsolid nodules have two
    classes; a part-solid one of 6 mm or more also tells whether its solid part is below 6 mm. The guideline gives no
    volume for that part, so its class by volume says nothing of it.
    """
    mm, mm3 = _rounded(size.mean_diameter_mm), size.volume_mm3
    if size.kind == "solid":
        by_mm = "<6 mm" if mm < 6 else "6-8 mm" if mm <= 8 else ">8 mm"
        by_mm3 = "<100 mm3" if mm3 < 100 else "100-250 mm3" if mm3 <= 250 else ">250 mm3"
    else:
        by_mm = "<6 mm" if mm < 6 else ">=6 mm"
        by_mm3 = "<100 mm3" if mm3 < 100 else ">=100 mm3"
        if size.kind == "part-solid" and mm >= 6:
            by_mm += ", solid part <6 mm" if _rounded(size.solid_mean_diameter_mm) < 6 else ", solid part >=6 mm"
    return f"{size.kind}, {by_mm}", f"{size.kind}, {by_mm3}"


def _rounded(value: float, digits: int = 0) -> float:
    """Halves go up, as people round."""
    scale = 10.0**digits
    return math.floor(value * scale + 0.5 + 1e-9) / scale
