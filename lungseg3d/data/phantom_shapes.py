"""Places in space, signed distances, soft edges: the drawing tools of the thorax phantom.

In: coordinates in mm. Out: distances in mm (negative inside), occupancies 0..1, smooth random fields.
Knows no anatomy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
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
    return np.minimum(a, b) - near * near * np.float32(blend_mm / 4)


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
    return radius * (radius - 1) / np.sqrt(slopes[0] + slopes[1] + slopes[2] + np.float32(1e-9))


@dataclass(frozen=True)
class Tube:
    """A capsule: a straight piece of a vessel, airway or bone, its radius changing evenly from one end to the other."""

    start_mm: tuple[float, float, float]
    end_mm: tuple[float, float, float]
    start_radius_mm: float
    end_radius_mm: float

    def corners(self, margin_mm: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Low and high corner of the block that holds it with a margin."""
        reach = max(self.start_radius_mm, self.end_radius_mm) + margin_mm
        low = tuple(min(a, b) - reach for a, b in zip(self.start_mm, self.end_mm, strict=True))
        high = tuple(max(a, b) + reach for a, b in zip(self.start_mm, self.end_mm, strict=True))
        return low, high

    def distance(self, places: Places, widen_mm: float = 0.0) -> np.ndarray:
        """Signed distance to its surface, moved outward by `widen_mm`."""
        axis, along, ratio = self._axis_distance(places)
        radius = (self.start_radius_mm + widen_mm) + ratio * (self.end_radius_mm - self.start_radius_mm)
        del along
        return axis - radius

    def occupancy(self, places: Places) -> np.ndarray:
        """Share of each voxel inside the tube; right in total for tubes thinner than a voxel too."""
        axis, along, ratio = self._axis_distance(places)
        crossing = np.array(places.spacing_mm) ** 2 * (1 - along**2)
        edge = float(np.sqrt(crossing.sum() / 2))
        radius = self.start_radius_mm + ratio * (self.end_radius_mm - self.start_radius_mm)
        drawn = np.maximum(radius, 0.5 * edge)
        # A disc with a linear edge of width e holds the area pi (r^2 + e^2 / 12): scale it to pi r^2.
        strength = radius * radius / (drawn * drawn + np.float32(edge * edge / 12))
        return np.clip(0.5 + (drawn - axis) * np.float32(1 / edge), 0, 1) * np.minimum(strength, 1)

    def _axis_distance(self, places: Places) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(distance to the middle line, its direction (3,), position along it 0..1)."""
        start, end = np.array(self.start_mm), np.array(self.end_mm)
        step = end - start
        length2 = max(float(step @ step), 1e-6)
        x, y, z = places.x - np.float32(start[0]), places.y - np.float32(start[1]), places.z - np.float32(start[2])
        dot = (x * np.float32(step[0]) + y * np.float32(step[1])) + z * np.float32(step[2])
        ratio = np.clip(dot * np.float32(1 / length2), 0, 1)
        square = (x * x + y * y) + z * z - ratio * (2 * dot - ratio * np.float32(length2))
        return np.sqrt(np.maximum(square, 0)), step / np.sqrt(length2), ratio


def polyline(points_mm: Sequence[Sequence[float]], radii_mm: Sequence[float], pieces: int = 4) -> tuple[Tube, ...]:
    """A smooth tube through points (N, 3) with a radius at each: a Catmull-Rom curve cut into straight pieces."""
    points = np.column_stack([np.asarray(points_mm, dtype=float), np.asarray(radii_mm, dtype=float)])
    padded = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    t = np.linspace(0, 1, pieces + 1)[:-1, None]
    curve = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]
    nodes = np.vstack([*curve, points[-1:]])
    return tuple(
        Tube(tuple(a[:3]), tuple(b[:3]), float(a[3]), float(b[3]))  
        for a, b in pairwise(nodes)
    )


def paint_tubes(occupancy: np.ndarray, places: Places, tubes: Sequence[Tube]) -> None:
    """Raise `occupancy` in place to that of each tube."""
    margin = 1.5 * max(places.spacing_mm)
    low_z, high_z = float(places.z.min()) - margin, float(places.z.max()) + margin
    for tube in tubes:
        low, high = tube.corners(margin)
        if high[2] < low_z or low[2] > high_z:
            continue
        part = places.near(low, high)
        if part is not None:
            index, inside = part
            occupancy[index] = np.maximum(occupancy[index], tube.occupancy(inside))


def unite_tubes(distance: np.ndarray, places: Places, tubes: Sequence[Tube], widen_mm: float, blend_mm: float) -> None:
    """Unite tubes, widened, with the body of which `distance` holds the signed distance, in place."""
    for tube in tubes:
        part = places.near(*tube.corners(widen_mm + 2 * blend_mm))
        if part is not None:
            index, inside = part
            distance[index] = smooth_union(distance[index], tube.distance(inside, widen_mm), blend_mm)


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
        wx, wy, wz = (self._weights(c.ravel()) for c in (places.x, places.y, places.z))
        columns = self.lattice @ wz.T
        sheets = np.matmul(wy, columns)
        block = np.tensordot(wx, sheets, axes=(1, 0))
        # Variance of a cubic B-spline sum of white numbers, averaged over a cell: 0.479 per axis.
        return block * np.float32(0.479**-1.5)

    def _weights(self, coordinates_mm: np.ndarray) -> np.ndarray:
        """Cubic B-spline weights (M, N) of every lattice plane for M coordinates."""
        size = self.lattice.shape[0]
        position = coordinates_mm.astype(np.float64) / self.pitch_mm
        first = np.floor(position).astype(int)
        t = position - first
        spline = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
        weights = np.zeros((len(position), size), dtype=np.float32)
        rows = np.arange(len(position))
        for offset, value in enumerate(spline):
            weights[rows, (first + offset - 1) % size] += value / 6
        return weights
