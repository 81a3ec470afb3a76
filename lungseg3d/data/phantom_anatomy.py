"""The form of one thorax as signed distances: body, cavity, mediastinum, diaphragm, lungs, fissures.

In: a seed. Out: an `Anatomy` that tells for any place in mm how far each surface is (negative inside).
World RAS, origin in the middle of the chest, for a grown-up. Knows no HU and no grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.interpolate import PchipInterpolator

from lungseg3d.data.phantom_shapes import (
    Places,
    Tube,
    ellipsoid_distance,
    polyline,
    smooth_intersection,
    smooth_union,
    unite_tubes,
)

RIGHT, LEFT = 1, -1
_TINY = np.float32(1e-3)


@dataclass(frozen=True, eq=False)
class Profile:
    """A smooth curve of z through (z, value) knots, level beyond its ends."""

    curve: PchipInterpolator
    slope: PchipInterpolator
    low: float
    high: float

    @staticmethod
    def of(knots: Sequence[tuple[float, float]], factor: float = 1.0, shift: float = 0.0) -> Profile:
        """Through knots of rising z; values times `factor` plus `shift`."""
        z, value = np.array(sorted(knots), dtype=float).T
        curve = PchipInterpolator(z, value * factor + shift)
        return Profile(curve, curve.derivative(), float(z[0]), float(z[-1]))

    def __call__(self, z: np.ndarray) -> np.ndarray:
        return self.curve(np.clip(z, self.low, self.high)).astype(np.float32)

    def derivative(self, z: np.ndarray) -> np.ndarray:
        """Change per mm."""
        return np.where((z > self.low) & (z < self.high), self.slope(np.clip(z, self.low, self.high)), 0).astype(
            np.float32
        )


@dataclass(frozen=True, eq=False)
class Barrel:
    """Horizontal superellipses stacked along z, each with a straight middle piece.

    Attributes:
        middle, side: half width of the straight piece, and of the rounded part beyond it.
        back, front: y of its two ends.
        exponent: 2 = ellipse, more = boxier.
        widest: where between back and front it is widest, 0..1.
        taper: how much narrower it gets per mm towards the front.
    """

    middle: Profile
    side: Profile
    back: Profile
    front: Profile
    exponent: float
    widest: float = 0.5
    taper: float = 0.0

    def distance(self, places: Places) -> np.ndarray:
        """First-order signed distance in mm."""
        n, z = np.float32(self.exponent), places.z
        side, back, front = self.side(z), self.back(z), self.front(z)
        side_slope, back_slope, front_slope = (p.derivative(z) for p in (self.side, self.back, self.front))
        share = np.float32(self.widest)
        centre = back + share * (front - back)
        centre_slope = back_slope + share * (front_slope - back_slope)
        across = np.abs(places.x) * (1 + np.float32(self.taper) * (places.y - centre))
        u = np.maximum(across - self.middle(z), 0) / side + _TINY
        v_signed = places.y - centre
        ahead = v_signed > 0
        half = np.where(ahead, front - centre, centre - back)
        half_slope = np.where(ahead, front_slope - centre_slope, centre_slope - back_slope)
        v = np.abs(v_signed) / half + _TINY
        u_power, v_power = u ** (n - 1), v ** (n - 1)
        u_z = u_power * (-self.middle.derivative(z) - u * side_slope) / side
        v_z = v_power * (-np.sign(v_signed) * centre_slope - v * half_slope) / half
        total = u_power * u + v_power * v
        # Far outside, the steep closing of the top would pull its level planes out to infinity: let it fade.
        upward = (u_z + v_z) / (1 + np.square(np.maximum(total - 1, 0) * 2))
        slope = np.square(u_power / side) + np.square(v_power / half) + np.square(upward)
        return (total - total ** (1 - 1 / n)) / np.sqrt(slope)


@dataclass(frozen=True)
class Habitus:
    """What differs from person to person; factors around 1, lengths in mm.

    Attributes:
        width, depth: factors of the chest.
        fat_mm: subcutaneous fat. muscle: factor of the muscle thickness.
        heart: factor of the heart's size.
        dome_mm: (right, left) height of the diaphragm domes.
        blood_hu: HU of blood; about 40 without, 120-300 with contrast.
        lung_hu: mean HU of the parenchyma. gravity_hu_per_mm: its fall towards the front.
        age: 0 young .. 1 old: calcified cartilage, fatty muscle.
    """

    width: float
    depth: float
    fat_mm: float
    muscle: float
    heart: float
    dome_mm: tuple[float, float]
    blood_hu: float
    lung_hu: float
    gravity_hu_per_mm: float
    age: float

    @staticmethod
    def of(rng: np.random.Generator) -> Habitus:
        """A random person."""
        right_dome = float(rng.normal(-66, 7))
        return Habitus(
            width=float(np.clip(rng.normal(0.97, 0.035), 0.89, 1.04)),
            depth=float(np.clip(rng.normal(0.98, 0.04), 0.88, 1.06)),
            fat_mm=float(np.clip(rng.gamma(4, 3), 4, 28)),
            muscle=float(np.clip(rng.normal(1, 0.15), 0.7, 1.35)),
            heart=float(np.clip(rng.normal(0.95, 0.06), 0.82, 1.08)),
            dome_mm=(right_dome, right_dome - float(np.clip(rng.normal(12, 4), 4, 22))),
            blood_hu=float(rng.normal(42, 4)) if rng.random() < 0.6 else float(rng.uniform(120, 300)),
            lung_hu=float(np.clip(rng.normal(-868, 22), -910, -810)),
            gravity_hu_per_mm=float(rng.uniform(0.25, 0.6)),
            age=float(rng.random()),
        )


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
        h = self.habitus
        self.apex_z = 138.0
        self.cavity = Barrel(
            middle=Profile.of([(-60, 16), (40, 22), (100, 36), (140, 42)]),
            side=Profile.of(
                [(-170, 112), (-110, 116), (-50, 114), (0, 107), (40, 93), (75, 73), (100, 54), (118, 37), (129, 23),
                 (135, 12), (138, 4)], h.width,
            ),
            back=Profile.of(
                [(-170, -92), (-110, -99), (-50, -104), (0, -103), (50, -94), (90, -79), (115, -66), (138, -48)],
                h.depth,
            ),
            front=Profile.of(
                [(-170, 86), (-80, 88), (-30, 86), (30, 74), (75, 53), (100, 30), (120, 4), (131, -15), (138, -34)],
                h.depth,
            ),
            exponent=2.2,
            widest=0.44,
            taper=0.0012,
        )
        grow = h.fat_mm - 12
        self.body = Barrel(
            middle=Profile.of([(-100, 18), (40, 24), (110, 60), (150, 30), (190, 10)]),
            side=Profile.of(
                [(-170, 132), (-60, 140), (10, 141), (60, 142), (100, 136), (120, 125), (145, 88), (165, 58),
                 (190, 52)], h.width, grow,
            ),
            back=Profile.of(
                [(-170, -133), (-50, -143), (20, -141), (70, -131), (110, -112), (140, -92), (170, -72), (230, -68)],
                h.depth, -grow,
            ),
            front=Profile.of(
                [(-170, 116), (-60, 114), (20, 103), (60, 86), (95, 66), (120, 47), (150, 40), (200, 50)],
                h.depth, grow,
            ),
            exponent=2.15,
            widest=0.42,
            taper=0.0006,
        )
        self.spine_y = Profile.of(
            [(-170, -56), (-110, -63), (-50, -68), (10, -67), (60, -59), (100, -48), (140, -34), (190, -24)], h.depth
        )

    @cached_property
    def great_vessels(self) -> dict[str, tuple[Tube, ...]]:
        """Arteries and veins of the mediastinum by name."""
        return {
            "aorta": polyline(
                [(4, 18, -8), (13, 22, 25), (12, 14, 52), (0, -6, 68), (-15, -30, 64), (-25, -46, 46), (-27, -51, 15),
                 (-25, -53, -30), (-20, -49, -80), (-11, -42, -125), (-5, -36, -190)],
                [14, 15, 14.5, 13, 12.5, 12, 11.8, 11.5, 11, 10.5, 9.5],
            ),
            "brachiocephalic": polyline([(6, 2, 66), (14, 2, 92), (22, 2, 115), (34, 0, 150), (36, 2, 240)],
                                        [6.5, 6, 5, 3.6, 3.4]),
            "left carotid": polyline([(-6, -10, 70), (-14, -6, 100), (-22, 0, 140), (-34, 2, 240)], [4.5, 4, 3.6, 3.4]),
            "left subclavian": polyline([(-16, -24, 70), (-24, -20, 100), (-36, -12, 128), (-75, 8, 134)],
                                        [5.2, 5, 4.6, 4]),
            "cava": polyline([(26, 14, 82), (27, 8, 50), (28, 6, 15), (27, 6, -25)], [9, 9.5, 10, 11]),
            "left innominate": polyline([(26, 16, 80), (6, 26, 82), (-18, 22, 92), (-34, 12, 112), (-44, 10, 160)],
                                        [7, 6, 6, 6, 5.5]),
            "right innominate": polyline([(26, 14, 80), (30, 14, 105), (38, 12, 130), (44, 10, 170)], [7, 7, 6, 6]),
            "azygos": polyline([(9, -44, -120), (9, -47, -20), (10, -45, 35), (22, -28, 52), (28, -4, 50)],
                               [3.4, 3.6, 4, 4.4, 4.6]),
            "pulmonary trunk": polyline([(-16, 44, -18), (-22, 30, 8), (-24, 8, 26)], [13, 13, 12]),
            "right pulmonary": polyline([(-24, 8, 26), (-8, -6, 26), (16, -12, 20), (34, -15, 14), (46, -17, 8)],
                                        [11, 10.5, 9.5, 8.5, 7]),
            "left pulmonary": polyline([(-24, 8, 26), (-33, -12, 31), (-44, -29, 24), (-48, -34, 14)],
                                       [11, 9.5, 8.5, 7]),
            "right veins": polyline([(4, -20, -15), (24, -20, -12), (44, -16, -9)], [9, 7.5, 5.5]),
            "left veins": polyline([(-10, -22, -13), (-28, -24, -10), (-46, -22, -9)], [9, 7.5, 5.5]),
            "lower cava": polyline([(22, -2, -60), (20, -12, -85), (16, -22, -190)], [12, 11, 11]),
        }

    @cached_property
    def airways(self) -> dict[str, tuple[Tube, ...]]:
        """Trachea and main bronchi: their lumen."""
        return {
            "trachea": polyline([(0, 22, 240), (0, 12, 170), (1, -4, 120), (2, -18, 75), (1, -25, 44)],
                                [8.5, 8.5, 8.8, 8.8, 8.6]),
            "right bronchus": polyline([(1, -25, 46), (14, -26, 32), (30, -28, 18), (40, -29, 8)], [7, 7, 6.6, 5.4]),
            "left bronchus": polyline([(1, -25, 46), (-14, -27, 33), (-34, -31, 17), (-47, -34, 6)],
                                      [6.8, 6.4, 6, 5.2]),
        }

    @cached_property
    def oesophagus(self) -> tuple[Tube, ...]:
        """The gullet, between trachea and spine, then in front of the aorta."""
        return polyline([(-3, -8, 240), (-3, -22, 130), (-4, -38, 70), (-4, -42, 30), (-6, -40, -40), (-12, -26, -95),
                         (-30, -10, -125)], [6, 6, 6.5, 6.5, 7, 7, 8])

    def heart_distance(self, places: Places) -> np.ndarray:
        """Distance to the heart with its sac."""
        s = self.habitus.heart
        long_axis = np.array([-0.68, 0.56, -0.47])
        across = np.cross(long_axis, [0, 0, 1.0])
        across /= np.linalg.norm(across)
        axes = np.stack([long_axis / np.linalg.norm(long_axis), across, np.cross(long_axis, across)])
        left = ellipsoid_distance(places, (-38, 20, -54), (57 * s, 41 * s, 42 * s), axes)
        right = ellipsoid_distance(places, (-6, 43, -48), (42 * s, 33 * s, 41 * s))
        atria = ellipsoid_distance(places, (20, 8, -32), (33 * s, 32 * s, 40 * s))
        back = ellipsoid_distance(places, (-4, -20, -20), (38 * s, 21 * s, 24 * s))
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
        return (places.z - height) / np.sqrt(1 + np.square(slope))

    def cap_distance(self, places: Places) -> np.ndarray:
        """Distance to the level above which no lung reaches: each side has its own round top."""
        inward = np.minimum(np.abs(places.x) - 44, 0)
        return (places.z - np.float32(self.apex_z) + np.float32(0.024) * np.square(inward)) * np.float32(0.8)

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
        bow = 10 * np.sin((y + 20) / np.float32(45)) + 0.0016 * np.square(x - 70) * 4
        oblique = (z - (8 - np.float32(0.98) * (y + 12) + bow + (6 if side == LEFT else 0))) * np.float32(0.7)
        if side == LEFT:
            return oblique, None
        level = z - (8 + 0.16 * (y - 20) - 0.0022 * np.square(x - 80) + 4 * np.sin(y / np.float32(40)))
        return oblique, level * np.float32(0.97)

    def lobes(self, points_mm: np.ndarray, side: int) -> np.ndarray:
        """Lobe of each point (N, 3): 0 lower, 1 upper, 2 middle (right only)."""
        oblique, level = self.fissures(Places.of_points(points_mm), side)
        lobe = (oblique > 0).astype(int)
        return lobe if level is None else np.where((lobe == 1) & (level < 0), 2, lobe)
