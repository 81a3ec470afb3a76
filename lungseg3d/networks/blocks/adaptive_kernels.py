"""Convolutions whose kernel depends on the image: mixed kernels, and a choice among widths.

In: features (B, C, x, y, z). Out: features of the same grid. Knows no network.
"""

from __future__ import annotations

import math

import torch
from torch import nn


class DynamicConvolution(nn.Module):
    """A 3 x 3 x 3 convolution whose kernel is a mixture of several, with proportions taken from the image.

    One mixed kernel for each case, so the cost is that of one convolution.

    Args:
        in_channels, out_channels: channels.
        kernels: how many kernels are mixed; 4 in the paper.
        temperature: of the softmax over them. The paper's 30 keeps all kernels in play from the first step on.
        reduction: in_channels is divided by this where the proportions are worked out, but no less than 8 remain.

    Source: Chen et al. 2020, CVPR, arXiv:1912.03458.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernels: int = 4, temperature: float = 30.0, reduction: int = 4
    ) -> None:
        super().__init__()
        if kernels < 1 or temperature <= 0:
            raise ValueError(f"kernels is {kernels} and temperature {temperature}; at least 1, and above 0")
        self.in_channels, self.out_channels, self.temperature = in_channels, out_channels, temperature
        self.weight = nn.Parameter(torch.empty(kernels, out_channels, in_channels, 3, 3, 3))
        for kernel in self.weight:
            nn.init.kaiming_uniform_(kernel, a=math.sqrt(5))
        hidden = max(in_channels // reduction, 8)
        self.proportions = nn.Sequential(nn.Linear(in_channels, hidden), nn.ReLU(), nn.Linear(hidden, kernels))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, in, x, y, z) -> (B, out, x, y, z)."""
        b, x, y, z = features.shape[0], features.shape[2], features.shape[3], features.shape[4]
        shares = self.mixture(features)
        mixed = (shares.to(self.weight.dtype) @ self.weight.flatten(1)).reshape(-1, self.in_channels, 3, 3, 3)
        # Each case has its own kernel: the batch becomes groups of one image.
        image = features.reshape(1, b * self.in_channels, x, y, z)
        return nn.functional.conv3d(image, mixed, padding=1, groups=b).reshape(b, self.out_channels, x, y, z)

    def mixture(self, features: torch.Tensor) -> torch.Tensor:
        """Proportions of the kernels for each case: (B, in, x, y, z) -> (B, kernels), each row sums to one."""
        return torch.softmax(self.proportions(features.mean(dim=(2, 3, 4))) / self.temperature, dim=1)


class SelectiveKernels(nn.Module):
    """A narrow and a wide 3 x 3 x 3 convolution, and each channel chooses between them by the whole volume.

    The wide one is dilated by 2 and so reaches as far as 5 x 5 x 5. As in AttentionalFusion, no norm stands where a
    patch is one value.

    Args:
        channels: C.
        reduction: C is divided by this where the choice is worked out, but no less than 8 remain.

    Source: Li et al. 2019, CVPR, arXiv:1903.06586.
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(channels // reduction, 8)
        self.narrow = self._branch(channels, 1)
        self.wide = self._branch(channels, 2)
        self.squeeze = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU())
        self.choose = nn.Linear(hidden, 2 * channels)

    @staticmethod
    def _branch(channels: int, dilation: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv3d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm3d(channels),
            nn.ReLU(),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, x, y, z) -> (B, C, x, y, z)."""
        narrow, wide = self.narrow(features), self.wide(features)
        choice = self.choice(narrow + wide)[:, :, :, None, None, None]
        weighted: torch.Tensor = choice[:, 0] * narrow + choice[:, 1] * wide
        return weighted

    def choice(self, both: torch.Tensor) -> torch.Tensor:
        """Sum of the branches (B, C, x, y, z) -> weights (B, 2, C) of narrow and wide; the two sum to one."""
        scores = self.choose(self.squeeze(both.mean(dim=(2, 3, 4))))
        return torch.softmax(scores.reshape(scores.shape[0], 2, -1), dim=1)
