"""Where the phantom's nodules lie: free in the lung, on a vessel, or on the pleura; never on one another.

In: an `Anatomy`, its vessels, specs. Out: specs with a centre, a side and their true volume.
Knows no voxels of the phantom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from lungseg3d.core import Grid, Lung
from lungseg3d.data.phantom.anatomy import LEFT, RIGHT, Anatomy
from lungseg3d.data.phantom.nodules import NoduleSpec, nodule_box, nodule_occupancy
from lungseg3d.data.phantom.shapes import Places, soft_step
from lungseg3d.data.phantom.tubes import Tube

GAP_MM = 3.0
_LUNG_LOW, _LUNG_HIGH = np.array([-150.0, -120, -170]), np.array([150.0, 105, 140])


@dataclass(frozen=True)
class PlacedNodule:
    """A nodule with its place; `volume_mm3` is what is left of it inside the lung."""

    spec: NoduleSpec
    centre_ras_mm: tuple[float, float, float]
    side: Lung
    volume_mm3: float


@dataclass(frozen=True, eq=False)
class _Pool:
    """Random places in the aerated lungs: world mm (N, 3), depth under the surface in mm (N,), side (N,)."""

    points: np.ndarray
    depth: np.ndarray
    sides: np.ndarray
    outer: np.ndarray


@dataclass(frozen=True)
class _Surroundings:
    """The chest that nodules are placed in, and the field of the scanner; `scale` is mm per unit of the anatomy."""

    anatomy: Anatomy
    vessels: Sequence[Tube]
    grid: Grid
    scale: float


def place_nodules(
    anatomy: Anatomy,
    vessels: Sequence[Tube],
    specs: Sequence[NoduleSpec],
    grid: Grid,
    scale: float,
    seed: int,
) -> tuple[PlacedNodule, ...]:
    """Find a place for each nodule, the largest first; those without a free place are left out.

    Raises:
        ValueError: an explicit centre lies in no aerated lung.
    """
    placed: list[PlacedNodule] = []
    pool: _Pool | None = None
    explicit = [s for s in specs if s.centre_ras_mm is not None]
    random = sorted((s for s in specs if s.centre_ras_mm is None), key=lambda s: -s.diameter_mm)
    for number, spec in enumerate([*explicit, *random]):
        centre: np.ndarray | None
        if spec.centre_ras_mm is not None:
            centre = np.array(spec.centre_ras_mm, dtype=float)
        else:
            rng = np.random.default_rng((seed, 40, number, spec.seed))
            pool = pool or _pool(anatomy, grid, scale, np.random.default_rng((seed, 41)))
            centre = _find(_Surroundings(anatomy, vessels, grid, scale), spec, pool, placed, rng)
            if centre is None:
                continue
        side, depth = _side_and_depth(anatomy, centre / scale)
        if side is None:
            raise ValueError(
                f"the nodule at {tuple(round(float(c), 1) for c in centre)} mm (RAS) lies in no aerated lung of this "
                "phantom; give a centre inside a lung, or None to have one found"
            )
        volume = _volume_mm3(anatomy, spec, centre, depth * scale, scale)
        placed.append(PlacedNodule(spec, tuple(float(c) for c in centre), side, volume))  # type: ignore[arg-type]
    return tuple(sorted(placed, key=lambda p: -p.volume_mm3))


def lung_occupancy(anatomy: Anatomy, places: Places) -> np.ndarray:
    """Share of each voxel inside an aerated lung."""
    right, left = anatomy.lung_distances(places)
    kept = [d for side, d in ((RIGHT, right), (LEFT, left)) if side in anatomy.aerated]
    if not kept:
        return np.zeros(places.shape, dtype=np.float32)
    return soft_step(kept[0] if len(kept) == 1 else np.minimum(*kept), places.edge_mm)


def _side_and_depth(anatomy: Anatomy, point_mm: np.ndarray) -> tuple[Lung | None, float]:
    """The lung a place lies in, and how deep."""
    right, left = anatomy.lung_distances(Places.of_points(point_mm[None]))
    for side, name, distance in ((RIGHT, "right", right), (LEFT, "left", left)):
        if side in anatomy.aerated and distance[0] < 0:
            return name, -float(distance[0])  # type: ignore[return-value]
    return None, 0.0


def _pool(anatomy: Anatomy, grid: Grid, scale: float, rng: np.random.Generator) -> _Pool:
    """Places in the part of the lungs that the field shows."""
    corners = grid.to_world(np.array([[0, 0, 0], np.array(grid.shape) - 1])) / scale
    low, high = np.maximum(_LUNG_LOW, corners.min(axis=0)), np.minimum(_LUNG_HIGH, corners.max(axis=0))
    points = rng.uniform(0, 1, (24000, 3)) * np.maximum(high - low, 0) + low
    places = Places.of_points(points)
    right, left = anatomy.lung_distances(places)
    cavity = anatomy.cavity.distance(places)
    depth = np.maximum(
        -right if RIGHT in anatomy.aerated else np.full_like(right, -99),
        -left if LEFT in anatomy.aerated else np.full_like(left, -99),
    )
    inside = depth > 0
    outer = -cavity - depth < 1.0
    return _Pool(points[inside] * scale, depth[inside] * scale, np.sign(points[inside, 0]), outer[inside])


def _find(
    around: _Surroundings,
    spec: NoduleSpec,
    pool: _Pool,
    placed: Sequence[PlacedNodule],
    rng: np.random.Generator,
) -> np.ndarray | None:
    """A centre in RAS mm that suits the attachment and keeps off the field's edge and the other nodules, or None."""
    radius, scale, grid = spec.diameter_mm / 2, around.scale, around.grid
    if spec.attachment == "pleura":
        fits = (pool.depth > 0.35 * radius) & (pool.depth < max(0.85 * radius, 0.35 * radius + 1.2)) & pool.outer
        candidates = pool.points[fits]
    elif spec.attachment == "vessel":
        candidates = _beside_vessels(around.anatomy, around.vessels, radius / scale, rng) * scale
    else:
        candidates = pool.points[pool.depth > 1.5 * radius + 2]
        if len(candidates) == 0:
            candidates = pool.points[pool.depth > radius]
        candidates = _off_vessels(candidates, around.vessels, radius, scale)
    if len(candidates) == 0:
        return None
    candidates = rng.permutation(candidates)
    voxels = grid.to_voxel(candidates)
    margin = radius / np.array(grid.spacing_mm)
    good = np.all((voxels > margin) & (voxels < np.array(grid.shape) - 1 - margin), axis=1)
    for other in placed:
        apart = np.linalg.norm(candidates - np.array(other.centre_ras_mm), axis=1)
        good &= apart > 1.3 * (radius + other.spec.diameter_mm / 2) + GAP_MM
    return candidates[np.argmax(good)] if good.any() else None


