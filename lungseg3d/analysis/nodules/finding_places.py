"""Whether anatomy speaks against a finding: it lies outside the lungs, or it is a piece of a hilar vessel.

In: HU, lungs without nodules, findings, all on one grid. Out: a reason per finding, empty where there is none.
Knows no network and no file format. Each finding is looked at in a box of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lungseg3d.analysis.distances import within
from lungseg3d.analysis.morphology import ANY_NEIGHBOUR, closed
from lungseg3d.analysis.nodules.candidates import NoduleMap
from lungseg3d.core import Box, Volume, boxes_by_value
from lungseg3d.core.labels import LEFT_LUNG, RIGHT_LUNG

_LOOK_MM = 2.0
_AERATED_HU, _BORDER_RANGE_HU = -850.0, (-700.0, -300.0)
_NEAR_LUNG_MM = 2.0
_GLASS_BELOW_HU = -350.0
_SURROUNDINGS_MM, _CLOSING_MM, _COARSE_MM = 30.0, 10.0, 1.6
_BESIDE_MM, _UNDER_MM = 10.0, 15.0
_MOST_PLACES = 200
_AIR_BELOW_HU = -300.0
_LEAST_BULGE = 0.3
_LEAST_INSIDE = 0.5
_BONE_HU, _BONE_CUT, _BONE_MM = 250.0, 0.3, 10.0
_MEDIASTINAL_BULGE, _MEDIASTINAL_INSIDE, _MEDIASTINAL_MM = 0.62, 0.6, 16.0
_SPARSE_MM, _FAT_BELOW_HU, _CONTRAST_HU = 4.0, -20.0, 90.0
_HILUM_HEIGHT = (0.35, 0.8)
_VESSEL_CUT, _VESSEL_HU, _VESSEL_MM = 0.09, -150.0, 11.0


def anatomy_reasons(ct: Volume, lungs: Volume, found: NoduleMap) -> tuple[str, ...]:
    """Why each finding can be no nodule of the lung: a key of `core.CANDIDATE_REASONS`, empty where nothing is known.

    A nodule lies in a lung or on its surface. A lung mask leaves out nodules on the pleura, the diaphragm or the
    hilum, so "outside the mask" says little; what counts is how much of a finding's surface lung touches, how much of
    it is cut out of tissue that continues, and where that tissue lies. What holds air (a median below -300 HU, as
    ground glass) is lung. Of the rest:

    - "outside-lungs": most of it lies outside the lungs closed with a ball of 10 mm, and lung touches less than 30 %
      of its surface; or it is cut out of bone; or, from 16 mm on, it is cut out of the mediastinum and lung touches
      less than 62 % (a ball sunk to its middle into a wall still has 67 %).
    - "hilar-vessel": from 11 mm on, solid, at the height of the hilum, and cut on both sides: dense tissue continues
      into the mediastinum and into the lung, each with at least 60 % of the finding's own diameter. A nodule on the
      mediastinum or on a vessel has only one of the two. Where contrast fills the vessels, a finding with less than
      half of their HU is none.

    Args:
        ct: HU.
        lungs: label map on the CT's grid, 1 right, 2 left, nodules not painted over; without any lung nothing is said.
        found: findings on the same grid; `boxes` may be empty.

    Returns:
        "outside-lungs", "hilar-vessel" or "" for every value of `found.labels` from 1 on, as many as
        `found.confidence`. Small findings are judged by the 30 % alone: too few voxels make up their surface.
    """
    reasons = [""] * len(found.confidence)
    ras_ct, ras_lungs, ras_found = ct.as_ras(), lungs.as_ras(), found.labels.as_ras()
    hilum = _find_hilum(ras_ct, ras_lungs)
    if hilum is not None:
        for number, box in boxes_by_value(ras_found.array).items():
            reasons[number - 1] = _reason(_seen(ras_ct, ras_lungs, ras_found.array, number, box), hilum)
    return tuple(reasons)


@dataclass(frozen=True)
class _Hilum:
    """Where a hilar vessel may lie (voxels along Z), and the least HU that it has."""

    lowest: float
    highest: float
    least_hu: float


@dataclass(frozen=True)
class _Sight:
    """What anatomy shows of one finding.

    Attributes:
        height: of its middle, in voxels along Z.
        diameter_mm: of the ball of equal volume.
        median_hu: of its inner voxels.
        inside: share of it in the closed lungs; where the mask alone holds most of it, in the mask.
        touched: share of its surface with lung in front.
        into_lung: share of its surface behind which dense tissue continues inside the lung mask.
        outside: the same outside the mask.
        mediastinal: the part of `outside` between the lungs and not under one.
    """

    height: float
    diameter_mm: float
    median_hu: float
    inside: float
    touched: float
    into_lung: float
    outside: float
    mediastinal: float


def _reason(seen: _Sight, hilum: _Hilum) -> str:
    if seen.median_hu < _AIR_BELOW_HU:
        return ""
    if seen.inside < _LEAST_INSIDE and seen.touched < _LEAST_BULGE:
        return "outside-lungs"
    if seen.diameter_mm >= _BONE_MM and seen.median_hu > _BONE_HU and seen.outside >= _BONE_CUT:
        return "outside-lungs"
    is_sunk = seen.inside < _MEDIASTINAL_INSIDE and seen.touched < _MEDIASTINAL_BULGE
    if seen.diameter_mm >= _MEDIASTINAL_MM and is_sunk and seen.mediastinal >= 0.5 * seen.outside:
        return "outside-lungs"
    may_be_vessel = seen.diameter_mm >= _VESSEL_MM and seen.median_hu > hilum.least_hu
    is_high_enough = hilum.lowest <= seen.height <= hilum.highest
    if may_be_vessel and is_high_enough and min(seen.into_lung, seen.mediastinal) >= _VESSEL_CUT:
        return "hilar-vessel"
    return ""


def _find_hilum(ct: Volume, lungs: Volume) -> _Hilum | None:
    """The height of the hilum, and the HU of blood as the middle one between the lungs, on a grid of about 4 mm.

    None without any lung. In RAS order.
    """
    sparse = tuple(slice(None, None, max(1, round(_SPARSE_MM / s))) for s in ct.spacing_mm)
    labels, hu = lungs.array[sparse], ct.array[sparse]
    heights = np.flatnonzero((labels > 0).any(axis=(0, 1))) * sparse[2].step
    if not heights.size:
        return None
    low, high = float(heights[0]), float(heights[-1])
    right = np.maximum.accumulate((labels == RIGHT_LUNG.value)[::-1], axis=0)[::-1]
    left = np.maximum.accumulate(labels == LEFT_LUNG.value, axis=0)
    tissue = hu[right & left & (labels == 0) & (hu > _FAT_BELOW_HU)]
    middle_hu = float(np.median(tissue)) if tissue.size else 0.0
    least_hu = middle_hu / 2 if middle_hu >= _CONTRAST_HU else _VESSEL_HU
    lowest, highest = (low + share * (high - low) for share in _HILUM_HEIGHT)
    return _Hilum(lowest, highest, least_hu)


def _seen(ct: Volume, lungs: Volume, labels: np.ndarray, number: int, box: Box) -> _Sight:
    """One finding; all arrays in RAS order."""
    spacing_mm = ct.spacing_mm
    near = box.grown([_steps(s) + int(np.ceil(_NEAR_LUNG_MM / s)) for s in spacing_mm], ct.shape)
    mask, hu = labels[near.slices] == number, ct.array[near.slices]
    dense = hu > _border_hu(hu[mask])
    core = _largest_piece(mask & dense) if (mask & dense).any() else mask
    inner = ndimage.binary_erosion(core)
    inside = (lungs.array[near.slices] > 0)[core].mean()
    if inside < max(_LEAST_INSIDE, _MEDIASTINAL_INSIDE):  # else closing the lungs changes no answer
        around = box.grown([int(np.ceil(_SURROUNDINGS_MM / s)) for s in spacing_mm], ct.shape)
        whole = _closed_lungs(lungs.array[around.slices] > 0, spacing_mm)
        inside = whole[near.seen_from(around).slices][core].mean()
    touched, into_lung, outside, mediastinal = _surface(core, dense, near, lungs)
    volume_mm3 = int(core.sum()) * ct.voxel_volume_mm3
    return _Sight(
        height=near.start[2] + float(np.argwhere(core)[:, 2].mean()),
        diameter_mm=float(np.cbrt(6 * volume_mm3 / np.pi)),
        median_hu=float(np.median(hu[inner if inner.any() else core])),
        inside=float(inside),
        touched=touched,
        into_lung=into_lung,
        outside=outside,
        mediastinal=mediastinal,
    )


def _border_hu(hu: np.ndarray) -> float:
    """Half-way between lung and the finding, without the rim of lung that its outline takes in.

    The dense part of ground glass may be the wall beside it, so there the median counts and not the 90th percentile.
    """
    middle, dense = np.percentile(hu, (50, 90))
    typical = dense if middle > _GLASS_BELOW_HU else middle
    return float(np.clip((_AERATED_HU + typical) / 2, *_BORDER_RANGE_HU))


def _steps(spacing_mm: float) -> int:
    return max(1, round(_LOOK_MM / spacing_mm))


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    pieces, _ = ndimage.label(mask, structure=ANY_NEIGHBOUR)
    largest: np.ndarray = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    return largest


def _closed_lungs(lung: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Lung with the pits in its surface that a ball of 10 mm cannot enter, found on voxels of about 1.6 mm."""
    steps = [max(1, round(_COARSE_MM / s)) for s in spacing_mm]
    coarse_mm = [s * n for s, n in zip(spacing_mm, steps, strict=True)]
    coarse = closed(lung[tuple(slice(None, None, n) for n in steps)], _CLOSING_MM, coarse_mm)
    for axis, n in enumerate(steps):
        coarse = np.repeat(coarse, n, axis=axis)
    joined: np.ndarray = coarse[tuple(slice(0, n) for n in lung.shape)] | lung
    return joined


