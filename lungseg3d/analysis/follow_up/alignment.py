"""Where the lungs of one CT lie in another, to within some mm: several starts, each made better, the best one taken.

In: two `LungPicture`s. Out: a rigid transform from the fixed to the moving one. Knows no bend.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from lungseg3d.analysis.follow_up.lung_pictures import TISSUE, LungPicture, array_of
from lungseg3d.analysis.follow_up.registration_fit import common_lungs

_SEARCH_SHRINK = 2
_SEARCH_PAD_VOXELS = 8
_LEAST_OVERLAP = 0.2
_LEAST_COMMON = 0.2
_WITHIN_BEST = 0.3
"""Starts that are less alike than the best one by more than this are not improved."""
_PEAKS = 3
_APART_MM = 16.0


def align(fixed: LungPicture, moving: LungPicture, transform: sitk.Transform) -> None:
    """Improve `transform` in place by least squares over what both cover, every second voxel, smoothed by 6 mm."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMeanSquares()
    if not fixed.covered.all():
        method.SetMetricFixedMask(fixed.mask)
    if not moving.covered.all():
        method.SetMetricMovingMask(moving.mask)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsConjugateGradientLineSearch(1.0, 40, 1e-4, 5, estimateLearningRate=method.Once)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2])
    method.SetSmoothingSigmasPerLevel([6.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(transform, inPlace=True)
    parameters = transform.GetParameters()
    shows_warnings = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.GlobalWarningDisplayOff()
    try:
        method.Execute(fixed.image, moving.image)
    except RuntimeError:  # the search left what both cover: nothing can be gained here
        transform.SetParameters(parameters)
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shows_warnings)


def find_start(fixed: LungPicture, moving: LungPicture) -> tuple[sitk.Euler3DTransform, float]:
    """The best rigid transform of several starts.

    Starts: the middles of the lungs on one another, both CTs as their headers place them, and the peaks of a
    correlation over all translations. Those whose pictures are alike enough are improved by `align`; the one whose
    pictures are most alike over what both CTs cover is taken. Middles alone would lay half a lung on a whole one.

    Returns:
        The transform from `fixed` to `moving`, and the Dice of the lungs at its start, over what both cover.
    """
    starts = [_shift(fixed, shift) for shift in _translations(fixed, moving)]
    scores = [_likeness(fixed, moving, start) for start in starts]
    tried = []
    for start, score in zip(starts, scores, strict=True):
        if score < max(scores) - _WITHIN_BEST:
            continue
        rigid = sitk.Euler3DTransform(start)
        align(fixed, moving, rigid)
        after = _likeness(fixed, moving, rigid)
        tried.append((after, rigid, start) if after > score else (score, start, start))
    _, rigid, start = max(tried, key=lambda found: found[0])
    return rigid, common_lungs(fixed, moving, start).dice


def _shift(fixed: LungPicture, shift_mm: np.ndarray) -> sitk.Euler3DTransform:
    start = sitk.Euler3DTransform()
    start.SetCenter(fixed.middle_mm.tolist())
    start.SetTranslation(shift_mm.tolist())
    return start


def _translations(fixed: LungPicture, moving: LungPicture) -> list[np.ndarray]:
    """From `fixed` to `moving` in mm, the likeliest ones, none near another."""
    middles = moving.middle_mm - fixed.middle_mm
    kept: list[np.ndarray] = []
    for shift in (middles, *_peaks(fixed, moving), np.zeros(3)):
        if all(np.linalg.norm(shift - other) > _APART_MM for other in kept):
            kept.append(shift)
    return kept


def _likeness(fixed: LungPicture, moving: LungPicture, transform: sitk.Transform) -> float:
    """Correlation of both pictures over what both CTs cover; -1 where that is less than a fifth of either's lungs."""
    lungs = common_lungs(fixed, moving, transform)
    if max(lungs.shares) < _LEAST_COMMON:
        return -1.0
    here = array_of(fixed.image)[lungs.common]
    there = array_of(sitk.Resample(moving.image, fixed.image, transform, sitk.sitkLinear, TISSUE))[lungs.common]
    return -1.0 if min(here.std(), there.std()) < 1e-6 else float(np.corrcoef(here, there)[0, 1])


def _peaks(fixed: LungPicture, moving: LungPicture) -> list[np.ndarray]:
    """Translations in mm that bring both onto one another best, by correlation over what both cover; all are tried.

    Source: Padfield 2012, IEEE Trans Image Process 21:2706 (masked correlation in the Fourier domain).
    """
    (here, here_mask, origin), (there, there_mask, other_origin) = (_search_picture(p) for p in (fixed, moving))
    found = sitk.MaskedFFTNormalizedCorrelation(here, there, here_mask, there_mask, 0, _LEAST_OVERLAP)
    values = array_of(found)
    is_peak = (values == ndimage.maximum_filter(values, 5)) & (values > 0)
    places = np.argwhere(is_peak)[np.argsort(-values[is_peak], kind="stable")[:_PEAKS]]
    steps = places - (np.array(there.GetSize()) - 1)  # the middle of the map is no step at all
    return [other_origin - origin - step * np.array(here.GetSpacing()) for step in steps]


def _search_picture(picture: LungPicture) -> tuple[sitk.Image, sitk.Image, np.ndarray]:
    """Picture and mask of 8 mm with a wide rim, their origins at 0, and where their origin truly lies in mm."""
    pad = [_SEARCH_PAD_VOXELS] * 3
    smooth = sitk.SmoothingRecursiveGaussian(picture.image, 6.0)
    image = sitk.ConstantPad(sitk.Shrink(smooth, [_SEARCH_SHRINK] * 3), pad, pad, TISSUE)
    mask = sitk.ZeroFluxNeumannPad(sitk.Shrink(picture.mask, [_SEARCH_SHRINK] * 3), pad, pad)
    origin = np.array(image.GetOrigin())
    mask = sitk.Cast(mask, sitk.sitkFloat32)
    for made in (image, mask):
        made.SetOrigin((0.0, 0.0, 0.0))  # the filter wants both images in one place
    return image, mask, origin
