"""Tubes: vessels, airways and long bones of the phantom, drawn right in volume whatever the voxel size.

In: middle lines and radii in mm, places. Out: occupancies and distances. Knows no anatomy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lungseg3d.data.phantom.shapes import Places, smooth_union


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
        density: np.ndarray = np.clip(0.5 + (drawn - axis) * np.float32(1 / edge), 0, 1) * np.minimum(strength, 1)
        return density

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
    """Raise `occupancy` (X, Y, Z) in place to that of each tube on an open grid."""
    margin = 1.5 * max(places.spacing_mm)
    low_z, high_z = float(places.z.min()) - margin, float(places.z.max()) + margin
    thin_mm = 0.55 * min(places.spacing_mm)
    thin = [t for t in tubes if max(t.start_radius_mm, t.end_radius_mm) < thin_mm]
    if thin:
        _splat(occupancy, places, thin)
    for tube in tubes:
        if max(tube.start_radius_mm, tube.end_radius_mm) < thin_mm:
            continue
        low, high = tube.corners(margin)
        if high[2] < low_z or low[2] > high_z:
            continue
        part = places.near(low, high)
        if part is not None:
            index, inside = part
            occupancy[index] = np.maximum(occupancy[index], tube.occupancy(inside))


def _splat(occupancy: np.ndarray, places: Places, tubes: Sequence[Tube]) -> None:
    """Add tubes thinner than a voxel as beads of their volume, each shared among the eight voxels around it."""
    starts, ends = np.array([t.start_mm for t in tubes]), np.array([t.end_mm for t in tubes])
    radii = np.array([(t.start_radius_mm, t.end_radius_mm) for t in tubes])
    lengths = np.linalg.norm(ends - starts, axis=1)
    counts = np.maximum(np.ceil(lengths / (0.5 * min(places.spacing_mm))), 1).astype(int)
    owner = np.repeat(np.arange(len(tubes)), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    ratio = ((np.arange(len(owner)) - first + 0.5) / counts[owner])[:, None]
    radius = radii[owner, 0] + ratio[:, 0] * (radii[owner, 1] - radii[owner, 0])
    share = np.pi * radius**2 * (lengths / counts)[owner] / np.prod(places.spacing_mm)
    origin = np.array([float(axis.ravel()[0]) for axis in (places.x, places.y, places.z)])
    position = (starts[owner] + ratio * (ends - starts)[owner] - origin) / np.array(places.spacing_mm)
    corner = np.floor(position).astype(int)
    part = position - corner
    total = np.zeros(occupancy.size)
    for offset in np.ndindex(2, 2, 2):
        voxel = corner + offset
        weight = share * np.prod(np.where(np.array(offset) == 1, part, 1 - part), axis=1)
        inside = np.all((voxel >= 0) & (voxel < occupancy.shape), axis=1)
        flat = np.ravel_multi_index(tuple(voxel[inside].T), occupancy.shape)
        total += np.bincount(flat, weights=weight[inside], minlength=occupancy.size)
    np.maximum(occupancy, np.minimum(total, 1).reshape(occupancy.shape), out=occupancy, casting="same_kind")


def unite_tubes(distance: np.ndarray, places: Places, tubes: Sequence[Tube], widen_mm: float, blend_mm: float) -> None:
    """Unite tubes, widened, with the body of which `distance` holds the signed distance, in place."""
    for tube in tubes:
        part = places.near(*tube.corners(widen_mm + 2 * blend_mm))
        if part is not None:
            index, inside = part
            distance[index] = smooth_union(distance[index], tube.distance(inside, widen_mm), blend_mm)