def _surface(core: np.ndarray, dense: np.ndarray, box: Box, lungs: Volume) -> tuple[float, float, float, float]:
    """Shares of the core's surface, by area: lung in front; dense tissue behind in the lung, outside, mediastinal.

    A face of a voxel is cut out of dense tissue where all that follows within 2 mm, or one voxel, is dense.
    """
    spacing_mm, lung = lungs.spacing_mm, lungs.array[box.slices] > 0
    # A mask that leaves a nodule out ends a little before or behind it; air further off is airway or outside the body.
    aerated = ~dense & within(lung, _NEAR_LUNG_MM, spacing_mm)
    area, touched, into_lung, outside, mediastinal = 0.0, 0.0, 0.0, 0.0, 0.0
    for axis, forward in ((axis, forward) for axis in range(3) for forward in (True, False)):
        face_mm2 = float(np.prod(spacing_mm)) / spacing_mm[axis]
        ways = range(1, _steps(spacing_mm[axis]) + 1)
        surface = core & ~_shifted(core, axis, 1, forward)
        goes_on = surface & np.logical_and.reduce([_shifted(dense, axis, n, forward) for n in ways])
        shows_lung = np.logical_or.reduce([_shifted(aerated, axis, n, forward) for n in ways])
        ends_in_lung = _shifted(lung, axis, ways[-1], forward)
        leaves = goes_on & ~ends_in_lung
        area += face_mm2 * int(surface.sum())
        touched += face_mm2 * int((surface & ~goes_on & shows_lung).sum())
        into_lung += face_mm2 * int((goes_on & ends_in_lung).sum())
        outside += face_mm2 * int(leaves.sum())
        mediastinal += face_mm2 * int(leaves.sum()) * _mediastinal_share(np.argwhere(leaves) + box.start, lungs)
    return touched / area, into_lung / area, outside / area, mediastinal / area


