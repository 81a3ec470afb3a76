"""Lung probabilities on the coarse grid -> lung label map on the CT's own grid; and stage 1 as one transform.

In: probabilities of right and left lung. Out: uint8 label maps. Knows labels, and no file.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from scipy import ndimage

from lungseg3d.analysis.morphology import filled
from lungseg3d.core import Box, Volume
from lungseg3d.core.labels import LEFT_LUNG, RIGHT_LUNG
from lungseg3d.inference.bundle import open_bundle
from lungseg3d.tensors import sample_on, to_meta_tensor, to_volume


def clean_lungs(labels: np.ndarray, *, smallest_share: float = 0.05) -> np.ndarray:
    """Keep of each lung its largest piece and those of at least `smallest_share` of it; fill holes.

    Args:
        labels: uint8 (X, Y, Z), 1 right, 2 left.
    """
    clean = np.zeros_like(labels)
    for value in (RIGHT_LUNG.value, LEFT_LUNG.value):
        pieces, count = ndimage.label(labels == value)
        if count == 0:
            continue
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        kept = filled((sizes >= smallest_share * sizes.max())[pieces])
        clean[kept & (clean == 0)] = value
    return clean


def lungs_on(
    probabilities: np.ndarray, working: Volume, target: Volume, *, least_ml: float = 0.0, threshold: float = 0.5
) -> Volume:
    """Bring right and left lung from the working grid onto the target's own grid, borders interpolated.

    Args:
        probabilities: (2, X', Y', Z') of right and left lung.
        working: any volume on the grid of `probabilities`.
        target: any volume on the CT's own grid.
        least_ml: where both lungs together have less, they are taken for bowel or stray air, and nothing is labelled.
        threshold: probability of both lungs together at their border.

    Returns:
        uint8 label map on the target's grid, 1 right, 2 left.
    """
    lungs = _lungs_on(probabilities, working, target, threshold)
    found_ml = float(np.count_nonzero(lungs.array)) * target.voxel_volume_mm3 / 1000
    return lungs if found_ml >= least_ml else lungs.with_array(np.zeros_like(lungs.array))


def _lungs_on(probabilities: np.ndarray, working: Volume, target: Volume, threshold: float) -> Volume:
    coarse = clean_lungs(_argmax(probabilities, threshold))
    near = ndimage.binary_dilation(coarse > 0, iterations=2)
    # Stray pieces lose their probability before it is interpolated; the side is decided once, on the coarse grid.
    lung = np.where(near, probabilities.sum(axis=0), 0).astype(np.float32)
    lung[coarse > 0] = np.maximum(lung[coarse > 0], threshold + 0.001)
    right = ndimage.uniform_filter((coarse == RIGHT_LUNG.value).astype(np.float32), 3)
    left = ndimage.uniform_filter((coarse == LEFT_LUNG.value).astype(np.float32), 3)
    side = np.where(right >= left, RIGHT_LUNG.value, LEFT_LUNG.value).astype(np.uint8)
    if target.grid.is_orthogonal:
        return target.from_ras(_upsampled(lung, side, target.as_ras(), threshold))
    inside = sample_on(Volume(lung, working.affine), target.grid, fill=0).array >= threshold
    sides = sample_on(Volume(side, working.affine), target.grid, order=0, fill=0).array
    return Volume(np.where(inside, sides, 0).astype(np.uint8), target.affine)


def _argmax(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """(2, X, Y, Z) probabilities -> uint8 labels; background where both lungs together stay below the threshold."""
    side = np.where(probabilities[0] >= probabilities[1], RIGHT_LUNG.value, LEFT_LUNG.value)
    return np.where(probabilities.sum(axis=0) >= threshold, side, 0).astype(np.uint8)


def _upsampled(lung: np.ndarray, side: np.ndarray, ras: Volume, threshold: float) -> Volume:
    """Linear interpolation to the extent's own number of voxels, slice by slice, within the lungs' box only."""
    labels = np.zeros(ras.shape, dtype=np.uint8, order="F")
    box = Box.around(lung > 0)
    if box is None:
        return Volume(labels, ras.affine)
    ratio = np.array(ras.shape) / np.array(lung.shape)
    # The fine voxels that the coarse box and one coarse voxel around it can reach.
    start = np.maximum(np.floor((np.array(box.start) - 1) * ratio).astype(int), 0)
    stop = np.minimum(np.ceil((np.array(box.stop) + 1) * ratio).astype(int), ras.shape)
    x, y, z = (_Axis.of(np.arange(a, b), r, n) for a, b, r, n in zip(start, stop, ratio, lung.shape, strict=True))
    # Each coarse slice is made fine within its plane once, in the order in which the label map lies in memory.
    in_plane = {k: y.weights @ (lung[:, :, k].T @ x.weights.T) for k in range(z.below[0], z.above[-1] + 1)}
    sides = {k: side[:, :, k].T[np.ix_(y.nearest, x.nearest)] for k in range(z.nearest[0], z.nearest[-1] + 1)}
    for i in range(len(z.below)):
        between = (1 - z.part[i]) * in_plane[z.below[i]] + z.part[i] * in_plane[z.above[i]]
        found = sides[z.nearest[i]] * (between >= threshold)
        labels[start[0] : stop[0], start[1] : stop[1], start[2] + i] = found.T
    return Volume(labels, ras.affine)


@dataclass(frozen=True)
class _Axis:
    """Where fine voxels of one axis lie between coarse ones: `part` of the way from `below` to `above`."""

    below: np.ndarray
    above: np.ndarray
    part: np.ndarray
    nearest: np.ndarray
    weights: np.ndarray

    @staticmethod
    def of(fine: np.ndarray, ratio: float, coarse_size: int) -> _Axis:
        place = (fine + 0.5) / ratio - 0.5
        below = np.clip(np.floor(place).astype(int), 0, coarse_size - 1)
        above = np.minimum(below + 1, coarse_size - 1)
        part = np.clip(place - below, 0, 1).astype(np.float32)
        nearest = np.minimum(((fine + 0.5) / ratio).astype(int), coarse_size - 1)
        weights = np.zeros((len(fine), coarse_size), np.float32)
        weights[np.arange(len(fine)), below] += 1 - part
        weights[np.arange(len(fine)), above] += part
        return _Axis(below, above, part, nearest, weights)


class LungsOnSourced(MapTransform):
    """`lungs_on` as a transform: probabilities -> label map (1, X, Y, Z) uint8 on the grid of `source_key`.

    Args:
        keys: probabilities (2, X', Y', Z') on the working grid.
        source_key: the CT on its own grid.
        output_key: where the label map goes.
        least_ml: less lung than this is none.
        threshold: probability of both lungs together at their border.
    """

    def __init__(
        self,
        keys: KeysCollection,
        source_key: str = "ct",
        output_key: str = "lungs",
        least_ml: float = 0.0,
        threshold: float = 0.5,
    ) -> None:
        super().__init__(keys)
        self.source_key, self.output_key = source_key, output_key
        self.least_ml, self.threshold = least_ml, threshold

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            probabilities = torch.as_tensor(d[key]).as_subclass(torch.Tensor).float().cpu().numpy()
            source = to_volume(d[self.source_key])
            working = to_volume(d[key])
            labels = lungs_on(probabilities, working, source, least_ml=self.least_ml, threshold=self.threshold)
            d[self.output_key] = to_meta_tensor(labels, getattr(d[self.source_key], "meta", None))
        return d


class SegmentLungsd(MapTransform):
    """Stage 1 as a transform: the CT under `keys` -> "lungs" label map and "roi", on the CT's own grid.

    The region of interest is above 0 where to look.

    Args:
        keys: a CT (1, X, Y, Z) in HU, read by `ReadCTd`.
        bundle_root: the lung bundle.
        roi: `lungs` runs the bundle; `full` takes the whole volume as ROI and finds no lungs.
        device, precision, backend: given to the lung bundle.
    """

    def __init__(
        self,
        keys: KeysCollection,
        bundle_root: str,
        roi: str = "lungs",
        device: Any = "cpu",
        precision: str = "auto",
        backend: str = "auto",
    ) -> None:
        super().__init__(keys)
        if roi not in ("lungs", "full"):
            raise ValueError(f"roi is {roi!r}, expected 'lungs' or 'full'")
        # Its first step reads the CT, which is done already.
        how = {"device": torch.device(device), "precision": precision, "backend": backend}
        self.bundle = open_bundle(Path(bundle_root), skip=1, **how) if roi == "lungs" else None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            image = d[key]
            if self.bundle is None:
                volume = to_volume(image)
                d["lungs"] = to_meta_tensor(volume.with_array(np.zeros(volume.shape, np.uint8)))
                d["roi"] = to_meta_tensor(volume.with_array(np.ones(volume.shape, np.uint8)))
                continue
            stage = self.bundle.postprocessing(self.bundle.infer(self.bundle.preprocessing({"image": image})))
            d["lungs"] = stage["lungs"]
            d["roi"] = stage["lungs"]  # whatever is above 0 is looked at, so no second map of the CT's size is made
        return d
