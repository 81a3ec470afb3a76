"""Large tumours of the lung, which rules and networks taught by rules leave out of the lung.

In: patches in HU with lung labels. Out: the same with a tumour; the label as it was. Random numbers come from the
caller. Nodules are drawn by `insertion`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lungseg3d.engines.disease.base import DiseasePainter, with_tissue
from lungseg3d.engines.disease.lung_shapes import LungInPatch


class LargeTumour(DiseasePainter):
    """A lobulated mass of soft tissue at the chest wall, the hilum or the mediastinum, or free in the lung.

    Label rule: it stays lung. Nodules are lung here, whatever their size, and a lung that loses its tumour loses what
    the second stage looks for. What of the ball lies beyond the lung (wall, mediastinum) is not drawn.

    Args:
        probability, bilateral, voxel_mm, lungs: as of `DiseasePainter`; one tumour a lung.
        diameter_range_mm: small ones as often as large ones.
        hu_range: mean HU, without and with contrast medium.
        at_border: probability that its middle is so near the lung's border that it touches it.
        necrosis: probability of a middle of lower HU.
    """

    def __init__(
        self,
        probability: float = 0.15,
        diameter_range_mm: tuple[float, float] = (20.0, 70.0),
        hu_range: tuple[float, float] = (10.0, 90.0),
        at_border: float = 0.8,
        necrosis: float = 0.3,
        bilateral: float = 0.0,
        **common: Any,
    ) -> None:
        super().__init__(probability, bilateral, **common)
        self.diameter_range_mm, self.hu_range = tuple(diameter_range_mm), tuple(hu_range)
        self.at_border, self.necrosis = at_border, necrosis

    def paint(self, patch: LungInPatch) -> tuple[torch.Tensor, torch.Tensor]:
        rng = patch.rng
        diameter_mm = patch.uniform(self.diameter_range_mm)
        deepest_mm = 0.4 * diameter_mm if rng.random() < self.at_border else np.inf
        centre = patch.place(0.2 * diameter_mm, deepest_mm)
        part = patch.ball(centre, diameter_mm, lobulation=patch.uniform((0.08, 0.25)))
        hu = with_tissue(patch, part, patch.uniform(self.hu_range))
        if rng.random() < self.necrosis:
            core = patch.ball(centre + rng.uniform(-0.1, 0.1, 3) * diameter_mm / patch.voxel_mm, 0.5 * diameter_mm, 0.2)
            hu = hu - core * part * patch.uniform((10, 35))
        return hu, patch.lung
