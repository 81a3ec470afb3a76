"""The form of one thorax as signed distances: body, cavity, mediastinum, diaphragm, lungs, fissures.

In: a seed. Out: an `Anatomy` that tells for any place in mm how far each surface is (negative inside).
World RAS, origin in the middle of the chest, for a grown-up. Knows no HU and no grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from lungseg3d.data.phantom.barrels import AxialCurve, Barrel
from lungseg3d.data.phantom.habitus import Habitus
from lungseg3d.data.phantom.shapes import Places, ellipsoid_distance, smooth_intersection, smooth_union
from lungseg3d.data.phantom.tubes import Tube, polyline, unite_tubes

RIGHT, LEFT = 1, -1


class Anatomy:
    """One thorax.

    Args:
        seed: the person.
        lungs: which lungs hold air: "both", "right", "left" or "none"; the place of a missing one holds fluid.
    """

    def __init__(self, seed: int, lungs: str = "both") -> None:
        rng = np.random.default_rng((seed, 10))
        self.habitus = Habitus.of(rng)
        self.aerated = {"both": (RIGHT, LEFT), "right": (RIGHT,), "left": (LEFT,), "none": ()}[lungs]
        self.rib_phase = float(rng.uniform(-5, 5))
        self._waves = rng.normal(0, 2 * np.pi / 220, (3, 3, 3)), rng.uniform(0, 2 * np.pi, (3, 3))
        bend, lean = rng.uniform(0, 2 * np.pi, 3), float(rng.normal(0, 0.02))
        self._axis_tilt = rng.normal(0, 0.09, 3)
        h = self.habitus
        self.apex_z = 138.0
        self.cavity = Barrel(
            middle=AxialCurve.of([(-60, 16), (40, 22), (100, 36), (140, 42)]),
            side=AxialCurve.of(
                [(-170, 112), (-110, 116), (-50, 114), (0, 107), (40, 93), (75, 73), (100, 54), (118, 37), (129, 23),
                 (135, 12), (138, 4)], h.width, wave_mm=3.5, phase=bend[0],
            ),
            back=AxialCurve.of(
                [(-170, -92), (-110, -99), (-50, -104), (0, -103), (50, -94), (90, -79), (115, -66), (138, -48)],
                h.depth, wave_mm=2.0, phase=bend[1],
            ),
            front=AxialCurve.of(
                [(-170, 86), (-80, 88), (-30, 86), (30, 74), (75, 53), (100, 30), (120, 4), (131, -15), (138, -34)],
                h.depth, wave_mm=3.5, phase=bend[2],
            ),
            exponent=2.2,
            widest=0.44,
            taper=0.0012 + float(rng.normal(0, 0.0003)),
            lean=lean,
        )
        grow = h.fat_mm - 12
        self.body = Barrel(
            middle=AxialCurve.of([(-100, 18), (40, 24), (110, 60), (150, 30), (190, 10)]),
            side=AxialCurve.of(
                [(-170, 132), (-60, 140), (10, 141), (60, 142), (100, 136), (120, 125), (145, 88), (165, 58),
                 (190, 52)], h.width, grow, wave_mm=3.5, phase=bend[0],
            ),
            back=AxialCurve.of(
                [(-170, -133), (-50, -143), (20, -141), (70, -131), (110, -112), (140, -92), (170, -72), (230, -68)],
                h.depth, -grow, wave_mm=2.0, phase=bend[1],
            ),
            front=AxialCurve.of(
                [(-170, 116), (-60, 114), (20, 103), (60, 86), (95, 66), (120, 47), (150, 40), (200, 50)],
                h.depth, grow, wave_mm=3.5, phase=bend[2],
            ),
            exponent=2.15,
            widest=0.42,
            taper=0.0006,
            lean=lean,
        )
        self.spine_y = AxialCurve.of(
            [(-170, -56), (-110, -63), (-50, -68), (10, -67), (60, -59), (100, -48), (140, -34), (190, -24)], h.depth
        )

    def moved(self, point_mm: Sequence[float]) -> tuple[float, float, float]:
        """Where this person has a landmark: the standard place and a smooth displacement of a few mm."""
        p = np.asarray(point_mm, dtype=float)
        waves, phases = self._waves
        return tuple((p + 1.6 * np.sin(waves @ p + phases).sum(axis=1)).tolist())

    def _path(self, points_mm: Sequence[Sequence[float]], radii_mm: Sequence[float]) -> tuple[Tube, ...]:
        """A tube through landmarks."""
        return polyline([self.moved(p) for p in points_mm], radii_mm)

    @cached_property
    def great_vessels(self) -> dict[str, tuple[Tube, ...]]:
        """Arteries and veins of the mediastinum by name."""
        return {
            "aorta": self._path(
                [(4, 18, -8), (13, 22, 25), (12, 14, 52), (0, -6, 68), (-15, -30, 64), (-25, -46, 46), (-27, -51, 15),
                 (-25, -53, -30), (-20, -49, -80), (-11, -42, -125), (-5, -36, -190)],
                [14, 15, 14.5, 13, 12.5, 12, 11.8, 11.5, 11, 10.5, 9.5],
            ),
            "brachiocephalic": self._path([(6, 2, 66), (14, 2, 92), (22, 2, 115), (34, 0, 150), (36, 2, 240)],
                                        [6.5, 6, 5, 3.6, 3.4]),
            "left carotid": self._path([(-6, -10, 70), (-14, -6, 100), (-22, 0, 140), (-34, 2, 240)],
                                       [4.5, 4, 3.6, 3.4]),
            "left subclavian": self._path([(-16, -24, 70), (-24, -20, 100), (-36, -12, 128), (-75, 8, 134)],
                                        [5.2, 5, 4.6, 4]),
            "cava": self._path([(26, 14, 82), (27, 8, 50), (28, 6, 15), (27, 6, -25)], [9, 9.5, 10, 11]),
            "left innominate": self._path([(26, 16, 80), (6, 26, 82), (-18, 22, 92), (-34, 12, 112), (-44, 10, 160)],
                                        [7, 6, 6, 6, 5.5]),
            "right innominate": self._path([(26, 14, 80), (30, 14, 105), (38, 12, 130), (44, 10, 170)], [7, 7, 6, 6]),
            "azygos": self._path([(9, -44, -120), (9, -47, -20), (10, -45, 35), (22, -28, 52), (28, -4, 50)],
                               [3.4, 3.6, 4, 4.4, 4.6]),
            "pulmonary trunk": self._path([(-16, 44, -18), (-22, 30, 8), (-24, 8, 26)], [13, 13, 12]),
            "right pulmonary": self._path([(-24, 8, 26), (-8, -6, 26), (16, -12, 20), (34, -15, 14), (46, -17, 8)],
                                        [11, 10.5, 9.5, 8.5, 7]),
            "left pulmonary": self._path([(-24, 8, 26), (-33, -12, 31), (-44, -29, 24), (-48, -34, 14)],
                                       [11, 9.5, 8.5, 7]),
            "right veins": self._path([(4, -20, -15), (24, -20, -12), (44, -16, -9)], [9, 7.5, 5.5]),
            "left veins": self._path([(-10, -22, -13), (-28, -24, -10), (-46, -22, -9)], [9, 7.5, 5.5]),
            "lower cava": self._path([(22, -2, -60), (20, -12, -85), (16, -22, -190)], [12, 11, 11]),
        }

    @cached_property
    def airways(self) -> dict[str, tuple[Tube, ...]]:
        """Trachea and main bronchi: their lumen."""
        return {
            "trachea": self._path([(0, 22, 240), (0, 12, 170), (1, -4, 120), (2, -18, 75), (1, -25, 44)],
                                [8.5, 8.5, 8.8, 8.8, 8.6]),
            "right bronchus": self._path([(1, -25, 46), (14, -26, 32), (30, -28, 18), (40, -29, 8)], [7, 7, 6.6, 5.4]),
            "left bronchus": self._path([(1, -25, 46), (-14, -27, 33), (-34, -31, 17), (-47, -34, 6)],
                                      [6.8, 6.4, 6, 5.2]),
        }

    @cached_property
    def oesophagus(self) -> tuple[Tube, ...]:
        """The gullet, between trachea and spine, then in front of the aorta."""
        return self._path([(-3, -8, 240), (-3, -22, 130), (-4, -38, 70), (-4, -42, 30), (-6, -40, -40), (-12, -26, -95),
                         (-30, -10, -125)], [6, 6, 6.5, 6.5, 7, 7, 8])

    def skin_distance(self, places: Places, depth: np.ndarray) -> np.ndarray:
        """Distance to the skin; ribs, muscle and fat always fit between it and the cavity, `depth` mm away."""
        return smooth_union(self.body.distance(places), depth - np.float32(17 + 0.7 * self.habitus.fat_mm), 14)

    def heart_distance(self, places: Places) -> np.ndarray:
        """Distance to the heart with its sac."""
        s = self.habitus.heart
        long_axis = np.array([-0.68, 0.56, -0.47]) + self._axis_tilt
        long_axis /= np.linalg.norm(long_axis)
        across = np.cross(long_axis, [0, 0, 1.0])
        across /= np.linalg.norm(across)
        axes = np.stack([long_axis, across, np.cross(long_axis, across)])
        dx, dy, dz = self.habitus.heart_shift_mm
        left = ellipsoid_distance(places, (-38 + dx, 20 + dy, -54 + dz), (57 * s, 41 * s, 42 * s), axes)
        right = ellipsoid_distance(places, (-6 + dx, 43 + dy, -48 + dz), (42 * s, 33 * s, 41 * s))
        atria = ellipsoid_distance(places, (20 + dx, 8 + dy, -32 + dz), (33 * s, 32 * s, 40 * s))
        back = ellipsoid_distance(places, (-4 + dx, -20, -20 + dz), (38 * s, 21 * s, 24 * s))
        return smooth_union(smooth_union(left, right, 14), smooth_union(atria, back, 12), 14)

    def spine_distance(self, places: Places) -> np.ndarray:
        """Distance to the vertebral column with the heads of the ribs, as the lungs feel it."""
        y = places.y - self.spine_y(places.z)
        body = np.sqrt(np.square(places.x / np.float32(1.15)) + y * y) - np.float32(17)
        heads = np.sqrt(np.square(np.abs(places.x) - np.float32(15)) + np.square(y + 24)) - np.float32(18)
        return smooth_union(body, heads, 14)

    def mediastinum_distance(self, places: Places) -> np.ndarray:
        """Distance to everything between the lungs."""
        z, y = places.z, places.y
        inlet = np.float32(1) / (1 + np.exp(-(z - 100) / np.float32(12)))
        retrosternal = 9 * np.exp((y - self.cavity.front(z)) / np.float32(11))
        half_width = 3.2 + retrosternal + 15 * np.exp(-np.square((y + 28) / np.float32(26))) + inlet * 12
        low = np.float32(1) / (1 + np.exp((z + 60) / np.float32(16)))
        distance = np.abs(places.x - 3 * low) - half_width - low * 4
        distance = np.array(np.broadcast_to(distance, places.shape), dtype=np.float32)
        for low_mm, high_mm, organ, blend_mm in (
            ((-62, -400, -400), (62, 10, 400), self.spine_distance, 10.0),
            ((-130, -75, -140), (75, 100, 40), self.heart_distance, 12.0),
        ):
            if (part := places.near(low_mm, high_mm)) is not None:
                index, inside = part
                grown = organ(inside) - np.float32(3 if blend_mm > 10 else 1)
                distance[index] = smooth_union(distance[index], grown, blend_mm)
        for tubes in (*self.great_vessels.values(), self.oesophagus):
            unite_tubes(distance, places, tubes, widen_mm=2.0, blend_mm=6.0)
        for tubes in self.airways.values():
            unite_tubes(distance, places, tubes, widen_mm=2.8, blend_mm=5.0)
        return distance

    def diaphragm_distance(self, places: Places) -> np.ndarray:
        """Distance to the abdomen: negative below the domes."""
        x, y = places.x, places.y
        domes, slopes = [], []
        for side, top in zip((RIGHT, LEFT), self.habitus.dome_mm, strict=True):
            across = (x - side * 66) / np.float32(82)
            along = (y - 14) / np.where(y > 14, np.float32(92), np.float32(108))
            reach = np.square(across) + np.square(along)
            drop = np.float32(64) * reach / np.sqrt(1 + np.float32(0.06) * reach)
            domes.append(top - drop)
            slopes.append(np.float32(64 * 2) * np.sqrt(reach) / 92)
        height = -smooth_union(-domes[0], -domes[1], 10)
        slope = np.where(domes[0] > domes[1], slopes[0], slopes[1])
        distance: np.ndarray = (places.z - height) / np.sqrt(1 + np.square(slope))
        return distance

    def cap_distance(self, places: Places) -> np.ndarray:
        """Distance to the level above which no lung reaches: each side has its own round top."""
        inward = np.minimum(np.abs(places.x) - 44, 0)
        height: np.ndarray = places.z - np.float32(self.apex_z) + np.float32(0.024) * np.square(inward)
        distance: np.ndarray = height * np.float32(0.8)
        return distance

    def lung_distances(self, places: Places, cavity: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Distances to the surfaces of the right and the left lung's place, aerated or not.

        Args:
            places: where.
            cavity: the cavity's distance there when it is known already.
        """
        cavity = self.cavity.distance(places) if cavity is None else cavity
        cavity = smooth_intersection(cavity, self.cap_distance(places), 8)
        both = smooth_intersection(cavity, -self.mediastinum_distance(places), 7)
        both = smooth_intersection(both, -self.diaphragm_distance(places), 5)
        return np.maximum(both, 1 - places.x), np.maximum(both, 1 + places.x)

    def fissures(self, places: Places, side: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Signed distances to the oblique fissure (positive above) and, on the right, the horizontal one."""
        x, y, z = np.abs(places.x), places.y, places.z
        shift = np.float32(self.habitus.fissure_mm[0 if side == RIGHT else 1])
        bow = 10 * np.sin((y + 20) / np.float32(45)) + 0.0016 * np.square(x - 70) * 4
        oblique = (z - (8 + shift - np.float32(0.98) * (y + 12) + bow + (6 if side == LEFT else 0))) * np.float32(0.7)
        if side == LEFT:
            return oblique, None
        level = z - (8 - 0.6 * shift + 0.16 * (y - 20) - 0.0022 * np.square(x - 80) + 4 * np.sin(y / np.float32(40)))
        return oblique, level * np.float32(0.97)

    def lobes(self, points_mm: np.ndarray, side: int) -> np.ndarray:
        """Lobe of each point (N, 3): 0 lower, 1 upper, 2 middle (right only)."""
        oblique, level = self.fissures(Places.of_points(points_mm), side)
        lobe = (oblique > 0).astype(int)
        return lobe if level is None else np.where((lobe == 1) & (level < 0), 2, lobe)
