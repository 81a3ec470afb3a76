"""What differs from person to person: build, heart, diaphragm, contrast, air in the lungs.

In: random numbers. Out: a `Habitus`. Knows no shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Habitus:
    """What differs from person to person; factors around 1, lengths in mm.

    Attributes:
        width, depth: factors of the chest.
        fat_mm: subcutaneous fat. muscle: factor of the muscle thickness.
        heart: factor of the heart's size. heart_shift_mm: its place.
        fissure_mm: (right, left) shift of the fissures along z, in mm.
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
    heart_shift_mm: tuple[float, float, float]
    fissure_mm: tuple[float, float]
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
            heart_shift_mm=tuple(rng.normal(0, (4, 3, 4)).tolist()),
            fissure_mm=tuple(rng.normal(0, 7, 2).tolist()),
            dome_mm=(right_dome, right_dome - float(np.clip(rng.normal(12, 4), 4, 22))),
            blood_hu=float(rng.normal(42, 4)) if rng.random() < 0.6 else float(rng.uniform(120, 300)),
            lung_hu=float(np.clip(rng.normal(-868, 22), -910, -810)),
            gravity_hu_per_mm=float(rng.uniform(0.25, 0.6)),
            age=float(rng.random()),
        )
