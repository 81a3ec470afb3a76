"""A coarse grid around lungs, and volumes brought onto it: what registration and field of view look at.

In: volumes on a CT's own grid. Out: float32 on a grid of 4 mm along R, A, S. Knows no second CT.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from lungseg3d.core import Box, Grid, Volume

PITCH_MM = 4.0
_MARGIN_MM = 16.0


def coarse_grid_around(labels: Volume) -> Grid | None:
    """A grid along R, A, S that holds all that is labelled and 16 mm more; None where nothing is labelled."""
    box = Box.around(labels.array > 0)
    if box is None:
        return None
    ends = np.array([box.start, box.stop]) - 0.5
    corners = np.array([[ends[i >> axis & 1, axis] for axis in range(3)] for i in range(8)])
    world = labels.grid.to_world(corners)
    low, high = world.min(axis=0) - _MARGIN_MM, world.max(axis=0) + _MARGIN_MM
    affine = np.diag([PITCH_MM] * 3 + [1.0])
    affine[:3, 3] = low
    shape = np.ceil((high - low) / PITCH_MM).astype(int) + 1
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def mean_on(coarse: Grid, volume: Volume, outside: float = 0.0) -> np.ndarray:
    """Means over blocks about as large as a coarse voxel, then linear between them: float32 on the coarse grid."""
    factors = _factors(volume.grid)
    array = volume.array
    whole = array[tuple(slice(0, n // f * f) for n, f in zip(array.shape, factors, strict=True))]
    for axis, factor in enumerate(factors):
        parts = [whole[(slice(None),) * axis + (slice(first, None, factor),)] for first in range(factor)]
        whole = sum(part.astype(np.float32) for part in parts) / np.float32(factor)
    step = np.linalg.inv(_block_affine(volume.grid)) @ coarse.affine
    means: np.ndarray = ndimage.affine_transform(whole, step[:3, :3], step[:3, 3], coarse.shape, order=1, cval=outside)
    return means


def covered_by(grid: Grid, coarse: Grid) -> np.ndarray:
    """Which voxels of the coarse grid `mean_on` takes from inside `grid`, not from outside of it: bool."""
    last = np.array([n // f - 1 for n, f in zip(grid.shape, _factors(grid), strict=True)])
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in coarse.shape], indexing="ij"), axis=-1)
    blocks = Grid(grid.shape, _block_affine(grid)).to_voxel(coarse.to_world(voxels))
    return np.asarray(((blocks > -1e-3) & (blocks < last + 1e-3)).all(axis=-1))


def _factors(grid: Grid) -> list[int]:
    return [min(n, max(1, round(PITCH_MM / s))) for n, s in zip(grid.shape, grid.spacing_mm, strict=True)]


def _block_affine(grid: Grid) -> np.ndarray:
    """From the index of a block to RAS mm."""
    factors = _factors(grid)
    blocks = np.diag([*factors, 1.0])
    blocks[:3, 3] = [(f - 1) / 2 for f in factors]
    return np.asarray(grid.affine @ blocks)
