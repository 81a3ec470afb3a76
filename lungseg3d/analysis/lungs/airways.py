"""Trachea and main bronchi by rules: found from the top, grown downwards until they would leak.

In: HU and the air inside the body on a coarse RAS grid. Out: bool mask of the large airways with their wall.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from lungseg3d.analysis.morphology import components_touching, dilated, opened

_LUMEN_MM2 = (40.0, 900.0)
_SHORTEST_MM = 15.0
_FURTHEST_OFF_MIDLINE_MM = 45.0
_LARGEST_TREE_MM3 = 150_000.0
_SMALLEST_RADIUS_MM = 3.5


def find_airways(
    hu: np.ndarray, air: np.ndarray, midline_mm: float, spacing_mm: Sequence[float], wall_mm: float = 3.0
) -> np.ndarray:
    """Trachea, main and lobar bronchi, wall included.

    The trachea is the longest stack of small round air sections near the midline, followed from the top.
    From it the lumen grows at rising thresholds; the last tree before the volume jumps is taken
    (explosion control, Mori et al. 2000, IEEE TMI 19:103-114). Branches thinner than 7 mm are left to the lungs.

    Args:
        hu: smoothed HU (X, Y, Z) in RAS order.
        air: bool, the air inside the body.
        midline_mm: x of the body's middle, in mm from the first voxel's centre.
        spacing_mm: of the grid.
        wall_mm: how far around the lumen belongs to the wall.

    Returns:
        bool (X, Y, Z); all false when no trachea is in view.
    """
    seed = _trachea(hu, air, midline_mm, spacing_mm)
    if not seed.any():
        return seed
    tree = _grown(hu, air, seed, float(np.prod(spacing_mm)))
    wide = opened(tree, max(_SMALLEST_RADIUS_MM, 0.9 * max(spacing_mm[:2])), spacing_mm) | seed
    return dilated(wide, max(wall_mm, *spacing_mm[:2]), spacing_mm)


def _trachea(hu: np.ndarray, air: np.ndarray, midline_mm: float, spacing_mm: Sequence[float]) -> np.ndarray:
    """The lumen of the trachea from the top of the scan to about the carina."""
    pixel_mm2 = spacing_mm[0] * spacing_mm[1]
    best = np.zeros_like(air)
    longest = 0
    chains: list[tuple[np.ndarray, list[tuple[int, np.ndarray]]]] = []  # last section, all sections from the top
    for z in range(air.shape[2] - 1, -1, -1):
        sections = _round_sections(air[:, :, z] & (hu[:, :, z] < -700), midline_mm, spacing_mm, pixel_mm2)
        followed = []
        for section in sections:
            above = [chain for last, chain in chains if _continues(last, section)]
            chain = [*max(above, key=len, default=[]), (z, section)]
            followed.append((section, chain))
            if len(chain) > longest:
                longest = len(chain)
                best_chain = chain
        chains = followed
    if longest * spacing_mm[2] < _SHORTEST_MM:
        return best
    for z, section in best_chain:
        best[:, :, z] = section
    return best


def _round_sections(
    lumen: np.ndarray, midline_mm: float, spacing_mm: Sequence[float], pixel_mm2: float
) -> list[np.ndarray]:
    """The components of one slice that may be a trachea: right size, near the midline, compact."""
    parts, _ = ndimage.label(lumen)
    sections = []
    for index, place in enumerate(ndimage.find_objects(parts), start=1):
        part = parts[place] == index
        area_mm2 = part.sum() * pixel_mm2
        wide_mm, deep_mm = part.shape[0] * spacing_mm[0], part.shape[1] * spacing_mm[1]
        centre_mm = (place[0].start + place[0].stop - 1) / 2 * spacing_mm[0]
        if not _LUMEN_MM2[0] <= area_mm2 <= _LUMEN_MM2[1] or abs(centre_mm - midline_mm) > _FURTHEST_OFF_MIDLINE_MM:
            continue
        if max(wide_mm, deep_mm) > 2.5 * min(wide_mm, deep_mm) or area_mm2 < 0.45 * wide_mm * deep_mm:
            continue
        section = np.zeros_like(lumen)
        section[place] = part
        sections.append(section)
    return sections


def _continues(above: np.ndarray, section: np.ndarray) -> bool:
    """True when two sections overlap well and neither is more than 2.2 times the other."""
    a, b = int(above.sum()), int(section.sum())
    return int((above & section).sum()) > 0.4 * min(a, b) and max(a, b) < 2.2 * min(a, b) + 4


def _grown(hu: np.ndarray, air: np.ndarray, seed: np.ndarray, voxel_mm3: float) -> np.ndarray:
    """The largest tree from `seed` that has not leaked into the lungs."""
    tree, volume_mm3 = seed, float(seed.sum()) * voxel_mm3
    for threshold_hu in range(-970, -690, 15):
        bigger = components_touching(air & ((hu < threshold_hu) | seed), seed)
        bigger_mm3 = float(bigger.sum()) * voxel_mm3
        if bigger_mm3 > _LARGEST_TREE_MM3 or bigger_mm3 > 1.5 * volume_mm3 + 10_000:
            break
        tree, volume_mm3 = bigger, max(volume_mm3, bigger_mm3)
    return tree
