"""Fluid between the lung and the wall of the chest.

In: patches in HU with lung labels, axes right, anterior, superior, the patient on the back. Out: the same with fluid
behind and below some lungs; fluid is labelled as no lung. Random numbers come from the caller.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import avg_pool3d

from lungseg3d.engines.augmentation.blur import gaussian_blur
from lungseg3d.engines.disease.base import DiseasePainter, with_tissue
from lungseg3d.engines.disease.lung_shapes import LungInPatch


class PleuralEffusion(DiseasePainter):
    """A crescent of fluid, thick behind and at the base, thin up the wall, and lung pressed together in front of it.

    The fluid takes the place of lung, and the label there becomes background: fluid outside the visceral pleura is no
    lung, is not to be measured as lung volume, and has no nodules in it. Pressed lung stays lung. A patch that ends
    before the lung's back shows the front of a larger crescent.

    Conventions differ: PleThora outlines fluid apart from the "thoracic cavity" that holds it and the lung, lungmask's
    R231 counts it as lung; `is_lung` is for such.

    Args:
        probability, bilateral, voxel_mm, lungs: as of `DiseasePainter`.
        hu_range: mean HU of the fluid.
        thickness_range_mm: of the crescent where it is thickest; never more than half of the lung there.
        compressed: probability of pressed lung without air (passive atelectasis) along the fluid.
        compressed_hu: its mean HU.
        is_lung: leave the label as it was.

    Source: Kiser et al. 2020, Med Phys 47:5941-5952 (PleThora); Hofmanninger et al. 2020, Eur Radiol Exp 4:50 (R231).
    """

    def __init__(
        self,
        probability: float = 0.15,
        hu_range: tuple[float, float] = (0.0, 30.0),
        thickness_range_mm: tuple[float, float] = (8.0, 70.0),
        compressed: float = 0.6,
        compressed_hu: tuple[float, float] = (30.0, 100.0),
        is_lung: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(probability, **common)
        self.hu_range, self.thickness_range_mm = tuple(hu_range), tuple(thickness_range_mm)
        self.compressed, self.compressed_hu, self.is_lung = compressed, tuple(compressed_hu), is_lung

    def paint(self, patch: LungInPatch) -> tuple[torch.Tensor, torch.Tensor]:
        rng = patch.rng
        inside_mm = self._inside_mm(patch)
        fluid = _smoothed(patch.soft(inside_mm, patch.voxel_mm), patch.lung)
        hu = patch.hu
        if rng.random() < self.compressed:
            rim_mm = patch.uniform((3, 25))
            rim = _smoothed(patch.soft(inside_mm + rim_mm, 2 * patch.voxel_mm), patch.lung)
            # No fluid, nothing that presses: the rim keeps to where the crescent is.
            near = avg_pool3d(fluid[None, None], 9, stride=1, padding=4)[0, 0]
            hu = with_tissue(patch, rim * (near / 0.2).clamp(0, 1), patch.uniform(self.compressed_hu))
        wet = with_tissue(patch, torch.ones_like(fluid), patch.uniform(self.hu_range), 3.0, replace=True)
        return torch.where(fluid > 0, hu + (wet - hu) * fluid, hu), patch.lung & ((fluid < 0.5) | self.is_lung)

    def _inside_mm(self, patch: LungInPatch) -> torch.Tensor:
        """Depth below the surface of the fluid in mm, negative above it, (P, P, P)."""
        mm, lung = patch.voxel_mm, patch.lung
        y, z = (torch.arange(n, device=lung.device, dtype=patch.hu.dtype) * mm for n in lung.shape[1:])
        columns = lung.any(dim=1)
        back_mm = torch.where(columns, lung.to(torch.uint8).argmax(dim=1) * mm, torch.inf)
        behind_mm = back_mm.amin(dim=0)
        thickest_mm = min(patch.uniform(self.thickness_range_mm), 0.5 * _longest_mm(lung, mm))
        climb_mm = thickest_mm + patch.uniform((20, 70))
        # From the base upwards the crescent grows thin.
        rise = (z - z[columns.any(dim=0)].min()) / patch.uniform((80, 250))
        thick_mm = thickest_mm * (1 - rise).clamp(0, 1) * (1 - (back_mm - behind_mm) / climb_mm).clamp(0, 1)
        thick_mm = torch.where(columns, thick_mm, 0.0)
        dry = thick_mm < 0.5 * mm
        waves_mm = 0.08 * thick_mm[:, None] * patch.field(15.0)
        behind = back_mm[:, None] + thick_mm[:, None] - y[None, :, None] + waves_mm
        return torch.where(dry[:, None].expand_as(lung), -torch.inf, behind)


def _longest_mm(lung: torch.Tensor, voxel_mm: float) -> float:
    """Extent of the lung from front to back."""
    return float(lung.any(dim=2).any(dim=0).sum()) * voxel_mm


def _smoothed(part: torch.Tensor, lung: torch.Tensor) -> torch.Tensor:
    """A share of voxels without steps from column to column; not faded at the lung's border, where there is none."""
    both = torch.stack([part * lung, lung.to(part.dtype)])[None]
    blurred, weight = gaussian_blur(both, (1.0, 1.0, 1.0))[0]
    return torch.where(lung, blurred / weight.clamp(min=1e-6), 0.0)
