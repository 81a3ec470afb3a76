"""A measured nodule for tests that need its record alone.

In: an id and what matters. Out: a `Nodule`.
"""

from lungseg3d.core import Nodule


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
    return Nodule(**{**facts, **changes})
