"""Where training cases come from besides files: phantoms by seed, and lungs by rules for CTs that have no label.

In: data list entries. Out: MetaTensors beside each other on one grid. Knows no network.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from scipy import ndimage

from lungseg3d.analysis import segment_lungs_by_rules
from lungseg3d.data import PhantomSpec, make_phantom
from lungseg3d.tensors import to_meta_tensor, to_volume


class MakePhantomd(Transform):
    """A phantom from its specification: {"phantom": fields} -> "image" HU, "lungs" (1, 2), "nodules" (0, 1).

    All are MetaTensors (1, X, Y, Z) on the phantom's grid. Lungs keep their value where a nodule lies in them.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in d.pop("phantom").items()}
        phantom = make_phantom(PhantomSpec(**fields))
        nodules = phantom.nodule_map.array > 0
        lungs = fill_from_nearest(phantom.labels.array, nodules)
        d["image"] = to_meta_tensor(phantom.ct)
        d["lungs"] = to_meta_tensor(phantom.ct.with_array(lungs))
        d["nodules"] = to_meta_tensor(phantom.ct.with_array(nodules.astype(np.uint8)))
        return d


def fill_from_nearest(labels: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Label map (X, Y, Z) whose voxels in `hole` take the value of the nearest voxel that is labelled and no hole."""
    source = (labels > 0) & ~hole
    filled: np.ndarray = labels.copy()
    if not hole.any() or not source.any():
        return filled
    pieces, _ = ndimage.label(hole)
    for box in ndimage.find_objects(pieces):
        grown = tuple(slice(max(0, s.start - 4), s.stop + 4) for s in box)
        if not source[grown].any():
            continue
        nearest = ndimage.distance_transform_edt(~source[grown], return_distances=False, return_indices=True)
        part = filled[grown]
        part[hole[grown]] = labels[grown][tuple(nearest)][hole[grown]]
    return filled


class LungsByRulesd(MapTransform):
    """Lungs by classical rules: the CT under `keys` -> "lungs" label map (1, X, Y, Z) uint8 on the CT's grid."""

    def __init__(self, keys: KeysCollection, output_key: str = "lungs") -> None:
        super().__init__(keys)
        self.output_key = output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[self.output_key] = to_meta_tensor(segment_lungs_by_rules(to_volume(d[key])))
        return d


class LungsBelowd(MapTransform):
    """Lungs as a label that nodules may lie on: right and left lung under `keys` (1, 2) become 2 and 3.

    For those who paint disease into lungs; `OnlyLabels` takes it away before a network sees it.
    """

    def __init__(self, keys: KeysCollection, output_key: str = "label") -> None:
        super().__init__(keys)
        self.output_key = output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            lungs = to_volume(d[key])
            d[self.output_key] = to_meta_tensor(lungs.with_array(np.where(lungs.array > 0, lungs.array + 1, 0)))
        return d


class EmptyLabeld(MapTransform):
    """A label map of background on the grid of the image under `keys`: a case in which nothing is marked."""

    def __init__(self, keys: KeysCollection, output_key: str = "label") -> None:
        super().__init__(keys)
        self.output_key = output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            volume = to_volume(d[key])
            d[self.output_key] = to_meta_tensor(volume.with_array(np.zeros(volume.shape, np.uint8)))
        return d
