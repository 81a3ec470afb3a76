"""`FocalTverskyLoss`: the Tversky loss that looks at hard patches longer.

In: logits and label. Out: one number. Knows no network.
"""

from __future__ import annotations

import torch
from monai.losses import TverskyLoss
from torch import nn


class FocalTverskyLoss(nn.Module):
    """mean((1 - Tversky index) ** gamma) over cases and classes.

    MONAI's AsymmetricFocalTverskyLoss takes two classes only and focuses on one; this is the plain form for any number.

    Args:
        alpha, beta: weights of false positives and of false negatives; beta > alpha finds more, and outlines more.
        gamma: exponent; below 1 the gradient stays large near a perfect overlap, above 1 it fades (the paper's
            1 / gamma with gamma = 4 / 3 is 0.75 here).
        **kwargs: anything else that MONAI's TverskyLoss takes, but `reduction`.

    Source: Abraham & Khan 2019, arXiv:1810.07842.
    """

    def __init__(self, alpha: float = 0.3, beta: float = 0.7, gamma: float = 0.75, **kwargs: object) -> None:
        super().__init__()
        if gamma <= 0:
            raise ValueError(f"gamma is {gamma}; it must be above 0")
        self.tversky = TverskyLoss(alpha=alpha, beta=beta, reduction="none", **kwargs)  # type: ignore[arg-type]
        self.gamma = gamma

    def forward(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """logits (B, C, X, Y, Z), label (B, 1, X, Y, Z) -> loss ()."""
        # Below 1 the power has an infinite slope at 0, where the loss of a perfect patch lies.
        focal: torch.Tensor = self.tversky(logits, label).clamp(min=1e-6).pow(self.gamma).mean()
        return focal
