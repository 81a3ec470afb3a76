"""What the image-file readers hand over before anybody asks whether it is HU or labels.

In: arrays of any number of axes. Out: `Raster`, 3D. Knows no file format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lungseg3d.io.intake.reading import ReadOptions, refuse


@dataclass(frozen=True, eq=False)
class Raster:
    """Stored values (X, Y, Z), RAS affine in mm, scale (HU = slope * stored + intercept), and facts for the record."""

    array: np.ndarray
    affine: np.ndarray
    slope: float
    intercept: float
    about: dict[str, Any]


def pick_3d(array: np.ndarray, options: ReadOptions, name: str) -> np.ndarray:
    """The 3D volume of an array (X, Y, Z, ...): trailing axes of 1 fall away, a 4D file needs `volume_index`.

    Raises:
        IntakeError: E_NOT_3D, E_TOO_FEW_SLICES, E_BAD_OPTION.
    """
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    extent = " x ".join(str(n) for n in array.shape)
    if array.ndim == 4 and options.volume_index is not None:
        if not 0 <= options.volume_index < array.shape[3]:
            refuse("E_BAD_OPTION", f"{name}: no volume {options.volume_index}.", f"Pass 0 to {array.shape[3] - 1}.")
        array = array[..., options.volume_index]
    if array.ndim != 3:
        remedy = "Give one 3D volume[, or pass --volume-index=N to choose one]."
        remedy = remedy if array.ndim == 4 else "Give one 3D volume."
        refuse("E_NOT_3D", f"{name}: {extent} voxels; expected 3 dimensions.", remedy)
    if min(array.shape) < 2:
        refuse("E_TOO_FEW_SLICES", f"{name}: {extent} voxels; a volume needs at least 2 slices.", "Give the whole CT.")
    return array
