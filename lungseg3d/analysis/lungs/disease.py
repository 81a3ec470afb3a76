"""Lungs that this program is not made for: large masses, consolidation and opacities, lung that the mask leaves out.

In: HU, the network's lungs and the nodules on a coarse RAS grid of about 4 mm. Out: a `LungDisease` of measures, and
W_LARGE_LESION, W_DISEASED_LUNG. Diagnoses nothing: it says where masks and counts are not to be trusted.

Three measures, each with its limit, what 20 healthy phantoms gave at most (several kernels, slices, breaths), what
lungs that are clear gave at most on real CTs, and what disease gives (`benchmarks/results/lung_warnings.md`):

- opacities: share of the lung's inside that is denser than -700 HU and than the lung's median by 120 HU, in pieces wide
  enough for a ball of 12 mm, so that vessels do not count. Limit 2.5 %; 0.6 %; 0.5 % (1.2 % beside a tumour); COVID-19
  4.1 %.
- wall without lung: seen from the middle of each half of the chest, the share of the ribs behind and beside it, between
  the lung's own top and base, that has no lung within 24 mm. Limit 4 % of one side; 0.2 %; 0.1 % (2.6 % beside a
  tumour); consolidation of 0.2 l 4 %, of a lobe 8 to 62 %. The base behind is expected as deep as anywhere before it.
- masses: tissue with lung of the same side above and below it within 90 mm, outside of where heart and hilum lie, that
  holds a ball of 16 mm: limit 7 ml; 5.8 ml; 4.5 ml; a tumour of 156 ml 88 ml. Or a piece of the wall, with lung above
  and below, that has no lung within 18 mm: limit 5.5 cm2; 4.3; 3.7; a tumour of 30 mm on the pleura 6.
  A mass of which at least half is in the nodules found is no surprise and is left out.

Masses in the mediastinum, and those on the diaphragm, do not show here; nor does disease where the field of view cuts.

Sources: -700 HU as the border of well aerated lung: Gattinoni et al. 2001, Am J Respir Crit Care Med 164:1701; 30 mm
between nodule and mass: Hansell et al. 2008, Radiology 246:697 (Fleischner Society).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from scipy import ndimage

from lungseg3d.analysis.lungs.chest_parts import large_pieces
from lungseg3d.analysis.lungs.chest_wall import gaps_at_wall
from lungseg3d.analysis.morphology import eroded, opened
from lungseg3d.core import Box, QualityIssue, Volume
from lungseg3d.core.labels import LEFT_LUNG, RIGHT_LUNG

MOST_OPACITY = 0.025
MOST_BARE_WALL = 0.04
LEAST_MASS_ML = 7.0
LEAST_PATCH_CM2 = 5.5
_OPACITY_HU, _OPACITY_ABOVE_MEDIAN_HU, _OPACITY_RADIUS_MM = -700.0, 120.0, 6.0
_RIM_MM = 4.5
_MASS_RADIUS_MM, _MASS_GAP_MM = 8.0, 90.0
_TISSUE_HU = (-250.0, 250.0)
_LUNG_HU = -400.0
_LEAST_LUNG_ML = 300.0


@dataclass(frozen=True)
class LungDisease:
    """What was measured.

    Attributes:
        opacity_share: of the lung's inside, 0 to 1.
        bare_wall_right, bare_wall_left: share of the ribs of a side without lung beside them, 0 to 1.
        mass_ml: the largest mass that is not among the nodules, 0 where none; of it what stands free of heart and wall.
        mass_side: `right` or `left`; empty without a mass.
        patch_cm2: the largest piece of wall without lung that has lung above and below.
        patch_side: the same of it.
    """

    opacity_share: float = 0.0
    bare_wall_right: float = 0.0
    bare_wall_left: float = 0.0
    mass_ml: float = 0.0
    mass_side: str = ""
    patch_cm2: float = 0.0
    patch_side: str = ""

    def to_json(self) -> dict[str, object]:
        """For `result.json`, to four digits."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}


def measure_disease(ct: Volume, lungs: Volume, nodules: Volume) -> LungDisease:
    """Measure what speaks for disease.

    Args:
        ct: HU on a right-angled grid of about 4 mm.
        lungs: 1 right, 2 left, on the same grid; nodules may be left out of it or not.
        nodules: above 0 where a nodule was found.

    Returns:
        Zeros where there is less than 0.3 l of lung.
    """
    hu = np.asarray(ct.as_ras().array, dtype=np.float32)
    labels, found = lungs.as_ras().array, nodules.as_ras().array > 0
    spacing_mm, voxel_ml = ct.as_ras().spacing_mm, ct.voxel_volume_mm3 / 1000
    sides = {"right": labels == RIGHT_LUNG.value, "left": labels == LEFT_LUNG.value}
    if sum(np.count_nonzero(side) for side in sides.values()) * voxel_ml < _LEAST_LUNG_ML:
        return LungDisease()
    main = {name: large_pieces(side, 1.0) for name, side in sides.items()}
    gaps = gaps_at_wall(hu, spacing_mm, main["right"], main["left"], found)
    mass_ml, mass_side = _largest_mass(hu, spacing_mm, sides, found)
    patch_cm2, patch_side = max(zip(gaps.patch_cm2, sides, strict=True))
    return LungDisease(
        _opacity_share(hu, spacing_mm, (sides["right"] | sides["left"]) & ~found),
        *gaps.bare_share,
        mass_ml,
        mass_side,
        patch_cm2,
        patch_side if patch_cm2 > 0 else "",
    )


