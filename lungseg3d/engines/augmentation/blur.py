"""Gaussian blur of a batch, each patch by its own width.

In: tensors (B, C, X, Y, Z). Out: the same shape. Knows no HU.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import pad

_NO_BLUR = 0.05


def gaussian_blur(image: torch.Tensor, sigma: torch.Tensor | np.ndarray | Sequence[float]) -> torch.Tensor:
    """Gaussian blur of (B, C, X, Y, Z) that goes on beyond the border as the last voxels.

    Args:
        image: floating point.
        sigma: SD in voxels along X, Y, Z: (3,) for all, or (B, 3). Below 0.05 an axis stays as it is.
    """
    widths = torch.as_tensor(np.asarray(sigma), dtype=torch.float32).reshape(-1, 3)
    for axis in range(3):
        along = widths[:, axis]
        if float(along.max()) < _NO_BLUR:
            continue
        radius = max(1, int(np.ceil(2.5 * float(along.max()))))
        x = torch.arange(-radius, radius + 1, dtype=torch.float32)
        # A width of almost nothing gives a kernel of one voxel.
        kernels = torch.exp(-0.5 * (x / along.clamp(min=1e-3)[:, None]) ** 2)
        kernels = torch.where(along[:, None] < _NO_BLUR, (x == 0).float(), kernels)
        kernels = (kernels / kernels.sum(dim=1, keepdim=True)).to(image.device, image.dtype)
        padding = [0] * 6
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = radius
        padded = pad(image, padding, mode="replicate")
        length = image.shape[2 + axis]
        # A sum of shifted copies: one pass for the whole batch, though every patch has its own kernel.
        image = sum(
            padded.narrow(2 + axis, shift, length) * kernels[:, shift].reshape(-1, 1, 1, 1, 1)
            for shift in range(2 * radius + 1)
        )  # type: ignore[assignment]
    return image
