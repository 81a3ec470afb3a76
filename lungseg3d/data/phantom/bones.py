"""The skeleton of the phantom: ribs with their cartilage, spine, sternum, scapulae, clavicles, humeral heads.

In: an `Anatomy`, places, the distance to the chest cavity there. Out: bone mixed into the HU.
Bone is a bright shell around marrow. Knows no lungs and no noise.
"""

from __future__ import annotations

import numpy as np

from lungseg3d.data.phantom.anatomy import LEFT, RIGHT, Anatomy
from lungseg3d.data.phantom.shapes import (
    Places,
    RandomField,
    ellipsoid_distance,
    paint,
    smooth_intersection,
    soft_step,
)
from lungseg3d.data.phantom.tubes import Tube, polyline

CORTEX_HU, MARROW_HU, CARTILAGE_HU, DISC_HU, CORD_HU = 720.0, 190.0, 95.0, 85.0, 32.0
RIB_DEPTH_MM, RIB_COUNT, RIB_PITCH_MM, FIRST_RIB_Z = 6.0, 12, 22.8, 140.0
# Angle from the back at which each rib ends, radians; ribs 11 and 12 end free in the wall.
_RIB_END = np.array([2.55, 2.5, 2.46, 2.42, 2.38, 2.33, 2.27, 2.2, 2.12, 2.0, 1.75, 1.3], dtype=np.float32)
_CARTILAGE_END = np.array([2.95] * 7 + [2.75, 2.6, 2.4, 0, 0], dtype=np.float32)


def wall_angle(places: Places) -> np.ndarray:
    """Angle around the chest: 0 at the spine, pi at the sternum, the same on both sides."""
    angles: np.ndarray = np.arctan2(np.abs(places.x), -(places.y + 12))
    return angles


