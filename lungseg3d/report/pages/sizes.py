"""A nodule's size with its interval, its place in the lung, and the guidelines' size classes, as they are printed.

In: a `Nodule`. Out: texts by name, for the table `sizes.html.j2`.
"""

from __future__ import annotations

from lungseg3d.core import Nodule
from lungseg3d.report.plots.numbers import number_text


def size_row(nodule: Nodule) -> dict[str, str]:
    """What the table of sizes shows of one nodule; a dash where nothing is known."""
    volume_digits = 0 if nodule.volume_mm3 >= 100 else 1
    low, high = (number_text(value, volume_digits) for value in (nodule.volume.low_mm3, nodule.volume.high_mm3))
    solid = (number_text(value, 1) for value in (nodule.solid_part.long_axis_mm, nodule.solid_part.perpendicular_mm))
    return {
        "interval": f"{low}–{high}" if nodule.volume.low_mm3 is not None else "–",
        "method": "" if nodule.volume.method == "voxels" else "†",
        "mean_diameter": number_text(nodule.diameters.mean_mm, 1),
        "solid_axes": " × ".join(solid) if nodule.solid_part.long_axis_mm is not None else "–",
        "place": place_text(nodule),
        "vessel": number_text(nodule.position.vessel_distance_mm, 1),
        "fleischner": _pair(nodule.size_classes.fleischner_by_diameter, nodule.size_classes.fleischner_by_volume),
        "lung_rads": _pair(nodule.size_classes.lung_rads_by_diameter, nodule.size_classes.lung_rads_by_volume),
    }


def place_text(nodule: Nodule) -> str:
    """`right, upper third`, as far as it is known; a dash where nothing is."""
    third = "" if nodule.position.third == "unknown" else f"{nodule.position.third} third"
    return ", ".join(word for word in (nodule.side, third) if word not in ("", "unknown")) or "–"


def _pair(by_diameter: str, by_volume: str) -> str:
    """Both classes; by volume without the kind, which stands in the first."""
    if not by_diameter:
        return "–"
    text = f"{by_diameter} / {by_volume.rpartition(', ')[2] or '–'}"
    return text.replace("mm3", "mm³").replace(">=", "≥")
