"""A measured nodule for tests that need its record alone.

In: an id, or a nodule, and what matters, by its key in `result.json`. Out: a `Nodule`.
"""

from lungseg3d.core import Nodule
from lungseg3d.core.nodule import nodule_of, nodule_record


def measured_nodule(number: int, **changes) -> Nodule:
    """A solid nodule of 10 mm in the right lung, but for `changes`."""
    facts = {
        "id": number,
        "volume_mm3": 523.6,
        "equivalent_diameter_mm": 10.0,
        "long_axis_mm": 11.4,
        "perpendicular_mm": 9.0,
        "mean_hu": 20.0,
        "sd_hu": 5.0,
        "solid_fraction": 1.0,
        "kind": "solid",
        "centroid_ras_mm": (1.0, 2.0, 3.0),
        "centroid_lps_mm": (-1.0, -2.0, 3.0),
        "centroid_voxel": (4.0, 5.0, 6.0),
        "side": "right",
        "pleura_distance_mm": 3.0,
        "confidence": 0.9,
    }
    return nodule_of({**facts, **changes})


def flat_nodule(**values) -> Nodule:
    """A nodule from its values by their keys in `result.json`."""
    return nodule_of(values)


def changed(nodule: Nodule, **changes) -> Nodule:
    """The nodule with other values."""
    return nodule_of({**nodule_record(nodule), **changes})
