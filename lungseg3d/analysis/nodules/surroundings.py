"""Where in its lung a nodule lies: the third of the height, and the way to the nearest vessel.

In: a nodule's mask in its box, HU, the lungs' label map. Out: a word, a distance in mm. Knows no file format.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from lungseg3d.analysis.distances import shortest_way, within
from lungseg3d.analysis.morphology import ANY_NEIGHBOUR, filled
from lungseg3d.core import Box, Volume
from lungseg3d.core.labels import LUNGS, NODULE

DENSE_HU = -500.0
REACH_MM = 15.0
_RIM_MM = 2.0
_LEAST_MM3 = 15.0
_THIRDS = ("lower", "middle", "upper")


def lung_heights_mm(lungs: Volume) -> Mapping[int, tuple[float, float]]:
    """Lowest and highest place of each lung of a label map, in mm toward the head; a lung without voxels is left out.

    A lung that the field of view cuts is as high as what is seen of it.
    """
    heights = {}
    whole = Box.around(lungs.array) or Box.whole(lungs.shape)
    part = lungs.crop(whole)
    for lung in LUNGS:
        box = Box.around(part.array == lung.value)
        if box is not None:
            corners = np.array(np.meshgrid(*zip(box.start, np.array(box.stop) - 1, strict=True))).reshape(3, -1).T
            along_mm = lungs.grid.to_world(corners + np.array(whole.start))[:, 2]
            heights[lung.value] = (float(along_mm.min()), float(along_mm.max()))
    return heights


def third_of(height_mm: float, lung_mm: tuple[float, float]) -> str:
    """`lower`, `middle` or `upper`: the third of a lung's height in which a place lies."""
    low, high = lung_mm
    share = (height_mm - low) / max(high - low, 1e-6)
    return _THIRDS[int(np.clip(np.floor(3 * share), 0, 2))]


def vessel_distance_mm(mask: np.ndarray, box: Box, ct: Volume, lungs: Volume) -> float | None:
    """Shortest way from a nodule's surface to dense tissue in the lung that is no nodule; 0 when they touch.

    Dense is above -500 HU, half-way between lung and vessel; what lies within 2 mm of the lung's border (pleura, and
    what a lung mask takes of it), is smaller than 15 mm3, or reaches no further than 2 mm from the nodule (its own
    blurred rim) does not count. What remains is vessel most of the time; airway walls, fissures and scars count, too.

    Args:
        mask: the nodule in its box.
        box: where it lies on the CT's grid.
        ct: HU.
        lungs: label map on the CT's grid; labels of nodules (`NODULE`) belong to the lung and are no vessel.

    Returns:
        mm, or None where nothing dense lies within 15 mm.
    """
    spacing_mm = ct.spacing_mm
    around = box.grown([int(np.ceil((REACH_MM + _RIM_MM) / s)) for s in spacing_mm], ct.shape)
    labels = lungs.array[around.slices]
    own = np.zeros_like(labels, bool)
    own[tuple(slice(a - o, b - o) for a, b, o in zip(box.start, box.stop, around.start, strict=True))] = mask
    is_nodule = labels == NODULE.value
    # A vessel is often left out of a lung mask: holes belong to the lung, what opens to the outside does not.
    inside = filled((labels == LUNGS[0].value) | (labels == LUNGS[1].value) | own | is_nodule)
    deep = ~within(~inside, _RIM_MM, spacing_mm)
    dense = (ct.array[around.slices] > DENSE_HU) & deep & ~own & ~is_nodule
    parts, count = ndimage.label(dense, structure=ANY_NEIGHBOUR)
    if not count:
        return None
    numbers = parts[dense]
    counts = np.bincount(numbers, minlength=count + 1) * ct.voxel_volume_mm3 >= _LEAST_MM3
    reaches_far = np.zeros(count + 1, bool)
    reaches_far[numbers[~within(own, _RIM_MM + max(spacing_mm), spacing_mm)[dense]]] = True
    counted = (counts & reaches_far)[parts]
    if not counted.any():
        return None
    # Centres of neighbours lie one voxel apart, surfaces none.
    nearest_mm = shortest_way(counted, own, spacing_mm)[0] - min(spacing_mm)
    return max(nearest_mm, 0.0) if nearest_mm <= REACH_MM else None
