"""Which end of the spine is up, and on which side liver, heart, aorta and couch lie.

In: `ChestParts` with axes across, back to front, and along the spine. Out: +1, -1, or 0 where a sign is weak. The
limits and what they gave on real CTs stand in the header of `orientation`.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from lungseg3d.analysis.lungs.chest_parts import ChestParts, trachea_runs_mm

_LEAST_WIDENING, _LEAST_TISSUE_RATIO = 0.06, 1.25
_LEAST_TRACHEA_MM, _LEAST_TRACHEA_RATIO = 36.0, 1.6
_LEAST_HEART_MM, _LEAST_AORTA, _LEAST_LIVER = 5.0, 0.2, 0.12


def _lung_slices(chest: ChestParts) -> tuple[int, int]:
    """First and behind the last slice that hold lung, thin tips left out."""
    area = chest.lungs.sum(axis=(0, 1))
    held = np.flatnonzero(area > 0.03 * area.max())
    return int(held[0]), int(held[-1]) + 1


def _between_lungs(lungs: np.ndarray) -> np.ndarray:
    """What has lung on both sides along the first or the second axis, and is no lung."""
    filled = np.zeros_like(lungs)
    for axis in (0, 1):
        ahead = np.logical_or.accumulate(lungs, axis=axis)
        filled |= ahead & np.flip(np.logical_or.accumulate(np.flip(lungs, axis), axis=axis), axis)
    organs: np.ndarray = filled & ~lungs
    return organs


def way_up(chest: ChestParts, spine: np.ndarray) -> int:
    """+1 where the apex of the lungs lies at the high end of the third axis, -1 at the low end, 0 not determined.

    Two of width, tissue between the lungs and trachea must say so and none the contrary; upside down takes the trachea.
    """
    first, end = _lung_slices(chest)
    count = end - first
    if count < 10:
        return 0
    low = slice(first + int(0.05 * count), first + int(0.33 * count))
    high = slice(first + int(0.67 * count), first + int(0.95 * count))
    area = chest.lungs.sum(axis=(0, 1)).astype(float)
    between = _between_lungs(chest.lungs).sum(axis=(0, 1)).astype(float)
    shadow = chest.lungs.any(axis=1)
    width = np.array([np.ptp(np.flatnonzero(line)) + 1.0 if line.any() else 0.0 for line in shadow.T])
    widening = (width[low].mean() - width[high].mean()) / width.max()
    ratio = (between[low].sum() / max(area[low].sum(), 1)) / max(between[high].sum() / max(area[high].sum(), 1), 1e-6)
    below_mm, above_mm = trachea_runs_mm(chest, spine)
    votes = [
        _vote(widening, _LEAST_WIDENING),
        _vote(np.log(max(ratio, 1e-6)), np.log(_LEAST_TISSUE_RATIO)),
        _trachea_vote(below_mm, above_mm),
    ]
    for way in (1, -1):
        if votes.count(way) >= 2 and votes.count(-way) == 0 and (way > 0 or votes[2] == way):
            return way
    return 0


def _vote(value: float, least: float) -> int:
    return int(np.sign(value)) if abs(value) >= least else 0


def _trachea_vote(below_mm: float, above_mm: float) -> int:
    longer, shorter = max(below_mm, above_mm), min(below_mm, above_mm)
    if longer < _LEAST_TRACHEA_MM or longer < _LEAST_TRACHEA_RATIO * shorter:
        return 0
    return 1 if above_mm > below_mm else -1


def right_side(chest: ChestParts, spine: np.ndarray) -> tuple[int, dict[str, int]]:
    """Where the patient's right lies on the first axis of an upright chest: +1 high end, -1 low end, 0 not determined.

    Returns:
        It, and of each organ that was seen on one side the end it lies at: liver, heart, aorta.
    """
    organs = {
        "liver": _liver_side(chest, spine),
        "heart": _heart_side(chest, spine),
        "aorta": _aorta_side(chest, spine),
    }
    seen = {name: side for name, side in organs.items() if side}
    votes = [organs["liver"], -organs["heart"], -organs["aorta"]]
    for way in (1, -1):
        is_enough = votes.count(way) >= 2 and (way > 0 or votes[0] == way)
        if is_enough and votes.count(-way) == 0:
            return way, seen
    return 0, seen


def _heart_side(chest: ChestParts, spine: np.ndarray) -> int:
    """End of the first axis towards which the heart lies, seen from between the lungs' outer borders and the spine."""
    first, end = _lung_slices(chest)
    rows = range(first + int(0.2 * (end - first)), first + int(0.6 * (end - first)))
    soft = _between_lungs(chest.lungs) & (chest.hu > -300)
    sx, sy, _ = chest.spacing_mm
    offsets, weights = [], []
    for k in rows:
        before_mm = (np.arange(soft.shape[1]) - spine[k, 1]) * sy
        x = np.nonzero(soft[:, (before_mm > 20) & (before_mm < 150), k])[0]
        edges = np.flatnonzero(chest.lungs[:, :, k].any(axis=1))
        if x.size and edges.size:
            middle = ((edges[0] + edges[-1]) / 2 + spine[k, 0]) / 2
            offsets.append((x.mean() - middle) * sx)
            weights.append(x.size)
    return _vote(float(np.average(offsets, weights=weights)), _LEAST_HEART_MM) if offsets else 0


