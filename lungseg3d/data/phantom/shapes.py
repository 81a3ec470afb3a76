"""Places in space, signed distances, soft edges: the drawing tools of the thorax phantom.

In: coordinates in mm. Out: distances in mm (negative inside), occupancies 0..1, smooth random fields.
Knows no anatomy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType

import numpy as np

from lungseg3d.core import Grid

Index = tuple[slice, ...] | EllipsisType


@dataclass(frozen=True, eq=False)
class Places:
    """Where to evaluate: an open grid (x (X, 1, 1), y (1, Y, 1), z (1, 1, Z), each rising) or points (N,) each.

    Attributes:
        x, y, z: coordinates in mm, float32, broadcastable.
        spacing_mm: voxel size along X, Y, Z; the width of the soft edges follows it.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @staticmethod
    def of_grid(grid: Grid, scale: float = 1.0) -> Places:
        """The voxel centres of an axis-aligned grid in RAS order, divided by `scale`."""
        axes = []
        for axis in range(3):
            steps = grid.affine[axis, 3] + grid.affine[axis, axis] * np.arange(grid.shape[axis])
            shape = [1, 1, 1]
            shape[axis] = -1
            axes.append((steps / scale).astype(np.float32).reshape(shape))
        sx, sy, sz = grid.spacing_mm
        return Places(axes[0], axes[1], axes[2], (sx / scale, sy / scale, sz / scale))

    @staticmethod
    def of_points(points_mm: np.ndarray) -> Places:
        """Single points (N, 3) in mm."""
        x, y, z = np.asarray(points_mm, dtype=np.float32).T
        return Places(x, y, z)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what is computed here."""
        return np.broadcast_shapes(self.x.shape, self.y.shape, self.z.shape)

    @property
    def edge_mm(self) -> float:
        """Width of a soft edge: the mean voxel size."""
        return float(np.mean(self.spacing_mm))

    def near(self, low_mm: Sequence[float], high_mm: Sequence[float]) -> tuple[Index, Places] | None:
        """(index, places) of the part between two corners; None when it is empty. Points are not cut."""
        if self.x.ndim != 3:
            return ..., self
        index = []
        for axis, (low, high) in zip((self.x, self.y, self.z), zip(low_mm, high_mm, strict=True), strict=True):
            start, stop = np.searchsorted(axis.ravel(), (low, high))
            if start >= stop:
                return None
            index.append(slice(int(start), int(stop)))
        i, j, k = index
        return (i, j, k), Places(self.x[i], self.y[:, j], self.z[:, :, k], self.spacing_mm)


def soft_step(distance_mm: np.ndarray, edge_mm: float) -> np.ndarray:
    """Occupancy of voxels at a signed distance from a surface: 1 inside, 0 outside, linear over `edge_mm`."""
    occupancy = 0.5 - distance_mm * np.float32(1 / edge_mm)
    return np.clip(occupancy, 0, 1, out=occupancy if isinstance(occupancy, np.ndarray) else None)


def paint(hu: np.ndarray, occupancy: np.ndarray, value_hu: np.ndarray | float) -> None:
    """Mix `value_hu` into `hu` in place by its occupancy."""
    hu += occupancy * (value_hu - hu)


def smooth_union(a: np.ndarray, b: np.ndarray, blend_mm: float) -> np.ndarray:
    """Distance to the union of two bodies, the crease rounded over `blend_mm` (polynomial smooth minimum, Quilez)."""
    near = np.maximum(1 - np.abs(a - b) * np.float32(1 / blend_mm), 0)
    smallest: np.ndarray = np.minimum(a, b) - near * near * np.float32(blend_mm / 4)
    return smallest


def smooth_intersection(a: np.ndarray, b: np.ndarray, blend_mm: float) -> np.ndarray:
    """Distance to the intersection of two bodies, the edge rounded over `blend_mm`."""
    return -smooth_union(-a, -b, blend_mm)


def ellipsoid_distance(
    places: Places, centre_mm: Sequence[float], semi_axes_mm: Sequence[float], axes: np.ndarray | None = None
) -> np.ndarray:
    """First-order signed distance to an ellipsoid.

    Args:
        places: where.
        centre_mm: its centre.
        semi_axes_mm: half lengths along its own axes.
        axes: rows are its own axes in the world, (3, 3); None = parallel to the world.
    """
    x, y, z = places.x - centre_mm[0], places.y - centre_mm[1], places.z - centre_mm[2]
    if axes is None:
        terms = [c / np.float32(s) for c, s in zip((x, y, z), semi_axes_mm, strict=True)]
    else:
        terms = [
            (np.float32(u[0]) * x + np.float32(u[1]) * y + np.float32(u[2]) * z) / np.float32(s)
            for u, s in zip(axes, semi_axes_mm, strict=True)
        ]
    squares = [t * t for t in terms]
    radius = np.sqrt(squares[0] + squares[1] + squares[2]) + np.float32(1e-4)
    slopes = [q / np.float32(s * s) for q, s in zip(squares, semi_axes_mm, strict=True)]
    depth: np.ndarray = radius * (radius - 1) / np.sqrt(slopes[0] + slopes[1] + slopes[2] + np.float32(1e-9))
    return depth


@dataclass(frozen=True, eq=False)
class RandomField:
    """A smooth random field, mean 0, standard deviation about 1: the same in the world whatever the grid.

    Attributes:
        lattice: random numbers (N, N, N), repeated endlessly.
        pitch_mm: distance of the lattice points; structures are about twice as large.
    """

    lattice: np.ndarray
    pitch_mm: float

    @staticmethod
    def of(rng: np.random.Generator, pitch_mm: float, period_mm: float = 400.0) -> RandomField:
        """A new field."""
        size = int(np.ceil(period_mm / pitch_mm))
        return RandomField(rng.standard_normal((size, size, size), dtype=np.float32), pitch_mm)

    def at(self, places: Places) -> np.ndarray:
        """Values on an open grid."""
        block = self.lattice
        for axis, coordinates in ((2, places.z), (1, places.y), (0, places.x)):
            block = self._interpolated(block, coordinates.ravel(), axis)
        # Variance of a cubic B-spline sum of white numbers, averaged over a cell: 0.479 per axis.
        scaled: np.ndarray = block * np.float32(0.479**-1.5)
        return scaled

    def _interpolated(self, block: np.ndarray, coordinates_mm: np.ndarray, axis: int) -> np.ndarray:
        """Cubic B-spline sums along one axis: four shifted copies, each with its weight."""
        position = coordinates_mm.astype(np.float64) / self.pitch_mm
        first = np.floor(position).astype(int)
        t = (position - first).astype(np.float32)
        spline = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
        along = [1, 1, 1]
        along[axis] = -1
        total = np.float32(0)
        for offset, weight in enumerate(spline):
            planes = block.take(first + offset - 1, axis=axis, mode="wrap")
            planes *= weight.reshape(along) / np.float32(6)
            total = total + planes if offset == 0 else np.add(total, planes, out=total)
        interpolated: np.ndarray = total
        return interpolated
