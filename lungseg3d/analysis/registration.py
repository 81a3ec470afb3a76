"""Lungs of one CT brought onto those of another: rigid, affine, then a free bend, driven by lung masks and vessels.

In: two `Chest`s, each a label map and, where it is at hand, the CT. Out: a `LungRegistration` that takes places (RAS,
mm) from the prior to the current CT and back, and says how well the lungs meet. Knows no nodule and no file.
What lies outside the lungs is one flat value, because ribs stay behind when lungs slide along them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from lungseg3d.core import Box, GeometryError, Grid, Volume
from lungseg3d.core.labels import LUNGS

PITCH_MM = 4.0
_MARGIN_MM = 16.0
_TISSUE = 100.0
_TISSUE_ABOVE_LUNG_HU = 350.0
_LEVELS = ((4, 30), (2, 30), (1, 15))
"""Shrinking of the coarse grid and iterations at that level."""
_FIELD_SIGMA_VOXELS = 2.0


@dataclass(frozen=True, eq=False)
class Chest:
    """What one time point gives to registration.

    Attributes:
        labels: label map of `core.labels`; all that is labelled counts as lung.
        ct: HU on the same grid; None = masks alone.

    Raises:
        GeometryError: E_GRID_MISMATCH when they do not lie on one grid.
    """

    labels: Volume
    ct: Volume | None = None

    def __post_init__(self) -> None:
        if self.ct is not None and not self.ct.grid.matches(self.labels.grid):
            found = f"the label map {self.labels.shape} does not lie on the CT's grid {self.ct.shape}"
            raise GeometryError("E_GRID_MISMATCH", found, "Give the CT that was segmented.")


@dataclass(frozen=True, eq=False)
class LungRegistration:
    """Where a place of the prior CT lies in the current one.

    Attributes:
        transform: SimpleITK's, from prior to current RAS mm.
        driven_by: `CT` or `masks`.
        dice_before, dice: overlap of the lungs with their middles on one another, and at the end, 0 to 1.
        bend_mm: furthest way of a place in the lungs beyond the affine part.
    """

    transform: sitk.Transform
    driven_by: str
    dice_before: float
    dice: float
    bend_mm: float

    def to_current(self, points_mm: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
        """RAS mm (N, 3) of the prior CT -> RAS mm (N, 3) of the current one."""
        points = np.asarray(points_mm, dtype=np.float64).reshape(-1, 3)
        return np.array([self.transform.TransformPoint(p.tolist()) for p in points]).reshape(-1, 3)

    def to_prior(self, points_mm: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
        """The inverse of `to_current`: small steps to its fixed point."""
        wanted = np.asarray(points_mm, dtype=np.float64).reshape(-1, 3)
        points = wanted.copy()
        for _ in range(40):
            points += wanted - self.to_current(points)
        return points


@dataclass(frozen=True, eq=False)
class _Picture:
    """What is registered: lung 0, vessels up to 100, everything else 100; and the lungs' share of each voxel."""

    image: sitk.Image
    share: np.ndarray
    grid: Grid

    @property
    def middle_mm(self) -> np.ndarray:
        return self.grid.to_world(np.argwhere(self.share > 0.5).mean(axis=0))


def register_lungs(prior: Chest, current: Chest) -> LungRegistration:
    """Bring the lungs of two CTs of one person together.

    Both are drawn on a grid of 4 mm: lungs by their HU above their own median, since a breath makes them lighter, not
    different; all else as tissue. The middles of the lungs are laid on one another; a rigid and an affine transform
    follow by least squares, then symmetric demons from coarse to fine (Vercauteren et al. 2009, NeuroImage 45:S61).
    Where either CT is missing, the lungs are flat and their surfaces lead. One thread, so that twice is the same.

    Raises:
        GeometryError: E_NO_LUNG when one of the label maps holds no lung.
    """
    with_ct = prior.ct is not None and current.ct is not None
    fixed, moving = (_picture(chest, with_ct) for chest in (prior, current))
    start = sitk.Euler3DTransform()
    start.SetCenter(fixed.middle_mm.tolist())
    start.SetTranslation((moving.middle_mm - fixed.middle_mm).tolist())
    dice_before = _dice(fixed, moving, start)
    rigid = sitk.Euler3DTransform(start)
    _align(fixed.image, moving.image, rigid)
    affine = sitk.AffineTransform(3)
    affine.SetCenter(rigid.GetCenter())
    affine.SetMatrix(rigid.GetMatrix())
    affine.SetTranslation(rigid.GetTranslation())
    _align(fixed.image, moving.image, affine)
    field = _bend(fixed.image, sitk.Resample(moving.image, fixed.image, affine, sitk.sitkLinear, _TISSUE))
    bend_mm = np.linalg.norm(sitk.GetArrayViewFromImage(field), axis=-1).T[fixed.share > 0.5].max()
    transform = sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(field)])
    driven_by = "CT" if with_ct else "masks"
    return LungRegistration(transform, driven_by, dice_before, _dice(fixed, moving, transform), float(bend_mm))


