"""What scanners do to patches, in batch, in HU: shift, contrast, gamma, noise, kernel, thick slices, low resolution.

In: HU (B, 1, P, P, P) and labels. Out: the same, changed; the label as it was. Knows no network; random numbers come
from the caller, a generator for each patch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import avg_pool3d, interpolate, pad

from lungseg3d.engines.augmentation.blur import gaussian_blur

_SHARPEN_SIGMA = 0.8


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
        self, image_hu: torch.Tensor, label: torch.Tensor, groups: Sequence[str], rngs: Sequence[np.random.Generator]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = np.array([rng.random(6) < self.probability for rng in rngs])
        amount = np.array([rng.random(7) for rng in rngs])
        x = image_hu.clone()
        if self.thick_slices > 1:
            for i in np.flatnonzero(chosen[:, 0]):
                depth = 1 + amount[i, 0] * (self.thick_slices - 1)
                x[i : i + 1] = coarser(x[i : i + 1], (1.0, 1.0, depth))
        if len(soft := np.flatnonzero(chosen[:, 1])):
            widths = amount[soft, 1, None] * self.blur * np.stack([np.ones(len(soft))] * 2 + [amount[soft, 6]], axis=1)
            x[soft] = gaussian_blur(x[soft], widths)
        if len(sharp := np.flatnonzero(chosen[:, 2] & ~chosen[:, 1])):
            part = x[sharp]
            x[sharp] = part + column(amount[sharp, 2] * self.sharpen, x) * (
                part - gaussian_blur(part, (_SHARPEN_SIGMA,) * 3)
            )
        if len(noisy := np.flatnonzero(chosen[:, 3])):
            x[noisy] += column(amount[noisy, 3] * self.noise_hu, x) * self._noise(x, [rngs[int(i)] for i in noisy])
        x += column(np.where(chosen[:, 4], (2 * amount[:, 4] - 1) * self.shift_hu, 0.0), x)
        return (x + 600) * column(np.where(chosen[:, 5], 1 + (2 * amount[:, 5] - 1) * self.scale, 1.0), x) - 600, label

    @staticmethod
    def _noise(x: torch.Tensor, rngs: Sequence[np.random.Generator]) -> torch.Tensor:
        generators = [torch.Generator(device=x.device).manual_seed(int(rng.integers(2**31))) for rng in rngs]
        noise = torch.stack([torch.randn(x.shape[1:], generator=g, device=x.device) for g in generators])
        soft = avg_pool3d(pad(noise, (1,) * 6, mode="replicate"), 3, stride=1) * 27**0.5
        mixed: torch.Tensor = (noise + soft) / 2**0.5
        return mixed


class GammaContrast:
    """Bend the grey scale between two HU: what lies between them moves towards one end, they themselves stay.

    Args:
        gamma_range: exponents, drawn evenly on a logarithmic scale; below 1 brightens.
        hu_range: the two fixed HU; values beyond them stay as they are.
        probability: per patch.
    """

    def __init__(
        self,
        gamma_range: tuple[float, float] = (0.7, 1.5),
        hu_range: tuple[float, float] = (-1000.0, 400.0),
        probability: float = 0.2,
    ) -> None:
        self.gamma_range, self.hu_range, self.probability = tuple(gamma_range), tuple(hu_range), probability

    def __call__(
        self, image_hu: torch.Tensor, label: torch.Tensor, groups: Sequence[str], rngs: Sequence[np.random.Generator]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        low, high = self.hu_range
        draws = [(rng.random() < self.probability, np.exp(rng.uniform(*np.log(self.gamma_range)))) for rng in rngs]
        gamma = np.array([drawn if chosen else 1.0 for chosen, drawn in draws])
        if (gamma == 1.0).all():
            return image_hu, label
        inside = ((image_hu - low) / (high - low)).clamp(0, 1)
        bent = inside ** column(gamma, image_hu)
        return image_hu + (bent - inside) * (high - low), label


class LowResolution:
    """A scan of larger voxels in all directions, brought back to the patch's grid.

    Args:
        factor: largest factor of the voxel size along each axis.
        probability: per patch.
    """

    def __init__(self, factor: float = 2.0, probability: float = 0.15) -> None:
        if factor < 1:
            raise ValueError(f"the factor of LowResolution is {factor}, expected at least 1")
        self.factor, self.probability = factor, probability

    def __call__(
        self, image_hu: torch.Tensor, label: torch.Tensor, groups: Sequence[str], rngs: Sequence[np.random.Generator]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        image_hu = image_hu.clone()
        for i, rng in enumerate(rngs):
            if rng.random() < self.probability:
                factor = float(rng.uniform(1, self.factor))
                image_hu[i : i + 1] = coarser(image_hu[i : i + 1], (factor,) * 3)
        return image_hu, label


def coarser(image: torch.Tensor, factors: Sequence[float]) -> torch.Tensor:
    """(B, C, X, Y, Z) averaged into voxels that are larger by these factors, and interpolated back."""
    shape = image.shape[2:]
    few = tuple(n if f == 1 else min(n, max(2, round(n / f))) for n, f in zip(shape, factors, strict=True))
    return interpolate(interpolate(image, few, mode="area"), shape, mode="trilinear")


def column(values: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """One number for each patch, (B,), in a shape that multiplies (B, 1, P, P, P)."""
    return torch.from_numpy(np.asarray(values)).to(like.device, like.dtype).reshape(-1, 1, 1, 1, 1)
