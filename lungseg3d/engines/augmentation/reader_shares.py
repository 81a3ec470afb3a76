"""Per cent of readers, as they were cropped, into the shares that a loss takes.

In and out: a batch. Knows no reader.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


class ReaderShares:
    """The last augmentation where readers are learnt from: labels of `ReaderSharesd`, 0 to 100, become 0 to 1."""

    def __call__(
        self, image_hu: torch.Tensor, label: torch.Tensor, groups: Sequence[str], rngs: Sequence[np.random.Generator]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return image_hu, label.float() / 100
