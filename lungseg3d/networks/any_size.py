"""`AnySize3d`: the network contract for networks that are made elsewhere.

In: a network that wants sizes of a multiple, and gives a tensor, a stack or a list. Out: logits of the image's size,
and in training the extra outputs behind them. Knows no label and no loss.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class AnySize3d(nn.Module):
    """Pads inside and cuts back, and puts the outputs into the order of the contract.

    Args:
        network: takes (B, 1, X, Y, Z) and gives logits (B, C, X, Y, Z), or several of them at that size: stacked
            (B, heads, C, X, Y, Z) as MONAI's DynUNet does in training, or listed as its BasicUNetPlusPlus does.
        multiple: every side is padded to a multiple of this.
        minimum: and to no less than this; instance norm refuses a deepest level of a single voxel.
        main: which of several outputs is the one to use; the extras follow from its side on (-1: the last, then back).
    """

    def __init__(self, network: nn.Module, multiple: int, minimum: int = 1, main: int = 0) -> None:
        super().__init__()
        if main not in (0, -1):
            raise ValueError(f"main is {main}; several outputs are ordered best first (0) or best last (-1)")
        self.network = network
        self.multiple, self.minimum, self.main = multiple, minimum, main

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image (B, 1, X, Y, Z) in [0, 1] -> logits (B, C, X, Y, Z), or (logits, *extras) in training."""
        x, y, z = image.shape[2], image.shape[3], image.shape[4]
        padding = [0, self._missing(z), 0, self._missing(y), 0, self._missing(x)]
        outputs = self.network(nn.functional.pad(image, padding, mode="replicate"))
        if not torch.jit.is_scripting() and (not isinstance(outputs, torch.Tensor) or outputs.ndim == 6):
            # In training a tuple, but TorchScript knows one type only.
            ordered: torch.Tensor = self._ordered(outputs, x, y, z)
            return ordered
        cropped: torch.Tensor = outputs[:, :, :x, :y, :z]
        return cropped

    def _missing(self, size: int) -> int:
        """Voxels that a side lacks."""
        m = self.multiple
        return max((size + m - 1) // m * m, self.minimum) - size

    @torch.jit.unused
    def _ordered(self, outputs: Any, x: int, y: int, z: int) -> Any:
        heads = list(outputs.unbind(1)) if isinstance(outputs, torch.Tensor) else list(outputs)
        heads = heads if self.main == 0 else heads[::-1]
        cut = tuple(head[:, :, :x, :y, :z] for head in heads)
        return cut if self.training and len(cut) > 1 else cut[0]
