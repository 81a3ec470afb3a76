"""`NearBoundaryLoss`: MONAI's boundary loss, with distances that end at a few voxels.

In: logits and label. Out: one number. Knows no network.
"""

from __future__ import annotations

import torch
from monai.losses import BoundaryLoss


class NearBoundaryLoss(BoundaryLoss):
    """Mean of probability x signed distance to the reference's boundary, the distance capped and divided by the cap.

    Plain distances make the loss as large as the patch is wide: in a patch of 48 voxels a far corner outweighs the
    border of a nodule fifty times, and no weight fits both the first and the last epoch. Capped, the loss lies within
    -1 and 1, so that a weight of 0.3 beside Dice means 0.3.

    Args:
        cap_voxels: distance from which on all voxels are equally far.
        **kwargs: what MONAI's BoundaryLoss takes.

    Source: Kervadec et al. 2019, arXiv:1812.07032.
    """

    def __init__(self, cap_voxels: float = 5.0, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        if cap_voxels <= 0:
            raise ValueError(f"cap_voxels is {cap_voxels}; it must be above 0")
        self.cap_voxels = cap_voxels

    @torch.no_grad()
    def compute_distance_map(self, target: torch.Tensor) -> torch.Tensor:
        """One-hot target (B, C, X, Y, Z) -> signed distances in caps, -1 to 1; 0 for a class that is absent."""
        return super().compute_distance_map(target).clamp(-self.cap_voxels, self.cap_voxels) / self.cap_voxels
