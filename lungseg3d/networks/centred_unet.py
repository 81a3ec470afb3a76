"""`CentredUNet3d`: the light U-Net told where the middle is, for outlining the one thing that lies there.

In: image (B, 1, X, Y, Z) in [0, 1], a candidate in its middle. Out: logits (B, C, X, Y, Z). Knows no label.

A network that looks for nodules must weigh everything in its window; one that outlines a given nodule need not. A
second channel, exp(-d^2 / 2 s^2) of the distance d from the middle, says which thing is meant (coordinates as features:
Liu et al. 2018, NeurIPS, "CoordConv"; a click as a Gaussian: Maninis et al. 2018, CVPR, "Deep extreme cut").
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lungseg3d.core import Box
from lungseg3d.networks.light_unet import LightUNet3d


class CentredUNet3d(nn.Module):
    """A `LightUNet3d` of two channels, the second made here from the size of the image.

    Args:
        out_channels, channels, blocks, dropout: as in `LightUNet3d`.
        sigma_voxels: s above, in voxels.
    """

    def __init__(
        self,
        out_channels: int = 2,
        channels: Sequence[int] = (32, 64, 128, 160),
        blocks: int = 1,
        dropout: float = 0.0,
        sigma_voxels: float = 8.0,
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.sigma_voxels = float(sigma_voxels)
        self.unet = LightUNet3d(2, out_channels, channels, blocks, dropout)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image (B, 1, X, Y, Z) in [0, 1] -> logits (B, C, X, Y, Z)."""
        logits: torch.Tensor = self.unet(self.with_middle(image))
        return logits

    def with_middle(self, image: torch.Tensor) -> torch.Tensor:
        """image (B, 1, X, Y, Z) -> (B, 2, X, Y, Z): the image, and how near each voxel is to its middle."""
        x, y, z = image.shape[2], image.shape[3], image.shape[4]
        away_x = (torch.arange(x, device=image.device, dtype=torch.float32) - 0.5 * (x - 1)).view(1, 1, x, 1, 1)
        away_y = (torch.arange(y, device=image.device, dtype=torch.float32) - 0.5 * (y - 1)).view(1, 1, 1, y, 1)
        away_z = (torch.arange(z, device=image.device, dtype=torch.float32) - 0.5 * (z - 1)).view(1, 1, 1, 1, z)
        squared = away_x * away_x + away_y * away_y + away_z * away_z
        near = torch.exp(squared * (-0.5 / (self.sigma_voxels * self.sigma_voxels))).to(image.dtype)
        return torch.cat([image, near.expand(image.shape[0], 1, x, y, z)], dim=1)

    def has_part(self, image_shape: Sequence[int]) -> bool:
        """Whether `part` takes images (B, 1, X, Y, Z) of this shape."""
        return self.unet.has_part(image_shape)

    def part(self, image: torch.Tensor, box: Box) -> torch.Tensor:
        """image (B, 1, X, Y, Z) -> logits (B, C, x, y, z) of a box: those of `forward`, for less (`eval` only)."""
        return self.unet.part(self.with_middle(image), box)
