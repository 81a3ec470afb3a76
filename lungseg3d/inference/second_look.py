"""Each candidate looked at again, in the middle of a window of its own and in all its mirror images.

In: image, first probabilities, network. Out: probabilities that hold the candidates only, averaged over the views.
A true nodule looks like one from every side; much that only resembles one in passing does not. Cost follows candidates.
Knows no file and no label.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from scipy import ndimage

from lungseg3d.core import Box
from lungseg3d.inference.views import LookAgaind, MirroredViews

_BORDER_VOXELS = 3  # how far the second look may move a candidate's border outwards


class SecondLookd(LookAgaind):
    """Replace first-look probabilities by the mean over mirrored, centred views of each candidate.

    Args:
        keys: probabilities (1, X, Y, Z) on the working grid.
        network: gives logits (B, 2, ...) of images (B, 1, ...).
        image_key: the network's input (1, X, Y, Z) in [0, 1].
        roi_size: side of the window in voxels; larger for candidates that nearly fill it.
        flips: axes to mirror; all their combinations are views, so three axes give eight.
        threshold: first-look probability that makes a candidate.
        peak: candidates whose first look never reaches this are dropped unseen.
        least_voxels: smaller ones too.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        network: torch.nn.Module,
        image_key: str = "image",
        roi_size: int = 48,
        flips: Sequence[int] = (0, 1, 2),
        threshold: float = 0.5,
        peak: float = 0.8,
        least_voxels: int = 5,
        precision: str = "auto",
    ) -> None:
        super().__init__(keys, image_key)
        self.views = MirroredViews(network, flips, precision)
        self.roi_size = roi_size
        self.threshold, self.peak, self.least_voxels = threshold, peak, least_voxels

    def looked(self, image: torch.Tensor, first: np.ndarray) -> np.ndarray:
        """(X, Y, Z) probabilities, 0 away from the candidates."""
        second = np.zeros_like(first)
        pieces, _ = ndimage.label(first > self.threshold)
        for number, place in enumerate(ndimage.find_objects(pieces), start=1):
            piece = pieces[place] == number
            if piece.sum() < self.least_voxels or first[place][piece].max() < self.peak:
                continue
            box = Box(tuple(s.start for s in place), tuple(s.stop for s in place))
            window = self._window(box, first.shape)
            x, y, z = window.slices
            probability = self.views.mean(image[:, x, y, z])
            reach = box.grown(_BORDER_VOXELS, within=first.shape)
            near = ndimage.binary_dilation(pieces[reach.slices] == number, iterations=_BORDER_VOXELS)
            inside = Box(
                tuple(a - w for a, w in zip(reach.start, window.start, strict=True)),  # type: ignore[arg-type]
                tuple(b - w for b, w in zip(reach.stop, window.start, strict=True)),  # type: ignore[arg-type]
            )
            part = second[reach.slices]
            part[near] = np.maximum(part, probability[inside.slices])[near]
        return second

    def _window(self, box: Box, shape: tuple[int, ...]) -> Box:
        """A window around the candidate's middle, moved to lie in the image, never smaller than the candidate."""
        start, stop = [], []
        for a, b, n in zip(box.start, box.stop, shape, strict=True):
            side = min(n, max(self.roi_size, b - a + self.roi_size // 3))
            begin = min(max(0, (a + b - side) // 2), n - side)
            start.append(begin)
            stop.append(begin + side)
        return Box(tuple(start), tuple(stop))  # type: ignore[arg-type]
