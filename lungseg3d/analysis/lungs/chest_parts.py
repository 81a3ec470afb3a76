"""Body, lungs and spine of a chest CT by rules that hold whichever way the image is turned.

In: HU on a coarse grid of about 4 mm. Out: masks, the course of the spine, runs of the trachea. Assumes no
direction for head, front or left; where a function needs one, its docstring names the axes. Knows no file format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

_TISSUE_HU, _AIR_HU, _TRACHEA_HU = -300.0, -400.0, -500.0
# Bone weighs 0 at soft tissue with contrast agent and 1 where a vertebra of 4 mm voxels is mostly bone.
_BONE_FROM_HU, _BONE_RANGE_HU = 80.0, 120.0
_SPINE_RADIUS_MM, _SPINE_ALONG_MM = 9.0, 12.0
_BESIDE_LUNG_MM = 40.0
_TRACHEA_MM2 = (60.0, 900.0)
_TRACHEA_WIDEST_MM = 44.0
_IN_PLANE = np.zeros((3, 3, 3), bool)
_IN_PLANE[:, :, 1] = ndimage.generate_binary_structure(2, 1)


@dataclass(frozen=True, eq=False)
class ChestParts:
    """What a coarse CT shows.

    Attributes:
        hu: (X, Y, Z). spacing_mm: of its voxels.
        body: the largest piece of tissue.
        inside: what has body on both sides along two axes at least.
        lungs: air inside the body, its large pieces.
    """

    hu: np.ndarray
    spacing_mm: tuple[float, float, float]
    body: np.ndarray
    inside: np.ndarray
    lungs: np.ndarray

    @property
    def lungs_ml(self) -> float:
        """Volume of the lungs."""
        return float(np.count_nonzero(self.lungs)) * float(np.prod(self.spacing_mm)) / 1000

    def turned(self, order: Sequence[int], signs: Sequence[int]) -> ChestParts:
        """The same with its axes in another order and some of them reversed."""
        way = tuple(slice(None, None, sign) for sign in signs)
        arrays = (a.transpose(order)[way] for a in (self.hu, self.body, self.inside, self.lungs))
        hu, body, inside, lungs = arrays
        spacing_mm = tuple(self.spacing_mm[axis] for axis in order)
        return ChestParts(hu, spacing_mm, body, inside, lungs)  # type: ignore[arg-type]


def find_chest_parts(hu: np.ndarray, spacing_mm: Sequence[float]) -> ChestParts:
    """Body and lungs of HU (X, Y, Z) on a grid of about 4 mm, in any orientation.

    A couch or a cable is thinner than the ball that opens the tissue. Lung is air with tissue on both sides along two
    axes: the third may be cut by the field of view.
    """
    body = large_pieces(ndimage.binary_opening(hu > _TISSUE_HU), 1.0)
    sides = sum((_reached(body, axis) & np.flip(_reached(np.flip(body, axis), axis), axis)).astype(np.int8)
                for axis in range(3))  # fmt: skip
    inside = np.asarray(sides >= 2)
    lungs = large_pieces(ndimage.binary_opening((hu < _AIR_HU) & inside), 0.1)
    return ChestParts(hu, tuple(spacing_mm), body, inside, lungs)  # type: ignore[arg-type]


def large_pieces(mask: np.ndarray, least_share: float) -> np.ndarray:
    """The face-connected pieces that have at least this share of the largest one's voxels."""
    pieces, count = ndimage.label(mask)
    if count == 0:
        return np.zeros_like(mask, dtype=bool)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    large: np.ndarray = (sizes >= least_share * sizes.max())[pieces]
    return large


