"""`FusionUNet3d`: kernels that adapt to the image, voxels that stand out, and skips that are weighed, not stacked.

In: image (B, 1, X, Y, Z) in [0, 1]. Out: logits (B, C, X, Y, Z). Knows no label.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from lungseg3d.networks.blocks.adaptive_kernels import DynamicConvolution, SelectiveKernels
from lungseg3d.networks.blocks.attention import AttentionalFusion, SimAM
from lungseg3d.networks.blocks.residual import AttendedResidualBlock
from lungseg3d.networks.halved_unet import HalvedUNet3d


class FusionUNet3d(HalvedUNet3d):
    """A residual 3D U-Net of dynamic convolution and SimAM, fused skips, and selective kernels at the bottleneck.

    Args:
        in_channels: channels of the image.
        out_channels: C, classes with background.
        channels: features at 1/2, 1/4, ... of the resolution.
        kernels: kernels that each dynamic convolution mixes.

    Source: Chen et al. 2020 (dynamic convolution), Yang et al. 2021 (SimAM), Dai et al. 2021 (attentional feature
    fusion on the skips), Li et al. 2019 (selective kernels).
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        channels: Sequence[int] = (32, 64, 128, 160),
        kernels: int = 4,
    ) -> None:
        def dynamic(below: int, width: int, stride: int) -> nn.Module:
            assert stride == 1  # the second convolution of a block never halves the grid
            return DynamicConvolution(below, width, kernels)

        def block(below: int, width: int, stride: int) -> nn.Module:
            return AttendedResidualBlock(below, width, SimAM(), stride, second=dynamic)

        def deepest(below: int, width: int, stride: int) -> nn.Module:
            return nn.Sequential(AttendedResidualBlock(below, width, SimAM(), stride), SelectiveKernels(width))

        shallow = [block] * (len(channels) - 1)
        super().__init__(in_channels, out_channels, channels, [*shallow, deepest], shallow, AttentionalFusion)