def _picture(chest: Chest, with_ct: bool) -> _Picture:
    grid = _coarse_grid(chest.labels)
    share = _at_coarse((chest.labels.array > 0).view(np.uint8), chest.labels.grid, grid, 0.0)
    lung = np.zeros_like(share)
    if with_ct and chest.ct is not None:
        hu = _at_coarse(chest.ct.array, chest.ct.grid, grid, 0.0)
        inside = share > min(0.95, share.max() - 1e-3)
        lung = np.clip((hu - np.median(hu[inside])) / _TISSUE_ABOVE_LUNG_HU, -0.2, 1)
    drawn = (_TISSUE * (share * lung + (1 - share))).astype(np.float32)
    return _Picture(_image(drawn, grid), share, grid)


def _coarse_grid(labels: Volume) -> Grid:
    """A grid along R, A, S that holds all that is labelled and a margin."""
    box = Box.around(labels.array > 0)
    if box is None or not any((labels.array[box.slices] == lung.value).any() for lung in LUNGS):
        text = "the label map holds no lung, so that there is nothing to register."
        raise GeometryError("E_NO_LUNG", text, "Look at the CT; segment it with --roi lungs.")
    ends = np.array([box.start, box.stop]) - 0.5
    corners = np.array([[ends[i >> axis & 1, axis] for axis in range(3)] for i in range(8)])
    world = labels.grid.to_world(corners)
    low, high = world.min(axis=0) - _MARGIN_MM, world.max(axis=0) + _MARGIN_MM
    affine = np.diag([PITCH_MM] * 3 + [1.0])
    affine[:3, 3] = low
    shape = np.ceil((high - low) / PITCH_MM).astype(int) + 1
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def _at_coarse(array: np.ndarray, grid: Grid, coarse: Grid, outside: float) -> np.ndarray:
    """Means over blocks about as large as a coarse voxel, then linear between them: float32 on the coarse grid."""
    factors = [max(1, round(PITCH_MM / s)) for s in grid.spacing_mm]
    whole = array[tuple(slice(0, n // f * f) for n, f in zip(array.shape, factors, strict=True))]
    for axis, factor in enumerate(factors):
        parts = [whole[(slice(None),) * axis + (slice(first, None, factor),)] for first in range(factor)]
        whole = sum(part.astype(np.float32) for part in parts) / np.float32(factor)
    blocks = np.diag([*factors, 1.0])
    blocks[:3, 3] = [(f - 1) / 2 for f in factors]
    step = np.linalg.inv(grid.affine @ blocks) @ coarse.affine
    return ndimage.affine_transform(whole, step[:3, :3], step[:3, 3], coarse.shape, order=1, cval=outside)


def _image(array: np.ndarray, grid: Grid) -> sitk.Image:
    """SimpleITK's image; its world is ours (RAS) without turning, as all grids here run along the axes."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(grid.affine[:3, 3].tolist())
    return image


def _align(fixed: sitk.Image, moving: sitk.Image, transform: sitk.Transform) -> None:
    """Improve `transform` in place by least squares on every second voxel, smoothed by 6 mm."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMeanSquares()
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsConjugateGradientLineSearch(1.0, 40, 1e-4, 5, estimateLearningRate=method.Once)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2])
    method.SetSmoothingSigmasPerLevel([6.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)


def _bend(fixed: sitk.Image, moving: sitk.Image) -> sitk.Image:
    """The displacement field in mm, on the grid of `fixed`, that takes its places to those of `moving`."""
    field = None
    for shrink, iterations in _LEVELS:
        pair = [sitk.Shrink(sitk.SmoothingRecursiveGaussian(im, 2.0 * shrink), [shrink] * 3) for im in (fixed, moving)]
        demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
        demons.SetNumberOfThreads(1)
        demons.SetNumberOfIterations(iterations)
        demons.SetStandardDeviations(_FIELD_SIGMA_VOXELS)
        field = demons.Execute(*pair) if field is None else demons.Execute(*pair, sitk.Resample(field, pair[0]))
    return sitk.Cast(field, sitk.sitkVectorFloat64)


def _dice(fixed: _Picture, moving: _Picture, transform: sitk.Transform) -> float:
    """Overlap of the lungs on the coarse grid."""
    lungs = [_image((picture.share > 0.5).astype(np.float32), picture.grid) for picture in (fixed, moving)]
    there = sitk.GetArrayViewFromImage(sitk.Resample(lungs[1], lungs[0], transform, sitk.sitkLinear, 0.0)) > 0.5
    here = sitk.GetArrayViewFromImage(lungs[0]) > 0.5
    return float(2 * (here & there).sum() / max(1, here.sum() + there.sum()))
