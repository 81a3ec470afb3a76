"""Does the image lie as its header says? Spine, apex, trachea, heart, aorta, liver and couch, held against the axes.

In: HU on a coarse RAS grid of about 4 mm. Out: an `Orientation` - agrees, against or not determined for each axis - and
W_ANATOMY_ORIENTATION. Needs no lung network: that one was taught on images that lie right and fails on others.

Signs and limits, with what they gave on 7 chest CTs of 6 public collections and 20 healthy phantoms:
- spine: density of the densest column of bone along each axis. Along the true one 0.36 to 0.81, along others at most
  0.28; asked for are 0.33 and 1.3 times the next.
- front and back: 67 to 82 % of the body lies in front of the spine, 46 to 52 % on either side of it; asked for are 10
  points beside an even share, and twice the other axis.
- head and feet: lungs are wider (by 0.09 to 0.35 of the largest width) and hold more tissue between them (1.3 to 2.7
  times) below; the trachea (44 to 157 mm) lies above, other tubes of air (at most 24 mm) below.
- left and right: the liver fills 0.07 more of what lies under its dome than stomach and spleen do (median 0.22; -0.02
  with a left lung that lost volume), the heart lies 2 to 29 mm to the left, the aorta beside the spine. Each may fail,
  so against the header speak only the liver and another organ together: a heart on the right alone is dextrocardia.
The couch is recorded and decides nothing: people lie on their back, their front and their side.

Sources of the fault: images of the Medical Segmentation Decathlon and of NLST copies that lie otherwise than their
header says. Frequencies: dextrocardia 1 in 12,000, situs inversus 1 in 10,000 (Bohun et al. 2007, Ann Thorac Surg
83:734): a mirrored file is the likelier cause, and the message names both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from scipy import ndimage

from lungseg3d.analysis.chest_parts import ChestParts, find_chest_parts, find_spine, trachea_runs_mm
from lungseg3d.core import QualityIssue, Volume

ORIENTATION_CODES: Mapping[str, str] = MappingProxyType(
    {"W_ANATOMY_ORIENTATION": "Spine, apex or organs do not lie where the header says: turned or mirrored."}
)
AGREES, AGAINST, UNKNOWN = "agrees", "against", "not determined"

_LEAST_LUNGS_ML = 300.0
_LEAST_EXTENT_MM = 120.0
_LEAST_SPINE, _LEAST_SPINE_RATIO = 0.33, 1.3
_LEAST_CUT = 0.12
_LEAST_FRONT_SHARE = 0.10
_MOST_UNEVEN_LUNGS, _MOST_CUT_LUNG = 0.2, 0.15
_LEAST_WIDENING, _LEAST_TISSUE_RATIO = 0.06, 1.25
_LEAST_TRACHEA_MM, _LEAST_TRACHEA_RATIO = 36.0, 1.6
_LEAST_HEART_MM, _LEAST_AORTA, _LEAST_LIVER = 5.0, 0.2, 0.12
# What the ends of an axis of the header are called, low index first.
_ENDS = (("left", "right"), ("back", "front"), ("feet", "head"))
_RUNS = ("from left to right", "from back to front", "from feet to head")


@dataclass(frozen=True)
class Orientation:
    """How the anatomy lies against the header.

    Attributes:
        left_right, front_back, head_feet: `agrees`, `against` or `not determined`.
        found: sign -> where it lies by the header, such as `spine: back`; only signs that were seen.
        reasons: what speaks against the header, in words.
    """

    left_right: str = UNKNOWN
    front_back: str = UNKNOWN
    head_feet: str = UNKNOWN
    found: Mapping[str, str] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """For `result.json`: the three axes and the signs."""
        axes = {name: getattr(self, name) for name in ("left_right", "front_back", "head_feet")}
        return {**axes, "found": dict(self.found)}


def find_orientation(ct: Volume) -> Orientation:
    """Hold the anatomy against the axes of a coarse CT.

    Args:
        ct: HU on a right-angled grid of about 4 mm.

    Returns:
        Nothing is determined of a crop (below 120 mm along an axis), or without 0.3 l of aerated lung.
    """
    ras = ct.as_ras()
    extent_mm = [n * s for n, s in zip(ras.shape, ras.spacing_mm, strict=True)]
    if min(extent_mm) < _LEAST_EXTENT_MM or min(ras.shape) < 8:
        return Orientation()
    parts = find_chest_parts(np.asarray(ras.array, dtype=np.float32), ras.spacing_mm)
    if parts.lungs_ml < _LEAST_LUNGS_ML:
        return Orientation()
    courses = [find_spine(parts, axis) for axis in range(3)]
    axis = _spine_axis(parts, [density for _, density in courses])
    if axis is None:
        return Orientation()
    front = _front(parts, axis, courses[axis][0])
    if front is None:
        return Orientation()
    return _held_against_header(parts, axis, front, courses[axis][0])


def check_orientation(orientation: Orientation) -> list[QualityIssue]:
    """W_ANATOMY_ORIENTATION where an axis is against the header."""
    if not orientation.reasons:
        return []
    said = "; ".join(orientation.reasons)
    return [
        QualityIssue(
            "W_ANATOMY_ORIENTATION",
            f"The image is turned or mirrored against its header: {said}.",
            "Sides, positions and the segmentation itself are not to be trusted. Correct the orientation where the "
            "file was made (or convert the original DICOM series again), then run anew.",
        )
    ]


def _spine_axis(parts: ChestParts, densities: list[float]) -> int | None:
    """The axis along which the spine runs; None where two are alike, or the body does not go on at both ends."""
    order = np.argsort(densities)[::-1]
    axis = int(order[0])
    is_clear = densities[axis] >= max(_LEAST_SPINE, _LEAST_SPINE_RATIO * densities[int(order[1])])
    if not is_clear:
        return None
    if axis != 2:
        area = (parts.body | parts.lungs).sum(axis=tuple(k for k in range(3) if k != axis))
        if min(area[:2].max(), area[-2:].max()) < _LEAST_CUT * area.max():
            return None
    return axis


def _front(parts: ChestParts, axis: int, spine: np.ndarray) -> tuple[int, int] | None:
    """(axis, sign) that leads from the spine to the front of the body; None where that is not clear."""
    across = [k for k in range(3) if k != axis]
    whole = np.moveaxis(parts.body | parts.lungs, axis, 0)
    lungs = np.moveaxis(parts.lungs, axis, 0)
    shares, of_lungs = [], []
    for k in range(2):
        beyond = np.arange(whole.shape[1 + k])[None, :] > spine[:, k][:, None]
        beyond = beyond[:, :, None] if k == 0 else beyond[:, None, :]
        shares.append(np.count_nonzero(whole & beyond) / np.count_nonzero(whole) - 0.5)
        of_lungs.append(np.count_nonzero(lungs & beyond) / np.count_nonzero(lungs) - 0.5)
    best = int(np.argmax(np.abs(shares)))
    is_clear = abs(shares[best]) >= max(_LEAST_FRONT_SHARE, 2 * abs(shares[1 - best]))
    if not is_clear or of_lungs[best] * shares[best] <= 0 or abs(of_lungs[best]) < _LEAST_FRONT_SHARE:
        return None
    front = across[best], 1 if shares[best] > 0 else -1
    if (axis, *front) != (2, 1, 1) and (abs(of_lungs[1 - best]) > _MOST_UNEVEN_LUNGS or _are_lungs_cut(parts, axis)):
        # A crop of one side shows the spine beside the lung: against the header speak both lungs, whole.
        return None
    return front


def _are_lungs_cut(parts: ChestParts, axis: int) -> bool:
    """True where the image ends inside the lungs at a side that is no end of the spine."""
    for k in range(3):
        area = parts.lungs.sum(axis=tuple(a for a in range(3) if a != k))
        if k != axis and max(area[:2].max(), area[-2:].max()) > _MOST_CUT_LUNG * area.max():
            return True
    return False


def _held_against_header(parts: ChestParts, axis: int, front: tuple[int, int], spine: np.ndarray) -> Orientation:
    """All signs of a chest whose spine runs along `axis` and whose front lies at `front`."""
    side_axis = 3 - axis - front[0]
    across = [k for k in range(3) if k != axis]
    place = spine[:, [across.index(side_axis), across.index(front[0])]]
    if front[1] < 0:
        place = place * [1, -1] + [0, parts.hu.shape[front[0]] - 1]
    chest = parts.turned((side_axis, front[0], axis), (1, front[1], 1))
    up = _way_up(chest, place)
    right = None
    if up:
        upright = chest.turned((0, 1, 2), (1, 1, up))
        right, organs = _right_side(upright, place[::up])
    found = {"spine": _ENDS[front[0]][0 if front[1] > 0 else 1]}
    reasons = []
    head_feet = front_back = left_right = UNKNOWN
    if axis != 2:
        head_feet = AGAINST
        reasons.append(f"the spine runs {_RUNS[axis]}, expected from feet to head")
    elif up:
        head_feet = AGREES if up > 0 else AGAINST
        if up < 0:
            reasons.append("the apex of the lungs and the trachea lie at the feet, expected at the head")
    if up:
        found["apex"] = _ENDS[axis][1 if up > 0 else 0]
    front_back = AGREES if front == (1, 1) else AGAINST
    if front != (1, 1):
        reasons.append(f"the spine lies at the {found['spine']} according to the header, expected at the back")
    if couch := _couch(chest):
        found["couch"] = _ENDS[front[0]][(0 if couch < 0 else 1) if front[1] > 0 else (1 if couch < 0 else 0)]
        if front != (1, 1) and found["couch"] == found["spine"]:
            reasons.append(f"so does the couch, at the {found['couch']}")
    if side_axis != 0:
        left_right = AGAINST
        reasons.append(f"left and right lie {_RUNS[side_axis]}")
    elif up:
        found |= {name: _ENDS[0][1 if side > 0 else 0] for name, side in organs.items()}
        if right:
            left_right = AGREES if right > 0 else AGAINST
        if right == -1:
            others = " and ".join(name for name in ("heart", "aorta") if organs.get(name, 0) > 0)
            reasons.append(
                f"the liver lies on the left and {others} on the right, as in a mirrored image (or, in 1 of 10,000 "
                "people, situs inversus)"
            )
    return Orientation(left_right, front_back, head_feet, found, tuple(reasons))


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
    return filled & ~lungs


def _way_up(chest: ChestParts, spine: np.ndarray) -> int:
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


def _right_side(chest: ChestParts, spine: np.ndarray) -> tuple[int, dict[str, int]]:
    """Where the patient's right lies on the first axis of an upright chest: +1 high end, -1 low end, 0 not determined.

    Returns:
        It, and of each organ that was seen on one side the end it lies at: liver, heart, aorta.
    """
    organs = {"liver": _liver_side(chest, spine), "heart": _heart_side(chest, spine), "aorta": _aorta_side(chest, spine)}
    seen = {name: side for name, side in organs.items() if side}
    votes = [organs["liver"], -organs["heart"], -organs["aorta"]]
    for way in (1, -1):
        is_enough = votes.count(way) >= 2 and (way > 0 or votes[0] == way)
        if is_enough and votes.count(-way) == 0:
            return way, seen
    return 0, seen


def _heart_side(chest: ChestParts, spine: np.ndarray) -> int:
    """End of the first axis towards which the heart lies, from the middle between the lungs' outer borders and spine."""
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


def _couch(chest: ChestParts) -> int:
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
