"""What a network that finds nodules is taught: the middle of each, a rim that is not asked about, nothing elsewhere.

In: outlines, the readers' further marks. Out: a target map, and the places of published false alarms. Knows no network.
Where the middle ends and the surroundings begin is nobody's opinion, so a shell between them teaches nothing (as the
ignored samples of CPM-Net: Song et al. 2020, MICCAI, "CPM-Net: a 3D center-points matching network").
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform
from scipy import ndimage

from lungseg3d.core import Volume
from lungseg3d.data.marks import MarkedPlace, read_marks
from lungseg3d.tensors import to_meta_tensor, to_volume

UNASKED, CENTRE = 1, 2
"""Values of a target map: a voxel that teaches nothing, and one that belongs to the middle of a nodule."""

_UNSURE_KINDS = ("excluded_nodule", "small_nodule")
_NODULE_KIND = "luna_nodule"
_FALSE_KIND = "detector_false_positive"


@dataclass(frozen=True)
class CentreSizes:
    """How large the middle of a nodule is, and its rim.

    Attributes:
        share: of the nodule's radius that belongs to its middle. Of a large nodule a part of 24 mm shows little else
            than its inside, and only so far from its very middle lung that tells it from the chest wall.
        least_mm: radius of the middle at least.
        rim_mm: width of the rim around the nodule, and around what is only perhaps one, that is not asked about.
        point_mm: radius of what a reader marked by a point.
    """

    share: float = 0.5
    least_mm: float = 1.5
    rim_mm: float = 1.5
    point_mm: float = 3.0


class CentreTargetsd(MapTransform):
    """Outlines under `keys` -> a target map (1, X, Y, Z): 2 in the middle of a nodule, 1 not asked, 0 elsewhere.

    Run it on the file's own grid, before `ToWorkingGridd`.

    Args:
        keys: label map (1, X, Y, Z) on the file's grid; each connected piece is a nodule. The target takes its place.
        unsure_key: mask of what may be a nodule, too, such as other readers' outlines; cases without it have none.
        marks_key: path of a CSV for `lungseg3d.data.marks.read_marks`; cases without it have no marks.
        tempting_key: where the mask (1, X, Y, Z) of a published detector's false alarms goes, one voxel each.
        **sizes: fields of `CentreSizes`.
    """

    keyword_groups = (CentreSizes,)

    def __init__(
        self,
        keys: KeysCollection,
        unsure_key: str = "others",
        marks_key: str = "marks",
        tempting_key: str = "tempting",
        **sizes: Any,
    ) -> None:
        super().__init__(keys)
        self.unsure_key, self.marks_key, self.tempting_key = unsure_key, marks_key, tempting_key
        self.sizes = CentreSizes(**sizes)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        marks = read_marks(d[self.marks_key], d.get("case_id")) if self.marks_key in d else ()
        for key in self.key_iterator(d):
            outlines = to_volume(d[key])
            unsure = to_volume(d[self.unsure_key]).array > 0 if self.unsure_key in d else None
            d[key] = to_meta_tensor(outlines.with_array(self.target(outlines, unsure, marks)))
            tempting = _voxels(outlines, (m.voxel for m in marks if m.kind == _FALSE_KIND and m.is_apart))
            d[self.tempting_key] = to_meta_tensor(outlines.with_array(tempting))
        return d

    def target(self, outlines: Volume, unsure: np.ndarray | None, marks: Iterable[MarkedPlace]) -> np.ndarray:
        """The target map (X, Y, Z) uint8 of outlines (X, Y, Z), a mask of what is unsure, and marks."""
        spacing, sizes = np.array(outlines.spacing_mm), self.sizes
        asked = outlines.array > 0
        if unsure is not None:
            asked = asked | unsure
        target = np.zeros(outlines.shape, np.uint8)
        if asked.any():
            target[ndimage.distance_transform_edt(~asked, sampling=spacing) <= sizes.rim_mm] = UNASKED
        balls = [(m.voxel, max(m.diameter_mm / 2, sizes.point_mm)) for m in marks if m.kind in _UNSURE_KINDS]
        nodules = [*_nodules(outlines), *((m.voxel, m.diameter_mm / 2) for m in marks if m.kind == _NODULE_KIND)]
        for voxel, radius in [*balls, *nodules]:
            _paint(target, voxel, radius + sizes.rim_mm, spacing, UNASKED)
        for voxel, radius in nodules:
            middle = max(sizes.share * radius, sizes.least_mm)
            _paint(target, voxel, middle, spacing, CENTRE)
        return target


class WithoutCentresd(MapTransform):
    """The target of a CT in which no nodule is known, on its own grid: 0, and 1 where something may be one.

    Args:
        keys: the CT (1, X, Y, Z).
        output_key: where the target goes.
        unsure_key: mask of what may be a nodule; cases without it have none.
        marks_key: as in `CentreTargetsd`.
        rim_mm: width of the rim around what may be a nodule.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_key: str = "label",
        unsure_key: str = "ignore",
        marks_key: str = "marks",
        rim_mm: float = 3.0,
    ) -> None:
        super().__init__(keys)
        self.output_key, self.unsure_key, self.marks_key, self.rim_mm = output_key, unsure_key, marks_key, rim_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        marks = read_marks(d[self.marks_key], d.get("case_id")) if self.marks_key in d else ()
        for key in self.key_iterator(d):
            volume = to_volume(d[key])
            target = np.zeros(volume.shape, np.uint8)
            spacing = np.array(volume.spacing_mm)
            if self.unsure_key in d:
                unsure = to_volume(d[self.unsure_key]).array > 0
                away = ndimage.distance_transform_edt(~unsure, sampling=spacing)
                target[away <= self.rim_mm] = UNASKED if unsure.any() else 0
            for mark in marks:
                if mark.kind in (*_UNSURE_KINDS, _NODULE_KIND):
                    _paint(target, mark.voxel, mark.diameter_mm / 2 + self.rim_mm, spacing, UNASKED)
            d[self.output_key] = to_meta_tensor(volume.with_array(target))
        return d


