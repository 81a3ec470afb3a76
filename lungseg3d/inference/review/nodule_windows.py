"""One nodule that was found, once more in a window of the network's grid; and what was made of it back on the CT's.

In: the preprocessed image, the nodule map on the CT's own grid. Out: windows, masks in them, `LocalMap`s.
Knows no file and no label.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from lungseg3d.core import Box, Grid, LocalMap, Volume
from lungseg3d.inference.prediction.views import window_from
from lungseg3d.tensors import sample_on, to_volume

LEAST_SIDE = 64
"""Voxels of a window's side; more for a nodule that nearly fills it, always a multiple of `_STEP`."""
_STEP = 16
_MARGIN = 24


@dataclass(frozen=True)
class NoduleWindow:
    """A cube of the network's grid around a nodule, which lies in its middle.

    Attributes:
        number: the nodule's value in the nodule map.
        image: (1, side, side, side) in [0, 1]; beyond the image its border goes on.
        mask: the nodule, bool (side, side, side); never empty.
        grid: of the window.
        box: of the nodule in the CT's own grid.
    """

    number: int
    image: torch.Tensor
    mask: np.ndarray
    grid: Grid
    box: Box

    def on_source(self, values: np.ndarray, source: Grid) -> LocalMap:
        """Values of the window (side, side, side) on the CT's own grid, linear, 0 outside."""
        corners = np.stack(np.meshgrid(*[(0, n - 1) for n in self.grid.shape], indexing="ij"), axis=-1).reshape(-1, 3)
        voxels = source.to_voxel(self.grid.to_world(corners))
        start = np.maximum(np.floor(voxels.min(axis=0)).astype(int), 0)
        stop = np.minimum(np.ceil(voxels.max(axis=0)).astype(int) + 1, source.shape)
        box = Box(tuple(start.tolist()), tuple(stop.tolist()))
        there = sample_on(Volume(values.astype(np.float32), self.grid.affine), source.cropped(box), fill=0)
        return LocalMap(box, there.array)


def nodule_windows(image: torch.Tensor, nodules: Volume, numbers: set[int] | None = None) -> Iterator[NoduleWindow]:
    """A window for each nodule, by rising number.

    Args:
        image: MetaTensor (1, X, Y, Z), the network's input on its working grid.
        nodules: one value a nodule, on the CT's own grid.
        numbers: nodules that are wanted; None for all.
    """
    working = to_volume(image)
    plain = torch.as_tensor(image).as_subclass(torch.Tensor)
    for number, place in enumerate(ndimage.find_objects(nodules.array), start=1):
        if place is None or (numbers is not None and number not in numbers):
            continue
        box = Box(tuple(s.start for s in place), tuple(s.stop for s in place))
        yield _window(number, box, plain, working.grid, nodules)


def _window(number: int, box: Box, image: torch.Tensor, working: Grid, nodules: Volume) -> NoduleWindow:
    part = nodules.crop(box.grown(1, nodules.shape))
    inside = np.argwhere(part.array == number)
    voxels = working.to_voxel(part.grid.to_world(inside))
    extent = float(np.ptp(voxels, axis=0).max()) + 1
    side = max(LEAST_SIDE, int(np.ceil((extent + _MARGIN) / _STEP)) * _STEP)
    corner = np.rint(voxels.mean(axis=0) - (side - 1) / 2).astype(int)
    window = window_from(image, [int(start) for start in corner], side)
    affine = working.affine.copy()
    affine[:3, 3] = working.to_world(corner)
    grid = Grid((side, side, side), affine)
    there = Volume((part.array == number).astype(np.float32), part.affine)
    mask = sample_on(there, grid, order=1, fill=0).array >= 0.5
    if not mask.any():  # thinner than the distance of the CT's slices, or of the working grid's voxels
        nearest = np.clip(np.rint(voxels - corner).astype(int), 0, side - 1)
        mask[tuple(nearest.T)] = True
    return NoduleWindow(number, window, mask, grid, box)
