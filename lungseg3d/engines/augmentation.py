"""What scanners and patients do to a patch, in batch, in HU: shift, noise, kernel, thick slices, another nodule.

In: HU (B, 1, P, P, P) and labels. Out: the same, changed. Knows no network; random numbers come from the caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import avg_pool3d, conv3d, grid_sample, interpolate, max_pool3d, pad


def _blur(image: torch.Tensor, sigma: Sequence[float]) -> torch.Tensor:
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
            x = _blur(x, (sigma, sigma, sigma * rng.random()))
        elif chosen[2]:
            x = x + amount[2] * self.sharpen * (x - _blur(x, (0.8, 0.8, 0.8)))
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


class NoduleInsertion:
    """Paste real nodules, turned and scaled, into the centre of patches of lung that show none.

    The nodule and a rim of about 2 voxels replace the lung there; the rim fades, so that vessels run into the nodule as
    they do in life. Where the host's own tissue is denser than the donor's rim (pleura, vessels), the denser one stays.

    Args:
        donors: cases with "image" HU (1, X, Y, Z) and "label" (1, X, Y, Z), one nodule near the middle of each.
        groups: names of the sampler's groups whose patches may receive one.
        probability: per patch of those groups.
        scale_range: zoom of the nodule; below 1 makes the small nodules that the donors lack.
        value: label value of a nodule.
    """

    def __init__(
        self,
        donors: Sequence[Mapping[str, Any]],
        groups: Sequence[str],
        probability: float = 0.5,
        scale_range: tuple[float, float] = (0.45, 1.1),
        value: int = 1,
    ) -> None:
        self.donors = [self._donor(donor) for donor in donors]
        self.groups, self.probability = set(groups), probability
        self.scale_range, self.value = tuple(scale_range), value

    @staticmethod
    def _donor(case: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        image = torch.as_tensor(case["image"]).as_subclass(torch.Tensor).float()
        label = (torch.as_tensor(case["label"]).as_subclass(torch.Tensor) > 0).float()
        if not label.any():
            raise ValueError(f"donor {case.get('case_id', '')} has an empty label: there is no nodule to insert")
        centre = torch.nonzero(label[0]).float().mean(dim=0).numpy()
        return image, label, centre

    def __call__(
        self, image_hu: torch.Tensor, label: torch.Tensor, groups: Sequence[str], rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.donors:
            return image_hu, label
        image_hu, label = image_hu.clone(), label.clone()
        for i, group in enumerate(groups):
            if group in self.groups and rng.random() < self.probability and not label[i].any():
                image_hu[i], label[i] = self._inserted(image_hu[i], rng)
        return image_hu, label

    def _inserted(self, host: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        donor, mask, centre = self.donors[int(rng.integers(len(self.donors)))]
        size = host.shape[-1]
        zoom = float(np.exp(rng.uniform(*np.log(self.scale_range))))
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        where = size / 2 + rng.uniform(-0.25, 0.25, 3) * size
        axes = [torch.arange(size, dtype=torch.float32, device=host.device) - float(w) for w in where]
        points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        points = points @ torch.from_numpy(turn / zoom).float().to(host.device).T
        shape = np.array(donor.shape[1:])
        middle, scale = (torch.from_numpy(v).float().to(host.device) for v in (centre + 0.5, 2 / shape))
        points = (points + middle) * scale - 1
        grid = points.flip(-1)[None]
        soft = grid_sample(mask.to(host.device)[None], grid, padding_mode="zeros", align_corners=False)
        tissue = grid_sample(donor.to(host.device)[None], grid, padding_mode="border", align_corners=False)
        inside = soft >= 0.5
        rim = _blur(max_pool3d(inside.float(), 5, stride=1, padding=2), (1.0, 1.0, 1.0))
        pasted = torch.where(inside, tissue, rim * tissue + (1 - rim) * host[None])
        pasted = torch.where(~inside & (host[None] > pasted), host[None], pasted)
        return pasted[0], inside[0].to(torch.uint8) * self.value
