"""The CT's own grid -> the working grid of a network, as a MONAI transform.

In: MetaTensors on any grid. Out: MetaTensors on an orthogonal RAS grid of the asked spacing. Knows no network.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import ensure_tuple

from lungseg3d.core import Box, Volume
from lungseg3d.tensors import AIR_HU, orthogonalise, resample, to_meta_tensor, to_volume


class ToWorkingGridd(MapTransform):
    """Bring images and labels onto the network's working grid: RAS axes, right angles, `spacing_mm`.

    Args:
        keys: MetaTensors (1, X, Y, Z) on one grid.
        spacing_mm: wanted spacing; the true one is within half a voxel over the whole extent.
        label_keys: those of `keys` that hold labels or masks (nearest voxel).
        roi_key: a mask on the same grid; only its bounding box plus `margin_mm` is kept. None keeps all.
        margin_mm: border kept around the mask.
        source_key: where the first of `keys` stays as it was, on its own grid, without a copy; None keeps none.

    The images become float32 HU (1, X', Y', Z').
    """

    def __init__(
        self,
        keys: KeysCollection,
        spacing_mm: float,
        label_keys: KeysCollection = (),
        roi_key: str | None = None,
        margin_mm: float = 10.0,
        source_key: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.spacing_mm, self.roi_key, self.margin_mm = spacing_mm, roi_key, margin_mm
        self.label_keys = ensure_tuple(label_keys)
        self.source_key = source_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        if self.source_key is not None:
            d[self.source_key] = d[self.keys[0]]
        box = self._box(to_volume(d[self.roi_key])) if self.roi_key is not None and self.roi_key in d else None
        for key in self.key_iterator(d):
            labels = key in self.label_keys
            volume = to_volume(d[key])
            volume = volume if box is None else volume.crop(box)
            volume = orthogonalise(volume, order=0 if labels else 1, fill=0 if labels else AIR_HU).as_ras()
            d[key] = to_meta_tensor(resample(volume, self.spacing_mm, labels=labels), getattr(d[key], "meta", None))
        return d

    def _box(self, mask: Volume) -> Box:
        box = Box.around(mask.array)
        if box is None:
            return Box.whole(mask.shape)
        margin = [math.ceil(self.margin_mm / s) for s in mask.spacing_mm]
        return box.grown(margin, within=mask.shape)
