"""How far the field of view of a CT reaches: the block of its slices, less padding that cuts a lung off.

In: a label map and, where it is at hand, the CT. Out: a `FieldOfView`, which says how deep inside a place lies. Knows
no nodule and no second CT.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lungseg3d.analysis.image.blocks import PITCH_MM, coarse_grid_around, mean_on
from lungseg3d.core import Grid, Volume

_PADDING_BELOW_HU = -900
_PADDED_SHARE = 0.999


@dataclass(frozen=True, eq=False)
class FieldOfView:
    """What a CT covers.

    Attributes:
        grid: of the CT.
        from_padding_mm: distance to padding that cuts a lung off, on a coarse grid around the lungs; None = there is
            none.
    """

    grid: Grid
    from_padding_mm: Volume | None = None

    @staticmethod
    def of(labels: Volume, ct: Volume | None = None) -> FieldOfView:
        """The field of view of a CT; padding (a round field, a region set to air) is looked for in `ct`."""
        padding = None if ct is None else _padding(labels, ct)
        if padding is None:
            return FieldOfView(labels.grid)
        distance = ndimage.distance_transform_edt(padding.array == 0, sampling=PITCH_MM) - PITCH_MM / 2
        return FieldOfView(labels.grid, padding.with_array(distance.astype(np.float32)))

    def depth_mm(self, points_mm: np.ndarray) -> np.ndarray:
        """How deep inside places (RAS mm, (..., 3)) lie: mm to the nearest edge, negative outside; shape (...)."""
        voxels = self.grid.to_voxel(points_mm)
        inside = np.minimum(voxels + 0.5, np.array(self.grid.shape) - 0.5 - voxels) * self.grid.spacing_mm
        depth = inside.min(axis=-1)
        if self.from_padding_mm is None:
            return np.asarray(depth)
        places = np.moveaxis(self.from_padding_mm.grid.to_voxel(points_mm), -1, 0)
        to_padding = ndimage.map_coordinates(self.from_padding_mm.array, places, order=1, mode="nearest")
        nearest_border: np.ndarray = np.minimum(depth, to_padding)
        return nearest_border


def _padding(labels: Volume, ct: Volume) -> Volume | None:
    """Voxels of one value, that of the corners, which reach a lung: uint8 on a coarse grid; None = no lung is cut so.

    Air around the patient may have one value, too, but skin and ribs lie between it and a lung.
    """
    corners = ct.array[:: max(1, ct.shape[0] - 1), :: max(1, ct.shape[1] - 1), :: max(1, ct.shape[2] - 1)].ravel()
    values, counts = np.unique(corners, return_counts=True)
    value = values[counts.argmax()]
    grid = coarse_grid_around(labels)
    if value > _PADDING_BELOW_HU or grid is None:
        return None
    padded = mean_on(grid, ct.with_array((ct.array == value).view(np.uint8))) > _PADDED_SHARE
    parts, count = ndimage.label(padded)
    lung = mean_on(grid, labels.with_array((labels.array > 0).view(np.uint8))) > 0.5
    touched = np.bincount(parts[ndimage.binary_dilation(lung, iterations=2)], minlength=count + 1)
    cutting = np.flatnonzero(touched[1:] >= _LEAST_CONTACT_VOXELS) + 1
    mask = np.isin(parts, cutting)
    return Volume(mask.astype(np.uint8), grid.affine) if mask.any() else None


_LEAST_CONTACT_VOXELS = 20
"""Of 4 mm: some 3 square centimetres of a lung's surface."""
