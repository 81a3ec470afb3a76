"""Patches side by side in one larger patch, and apart again.

In and out: tensors. Knows no case.
"""

from __future__ import annotations

import torch


def join_parts(parts: torch.Tensor, side: int) -> torch.Tensor:
    """(B S^3, C, P, P, P) -> (B, C, S P, S P, S P); the last axis runs fastest."""
    count, c, x, y, z = parts.shape
    mosaics = parts.reshape(count // side**3, side, side, side, c, x, y, z).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return mosaics.reshape(count // side**3, c, side * x, side * y, side * z)


def split_into_parts(mosaics: torch.Tensor, side: int) -> torch.Tensor:
    """(B, C, S P, S P, S P) -> (B S^3, C, P, P, P): the inverse of `join_parts`."""
    b, c, x, y, z = mosaics.shape
    parts = mosaics.reshape(b, c, side, x // side, side, y // side, side, z // side).permute(0, 2, 4, 6, 1, 3, 5, 7)
    return parts.reshape(b * side**3, c, x // side, y // side, z // side)
