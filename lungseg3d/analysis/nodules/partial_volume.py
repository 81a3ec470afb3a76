"""Volume of a small solid nodule from its HU: what a voxel lacks in brightness it lacks in nodule.

In: a nodule's mask in its box, HU, where other things lie. Out: `SmallVolume`, or None where HU do not tell.

Blur moves brightness but loses none, so the sum of (HU - lung) / (nodule - lung) over the mask and its rim is the
volume, wherever the nodule lies between the voxels. Lung is the median around the rim. What solid nodules are like is
taken as known: voxels 3 mm and more inside 30 solid LIDC-IDRI nodules of at least 10 mm have a median of 35 HU, with a
standard deviation of 36 between nodules. Dense neighbours and a voxel around them are left out, and the rim that is
left stands for all of it. The count of voxels has its say by its own error. The interval is never narrower than what
was found when patients were scanned twice (volumes differ by up to 25 %: Gietema et al. 2006, Radiology 241:251-257).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lungseg3d.analysis.distances import within
from lungseg3d.analysis.morphology import ANY_NEIGHBOUR
from lungseg3d.core import Box, Volume

SOLID_CORE_HU, SOLID_CORE_SD_HU = 35.0, 36.0
_SOLID_TOP_HU = (-450.0, 200.0)  # brightest voxels: below, it may be ground glass; above, calcified
_RIM_MM, _SHELL_MM = 1.7, 2.5
_DENSE_SHARE = 0.3
_LEAST_RIM, _LEAST_SHELL = 0.6, 40
_COUNT_ERROR, _SLICES_ERROR = 1.5, 0.25  # what is seen on few slices counts worse than their areas tell
_KERNEL_SD = 0.04  # what an edge-enhancing kernel leaves outside the rim
_LEAST_SD = 0.09
_FURTHEST_SD = 2.5
_Z_95 = 1.959964


@dataclass(frozen=True)
class SmallVolume:
    """A volume and the ends of its 95 % interval, mm3."""

    mm3: float
    low_mm3: float
    high_mm3: float


@dataclass(frozen=True, eq=False)
class Surroundings:
    """A nodule's box with room around it.

    Attributes:
        hu: of the CT.
        mask: the nodule.
        is_other: other nodules, and what is no lung where lungs are known.
        spacing_mm: along the axes of the arrays.
        voxel_mm3: volume of a voxel.
        slice_axis: the array axis across the slices.
        slice_mm: how far a voxel sees along it.
    """

    hu: np.ndarray
    mask: np.ndarray
    is_other: np.ndarray
    spacing_mm: tuple[float, float, float]
    voxel_mm3: float
    slice_axis: int
    slice_mm: float


def look_around(box: Box, number: int, volumes: tuple[Volume, Volume, Volume | None], slice_mm: float) -> Surroundings:
    """A nodule and what lies around it.

    Args:
        box: of the nodule.
        number: its value in the nodule map.
        volumes: HU, nodule map and lungs (or None) on one grid.
        slice_mm: how thick a slice is.
    """
    ct, nodules, lungs = volumes
    axis = ct.grid.ras_axes[0][2]
    reach = [int(np.ceil((_RIM_MM + _SHELL_MM) / step)) for step in ct.spacing_mm]
    reach[axis] = _rim_slices(ct.spacing_mm[axis], slice_mm)
    around = box.grown(reach, ct.shape)
    numbers = nodules.array[around.slices]
    is_other = (numbers > 0) & (numbers != number)
    if lungs is not None:
        is_other |= lungs.array[around.slices] == 0
    hu = ct.array[around.slices].astype(np.float64)
    return Surroundings(hu, numbers == number, is_other, ct.spacing_mm, ct.voxel_volume_mm3, axis, slice_mm)


def small_volume(seen: Surroundings, count_sd: float) -> SmallVolume | None:
    """The volume of a small solid nodule, by its HU and by its voxels, each weighed by its error.

    Args:
        seen: the nodule and what lies around it.
        count_sd: relative standard deviation of the count of voxels.

    Returns:
        None where the nodule may not be solid soft tissue, touches something dense (a vessel, the pleura), where too
        little lung or rim is seen, or where HU and voxels contradict each other: then the voxels must do.
    """
    rim, shell = _rim_and_shell(seen)
    around = seen.hu[shell & ~seen.is_other]
    top_hu = float(np.sort(seen.hu[seen.mask])[-5:].mean())
    if around.size < _LEAST_SHELL or not _SOLID_TOP_HU[0] < top_hu < _SOLID_TOP_HU[1]:
        return None
    lung_hu = float(np.median(around))
    noise_hu = 1.4826 * float(np.median(np.abs(around - lung_hu)))
    contrast_hu = SOLID_CORE_HU - lung_hu
    beside = _beside(seen, rim | shell, lung_hu + _DENSE_SHARE * contrast_hu)
    if beside is None:
        return None
    kept = rim & ~beside
    share = float(kept.sum()) / float(rim.sum())
    if share < _LEAST_RIM:
        return None
    voxels = float((seen.hu[seen.mask] - lung_hu).sum() + (seen.hu[kept] - lung_hu).sum() / share) / contrast_hu
    counted = float(seen.mask.sum())
    slices = int(seen.mask.any(axis=tuple(a for a in range(3) if a != seen.slice_axis)).sum())
    count_sd = max(_COUNT_ERROR * count_sd, _SLICES_ERROR / slices)
    if voxels <= 0 or abs(np.log(voxels / counted)) > _FURTHEST_SD * count_sd:
        return None
    summed = counted + float(kept.sum()) / share**2
    hu_sd = noise_hu * np.sqrt(summed + 1.57 * summed**2 / around.size) / contrast_hu / voxels
    weights = np.array([1 / (hu_sd**2 + (SOLID_CORE_SD_HU / contrast_hu) ** 2 + _KERNEL_SD**2), count_sd**-2])
    log_voxels = float(weights @ np.log([voxels, counted]) / weights.sum())
    factor = float(np.exp(_Z_95 * max(_LEAST_SD, weights.sum() ** -0.5)))
    mm3 = float(np.exp(log_voxels)) * seen.voxel_mm3
    return SmallVolume(mm3, mm3 / factor, mm3 * factor)


def _rim_and_shell(seen: Surroundings) -> tuple[np.ndarray, np.ndarray]:
    """Voxels that hold what the mask's blur spreads, and lung around them in the same slices."""
    slices = _rim_slices(seen.spacing_mm[seen.slice_axis], seen.slice_mm)
    tall = _dilated_in_slices(ndimage.binary_dilation(seen.mask, _line(seen.slice_axis, slices)), seen, 0.0)
    near = _dilated_in_slices(tall, seen, _RIM_MM)
    return near & ~seen.mask, _dilated_in_slices(tall, seen, _RIM_MM + _SHELL_MM) & ~near


