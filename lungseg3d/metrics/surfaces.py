"""Two masks and a spacing -> how far their surfaces lie apart, in mm.

In: bool arrays (X, Y, Z) of one shape, spacing in mm. Out: numbers in mm, or a share.
Surface = voxels of the mask with a face neighbour outside it; distances run between voxel centres, as in MONAI.
A voxel at the array's border is surface: what lies behind it is not mask.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lungseg3d.core import Box


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances from each surface voxel of one mask to the nearest of the other, and what follows from them.

    Attributes:
        ours_mm: from the prediction's surface, (N,); inf where the reference is empty.
        theirs_mm: from the reference's surface, (M,); inf where the prediction is empty.
    """

    ours_mm: np.ndarray
    theirs_mm: np.ndarray

    @staticmethod
    def between(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float]) -> SurfaceDistances:
        """As `surface_distances_mm`."""
        return SurfaceDistances(*surface_distances_mm(prediction, reference, spacing_mm))

    @property
    def hd95_mm(self) -> float:
        """See the function `hd95_mm`."""
        if self._is_odd:
            return math.inf
        ends = [np.percentile(mm, 95) for mm in (self.ours_mm, self.theirs_mm) if mm.size]
        return float(max(ends, default=0.0))

    @property
    def hd100_mm(self) -> float:
        """Hausdorff distance: the largest distance of either surface from the other; 0 and inf as `hd95_mm`."""
        if self._is_odd:
            return math.inf
        return float(max((mm.max() for mm in (self.ours_mm, self.theirs_mm) if mm.size), default=0.0))

    @property
    def mean_mm(self) -> float:
        """See `mean_surface_distance_mm`."""
        if self._is_odd:
            return math.inf
        both = np.concatenate([self.ours_mm, self.theirs_mm])
        return float(both.mean()) if both.size else 0.0

    def share_within(self, tolerance_mm: float) -> float:
        """See `normalised_surface_dice`."""
        if tolerance_mm < 0:
            raise ValueError(f"a tolerance is a distance, {tolerance_mm} mm is none")
        both = np.concatenate([self.ours_mm, self.theirs_mm])
        return float((both <= tolerance_mm).mean()) if both.size else 1.0

    @property
    def _is_odd(self) -> bool:
        """One mask is empty and the other is not."""
        return bool(self.ours_mm.size) != bool(self.theirs_mm.size)


def surface_distances_mm(
    prediction: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """From each surface voxel of one mask to the nearest of the other.

    Returns:
        (from the prediction (N,), from the reference (M,)) in mm. Without a voxel on the other side the distances
        are inf; a mask without voxels has an empty array.

    Raises:
        ValueError: the shapes differ.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"the masks lie on different grids: {prediction.shape} and {reference.shape}")
    box = Box.around(prediction.astype(bool) | reference.astype(bool))
    if box is None:
        return np.zeros(0), np.zeros(0)
    ours, theirs = (_surface(np.pad(mask[box.slices].astype(bool), 1)) for mask in (prediction, reference))
    return _to_nearest_mm(ours, theirs, spacing_mm), _to_nearest_mm(theirs, ours, spacing_mm)


def hd95_mm(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """95 % Hausdorff distance: the larger of the two directions' 95th percentiles.

    Two empty masks 0.0 (they agree), one empty inf. Equal to MONAI's `HausdorffDistanceMetric(percentile=95)`.

    Source: Huttenlocher et al. 1993, IEEE TPAMI 15:850-863.
    """
    return SurfaceDistances.between(prediction, reference, spacing_mm).hd95_mm


def mean_surface_distance_mm(prediction: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Average symmetric surface distance: the mean over the surface voxels of both masks.

    Two empty masks 0.0, one empty inf. Equal to MONAI's `SurfaceDistanceMetric(symmetric=True)`.

    Source: Heimann et al. 2009, IEEE TMI 28:1251-1265.
    """
    return SurfaceDistances.between(prediction, reference, spacing_mm).mean_mm


def normalised_surface_dice(
    prediction: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float], *, tolerance_mm: float
) -> float:
    """Share of both surfaces that lies within `tolerance_mm` of the other, 0 to 1.

    Surface voxels are counted, not weighed by area: equal to MONAI's `SurfaceDiceMetric(use_subvoxels=False)`.
    Two empty masks 1.0, one empty 0.0.

    Raises:
        ValueError: the tolerance is negative, or the shapes differ.

    Source: Nikolov et al. 2021, J Med Internet Res 23:e26151.
    """
    return SurfaceDistances.between(prediction, reference, spacing_mm).share_within(tolerance_mm)


def _surface(mask: np.ndarray) -> np.ndarray:
    surface: np.ndarray = mask & ~ndimage.binary_erosion(mask)
    return surface


def _to_nearest_mm(surface: np.ndarray, other: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    if not other.any():
        return np.full(int(surface.sum()), np.inf)
    distances_mm: np.ndarray = ndimage.distance_transform_edt(~other, sampling=tuple(spacing_mm))[surface]
    return distances_mm
