"""What spoils a picture: streaks from metal, and places where nothing was recorded.

In: HU (B, 1, P, P, P) and labels. Out: HU with the artefact; the label as it was, since what is hidden is still there.
Random numbers come from the caller, a generator for each patch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lungseg3d.engines.augmentation.intensity import column


class MetalStreaks:
    """Dark and bright rays from a piece of metal, within the plane of the slices that hold it.

    A ray's HU depend on its angle alone (a sum of a few narrow beams, as many dark as bright ones) and fall off with
    the distance from the metal and from its slices. The metal lies anywhere in the patch or up to half a patch beside.

    Args:
        strength_hu: largest HU of a streak.
        beams: narrow beams, half of them dark.
        reach: distance at which a streak has half its strength, as part of the patch size.
        probability: per patch.
    """

    def __init__(
        self, strength_hu: float = 300.0, beams: int = 12, reach: float = 0.5, probability: float = 0.05
    ) -> None:
        self.strength_hu, self.beams, self.reach, self.probability = strength_hu, beams, reach, probability

    def __call__(
        self, image_hu: torch.Tensor, label: torch.Tensor, groups: Sequence[str], rngs: Sequence[np.random.Generator]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = [i for i, rng in enumerate(rngs) if rng.random() < self.probability]
        if not chosen:
            return image_hu, label
        image_hu = image_hu.clone()
        drawn = [self._draw(rngs[i], image_hu.shape[-1]) for i in chosen]
        image_hu[chosen] += self._streaks(image_hu[chosen], *(np.array(part) for part in zip(*drawn, strict=True)))
        return image_hu, label

    def _draw(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Where the metal is (3,), angles of the beams, their widths in radians, and the strength in HU."""
        metal = rng.uniform(-0.5, 1.5, 3) * size
        metal[2] = rng.uniform(0, size)
        return (
            metal,
            rng.uniform(-np.pi, np.pi, self.beams),
            rng.uniform(0.03, 0.12, self.beams),
            rng.uniform(0.3, 1.0) * self.strength_hu,
        )

    def _streaks(
        self, like: torch.Tensor, metal: np.ndarray, angles: np.ndarray, widths: np.ndarray, strength_hu: np.ndarray
    ) -> torch.Tensor:
        size = like.shape[-1]
        axis = torch.arange(size, device=like.device, dtype=like.dtype)
        x, y, z = (axis - torch.from_numpy(metal[:, k, None]).to(axis) for k in range(3))
        dx, dy = x[:, :, None], y[:, None, :]
        angle, away = torch.atan2(dy, dx), (dx**2 + dy**2).sqrt() / (self.reach * size)
        rays = torch.zeros_like(angle)
        for k in range(angles.shape[1]):
            centre, width = (torch.from_numpy(part[:, k, None, None]).to(axis) for part in (angles, widths))
            # Wrapped to -pi..pi, so that a beam does not end at the seam of the angle.
            turned = torch.remainder(angle - centre + torch.pi, 2 * torch.pi) - torch.pi
            rays += (-1) ** k * torch.exp(-0.5 * (turned / width) ** 2)
        plane = rays.clamp(-1, 1) / (1 + away)
        along = torch.exp(-0.5 * (z / (0.1 * size)) ** 2)
        return column(strength_hu, like) * (plane[:, None, :, :, None] * along[:, None, None, None, :])


class Occlusion:
    """Cover a box of the patch with one HU: a structure must be known by what is left of it.

    Args:
        share: largest side of the box, as part of the patch size.
        hu_range: HU of the cover.
        probability: per patch.

    Source: DeVries & Taylor 2017, arXiv:1708.04552.
    """

    def __init__(
        self, share: float = 0.3, hu_range: tuple[float, float] = (-1000.0, 100.0), probability: float = 0.1
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"the share of Occlusion is {share}, expected 0 < share <= 1")
        self.share, self.hu_range, self.probability = share, hu_range, probability

    def __call__(
        self, image_hu: torch.Tensor, label: torch.Tensor, groups: Sequence[str], rngs: Sequence[np.random.Generator]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        image_hu = image_hu.clone()
        size = image_hu.shape[-1]
        for patch, rng in zip(image_hu, rngs, strict=True):
            if rng.random() >= self.probability:
                continue
            sides = np.maximum(1, (rng.uniform(0.3, 1.0, 3) * self.share * size).astype(int))
            start = rng.integers(0, size - sides + 1)
            box = tuple(slice(int(a), int(a + n)) for a, n in zip(start, sides, strict=True))
            patch[0][box] = float(rng.uniform(self.hu_range[0], self.hu_range[1]))
        return image_hu, label
