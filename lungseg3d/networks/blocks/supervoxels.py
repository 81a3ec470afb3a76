"""Soft supervoxels: voxels that belong together pool into tokens, and what the tokens learn goes back to the voxels.

In: features (B, C, x, y, z) of any size. Out: features of the same shape. Knows no network.

A nodule, a vessel, a piece of pleura: each becomes a few tokens that follow its outline, where a window would cut it.
Attention among them sees the whole patch at the cost of a few hundred tokens.
"""

from __future__ import annotations

import torch
from torch import nn


def soft_clusters(
    points: torch.Tensor, centres: torch.Tensor, sharpness: torch.Tensor, iterations: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Differentiable k-means: how much each point belongs to each centre, and where the centres end up.

    Args:
        points: (B, N, D).
        centres: (B, S, D), where they start.
        sharpness: (), above 0; a squared distance times this is the exponent of the softmax.
        iterations: rounds of assigning and moving, at least 1.

    Returns:
        membership (B, N, S), rows sum to one, by the centres before their last move; centres (B, S, D).

    Source: Jampani et al. 2018 (superpixel sampling networks), ECCV, arXiv:1807.10174, eq. 3 and 4.
    """
    membership = torch.zeros([0])
    for _ in range(iterations):
        # |p - c|^2 without |p|^2, which is the same for all centres and falls out of the softmax.
        nearness = 2 * points @ centres.transpose(1, 2) - (centres**2).sum(dim=2)[:, None]
        membership = torch.softmax(sharpness * nearness, dim=2)
        centres = pool(points, membership)
    return membership, centres


def pool(points: torch.Tensor, membership: torch.Tensor) -> torch.Tensor:
    """Mean of the points (B, N, D) of each cluster, weighed by membership (B, N, S) -> (B, S, D)."""
    mass = membership.sum(dim=1)[:, :, None]
    return membership.transpose(1, 2) @ points / (mass + 1e-6)


class TokenBlock(nn.Module):
    """Attention among all tokens, then a perceptron, each behind a norm and beside a skip (Vaswani et al. 2017).

    Args:
        channels, heads: channels divide by heads.
        expansion: hidden features of the perceptron over channels.
    """

    def __init__(self, channels: int, heads: int, expansion: int = 2) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels do not divide by {heads} heads")
        self.heads = heads
        self.query_key_value = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, 3 * channels))
        self.project = nn.Linear(channels, channels)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, expansion * channels),
            nn.GELU(),
            nn.Linear(expansion * channels, channels),
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, S, C) -> (B, S, C)."""
        b, s, c = tokens.shape
        triple = self.query_key_value(tokens).reshape(b, s, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(triple[0], triple[1], triple[2])
        tokens = tokens + self.project(attended.transpose(1, 2).reshape(b, s, c))
        refined: torch.Tensor = tokens + self.perceptron(tokens)
        return refined


class SupervoxelTransformer(nn.Module):
    """Features -> soft supervoxels -> attention among them -> back, beside a skip.

    Args:
        channels: C.
        heads, depth: of the transformer.
        cell: voxels along each axis for one supervoxel to start from.
        iterations: rounds of clustering.
        embedding: features by which voxels are compared, beside their three coordinates.

    Source: Jampani et al. 2018, arXiv:1807.10174 (supervoxels); Wu et al. 2025 (S3TU-Net) and Huang et al. 2023,
    arXiv:2211.11167 (attention among them, scattered back by membership).
    """

    def __init__(
        self, channels: int, heads: int, depth: int = 2, cell: int = 2, iterations: int = 2, embedding: int = 16
    ) -> None:
        super().__init__()
        if cell < 1 or iterations < 1:
            raise ValueError(f"cell is {cell} and iterations {iterations}; both are at least 1")
        self.cell, self.iterations = cell, iterations
        self.embed = nn.Conv3d(channels, embedding, 1)
        # Learnt as logarithms, so that they stay above 0. One cell is the unit of place.
        self.log_sharpness = nn.Parameter(torch.zeros(()))
        self.log_place = nn.Parameter(torch.zeros(()))
        self.blocks = nn.Sequential(*(TokenBlock(channels, heads) for _ in range(depth)))
        self.scatter = nn.Linear(channels, channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, x, y, z) -> (B, C, x, y, z)."""
        b, c, x, y, z = features.shape
        membership = self.membership(features)
        voxels = features.flatten(2).transpose(1, 2)
        tokens = self.blocks(pool(voxels, membership.to(voxels.dtype)))
        back = membership.to(tokens.dtype) @ self.scatter(tokens)
        refined: torch.Tensor = features + back.transpose(1, 2).reshape(b, c, x, y, z)
        return refined

    def membership(self, features: torch.Tensor) -> torch.Tensor:
        """How much each voxel belongs to each supervoxel, (B, N, S) float32; N = x y z, rows sum to one."""
        # Differences of near numbers decide here; bf16 has too few digits for them.
        points = torch.cat([self.embed(features).float(), self.places(features)], dim=1)
        cell = [min(self.cell, points.shape[axis]) for axis in range(2, 5)]
        start = nn.functional.avg_pool3d(points, cell, stride=self.cell, ceil_mode=True, count_include_pad=False)
        flat, centres = points.flatten(2).transpose(1, 2), start.flatten(2).transpose(1, 2)
        if not torch.jit.is_scripting():  # TorchScript wants the device's name as a constant
            with torch.autocast(features.device.type, enabled=False):
                return soft_clusters(flat, centres, self.log_sharpness.exp(), self.iterations)[0]
        return soft_clusters(flat, centres, self.log_sharpness.exp(), self.iterations)[0]

    def places(self, features: torch.Tensor) -> torch.Tensor:
        """Coordinates of the voxels in cells, times the learnt weight of place: (B, 3, x, y, z) float32."""
        b, _, x, y, z = features.shape
        axes = [torch.arange(n, device=features.device, dtype=torch.float32) / self.cell for n in (x, y, z)]
        grid = torch.stack(torch.meshgrid(axes[0], axes[1], axes[2], indexing="ij"))
        return (grid * self.log_place.exp())[None].expand(b, 3, x, y, z)
