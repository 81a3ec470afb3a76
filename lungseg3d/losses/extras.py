"""`LossWithExtras`: one loss for logits alone and for logits with company.

In: logits, or (logits, *extras) as networks give them in training; the label. Out: one number.
Knows extras by their shape, so every loss fits every network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.losses import DeepSupervisionLoss
from torch import nn


class LossWithExtras(nn.Module):
    """The loss of the logits, of deeply supervised logits, and of the classes that are present.

    Args:
        loss: takes logits (B, C, X, Y, Z) and label (B, 1, X, Y, Z); any of MONAI's.
        weight_mode: weights of the deeply supervised logits, as in MONAI's DeepSupervisionLoss: `exp` (1, 1/2, ...;
            nnU-Net, Isensee et al. 2021), `same` (UNet++, Zhou et al. 2019) or `two`. They are divided by their sum,
            so that the loss has one scale whatever the number of outputs.
        presence_weight: weight of the binary cross entropy of the classes that are present in the patch.

    Extras of shape (B, C, x, y, z) are logits at any size; one of shape (B, C - 1) is the logit of each foreground
    class to be in the patch at all.

    Raises:
        ValueError: an extra has another shape.
    """

    def __init__(self, loss: nn.Module, weight_mode: str = "exp", presence_weight: float = 0.2) -> None:
        super().__init__()
        self.loss = loss
        self.deep_supervision = DeepSupervisionLoss(loss, weight_mode=weight_mode)  # type: ignore[arg-type]
        self.presence_weight = presence_weight

    def forward(self, prediction: torch.Tensor | Sequence[torch.Tensor], label: torch.Tensor) -> torch.Tensor:
        """prediction (B, C, X, Y, Z) or a sequence that begins with it, label (B, 1, X, Y, Z) -> loss ()."""
        if isinstance(prediction, torch.Tensor):
            value: torch.Tensor = self.loss(prediction, label)
            return value
        logits = prediction[0]
        maps, presences = [logits], []
        for extra in prediction[1:]:
            if extra.ndim == logits.ndim and extra.shape[1] == logits.shape[1]:
                maps.append(extra)
            elif extra.shape == (logits.shape[0], logits.shape[1] - 1):
                presences.append(extra)
            else:
                raise ValueError(
                    f"an extra output has shape {tuple(extra.shape)} beside logits of {tuple(logits.shape)}: "
                    "neither logits of the same classes nor one value for each foreground class"
                )
        weights = self.deep_supervision.get_weights(len(maps))
        total: torch.Tensor = self.deep_supervision(maps, label.float()) / sum(weights)
        for presence in presences:
            present = present_classes(label, presence.shape[1]).to(presence)
            total = total + self.presence_weight * nn.functional.binary_cross_entropy_with_logits(presence, present)
        return total


def present_classes(label: torch.Tensor, classes: int) -> torch.Tensor:
    """Which of the foreground classes 1 ... `classes` a patch holds: label (B, 1, X, Y, Z) -> bool (B, classes)."""
    return torch.stack([(label == c).flatten(1).any(dim=1) for c in range(1, classes + 1)], dim=1)
