"""A box of the logits alone, the same as in the whole: of a decoder, what only the rest of the image needs is left out.

In: what a U-Net's encoder found, its decoder, a box. Out: the logits inside the box. Knows no network and no label.

The encoder sees the whole image, because every logit depends on all of it. The decoder, two thirds of the work, is
computed for the box and for as many voxels around it as its convolutions reach. What is large, the finest level of
both, is computed in slabs, one after the other, for the memory that features between convolutions take.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from lungseg3d.core import Box
from lungseg3d.networks.blocks.subvoxels import depth_to_space, space_to_depth


@dataclass(frozen=True)
class Decoder:
    """The way up of a U-Net on the halved grid, its deepest level first.

    Attributes:
        ups: double the grid.
        stages: after the skip has joined, each so many blocks of two 3 x 3 x 3 convolutions as it is long.
        head: a 3 x 3 x 3 convolution that gives 2 x 2 x 2 voxels of logits as channels.
    """

    ups: Iterable[nn.Module]
    stages: Sequence[nn.Sequential]
    head: nn.Module


_SLAB_VOXELS = 64  # no thinner: what convolutions reach beyond a slab is computed twice


def logits_of_part(skips: Sequence[torch.Tensor], deepest: torch.Tensor, decoder: Decoder, box: Box) -> torch.Tensor:
    """Features (B, C, X, Y, Z) of each level, the finest first, -> logits (B, C, x, y, z) of a box of the image."""
    (first, *below), (last, *above) = box.start, box.stop
    cuts = [first, *range(first + _SLAB_VOXELS, last - _SLAB_VOXELS // 2, _SLAB_VOXELS), last]
    slabs = [Box((a, *below), (b, *above)) for a, b in pairwise(cuts)]
    logits = [_logits_of_slab(skips, deepest, decoder, slab) for slab in slabs]
    return logits[0] if len(logits) == 1 else torch.cat(logits, dim=2)


def features_in_slabs(stage: nn.Sequential, image: torch.Tensor) -> torch.Tensor:
    """The finest level of an encoder, of an image (B, 1, X, Y, Z) of even sides, slab by slab, as if in one go.

    Args:
        stage: so many blocks of two 3 x 3 x 3 convolutions as it is long, of `space_to_depth` of the image.
    """
    size, reach = image.shape[2], 4 * len(stage)
    features: torch.Tensor | None = None
    for a in range(0, size, _SLAB_VOXELS):
        b = min(a + _SLAB_VOXELS, size)
        begin = max(0, a - reach)
        found: torch.Tensor = stage(space_to_depth(image[:, :, begin : b + reach]))
        if b - a == size:
            return found
        if features is None:
            shape = (len(image), found.shape[1], *(n // 2 for n in image.shape[2:]))
            how: dict[str, Any] = {"dtype": found.dtype, "device": found.device}
            features = torch.empty(shape, memory_format=torch.channels_last_3d, **how)
        features[:, :, a // 2 : b // 2] = found[:, :, (a - begin) // 2 : (b - begin) // 2]
    assert features is not None
    return features


def _logits_of_slab(skips: Sequence[torch.Tensor], deepest: torch.Tensor, decoder: Decoder, box: Box) -> torch.Tensor:
    inner = _halved(box)  # what is wanted of each level, finest first; and what must be known for it
    reaches, wanted = [], []
    for i, (skip, stage) in enumerate(zip(skips, reversed(decoder.stages), strict=True)):
        wanted.append(inner.grown(1, skip.shape[2:]) if i == 0 else inner)  # 1: the head's own reach
        reaches.append(_even(wanted[-1].grown(2 * len(stage), skip.shape[2:])))
        inner = _halved(reaches[-1])
    features = _cut(deepest, inner)
    levels = zip(decoder.ups, decoder.stages, reversed(skips), reversed(reaches), reversed(wanted), strict=True)
    for up, stage, skip, reach, want in levels:
        features = stage(torch.cat([up(features), _cut(skip, reach)], dim=1))
        features, inner = _cut(features, want.seen_from(reach)), want
    logits, (x, y, z) = depth_to_space(decoder.head(features)), box.seen_from(_doubled(inner)).slices
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


def _cut(features: torch.Tensor, box: Box) -> torch.Tensor:
    x, y, z = box.slices
    return features[:, :, x, y, z].contiguous(memory_format=torch.channels_last_3d)
