"""Structured convolution: blocks that drop whole neighbourhoods, see at several widths, and shift along the axes.

In: features (B, C, x, y, z). Out: features of the same or the halved grid. Knows no network.
"""

from __future__ import annotations

import torch
from torch import nn


class DropBlock3d(nn.Module):
    """In training, sets cubes of features to 0 and scales the rest; neighbours tell too much for single voxels.

    Args:
        probability: share of voxels that is dropped, about; 0 to below 1.
        size: side of the cubes in voxels, odd.

    Source: Ghiasi et al. 2018, NeurIPS, arXiv:1810.12890.
    """

    def __init__(self, probability: float = 0.1, size: int = 3) -> None:
        super().__init__()
        if not 0 <= probability < 1 or size % 2 == 0:
            raise ValueError(f"probability is {probability} and size {size}; 0 to below 1, and odd")
        self.probability, self.size = probability, size

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, x, y, z) -> (B, C, x, y, z)."""
        if not self.training or self.probability == 0:
            return features
        # A voxel stays where none of the cubes that reach it was drawn.
        drawn = 1 - (1 - self.probability) ** (1 / self.size**3)
        centres = (torch.rand_like(features, dtype=torch.float32) < drawn).float()
        kept = 1 - nn.functional.max_pool3d(centres, self.size, stride=1, padding=self.size // 2)
        return features * (kept / kept.mean().clamp(min=1e-3)).to(features.dtype)


class RegularisedConvolution(nn.Module):
    """Twice: convolution, DropBlock, batch norm, ReLU (the D2BR block of S3TU-Net), beside a skip.

    Args:
        in_channels, out_channels: channels.
        stride: 2 halves the grid.
        probability: of DropBlock.

    Source: Wu et al. 2025 (S3TU-Net); the order as in Guo et al. 2021 (SA-UNet), arXiv:2004.03696.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, probability: float = 0.1) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv3d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            DropBlock3d(probability),
            nn.BatchNorm3d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False),
            DropBlock3d(probability),
            nn.BatchNorm3d(out_channels),
        )
        self.skip = nn.Sequential(
            nn.Conv3d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm3d(out_channels)
        )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, in, x, y, z) -> (B, out, x / stride, y / stride, z / stride)."""
        activated: torch.Tensor = self.activation(self.convolutions(features) + self.skip(features))
        return activated


class DepthwiseFusion(nn.Module):
    """Depthwise convolutions of several widths, fused across channels (the DWF block of S3TU-Net), beside a skip.

    Args:
        in_channels, out_channels: channels.
        stride: 2 halves the grid.
        dilations: one depthwise 3 x 3 x 3 convolution for each; 1, 2, 3 reach 3, 5 and 7 voxels.

    Source: Wu et al. 2025 (S3TU-Net); depthwise convolution as in Chollet 2017, arXiv:1610.02357.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, dilations: tuple[int, ...] = (1, 2, 3)
    ) -> None:
        super().__init__()
        self.merge = nn.Sequential(
            nn.Conv3d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm3d(out_channels),
            nn.ReLU(),
        )
        self.widths = nn.ModuleList(
            nn.Conv3d(out_channels, out_channels, 3, padding=d, dilation=d, groups=out_channels, bias=False)
            for d in dilations
        )
        self.fuse = nn.Sequential(
            nn.BatchNorm3d(len(dilations) * out_channels),
            nn.ReLU(),
            nn.Conv3d(len(dilations) * out_channels, out_channels, 1, bias=False),
            nn.BatchNorm3d(out_channels),
        )
        self.activation = nn.ReLU()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, in, x, y, z) -> (B, out, x / stride, y / stride, z / stride)."""
        merged = self.merge(features)
        seen = torch.cat([width(merged) for width in self.widths], dim=1)
        activated: torch.Tensor = self.activation(merged + self.fuse(seen))
        return activated


def spatial_shift(features: torch.Tensor) -> torch.Tensor:
    """A sixth of the channels moves by one voxel along each of +x, -x, +y, -y, +z, -z; the border repeats.

    (B, C, x, y, z) -> (B, C, x, y, z); what six does not divide stays. Source: Yu et al. 2022, arXiv:2106.07477.
    """
    step = features.shape[1] // 6
    moved: list[torch.Tensor] = []
    for axis in range(2, 5):
        first = (axis - 2) * 2 * step
        forward, backward = features[:, first : first + step], features[:, first + step : first + 2 * step]
        n = features.shape[axis]
        moved.append(torch.cat([forward.narrow(axis, 0, 1), forward.narrow(axis, 0, n - 1)], dim=axis))
        moved.append(torch.cat([backward.narrow(axis, 1, n - 1), backward.narrow(axis, n - 1, 1)], dim=axis))
    moved.append(features[:, 6 * step :])
    return torch.cat(moved, dim=1)


class ShiftedJoin(nn.Module):
    """The skip talks to its neighbours by a spatial shift between two pointwise layers, then lies beside what comes up.

    Args:
        width: C of each input.

    Source: Wu et al. 2025 (the S2-MLP link of S3TU-Net); Yu et al. 2022, arXiv:2106.07477.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_channels = 2 * width
        self.before = nn.Sequential(nn.Conv3d(width, width, 1, bias=False), nn.BatchNorm3d(width), nn.GELU())
        self.after = nn.Conv3d(width, width, 1)

    def forward(self, below: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """below, skip (B, C, x, y, z) -> (B, 2 C, x, y, z)."""
        return torch.cat([below, skip + self.after(spatial_shift(self.before(skip)))], dim=1)
