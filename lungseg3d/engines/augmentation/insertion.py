"""Nodules that were not there: real ones moved from one patient to another, and synthetic ones of every kind.

In: HU (B, 1, P, P, P) and labels, on isotropic patches. Out: the same, with a nodule in some patches that showed none.
Random numbers come from the caller. Knows no network and no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch.nn.functional import avg_pool3d, grid_sample, max_pool3d

from lungseg3d.core import Grid
from lungseg3d.data import Texture, make_nodule_specs, nodule_box, nodule_hu
from lungseg3d.engines.augmentation.blur import gaussian_blur

LUNG_HU, WALL_HU, SOFT_TISSUE_HU = -860.0, -350.0, 40.0
MIXED_TEXTURES: dict[Texture, float] = {"solid": 0.45, "part-solid": 0.2, "ground-glass": 0.35}


class NoduleInsertion:
    """Paste real nodules, turned and scaled, into the centre of patches of lung that show none.

    The nodule and a rim of about 2 voxels replace the lung there; the rim fades, so that vessels run into the nodule as
    they do in life. Where the host's own tissue is denser than the donor's rim (pleura, vessels), the denser one stays.

    Args:
        donors: cases with "image" HU (1, X, Y, Z) and "label" (1, X, Y, Z); of several nodules the one nearest to the
            middle of each is taken. Those without one, such as healthy CTs, give none.
        groups: names of the sampler's groups whose patches may receive one.
        probability: per patch of those groups.
        scale_range: zoom of the nodule; below 1 makes the small nodules that the donors lack.
        value: label value of a nodule.
        jitter: largest distance of its middle from the patch's along each axis, as part of the patch size.
        beneath: label values that a nodule may lie on, such as those of lungs; of others a patch must have none.
    """

    def __init__(
        self,
        donors: Sequence[Mapping[str, Any]],
        groups: Sequence[str],
        probability: float = 0.5,
        scale_range: tuple[float, float] = (0.45, 1.1),
        value: int = 1,
        jitter: float = 0.25,
        beneath: Sequence[int] = (),
    ) -> None:
        found = (self._donor(donor) for donor in donors)
        self.donors = [donor for donor in found if donor is not None]
        self.groups, self.probability = set(groups), probability
        self.scale_range, self.value, self.jitter = tuple(scale_range), value, jitter
        self.beneath = tuple(beneath)

    @property
    def adds_labels(self) -> bool:
        """Whether patches without a nodule may get one."""
        return bool(self.donors) and self.probability > 0

    @staticmethod
    def _donor(case: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor, np.ndarray] | None:
        image = torch.as_tensor(case["image"]).as_subclass(torch.Tensor).float()
        label = _middle_piece(torch.as_tensor(case["label"]).as_subclass(torch.Tensor) > 0).float()
        if not label.any():
            return None
        centre = torch.nonzero(label[0]).float().mean(dim=0).numpy()
        return image, label, centre

    def __call__(
        self, image_hu: torch.Tensor, label: torch.Tensor, groups: Sequence[str], rngs: Sequence[np.random.Generator]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.donors:
            return image_hu, label
        image_hu, label = image_hu.clone(), label.clone()
        for i, (group, rng) in enumerate(zip(groups, rngs, strict=True)):
            if group in self.groups and rng.random() < self.probability and _is_free(label[i], self.beneath):
                image_hu[i], inside = self._inserted(image_hu[i], rng)
                label[i] = torch.where(inside, self.value, label[i])
        return image_hu, label

    def _inserted(self, host: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        donor, mask, centre = self.donors[int(rng.integers(len(self.donors)))]
        size = host.shape[-1]
        zoom = float(np.exp(rng.uniform(*np.log(self.scale_range))))
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        where = size / 2 + rng.uniform(-self.jitter, self.jitter, 3) * size
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
        rim = gaussian_blur(max_pool3d(inside.float(), 5, stride=1, padding=2), (1.0, 1.0, 1.0))
        pasted = torch.where(inside, tissue, rim * tissue + (1 - rim) * host[None])
        pasted = torch.where(~inside & (host[None] > pasted), host[None], pasted)
        return pasted[0], inside[0]


@dataclass(frozen=True)
class SyntheticNodules:
    """Which nodules are drawn.

    Attributes:
        texture_shares: relative frequency of "solid", "part-solid", "ground-glass"; real nodules are mostly solid.
        median_diameter_mm: of the log-normal distribution of sizes.
        voxel_mm: spacing of the patches' voxels.
    """

    texture_shares: Mapping[Texture, float] = field(default_factory=lambda: dict(MIXED_TEXTURES))
    median_diameter_mm: float = 11.0
    voxel_mm: float = 1.0


class NoduleSynthesis:
    """Draw synthetic nodules into patches of lung that show none: solid, part-solid and ground-glass in chosen shares.

    Real examples of ground glass are few, and a network that has seen few leaves them out. A synthetic nodule fills
    part of the air of the host's own voxels with soft tissue, so vessels run through ground glass and the scanner's
    noise stays. What was wall (pleura, mediastinum, diaphragm) stays wall and is not labelled.

    Args:
        groups: names of the sampler's groups whose patches may receive one.
        probability: per patch of those groups.
        value: label value of a nodule.
        jitter, beneath: as of `NoduleInsertion`.
        **nodules: fields of `SyntheticNodules`.
    """

    keyword_groups = (SyntheticNodules,)

    def __init__(
        self,
        groups: Sequence[str],
        probability: float = 0.5,
        value: int = 1,
        jitter: float = 0.3,
        beneath: Sequence[int] = (),
        **nodules: Any,
    ) -> None:
        self.groups, self.probability = set(groups), probability
        self.nodules = SyntheticNodules(**nodules)
        self.value, self.jitter, self.beneath = value, jitter, tuple(beneath)

    @property
    def adds_labels(self) -> bool:
        """Whether patches without a nodule may get one."""
        return self.probability > 0

    def __call__(
        self, image_hu: torch.Tensor, label: torch.Tensor, groups: Sequence[str], rngs: Sequence[np.random.Generator]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        image_hu, label = image_hu.clone(), label.clone()
        for i, (group, rng) in enumerate(zip(groups, rngs, strict=True)):
            if group in self.groups and rng.random() < self.probability and _is_free(label[i], self.beneath):
                image_hu[i], inside = self._drawn(image_hu[i], rng)
                label[i] = torch.where(inside, self.value, label[i])
        return image_hu, label

    def _drawn(self, host: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Host (1, P, P, P) in HU with one nodule near its middle, and where it is."""
        (spec,) = make_nodule_specs(1, rng, self.nodules.median_diameter_mm, self.nodules.texture_shares)
        size = host.shape[-1]
        grid = Grid((size, size, size), np.diag([self.nodules.voxel_mm] * 3 + [1.0]))
        centre = grid.to_world((size / 2 + rng.uniform(-self.jitter, self.jitter, 3) * size)[None])[0]
        box = nodule_box(spec, grid, centre)
        if box is None:
            return host, torch.zeros(host.shape, dtype=torch.bool, device=host.device)
        occupancy, filled = torch.zeros_like(host), torch.zeros_like(host)
        drawn, tissue_hu = (torch.from_numpy(a).to(host.device) for a in nodule_hu(spec, grid.cropped(box), centre))
        occupancy[0][box.slices] = drawn
        filled[0][box.slices] = ((tissue_hu - LUNG_HU) / (SOFT_TISSUE_HU - LUNG_HU)).clamp(0, 1)
        wall = avg_pool3d(host[None], 5, stride=1, padding=2, count_include_pad=False)[0] > WALL_HU
        occupancy = torch.where(wall, 0.0, occupancy)
        if spec.texture == "ground-glass":  # from dense to barely visible
            filled = filled * rng.uniform(0.5, 1.0)
        part = gaussian_blur((occupancy * filled)[None], (0.5, 0.5, 0.5))[0]
        air = (SOFT_TISSUE_HU - host).clamp(min=0)
        # Filled with one value, solid tissue would have no noise: half of the host's own goes on.
        grain = (host - gaussian_blur(host[None], (1.0, 1.0, 1.0))[0]).clamp(-60, 60) * part * 0.5
        return host + air * part + grain, occupancy >= 0.5