def find_spine(parts: ChestParts, axis: int) -> tuple[np.ndarray, float]:
    """The course of the densest column of bone along an axis, and how dense it is.

    The course of the highest sum, at most one voxel sideways from slice to slice (dynamic programming); its density is
    the lowest tenth over the lungs' extent, 0 to 1: a spine has bone all the way, ribs and sternum do not.

    Returns:
        Positions (N, 2) on the two other axes in order, one for each slice of the axis; the density.
    """
    held = [np.flatnonzero(parts.lungs.any(axis=tuple(a for a in range(3) if a != k))) for k in range(3)]
    weight = np.clip((parts.hu - _BONE_FROM_HU) / _BONE_RANGE_HU, 0, 1, dtype=np.float32) * parts.body
    start = [0, 0, 0]
    for k in range(3):
        if k == axis:
            continue
        margin = int(np.ceil(_BESIDE_LUNG_MM / parts.spacing_mm[k]))
        start[k] = max(int(held[k][0]) - margin, 0)
        weight = np.take(weight, range(start[k], min(int(held[k][-1]) + margin + 1, weight.shape[k])), axis=k)
    across = [k for k in range(3) if k != axis]
    bone = np.moveaxis(weight, axis, 0)
    sigmas = [_SPINE_ALONG_MM / parts.spacing_mm[axis], *(_SPINE_RADIUS_MM / parts.spacing_mm[k] for k in across)]
    bone = ndimage.gaussian_filter(bone, sigmas, truncate=2.5)
    course = _densest_course(bone)
    density = bone[np.arange(len(bone)), course[:, 0], course[:, 1]]
    in_lungs = density[int(held[axis][0]) : int(held[axis][-1]) + 1]
    return course + [start[k] for k in across], float(np.quantile(in_lungs, 0.1))


def trachea_runs_mm(parts: ChestParts, spine: np.ndarray) -> tuple[float, float]:
    """Length of the longest run of slices with a tube of air in front of the spine: lower half, upper half.

    Args:
        parts: axes left-right, back to front, and along the spine.
        spine: (Z, 2), its place in each slice.

    Returns:
        Millimetres in the half of the lungs' height with the lower indices and what lies beyond it, and in the other.
    """
    held = np.flatnonzero(parts.lungs.any(axis=(0, 1)))
    middle = int(held[0] + held[-1]) // 2
    sx, sy, sz = parts.spacing_mm
    pieces, _ = ndimage.label((parts.hu < _TRACHEA_HU) & parts.inside, structure=_IN_PLANE)
    areas_mm2 = np.bincount(pieces.ravel()) * sx * sy
    has_tube = np.zeros(parts.hu.shape[2], bool)
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        width_mm, depth_mm = (box[0].stop - box[0].start) * sx, (box[1].stop - box[1].start) * sy
        if not _TRACHEA_MM2[0] <= areas_mm2[number] <= _TRACHEA_MM2[1] or max(width_mm, depth_mm) > _TRACHEA_WIDEST_MM:
            continue
        k = box[2].start
        aside_mm = ((box[0].start + box[0].stop - 1) / 2 - spine[k, 0]) * sx
        before_mm = ((box[1].start + box[1].stop - 1) / 2 - spine[k, 1]) * sy
        has_tube[k] |= abs(aside_mm) < 30 and 8 < before_mm < 100
    return _longest_run(has_tube[:middle]) * sz, _longest_run(has_tube[middle:]) * sz


def _reached(mask: np.ndarray, axis: int) -> np.ndarray:
    """True from the first true voxel on along an axis."""
    return np.logical_or.accumulate(mask, axis=axis)


def _densest_course(bone: np.ndarray) -> np.ndarray:
    """(N, 2) positions in the slices of (N, A, B) whose sum is highest, each beside the one before."""
    sums = [bone[0]]
    for values in bone[1:]:
        sums.append(ndimage.maximum_filter(sums[-1], 3) + values)
    place = np.unravel_index(int(sums[-1].argmax()), sums[-1].shape)
    course = [place]
    for before in reversed(sums[:-1]):
        a, b = (max(int(p) - 1, 0) for p in place)
        near = before[a : int(place[0]) + 2, b : int(place[1]) + 2]
        best = np.unravel_index(int(near.argmax()), near.shape)
        place = (a + best[0], b + best[1])
        course.append(place)
    return np.array(course[::-1], dtype=int)


def _longest_run(flags: np.ndarray) -> int:
    longest = run = 0
    for flag in flags:
        run = run + 1 if flag else 0
        longest = max(longest, run)
    return longest
