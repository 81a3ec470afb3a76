"""`LocalMap`: values from 0 to 1 that are known in a box of a grid only, such as around one nodule.

In: a box and its values. Out: the same on other axes, or in a whole array. Knows no file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lungseg3d.core.volume import Box, Grid


@dataclass(frozen=True, eq=False)
class LocalMap:
    """Values of the voxels of a box; 0 everywhere else.

    Attributes:
        box: in a larger grid.
        values: float32 of the box's shape, 0 to 1.

    Raises:
        ValueError: the shapes differ.
    """

    box: Box
    values: np.ndarray

    def __post_init__(self) -> None:
        if self.values.shape != self.box.shape:
            raise ValueError(f"the box has shape {self.box.shape}, the values {self.values.shape}")

    def as_ras(self, grid: Grid) -> LocalMap:
        """The same part of the world for a volume of `grid` after `Volume.as_ras`."""
        order, signs = grid.ras_axes
        turned = tuple(slice(None, None, sign) for sign in signs)
        start, stop = [], []
        for axis, sign in zip(order, signs, strict=True):
            a, b = self.box.start[axis], self.box.stop[axis]
            start.append(a if sign > 0 else grid.shape[axis] - b)
            stop.append(b if sign > 0 else grid.shape[axis] - a)
        return LocalMap(Box(tuple(start), tuple(stop)), self.values.transpose(order)[turned])  # type: ignore[arg-type]


def joined_maps(maps: Iterable[LocalMap], shape: tuple[int, int, int], steps: int) -> np.ndarray:
    """All maps in one array of `shape`, the larger value where they overlap: uint8, 1 being `steps`."""
    whole = np.zeros(shape, np.uint8)
    for part in maps:
        place = whole[part.box.slices]
        np.maximum(place, np.rint(np.clip(part.values, 0, 1) * steps).astype(np.uint8), out=place)
    return whole