def _aorta_side(chest: ChestParts, spine: np.ndarray) -> int:
    """End of the first axis on which more tissue lies beside the front of the vertebrae: the descending aorta."""
    first, end = _lung_slices(chest)
    sx, sy, _ = chest.spacing_mm
    counts = [0, 0]
    for k in range(first + int(0.3 * (end - first)), first + int(0.65 * (end - first))):
        aside_mm = (np.arange(chest.hu.shape[0]) - spine[k, 0]) * sx
        before_mm = (np.arange(chest.hu.shape[1]) - spine[k, 1]) * sy
        near = (before_mm > -12) & (before_mm < 35)
        soft = (~chest.lungs[:, :, k] & (chest.hu[:, :, k] > -300))[:, near]
        counts[0] += int(soft[(aside_mm < -14) & (aside_mm > -45)].sum())
        counts[1] += int(soft[(aside_mm > 14) & (aside_mm < 45)].sum())
    return _vote((counts[1] - counts[0]) / max(sum(counts), 1), _LEAST_AORTA)


def _liver_side(chest: ChestParts, spine: np.ndarray) -> int:
    """End of the first axis on which more of what lies 8 to 44 mm under the lungs is soft tissue: the liver.

    On the other side stomach, colon and fat lie beside the spleen.
    """
    first, end = _lung_slices(chest)
    sx, sy, sz = chest.spacing_mm
    lowest = np.where(chest.lungs.any(axis=2), chest.lungs.argmax(axis=2), -1)
    middle_x = spine[first : (first + end) // 2, 0].mean()
    middle_y = np.nonzero(chest.lungs)[1].mean()
    aside_mm = (np.arange(chest.hu.shape[0]) - middle_x) * sx
    near = np.abs((np.arange(chest.hu.shape[1]) - middle_y) * sy) < 45
    shares = []
    for side in (-1, 1):
        columns = ((side * aside_mm > 20) & (side * aside_mm < 100))[:, None] & near & (lowest >= 0)
        x, y = np.nonzero(columns)
        depths = np.arange(int(8 / sz), int(44 / sz))
        z = lowest[x, y][:, None] - 1 - depths
        if x.size == 0 or (z >= 0).mean() < 0.5:
            return 0
        below = chest.hu[x[:, None], y[:, None], np.maximum(z, 0)][z >= 0]
        shares.append(float((below > 0).mean()))
    return _vote(shares[1] - shares[0], _LEAST_LIVER)


def couch_side(chest: ChestParts) -> int:
    """-1 where a couch lies behind the back, +1 in front, 0 where none is seen: what goes on along the whole spine."""
    near_body = ndimage.binary_dilation(chest.body, iterations=2)
    solid = (chest.hu > -850) & ~near_body & ~chest.inside
    always = solid.mean(axis=2) > 0.8
    body = np.flatnonzero(chest.body.any(axis=(0, 2)))
    middle = int(body[0] + body[-1]) // 2
    sx = chest.spacing_mm[0]
    widths_mm = [float(part.any(axis=1).sum()) * sx for part in (always[:, :middle], always[:, middle:])]
    if max(widths_mm) < 100 or min(widths_mm) > 0.5 * max(widths_mm):
        return 0
    return -1 if widths_mm[0] > widths_mm[1] else 1
