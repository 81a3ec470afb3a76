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

import numpy as np

from lungseg3d.analysis.image.organ_sides import couch_side, right_side, way_up
from lungseg3d.analysis.lungs.chest_parts import ChestParts, find_chest_parts, find_spine
from lungseg3d.core import QualityIssue, Volume

AGREES, AGAINST, UNKNOWN = "agrees", "against", "not determined"

_LEAST_LUNGS_ML = 300.0
_LEAST_EXTENT_MM = 120.0
_LEAST_SPINE, _LEAST_SPINE_RATIO = 0.33, 1.3
_LEAST_CUT = 0.12
_LEAST_FRONT_SHARE = 0.10
_MOST_UNEVEN_LUNGS, _MOST_CUT_LUNG = 0.2, 0.15
_LEAST_BACK_MM = 28.0
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
    if (axis, *front) == (2, 1, 1):
        return front
    # A crop of one side shows the spine beside the lung: against the header speak both lungs, whole, and a back.
    behind = spine[:, best] if front[1] > 0 else whole.shape[1 + best] - 1 - spine[:, best]
    is_whole = float(np.median(behind)) * parts.spacing_mm[front[0]] >= _LEAST_BACK_MM
    is_even = abs(of_lungs[1 - best]) <= _MOST_UNEVEN_LUNGS
    return front if is_whole and is_even and not _are_lungs_cut(parts, axis) else None


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
    up = way_up(chest, place)
    right = None
    if up:
        upright = chest.turned((0, 1, 2), (1, 1, up))
        right, organs = right_side(upright, place[::up])
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
    if couch := couch_side(chest):
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
            reason = f"the liver lies on the left and {others} on the right"
            if not reasons:
                reason += ", as in a mirrored image or, in 1 of 10,000 people, situs inversus"
            reasons.append(reason)
    return Orientation(left_right, front_back, head_feet, found, tuple(reasons))
