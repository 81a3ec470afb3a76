"""Whether anatomy speaks against a finding: it lies outside the lungs.

In: HU, lungs without nodules, findings, all on one grid. Out: a reason per finding, empty where there is none.
Knows no network and no file format. Each finding is looked at in a box of its own.
"""

from __future__ import annotations

import numpy as np

from lungseg3d.analysis.candidates import NoduleMap
from lungseg3d.core import Volume, boxes_by_value

_LOOK_MM = 2.0
_LEAST_INSIDE = 0.5
_LEAST_BORDER = 0.3


def anatomy_reasons(ct: Volume, lungs: Volume, found: NoduleMap) -> tuple[str, ...]:
    """Why each finding can be no nodule of the lung: a key of `core.CANDIDATE_REASONS`, empty where nothing is known.

    A nodule lies in a lung or on its surface. Lung masks leave out nodules on the pleura, the diaphragm or the hilum,
    so a finding that lies outside the mask still counts as a nodule where at least 30 % of its surface borders lung:
    one that bulges into the lung shows it a hemisphere, vertebra, heart and liver show it little or nothing.

    Args:
        ct: HU.
        lungs: label map on the CT's grid, 1 right, 2 left, nodules not painted over; without any lung nothing is said.
        found: findings on the same grid; `boxes` may be empty.

    Returns:
        One of "outside-lungs" and "" for every value of `found.labels` from 1 on, as many as `found.confidence`.
    """
    reasons = [""] * len(found.confidence)
    if lungs.array.any():
        for number, box in boxes_by_value(found.labels.array).items():
            around = box.grown([_steps(s) for s in ct.spacing_mm], ct.shape)
            mask, lung = found.labels.array[around.slices] == number, lungs.array[around.slices] > 0
            if lung[mask].mean() < _LEAST_INSIDE and _border_share(mask, lung, ct.spacing_mm) < _LEAST_BORDER:
                reasons[number - 1] = "outside-lungs"
    return tuple(reasons)


def _steps(spacing_mm: float) -> int:
    return max(1, round(_LOOK_MM / spacing_mm))


def _border_share(mask: np.ndarray, lung: np.ndarray, spacing_mm: tuple[float, float, float]) -> float:
    """Share of a finding's surface that has lung 2 mm, or one voxel, in front of it; the array's border shows none."""
    area_mm2 = lung_mm2 = 0.0
    for axis, forward in ((axis, forward) for axis in range(3) for forward in (True, False)):
        face_mm2 = float(np.prod(spacing_mm)) / spacing_mm[axis]
        next_to = _shifted(mask, axis, 1, forward)
        surface = mask & ~next_to
        area_mm2 += face_mm2 * int(surface.sum())
        lung_mm2 += face_mm2 * int((surface & _shifted(lung & ~mask, axis, _steps(spacing_mm[axis]), forward)).sum())
    return lung_mm2 / area_mm2 if area_mm2 else 0.0


def _shifted(mask: np.ndarray, axis: int, steps: int, forward: bool) -> np.ndarray:
    """What lies so many voxels further on along an axis; false beyond the array."""
    moved = np.zeros_like(mask)
    here, there = [slice(None)] * 3, [slice(None)] * 3
    here[axis], there[axis] = slice(None, -steps), slice(steps, None)
    if not forward:
        here, there = there, here
    moved[tuple(here)] = mask[tuple(there)]
    return moved
