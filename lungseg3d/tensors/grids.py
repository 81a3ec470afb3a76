"""The CT's own grid -> the working grid of a network: axes along R, A, S, right angles, one spacing.

In: volumes on any grid. Out: volumes on an orthogonal RAS grid of the asked spacing, covering the same extent; the new
affine says exactly where each voxel lies, so results find their way back by affines alone. Knows no network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy import ndimage
from torch.nn.functional import interpolate

from lungseg3d.core import Grid, Volume

AIR_HU = -1000
_SLICES = 4  # at once: as float32 they stay in the CPU's cache, and the system gives their memory once only


def orthogonalise(volume: Volume, *, order: int = 1, fill: float = AIR_HU) -> Volume:
    """A sheared volume (tilted gantry) on the right-angled grid of the same spacing that holds all of it.

    A volume whose axes are at right angles comes back as it is.

    Args:
        volume: array (X, Y, Z) on any grid.
        order: 1 linear (HU, probabilities), 0 nearest (labels).
        fill: value outside the source.
    """
    if volume.grid.is_orthogonal:
        return volume
    source = volume.grid
    axes = source.affine[:3, :3] / np.array(source.spacing_mm)
    # The nearest rotation (polar decomposition) keeps every axis as close to the source's as it can be.
    u, _, vt = np.linalg.svd(axes)
    rotation = u @ vt
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in source.shape], indexing="ij"), axis=-1).reshape(-1, 3)
    along = source.to_world(corners) @ rotation
    low, high = along.min(axis=0), along.max(axis=0)
    spacing = np.array(source.spacing_mm)
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 3] = rotation @ low
    shape = tuple(int(n) for n in np.ceil((high - low) / spacing - 1e-6) + 1)
    return sample_on(volume, Grid(shape, affine), order=order, fill=fill)  # type: ignore[arg-type]


def sample_on(volume: Volume, grid: Grid, *, order: int = 1, fill: float = AIR_HU) -> Volume:
    """The volume's values at the voxels of another grid, by any affine: oblique, permuted, sheared."""
    step = np.linalg.inv(volume.affine) @ grid.affine
    array = ndimage.affine_transform(
        volume.array, step[:3, :3], step[:3, 3], output_shape=grid.shape, order=order, mode="constant", cval=fill
    )
    return Volume(array, grid.affine)


def resample(volume: Volume, spacing_mm: float | tuple[float, float, float], *, labels: bool = False) -> Volume:
    """The same extent with about the asked spacing: as many voxels as fit best, each axis on its own.

    HU are averaged with a triangle filter as wide as the new voxel where it is coarser (no aliasing) and interpolated
    linearly where it is finer; labels take the nearest voxel.

    Args:
        volume: array (X, Y, Z) on an orthogonal grid.
        spacing_mm: wanted distance of voxel centres.
        labels: True for label maps and masks.

    Returns:
        float32 for HU, the source's type for labels. The true spacing is extent / number of voxels.
    """
    wanted = np.broadcast_to(np.asarray(spacing_mm, dtype=float), 3)
    source = np.array(volume.shape)
    shape = tuple(int(n) for n in np.maximum(1, np.rint(source * volume.spacing_mm / wanted)))
    factor = source / np.array(shape)
    affine = volume.affine.copy()
    affine[:3, :3] = volume.affine[:3, :3] * factor
    affine[:3, 3] = volume.grid.to_world((factor - 1) / 2)
    if labels:
        nearest = [
            np.minimum(((np.arange(n) + 0.5) * f).astype(int), s - 1)
            for n, f, s in zip(shape, factor, source, strict=True)
        ]
        return Volume(_picked(volume.array, nearest), affine)
    return Volume(_averaged(volume.array, shape), affine)


def _averaged(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Two passes of the antialiased 2D filter: X and Y of each slice, then Z; float32, slices one behind the other.

    In this order whatever the order in memory, so that a CT and its permuted copy give the same bits.
    """
    slices = array.transpose(2, 1, 0)
    tensor = torch.empty(array.shape[2], shape[1], shape[0])
    for few, target in zip(_few_at_once(slices), tensor.split(_SLICES), strict=True):
        part = few
        if shape[:2] != array.shape[:2]:
            part = interpolate(part[:, None].float(), size=shape[1::-1], mode="bilinear", antialias=True)[:, 0]
        target.copy_(part)
    if shape[2] != array.shape[2]:
        flat = tensor.reshape(1, 1, array.shape[2], -1)
        flat = interpolate(flat, size=(shape[2], flat.shape[-1]), mode="bilinear", antialias=True)
        tensor = flat.reshape(shape[::-1])
    axes_reversed: np.ndarray = tensor.contiguous().numpy().transpose(2, 1, 0)
    return axes_reversed


def _few_at_once(slices: np.ndarray) -> Iterator[torch.Tensor]:
    for first in range(0, len(slices), _SLICES):
        part = slices[first : first + _SLICES]
        yield torch.from_numpy(part.copy() if any(stride < 0 for stride in part.strides) else part)


def _picked(array: np.ndarray, places: Sequence[np.ndarray]) -> np.ndarray:
    """`array[np.ix_(*places)]`, with its slices one behind the other, in a fifth of the time."""
    x, y, z = places
    picked = np.empty((len(z), len(y), len(x)), array.dtype)
    for target, place in zip(picked, z, strict=True):
        np.take(array[:, :, place].T[y], x, axis=1, out=target)
    axes_reversed: np.ndarray = picked.transpose(2, 1, 0)
    return axes_reversed
