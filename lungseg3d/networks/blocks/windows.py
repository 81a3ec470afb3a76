"""Shifted windows in 3D: attention among the tokens of a window, at a cost that grows with the volume alone.

In: tokens on a grid (B, X, Y, Z, C) of any size. Out: tokens on the same grid. Knows no network.

Source: Liu et al. 2021 (Swin Transformer), ICCV, arXiv:2103.14030.
"""

import torch
from torch import nn


def to_windows(grid: torch.Tensor, window: int) -> torch.Tensor:
    """(B, X, Y, Z, C), sides multiples of w -> windows (B, X Y Z / w^3, w^3, C)."""
    b, x, y, z, c = grid.shape
    w = window
    blocks = grid.reshape(b, x // w, w, y // w, w, z // w, w, c).permute(0, 1, 3, 5, 2, 4, 6, 7)
    return blocks.reshape(b, (x // w) * (y // w) * (z // w), w * w * w, c)


def from_windows(windows: torch.Tensor, window: int, x: int, y: int, z: int) -> torch.Tensor:
    """(B, n, w^3, C) -> (B, x, y, z, C): the inverse of `to_windows`."""
    b, c, w = windows.shape[0], windows.shape[3], window
    blocks = windows.reshape(b, x // w, y // w, z // w, w, w, w, c).permute(0, 1, 4, 2, 5, 3, 6, 7)
    return blocks.reshape(b, x, y, z, c)


def axis_regions(size: int, padded: int, shift: int, device: torch.device) -> torch.Tensor:
    """Where each place of a rolled axis came from: 0 the axis, 1 round its end, 2 the padding. Shape (padded,)."""
    origin = torch.arange(padded, device=device) + shift
    wrapped = (origin >= padded).long()
    return torch.where(origin % padded >= size, torch.full_like(origin, 2), wrapped)


class WindowAttention(nn.Module):
    """Multi-head attention inside each window, with a bias for each relative position.

    Args:
        channels: C, a multiple of `heads`.
        heads: heads.
        window: side of the cubic windows in tokens.
        shift: tokens by which the windows are moved; 0, or half a window in every other block.

    Raises:
        ValueError: channels do not divide by heads.
    """

    bias_index: torch.Tensor  # TorchScript reads it, and only as a type, not as text: no postponed annotations here

    def __init__(self, channels: int, heads: int, window: int, shift: int = 0) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels do not divide by {heads} heads")
        self.heads, self.window, self.shift = heads, window, shift
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 3, heads))
        nn.init.trunc_normal_(self.bias_table, std=0.02)
        self.register_buffer("bias_index", relative_positions(window), persistent=False)

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        """(B, X, Y, Z, C) -> (B, X, Y, Z, C), any size."""
        x, y, z = grid.shape[1], grid.shape[2], grid.shape[3]
        w, s = self.window, self.shift
        px, py, pz = (x + w - 1) // w * w, (y + w - 1) // w * w, (z + w - 1) // w * w
        tokens = nn.functional.pad(grid, [0, 0, 0, pz - z, 0, py - y, 0, px - x])
        if s > 0:
            tokens = torch.roll(tokens, [-s, -s, -s], [1, 2, 3])
        attended = self.attend(to_windows(tokens, w), self.mask(x, y, z, px, py, pz, grid.device))
        tokens = from_windows(attended, w, px, py, pz)
        if s > 0:
            tokens = torch.roll(tokens, [s, s, s], [1, 2, 3])
        return tokens[:, :x, :y, :z]

    def mask(self, x: int, y: int, z: int, px: int, py: int, pz: int, device: torch.device) -> torch.Tensor:
        """Which tokens of a window see each other, bool (n, w^3, w^3): none that the roll or padding put together."""
        rx = axis_regions(x, px, self.shift, device)[:, None, None]
        ry = axis_regions(y, py, self.shift, device)[None, :, None]
        rz = axis_regions(z, pz, self.shift, device)[None, None, :]
        regions = to_windows((9 * rx + 3 * ry + rz)[None, :, :, :, None], self.window)[0, :, :, 0]
        return regions[:, :, None] == regions[:, None, :]

    def attend(self, windows: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """windows (B, n, t, C), mask (n, t, t) -> (B, n, t, C)."""
        b, n, t, c = windows.shape
        h = self.heads
        triple = self.query_key_value(windows).reshape(b, n, t, 3, h, c // h).permute(3, 0, 1, 4, 2, 5)
        bias = self.bias_table[self.bias_index.reshape(-1)].reshape(t, t, h).permute(2, 0, 1)
        # Enough to leave nothing of a score after softmax; minus infinity would not survive every export.
        forbidden = (~mask).to(bias.dtype) * -1e4
        scores = (bias[None] + forbidden[:, None]).to(triple.dtype)
        attended = nn.functional.scaled_dot_product_attention(triple[0], triple[1], triple[2], attn_mask=scores)
        projected: torch.Tensor = self.project(attended.transpose(2, 3).reshape(b, n, t, c))
        return projected


def relative_positions(window: int) -> torch.Tensor:
    """Index into the table of biases for each pair of tokens of a window, (w^3, w^3), from 0 to (2 w - 1)^3 - 1."""
    axis = torch.arange(window)
    places = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).flatten(1)
    offsets = places[:, :, None] - places[:, None, :] + window - 1
    span = 2 * window - 1
    return offsets[0] * span * span + offsets[1] * span + offsets[2]


class WindowBlock(nn.Module):
    """Attention in windows, then a perceptron, each behind a norm and beside a skip.

    Args:
        channels, heads, window, shift: as in WindowAttention.
        expansion: hidden features of the perceptron over channels.
    """

    def __init__(self, channels: int, heads: int, window: int, shift: int, expansion: int = 4) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads, window, shift)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, expansion * channels),
            nn.GELU(),
            nn.Linear(expansion * channels, channels),
        )

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        """(B, X, Y, Z, C) -> (B, X, Y, Z, C)."""
        grid = grid + self.attention(self.attention_norm(grid))
        refined: torch.Tensor = grid + self.perceptron(grid)
        return refined
