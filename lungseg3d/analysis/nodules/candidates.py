"""Nodule probability on a working grid -> nodules as a label map on the CT's own grid.

In: a float32 probability Volume on any grid, the grid to answer on, lungs if known. Out: `NoduleMap`.
Knows no network. Only boxes around candidates are resampled, never a whole volume, so the cost follows the
candidates; affines are used as they are, so the two grids may be flipped, permuted, oblique or sheared.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from lungseg3d.analysis.pieces import Piece, pieces_of
from lungseg3d.core import Box, Grid, Volume

_MOST_NODULES = int(np.iinfo(np.uint16).max)
_NEAR_VOXELS = 2


@dataclass(frozen=True)
class CandidateRule:
    """What counts as a nodule.

    Attributes:
        threshold: probability at a nodule's border.
        peak: least probability that a nodule must reach somewhere; at or below `threshold` it rules nothing out.
        min_volume_mm3: smaller nodules are dropped; the default is a sphere of 3 mm (below 3 mm the LIDC readers
            drew no outlines; Armato et al. 2011).
        lung_margin_mm: how far a nodule may reach over the border of the lungs; more than half of it must lie inside.
        fill_holes: fill cavities that do not reach the nodule's surface.
        vessel_elongation: largest ratio of the first to the second principal axis of a small nodule. Of 107 LIDC
            nodules none exceeds 2.3; a piece of vessel three times as long as wide has 3.5.
        vessel_volume_mm3: the elongation is asked of nodules up to this volume.
    """

    threshold: float = 0.5
    peak: float = 0.5
    min_volume_mm3: float = 14.0
    lung_margin_mm: float = 3.0
    fill_holes: bool = True
    vessel_elongation: float = 3.0
    vessel_volume_mm3: float = 500.0


@dataclass(frozen=True)
class NoduleMap:
    """Nodules found.

    Attributes:
        labels: uint16 on the target grid, 0 = none, 1 = the largest nodule, 2 = the next ...
        confidence: of each nodule, by id: `confidence[0]` is nodule 1's; see `find_nodules`.
        boxes: of each nodule, holding it; empty where nobody noted them.
    """

    labels: Volume
    confidence: tuple[float, ...]
    boxes: tuple[Box, ...] = ()

    def of_confidence(self, least: float) -> NoduleMap:
        """Only the nodules of at least this confidence, in their order, with new values from 1 on."""
        kept = [number for number, sure in enumerate(self.confidence, start=1) if sure >= least]
        if len(kept) == len(self.confidence):
            return self
        values = np.zeros(len(self.confidence) + 1, self.labels.array.dtype)
        values[kept] = np.arange(1, len(kept) + 1)
        labels = self.labels.with_array(values[self.labels.array])
        return NoduleMap(labels, tuple(self.confidence[number - 1] for number in kept))


@dataclass(frozen=True)
class _Candidate:
    """A nodule's mask in a box of the target grid."""

    box: Box
    mask: np.ndarray
    confidence: float

    @property
    def voxels(self) -> int:
        return int(self.mask.sum())


def find_nodules(
    probability: Volume,
    target: Grid,
    *,
    lungs: Volume | None = None,
    confidence: Volume | None = None,
    rule: CandidateRule | None = None,
) -> NoduleMap:
    """Connected regions of high probability as nodules on `target`, the largest first.

    Args:
        probability: float, 0 to 1, on the working grid.
        target: the grid of the result, the CT's own.
        lungs: mask or label map on any grid, zero outside the lungs; None lets a nodule lie anywhere.
        confidence: on the working grid; a nodule's is the largest within it and 2 voxels around. Where that is 0, and
            with None, it is the mean probability inside the nodule on the working grid.
        rule: what counts as a nodule; None means `CandidateRule()`.

    Returns:
        Labels on `target`, and the confidence of each nodule. A nodule that falls between the thick slices of
        `target` keeps the one voxel nearest to its peak, and the smallest volume then decides on that voxel.
    """
    rule = rule or CandidateRule()
    voxel_mm3 = target.voxel_volume_mm3
    found = []
    for piece in pieces_of(probability.array >= rule.threshold, any_neighbour=True):
        box = piece.box.grown(_NEAR_VOXELS, probability.shape)
        candidate = _on_target(probability, piece, box, target, rule)
        if candidate is None or candidate.voxels * voxel_mm3 < rule.min_volume_mm3:
            continue
        # On the working grid, because one voxel of a thick slice is long by itself.
        elongation = _elongation(np.argwhere(piece.voxels), probability.affine)
        if candidate.voxels * voxel_mm3 <= rule.vessel_volume_mm3 and elongation > rule.vessel_elongation:
            continue
        if lungs is not None and _share_in_lungs(candidate, target, lungs, rule.lung_margin_mm) <= 0.5:
            continue
        if confidence is not None:
            near = ndimage.binary_dilation(piece.within(box), iterations=_NEAR_VOXELS)
            if judged := float(confidence.array[box.slices][near].max()):
                candidate = replace(candidate, confidence=judged)
        found.append(candidate)
    found = sorted(found, key=lambda c: -c.voxels)[:_MOST_NODULES]
    labels = np.zeros(target.shape, np.uint16, order="F")  # slices one behind the other, as in CTs and NIfTI
    for number, candidate in enumerate(found, start=1):
        labels[candidate.box.slices][candidate.mask] = number
    boxes = tuple(candidate.box for candidate in found)
    return NoduleMap(Volume(labels, target.affine), tuple(c.confidence for c in found), boxes)