def _off_vessels(candidates: np.ndarray, vessels: Sequence[Tube], radius_mm: float, scale: float) -> np.ndarray:
    """Those of the places (N, 3) where a ball would not touch a vessel thicker than a twig; all when there is none."""
    thick = [t for t in vessels if t.end_radius_mm > 0.85]
    if not thick:
        return candidates
    nodes = np.array([p for t in thick for p in (t.start_mm, t.end_mm)]) * scale
    widths = np.repeat([t.start_radius_mm for t in thick], 2) * scale
    gap, nearest = cKDTree(nodes).query(candidates)
    clear = gap > radius_mm + widths[nearest] + 1.5
    return candidates[clear] if clear.any() else candidates


def _beside_vessels(
    anatomy: Anatomy, vessels: Sequence[Tube], radius_mm: float, rng: np.random.Generator
) -> np.ndarray:
    """Centres (N, 3) of balls that touch a middle-sized vessel and lie in the lung."""
    middle = [t for t in vessels if 0.7 < t.end_radius_mm < 2.2] or list(vessels)
    if not middle:
        return np.empty((0, 3))
    picked = [middle[i] for i in rng.integers(len(middle), size=400)]
    starts, ends = np.array([t.start_mm for t in picked]), np.array([t.end_mm for t in picked])
    away = np.cross(ends - starts, rng.standard_normal((400, 3)))
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
    width = np.array([t.end_radius_mm for t in picked])[:, None]
    centres = ends + away * (0.8 * radius_mm + 0.5 * width)
    right, left = anatomy.lung_distances(Places.of_points(centres))
    distance = np.where(centres[:, 0] > 0, right, left)
    aerated = np.isin(np.sign(centres[:, 0]), anatomy.aerated)
    return centres[aerated & (distance < -1.1 * radius_mm - 1)]


def _volume_mm3(anatomy: Anatomy, spec: NoduleSpec, centre: np.ndarray, depth_mm: float, scale: float) -> float:
    """Volume inside the lung: exact when the nodule lies free, else counted on a grid far finer than the nodule."""
    whole = float(np.pi / 6 * spec.diameter_mm**3)
    pitch = float(np.clip(spec.diameter_mm / 36, 0.12, 0.7))
    size = int(np.ceil(5 * spec.diameter_mm / pitch))
    affine = np.diag([pitch, pitch, pitch, 1.0])
    affine[:3, 3] = centre - pitch * (size - 1) / 2
    grid = Grid((size, size, size), affine)
    box = nodule_box(spec, grid, centre)
    if box is None or depth_mm > max(box.shape) * pitch / 2:
        return whole
    part = grid.cropped(box)
    occupancy = nodule_occupancy(spec, part, centre)
    lung = lung_occupancy(anatomy, Places.of_grid(part, scale))
    return whole * float((occupancy * lung).sum(dtype=np.float64) / occupancy.sum(dtype=np.float64))
