"""Disease painted into lungs whose mask is known: what all kinds of it have in common.

In: HU (B, 1, P, P, P) and lung labels, axes right, anterior, superior. Out: the same with disease in some patches; the
lung stays lung unless the kind says otherwise. Random numbers come from the caller. Knows no network and no file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import avg_pool3d, max_pool3d, pad

from lungseg3d.engines.disease.lung_shapes import LungInPatch

# A corner of a lung tells a network nothing of its disease.
_LEAST_LUNG_ML = 30.0
_WALL_HU, _AIR_HU = -30.0, -500.0
# Enough of what surrounds the lung to measure noise in.
_MARGIN = 4


class DiseasePainter(ABC):
    """A disease of one lung, or of both, in some patches; `paint` of a subclass is the kind of disease.

    Only voxels of the diseased lung change, and those voxels of no lung beside it that share some of its air (partial
    volume), by that share: else a dark line would be left around dense lung, and a network would learn to follow a
    line that no patient has. The label of the other lung and its HU stay, and so do airways outside the lungs.

    Args:
        probability: per patch that shows at least 30 ml of a lung.
        bilateral: probability that a second lung in the patch falls ill too.
        voxel_mm: spacing of the patches' voxels.
        lungs: label values, one for each lung.
    """

    def __init__(
        self, probability: float, bilateral: float = 0.3, voxel_mm: float = 3.0, lungs: Sequence[int] = (1, 2)
    ) -> None:
        if not voxel_mm > 0:
            raise ValueError(f"voxel_mm of {type(self).__name__} is {voxel_mm}, expected above 0 mm")
        self.probability, self.bilateral = probability, bilateral
        self.voxel_mm, self.lungs = voxel_mm, tuple(lungs)

    def __call__(
        self, image_hu: torch.Tensor, label: torch.Tensor, groups: Sequence[str], rngs: Sequence[np.random.Generator]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = [i for i, rng in enumerate(rngs) if rng.random() < self.probability]
        if not chosen:
            return image_hu, label
        image_hu, label = image_hu.clone(), label.clone()
        for i in chosen:
            for value in self._ill(label[i, 0], rngs[i]):
                box = _box(label[i, 0] == value)
                hu, after = self._painted(image_hu[i, 0][box], label[i, 0][box], value, rngs[i])
                image_hu[i, 0][box], label[i, 0][box] = hu, after
        return image_hu, label

    @abstractmethod
    def paint(self, patch: LungInPatch) -> tuple[torch.Tensor, torch.Tensor]:
        """HU (P, P, P) of the diseased lung, and bool (P, P, P): what of it is still lung. Only read inside it."""

    def _ill(self, label: torch.Tensor, rng: np.random.Generator) -> list[int]:
        """Label values of the lungs that fall ill."""
        voxel_ml = self.voxel_mm**3 / 1000
        shown = [value for value in self.lungs if int((label == value).sum()) * voxel_ml >= _LEAST_LUNG_ML]
        order = [shown[k] for k in rng.permutation(len(shown))]
        return order[:1] + [value for value in order[1:] if rng.random() < self.bilateral]

    def _painted(
        self, hu: torch.Tensor, label: torch.Tensor, value: int, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        lung = label == value
        painted, still_lung = self.paint(LungInPatch(hu, lung, self.voxel_mm, rng))
        change = torch.where(lung, painted - hu, 0.0)
        around = change + _beside(hu, lung, change) * (label == 0)
        return hu + around, torch.where(lung & ~still_lung, 0, label).to(label.dtype)


def _box(lung: torch.Tensor) -> tuple[slice, ...]:
    """The box around a lung, with a margin as far as the patch goes."""
    voxels = torch.nonzero(lung)
    start = (voxels.amin(dim=0) - _MARGIN).clamp(min=0).tolist()
    stop = (voxels.amax(dim=0) + 1 + _MARGIN).tolist()
    return tuple(slice(a, b) for a, b in zip(start, stop, strict=True))


def _beside(hu: torch.Tensor, lung: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """Change of HU in voxels that touch the lung, by the share of lung in them, told from their own HU."""
    near = _mean_of_27(lung.to(hu.dtype))
    of_lung = near.clamp(min=1e-6)
    lung_hu, lung_change = _mean_of_27(hu * lung) / of_lung, _mean_of_27(change) / of_lung
    share = ((_WALL_HU - hu) / (_WALL_HU - lung_hu).clamp(min=100.0)).clamp(0, 1)
    return share * lung_change * ((near > 1e-3) & ~lung & ~_wide(~lung & (hu < _AIR_HU)))


def _wide(air: torch.Tensor) -> torch.Tensor:
    """The air that holds cubes of 2 voxels: airways and the other lung, not the seam of this one."""
    full = 1 - max_pool3d(1 - air.float()[None, None], 2, stride=1)
    return max_pool3d(pad(full, (1,) * 6), 2, stride=1)[0, 0] > 0


def _mean_of_27(volume: torch.Tensor) -> torch.Tensor:
    return avg_pool3d(volume[None, None], 3, stride=1, padding=1)[0, 0]


def with_tissue(
    patch: LungInPatch, part: torch.Tensor, tissue_hu: float, ripple_hu: float = 8.0, replace: bool = False
) -> torch.Tensor:
    """HU of the patch with tissue or fluid in place of its air.

    Args:
        patch: the host; its noise, as measured in soft tissue, is that of the tissue too.
        part: share 0..1 of the air of each voxel that is replaced, (P, P, P).
        tissue_hu: mean of what comes in.
        ripple_hu: SD of its slow variation, none beyond twice of it.
        replace: take the place of vessels as well; else what is denser than the tissue stays as it is.
    """
    tissue = tissue_hu + ripple_hu * patch.field(12.0).clamp(-2, 2) + patch.noise_hu * patch.noise()
    missing = tissue - patch.hu
    return patch.hu + (missing if replace else missing.clamp(min=0)) * part
