"""Attentions that keep the shape of features: of channels, of places, of single voxels, of two inputs.

In: features (B, C, x, y, z). Out: features of that shape, weighed. Knows no network.
"""

from __future__ import annotations

import torch
from torch import nn


class ChannelAttention(nn.Module):
    """Weighs channels by their mean and maximum over the volume, through one shared perceptron.

    Source: Woo et al. 2018 (CBAM), arXiv:1807.06521, eq. 2.

    Args:
        channels: C.
        reduction: C is divided by this between the two layers, but no less than 8 remain: fewer may all be silent.
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(channels // reduction, 8)
        self.perceptron = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, x, y, z) -> (B, C, x, y, z)."""
        flat = features.flatten(2)
        weights = torch.sigmoid(self.perceptron(flat.mean(dim=2)) + self.perceptron(flat.amax(dim=2)))
        return features * weights[:, :, None, None, None]


class SpatialAttention(nn.Module):
    """Weighs places by the mean and maximum over the channels, through one wide convolution.

    Source: Woo et al. 2018 (CBAM), arXiv:1807.06521, eq. 3.

    Args:
        kernel_size: of the convolution, odd; 7 in the paper.
    """

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(2, 1, kernel_size, padding=kernel_size // 2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, x, y, z) -> (B, C, x, y, z)."""
        summary = torch.cat([features.mean(dim=1, keepdim=True), features.amax(dim=1, keepdim=True)], dim=1)
        return features * torch.sigmoid(self.convolution(summary))


class SimAM(nn.Module):
    """Weighs every voxel by how far it stands out of its channel; no parameter.

    A voxel t of a channel with mean m and variance v has the weight sigmoid((t - m)^2 / (4 (v + lambda)) + 1/2).

    Source: Yang et al. 2021, ICML, PMLR 139:11863-11874, eq. 5.

    Args:
        regularisation: lambda, 1e-4 in the paper.
    """

    def __init__(self, regularisation: float = 1e-4) -> None:
        super().__init__()
        self.regularisation = regularisation

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, x, y, z) -> (B, C, x, y, z)."""
        # Squares of differences of near numbers: bf16 has too few digits for them.
        values = features.float()
        others = max(values.shape[2] * values.shape[3] * values.shape[4] - 1, 1)
        squares = (values - values.mean(dim=(2, 3, 4), keepdim=True)) ** 2
        variance = squares.sum(dim=(2, 3, 4), keepdim=True) / others
        return features * torch.sigmoid(squares / (4 * (variance + self.regularisation)) + 0.5).to(features.dtype)


class AttentionalFusion(nn.Module):
    """Mixes what comes from below with the skip, voxel by voxel: 2 (w below + (1 - w) skip).

    The weight w comes from the sum of both, seen at each voxel and over the whole volume. Doubled, so that two equal
    inputs give their sum, as an addition would. Its global branch has no norm: a batch of one patch would have one
    value to take a variance of.

    Source: Dai et al. 2021 (attentional feature fusion, MS-CAM), WACV, arXiv:2009.14082, eq. 3 and 4.

    Args:
        width: C.
        reduction: C is divided by this inside, but no less than 8 remain.
    """

    def __init__(self, width: int, reduction: int = 4) -> None:
        super().__init__()
        self.out_channels = width
        hidden = max(width // reduction, 8)
        self.near = nn.Sequential(
            nn.Conv3d(width, hidden, 1, bias=False),
            nn.BatchNorm3d(hidden),
            nn.ReLU(),
            nn.Conv3d(hidden, width, 1, bias=False),
            nn.BatchNorm3d(width),
        )
        self.whole = nn.Sequential(
            nn.AdaptiveAvgPool3d(1), nn.Conv3d(width, hidden, 1), nn.ReLU(), nn.Conv3d(hidden, width, 1)
        )

    def forward(self, below: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """below, skip (B, C, x, y, z) -> (B, C, x, y, z)."""
        both = below + skip
        weight = torch.sigmoid(self.near(both) + self.whole(both))
        return 2 * (weight * below + (1 - weight) * skip)
