"""One window seen from all its mirrored sides, and the mean of what the network says of them.

In: a network, a window, or data whose probabilities are to be looked at again. Out: foreground probability. Knows no
label.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.networks.utils import eval_mode
from monai.transforms import MapTransform

from lungseg3d.tensors import autocast_for, resolve_precision


class MirroredViews:
    """A network that sees every window in several mirror images.

    Args:
        network: gives logits (B, C, ...) of images (B, 1, ...), class 0 is background.
        flips: axes to mirror; all their combinations are views, so three axes give eight.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
    """

    def __init__(self, network: torch.nn.Module, flips: Sequence[int] = (0, 1, 2), precision: str = "auto") -> None:
        self.network, self.precision = network, precision
        self.views = [axes for r in range(len(flips) + 1) for axes in itertools.combinations(flips, r)]

    def mean(self, patch: torch.Tensor) -> np.ndarray:
        """Foreground probability of (1, x, y, z), the mean of all views, as float32 (x, y, z)."""
        return torch.from_numpy(self.each(patch)).mean(dim=0).numpy()

    def each(self, patch: torch.Tensor) -> np.ndarray:
        """Foreground probability of (1, x, y, z) in each view, turned back, as float32 (views, x, y, z)."""
        device = next(self.network.parameters()).device
        dims = [tuple(axis + 1 for axis in axes) for axes in self.views]
        views = torch.stack([patch.flip(axes) if axes else patch for axes in dims]).to(device)
        # MONAI post-processes after it has put the network back into training mode.
        with eval_mode(self.network), autocast_for(resolve_precision(self.precision, device), device):
            logits = self.network(views.contiguous(memory_format=torch.channels_last_3d))
        found = 1 - logits.float().softmax(dim=1)[:, :1]
        back = [view.flip(axes) if axes else view for view, axes in zip(found, dims, strict=True)]
        return torch.cat(back).cpu().numpy()


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
