"""The trees of the lungs: arteries, veins and bronchi that branch until they fill their lobe up to the pleura.

In: an `Anatomy` and a side. Out: tubes in mm. Knows no grid and no HU.

Source: the volume-filling tree of Tawhai et al. 2000, Ann Biomed Eng 28:793 - every branch grows towards the middle of
the tissue it serves, which is then split in two; the radii follow a power of the number of ends served (Murray's law).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lungseg3d.data.phantom.anatomy import LEFT, RIGHT, Anatomy
from lungseg3d.data.phantom.shapes import Places
from lungseg3d.data.phantom.tubes import Tube

ENDS_PER_LITRE = 680
TWIG_RADIUS_MM, RADIUS_POWER = 0.52, 0.325
_REACH = 0.42  # how far a branch goes towards the middle of what it serves
_ROOTS = {
    ("artery", RIGHT): (46, -17, 8), ("artery", LEFT): (-48, -34, 14),
    ("vein", RIGHT): (44, -16, -9), ("vein", LEFT): (-46, -22, -9),
    ("bronchus", RIGHT): (40, -29, 8), ("bronchus", LEFT): (-47, -34, 6),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Tree:
    """Branches of one tree, parents before children.

    Attributes:
        starts, ends: (B, 3) in mm.
        ends_served: number of twigs behind each branch (B,).
        parents: index of the branch each one springs from, -1 at the root (B,).
    """

    starts: np.ndarray
    ends: np.ndarray
    ends_served: np.ndarray
    parents: np.ndarray

    @property
    def radii_mm(self) -> np.ndarray:
        """Radius of each branch (B,)."""
        return TWIG_RADIUS_MM * self.ends_served**RADIUS_POWER


@dataclass(frozen=True)
class LungTrees:
    """Everything that branches in one lung: vessels, and bronchi as walls and lumens."""

    vessels: tuple[Tube, ...]
    bronchus_walls: tuple[Tube, ...]
    bronchus_lumens: tuple[Tube, ...]


def grow_lung_trees(anatomy: Anatomy, side: int, rng: np.random.Generator) -> LungTrees:
    """Arteries with their bronchi, and veins between them, in the lung of one side."""
    vessels: list[Tube] = []
    walls: list[Tube] = []
    lumens: list[Tube] = []
    for kind in ("artery", "vein"):
        points = points_in_lung(anatomy, side, rng, depth_mm=2.0)
        tree = grow_tree(np.array(anatomy.moved(_ROOTS[kind, side])), points, anatomy.lobes(points, side), rng)
        vessels += _bent_tubes(tree, rng)
        if kind == "artery":
            inner, outer = _bronchi(tree, np.array(anatomy.moved(_ROOTS["bronchus", side])), side)
            lumens += inner
            walls += outer
    return LungTrees(tuple(vessels), tuple(walls), tuple(lumens))


def points_in_lung(anatomy: Anatomy, side: int, rng: np.random.Generator, depth_mm: float) -> np.ndarray:
    """Points (N, 3) spread evenly in a lung, at least `depth_mm` under its surface, `ENDS_PER_LITRE` of them."""
    low, high = np.array([2.0, -115, -165]), np.array([150.0, 100, 140])
    count = int(np.prod(high - low) * 1e-6 * ENDS_PER_LITRE)
    # Jittered lattice: even, where independent points would leave holes and clumps.
    pitch = (np.prod(high - low) / count) ** (1 / 3)
    axes = [np.arange(a, b, pitch) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    points = points + rng.uniform(0, pitch, points.shape)
    points[:, 0] *= side
    distance = anatomy.lung_distances(Places.of_points(points))[0 if side == RIGHT else 1]
    return points[distance < -depth_mm]


def grow_tree(root_mm: np.ndarray, points_mm: np.ndarray, lobes: np.ndarray, rng: np.random.Generator) -> Tree:
    """A tree from the hilum (3,) that ends at every one of the points (N, 3); each lobe has its own main branch."""
    starts, ends, served, parents = [], [], [], []
    work = [(root_mm, points_mm[lobes == lobe], -1) for lobe in np.unique(lobes)]
    while work:
        node, points, parent = work.pop()
        if len(points) == 0:
            continue
        tip = points[0] if len(points) == 1 else node + _REACH * (points.mean(axis=0) - node)
        starts.append(node)
        ends.append(tip)
        served.append(len(points))
        parents.append(parent)
        if len(points) > 1:
            work += [(tip, half, len(starts) - 1) for half in _halves(points, tip - node, rng)]
    return Tree(np.array(starts), np.array(ends), np.array(served), np.array(parents))


def _halves(points: np.ndarray, heading: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two parts of a set of points, cut across its widest extent at right angles to the heading."""
    spread = points - points.mean(axis=0)
    unit = heading / max(float(np.linalg.norm(heading)), 1e-6)
    flat = spread - 0.8 * np.outer(spread @ unit, unit)
    _, axes = np.linalg.eigh(flat.T @ flat)
    order = np.argsort(spread @ axes[:, -1])
    cut = int(np.clip(round(len(points) * rng.uniform(0.36, 0.64)), 1, len(points) - 1))
    return points[order[:cut]], points[order[cut:]]


def _bent_tubes(tree: Tree, rng: np.random.Generator) -> list[Tube]:
    """Each branch as two pieces with a slight bend, its radius falling from the parent's towards its own."""
    radii = tree.radii_mm
    inherited = np.where(tree.parents >= 0, radii[tree.parents], radii)
    first = np.minimum(inherited, radii * 1.25)
    length = np.linalg.norm(tree.ends - tree.starts, axis=1, keepdims=True)
    middle = 0.5 * (tree.starts + tree.ends) + rng.normal(0, 0.055, tree.starts.shape) * length
    last = np.where(tree.ends_served == 1, 0.85 * radii, radii)
    tubes = []
    for a, m, b, r0, r1, r2 in zip(tree.starts, middle, tree.ends, first, radii, last, strict=True):
        tubes.append(Tube(tuple(a), tuple(m), float(r0), float(r1)))
        tubes.append(Tube(tuple(m), tuple(b), float(r1), float(r2)))
    return tubes


def _bronchi(arteries: Tree, root_mm: np.ndarray, side: int) -> tuple[list[Tube], list[Tube]]:
    """(lumens, walls) that go with the arteries on their inner and upper side until 1.5 mm wide."""
    beside = np.array([-side * 0.62, -0.45, 0.45])
    beside /= np.linalg.norm(beside)
    lumens, walls = [], []
    artery = arteries.radii_mm
    inner = 0.78 * artery
    wall = 0.3 + 0.15 * inner
    gap = artery + inner + wall
    for i, parent in enumerate(arteries.parents):
        if inner[i] < 0.95:
            continue
        start = root_mm if parent < 0 else arteries.starts[i] + beside * gap[parent]
        end = arteries.ends[i] + beside * gap[i]
        wide = float(inner[parent]) if parent >= 0 else float(inner[i])
        first = min(wide, 1.2 * float(inner[i]))
        lumens.append(Tube(tuple(start), tuple(end), first, float(inner[i])))
        walls.append(Tube(tuple(start), tuple(end), first + float(wall[i]), float(inner[i] + wall[i])))
    return lumens, walls
