"""`S3TUNet3d`: structured convolutions, shifted skips, and a transformer between supervoxels; S3TU-Net in 3D.

In: image (B, 1, X, Y, Z) in [0, 1]. Out: logits (B, C, X, Y, Z). Knows no label.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from lungseg3d.networks.blocks.structured import DepthwiseFusion, RegularisedConvolution, ShiftedJoin
from lungseg3d.networks.blocks.supervoxels import SupervoxelTransformer
from lungseg3d.networks.halved_unet import HalvedUNet3d, Level


class S3TUNet3d(HalvedUNet3d):
    """A U-Net of structured convolutions whose deepest levels attend among soft supervoxels.

    The 2D network works on slices and superpixels; here all of it is 3D. Regularised convolutions at high resolutions,
    depthwise fusion and supervoxels below, spatial shifts on the skips.

    Args:
        in_channels: channels of the image.
        out_channels: C, classes with background.
        channels: features at 1/2, 1/4, ... of the resolution.
        heads, depths, cells: of the supervoxel levels, the last ones of `channels`. A cell is the voxels of its level
            along each axis for one supervoxel to start from; the deepest level has few voxels, so each starts one.
        dropout: probability of DropBlock in the convolutions above them.

    Source: Wu et al. 2025 (S3TU-Net: structured convolution and superpixel transformer for lung nodule segmentation);
    Jampani et al. 2018 (supervoxels), arXiv:1807.10174.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        channels: Sequence[int] = (32, 64, 128, 192),
        heads: Sequence[int] = (4, 6),
        depths: Sequence[int] = (2, 2),
        cells: Sequence[int] = (2, 1),
        dropout: float = 0.1,
    ) -> None:
        if not len(heads) == len(depths) == len(cells) < len(channels):
            raise ValueError(
                f"{len(heads)} heads, {len(depths)} depths and {len(cells)} cells for {len(channels)} levels; "
                "give one of each for every supervoxel level, and leave a level for convolutions"
            )

        def convolution(below: int, width: int, stride: int) -> nn.Module:
            return RegularisedConvolution(below, width, stride, dropout)

        def supervoxels(head_count: int, depth: int, cell: int) -> Level:
            return lambda below, width, stride: nn.Sequential(
                DepthwiseFusion(below, width, stride), SupervoxelTransformer(width, head_count, depth, cell)
            )

        shallow: list[Level] = [convolution] * (len(channels) - len(heads))
        deep = [supervoxels(*level) for level in zip(heads, depths, cells, strict=True)]
        decoder: list[Level] = [convolution] * (len(channels) - 1)
        super().__init__(in_channels, out_channels, channels, [*shallow, *deep], decoder, ShiftedJoin)
