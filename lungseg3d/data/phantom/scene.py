"""One person on the couch: all organs drawn together, slab by slab.

In: an `Anatomy` and a seed. Out: noise-free HU and the lungs' masks for any open grid.
Knows no nodules and no scanner.
"""

from __future__ import annotations

import numpy as np

from lungseg3d.data.phantom.anatomy import LEFT, RIGHT, Anatomy
from lungseg3d.data.phantom.bones import paint_ribs, paint_scapulae, paint_shoulders, paint_spine, paint_sternum
from lungseg3d.data.phantom.organs import (
    AIR_HU,
    FAT_HU,
    FLUID_HU,
    WALL_HU,
    paint_abdomen,
    paint_arms,
    paint_body_wall,
    paint_mediastinum,
)
from lungseg3d.data.phantom.scanner import paint_table
from lungseg3d.data.phantom.shapes import Places, RandomField, paint, soft_step
from lungseg3d.data.phantom.trees import LungTrees, grow_lung_trees
from lungseg3d.data.phantom.tubes import Tube, paint_tubes

_LUNG_LOW, _LUNG_HIGH = (-160, -130, -200), (160, 115, 145)


class PhantomScene:
    """Everything but nodules and noise.

    Args:
        anatomy: the person.
        seed: vessels and tissue textures.
        table: draw the couch. arms: hanging down instead of raised.
    """

    def __init__(self, anatomy: Anatomy, seed: int, table: bool = True, arms: bool = False) -> None:
        self.anatomy, self.table, self.arms = anatomy, table, arms
        self.fine = RandomField.of(np.random.default_rng((seed, 20)), pitch_mm=3.2)
        self.coarse = RandomField.of(np.random.default_rng((seed, 21)), pitch_mm=16.0)
        self.trees = {
            side: grow_lung_trees(anatomy, side, np.random.default_rng((seed, 30 + side))) for side in anatomy.aerated
        }
        self._heights = {side: _height_ranges(trees) for side, trees in self.trees.items()}

    @property
    def vessels(self) -> tuple[Tube, ...]:
        """Arteries and veins inside the lungs."""
        return tuple(tube for trees in self.trees.values() for tube in trees.vessels)

    def draw(self, places: Places) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(HU float32, mask of the right lung, mask of the left lung) on an open grid."""
        anatomy = self.anatomy
        hu = np.full(places.shape, AIR_HU, dtype=np.float32)
        texture = self.fine.at(places)
        if self.table:
            back = float(anatomy.body.back(np.array([-60.0, 0.0, 60.0])).min())
            paint_table(hu, places, back - 4)
        paint_arms(hu, places, anatomy, down=self.arms)
        depth = anatomy.cavity.distance(places)
        skin = anatomy.skin_distance(places, depth)
        cavity = np.maximum(depth, places.z - np.float32(anatomy.apex_z))
        paint_body_wall(hu, places, anatomy, skin, depth, texture)
        paint(hu, soft_step(cavity + 1, places.edge_mm), FAT_HU + 6 * texture)
        paint_mediastinum(hu, places, anatomy, texture)
        paint_abdomen(hu, places, anatomy, cavity, texture)
        self._draw_bones(hu, places, depth, skin, texture)
        right, left = np.zeros(places.shape, dtype=bool), np.zeros(places.shape, dtype=bool)
        if (part := places.near(_LUNG_LOW, _LUNG_HIGH)) is not None:
            index, inside = part
            distances = anatomy.lung_distances(inside, cavity[index])
            for side, distance, mask in zip((RIGHT, LEFT), distances, (right, left), strict=True):
                occupancy = soft_step(distance, places.edge_mm)
                if side in anatomy.aerated:
                    paint(hu[index], occupancy, self._lung_hu(inside, side, texture[index]))
                    mask[index] = occupancy >= 0.5
                else:
                    paint(hu[index], occupancy, FLUID_HU)
        return hu, right, left

    def _draw_bones(
        self, hu: np.ndarray, places: Places, depth: np.ndarray, skin: np.ndarray, texture: np.ndarray
    ) -> None:
        """Bones of the wall where the wall is, then the spine and the shoulders."""
        wall = np.nonzero((depth > -3) & (depth < 32))
        x, y, z = np.broadcast_arrays(places.x, places.y, places.z)
        scattered = Places(x[wall], y[wall], z[wall], places.spacing_mm)
        depths, grain, block = depth[wall], texture[wall], hu[wall]
        paint_ribs(block, scattered, self.anatomy, depths, grain)
        paint_sternum(block, scattered, depths, grain)
        paint_scapulae(block, scattered, depths, skin[wall], grain)
        hu[wall] = block
        paint_spine(hu, places, self.anatomy, self.fine)
        paint_shoulders(hu, places, self.anatomy)

    def _lung_hu(self, places: Places, side: int, texture: np.ndarray) -> np.ndarray:
        """Parenchyma, denser towards the back and the base, with fissures, vessels and bronchi."""
        h = self.anatomy.habitus
        # Skewed like real parenchyma, whose density is bounded by air on one side only.
        grain = 13 * texture + 13 * np.square(np.maximum(texture, 0)) - 6.5
        hu: np.ndarray = h.lung_hu + 14 * self.coarse.at(places) + grain - h.gravity_hu_per_mm * (places.y + 10)
        dependent = np.exp(-np.maximum(places.y - self.anatomy.cavity.back(places.z), 0) / np.float32(9))
        hu = hu + 12 * np.exp(-(places.z + 140) / np.float32(40)) + 130 * h.gravity_hu_per_mm * dependent
        hu = np.maximum(hu, np.float32(-985), out=hu)
        oblique, level = self.anatomy.fissures(places, side)
        edge = places.edge_mm
        strength = min(0.6 / edge, 0.7)
        paint(hu, strength * np.maximum(1 - np.abs(oblique) / edge, 0), -250.0)
        if level is not None:
            paint(hu, strength * np.maximum(1 - np.abs(level) / edge, 0) * (oblique > 0), -250.0)
        layer = np.empty(places.shape, dtype=np.float32)
        for name, value in (("vessels", h.blood_hu), ("bronchus_walls", WALL_HU - 10), ("bronchus_lumens", -975.0)):
            layer.fill(0)
            paint_tubes(layer, places, self._tubes_between(side, name, places))
            paint(hu, layer, value)
        return hu

    def _tubes_between(self, side: int, name: str, places: Places) -> list[Tube]:
        """The tubes that reach into a slab."""
        low, high = self._heights[side][name]
        margin = 2 * max(places.spacing_mm)
        hits = (high > float(places.z.min()) - margin) & (low < float(places.z.max()) + margin)
        tubes = getattr(self.trees[side], name)
        return [tubes[i] for i in np.flatnonzero(hits)]


def _height_ranges(trees: LungTrees) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Lowest and highest z of every tube, by kind."""
    ranges = {}
    for name in ("vessels", "bronchus_walls", "bronchus_lumens"):
        corners = np.array([(c[0][2], c[1][2]) for c in (t.corners(0) for t in getattr(trees, name))]).reshape(-1, 2)
        ranges[name] = corners[:, 0], corners[:, 1]
    return ranges
