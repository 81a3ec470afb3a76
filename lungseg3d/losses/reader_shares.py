"""`ReaderShareLoss`: what several readers outlined, each of them counted, not one outline that none of them drew.

In: logits, the share of readers who outlined each voxel. Out: a scalar.
"""

from __future__ import annotations

import torch
from monai.losses import DiceLoss
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits


class ReaderShareLoss(nn.Module):
    """Soft Dice and cross entropy against shares of readers (soft labels; Gros et al. 2021, MedIA, "SoftSeg").

    Args:
        cross_entropy: weight of the cross entropy beside the Dice loss.
        inside: how many times a voxel counts in the cross entropy that any reader outlined; the others are many.
    """

    def __init__(self, cross_entropy: float = 1.0, inside: float = 5.0) -> None:
        super().__init__()
        self.dice = DiceLoss(sigmoid=True, soft_label=True)
        self.cross_entropy, self.inside = cross_entropy, inside

    def forward(self, prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """prediction (B, 2, X, Y, Z); label (B, 1, X, Y, Z), the share of readers, 0 to 1."""
        logit, share = prediction[:, 1:] - prediction[:, :1], label.float()
        weight = 1 + (self.inside - 1) * (share > 0)
        entropy = (weight * binary_cross_entropy_with_logits(logit, share, reduction="none")).sum() / weight.sum()
        scalar: torch.Tensor = self.dice(logit, share) + self.cross_entropy * entropy
        return scalar
