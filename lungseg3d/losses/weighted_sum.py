"""`WeightedSum`: several losses of one prediction, as a bundle's JSON names them.

In: logits and label. Out: one number. Knows no network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class WeightedSum(nn.Module):
    """The sum of losses, each times its weight.

    Args:
        losses: each takes logits and label.
        weights: one for each loss.

    Raises:
        ValueError: as many weights as losses are needed, and at least one.
    """

    def __init__(self, losses: Sequence[nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        if not losses or len(losses) != len(weights):
            raise ValueError(f"{len(losses)} losses and {len(weights)} weights; give one weight for each loss")
        self.losses = nn.ModuleList(losses)
        self.weights = tuple(weights)

    def forward(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """logits (B, C, X, Y, Z), label (B, 1, X, Y, Z) -> loss ()."""
        total = logits.new_zeros(())
        for loss, weight in zip(self.losses, self.weights, strict=True):
            total = total + weight * loss(logits, label)
        return total
