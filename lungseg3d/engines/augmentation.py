"""What scanners do to a patch, in batch, in HU: shift, noise, kernel, thick slices.

In: HU (B, 1, P, P, P) and labels. Out: the same, changed. Knows no network; random numbers come from the caller.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import avg_pool3d, conv3d, interpolate, pad


def gaussian_blur(image: torch.Tensor, sigma: Sequence[float]) -> torch.Tensor:
    """Gaussian blur of (1, 1, X, Y, Z), sigma in voxels along X, Y, Z."""
    for axis, s in enumerate(sigma):
        if s < 0.05:
            continue
        radius = max(1, int(np.ceil(2.5 * s)))
        x = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
        kernel = torch.exp(-0.5 * (x / s) ** 2)
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = len(x)
        padding = [0] * 6
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = radius
        image = conv3d(pad(image, padding, mode="replicate"), (kernel / kernel.sum()).reshape(shape))
    return image


class HuAugmentation:
    """Intensity changes that stay within what scanners do; each with its own probability, per patch.

    Args:
        shift_hu: largest calibration shift, up or down.
        scale: largest relative change of contrast about -600 HU.
        noise_hu: largest noise SD; half of the noise is correlated over neighbouring voxels, as a soft kernel's.
        blur: largest Gaussian SD in voxels (soft kernel).
        sharpen: largest unsharp amount (lung kernel).
        thick_slices: largest simulated slice thickness in voxels along Z.
        probability: of each of these, per patch.
    """

    def __init__(
        self,
        shift_hu: float = 40.0,
        scale: float = 0.1,
        noise_hu: float = 50.0,
        blur: float = 0.9,
        sharpen: float = 0.8,
        thick_slices: float = 3.0,
        probability: float = 0.35,
    ) -> None:
        self.shift_hu, self.scale, self.noise_hu = shift_hu, scale, noise_hu
        self.blur, self.sharpen, self.thick_slices, self.probability = blur, sharpen, thick_slices, probability

    def __call__(
        self, image_hu: torch.Tensor, label: torch.Tensor, groups: Sequence[str], rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        patches = [self._patch(image_hu[i : i + 1], rng) for i in range(len(image_hu))]
        return torch.cat(patches), label

    def _patch(self, x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        chosen = rng.random(6) < self.probability
        amount = [float(a) for a in rng.random(6)]
        if chosen[0] and self.thick_slices > 1:
            depth = x.shape[-1]
            slices = max(2, round(depth / (1 + amount[0] * (self.thick_slices - 1))))
            x = interpolate(interpolate(x, (*x.shape[2:4], slices), mode="area"), x.shape[2:], mode="trilinear")
        if chosen[1]:
            sigma = amount[1] * self.blur
            x = gaussian_blur(x, (sigma, sigma, sigma * rng.random()))
        elif chosen[2]:
            x = x + amount[2] * self.sharpen * (x - gaussian_blur(x, (0.8, 0.8, 0.8)))
        if chosen[3]:
            generator = torch.Generator(device=x.device).manual_seed(int(rng.integers(2**31)))
            noise = torch.randn(x.shape, generator=generator, device=x.device)
            soft = avg_pool3d(pad(noise, (1,) * 6, mode="replicate"), 3, stride=1) * 27**0.5
            x = x + amount[3] * self.noise_hu * (noise + soft) / 2**0.5
        if chosen[4]:
            x = x + (2 * amount[4] - 1) * self.shift_hu
        if chosen[5]:
            x = (x + 600) * (1 + (2 * amount[5] - 1) * self.scale) - 600
        return x
