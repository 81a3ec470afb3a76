"""Compare the density at the place of a nodule in two registered CTs.

In: the CT and the nodule map where the nodule was found, the other CT, the way from one to the other. Out: whether the
other CT shows as dense a place there, though no nodule was found in it. Knows no file and no network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lungseg3d.core import Box, Volume

_SHELL_MM = 4.0
"""The surroundings of a nodule that its contrast is taken against."""
_LEAST_SHARE = 0.75
"""Share of the contrast that has to be there.

A nodule that is gone leaves lung, which has none of it. Where the registration misses a small nodule's place, less is
seen of it, and it counts as gone or new, as without this look.
"""
_LEAST_CONTRAST_HU = 50.0
_MOST_VOXELS = 20_000


@dataclass(frozen=True, eq=False)
class DensityAt:
    """A CT and its nodule map (values are ids), on one grid."""

    ct: Volume
    nodules: Volume

    def is_seen_in(self, nodule_id: int, other: Volume, to_other: Callable[[np.ndarray], np.ndarray]) -> bool:
        """Tell whether another CT shows a nodule's contrast at its place.

        Args:
            nodule_id: of the nodule map.
            other: the other CT in HU.
            to_other: RAS mm (N, 3) of this CT -> RAS mm of the other one.

        Returns:
            False where the nodule has too little contrast to tell, or where the other CT does not cover its place.
        """
        mask = self.nodules.array == nodule_id
        box = Box.around(mask)
        if box is None:
            return False
        margins = [int(np.ceil(_SHELL_MM / spacing)) + 1 for spacing in self.nodules.spacing_mm]
        start = np.maximum(np.array(box.start) - margins, 0)
        place = tuple(slice(int(a), int(b) + m) for a, b, m in zip(start, box.stop, margins, strict=True))
        inside = mask[place]
        away_mm = ndimage.distance_transform_edt(~inside, self.nodules.spacing_mm)
        shell = (away_mm > 0) & (away_mm <= _SHELL_MM) & (self.nodules.array[place] == 0)
        if not shell.any():
            return False
        here_hu = self.ct.array[place]
        contrast_hu = float(here_hu[inside].mean() - here_hu[shell].mean())
        there = [self._mean_hu(other, np.argwhere(part) + start, to_other) for part in (inside, shell)]
        if contrast_hu < _LEAST_CONTRAST_HU or not np.isfinite(there).all():
            return False
        return there[0] - there[1] >= _LEAST_SHARE * contrast_hu

    def _mean_hu(self, other: Volume, voxels: np.ndarray, to_other: Callable[[np.ndarray], np.ndarray]) -> float:
        """Mean HU of the other CT at voxels of this one; NaN where some of them lie outside of it."""
        every = -(-len(voxels) // _MOST_VOXELS)
        places = other.grid.to_voxel(to_other(self.ct.grid.to_world(voxels[::every])))
        last = np.array(other.array.shape) - 1
        if (places < -0.5).any() or (places > last + 0.5).any():
            return float("nan")
        return float(ndimage.map_coordinates(other.array, places.T, np.float32, order=1, mode="nearest").mean())
