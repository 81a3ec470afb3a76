"""One window seen from all its mirrored sides, and the mean of what the network says of them.

In: a network, a window. Out: foreground probability. Knows no place and no label.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from monai.networks.utils import eval_mode

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
        device = next(self.network.parameters()).device
        dims = [tuple(axis + 1 for axis in axes) for axes in self.views]
        views = torch.stack([patch.flip(axes) if axes else patch for axes in dims]).to(device)
        # MONAI post-processes after it has put the network back into training mode.
        with eval_mode(self.network), autocast_for(resolve_precision(self.precision, device), device):
            logits = self.network(views.contiguous(memory_format=torch.channels_last_3d))
        found = 1 - logits.float().softmax(dim=1)[:, :1]
        back = [view.flip(axes) if axes else view for view, axes in zip(found, dims, strict=True)]
        return torch.stack(back).mean(dim=0)[0].cpu().numpy()
