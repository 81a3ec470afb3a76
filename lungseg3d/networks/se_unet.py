"""`SEUNet3d`: squeeze and excitation in every block, and a second question at the bottleneck.

In: image (B, 1, X, Y, Z) in [0, 1]. Out: logits, and in training the presence of each class. Knows no label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.blocks import ChannelSELayer
from torch import nn

from lungseg3d.networks.blocks.residual import AttendedResidualBlock, plain_convolution, separable_convolution
from lungseg3d.networks.halved_unet import HalvedUNet3d


class SEUNet3d(HalvedUNet3d):
    """A residual 3D U-Net with squeeze and excitation, and an auxiliary classifier where it knows most of the whole.

    In training it also says which classes the patch holds at all; its loss (LossWithExtras) makes the encoder answer.

    Args:
        in_channels: channels of the image.
        out_channels: C, classes with background.
        channels: features at 1/2, 1/4, ... of the resolution.
        reduction: of the squeeze; 16 in the paper, less where channels are few.
        separable: depthwise separable convolutions, a fraction of the parameters.

    Source: Hu et al. 2018, CVPR, arXiv:1709.01507; U-Net as in Cicek et al. 2016.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        channels: Sequence[int] = (32, 64, 128, 160),
        reduction: int = 4,
        separable: bool = False,
    ) -> None:
        convolution = separable_convolution if separable else plain_convolution

        def block(below: int, width: int, stride: int) -> nn.Module:
            attention = ChannelSELayer(3, width, r=min(reduction, width))
            return AttendedResidualBlock(below, width, attention, stride, convolution, convolution)

        levels = [block] * len(channels)
        super().__init__(in_channels, out_channels, channels, levels, levels[:-1])
        self.presence = nn.Linear(channels[-1], out_channels - 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image (B, 1, X, Y, Z) in [0, 1] -> logits (B, C, X, Y, Z); in training also presence logits (B, C - 1)."""
        levels = self.encode(image)
        deepest = levels[-1]
        logits = self.decode(levels, image.shape[2], image.shape[3], image.shape[4])
        if not torch.jit.is_scripting() and self.training:
            outputs: Any = (logits, self.presence(deepest.mean(dim=(2, 3, 4))))
            both: torch.Tensor = outputs  # a tuple, but TorchScript knows one type
            return both
        return logits
