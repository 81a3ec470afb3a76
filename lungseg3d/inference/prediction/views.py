"""Windows seen from their mirrored sides, and the mean of what a network says of them.

In: a network, windows, or data whose probabilities are to be looked at again. Out: foreground probability. Knows no
label.
"""

from __future__ import annotations

import copy
import itertools
from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch.nn.functional import pad

from lungseg3d.core import Box
from lungseg3d.inference.prediction.predictors import predictor_of
from lungseg3d.inference.prediction.windows import foreground


class MirroredViews:
    """A network that sees every window in several mirror images.

    Args:
        network: gives logits (B, C, ...) of images (B, 1, ...), class 0 is background.
        flips: axes to mirror; all their combinations are views, so three axes give eight.
        precision, backend: how it is computed, see `lungseg3d.inference.prediction.predictors`.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        flips: Sequence[int] = (0, 1, 2),
        precision: str = "auto",
        backend: str = "torch",
    ) -> None:
        self.network, self.precision, self.backend = network, precision, backend
        axes = [axes for r in range(len(flips) + 1) for axes in itertools.combinations(flips, r)]
        self.views = [tuple(axis + 1 for axis in view) for view in axes]

    def __len__(self) -> int:
        return len(self.views)

    def in_fp32(self) -> MirroredViews:
        """The same views, computed in fp32."""
        precise = copy.copy(self)
        precise.precision = "fp32"
        precise.backend = "torch" if self.backend == "auto" else self.backend  # ready at once, for a few windows
        return precise

    def mean(self, patch: torch.Tensor) -> np.ndarray:
        """Foreground probability of (1, x, y, z), the mean of all views, as float32 (x, y, z)."""
        return torch.from_numpy(self.each(patch)).mean(dim=0).numpy()

    def each(self, patch: torch.Tensor) -> np.ndarray:
        """Foreground probability of (1, x, y, z) in each view, turned back, as float32 (views, x, y, z)."""
        found = self._probability(torch.stack([patch.flip(view) if view else patch for view in self.views]))
        back = [one.flip(view) if view else one for one, view in zip(found, self.views, strict=True)]
        return torch.cat(back).cpu().numpy()

    def seen(self, patches: Sequence[torch.Tensor], view: int, part: Box) -> list[np.ndarray]:
        """Foreground probability in a part of patches (1, x, y, z) of one size in one of `views`, each as float32."""
        dims = self.views[view]
        turned = part.mirrored([dim - 1 for dim in dims], patches[0].shape[1:])
        found = self._probability(torch.stack([patch.flip(dims) if dims else patch for patch in patches]), turned)
        found = found.flip([d + 1 for d in dims]) if dims else found
        return list(found[:, 0].cpu().numpy())

    def _probability(self, images: torch.Tensor, part: Box | None = None) -> torch.Tensor:
        """(B, 1, x, y, z) -> 1 - background, (B, 1, ...) of the part."""
        with torch.no_grad():
            found = foreground(predictor_of(self.network, self.backend, self.precision)(images, part))
        return found.sum(dim=1, keepdim=True) if found.shape[1] > 1 else found


def window_around(
    image: torch.Tensor, middle: Sequence[float] | np.ndarray, side: int
) -> tuple[torch.Tensor, list[int], tuple[slice, slice, slice]]:
    """The cube (1, side, side, side) of an image (1, X, Y, Z) around a place in voxels; outside, its border goes on.

    Returns:
        The cube, its first voxel in the image, and what of the cube lies inside the image.
    """
    corner = [round(m - (side - 1) / 2) for m in middle]
    x, y, z = (slice(max(0, -a), min(side, n - a)) for a, n in zip(corner, image.shape[1:], strict=True))
    return window_from(image, corner, side), corner, (x, y, z)


def window_from(image: torch.Tensor, corner: Sequence[int], side: int) -> torch.Tensor:
    """The cube (1, side, side, side) of an image (1, X, Y, Z) from a voxel on; outside, the image's border goes on."""
    part, ends = image, []
    for axis, (start, n) in enumerate(zip(corner, image.shape[1:], strict=True), start=1):
        # At least one voxel, of which a window beyond the image is made.
        first, last = min(max(start, 0), n - 1), max(min(start + side, n), 1)
        part = part.narrow(axis, first, max(last - first, 1))
        before = min(max(0, -start), side - 1)
        ends.append((before, side - before - part.shape[axis]))
    padding = [n for pair in reversed(ends) for n in pair]
    return pad(part[None], padding, mode="replicate")[0] if any(padding) else part


class LookAgaind(MapTransform):
    """Probabilities (1, X, Y, Z) under `keys` become others, made of them and of the image; affine and meta stay.

    Args:
        keys: probabilities on the working grid.
        image_key: the network's input (1, X, Y, Z) in [0, 1].
    """

    def __init__(self, keys: KeysCollection, image_key: str = "image") -> None:
        super().__init__(keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        image = torch.as_tensor(d[self.image_key]).as_subclass(torch.Tensor)
        for key in self.key_iterator(d):
            first = torch.as_tensor(d[key]).as_subclass(torch.Tensor)
            second = torch.from_numpy(self.looked(image, first[0].cpu().numpy()))[None]
            d[key] = MetaTensor(second).copy_meta_from(d[key]) if isinstance(d[key], MetaTensor) else second
        return d

    @abstractmethod
    def looked(self, image: torch.Tensor, first: np.ndarray) -> np.ndarray:
        """Image (1, X, Y, Z) and first probabilities (X, Y, Z) -> the other ones (X, Y, Z)."""
