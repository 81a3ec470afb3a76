"""Places of a CT that a person names to have them outlined: `middle`, or three voxel indices.

In: what the person gave, the CT's grid. Out: `Place`. Knows no mask and no network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lungseg3d.core.volume import Grid

MIDDLE = "middle"
"""The name of the middle of a CT, whatever its size."""


@dataclass(frozen=True)
class Place:
    """A place that a person named to have it outlined.

    Attributes:
        name: as it was named: `middle`, or `X,Y,Z`.
        voxel: as voxel index of the CT's own grid, from 0, like `Nodule.centroid_voxel`; fractions allowed.
        ras_mm, lps_mm: the same in the world.
        nodule: `id` of the nodule that was outlined there; None where the network outlines nothing.
    """

    name: str
    voxel: tuple[float, float, float]
    ras_mm: tuple[float, float, float]
    lps_mm: tuple[float, float, float]
    nodule: int | None = None


def named_voxel(named: str | Sequence[float]) -> tuple[float, float, float] | None:
    """The voxel that a name or three numbers mean; None for the middle.

    Args:
        named: `middle`, a text `X,Y,Z`, or three numbers: indices of the CT's own array, from 0.

    Raises:
        ValueError: it is none of these; the message says what was found.
    """
    if isinstance(named, str) and named.strip().lower() == MIDDLE:
        return None
    parts = named.split(",") if isinstance(named, str) else list(named)
    try:
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 3 or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{named!r} is neither {MIDDLE} nor three numbers X,Y,Z")
    x, y, z = numbers
    return x, y, z


def place_in(grid: Grid, named: str | Sequence[float]) -> Place:
    """The place in a CT.

    Raises:
        ValueError: it is no place, or lies outside of the grid.
    """
    last = tuple((n - 1) for n in grid.shape)
    voxel = named_voxel(named)
    if voxel is None:
        name, voxel = MIDDLE, (last[0] / 2, last[1] / 2, last[2] / 2)
    else:
        name = ",".join(f"{number:g}" for number in voxel)
        if any(not 0 <= number <= n for number, n in zip(voxel, last, strict=True)):
            size = " x ".join(str(n) for n in grid.shape)
            ends = ",".join(str(n) for n in last)
            raise ValueError(f"{name} lies outside of the image of {size} voxels, which are 0,0,0 to {ends}")
    x, y, z = (float(v) for v in grid.to_world(np.array(voxel)))
    return Place(name, voxel, (x, y, z), (-x, -y, z))
