"""Binary morphology with balls measured in mm, and components, on any spacing.

In: bool arrays (X, Y, Z) and a spacing in mm. Out: bool arrays of the same shape. Knows nothing of lungs.
A radius need not be a whole number of voxels. No erosion starts from a
border of the array: a lung cut by the first slice is not eaten from there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from lungseg3d.analysis.distances import within
from lungseg3d.core import Box

ANY_NEIGHBOUR = np.ones((3, 3, 3), bool)
"""Structure for components that touch by a face, an edge or a corner."""


def dilated(mask: np.ndarray, radius_mm: float, spacing_mm: Sequence[float]) -> np.ndarray:
    """Every voxel whose centre lies within `radius_mm` of a true voxel's centre."""
    found = Box.around(mask)
    if found is None:
        unchanged: np.ndarray = mask.copy()
        return unchanged
    box = found.grown([int(np.ceil(radius_mm / s)) for s in spacing_mm], mask.shape)
    result = np.zeros_like(mask)
    result[box.slices] = within(mask[box.slices], radius_mm, spacing_mm)
    return result


def eroded(mask: np.ndarray, radius_mm: float, spacing_mm: Sequence[float]) -> np.ndarray:
    """Every true voxel whose centre lies further than `radius_mm` from each false voxel's centre."""
    found = Box.around(mask)
    if found is None or mask.all():
        unchanged: np.ndarray = mask.copy()
        return unchanged
    box = found.grown(1, mask.shape)
    result = np.zeros_like(mask)
    result[box.slices] = ~within(~mask[box.slices], radius_mm, spacing_mm)
    return result


def opened(mask: np.ndarray, radius_mm: float, spacing_mm: Sequence[float]) -> np.ndarray:
    """`mask` without the parts thinner than a ball of `radius_mm`."""
    return dilated(eroded(mask, radius_mm, spacing_mm), radius_mm, spacing_mm)


def closed(mask: np.ndarray, radius_mm: float, spacing_mm: Sequence[float]) -> np.ndarray:
    """`mask` with the bays and gaps that a ball of `radius_mm` cannot enter from outside.

    The mask is taken to end at the sides of the array, and to go on above and below it.
    """
    found = Box.around(mask)
    if found is None:
        unchanged: np.ndarray = mask.copy()
        return unchanged
    margin = [int(np.ceil(radius_mm / s)) + 1 for s in spacing_mm]
    box = found.grown([0, 0, margin[2]], mask.shape)
    part = np.pad(mask[box.slices], [(margin[0],) * 2, (margin[1],) * 2, (0, 0)])
    part = np.pad(part, [(0, 0), (0, 0), (margin[2],) * 2], mode="edge")
    grown = eroded(dilated(part, radius_mm, spacing_mm), radius_mm, spacing_mm)
    result: np.ndarray = mask.copy()
    result[box.slices] |= grown[margin[0] : -margin[0], margin[1] : -margin[1], margin[2] : -margin[2]]
    return result


def filled(mask: np.ndarray) -> np.ndarray:
    """`mask` with every hole filled from which no face of the array can be reached."""
    box = _with_border(mask)
    result: np.ndarray = mask.copy(order="K")
    parts, count = ndimage.label(~mask[box.slices])
    is_outside = np.zeros(count + 1, bool)
    for axis in range(3):
        is_outside[np.take(parts, (0, -1), axis=axis)] = True
    is_outside[0] = False
    result[box.slices] = ~is_outside[parts]
    return result


def filled_in_plane(mask: np.ndarray, largest: float = np.inf) -> np.ndarray:
    """`mask` with the holes of every axial (third axis) slice filled, up to `largest` pixels each."""
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[:, :, 1] = ndimage.generate_binary_structure(2, 1)
    box = _with_border(mask)
    result: np.ndarray = mask.copy(order="K")
    parts, count = ndimage.label(~mask[box.slices], structure=in_plane)
    is_outside = np.zeros(count + 1, bool)
    if np.isfinite(largest):
        is_outside = np.bincount(parts.ravel(), minlength=count + 1) > largest
    for side in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        is_outside[side] = True
    is_outside[0] = False
    result[box.slices] = ~is_outside[parts]
    return result


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest face-connected component; all false when `mask` is."""
    box, result = _with_border(mask), np.zeros_like(mask)
    parts, count = ndimage.label(mask[box.slices])
    if count:
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        result[box.slices] = parts == sizes.argmax()
    return result


def components_touching(mask: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """The face-connected components of `mask` that hold a voxel of `seed`."""
    box, result = _with_border(mask), np.zeros_like(mask)
    parts, count = ndimage.label(mask[box.slices])
    is_wanted = np.zeros(count + 1, bool)
    is_wanted[parts[seed[box.slices]]] = True
    is_wanted[0] = False
    result[box.slices] = is_wanted[parts]
    return result


def _with_border(mask: np.ndarray) -> Box:
    """What holds the mask and a voxel around it, as far as the array goes; beyond, nothing is left to tell."""
    return (Box.around(mask) or Box((0, 0, 0), (1, 1, 1))).grown(1, mask.shape)