def _beside(seen: Surroundings, where: np.ndarray, dense_hu: float) -> np.ndarray | None:
    """What is dense beside the nodule, and a voxel around it; None where it touches the nodule's blurred border."""
    border = ndimage.binary_dilation(seen.mask, ndimage.generate_binary_structure(3, 2))
    dense = where & ~border & ((seen.hu > dense_hu) | seen.is_other)
    if (ndimage.binary_dilation(dense, ANY_NEIGHBOUR) & border).any():
        return None
    rim: np.ndarray = ndimage.binary_dilation(dense, ndimage.generate_binary_structure(3, 1)) & ~seen.mask
    return rim


def _dilated_in_slices(mask: np.ndarray, seen: Surroundings, reach_mm: float) -> np.ndarray:
    """Grown by a distance within each slice."""
    if reach_mm <= 0:
        return mask
    sampling = [1e6 if axis == seen.slice_axis else step for axis, step in enumerate(seen.spacing_mm)]
    reach_mm = max(reach_mm, *(step for axis, step in enumerate(seen.spacing_mm) if axis != seen.slice_axis))
    return within(mask, reach_mm + 1e-6, sampling)


def _line(axis: int, reach: int) -> np.ndarray:
    shape = [1, 1, 1]
    shape[axis] = 2 * reach + 1
    return np.ones(shape, bool)


def _rim_slices(step_mm: float, slice_mm: float) -> int:
    return int(np.ceil(max(slice_mm, step_mm, 1.0) / step_mm - 1e-6))
