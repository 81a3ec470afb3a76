"""Logits of a box of the image alone, the same as in the whole: what only the rest of the image needs is left out.

In: a `LightUNet3d` in `eval` mode, an image, a box. Out: the logits inside the box. Knows no label.

The encoder sees the whole image, because every logit depends on all of it. The decoder, two thirds of the work, is
computed for the box and for as many voxels around it as its convolutions reach.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lungseg3d.core import Box
from lungseg3d.networks.light_unet import LightUNet3d
from lungseg3d.networks.subvoxels import depth_to_space, space_to_depth


def has_parts(network: nn.Module, image_shape: Sequence[int]) -> bool:
    """Whether `logits_of_part` takes this network and images (B, C, X, Y, Z) of this shape."""
    if not isinstance(network, LightUNet3d) or not len(network.decoder):
        return False
    return all(n % network.multiple == 0 for n in image_shape[2:])


def logits_of_part(network: LightUNet3d, image: torch.Tensor, box: Box) -> torch.Tensor:
    """image (B, 1, X, Y, Z), sides multiples of `network.multiple` -> logits (B, C, x, y, z) of the box alone."""
    features = space_to_depth(image)
    skips: list[torch.Tensor] = []
    for stage in network.encoder:
        features = stage(features)
        skips.append(features)
    skips.pop()
    inner = _halved(box)  # what is wanted of each level, finest first; and what must be known for it
    reaches, wanted = [], []
    for i, (skip, stage) in enumerate(zip(skips, reversed(network.decoder), strict=True)):
        wanted.append(inner.grown(1, skip.shape[2:]) if i == 0 else inner)  # 1: the head's own reach
        reaches.append(_even(wanted[-1].grown(2 * len(stage), skip.shape[2:])))  # type: ignore[arg-type]
        inner = _halved(reaches[-1])
    features = _cut(features, inner)
    for up, stage, reach, want in zip(network.up, network.decoder, reversed(reaches), reversed(wanted), strict=True):
        features = stage(torch.cat([up(features), _cut(skips.pop(), reach)], dim=1))
        features, inner = _cut(features, _within(want, reach)), want
    logits, (x, y, z) = depth_to_space(network.head(features)), _within(box, _doubled(inner)).slices
    return logits[:, :, x, y, z]


def _halved(box: Box) -> Box:
    """The voxels of the halved grid that a box touches."""
    start, stop = (a // 2 for a in box.start), (-(-b // 2) for b in box.stop)
    return Box(tuple(start), tuple(stop))  # type: ignore[arg-type]


def _doubled(box: Box) -> Box:
    return Box(tuple(2 * a for a in box.start), tuple(2 * b for b in box.stop))  # type: ignore[arg-type]


def _even(box: Box) -> Box:
    """The smallest box of even borders that holds a box; sides of the grid are even."""
    return _doubled(_halved(box))


def _within(box: Box, outer: Box) -> Box:
    """Where a box lies in an array that begins where another one begins."""
    start, stop = ([a - o for a, o in zip(ends, outer.start, strict=True)] for ends in (box.start, box.stop))
    return Box(tuple(start), tuple(stop))  # type: ignore[arg-type]


def _cut(features: torch.Tensor, box: Box) -> torch.Tensor:
    x, y, z = box.slices
    return features[:, :, x, y, z].contiguous(memory_format=torch.channels_last_3d)
