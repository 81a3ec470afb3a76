"""One network at two resolutions: what is too large for it at one looks like what it knows at the other.

In: an image, a network, a mask of where to look. Out: the higher of both probabilities. Knows no label.
A network that learnt the middle of nodules on parts of 24 mm sees little but the inside of one of 30 mm; at half the
resolution that one is 15 voxels wide. The coarse look costs an eighth (image pyramids; Adelson et al. 1984, RCA
Engineer 29:33-41).
"""

from __future__ import annotations

from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch.nn.functional import avg_pool3d, interpolate, max_pool3d


class TwoScaleInferer(Inferer):
    """MONAI inferer: the higher of what a network says of an image and of the image at a lower resolution.

    Args:
        inferer: for both; it takes image, network and mask, such as a `WindowInferer`.
        factor: voxels along each axis that become one for the coarse look.
    """

    def __init__(self, inferer: Inferer, factor: int = 2) -> None:
        super().__init__()
        self.inferer, self.factor = inferer, factor

    def __call__(  # type: ignore[override]
        self,
        inputs: torch.Tensor,
        network: torch.nn.Module,
        *args: Any,
        mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """image (1, 1, X, Y, Z), mask of the same shape or None -> probabilities (1, C, X, Y, Z), as the inferer's."""
        image = torch.as_tensor(inputs).as_subclass(torch.Tensor)
        held = None if mask is None else torch.as_tensor(mask).as_subclass(torch.Tensor).float()
        fine = self.inferer(image, network, *args, mask=held, **kwargs)
        coarse_mask = None if held is None else max_pool3d(held, self.factor, ceil_mode=True)
        coarse = self.inferer(reduce_resolution(image, self.factor), network, *args, mask=coarse_mask, **kwargs)
        found = torch.maximum(fine, restore_resolution(coarse, self.factor, image.shape[2:]).to(fine))
        return MetaTensor(found).copy_meta_from(inputs) if isinstance(inputs, MetaTensor) else found


def reduce_resolution(image: torch.Tensor, factor: int) -> torch.Tensor:
    """(B, C, X, Y, Z) -> (B, C, X / factor, ...), means of blocks of voxels; sizes are rounded up."""
    return avg_pool3d(image, factor, ceil_mode=True)


def restore_resolution(image: torch.Tensor, factor: int, shape: torch.Size) -> torch.Tensor:
    """What `reduce_resolution` made, interpolated back to the (X, Y, Z) that it had."""
    whole = [n * factor for n in image.shape[2:]]
    x, y, z = shape
    return interpolate(image, whole, mode="trilinear")[:, :, :x, :y, :z]
