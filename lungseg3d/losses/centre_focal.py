"""`CentreFocalLoss`: for networks that mark the middle of things, which is a rare voxel in many thousand.

In: logits, the target map of `CentreTargetsd` as `MosaicSampler` gives it. Out: a scalar.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import softplus


class CentreFocalLoss(nn.Module):
    """Focal cross entropy of the voxels in the middle of nodules, and of the hardest of the others.

    Args:
        gamma: exponent of the focal weight (Lin et al. 2017, ICCV, "Focal loss for dense object detection").
        hardest: this many voxels that are no middle count for each that is one, those of the highest loss (Shrivastava
            et al. 2016, arXiv:1604.03540).
        least: voxels of a batch that count at least, for batches without a nodule.

    Both sums are divided by the number of voxels in the middle of nodules (as Zhou et al. 2019, arXiv:1904.07850).
    """

    def __init__(self, gamma: float = 2.0, hardest: float = 20.0, least: int = 1000) -> None:
        super().__init__()
        self.gamma, self.hardest, self.least = gamma, hardest, least

    def forward(self, prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """prediction (B, 2, X, Y, Z); label (B, 1, X, Y, Z) 1 in the middle, 0 elsewhere, between them not asked."""
        logit = prediction[:, 1] - prediction[:, 0]
        probability = logit.sigmoid()
        target = label[:, 0]
        is_middle, is_other = target > 0.99, target < 0.01
        middles = int(is_middle.sum())
        found = ((1 - probability) ** self.gamma * softplus(-logit))[is_middle].sum()
        others = (probability**self.gamma * softplus(logit))[is_other]
        count = min(others.numel(), max(self.least, int(self.hardest * middles)))
        hardest = others.topk(count, sorted=False).values.sum()
        scalar: torch.Tensor = (found + hardest) / max(1, middles)
        return scalar