def check_disease(disease: LungDisease) -> list[QualityIssue]:
    """W_LARGE_LESION and W_DISEASED_LUNG beyond the limits of this module."""
    return [*_mass_issues(disease), *_lung_issues(disease)]


def _mass_issues(disease: LungDisease) -> list[QualityIssue]:
    found = []
    if disease.mass_ml >= LEAST_MASS_ML:
        found.append(
            f"about {disease.mass_ml:.0f} ml of solid tissue within the {disease.mass_side} lung (limit "
            f"{LEAST_MASS_ML:.0f} ml)"
        )
    if disease.patch_cm2 >= LEAST_PATCH_CM2:
        found.append(
            f"{disease.patch_cm2:.0f} cm2 of the chest wall covered by more than 18 mm of tissue on the "
            f"{disease.patch_side} (limit {LEAST_PATCH_CM2:g} cm2)"
        )
    if not found:
        return []
    return [
        QualityIssue(
            "W_LARGE_LESION",
            f"A mass of about 30 mm or more may be there that is not among the nodules: {', and '.join(found)}. The "
            "program is made for nodules of 3 to 30 mm.",
            "Look at the CT there; do not read the list of nodules as complete, nor the lung volumes as whole.",
        )
    ]


def _lung_issues(disease: LungDisease) -> list[QualityIssue]:
    found = []
    if disease.opacity_share > MOST_OPACITY:
        found.append(
            f"opacities fill {100 * disease.opacity_share:.0f} % of the lungs (limit {100 * MOST_OPACITY:g} %)"
        )
    for name, share in (("right", disease.bare_wall_right), ("left", disease.bare_wall_left)):
        if share > MOST_BARE_WALL:
            found.append(
                f"no lung was found along {100 * share:.0f} % of the {name} ribs (limit {100 * MOST_BARE_WALL:g} %)"
            )
    if not found:
        return []
    return [
        QualityIssue(
            "W_DISEASED_LUNG",
            f"The lungs are not clear: {'; '.join(found)}.",
            "Consolidation, ground glass, effusion or collapse do this. The program was not made for such lungs: look "
            "at the outlines, take lung volumes as lower bounds, and expect missed nodules and false ones.",
        )
    ]


def _opacity_share(hu: np.ndarray, spacing_mm: tuple[float, float, float], lung: np.ndarray) -> float:
    inside = eroded(lung, _RIM_MM, spacing_mm)
    count = np.count_nonzero(inside)
    if count == 0:
        return 0.0
    least_hu = max(_OPACITY_HU, float(np.median(hu[inside])) + _OPACITY_ABOVE_MEDIAN_HU)
    return float(np.count_nonzero(opened(inside & (hu > least_hu), _OPACITY_RADIUS_MM, spacing_mm)) / count)


def _largest_mass(
    hu: np.ndarray, spacing_mm: tuple[float, float, float], sides: Mapping[str, np.ndarray], found: np.ndarray
) -> tuple[float, str]:
    """Volume in ml and side of the largest mass of which less than half is in the nodules found."""
    is_tissue = (hu > _TISSUE_HU[0]) & (hu < _TISSUE_HU[1])
    lungs = {name: large_pieces(side, 0.2) for name, side in sides.items()}
    box = Box.around(lungs["right"] | lungs["left"])
    if box is None:
        return 0.0, ""
    centre = _heart_and_hila(hu.shape, box)
    best = (0.0, "")
    for name, lung in lungs.items():
        air = lung & (hu < _LUNG_HU)
        between = [_between(air, axis, int(_MASS_GAP_MM / spacing_mm[axis])) for axis in range(3)]
        held = np.where(centre, between[0] & between[1] & between[2], between[2]) & is_tissue
        pieces, count = ndimage.label(opened(held, _MASS_RADIUS_MM, spacing_mm))
        if count == 0:
            continue
        sizes = np.bincount(pieces.ravel())
        known = np.bincount(pieces.ravel(), weights=found.ravel())
        sizes[0] = 0
        sizes[known >= 0.5 * sizes] = 0
        best = max(best, (float(sizes.max()) * float(np.prod(spacing_mm)) / 1000, name if sizes.max() else ""))
    return best


def _heart_and_hila(shape: tuple[int, ...], box: Box) -> np.ndarray:
    """Where tissue between lung is no surprise, as shares of the box around both lungs (right, front, top are 1).

    The middle, the hila, the heart on the left and its right border.
    """
    x, y, z = (
        ((np.arange(n) + 0.5 - a) / (b - a)).reshape([-1 if k == axis else 1 for k in range(3)])
        for axis, (n, a, b) in enumerate(zip(shape, box.start, box.stop, strict=True))
    )
    aside = np.abs(x - 0.5)
    hila = (aside < 0.17) & (z > 0.38) & (z < 0.74) & (y > 0.3) & (y < 0.75)
    heart = (z < 0.5) & (((x < 0.5) & (aside < 0.32) & (y > 0.33)) | ((aside < 0.2) & (y > 0.5)))
    return (aside < 0.12) | hila | heart


def _between(mask: np.ndarray, axis: int, most: int) -> np.ndarray:
    """What lies between two true voxels along an axis that are at most so many voxels apart."""
    line = np.moveaxis(mask, axis, 0)
    place = np.arange(len(line))[:, None, None]
    far = 10 * len(line)
    before = np.maximum.accumulate(np.where(line, place, -far), axis=0)
    behind = np.flip(np.minimum.accumulate(np.flip(np.where(line, place, far), 0), axis=0), 0)
    return np.moveaxis((behind - before - 1 <= most) & ~line, 0, axis)
