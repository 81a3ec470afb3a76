"""Outlines of places that a person named -> nodules as a label map on the CT's own grid.

In: for each place the network's probabilities around it. Out: `NoduleMap`, and which nodule each place became.
What a person named is a nodule whatever its size, shape or probability: the rules of a search do not apply, and
outlines of neighbours that touch stay apart. Knows no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from lungseg3d.analysis.nodules.candidates import NoduleMap, mask_on
from lungseg3d.core import Box, Grid, Place, QualityIssue, Volume

"""What named places may give. `E_` refuses, `W_` is noted in the record."""
REACH_MM = 3.0
"""An outline that comes no nearer to a place than this is that of something else."""
_SAME = 0.5
"""Two outlines that share more than this of the smaller one are one nodule."""
_Mask = tuple[Box, np.ndarray]


def map_places(outlines: Sequence[Volume], places: Sequence[Place], target: Grid) -> tuple[NoduleMap, list[Place]]:
    """The outlines of named places as nodules, the largest first, without a confidence.

    Args:
        outlines: of each place, probabilities of one connected piece on a working grid, 0.5 at its border; all 0 where
            nothing was outlined.
        places: what was named.
        target: grid of the result, the CT's own.

    Returns:
        Labels on `target`, and the places with the number of their nodule. A place in the outline of one that was named
        earlier, or whose outline is mostly the same, has the same nodule; of two others a voxel belongs to the earlier.
    """
    masks: list[_Mask] = []
    chosen: list[int | None] = []
    for outline, place in zip(outlines, places, strict=True):
        number = next((i for i, mask in enumerate(masks) if _holds(mask, place)), None)
        new = mask_on(outline, target) if number is None and _is_near(outline, place) else None
        if new is not None:
            number = next((i for i, mask in enumerate(masks) if _shared(mask, new) > _SAME), None)
            if number is None:
                number = len(masks)
                masks.append(_without(new, masks))
        chosen.append(number)
    order = sorted(range(len(masks)), key=lambda i: -int(masks[i][1].sum()))
    labels = np.zeros(target.shape, np.uint16, order="F")
    for value, i in enumerate(order, start=1):
        box, mask = masks[i]
        labels[box.slices][mask] = value
    numbers = [None if i is None else order.index(i) + 1 for i in chosen]
    found = NoduleMap(Volume(labels, target.affine), (), tuple(masks[i][0] for i in order))
    return found, [replace(place, nodule=number) for place, number in zip(places, numbers, strict=True)]


def place_issues(places: Sequence[Place]) -> list[QualityIssue]:
    """W_NOT_SEARCHED where places were named, and W_EMPTY_PLACE for those where nothing was outlined."""
    if not places:
        return []
    names = "; ".join(place.name for place in places)
    text = (
        f"Only what lies at the places that were named ({names}) was outlined; nodules elsewhere were not looked for."
    )
    issues = [QualityIssue("W_NOT_SEARCHED", text, "Segment the CT once more without a named place to search it.")]
    empty = [place.name for place in places if place.nodule is None]
    if empty:
        text = f"At {'; '.join(empty)} the network outlines nothing within {REACH_MM:g} mm."
        remedy = "Look whether a nodule lies there: voxels are counted from 0 along the axes of labels.nii.gz."
        issues.append(QualityIssue("W_EMPTY_PLACE", text, remedy))
    return issues


def _is_near(outline: Volume, place: Place) -> bool:
    """Whether a place lies in what is outlined, in a hole of it, or no farther from it than `REACH_MM`."""
    voxels = np.argwhere(ndimage.binary_fill_holes(outline.array >= 0.5))
    if not len(voxels):
        return False
    away_mm = np.linalg.norm(outline.grid.to_world(voxels) - np.array(place.ras_mm), axis=1)
    return bool(away_mm.min() <= REACH_MM)


def _holds(mask: _Mask, place: Place) -> bool:
    box, voxels = mask
    inner = np.rint(place.voxel).astype(int) - box.start
    return bool((inner >= 0).all() and (inner < box.shape).all() and voxels[tuple(inner)])


def _shared(one: _Mask, other: _Mask) -> float:
    """What two masks have in common, as a share of the smaller one."""
    both = one[0].joined(other[0])
    common = int((_placed(one, both) & _placed(other, both)).sum())
    return common / min(int(one[1].sum()), int(other[1].sum()))


def _without(mask: _Mask, others: Sequence[_Mask]) -> _Mask:
    box, left = mask[0], mask[1].copy()
    for other in others:
        both = box.joined(other[0])
        left &= ~_placed(other, both)[box.seen_from(both).slices]
    return box, left


def _placed(mask: _Mask, around: Box) -> np.ndarray:
    placed = np.zeros(around.shape, bool)
    placed[mask[0].seen_from(around).slices] = mask[1]
    return placed
