"""Size and kind of a nodule -> the class that two guidelines give it. Not a diagnosis, and no advice.

In: mm, mm3 and a kind. Out: short names. Knows no mask.
A guideline weighs history, growth, number and look as well; none of these is here. `kind` is the program's own guess.

Sources: American College of Radiology, Lung-RADS v2022, table of assessment categories (Christensen et al. 2024, Chest
165:738-753 and J Am Coll Radiol 21:473-488): 6, 8, 15, 30 mm are 113, 268, 1767, 14137 mm3 there, and 4 mm of what is
new 34 mm3; axes and their mean to a tenth of a millimetre, volumes to a whole mm3. It lets axes lie in any plane; here
they lie in the axial one. MacMahon et al. 2017, Radiology 284:228-243 (Fleischner Society): below 6 mm (100 mm3), 6 to
8 mm (100 to 250 mm3), above 8 mm (250 mm3), solid part of 6 mm; mean of both axes to a whole millimetre, as Bankier et
al. 2017, Radiology 285:584-600, has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_RADS_MM = (4.0, 6.0, 8.0, 15.0, 30.0)
_RADS_MM3 = (34.0, 113.0, 268.0, 1767.0, 14137.0)


@dataclass(frozen=True)
class NoduleSize:
    """What the guidelines look at.

    Attributes:
        kind: `solid`, `part-solid` or `ground-glass`.
        mean_diameter_mm: mean of long axis and perpendicular in one axial slice.
        volume_mm3: of the whole nodule.
        solid_mean_diameter_mm, solid_volume_mm3: of the solid part of a part-solid nodule, 0 without one.
        is_new: not there at an earlier screening; Lung-RADS is stricter then, Fleischner knows no such thing.
    """

    kind: str
    mean_diameter_mm: float
    volume_mm3: float
    solid_mean_diameter_mm: float = 0.0
    solid_volume_mm3: float = 0.0
    is_new: bool = False


def lung_rads(size: NoduleSize) -> tuple[str, str]:
    """(by diameter, by volume): `2`, `3`, `4A` or `4B` of Lung-RADS 2022, at a first screening or of a new nodule.

    Diameters are rounded to a tenth of a millimetre and volumes to a whole mm3 first, as Lung-RADS asks. Category 1 is
    for no nodule; 4X, and 2 for smooth juxtapleural nodules below 10 mm, rest on the look and are never given.
    """
    mm = _rounded(size.mean_diameter_mm, 1), _rounded(size.solid_mean_diameter_mm, 1)
    mm3 = _rounded(size.volume_mm3), _rounded(size.solid_volume_mm3)
    return _rads(size, *mm, _RADS_MM), _rads(size, *mm3, _RADS_MM3)


def _rads(size: NoduleSize, whole: float, solid: float, limits: tuple[float, ...]) -> str:
    tiny, small, medium, large, huge = limits
    if size.kind == "ground-glass":
        return "2" if whole < huge else "3"
    if size.is_new:
        if size.kind == "part-solid":
            return "3" if whole < small else "4A" if solid < tiny else "4B"
        return "2" if whole < tiny else "3" if whole < small else "4A" if whole < medium else "4B"
    if whole < small:
        return "2"
    if size.kind == "part-solid":
        return "3" if solid < small else "4A" if solid < medium else "4B"
    return "3" if whole < medium else "4A" if whole < large else "4B"


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
