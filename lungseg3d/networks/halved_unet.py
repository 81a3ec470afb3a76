"""`HalvedUNet3d`: the plan of a U-Net on the halved grid, whatever its blocks are.

In: modules of each level, and the image. Out: logits of the image's size. Knows no attention and no loss.

As in LightUNet3d, 2 x 2 x 2 voxels go in and out as channels. A network of this package says what its levels are made
of, and how a skip joins what comes from below; the rest is here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from lungseg3d.networks.blocks.subvoxels import depth_to_space, space_to_depth

Level = Callable[[int, int, int], nn.Module]


class Concatenation(nn.Module):
    """What comes from below and the skip, side by side: (B, width, ...) twice -> (B, 2 width, ...)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_channels = 2 * width

    def forward(self, below: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """below, skip (B, width, x, y, z) -> (B, 2 width, x, y, z)."""
        return torch.cat([below, skip], dim=1)


class Addition(nn.Module):
    """The sum of what comes from below and of the skip: half the channels of a concatenation to work on."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_channels = width

    def forward(self, below: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """below, skip (B, width, x, y, z) -> (B, width, x, y, z)."""
        return below + skip


class DecoderLevel(nn.Module):
    """Up, join with the skip, block.

    Args:
        below, width: channels of the level below and of this one.
        join: module (below, skip), each (B, width, x, y, z), -> features; its `out_channels` says how many.
        block: function (in, out, stride) that makes what follows.
    """

    def __init__(self, below: int, width: int, join: nn.Module, block: Level) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(below, width, 2, stride=2)
        self.join = join
        self.block = block(int(join.out_channels), width, 1)  # type: ignore[arg-type]

    def forward(self, below: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """below (B, below, x, y, z), skip (B, width, 2 x, 2 y, 2 z) -> (B, width, 2 x, 2 y, 2 z)."""
        merged: torch.Tensor = self.block(self.join(self.up(below), skip))
        return merged


class HalvedUNet3d(nn.Module):
    """A U-Net between space-to-depth and depth-to-space.

    Args:
        in_channels: channels of the image.
        out_channels: C, classes with background.
        channels: features at 1/2, 1/4, ... of the resolution.
        encoder: function (in, out, stride) for each level; the first has stride 1, the others 2.
        decoder: function (in, out, stride) for each level but the deepest, the same order as `channels`.
        join: function (width) that makes the join of a level's skip.

    Any image size goes in; sizes are padded to a multiple of 2 to the number of levels inside and cut back.

    Raises:
        ValueError: levels are missing.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int],
        encoder: Sequence[Level],
        decoder: Sequence[Level],
        join: Callable[[int], nn.Module] = Concatenation,
    ) -> None:
        super().__init__()
        if not channels or len(encoder) != len(channels) or len(decoder) != len(channels) - 1:
            raise ValueError(
                f"{len(channels)} levels of channels, {len(encoder)} of encoder, {len(decoder)} of decoder; "
                "the encoder has as many as there are channels, the decoder one less"
            )
        self.multiple = 2 ** len(channels)
        self.out_channels = out_channels
        widths = [8 * in_channels, *channels]
        self.encoder = nn.ModuleList(
            make(widths[level], widths[level + 1], 1 if level == 0 else 2) for level, make in enumerate(encoder)
        )
        self.decoder = nn.ModuleList(
            DecoderLevel(channels[level + 1], channels[level], join(channels[level]), decoder[level])
            for level in reversed(range(len(channels) - 1))
        )
        self.head = nn.Conv3d(channels[0], 8 * out_channels, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image (B, 1, X, Y, Z) in [0, 1] -> logits (B, C, X, Y, Z)."""
        return self.decode(self.encode(image), image.shape[2], image.shape[3], image.shape[4])

    def encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        """image (B, 1, X, Y, Z) -> features of every level, (B, channels[i], X / 2^(i+1), ...), sizes rounded up."""
        m = self.multiple
        x, y, z = image.shape[2], image.shape[3], image.shape[4]
        padding = [0, (m - z % m) % m, 0, (m - y % m) % m, 0, (m - x % m) % m]
        features = space_to_depth(nn.functional.pad(image, padding, mode="replicate"))
        levels: list[torch.Tensor] = []
        for level in self.encoder:
            features = level(features)
            levels.append(features)
        return levels

    def decode(self, levels: list[torch.Tensor], x: int, y: int, z: int) -> torch.Tensor:
        """What `encode` gave -> logits (B, C, x, y, z). Takes the list apart."""
        features = levels.pop()
        for level in self.decoder:
            features = level(features, levels.pop())
        return depth_to_space(self.head(features))[:, :, :x, :y, :z]
