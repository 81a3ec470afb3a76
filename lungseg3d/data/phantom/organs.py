"""Soft tissue of the phantom: skin, fat and muscle, the organs between and below the lungs.

In: an `Anatomy`, places, distances known there. Out: tissue mixed into the HU in place.
Knows no lungs' insides, no bone and no noise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lungseg3d.data.phantom.anatomy import LEFT, RIGHT, Anatomy
from lungseg3d.data.phantom.bones import wall_angle
from lungseg3d.data.phantom.shapes import Places, ellipsoid_distance, paint, smooth_intersection, soft_step
from lungseg3d.data.phantom.tubes import Tube, paint_tubes, polyline

AIR_HU, FAT_HU, MUSCLE_HU, SKIN_HU, WALL_HU = -1000.0, -105.0, 52.0, 15.0, 30.0
LIVER_HU, SPLEEN_HU, STOMACH_HU, FLUID_HU = 58.0, 48.0, 22.0, 8.0


def paint_body_wall(
    hu: np.ndarray, places: Places, anatomy: Anatomy, skin: np.ndarray, depth: np.ndarray, texture: np.ndarray
) -> None:
    """Skin, subcutaneous fat, muscles and the fat sheets between them.

    Args:
        hu: HU (X, Y, Z), changed in place.
        places: where.
        anatomy: whose.
        skin, depth: distance to the skin and outward from the chest cavity, mm.
        texture: random field.
    """
    edge, h = places.edge_mm, anatomy.habitus
    paint(hu, soft_step(skin, edge), SKIN_HU)
    paint(hu, soft_step(skin + np.float32(2), edge), FAT_HU + 7 * texture)
    angle, z = wall_angle(places), places.z
    fat = h.fat_mm * (0.75 + 0.45 * np.exp(-np.square((angle - 1.5) / 0.5)))
    back = 16 * np.exp(-np.square((angle - 0.45) / np.float32(0.4)))
    blades = 10 * np.exp(-np.square((angle - 1.15) / np.float32(0.5))) * _rise(z, -30, 12)
    chest = 9 * np.exp(-np.square((angle - 2.35) / np.float32(0.45))) * _rise(z, 5, 15)
    girdle = 70 * _rise(z, 88, 9)
    thick = 12 + h.muscle * (5 + back + blades + chest) + girdle
    muscle = np.maximum(depth - thick, skin + fat)
    streaks = np.clip(texture - (2.0 - 0.7 * h.age), 0, 1) * 90
    muscle_hu = MUSCLE_HU + 5 * texture - streaks
    paint(hu, soft_step(muscle, edge), muscle_hu)
    # Fat sheets between the muscle layers, wandering and in places lost.
    wander = 3.5 * np.sin(z / np.float32(23) + 3 * angle) + 2 * np.sin(5 * angle - z / np.float32(37))
    second = np.abs(depth - 26 - wander) + np.float32(0.6) * np.maximum(texture, 0)
    sheets = np.minimum(np.abs(depth - 13.5 - 0.2 * wander), second)
    paint(hu, soft_step(sheets - 0.4, edge) * soft_step(muscle + 3, 2.0) * np.float32(0.7), FAT_HU)


def paint_arms(hu: np.ndarray, places: Places, anatomy: Anatomy, down: bool) -> None:
    """Upper arms: beside the body, or raised beside the head as in most chest CTs."""
    w = anatomy.habitus.width
    for side in (RIGHT, LEFT):
        path = (
            [(side * 172 * w, -20, 112), (side * 214, -26, 40), (side * 226, -30, -190)]
            if down
            else [(side * 158 * w, -22, 112), (side * 176, -24, 175), (side * 182, -10, 320)]
        )
        for radius, value in ((44, SKIN_HU), (42.5, FAT_HU), (36, MUSCLE_HU), (11.5, 700.0), (7, 80.0)):
            layer = np.zeros(places.shape, dtype=np.float32)
            paint_tubes(layer, places, polyline(path, [radius * 1.1, radius, radius * 0.95]))
            paint(hu, layer, value)


def paint_mediastinum(hu: np.ndarray, places: Places, anatomy: Anatomy, texture: np.ndarray) -> None:
    """Heart, great vessels, gullet, trachea and main bronchi in the fat between the lungs."""
    blood = anatomy.habitus.blood_hu
    part = places.near((-62, -400, -400), (62, 10, 400))
    if part is not None:
        index, inside = part
        # Ligaments and the deep muscles of the back, between the ribs' heads.
        paint(hu[index], soft_step(anatomy.spine_distance(inside) + 1.5, inside.edge_mm), MUSCLE_HU - 8)
    part = places.near((-130, -80, -140), (80, 100, 40))
    if part is not None:
        index, inside = part
        heart, edge = anatomy.heart_distance(inside), inside.edge_mm
        muscle_hu = 48 + 0.25 * (blood - 42)
        paint(hu[index], soft_step(heart, edge), muscle_hu + 4 * texture[index])
        s, shift = anatomy.habitus.heart, anatomy.habitus.heart_shift_mm
        for centre, axes in (
            ((-34, 17, -50), (42 * s, 25 * s, 27 * s)),
            ((-8, 42, -44), (35 * s, 25 * s, 33 * s)),
            ((21, 8, -30), (27 * s, 26 * s, 33 * s)),
            ((-4, -19, -19), (32 * s, 16 * s, 19 * s)),
        ):
            there = [c + d for c, d in zip(centre, shift, strict=True)]
            chamber = np.maximum(ellipsoid_distance(inside, there, axes), heart + 4)
            paint(hu[index], soft_step(chamber, edge + 2), blood)
    for tubes in anatomy.great_vessels.values():
        _paint_organ_tubes(hu, places, tubes, blood)
    _paint_organ_tubes(hu, places, anatomy.oesophagus, 38.0)
    _paint_organ_tubes(hu, places, [t for t in anatomy.oesophagus if t.start_mm[2] > -20], -250.0, shrink=0.3)
    for name, tubes in anatomy.airways.items():
        wall = [type(t)(t.start_mm, t.end_mm, t.start_radius_mm + 1.6, t.end_radius_mm + 1.5) for t in tubes]
        _paint_organ_tubes(hu, places, wall, WALL_HU + (25 if name == "trachea" else 10))
    for tubes in anatomy.airways.values():
        _paint_organ_tubes(hu, places, tubes, -985.0)
    for centre, size in (((12, -12, 48), 4.5), ((-4, -30, 22), 6), ((-22, -14, 46), 4), ((2, 12, 88), 3.5)):
        node = places.near([c - 12 for c in centre], [c + 12 for c in centre])
        if node is not None:
            index, inside = node
            paint(hu[index], soft_step(ellipsoid_distance(inside, centre, (size, size * 0.8, size * 1.3)), 2.0), 35.0)


def paint_abdomen(hu: np.ndarray, places: Places, anatomy: Anatomy, cavity: np.ndarray, texture: np.ndarray) -> None:
    """Diaphragm, liver, spleen, stomach with its air, below the domes."""
    if float(places.z.min()) > max(anatomy.habitus.dome_mm) + 10:
        return
    edge, blood = places.edge_mm, anatomy.habitus.blood_hu
    below = np.maximum(anatomy.diaphragm_distance(places), cavity)
    paint(hu, soft_step(below, edge), MUSCLE_HU - 4)
    inner = np.maximum(below + 3.0, cavity + 4)
    paint(hu, soft_step(inner, edge), FAT_HU + 8 * texture)
    x, y, z = places.x, places.y, places.z
    gain = 0.35 * (blood - 42)
    slant = (-(x + 46) + 0.55 * (z + 95) - 0.5 * (y - 30)) * np.float32(0.8)
    # The liver lies on the diaphragm with no fat between.
    liver = smooth_intersection(np.maximum(below + 1.5, cavity + 3), slant, 18)
    liver = smooth_intersection(liver, -(y + 112 - 0.25 * x), 10)
    liver = smooth_intersection(liver, ellipsoid_distance(places, (62, 6, -128), (150, 108, 92)), 12)
    paint(hu, soft_step(liver, edge), LIVER_HU + gain + 3 * texture)
    spleen = smooth_intersection(ellipsoid_distance(places, (-88, -52, -128), (46, 36, 52)), inner, 6)
    paint(hu, soft_step(spleen, edge), SPLEEN_HU + gain)
    stomach = smooth_intersection(ellipsoid_distance(places, (-66, 26, -124), (46, 42, 46)), inner + 0.5, 10)
    stomach = smooth_intersection(stomach, 2 - liver, 10)
    paint(hu, soft_step(stomach, edge), 42.0)
    paint(hu, soft_step(stomach + 4, edge), STOMACH_HU + 9 * texture)
    paint(hu, soft_step(smooth_intersection(stomach + 4, 38 - y, 3), edge), -990.0)
    for name in ("aorta", "lower cava"):
        _paint_organ_tubes(hu, places, anatomy.great_vessels[name], blood)


def _paint_organ_tubes(
    hu: np.ndarray, places: Places, tubes: Sequence[Tube], value_hu: float, shrink: float = 1.0
) -> None:
    """One connected organ made of tubes, each mixed in by its own soft edge."""
    for tube in tubes:
        part = places.near(*tube.corners(2 * max(places.spacing_mm)))
        if part is not None:
            index, inside = part
            widen = (shrink - 1) * tube.start_radius_mm
            paint(hu[index], soft_step(tube.distance(inside, widen), inside.edge_mm), value_hu)


def _rise(z: np.ndarray, at_mm: float, over_mm: float) -> np.ndarray:
    """0 below, 1 above."""
    share: np.ndarray = np.float32(1) / (1 + np.exp(-(z - at_mm) / np.float32(over_mm)))
    return share
