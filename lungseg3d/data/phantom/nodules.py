"""Synthetic lung nodules: what they are, which ones occur how often, and their voxels on any grid.

In: a `NoduleSpec`, a `Grid`, a centre in RAS mm. Out: occupancy 0..1 and HU on that grid.
Knows no thorax: the phantom and the insertion into real CTs both draw their nodules here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeVar, get_args

import numpy as np

from lungseg3d.core import Box, Grid

Point = Sequence[float] | np.ndarray
Texture = Literal["solid", "part-solid", "ground-glass"]
Shape = Literal["round", "lobulated", "spiculated"]
Attachment = Literal["free", "vessel", "pleura"]
_Word = TypeVar("_Word", Texture, Shape, Attachment)

# LIDC-IDRI, nodules >= 3 mm: about four of five solid, one in eight part-solid, one in ten ground glass
# (Armato et al. 2011, texture ratings); juxta-pleural and juxta-vascular about a third together.
TEXTURE_SHARES: dict[Texture, float] = {"solid": 0.77, "part-solid": 0.13, "ground-glass": 0.10}
SHAPE_SHARES: dict[Shape, float] = {"round": 0.5, "lobulated": 0.3, "spiculated": 0.2}
ATTACHMENT_SHARES: dict[Attachment, float] = {"free": 0.55, "vessel": 0.2, "pleura": 0.25}
MEDIAN_DIAMETER_MM, LOG_SPREAD = 6.8, 0.52
SMALLEST_MM, LARGEST_MM = 3.0, 30.0


@dataclass(frozen=True)
class NoduleSpec:
    """A nodule to make.

    Attributes:
        diameter_mm: diameter of the sphere of equal volume.
        texture: "solid", "part-solid" (ground glass around a solid core) or "ground-glass".
        shape: "round", "lobulated" or "spiculated".
        attachment: "free", on a "vessel", or on the "pleura", which cuts it off.
        centre_ras_mm: where; None = found at random inside a lung, as the attachment asks.
        seed: the individual form, density and place.

    Raises:
        ValueError: a diameter that is not positive, or an unknown word.
    """

    diameter_mm: float
    texture: Texture = "solid"
    shape: Shape = "round"
    attachment: Attachment = "free"
    centre_ras_mm: tuple[float, float, float] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.diameter_mm > 0:
            raise ValueError(f"a nodule has a diameter above 0 mm, not {self.diameter_mm}")
        for value, kind in ((self.texture, Texture), (self.shape, Shape), (self.attachment, Attachment)):
            if value not in get_args(kind):
                raise ValueError(f"{value!r} is none of {', '.join(get_args(kind))}")


def make_nodule_specs(
    count: int,
    rng: np.random.Generator,
    median_diameter_mm: float = MEDIAN_DIAMETER_MM,
    texture_shares: Mapping[Texture, float] = TEXTURE_SHARES,
) -> tuple[NoduleSpec, ...]:
    """Random nodules, 3-30 mm; by default as in a screening population, most of them 4-12 mm and solid."""
    specs = []
    for _ in range(count):
        diameter_mm = float(np.clip(median_diameter_mm * np.exp(LOG_SPREAD * rng.standard_normal()), 0, LARGEST_MM))
        shape = _pick(SHAPE_SHARES, rng)
        specs.append(
            NoduleSpec(
                diameter_mm=round(max(diameter_mm, SMALLEST_MM), 2),
                # Smooth little balls are the rule below 6 mm; spicules cannot be told from noise there.
                shape="round" if diameter_mm < 6 and shape == "spiculated" else shape,
                texture="ground-glass" if (t := _pick(texture_shares, rng)) == "part-solid" and diameter_mm < 5 else t,
                attachment=_pick(ATTACHMENT_SHARES, rng),
                seed=int(rng.integers(2**31)),
            )
        )
    return tuple(specs)


def nodule_occupancy(spec: NoduleSpec, grid: Grid, centre_ras_mm: Point) -> np.ndarray:
    """Share of each voxel that a nodule fills.

    Args:
        spec: the nodule; its own `centre_ras_mm` is not read.
        grid: any affine; a box around the nodule is enough (see `nodule_box`).
        centre_ras_mm: where.

    Returns:
        float32 0..1, shape of the grid: the share of each voxel that lies in the nodule.
    """
    return _sampled(spec, grid, centre_ras_mm)[0]


def nodule_hu(spec: NoduleSpec, grid: Grid, centre_ras_mm: Point) -> tuple[np.ndarray, np.ndarray]:
    """Occupancy as of `nodule_occupancy`, and the HU of the nodule's own tissue, both float32 on the grid.

    Insert it as `ct * (1 - occupancy) + hu * occupancy`, before the scanner's blur and noise where they are known.
    """
    occupancy, core, offsets = _sampled(spec, grid, centre_ras_mm)
    rng = np.random.default_rng((spec.seed, 3))
    solid_hu, glass_hu = rng.uniform(15, 60), rng.uniform(-650, -450)
    waves = rng.normal(0, 2 * np.pi / max(6.0, 0.4 * spec.diameter_mm), (6, 3))
    phases = rng.uniform(0, 2 * np.pi, 6)
    ripple = np.cos(offsets @ waves.T + phases).sum(axis=-1) / np.sqrt(3)
    glass = glass_hu + 35 * ripple
    solid = solid_hu + 8 * ripple
    hu = {"solid": solid, "ground-glass": glass, "part-solid": glass + core * (solid - glass)}[spec.texture]
    return occupancy, hu.astype(np.float32)


def nodule_box(spec: NoduleSpec, grid: Grid, centre_ras_mm: Point, margin_mm: float = 1.0) -> Box | None:
    """The voxels that can hold the nodule, within the grid; None when it lies outside."""
    reach = _Form.of(spec.shape, spec.seed).reach * spec.diameter_mm / 2 + margin_mm + max(grid.spacing_mm)
    centre = grid.to_voxel(np.asarray(centre_ras_mm))
    half = np.abs(np.linalg.inv(grid.affine[:3, :3])).sum(axis=1) * reach
    start = np.maximum(np.floor(centre - half), 0).astype(int)
    stop = np.minimum(np.ceil(centre + half) + 1, grid.shape).astype(int)
    if np.any(start >= stop):
        return None
    return Box(tuple(start.tolist()), tuple(stop.tolist()))


@dataclass(frozen=True, eq=False)
class _Form:
    """A star-shaped surface: bumps on a slightly stretched ball, scaled to the volume of the unit ball.

    Attributes:
        stretch: relative half axes (3,).
        directions, heights, sharpness: the bumps, (K, 3), (K,), (K,).
        size: the factor that makes the volume that of the unit ball.
        reach: largest radius.
    """

    stretch: np.ndarray
    directions: np.ndarray
    heights: np.ndarray
    sharpness: np.ndarray
    size: float = 1.0
    reach: float = 1.0

    @staticmethod
    @lru_cache(maxsize=256)
    def of(shape: Shape, seed: int) -> _Form:
        rng = np.random.default_rng((seed, 1))
        bumps = {"round": (4, 0), "lobulated": (7, 0), "spiculated": (5, int(rng.integers(16, 30)))}[shape]
        height = {"round": (-0.05, 0.05), "lobulated": (0.12, 0.45), "spiculated": (-0.1, 0.25)}[shape]
        lobes = _directions(rng, bumps[0])
        spikes = _directions(rng, bumps[1])
        form = _Form(
            stretch=np.exp(rng.uniform(-1, 1, 3) * (0.06 if shape == "round" else 0.14)),
            directions=np.vstack([lobes, spikes]),
            heights=np.concatenate([rng.uniform(*height, bumps[0]), rng.uniform(0.3, 0.85, bumps[1])]),
            sharpness=np.concatenate([rng.uniform(4, 11, bumps[0]), rng.uniform(110, 320, bumps[1])]),
        )
        radii = form.radius(_sphere_directions(12000))
        size = float(np.mean(radii.astype(np.float64) ** 3) ** (-1 / 3))
        return _Form(form.stretch, form.directions, form.heights, form.sharpness, size, float(radii.max()) * size)

    def radius(self, unit: np.ndarray) -> np.ndarray:
        """Distance of the surface from the centre along unit vectors (..., 3), for a nodule of radius 1."""
        base = 1 / np.sqrt(((unit / self.stretch) ** 2).sum(axis=-1) + 1e-12)
        bumps = np.zeros(unit.shape[:-1])
        for direction, height, sharpness in zip(self.directions, self.heights, self.sharpness, strict=True):
            bumps += height * np.exp(sharpness * (unit @ direction - 1))
        radii: np.ndarray = self.size * base * (1 + bumps)
        return radii


def _sampled(spec: NoduleSpec, grid: Grid, centre_ras_mm: Point) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(occupancy, share of the solid core, offsets from the centre in mm (..., 3)), on the grid."""
    form, radius_mm = _Form.of(spec.shape, spec.seed), spec.diameter_mm / 2
    rng = np.random.default_rng((spec.seed, 2))
    core_radius_mm = radius_mm * rng.uniform(0.45, 0.7)
    core_offset_mm = rng.uniform(-0.15, 0.15, 3) * radius_mm
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    offsets = grid.to_world(voxels) - np.asarray(centre_ras_mm, dtype=np.float64)
    distance = np.linalg.norm(offsets, axis=-1)
    half_diagonal = 0.5 * float(np.abs(grid.affine[:3, :3]).sum(axis=1).max()) * 1.8
    occupancy = np.zeros(grid.shape, dtype=np.float32)
    near = np.nonzero(distance < form.reach * radius_mm + half_diagonal)
    steps = _subsamples(grid, spec.diameter_mm)
    edge = float(np.mean(grid.spacing_mm)) / len(steps) ** (1 / 3)
    for step in steps:
        points = offsets[near] + step
        length = np.linalg.norm(points, axis=-1)
        surface = radius_mm * form.radius(points / np.maximum(length, 1e-9)[:, None])
        occupancy[near] += np.clip(0.5 + (surface - length) / edge, 0, 1).astype(np.float32) / len(steps)
    core_edge = float(np.mean(grid.spacing_mm)) + 0.08 * spec.diameter_mm
    core = np.clip(0.5 + (core_radius_mm - np.linalg.norm(offsets - core_offset_mm, axis=-1)) / core_edge, 0, 1)
    return occupancy, core, offsets


def _subsamples(grid: Grid, diameter_mm: float) -> np.ndarray:
    """Offsets in mm (S, 3) of the points that stand for one voxel: finer where voxels are large for the nodule."""
    wanted_mm = np.clip(diameter_mm / 12, 0.25, 0.8)
    counts = [int(np.clip(np.ceil(s / wanted_mm), 1, 6)) for s in grid.spacing_mm]
    axes = [(np.arange(n) + 0.5) / n - 0.5 for n in counts]
    offsets_mm: np.ndarray = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3) @ grid.affine[:3, :3].T
    return offsets_mm


def _directions(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random unit vectors (count, 3)."""
    vectors = rng.standard_normal((count, 3))
    directions: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return directions


def _sphere_directions(count: int) -> np.ndarray:
    """Evenly spread unit vectors (count, 3): the Fibonacci sphere."""
    k = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * k / count), np.pi * (1 + 5**0.5) * k
    return np.column_stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)])


def _pick(shares: Mapping[_Word, float], rng: np.random.Generator) -> _Word:
    """One of the keys, by its share."""
    values = np.array(list(shares.values()))
    return list(shares)[int(rng.choice(len(values), p=values / values.sum()))]
