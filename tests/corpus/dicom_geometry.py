"""Rows D13, D15-D19, D24-D27, D58: orientation, position and spacing, turned, tilted or absent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from lungseg3d.core import Volume
from tests.corpus.case import Made, row
from tests.corpus.phantom import Series, chest, reordered, rotation, turned


def _axial_and_coronal(folder: Path) -> Made:
    series = Series()
    coronal = Series(reordered(chest(), (0, 2, 1), (1, -1, 1)))
    for k, one in enumerate(coronal.slices):
        one.dataset.SOPInstanceUID = one.dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.9.{k + 1}"
    series.slices += coronal.slices
    return Made(series.write(folder / "ct"))


def _as(volume: Volume, position: str = "HFS") -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        return Made(Series(volume, PatientPosition=position).write(folder / "ct"), volume)

    return make


def _tilted(degrees: float) -> Volume:
    affine = chest().affine.copy()
    affine[1, 2] = affine[2, 2] * np.tan(np.radians(degrees))
    return Volume(chest().array, affine)


def _tilted_planes(degrees: float) -> Volume:
    """As scanners tilt: the planes turn, the table still moves along z."""
    affine = chest().affine.copy()
    affine[:3, 1] = rotation(degrees, 0)[:3, :3] @ affine[:3, 1]
    return Volume(chest().array, affine)


def _without(tag: str, only: int | None = None) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        series = Series()
        for one in series.slices if only is None else series.slices[only : only + 1]:
            delattr(one.dataset, tag)
        return Made(series.write(folder / "ct"))

    return make


_POSITION, _ORIENTATION = "ImagePositionPatient", "ImageOrientationPatient"
# The scanner turns the image with the patient, so the stored axes run another way through the same body.
_PRONE = reordered(chest(), (0, 1, 2), (-1, -1, 1))
_FEET_FIRST = reordered(chest(), (0, 1, 2), (-1, 1, -1))
_DECUBITUS = reordered(chest(), (1, 0, 2), (1, -1, 1))
_CORONAL = reordered(chest((24, 44, 40)), (0, 2, 1), (1, -1, 1))
_SAGITTAL = reordered(chest((130, 20, 40)), (1, 2, 0), (1, -1, 1))
_OBLONG = chest(spacing_mm=(1.4, 0.5, 2.5))

CASES = (
    row("D13", "axial and coronal under one UID", _axial_and_coronal, "E_MIXED_ORIENTATION"),
    row("D15", "gantry tilted by 20 degrees", _as(_tilted(20)), "W_GANTRY_TILT", says="20.0 degrees"),
    row("D15-back", "gantry tilted by -8 degrees", _as(_tilted(-8)), "W_GANTRY_TILT", says="8.0 degrees"),
    row("D15-planes", "planes tilted by 20 degrees", _as(_tilted_planes(20)), "W_GANTRY_TILT", says="20.0 degrees"),
    row("D16", "turned by 15 degrees in the plane", _as(turned(chest(), rotation(15)))),
    row("D16-oblique", "slices 12 degrees off axial, stacked on their normal", _as(turned(chest(), rotation(12, 0)))),
    row("D16-coronal", "a coronal series", _as(_CORONAL), "W_SHORT_COVERAGE"),
    row("D16-sagittal", "a sagittal series", _as(_SAGITTAL)),
    row("D17", "feet first", _as(_FEET_FIRST, "FFS")),
    row("D18", "prone", _as(_PRONE, "HFP"), "W_PATIENT_POSITION"),
    row("D19", "decubitus", _as(_DECUBITUS, "HFDR"), "W_PATIENT_POSITION"),
    row("D24", "position absent everywhere", _without(_POSITION), "E_MISSING_TAG", says=f"{_POSITION} is absent"),
    row("D25", "position absent once", _without(_POSITION, 8), "E_MISSING_TAG", says="0008.dcm"),
    row("D26", "orientation absent", _without(_ORIENTATION), "E_MISSING_TAG", says=_ORIENTATION),
    row("D27", "pixel spacing absent", _without("PixelSpacing"), "E_MISSING_TAG", says="PixelSpacing"),
    row("D58", "pixels of 1.4 x 0.5 mm", _as(_OBLONG)),
)