def _mediastinal_share(voxels: np.ndarray, lungs: Volume) -> float:
    """Share of voxels (N, 3) between the two lungs and not on a diaphragm; many voxels are sampled.

    Between: at least 10 mm of the right lung to the right, of the left to the left. On a diaphragm: 15 mm under a lung
    that does not go on below.
    """
    if not len(voxels):
        return 0.0
    sampled = voxels[:: -(-len(voxels) // _MOST_PLACES)]
    beside = int(np.ceil(_BESIDE_MM / lungs.spacing_mm[0]))
    under = int(np.ceil(_UNDER_MM / lungs.spacing_mm[2]))
    count = 0
    for x, y, z in sampled:
        row, column = lungs.array[:, y, z], lungs.array[x, y]
        is_between = (row[x:] == RIGHT_LUNG.value).sum() >= beside and (row[:x] == LEFT_LUNG.value).sum() >= beside
        count += is_between and not (column[z : z + under].any() and not column[:z].any())
    return count / len(sampled)


def _shifted(mask: np.ndarray, axis: int, steps: int, forward: bool) -> np.ndarray:
    """What lies so many voxels further on along an axis; false beyond the array."""
    moved = np.zeros_like(mask)
    here, there = [slice(None)] * 3, [slice(None)] * 3
    here[axis], there[axis] = slice(None, -steps), slice(steps, None)
    if not forward:
        here, there = there, here
    moved[tuple(here)] = mask[tuple(there)]
    return moved
