"""Where the ribs have no lung beside them: rays from the middle of each half of the chest to its wall.

In: HU and each lung on a coarse RAS grid. Out: `WallGaps`. Knows no disease: consolidation, effusion, a mass on the
pleura and a lung that the mask leaves out all look alike here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

# Degrees from the side of the chest: -90 is the back, 49 in front of the side, where ribs turn to cartilage.
_ANGLES = np.deg2rad(np.arange(-95.0, 50.0, 8.0))
_RAYS_MM = np.arange(0.0, 160.0, 3.0)
_NEAREST_MM = 12.0
_RIB_HU, _RIB_BEHIND_LUNG_HU, _SLAB_MM = 150.0, 110.0, 30.0
_LUNG_HU = -300.0
_BARE_MM, _PATCH_MM = 24.0, 18.0
# Distance from the lung's own base and top, and from the other lung's, within which no lung is expected.
_OWN_BASE_MM, _OTHER_BASE_MM, _OWN_TOP_MM, _OTHER_TOP_MM = 20.0, 55.0, 15.0, 30.0
_WALL_RADIUS_MM = 95.0


@dataclass(frozen=True)
class WallGaps:
    """Right, then left.

    Attributes:
        bare_share: of the wall that should face lung, 0 to 1.
        patch_cm2: the largest connected piece without lung that has lung above and below; about, as the wall is curved.
    """

    bare_share: tuple[float, float]
    patch_cm2: tuple[float, float]


def gaps_at_wall(
    hu: np.ndarray, spacing_mm: tuple[float, float, float], right: np.ndarray, left: np.ndarray, nodules: np.ndarray
) -> WallGaps:
    """Look for lung beside the ribs of both sides.

    Args:
        hu: (X, Y, Z), axes right, front, top.
        spacing_mm: of its voxels.
        right, left: the lungs.
        nodules: what was found as nodules counts as lung.
    """
    both = right | left
    levels = np.flatnonzero(both.any(axis=(0, 1)))
    if levels.size < 10:
        return WallGaps((0.0, 0.0), (0.0, 0.0))
    levels = np.arange(levels[0], levels[-1] + 1)
    centre_x, half_mm, centre_y = _middles(both, levels, spacing_mm)
    slab = ndimage.maximum_filter1d(hu, _odd(_SLAB_MM / spacing_mm[2]), axis=2)
    gaps_mm = []
    for sign, lung in ((1, right), (-1, left)):
        is_lung = (lung & (hu < _LUNG_HU)) | (nodules & both)
        start = centre_x + sign * 0.5 * half_mm / spacing_mm[0], centre_y
        gaps_mm.append(_gaps_mm(slab, is_lung, spacing_mm, levels, start, sign))
    sz = spacing_mm[2]
    patches = [_largest_patch_cm2(gap, sz) for gap in gaps_mm]
    first, second = _bare_shares([gap < _BARE_MM for gap in gaps_mm], [np.isnan(gap) for gap in gaps_mm], sz)
    return WallGaps((first, second), (patches[0], patches[1]))


def _odd(count: float) -> int:
    return int(count) | 1


def _middles(
    both: np.ndarray, levels: np.ndarray, spacing_mm: tuple[float, float, float]
) -> tuple[float, np.ndarray, float]:
    """Midline and middle depth (voxels); between them half the chest's width at each level (mm, the wider side's)."""
    across, deep = np.asarray(both.any(axis=1)), np.asarray(both.any(axis=0))
    x = np.array([_ends(across[:, k]) for k in levels])
    y = np.array([_ends(deep[:, k]) for k in levels])
    middle = float(np.nanmedian(x.mean(axis=1)))
    half = np.nan_to_num(np.abs(x - middle).max(axis=1)) * spacing_mm[0]
    half = ndimage.maximum_filter1d(half, _odd(60 / spacing_mm[2]))
    return middle, ndimage.uniform_filter1d(half, _odd(40 / spacing_mm[2])), float(np.nanmedian(y.mean(axis=1)))


def _ends(line: np.ndarray) -> tuple[float, float]:
    held = np.flatnonzero(line)
    return (float(held[0]), float(held[-1])) if held.size else (np.nan, np.nan)


def _gaps_mm(
    slab: np.ndarray,
    is_lung: np.ndarray,
    spacing_mm: tuple[float, float, float],
    levels: np.ndarray,
    start: tuple[np.ndarray, float],
    sign: int,
) -> np.ndarray:
    """(levels, angles): tissue between the last lung on a ray and the rib behind it; inf without lung, nan without rib.

    Behind the lung a rib needs less HU than on a ray without lung, on which vessels lie, too. A ray with lung and no
    rib has no gap.
    """
    x = start[0][:, None, None] + sign * np.cos(_ANGLES)[None, :, None] * _RAYS_MM / spacing_mm[0]
    y = np.broadcast_to(start[1] + np.sin(_ANGLES)[None, :, None] * _RAYS_MM / spacing_mm[1], x.shape)
    i, j = np.rint(x).astype(int), np.rint(y).astype(int)
    is_there = (i >= 0) & (i < slab.shape[0]) & (j >= 0) & (j < slab.shape[1])
    places = (np.clip(i, 0, slab.shape[0] - 1), np.clip(j, 0, slab.shape[1] - 1), levels[:, None, None])
    number = np.arange(len(_RAYS_MM))
    last = np.where(is_lung[places] & is_there, number, -1).max(axis=2)
    least_hu = np.where(last >= 0, _RIB_BEHIND_LUNG_HU, _RIB_HU)[:, :, None]
    beyond = np.maximum(last, int(_NEAREST_MM / 3.0))[:, :, None]
    rib = is_there & (slab[places] > least_hu) & (number > beyond)
    has_rib = rib.any(axis=2)
    gap_mm = (rib.argmax(axis=2) - last) * 3.0
    with_lung = np.where(has_rib, gap_mm, 0.0)
    return np.where(last >= 0, with_lung, np.where(has_rib, np.inf, np.nan))


def _bare_shares(covered: list[np.ndarray], unknown: list[np.ndarray], slice_mm: float) -> tuple[float, float]:
    """Share of the wall that should face lung and does not, of each side.

    Should: above the own base, which lies behind at least as deep as anywhere before it (the recess behind the
    diaphragm is the deepest), or well above the other lung's; and below the top.
    """
    count = len(covered[0])
    place = np.arange(count)[:, None]
    base = [np.where(side.any(axis=0), np.where(side, place, count).min(axis=0), count) for side in covered]
    base = [np.flip(np.minimum.accumulate(np.flip(low))) for low in base]
    top = [np.where(side.any(axis=0), np.where(side, place, -1).max(axis=0), -1) for side in covered]
    shares = []
    for own, other in ((0, 1), (1, 0)):
        low = np.minimum(base[own] + round(_OWN_BASE_MM / slice_mm), base[other] + round(_OTHER_BASE_MM / slice_mm))
        high = np.maximum(top[own] - round(_OWN_TOP_MM / slice_mm), top[other] - round(_OTHER_TOP_MM / slice_mm))
        expected = (place >= low) & (place <= high) & ~unknown[own]
        bare = int(np.count_nonzero(expected & ~covered[own]))
        shares.append(bare / max(int(np.count_nonzero(expected)), 1))
    return shares[0], shares[1]


def _largest_patch_cm2(gap_mm: np.ndarray, slice_mm: float) -> float:
    covered = gap_mm < _PATCH_MM
    above = np.flip(np.logical_or.accumulate(np.flip(covered, 0), axis=0), 0)
    below = np.logical_or.accumulate(covered, axis=0)
    pieces, count = ndimage.label(above & below & ~covered & ~np.isnan(gap_mm), structure=np.ones((3, 3)))
    if count == 0:
        return 0.0
    step = float(_ANGLES[1] - _ANGLES[0])
    return int(np.bincount(pieces.ravel())[1:].max()) * _WALL_RADIUS_MM * step * slice_mm / 100
