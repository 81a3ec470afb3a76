"""How well the lungs of two CTs meet after registration, where both CTs cover them, and whether that is one person.

In: two `LungPicture`s and a transform. Out: a `RegistrationFit`. Knows no nodule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from lungseg3d.analysis.follow_up.lung_pictures import TISSUE, LungPicture, array_of, image_of

LEAST_DICE = 0.9
LEAST_LIKENESS = 0.6
"""Measured after registration: 0.89 to 0.98 for one person at another breath (11 pairs of 4 phantoms and 7 real CTs,
the latter against copies bent by another breath, with slices three times as thick and more noise; parts of the lungs
alike), 0.19 to 0.48 for two persons (9 phantom and 3 real pairs, whole and in part) and for two halves of a chest that
share nothing. The overlap of the lungs does not tell: 0.95 to 0.99 for one person, up to 0.98 for two."""
_LEAST_DICE_OF_LIKE_LUNGS = 0.75
"""Where the vessels match, the lungs are the same, though a mask may leave out what is diseased."""
_WINDOW_SIGMA_VOXELS = 3.0
LEAST_COMMON_ML = 50.0
_LEAST_DETAIL = 2.0


@dataclass(frozen=True)
class RegistrationFit:
    """How well the lungs meet.

    Attributes:
        dice: overlap of the lungs over what both CTs cover, 0 to 1.
        common_shares: of the lungs of the prior and of the current CT, how much the other one covers, 0 to 1.
        common_ml: lung that both CTs show.
        likeness: of the vessels inside the lungs, -1 to 1; None where it cannot be told: without both CTs, or where
            there is no detail in the lungs.
    """

    dice: float
    common_shares: tuple[float, float]
    common_ml: float
    likeness: float | None = None

    @property
    def is_good(self) -> bool:
        """Whether places of one CT can be looked up in the other."""
        return not self.misfit

    @property
    def misfit(self) -> str:
        """What does not fit, for a reader; empty where all does."""
        if self.common_ml < LEAST_COMMON_ML:
            return f"the two CTs show {self.common_ml:.0f} ml of lung in common, too little to bring them together"
        if self.likeness is not None and self.likeness < LEAST_LIKENESS:
            expected = f"likeness {self.likeness:.2f}, expected {LEAST_LIKENESS:.2f}"
            return f"the vessels in the lungs do not match ({expected})"
        least = LEAST_DICE if self.likeness is None else _LEAST_DICE_OF_LIKE_LUNGS
        if self.dice < least:
            return f"the lungs overlap by {self.dice:.2f} only (Dice, expected {least:.2f})"
        return ""


@dataclass(frozen=True, eq=False)
class CommonLungs:
    """Lungs of two CTs on the grid of one of them, and what both CTs cover.

    Attributes:
        common: voxels that both CTs cover, bool.
        dice: overlap of the lungs there, 0 to 1.
        shares: of the lungs of each CT, how much lies there, 0 to 1.
        inside: voxels of `common` that are wholly lung in both, bool.
    """

    common: np.ndarray
    dice: float
    shares: tuple[float, float]
    inside: np.ndarray


def common_lungs(fixed: LungPicture, moving: LungPicture, transform: sitk.Transform) -> CommonLungs:
    """What both CTs show of the lungs once `transform` has brought them together."""
    common = fixed.covered & covered_there(fixed, moving, transform)
    share = image_of(moving.share.astype(np.float32), moving.grid)
    moved = array_of(sitk.Resample(share, fixed.image, transform, sitk.sitkLinear, 0.0))
    here, there = fixed.lung & common, (moved > 0.5) & common
    volumes = int(here.sum()), int(there.sum())
    dice = 2 * int((here & there).sum()) / max(1, sum(volumes))
    shares = (volumes[0] / max(1, int(fixed.lung.sum())), min(1.0, volumes[1] / max(1, int(moving.lung.sum()))))
    return CommonLungs(common, dice, shares, common & (fixed.share > 0.95) & (moved > 0.95))


def covered_there(fixed: LungPicture, moving: LungPicture, transform: sitk.Transform) -> np.ndarray:
    """Which voxels of `fixed` the moving CT covers, bool; beyond the grid of `moving` as at its edge."""
    reach = sitk.Resample(moving.mask, fixed.image, transform, sitk.sitkNearestNeighbor, 0.0, sitk.sitkUInt8, True)
    return array_of(reach) > 0


def measure_fit(fixed: LungPicture, moving: LungPicture, transform: sitk.Transform, with_ct: bool) -> RegistrationFit:
    """How well the lungs meet under `transform`; `with_ct` says whether the pictures show vessels."""
    lungs = common_lungs(fixed, moving, transform)
    common_ml = int((fixed.lung & lungs.common).sum()) * fixed.grid.voxel_volume_mm3 / 1000
    if not with_ct:
        return RegistrationFit(lungs.dice, lungs.shares, common_ml)
    moved = array_of(sitk.Resample(moving.image, fixed.image, transform, sitk.sitkLinear, TISSUE))
    likeness = vessel_likeness(array_of(fixed.image), moved, lungs.inside)
    return RegistrationFit(lungs.dice, lungs.shares, common_ml, likeness)


def vessel_likeness(here: np.ndarray, there: np.ndarray, inside: np.ndarray) -> float | None:
    """Correlation of two pictures of lungs in windows of some 3 cm: its upper quartile over all places inside.

    Vessels branch in no two persons alike, while the outlines of any two pairs of lungs can be bent onto one another.
    The upper quartile, because disease that comes or goes may take half of a lung out of the comparison.

    Args:
        here, there: pictures (X, Y, Z) on one grid.
        inside: voxels that are lung in both, bool.

    Returns:
        -1 to 1; None where no lung is common, or there is no detail in it to compare.
    """
    inside = ndimage.binary_erosion(inside)
    if not inside.any():
        return None
    weight = np.maximum(_windowed(inside.astype(np.float64)), 1e-6)
    first, second = (np.where(inside, picture, 0.0).astype(np.float64) for picture in (here, there))
    means = _windowed(first) / weight, _windowed(second) / weight
    variances = [
        np.maximum(_windowed(x * x) / weight - mean**2, 0.0) for x, mean in zip((first, second), means, strict=True)
    ]
    if min(np.median(variance[inside]) for variance in variances) < _LEAST_DETAIL**2:
        return None
    both = _windowed(first * second) / weight - means[0] * means[1]
    local = both / np.sqrt(np.maximum(variances[0] * variances[1], 1e-6))
    return float(np.percentile(local[inside], 75))


def _windowed(values: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.gaussian_filter(values, _WINDOW_SIGMA_VOXELS, truncate=2.5))