def _nodules(outlines: Volume) -> list[tuple[tuple[float, float, float], float]]:
    """Middle in voxels and radius in mm, that of a ball of the same volume, of each connected piece."""
    pieces, count = ndimage.label(outlines.array > 0, structure=np.ones((3, 3, 3)))
    numbers = range(1, count + 1)
    middles = ndimage.center_of_mass(outlines.array > 0, pieces, numbers)
    volumes = ndimage.sum(outlines.array > 0, pieces, numbers) * np.prod(outlines.spacing_mm)
    return [(middle, float((0.75 * v / np.pi) ** (1 / 3))) for middle, v in zip(middles, volumes, strict=True)]


def _paint(
    target: np.ndarray, voxel: tuple[float, float, float], radius_mm: float, spacing: np.ndarray, value: int
) -> None:
    """Raise the voxels of a ball to a value; the voxel nearest to its middle always belongs to it."""
    centre, reach = np.array(voxel), np.ceil(radius_mm / spacing).astype(int) + 1
    start = np.clip(np.floor(centre).astype(int) - reach, 0, target.shape)
    stop = np.clip(np.ceil(centre).astype(int) + reach + 1, 0, target.shape)
    if (stop <= start).any():
        return
    grid = np.indices(stop - start) + start[:, None, None, None] - centre[:, None, None, None]
    away = ((grid * spacing[:, None, None, None]) ** 2).sum(axis=0)
    inside = (away <= radius_mm**2) | (away <= away.min())
    part = target[tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))]
    np.maximum(part, np.where(inside, value, 0), out=part, casting="unsafe")


def _voxels(like: Volume, places: Iterable[tuple[float, float, float]]) -> np.ndarray:
    """A mask (X, Y, Z) of the voxels nearest to these places that lie inside."""
    mask = np.zeros(like.shape, np.uint8)
    for place in places:
        voxel = np.rint(place).astype(int)
        if (voxel >= 0).all() and (voxel < like.shape).all():
            mask[tuple(voxel)] = 1
    return mask
