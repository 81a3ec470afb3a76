"""`SwinHybrid3d`: convolutions where the grid is fine, attention where it is coarse.

In: image (B, 1, X, Y, Z) in [0, 1]. Out: logits (B, C, X, Y, Z). Knows no label.

Swin UNETR attends at half resolution and convolves at full resolution; both cost most where they add least. Here
2 x 2 x 2 voxels go in and out as channels, edges and textures are found by convolutions at 1/2 and 1/4, and only at 1/8
and below, where few tokens see far, windows attend. The decoder adds skips and has one block a level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lungseg3d.networks.blocks.residual import ResidualBlock
from lungseg3d.networks.blocks.windows import WindowBlock
from lungseg3d.networks.halved_unet import Addition, HalvedUNet3d, Level


class WindowLevel(nn.Module):
    """One level of shifted-window attention, behind the convolution that halves the grid.

    Args:
        below, width: channels before and after.
        stride: of the convolution.
        depth: blocks; every other one has shifted windows.
        heads, window: as in WindowAttention.
    """

    def __init__(self, below: int, width: int, stride: int, depth: int, heads: int, window: int) -> None:
        super().__init__()
        self.merge = nn.Sequential(
            nn.Conv3d(below, width, 3, stride=stride, padding=1, bias=False), nn.BatchNorm3d(width)
        )
        self.blocks = nn.Sequential(
            *(WindowBlock(width, heads, window, shift=window // 2 if i % 2 else 0) for i in range(depth))
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, below, x, y, z) -> (B, width, x / stride, y / stride, z / stride)."""
        grid = self.merge(features).permute(0, 2, 3, 4, 1)
        levels: torch.Tensor = self.norm(self.blocks(grid)).permute(0, 4, 1, 2, 3)
        return levels


class SwinHybrid3d(HalvedUNet3d):
    """A light U-Net of convolutions whose deepest levels are shifted-window attention.

    Args:
        in_channels: channels of the image.
        out_channels: C, classes with background.
        channels: features at 1/2, 1/4, ... of the resolution.
        heads, depths: of the attention levels, the last ones of `channels`; each level's channels divide by its heads.
        window: side of the windows in tokens; 4 tokens at 1/8 are 32 voxels.

    Source: Liu et al. 2021 (Swin), arXiv:2103.14030; Hatamizadeh et al. 2022 (Swin UNETR), arXiv:2201.01266; early
    convolutions as in Xiao et al. 2021, arXiv:2106.14881.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        channels: Sequence[int] = (32, 64, 128, 256),
        heads: Sequence[int] = (4, 8),
        depths: Sequence[int] = (2, 2),
        window: int = 4,
    ) -> None:
        if len(heads) != len(depths) or len(heads) >= len(channels):
            raise ValueError(
                f"{len(heads)} heads and {len(depths)} depths for {len(channels)} levels; "
                "give one of each for every attention level, and leave a level for convolutions"
            )

        def attention(head_count: int, depth: int) -> Level:
            return lambda below, width, stride: WindowLevel(below, width, stride, depth, head_count, window)

        shallow: list[Level] = [ResidualBlock] * (len(channels) - len(heads))
        deep = [attention(h, d) for h, d in zip(heads, depths, strict=True)]
        decoder: list[Level] = [ResidualBlock] * (len(channels) - 1)
        super().__init__(in_channels, out_channels, channels, [*shallow, *deep], decoder, Addition)