def _middle_piece(mask: torch.Tensor) -> torch.Tensor:
    """The connected piece of a mask (1, X, Y, Z) that has the voxel nearest to the middle of the array."""
    pieces, count = ndimage.label(mask[0].cpu().numpy(), structure=np.ones((3, 3, 3)))
    if count < 2:
        return mask
    voxels = np.argwhere(pieces)
    away = np.linalg.norm(voxels - (np.array(pieces.shape) - 1) / 2, axis=1)
    return torch.from_numpy(pieces == pieces[tuple(voxels[away.argmin()])])[None].to(mask.device)


def _is_free(label: torch.Tensor, beneath: Sequence[int]) -> bool:
    """Whether a patch shows nothing but background and what a nodule may lie on."""
    allowed = torch.tensor((0, *beneath), dtype=label.dtype, device=label.device)
    return bool(torch.isin(label, allowed).all())


class OnlyLabels:
    """Keep these label values, make the rest background: lungs have served those who paint disease into them.

    Args:
        values: label values that stay.
    """

    def __init__(self, values: Sequence[int] = (1,)) -> None:
        self.values = tuple(values)

    def __call__(
        self, image_hu: torch.Tensor, label: torch.Tensor, groups: Sequence[str], rngs: Sequence[np.random.Generator]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        kept = torch.isin(label, torch.tensor(self.values, dtype=label.dtype, device=label.device))
        return image_hu, torch.where(kept, label, 0).to(label.dtype)