def rib_offsets(anatomy: Anatomy, places: Places, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(number of the nearest rib, 0 = first; how far above its middle line the place is, mm), shape of `places`."""
    rise = np.clip((angle - 0.3) / np.float32(2.05), 0, 1)
    fall = rise * rise * (3 - 2 * rise) - 0.42 * np.clip((angle - 2.35) / np.float32(0.65), 0, 1)
    pitch = np.float32(RIB_PITCH_MM) + np.float32(4.2) * fall
    position = (np.float32(FIRST_RIB_Z + anatomy.rib_phase) - 56 * fall - places.z) / pitch
    number = np.clip(np.rint(position), 0, RIB_COUNT - 1)
    return number.astype(np.intp), (number - position) * pitch


def paint_ribs(hu: np.ndarray, places: Places, anatomy: Anatomy, depth: np.ndarray, texture: np.ndarray) -> None:
    """Ribs and their cartilage, in place.

    Args:
        hu: HU at scattered places (N,).
        places: the places (N,).
        anatomy: whose ribs.
        depth: distance outward from the chest cavity, mm, (N,).
        texture: random field there (N,).
    """
    angle = wall_angle(places)
    number, above = rib_offsets(anatomy, places, angle)
    edge = places.edge_mm
    inward = depth - np.float32(RIB_DEPTH_MM)
    distance = _ellipse(inward, above * np.float32(0.92), 3.9, 6.8)
    end = (angle - _RIB_END[number]) * 110
    bone = np.maximum(np.maximum(distance, end), (0.3 - angle) * 90)
    paint(hu, soft_step(bone, edge), CORTEX_HU + 40 * texture)
    paint(hu, soft_step(bone + np.float32(1.5), edge), MARROW_HU + 45 * texture)
    cartilage = np.maximum(_ellipse(inward, above, 4.6, 7.4), np.maximum(-end, (angle - _CARTILAGE_END[number]) * 110))
    lime = np.clip(texture - 1.6 + 1.1 * anatomy.habitus.age, 0, 1) * 400
    paint(hu, soft_step(cartilage, edge), CARTILAGE_HU + lime)


def paint_sternum(hu: np.ndarray, places: Places, depth: np.ndarray, texture: np.ndarray) -> None:
    """The breastbone in front of the cavity, at scattered places (N,), in place."""
    half_width = np.where(places.z > 62, np.float32(27), np.float32(17)) + 2.5 * np.cos(places.z / np.float32(5.5))
    across = np.abs(places.x) - half_width
    plate = smooth_intersection(across, np.abs(depth - 8) - np.float32(6.2), 6)
    plate = smooth_intersection(plate, np.abs(places.z - 8) - np.float32(80), 8)
    plate = np.where(places.y > 0, plate, np.float32(50))
    plate = np.maximum(plate, 2.2 - np.abs(places.z - 58))  # the joint of manubrium and body
    paint(hu, soft_step(plate, places.edge_mm), 420 + 40 * texture)
    paint(hu, soft_step(plate + np.float32(1.5), places.edge_mm), 130 + 35 * texture)


def paint_scapulae(
    hu: np.ndarray, places: Places, depth: np.ndarray, skin: np.ndarray, texture: np.ndarray
) -> None:
    """The blades of the shoulders on the back of the rib cage, under the `skin`, at scattered places (N,), in place."""
    angle, z = wall_angle(places), places.z
    # A triangle in (angle, z): the corner down at the back, the broad side up.
    share = np.clip((z + 22) / np.float32(125), 0, 1)
    inner, outer = 0.86 - 0.14 * share, 0.96 + 0.72 * share
    margin = np.maximum(np.maximum(inner - angle, angle - outer) * 120, np.maximum(-22 - z, z - 104))
    thickness = 1.3 + 2.4 * np.exp(-np.square(np.minimum(margin, 0) / np.float32(5)))
    blade = np.maximum(np.abs(depth - 20 - 5 * np.sin(share * 3)) - thickness, margin)
    blade = np.where(places.y < 20, np.maximum(blade, skin + 5), np.float32(50))
    paint(hu, soft_step(blade, places.edge_mm), CORTEX_HU - 120 + 40 * texture)
    paint(hu, soft_step(blade + np.float32(1.6), places.edge_mm), MARROW_HU + 30 * texture)


def paint_spine(hu: np.ndarray, places: Places, anatomy: Anatomy, field: RandomField) -> None:
    """Vertebral bodies, discs, arches, spinous and transverse processes, canal and cord, on an open grid, in place."""
    part = places.near((-52, -170, -1000), (52, 10, 1000))
    if part is None:
        return
    index, inside = part
    block, edge = hu[index], inside.edge_mm
    texture = field.at(inside)
    x, y = inside.x, inside.y - anatomy.spine_y(inside.z)
    level = (inside.z - np.float32(FIRST_RIB_Z + anatomy.rib_phase + 6)) / np.float32(RIB_PITCH_MM)
    z = (level - np.rint(level)) * np.float32(RIB_PITCH_MM)  # height in the vertebra: 0 in its middle
    waist = 1 - 0.10 * np.cos(z / np.float32(6.5))
    tube = np.sqrt(np.square(x / np.float32(1.22)) + y * y + np.float32(1e-3)) - 15.5 * waist
    body = smooth_intersection(tube, np.abs(z) - 9.3, 3)
    canal = np.sqrt(np.square(x / np.float32(1.15)) + np.square(y + 24)) - np.float32(8)
    arch = np.maximum(np.abs(canal - 3.2) - 3.4, np.abs(z + 2) - 8.5)
    spinous = np.maximum(
        np.maximum(np.abs(x) - 3.2 - np.clip(-y - 56, 0, 8) * 0.25, np.abs(y + 48) - 17),
        np.abs(z + (-y - 34) * np.float32(0.35)) - 6,
    )
    skin_y = anatomy.body.back(inside.z) + 7 - anatomy.spine_y(inside.z)
    spinous = np.maximum(spinous, skin_y - y)
    wing_y = y + 26 + 0.45 * np.abs(x)
    wings = np.maximum(np.sqrt(np.square(wing_y) + np.square(z - 1)) - 5.2, np.abs(x) - 33)
    paint(block, soft_step(np.maximum(tube + 0.5, 8 - np.abs(z)), edge), DISC_HU + 8 * texture)
    bone = np.minimum(np.minimum(body, arch), np.minimum(spinous, wings))
    paint(block, soft_step(bone, edge), CORTEX_HU - 220 + 50 * texture)
    paint(block, soft_step(bone + np.float32(1.4), edge), MARROW_HU + 40 * texture)
    paint(block, soft_step(canal + 0.4, edge), 8.0)
    paint(block, soft_step(np.sqrt(x * x + np.square(y + 24)) - np.float32(4.8), edge), CORD_HU)
    hu[index] = block


def paint_shoulders(hu: np.ndarray, places: Places, anatomy: Anatomy) -> None:
    """Clavicles, humeral heads, spines of the scapulae and necks of the ribs, on an open grid, in place."""
    w = anatomy.habitus.width
    for side in (RIGHT, LEFT):
        tubes = [
            *polyline([(side * 22, 52, 93), (side * 60, 48, 104), (side * 110 * w, 12, 118), (side * 146 * w, -8, 122)],
                      [9, 6.5, 6, 6.5]),
            *polyline([(side * 82, -104, 82), (side * 110 * w, -92, 98), (side * 148 * w, -40, 120)], [4, 5, 7]),
            Tube((side * 128 * w, -36, 100), (side * 142 * w, -28, 101), 13, 10),
        ]
        for number in range(RIB_COUNT):
            z = FIRST_RIB_Z + anatomy.rib_phase - number * RIB_PITCH_MM
            spine_y = float(anatomy.spine_y(np.array(z)))
            tubes.append(Tube((side * 17, spine_y - 10, z + 2), (side * 36, spine_y - 34, z), 5.2, 4.4))
        _paint_bone_tubes(hu, places, tubes)
        head = (side * 158 * w, -22, 104)
        part = places.near([c - 26 for c in head], [c + 26 for c in head])
        if part is not None:
            index, inside = part
            ball = ellipsoid_distance(inside, head, (22, 22, 23))
            paint(hu[index], soft_step(ball, inside.edge_mm), CORTEX_HU - 200)
            paint(hu[index], soft_step(ball + 2, inside.edge_mm), MARROW_HU + 40)


def _paint_bone_tubes(hu: np.ndarray, places: Places, tubes: list[Tube]) -> None:
    """Shells first, then the marrow, so that joined pieces have one marrow."""
    for shrink, value in ((0.0, CORTEX_HU - 100), (-1.7, MARROW_HU)):
        for tube in tubes:
            part = places.near(*tube.corners(2 * max(places.spacing_mm)))
            if part is not None:
                index, inside = part
                paint(hu[index], soft_step(tube.distance(inside, shrink), inside.edge_mm), value)


def _ellipse(a: np.ndarray, b: np.ndarray, half_a: float, half_b: float) -> np.ndarray:
    """First-order signed distance to an ellipse."""
    p, q = a / np.float32(half_a), b / np.float32(half_b)
    radius = np.sqrt(p * p + q * q) + np.float32(1e-4)
    slope = np.sqrt(np.square(p / half_a) + np.square(q / half_b) + np.float32(1e-9))
    depth: np.ndarray = radius * (radius - 1) / slope
    return depth
