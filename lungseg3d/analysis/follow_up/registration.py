"""Lungs of one CT brought onto those of another: rigid, affine, then a free bend, driven by lung masks and vessels.

In: two `Chest`s, each a label map and, where it is at hand, the CT. Out: a `LungRegistration` that takes places (RAS,
mm) from the prior to the current CT and back, and says how well the lungs meet. Knows no nodule and no file.
What only one of the CTs covers is left out: a field of view is not an organ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from lungseg3d.analysis.follow_up.alignment import align, find_start
from lungseg3d.analysis.follow_up.lung_pictures import TISSUE, Chest, LungPicture, array_of, draw_lungs, image_of
from lungseg3d.analysis.follow_up.registration_fit import RegistrationFit, covered_there, measure_fit

_LEVELS = ((4, 30), (2, 30), (1, 15))
"""Shrinking of the coarse grid and iterations at that level."""
_FIELD_SIGMA_VOXELS = 2.0


@dataclass(frozen=True, eq=False)
class LungRegistration:
    """Where a place of the prior CT lies in the current one.

    Attributes:
        transform: SimpleITK's, from prior to current RAS mm.
        driven_by: `CT` or `masks`.
        dice_before: overlap of the lungs where the search began, 0 to 1.
        fit: how well they meet at the end.
        bend_mm: furthest way of a place in the lungs beyond the affine part.
    """

    transform: sitk.Transform
    driven_by: str
    dice_before: float
    fit: RegistrationFit
    bend_mm: float

    @property
    def dice(self) -> float:
        """Overlap of the lungs where both CTs cover them, 0 to 1."""
        return self.fit.dice

    def to_current(self, points_mm: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
        """RAS mm (N, 3) of the prior CT -> RAS mm (N, 3) of the current one."""
        points = np.asarray(points_mm, dtype=np.float64).reshape(-1, 3)
        return np.array([self.transform.TransformPoint(p.tolist()) for p in points]).reshape(-1, 3)

    def to_prior(self, points_mm: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
        """The inverse of `to_current`: small steps to its fixed point."""
        wanted = np.asarray(points_mm, dtype=np.float64).reshape(-1, 3)
        points: np.ndarray = wanted.copy()
        for _ in range(40):
            points += wanted - self.to_current(points)
        return points


def register_lungs(prior: Chest, current: Chest) -> LungRegistration:
    """Bring the lungs of two CTs of one person together.

    Both are drawn on a grid of 4 mm (module `lung_pictures`). From the best of several starts (`alignment`) a
    rigid and an affine transform follow by least squares over what both CTs cover, then symmetric demons from coarse to
    fine (Vercauteren et al. 2009, NeuroImage 45:S61). Where either CT is missing, the lungs are flat and their surfaces
    lead. One thread, so that twice is the same.

    Raises:
        GeometryError: E_NO_LUNG when one of the label maps holds no lung.
    """
    with_ct = prior.ct is not None and current.ct is not None
    fixed, moving = (draw_lungs(chest, with_ct) for chest in (prior, current))
    rigid, dice_before = find_start(fixed, moving)
    affine = sitk.AffineTransform(3)
    affine.SetCenter(rigid.GetCenter())
    affine.SetMatrix(rigid.GetMatrix())
    affine.SetTranslation(rigid.GetTranslation())
    align(fixed, moving, affine)
    field = _bend(*_filled_up(fixed, moving, affine))
    bend_mm = np.linalg.norm(sitk.GetArrayViewFromImage(field), axis=-1).T[fixed.lung].max()
    transform = sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(field)])
    fit = measure_fit(fixed, moving, transform, with_ct)
    driven_by = "CT" if with_ct else "masks"
    return LungRegistration(transform, driven_by, dice_before, fit, float(bend_mm))


def _filled_up(fixed: LungPicture, moving: LungPicture, affine: sitk.Transform) -> tuple[sitk.Image, sitk.Image]:
    """Both pictures on the grid of `fixed`; what one does not cover is taken from the other, so that nothing pulls."""
    here = array_of(fixed.image)
    there = array_of(sitk.Resample(moving.image, fixed.image, affine, sitk.sitkLinear, TISSUE))
    is_there = covered_there(fixed, moving, affine)
    here = np.where(fixed.covered, here, there)
    return image_of(here, fixed.grid), image_of(np.where(is_there, there, here), fixed.grid)


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
    displacements: sitk.Image = sitk.Cast(field, sitk.sitkVectorFloat64)
    return displacements
