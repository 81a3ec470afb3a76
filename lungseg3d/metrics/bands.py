"""An interval -> which of five bands it reaches, from poor to excellent.

In: an `Interval` of a metric. Out: `BandVerdict`. The bounds are conventions of the literature, no claim of fitness.

Overlap: the benchmarks for kappa of Landis & Koch 1977 (Biometrics 33:159-174: slight, fair, moderate, substantial,
almost perfect) in the words of Altman 1991 (Practical Statistics for Medical Research, p. 404: poor to very good), at
0.2, 0.4, 0.6 and 0.8. Dice is what kappa becomes where the background is large (Zijdenbos et al. 1994, IEEE TMI
13:716-724); IoU has the same bounds as Dice / (2 - Dice). For the share of nodules found there is no such scale; it has
the same fifths. Distances: 1.5 mm is the change of a mean diameter that counts as growth (Lung-RADS v2022, ACR), 3 mm
the tolerance for contours of AAPM TG-132 (Brock et al. 2017, Med Phys 44:e43-e76), 5 and 10 mm the axial and
longitudinal margins around a lung tumour in RTOG 0618 (Timmerman et al. 2018, JAMA Oncol 4:1263-1266).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

BAND_NAMES = ("poor", "fair", "moderate", "good", "excellent")
_FIFTHS = (0.2, 0.4, 0.6, 0.8)
_DISTANCES_MM = (10.0, 5.0, 3.0, 1.5)
BAND_BOUNDS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "dice": _FIFTHS,
        "iou": tuple(round(bound / (2 - bound), 3) for bound in _FIFTHS),
        "detection": _FIFTHS,
        "hd95_mm": _DISTANCES_MM,
        "hd100_mm": _DISTANCES_MM,
    }
)
"""Metric -> where fair, moderate, good and excellent begin; rising where more is better, falling for distances."""


@dataclass(frozen=True)
class BandVerdict:
    """What an interval says.

    Attributes:
        reached: the best band that the whole interval reaches; None without an interval.
        possible: the band of the interval's better end; None without an interval. Equal to `reached` where the interval
            decides.
    """

    reached: str | None
    possible: str | None


def band_of(metric: str, low: float, high: float) -> BandVerdict:
    """The bands of an interval: one is reached only when the worse end of the interval reaches it.

    Args:
        metric: of `BAND_BOUNDS`.
        low, high: of the interval; nan where there is none.

    Raises:
        KeyError: a metric without bands.
    """
    bounds = BAND_BOUNDS[metric]
    if math.isnan(low) or math.isnan(high):
        return BandVerdict(None, None)
    more_is_better = bounds[0] < bounds[-1]
    worse, better = (low, high) if more_is_better else (high, low)

    def band(value: float) -> str:
        passed = sum(value >= bound if more_is_better else value <= bound for bound in bounds)
        return BAND_NAMES[passed]

    return BandVerdict(band(worse), band(better))
