"""How a chest lies differently in a second CT: another place on the couch, another breath, another bend.

In: a seed and how far the diaphragm moved. Out: a `Motion` that takes places of one CT to the other and back.
Knows no anatomy and no voxels. World RAS in mm, origin in the middle of the chest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

_BASE_Z_MM, _APEX_Z_MM = -110.0, 110.0
_BACK_Y_MM = -100.0
_LARGEST_TURN_DEGREES, _LARGEST_SHIFT_MM = 3.0, 10.0
_WAVES = 6


@dataclass(frozen=True, eq=False)
class Motion:
    """Prior -> current: the breath and the bend, then the new place on the couch.

    Attributes:
        diaphragm_mm: way of the diaphragm towards the feet; negative = breathed out.
        turn: rotation matrix (3, 3). shift_mm: (3,).
        waves: of the bend: wave vectors in rad/mm (W, 3). phases (W,). heights_mm (W, 3).
    """

    diaphragm_mm: float
    turn: np.ndarray
    shift_mm: np.ndarray
    waves: np.ndarray
    phases: np.ndarray
    heights_mm: np.ndarray

    @staticmethod
    def of(seed: int, diaphragm_mm: float, bend_mm: float = 1.0) -> Motion:
        """A motion: up to 3 degrees and 10 mm on the couch, a bend of `bend_mm` standard deviation along each axis."""
        rng = np.random.default_rng((seed, 60))
        angles = rng.uniform(-1, 1, 3) * _LARGEST_TURN_DEGREES
        lengths_mm = rng.uniform(80, 200, _WAVES)
        directions = rng.standard_normal((_WAVES, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return Motion(
            diaphragm_mm=diaphragm_mm,
            turn=Rotation.from_euler("xyz", angles, degrees=True).as_matrix(),
            shift_mm=rng.uniform(-1, 1, 3) * _LARGEST_SHIFT_MM,
            waves=directions * (2 * np.pi / lengths_mm)[:, None],
            phases=rng.uniform(0, 2 * np.pi, _WAVES),
            heights_mm=rng.standard_normal((_WAVES, 3)) * bend_mm * np.sqrt(2 / _WAVES),
        )

    @staticmethod
    def none() -> Motion:
        """Everything stays where it is."""
        return Motion(0.0, np.eye(3), np.zeros(3), np.zeros((1, 3)), np.zeros(1), np.zeros((1, 3)))

    @property
    def is_none(self) -> bool:
        """True where nothing moves."""
        still = self.diaphragm_mm == 0 and not self.shift_mm.any() and not self.heights_mm.any()
        return still and bool((self.turn == np.eye(3)).all())

    def to_prior(self, points_mm: np.ndarray) -> np.ndarray:
        """Places (..., 3) of the current CT -> where the same tissue lay in the prior one."""
        points = (np.asarray(points_mm) - self.shift_mm.astype(np.asarray(points_mm).dtype)) @ self.turn
        still_mm: np.ndarray = points - self._breath_mm(points)
        return still_mm

    def to_current(self, points_mm: np.ndarray) -> np.ndarray:
        """The inverse of `to_prior`, to 0.01 mm: the breath is a contraction, so steps lead to its fixed point."""
        points = wanted = np.asarray(points_mm, dtype=np.float64)
        for _ in range(12):
            points = wanted + self._breath_mm(points)
        turned_mm: np.ndarray = points @ self.turn.T + self.shift_mm
        return turned_mm

    def _breath_mm(self, points: np.ndarray) -> np.ndarray:
        """Displacement (..., 3): bases move most, apices hardly, the front rises, the bend everywhere."""
        height = np.clip((points[..., 2] - _BASE_Z_MM) / (_APEX_Z_MM - _BASE_Z_MM), 0, 1)
        depth = np.clip((points[..., 1] - _BACK_Y_MM) / 200, 0, 1)
        moved: np.ndarray = np.sin(points @ self.waves.T + self.phases) @ self.heights_mm
        moved[..., 2] -= self.diaphragm_mm * (1 + np.cos(np.pi * height)) / 2
        moved[..., 1] += 0.25 * self.diaphragm_mm * depth
        return moved
