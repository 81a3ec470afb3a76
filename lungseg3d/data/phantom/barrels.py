"""Barrels: the chest cavity and the body as stacks of rounded outlines.

In: outlines at a few heights. Out: signed distances in mm. Knows no anatomy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from lungseg3d.data.phantom.shapes import Places

_TINY = np.float32(1e-3)


@dataclass(frozen=True, eq=False)
class AxialCurve:
    """A smooth curve of z through (z, value) knots, level beyond its ends."""

    curve: PchipInterpolator
    slope: PchipInterpolator
    low: float
    high: float

    @staticmethod
    def of(
        knots: Sequence[tuple[float, float]],
        factor: float = 1.0,
        shift: float = 0.0,
        wave_mm: float = 0.0,
        phase: float = 0.0,
    ) -> AxialCurve:
        """Through knots of rising z; values times `factor` plus `shift`, with a slow wave that fades at the top."""
        z, value = np.array(sorted(knots), dtype=float).T
        wave = wave_mm * np.sin(z / 85 + phase) * np.clip((125 - z) / 60, 0, 1)
        curve = PchipInterpolator(z, value * factor + shift + wave)
        return AxialCurve(curve, curve.derivative(), float(z[0]), float(z[-1]))

    def __call__(self, z: np.ndarray) -> np.ndarray:
        heights: np.ndarray = self.curve(np.clip(z, self.low, self.high)).astype(np.float32)
        return heights

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
        lean: how much narrower the right side is than the middle of both, as a share.
    """

    middle: AxialCurve
    side: AxialCurve
    back: AxialCurve
    front: AxialCurve
    exponent: float
    widest: float = 0.5
    taper: float = 0.0
    lean: float = 0.0

    def distance(self, places: Places) -> np.ndarray:
        """First-order signed distance in mm."""
        n, z = np.float32(self.exponent), places.z
        side, back, front = self.side(z), self.back(z), self.front(z)
        side_slope, back_slope, front_slope = (p.derivative(z) for p in (self.side, self.back, self.front))
        share = np.float32(self.widest)
        centre = back + share * (front - back)
        centre_slope = back_slope + share * (front_slope - back_slope)
        across = np.abs(places.x) * (1 + np.float32(self.lean) * np.sign(places.x))
        across = across * (1 + np.float32(self.taper) * (places.y - centre))
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
        depth: np.ndarray = (total - total ** (1 - 1 / n)) / np.sqrt(slope)
        return depth
