"""`LightUNet3d`: a residual 3D U-Net that spends nothing at full resolution and yet loses no detail.

In: image (B, 1, X, Y, Z) in [0, 1]. Out: logits (B, C, X, Y, Z). Knows no label.

A U-Net's full-resolution features cost most of its time on a CPU. Here 2 x 2 x 2 voxels become 8 channels
(space to depth), all convolutions run on the halved grid, and the logits of 2 x 2 x 2 voxels come out as channels
(depth to space; Shi et al. 2016, arXiv:1609.05158). Encoder, skips and decoder follow Ronneberger et al. 2015 and
Cicek et al. 2016, the blocks He et al. 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from lungseg3d.core import Box
from lungseg3d.networks.blocks.part import Decoder, features_in_slabs, logits_of_part
from lungseg3d.networks.blocks.residual import ResidualBlock
from lungseg3d.networks.blocks.subvoxels import depth_to_space, space_to_depth


class LightUNet3d(nn.Module):
    """The default network of both bundles.

    Args:
        in_channels: channels of the image.
        out_channels: C, classes with background.
        channels: features at 1/2, 1/4, ... of the resolution.
        blocks: residual blocks on each level of encoder and decoder.
        dropout: share of feature maps dropped in training on the deepest level.

    Any image size goes in; sizes are padded to a multiple of 2 to the number of levels inside and cut back.

    Attributes:
        multiple: of a side, so that it fills the deepest grid.
        reach_voxels: logits depend on nothing farther from the `multiple` of voxels that they belong to (`eval` only).
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        channels: Sequence[int] = (32, 64, 128, 192),
        blocks: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.multiple = 2 ** len(channels)
        self.out_channels = out_channels
        self.reach_voxels = _reach(len(channels), blocks)
        self.encoder = nn.ModuleList()
        below = 8 * in_channels
        for level, width in enumerate(channels):
            deepest = level == len(channels) - 1
            layers = [ResidualBlock(below, width, stride=1 if level == 0 else 2, dropout=dropout if deepest else 0.0)]
            layers += [ResidualBlock(width, width) for _ in range(blocks - 1)]
            self.encoder.append(nn.Sequential(*layers))
            below = width
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        for width in reversed(channels[:-1]):
            self.up.append(nn.ConvTranspose3d(below, width, 2, stride=2))
            layers = [ResidualBlock(2 * width, width), *(ResidualBlock(width, width) for _ in range(blocks - 1))]
            self.decoder.append(nn.Sequential(*layers))
            below = width
        self.head = nn.Conv3d(below, 8 * out_channels, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image (B, 1, X, Y, Z) in [0, 1] -> logits (B, C, X, Y, Z)."""
        x, y, z = image.shape[2], image.shape[3], image.shape[4]
        m = self.multiple
        padding = [0, (m - z % m) % m, 0, (m - y % m) % m, 0, (m - x % m) % m]
        if torch.jit.is_tracing() or sum(padding) > 0:  # a trace must pad whatever comes
            image = nn.functional.pad(image, padding, mode="replicate")
        features = space_to_depth(image)
        skips: list[torch.Tensor] = []
        for stage in self.encoder:
            features = stage(features)
            skips.append(features)
        skips.pop()
        for up, stage in zip(self.up, self.decoder):  # noqa: B905 - TorchScript knows no strict zip
            features = stage(torch.cat([up(features), skips.pop()], dim=1))
        return depth_to_space(self.head(features))[:, :, :x, :y, :z]

    def has_part(self, image_shape: Sequence[int]) -> bool:
        """Whether `part` takes images (B, C, X, Y, Z) of this shape: their sides fill the deepest grid."""
        return len(self.decoder) > 0 and all(n % self.multiple == 0 for n in image_shape[2:])

    def part(self, image: torch.Tensor, box: Box) -> torch.Tensor:
        """image (B, 1, X, Y, Z) -> logits (B, C, x, y, z) of a box: those of `forward`, for less (`eval` only)."""
        finest, *coarser = self.encoder
        features = features_in_slabs(cast(nn.Sequential, finest), image)
        skips = [features]
        for stage in coarser:
            features = stage(features)
            skips.append(features)
        stages = [stage for stage in self.decoder if isinstance(stage, nn.Sequential)]
        return logits_of_part(skips[:-1], features, Decoder(self.up, stages, self.head), box)


def _reach(levels: int, blocks: int) -> int:
    """Voxels from the border of one of the deepest grid's cells to the farthest that its logits depend on."""
    reach = 1  # in voxels of the halved grid: the head's convolution
    for _ in range(levels - 1):
        reach = -(-(reach + 2 * blocks) // 2)  # the decoder, downwards; two convolutions a block
    for _ in range(levels - 1):
        reach = 2 * (reach + 2 * blocks - 1) + 1  # the encoder, upwards; its first convolution is on the finer grid
    return 2 * (reach + 2 * blocks)
