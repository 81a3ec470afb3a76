"""Lung tissue -> right and left: components told apart by where they lie, merged ones cut at the junction.

In: a bool lung mask and HU on a coarse RAS grid. Out: label map, 1 right, 2 left (`core.labels`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from lungseg3d.analysis.morphology import eroded
from lungseg3d.core.labels import LEFT_LUNG, RIGHT_LUNG

_MERGED_SHARE = 0.15
_MAIN_SHARE = 0.15


def split_sides(lungs: np.ndarray, hu: np.ndarray, midline_mm: float, spacing_mm: Sequence[float]) -> np.ndarray:
    """Right and left lung of a mask in RAS order, where +x is the patient's right.

    Two large components are two lungs, the one further to +x is the right. A large component with a good share
    on both sides of the body's midline is two lungs that touch: markers from the weakest erosion that parts them,
    then a watershed on HU, so that the cut follows the bright junction line and not the shortest way.
    Small components go with the nearest lung.

    Args:
        lungs: bool (X, Y, Z).
        hu: HU (X, Y, Z), smoothed.
        midline_mm: x of the body's middle, in mm from the first voxel's centre.
        spacing_mm: of the grid.

    Returns:
        uint8 (X, Y, Z): 0, 1 right, 2 left.
    """
    parts, count = ndimage.label(lungs)
    if count == 0:
        return np.zeros(lungs.shape, np.uint8)
    sizes = np.bincount(parts.ravel())[1:]
    main = [i + 1 for i in np.argsort(sizes)[::-1] if sizes[i] >= _MAIN_SHARE * sizes.max()]
    sides = np.zeros(lungs.shape, np.uint8)
    for index in main:
        part = parts == index
        if min(_shares(part, midline_mm, spacing_mm)) > _MERGED_SHARE:
            sides[part] = _cut(part, hu, midline_mm, spacing_mm)[part]
        else:
            sides[part] = _side(part, midline_mm, spacing_mm)
    if len(main) == 2 and np.unique(sides[lungs & (sides > 0)]).size == 1:
        # Both centres on one side of the body's middle (a shifted mediastinum): tell them apart by each other.
        x_of = [float(np.nonzero(parts == index)[0].mean()) for index in main]
        for index, x in zip(main, x_of, strict=True):
            sides[parts == index] = RIGHT_LUNG.value if x == max(x_of) else LEFT_LUNG.value
    return _spread(sides, lungs, spacing_mm)


def _shares(part: np.ndarray, midline_mm: float, spacing_mm: Sequence[float]) -> tuple[float, float]:
    """Shares of the voxels on the left and on the right of the midline."""
    profile = part.sum(axis=(1, 2))
    is_right = np.arange(part.shape[0]) * spacing_mm[0] > midline_mm
    right = float(profile[is_right].sum() / profile.sum())
    return 1 - right, right


def _side(part: np.ndarray, midline_mm: float, spacing_mm: Sequence[float]) -> int:
    return RIGHT_LUNG.value if _shares(part, midline_mm, spacing_mm)[1] >= 0.5 else LEFT_LUNG.value


def _cut(part: np.ndarray, hu: np.ndarray, midline_mm: float, spacing_mm: Sequence[float]) -> np.ndarray:
    """Label map of one component that holds both lungs."""
    markers = _markers(part, midline_mm, spacing_mm)
    # Outside the lungs a third basin, so that the two cannot meet through the chest wall.
    markers[~part] = 3
    relief = np.where(part, np.clip(hu, -1000, 0), 0).astype(np.float32)
    flooded = sitk.MorphologicalWatershedFromMarkers(
        sitk.GetImageFromArray(relief), sitk.GetImageFromArray(markers), markWatershedLine=False, fullyConnected=False
    )
    cut = sitk.GetArrayFromImage(flooded).astype(np.uint8)
    cut[cut == 3] = 0
    return _spread(cut, part, spacing_mm)


def _markers(part: np.ndarray, midline_mm: float, spacing_mm: Sequence[float]) -> np.ndarray:
    """The cores of the two lungs; by the midline alone where no erosion parts them."""
    markers = np.zeros(part.shape, np.uint8)
    for radius_mm in np.arange(1.0, 16.0, 1.5) * min(spacing_mm):
        cores, count = ndimage.label(eroded(part, radius_mm, spacing_mm))
        if count < 2:
            continue
        sizes = np.bincount(cores.ravel())[1:]
        first, second = np.argsort(sizes)[::-1][:2] + 1
        if sizes[second - 1] < 0.2 * sizes[first - 1]:
            continue
        sides = [_side(cores == index, midline_mm, spacing_mm) for index in (first, second)]
        if sides[0] != sides[1]:
            markers[cores == first], markers[cores == second] = sides
            return markers
    x_mm = np.arange(part.shape[0]) * spacing_mm[0] - midline_mm
    deep = eroded(part, 2 * min(spacing_mm), spacing_mm)
    markers[x_mm > 10] = deep[x_mm > 10] * np.uint8(RIGHT_LUNG.value)
    markers[x_mm < -10] = deep[x_mm < -10] * np.uint8(LEFT_LUNG.value)
    return markers


def _spread(sides: np.ndarray, lungs: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Give each voxel of `lungs` without a side that of the nearest voxel with one."""
    missing = lungs & (sides == 0)
    if not missing.any():
        return sides
    nearest = ndimage.distance_transform_edt(
        sides == 0, sampling=spacing_mm, return_distances=False, return_indices=True
    )
    result: np.ndarray = sides.copy()
    result[missing] = sides[tuple(axis[missing] for axis in nearest)]
    return result