def mask_on(outline: Volume, target: Grid) -> tuple[Box, np.ndarray] | None:
    """One outline as a mask on another grid, whatever its size and shape; cavities are filled.

    Args:
        outline: probabilities on a working grid, 0.5 at the border of the largest piece, which is taken.
        target: the grid of the mask.

    Returns:
        A box of `target` and the mask in it; None where nothing is outlined, or it lies beyond the target.
    """
    pieces = pieces_of(outline.array >= 0.5, any_neighbour=True)
    if not pieces:
        return None
    largest = max(pieces, key=lambda piece: int(piece.voxels.sum()))
    candidate = _on_target(outline, largest, Box.whole(outline.shape), target, CandidateRule())
    return None if candidate is None else (candidate.box, candidate.mask)


def _on_target(probability: Volume, piece: Piece, box: Box, target: Grid, rule: CandidateRule) -> _Candidate | None:
    """One component of the working grid as a mask on the target grid; None where it is too weak or out of view."""
    part = probability.crop(box)
    values = part.array.astype(np.float32)
    values[(part.array >= rule.threshold) & ~piece.within(box)] = 0  # other pieces
    if values.max() < rule.peak:
        return None
    target_box = _covered(part.grid, target)
    if target_box is None:
        return None
    # A border voxel of the working grid ends half a voxel further out: grid-constant fades to 0 over one voxel.
    fine = _resampled(values, part.grid, target.cropped(target_box), order=1, mode="grid-constant")
    mask = fine >= rule.threshold
    if not mask.any():
        mask = _nearest_to_peak(values, part.grid, target, target_box)
        if not mask.any():
            return None
    if rule.fill_holes:
        mask = ndimage.binary_fill_holes(mask)
    # As the network said it: on thick slices what is interpolated is less sure the smaller the nodule is.
    return _Candidate(target_box, mask, float(values[values >= rule.threshold].mean()))


def _covered(part: Grid, target: Grid) -> Box | None:
    """The voxels of `target` whose centres may lie in `part`, or None when there are none."""
    corners = np.array(list(itertools.product(*[(-1, n) for n in part.shape])), dtype=float)
    voxels = target.to_voxel(part.to_world(corners))
    start = np.maximum(np.floor(voxels.min(axis=0)).astype(int), 0)
    stop = np.minimum(np.ceil(voxels.max(axis=0)).astype(int) + 1, target.shape)
    return Box(tuple(start.tolist()), tuple(stop.tolist())) if (stop > start).all() else None


def _resampled(array: np.ndarray, source: Grid, wanted: Grid, *, order: int, mode: str) -> np.ndarray:
    """`array` on the grid `source` at the voxel centres of `wanted`; zero outside."""
    matrix = np.linalg.inv(source.affine) @ wanted.affine
    resampled: np.ndarray = ndimage.affine_transform(
        array, matrix[:3, :3], matrix[:3, 3], output_shape=wanted.shape, order=order, mode=mode, cval=0.0
    )
    return resampled


def _nearest_to_peak(values: np.ndarray, part: Grid, target: Grid, target_box: Box) -> np.ndarray:
    """The one voxel of the target box nearest to the peak; all false when the peak lies off the target grid."""
    peak = np.array(np.unravel_index(int(values.argmax()), values.shape))
    voxel = np.rint(target.to_voxel(part.to_world(peak))).astype(int)
    mask = np.zeros(target_box.shape, bool)
    if (voxel >= target_box.start).all() and (voxel < target_box.stop).all():
        mask[tuple(voxel - np.array(target_box.start))] = True
    return mask


def _elongation(voxels: np.ndarray, affine: np.ndarray) -> float:
    """Ratio of the first to the second principal axis of voxels (N, 3), each counted as a filled block."""
    axes_mm = affine[:3, :3]
    spread = np.cov(voxels.T.astype(float), bias=True) if len(voxels) > 1 else np.zeros((3, 3))
    variances = np.linalg.eigvalsh(axes_mm @ (spread + np.eye(3) / 12) @ axes_mm.T)
    return float(np.sqrt(variances[2] / variances[1]))


def _share_in_lungs(candidate: _Candidate, target: Grid, lungs: Volume, margin_mm: float) -> float:
    """Share of the candidate's voxels within `margin_mm` of a lung."""
    part = target.cropped(candidate.box)
    lung_box = _covered(part, lungs.grid)
    if lung_box is None:
        return 0.0
    reach = [int(np.ceil(margin_mm / s)) + 1 for s in lungs.spacing_mm]
    local = lungs.crop(lung_box.grown(reach, lungs.shape))
    is_lung = local.array > 0
    if not is_lung.any():
        return 0.0
    near = ndimage.distance_transform_edt(~is_lung, sampling=local.spacing_mm) <= margin_mm
    inside = _resampled(near.astype(np.uint8), local.grid, part, order=0, mode="grid-constant")
    return float(inside[candidate.mask].mean())
