"""`DualAttentionUNet3d`: every block asks which channels matter, then which places.

In: image (B, 1, X, Y, Z) in [0, 1]. Out: logits (B, C, X, Y, Z). Knows no label.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from lungseg3d.networks.blocks.attention import ChannelAttention, SpatialAttention
from lungseg3d.networks.blocks.residual import AttendedResidualBlock
from lungseg3d.networks.halved_unet import HalvedUNet3d


class DualAttentionUNet3d(HalvedUNet3d):
    """A residual 3D U-Net with channel attention and spatial attention in every block.

    Args:
        in_channels: channels of the image.
        out_channels: C, classes with background.
        channels: features at 1/2, 1/4, ... of the resolution.
        reduction: of the channel attention.
        kernel_size: of the spatial attention.

    Source: Woo et al. 2018 (CBAM), ECCV, arXiv:1807.06521; U-Net as in Cicek et al. 2016.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        channels: Sequence[int] = (32, 64, 128, 160),
        reduction: int = 8,
        kernel_size: int = 7,
    ) -> None:
        def block(below: int, width: int, stride: int) -> nn.Module:
            attention = nn.Sequential(ChannelAttention(width, reduction), SpatialAttention(kernel_size))
            return AttendedResidualBlock(below, width, attention, stride)

        levels = [block] * len(channels)
        super().__init__(in_channels, out_channels, channels, levels, levels[:-1])
