"""Lung that lost its air: consolidation, ground glass, and a collapsed part at the base.

In: patches in HU with lung labels. Out: the same with dense lung; the label as it was, since lung without air is lung.
Random numbers come from the caller.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lungseg3d.engines.disease.base import DiseasePainter, with_tissue
from lungseg3d.engines.disease.lung_shapes import LungInPatch

_WATER_HU = 30.0


class Consolidation(DiseasePainter):
    """Airspaces full of fluid or cells: patches, or most of a lobe up to an oblique border; bronchi may keep their air.

    Args:
        probability, bilateral, voxel_mm, lungs: as of `DiseasePainter`.
        hu_range: mean HU of a consolidation.
        share_range: part of the lung in the patch that is consolidated.
        lobar: probability of one lobe-like region in place of patches.
        bronchogram: probability of air in the bronchi.
    """

    def __init__(
        self,
        probability: float = 0.15,
        hu_range: tuple[float, float] = (0.0, 60.0),
        share_range: tuple[float, float] = (0.08, 0.6),
        lobar: float = 0.5,
        bronchogram: float = 0.5,
        **common: Any,
    ) -> None:
        super().__init__(probability, **common)
        self.hu_range, self.share_range = tuple(hu_range), tuple(share_range)
        self.lobar, self.bronchogram = lobar, bronchogram

    def paint(self, patch: LungInPatch) -> tuple[torch.Tensor, torch.Tensor]:
        rng = patch.rng
        share = patch.uniform(self.share_range)
        lobar = rng.random() < self.lobar
        part = lobe_like(patch, share) if lobar else patchy(patch, share, edge_mm=patch.uniform((4, 18)))
        if rng.random() < self.bronchogram:
            part = part * (1 - bronchi(patch))
        return with_tissue(patch, part, patch.uniform(self.hu_range)), patch.lung


class GroundGlass(DiseasePainter):
    """Airspaces partly full: the lung is grey and its vessels are still seen.

    Args:
        probability, bilateral, voxel_mm, lungs: as of `DiseasePainter`.
        hu_range: HU that the lung's median has within ground glass.
        share_range: part of the lung in the patch.
        subpleural: probability that ground glass keeps to the lung's outer part, as in viral pneumonia.
    """

    def __init__(
        self,
        probability: float = 0.15,
        hu_range: tuple[float, float] = (-700.0, -400.0),
        share_range: tuple[float, float] = (0.1, 0.7),
        subpleural: float = 0.4,
        **common: Any,
    ) -> None:
        super().__init__(probability, **common)
        self.hu_range, self.share_range, self.subpleural = tuple(hu_range), tuple(share_range), subpleural

    def paint(self, patch: LungInPatch) -> tuple[torch.Tensor, torch.Tensor]:
        rng = patch.rng
        wanted_hu = patch.uniform(self.hu_range)
        outer_mm = -patch.depth_mm if rng.random() < self.subpleural else None
        part = patchy(patch, patch.uniform(self.share_range), patch.uniform((10, 40)), outer_mm)
        cloudy_hu = (wanted_hu + 50 * patch.field(10.0)).clamp(*self.hu_range)
        # Water takes the place of this part of a voxel's air: vessels and noise are seen through it.
        filled = ((cloudy_hu - patch.lung_hu) / max(_WATER_HU - patch.lung_hu, 100.0)).clamp(0, 1)
        return patch.hu + (_WATER_HU - patch.hu).clamp(min=0) * part * filled, patch.lung


class Collapse(DiseasePainter):
    """A wedge without air at the back of the base (atelectasis), as behind a plug of mucus or in those who lie long.

    The lung does not lose volume here: what collapsed fills the place that it had.

    Args:
        probability, bilateral, voxel_mm, lungs: as of `DiseasePainter`.
        hu_range: mean HU; above fluid, since blood vessels are crowded in it.
        share_range: part of the lung in the patch.
        bronchogram: probability of air in the bronchi.
    """

    def __init__(
        self,
        probability: float = 0.1,
        hu_range: tuple[float, float] = (20.0, 90.0),
        share_range: tuple[float, float] = (0.03, 0.3),
        bronchogram: float = 0.3,
        **common: Any,
    ) -> None:
        super().__init__(probability, **common)
        self.hu_range, self.share_range, self.bronchogram = tuple(hu_range), tuple(share_range), bronchogram

    def paint(self, patch: LungInPatch) -> tuple[torch.Tensor, torch.Tensor]:
        rng = patch.rng
        back = patch.slope_mm(np.array([rng.normal(0, 0.3), -1.0, rng.uniform(-0.5, 0.1)]))
        base = patch.slope_mm(np.array([rng.normal(0, 0.3), rng.uniform(-0.4, 0.1), -1.0]))
        lead_mm = float(torch.quantile((back - base)[patch.lung], rng.uniform(0.3, 0.7)))
        wedge_mm = torch.minimum(back - lead_mm, base) + 6 * patch.field(16.0)
        part = patch.largest(wedge_mm, patch.uniform(self.share_range), edge_mm=patch.uniform((3, 8)))
        if rng.random() < self.bronchogram:
            part = part * (1 - bronchi(patch))
        return with_tissue(patch, part, patch.uniform(self.hu_range)), patch.lung


def patchy(patch: LungInPatch, share: float, edge_mm: float, preference_mm: torch.Tensor | None = None) -> torch.Tensor:
    """Share of each voxel in irregular regions of several sizes, which together hold `share` of the lung.

    A preference (P, P, P) draws them to where it is large.
    """
    scale_mm = patch.uniform((8, 22))
    inside_mm = scale_mm * (patch.field(scale_mm) + 0.35 * patch.field(scale_mm / 3))
    return patch.largest(inside_mm if preference_mm is None else inside_mm + preference_mm, share, edge_mm)


def lobe_like(patch: LungInPatch, share: float) -> torch.Tensor:
    """Share of each voxel beyond an oblique, slightly curved surface such as a fissure."""
    rng = patch.rng
    # Fissures run from behind and above to the front and below: lobes lie behind and below, or before and above.
    direction = np.array([0.0, -0.6, -0.8]) * (1 if rng.random() < 0.65 else -1) + rng.normal(0, 0.3, 3)
    inside_mm = patch.slope_mm(direction) + 8 * patch.field(25.0) + 2 * patch.field(6.0)
    return patch.largest(inside_mm, share, edge_mm=patch.uniform((3, 7)))


def bronchi(patch: LungInPatch) -> torch.Tensor:
    """Share of each voxel that stays air: bronchi within dense lung, thin against the voxels and so never all air."""
    return 0.9 * patch.tubes(patch.uniform((6, 11)), patch.uniform((0.5, 2.5)))
