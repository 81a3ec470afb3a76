"""One lung of one patch, and the shapes that disease takes in it: random fields, slopes, tubes, lobulated balls.

In: HU and a lung mask (P, P, P), a random generator. Out: fields in mm, and the share 0..1 of each voxel that a shape
fills. Axes are right, anterior, superior. Knows no disease and no label value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import ndimage

from lungseg3d.engines.augmentation.blur import gaussian_blur

_SOFT_TISSUE_RANGE_HU = (-20.0, 120.0)
_FEW_VOXELS = 200


@dataclass(frozen=True)
class LungInPatch:
    """A lung as a painter of disease sees it.

    Attributes:
        hu: the patch, float (P, P, P), with all that lies around the lung.
        lung: bool (P, P, P), not empty.
        voxel_mm: spacing.
        rng: the patch's own generator.
    """

    hu: torch.Tensor
    lung: torch.Tensor
    voxel_mm: float
    rng: np.random.Generator

    @cached_property
    def lung_hu(self) -> float:
        """Median of the lung."""
        return float(self.hu[self.lung].median())

    @cached_property
    def depth_mm(self) -> torch.Tensor:
        """Distance of each voxel of the lung from what is not this lung; where the patch ends, the lung goes on."""
        depth = ndimage.distance_transform_edt(self.lung.cpu().numpy()) * self.voxel_mm
        return torch.from_numpy(depth).to(self.hu)

    @cached_property
    def noise_hu(self) -> float:
        """SD of the patch's noise, measured in soft tissue; 0 where the patch shows none.

        Second differences along X, by their lowest quarter, so that borders of organs do not count as noise.
        """
        low, high = _SOFT_TISSUE_RANGE_HU
        left, middle, right = self.hu[:-2], self.hu[1:-1], self.hu[2:]
        soft = ((left > low) & (left < high)) & ((middle > low) & (middle < high)) & ((right > low) & (right < high))
        if int(soft.sum()) < _FEW_VOXELS:
            return 0.0
        # A quarter of |N(0, 1)| lies below 0.3186; weights 1, -2, 1 make noise larger by the root of 6.
        return float(torch.quantile((left - 2 * middle + right)[soft].abs(), 0.25)) / 0.3186 / 6**0.5

    def uniform(self, bounds: Sequence[float] | np.ndarray) -> float:
        """A number between two, drawn evenly."""
        low, high = bounds
        return float(self.rng.uniform(low, high))

    def noise(self) -> torch.Tensor:
        """White, mean 0, SD 1."""
        generator = torch.Generator(device=self.hu.device).manual_seed(int(self.rng.integers(2**31)))
        return torch.randn(self.hu.shape, generator=generator, device=self.hu.device)

    def field(self, scale_mm: float) -> torch.Tensor:
        """A smooth random field, mean 0, SD 1: white noise blurred by a Gaussian of SD `scale_mm`."""
        spectrum = torch.fft.rfftn(self.noise())
        for axis, size in enumerate(self.hu.shape):
            frequency = (torch.fft.rfftfreq if axis == 2 else torch.fft.fftfreq)(size, device=self.hu.device)
            kernel = torch.exp(-2 * (torch.pi * frequency * scale_mm / self.voxel_mm) ** 2)
            spectrum = spectrum * kernel.reshape([-1 if k == axis else 1 for k in range(3)])
        smooth = torch.fft.irfftn(spectrum, s=self.hu.shape)
        normalised: torch.Tensor = (smooth - smooth.mean()) / smooth.std().clamp(min=1e-12)
        return normalised

    def slope_mm(self, direction: np.ndarray) -> torch.Tensor:
        """How far each voxel lies along a direction (3,), in mm."""
        unit = direction / np.linalg.norm(direction) * self.voxel_mm
        x, y, z = (torch.arange(n, device=self.hu.device) * float(u) for n, u in zip(self.hu.shape, unit, strict=True))
        return x[:, None, None] + y[:, None] + z

    def distance_mm(self, centre: np.ndarray, stretch: np.ndarray) -> torch.Tensor:
        """Distance from a voxel (3,), measured in an ellipsoid of relative half axes (3,)."""
        axes = [
            ((torch.arange(n, device=self.hu.device) - float(c)) * self.voxel_mm / float(s)) ** 2
            for n, c, s in zip(self.hu.shape, centre, stretch, strict=True)
        ]
        return (axes[0][:, None, None] + axes[1][:, None] + axes[2]).sqrt()

    def ball(self, centre: np.ndarray, diameter_mm: float, lobulation: float) -> torch.Tensor:
        """Share of each voxel in a stretched ball whose surface waves by `lobulation` (SD) of its radius."""
        radius_mm = diameter_mm / 2
        stretch = np.exp(self.rng.uniform(-0.2, 0.2, 3))
        surface_mm = radius_mm * (1 + lobulation * self.field(0.45 * radius_mm))
        return self.soft(surface_mm - self.distance_mm(centre, stretch), self.voxel_mm)

    def tubes(self, scale_mm: float, radius_mm: float) -> torch.Tensor:
        """Share of each voxel in winding tubes: the curves along which two random fields are both zero."""
        off_axis_mm = (self._from_zero_mm(scale_mm) ** 2 + self._from_zero_mm(scale_mm) ** 2).sqrt()
        return self._as_scanned(self.soft(radius_mm - off_axis_mm, self.voxel_mm))

    def walls(self, scale_mm: float, thickness_mm: float) -> torch.Tensor:
        """Share of each voxel in the thin walls of a mesh: the surfaces on which a random field is zero."""
        return self._as_scanned(self.soft(thickness_mm / 2 - self._from_zero_mm(scale_mm), self.voxel_mm))

    @staticmethod
    def _as_scanned(part: torch.Tensor) -> torch.Tensor:
        """Thin structures as a CT has them: no sharper than its voxels."""
        return gaussian_blur(part[None, None], (0.6, 0.6, 0.6))[0, 0]

    def _from_zero_mm(self, scale_mm: float) -> torch.Tensor:
        """Distance from the surface on which a random field is zero, right near it."""
        field = self.field(scale_mm)
        slope = sum(part**2 for part in torch.gradient(field, spacing=self.voxel_mm)) ** 0.5
        # Where the field is flat its value says little of a distance.
        return field.abs() / slope.clamp(min=0.3 / scale_mm)

    def largest(self, inside_mm: torch.Tensor, share: float, edge_mm: float) -> torch.Tensor:
        """Share of each voxel in the region of the largest values that holds `share` of the lung.

        Args:
            inside_mm: (P, P, P), rising by about 1 per mm towards the middle of the region.
            share: 0..1, of the lung in the patch.
            edge_mm: width of the region's border.
        """
        values = inside_mm[self.lung]
        rank = int(np.clip(round((1 - share) * len(values)), 1, len(values)))
        return self.soft(inside_mm - values.kthvalue(rank).values, edge_mm)

    def soft(self, inside_mm: torch.Tensor, edge_mm: float) -> torch.Tensor:
        """Signed distance from a border, positive inside -> share of each voxel inside, over an edge of this width."""
        return (0.5 + inside_mm / max(edge_mm, self.voxel_mm)).clamp(0, 1)

    def place(self, shallowest_mm: float, deepest_mm: float) -> np.ndarray:
        """A random voxel (3,) of the lung in this range of depth; of the whole lung when none is."""
        wanted = self.lung & (self.depth_mm >= shallowest_mm) & (self.depth_mm <= deepest_mm)
        voxels = torch.nonzero(wanted if bool(wanted.any()) else self.lung)
        return voxels[int(self.rng.integers(len(voxels)))].cpu().numpy().astype(float)
