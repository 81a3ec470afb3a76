"""The block that most networks here are made of: two convolutions beside a skip, plain, separable or attended.

In: features (B, C, x, y, z). Out: features of the same or the halved grid. Knows no network.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from lungseg3d.networks.blocks.fused_residual import FusedResidualBlock, can_fuse


class ResidualBlock(nn.Module):
    """Two 3 x 3 x 3 convolutions with batch norm and a skip; the first one may halve the grid."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv3d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm3d(out_channels),
            nn.ReLU(inplace=True),
            nn.Dropout3d(dropout),
            nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm3d(out_channels),
        )
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.skip = nn.Sequential(
                nn.Conv3d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm3d(out_channels)
            )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """features (B, in, x, y, z) -> (B, out, x / stride, y / stride, z / stride)."""
        activated: torch.Tensor = self.activation(self.convolutions(features) + self.skip(features))
        return activated

    @torch.jit.unused
    def fused(self) -> nn.Module | None:
        """The same for a CPU and for less, once the norms are folded away; None where that cannot be."""
        if not can_fuse(self.convolutions, self.skip):
            return None
        first, second = (layer for layer in self.convolutions if isinstance(layer, nn.Conv3d))
        skip = next((layer for layer in self.skip.modules() if isinstance(layer, nn.Conv3d)), None)
        return FusedResidualBlock(first, second, skip)


def plain_convolution(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """3 x 3 x 3 convolution without bias, for a norm to follow."""
    return nn.Conv3d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


def separable_convolution(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """A 3 x 3 x 3 convolution within each channel, then one across channels (Chollet 2017, arXiv:1610.02357)."""
    return nn.Sequential(
        nn.Conv3d(in_channels, in_channels, 3, stride=stride, padding=1, groups=in_channels, bias=False),
        nn.Conv3d(in_channels, out_channels, 1, bias=False),
    )


class AttendedResidualBlock(nn.Module):
    """A residual block whose residual passes through an attention before it joins the skip (as in Hu et al. 2018).

    Args:
        in_channels, out_channels: channels.
        attention: module that keeps the shape of features (B, out_channels, x, y, z).
        stride: 2 halves the grid.
        first, second: functions (in, out, stride) that make the two convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        attention: nn.Module,
        stride: int = 1,
        first: Callable[[int, int, int], nn.Module] = plain_convolution,
        second: Callable[[int, int, int], nn.Module] = plain_convolution,
    ) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            first(in_channels, out_channels, stride),
            nn.BatchNorm3d(out_channels),
            nn.ReLU(inplace=True),
            second(out_channels, out_channels, 1),
            nn.BatchNorm3d(out_channels),
        )
        self.attention = attention
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.skip = nn.Sequential(
                nn.Conv3d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm3d(out_channels)
            )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """features (B, in, x, y, z) -> (B, out, x / stride, y / stride, z / stride)."""
        activated: torch.Tensor = self.activation(self.attention(self.convolutions(features)) + self.skip(features))
        return activated
