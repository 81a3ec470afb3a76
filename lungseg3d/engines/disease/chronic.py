"""Lungs that changed over years: emphysema with bullae, and fibrosis.

In: patches in HU with lung labels. Out: the same, darker or with a mesh; the label as it was. Random numbers come from
the caller.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lungseg3d.engines.disease.base import DiseasePainter
from lungseg3d.engines.disease.lung_shapes import LungInPatch

_TISSUE_HU = 30.0
# Between these HU the share of a voxel that is a vessel goes from none to all.
_VESSEL_RANGE_HU = (-750.0, -550.0)


class Emphysema(DiseasePainter):
    """Lung that lost its walls: many dark patches among vessels, and bullae, large and empty.

    Args:
        probability, bilateral, voxel_mm, lungs: as of `DiseasePainter`.
        hu_range: HU of the patches and of bullae.
        share_range: part of the lung in dark patches.
        bullae: most of them in one lung; as often fewer, down to none.
        diameter_range_mm: of bullae.
    """

    def __init__(
        self,
        probability: float = 0.1,
        hu_range: tuple[float, float] = (-990.0, -950.0),
        share_range: tuple[float, float] = (0.1, 0.7),
        bullae: int = 5,
        diameter_range_mm: tuple[float, float] = (10.0, 60.0),
        bilateral: float = 0.8,
        **common: Any,
    ) -> None:
        super().__init__(probability, bilateral, **common)
        self.hu_range, self.share_range = tuple(hu_range), tuple(share_range)
        self.bullae, self.diameter_range_mm = bullae, tuple(diameter_range_mm)

    def paint(self, patch: LungInPatch) -> tuple[torch.Tensor, torch.Tensor]:
        rng = patch.rng
        air_hu = patch.uniform(self.hu_range)
        scale_mm = patch.uniform((4, 10))
        part = patch.largest(scale_mm * patch.field(scale_mm), patch.uniform(self.share_range), edge_mm=6.0)
        low, high = _VESSEL_RANGE_HU
        no_vessel = ((high - patch.hu) / (high - low)).clamp(0, 1)
        hu = patch.hu + (air_hu - patch.hu).clamp(max=0) * part * no_vessel
        for _ in range(int(rng.integers(self.bullae + 1))):
            # Small ones are many.
            diameter_mm = float(np.exp(patch.uniform(np.log(self.diameter_range_mm))))
            bulla = patch.ball(patch.place(0.0, 0.6 * diameter_mm), diameter_mm, lobulation=0.05)
            hu = hu + (air_hu - hu) * bulla
        return hu, patch.lung


class Fibrosis(DiseasePainter):
    """A mesh of thickened walls in the lung's outer part, at the back and the base more than above.

    Args:
        probability, bilateral, voxel_mm, lungs: as of `DiseasePainter`.
        depth_range_mm: how far it reaches from the pleura inwards.
        scale_range_mm: SD of the field that the mesh comes from; its holes are about three times as wide.
    """

    def __init__(
        self,
        probability: float = 0.1,
        depth_range_mm: tuple[float, float] = (5.0, 25.0),
        scale_range_mm: tuple[float, float] = (2.5, 4.0),
        bilateral: float = 0.9,
        **common: Any,
    ) -> None:
        super().__init__(probability, bilateral, **common)
        self.depth_range_mm, self.scale_range_mm = tuple(depth_range_mm), tuple(scale_range_mm)

    def paint(self, patch: LungInPatch) -> tuple[torch.Tensor, torch.Tensor]:
        reach_mm = patch.uniform(self.depth_range_mm) * (1 + 0.6 * patch.field(14.0))
        down_mm = patch.slope_mm(np.array([0.0, -0.4, -1.0]))
        down_mm = down_mm - float(down_mm[patch.lung].median())
        band = patch.soft(reach_mm + 0.12 * down_mm - patch.depth_mm, 12.0)
        mesh = patch.walls(patch.uniform(self.scale_range_mm), patch.uniform((1.0, 2.5)))
        # Besides its walls the diseased lung is a little denser throughout.
        part = band * (0.08 + patch.uniform((0.3, 0.8)) * mesh)
        return patch.hu + (_TISSUE_HU - patch.hu).clamp(min=0) * part, patch.lung
