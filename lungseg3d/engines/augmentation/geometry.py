"""How a patch lies in its case: turned, scaled, flipped, bent, all in one sampling grid.

In: random numbers, a patch size. Out: a `Placement`, and the grid that `grid_sample` takes. Knows no voxel's value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import affine_grid, interpolate

_CONTROL_POINTS = 4


@dataclass(frozen=True)
class Placement:
    """Where the voxels of one patch come from.

    Attributes:
        matrix: patch axes -> source axes, (3, 3): rotation, zoom, flips.
        flipped: left and right have changed places.
        bend: shifts in patch voxels at control points, (3, 4, 4, 4), evenly over the patch; None for none.
    """

    matrix: np.ndarray
    flipped: bool = False
    bend: np.ndarray | None = None

    def reach(self, size: int) -> int:
        """Source voxels that a patch of this size can reach from its centre along any axis."""
        half = size / 2 + (0.0 if self.bend is None else float(np.abs(self.bend).max()))
        return int(np.ceil(np.abs(self.matrix).sum(axis=1).max() * half)) + 2

    def sampling_grid(self, size: int, centre: np.ndarray, shape: np.ndarray, device: torch.device) -> torch.Tensor:
        """Coordinates (1, P, P, P, 3) for `grid_sample`, in a source of `shape` voxels, the patch about `centre`."""
        # grid_sample counts from -1 to 1 over each source axis, voxel centre i at (2 i + 1) / n - 1, last axis first.
        scale = 2.0 / shape
        theta = np.concatenate([self.matrix * size / 2 * scale[:, None], ((centre + 0.5) * scale - 1)[:, None]], axis=1)
        theta = np.ascontiguousarray(theta[::-1])
        theta[:, :3] = theta[:, 2::-1]
        tensor = torch.from_numpy(theta).float()[None].to(device)
        grid = affine_grid(tensor, [1, 1, size, size, size], align_corners=False)
        if self.bend is None:
            return grid
        shifts = torch.from_numpy(np.ascontiguousarray(self.bend[::-1]) * 2 / size).float()[None].to(device)
        shifts = interpolate(shifts, (size,) * 3, mode="trilinear", align_corners=True)
        return grid + torch.einsum("ij,bjxyz->bxyzi", tensor[0, :, :3], shifts)


@dataclass(frozen=True)
class PatchGeometry:
    """How far patches may be turned, scaled, flipped and bent.

    Attributes:
        rotation_degrees: largest rotation about each axis.
        scale_range: zoom of the patch's content.
        anisotropy: largest further zoom of each axis on its own, up or down.
        flip_axes: axes (0, 1, 2) that may be flipped, each with probability 1/2.
        flip_swaps: pairs of label values that change places when axis 0 (left-right) is flipped.
        strain: largest local stretch of an elastic deformation. Half a litre breathed into 2.5 litres of lung stretches
            it by 0.06, a full breath to 6 litres by a third. 0 bends nothing; below 1/3 nothing can fold.
        elastic_probability: share of patches that are bent.

    Raises:
        ValueError: a strain outside 0 <= strain < 1/3, or scales that are not positive.
    """

    rotation_degrees: float = 30.0
    scale_range: tuple[float, float] = (0.8, 1.25)
    anisotropy: float = 0.05
    flip_axes: tuple[int, ...] = (0, 1, 2)
    flip_swaps: tuple[tuple[int, int], ...] = ()
    strain: float = 0.0
    elastic_probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.strain < 1 / 3:
            raise ValueError(f"strain is {self.strain}, expected 0 <= strain < 1/3: beyond it tissue could fold")
        if not min(self.scale_range) > 0:
            raise ValueError(f"scale_range is {self.scale_range}, expected two positive factors")

    def draw(self, rng: np.random.Generator, size: int) -> Placement:
        """A placement of a patch of `size` voxels along each axis."""
        ax, ay, az = np.radians(rng.uniform(-self.rotation_degrees, self.rotation_degrees, 3))
        rx = np.array([[1, 0, 0], [0, np.cos(ax), -np.sin(ax)], [0, np.sin(ax), np.cos(ax)]])
        ry = np.array([[np.cos(ay), 0, np.sin(ay)], [0, 1, 0], [-np.sin(ay), 0, np.cos(ay)]])
        rz = np.array([[np.cos(az), -np.sin(az), 0], [np.sin(az), np.cos(az), 0], [0, 0, 1]])
        zoom = np.exp(rng.uniform(*np.log(self.scale_range)))
        zoom = zoom * rng.uniform(1 - self.anisotropy, 1 + self.anisotropy, 3)
        signs = np.array([-1.0 if a in self.flip_axes and rng.random() < 0.5 else 1.0 for a in range(3)])
        bend = None
        if self.strain > 0 and rng.random() < self.elastic_probability:
            # Between neighbouring points, `size / 3` apart, shifts differ by 2 x most: a stretch of `strain` at most.
            most = self.strain * size / (_CONTROL_POINTS - 1) / 2
            bend = rng.uniform(-most, most, (3, *(_CONTROL_POINTS,) * 3))
        return Placement(rz @ ry @ rx @ np.diag(signs / zoom), bool(signs[0] < 0), bend)

    def swapped(self, label: torch.Tensor) -> torch.Tensor:
        """The label of a patch whose left and right have changed places."""
        swapped = label.clone()
        for a, b in self.flip_swaps:
            swapped[label == a] = b
            swapped[label == b] = a
        return swapped
