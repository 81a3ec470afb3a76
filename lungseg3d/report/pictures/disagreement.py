"""Where a prediction and a reference differ, as one picture: outlines of both, what only one has in yellow.

In: HU and two masks on one grid, axes in RAS order. Out: JPEG bytes. Lung window, the patient's right on the left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lungseg3d.core import Box
from lungseg3d.report.pictures.drawing import Picture, window_hu
from lungseg3d.report.pictures.figures import LUNG_WINDOW_HU
from lungseg3d.report.pictures.planes import AXIAL, SectionWindow, cut_section

REFERENCE_COLOUR = (86, 180, 233)
PREDICTION_COLOUR = (230, 75, 0)
DISAGREEMENT_COLOUR = (240, 228, 66)
"""Blue, vermilion and yellow of Okabe and Ito's palette (2008)."""
_FIELD_MM = 60.0


@dataclass(frozen=True)
class Disagreement:
    """The picture and which axial slice it shows, counted from the feet, from 1."""

    image: bytes
    slice_number: int


def disagreement_view(
    hu: np.ndarray,
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing_mm: Sequence[float],
    *,
    side: int = 420,
    quality: int = 80,
) -> Disagreement:
    """The axial slice with most disagreement, around it.

    Args:
        hu: CT, (X, Y, Z).
        prediction, reference: bool, the same shape.
        spacing_mm: of the grid.
        side: of the square picture, in its pixels.
        quality: of the JPEG.
    """
    differs = prediction ^ reference
    shown = differs if differs.any() else prediction | reference
    index = int(shown.sum(axis=(0, 1)).argmax()) if shown.any() else hu.shape[2] // 2
    level = (prediction | reference)[:, :, index]
    box = Box.around(level[:, :, None]) or Box.whole((*hu.shape[:2], 1))
    extent_mm = [n * mm for n, mm in zip(box.shape, spacing_mm, strict=True)][:2]
    centre = [(a + b - 1) / 2 for a, b in zip(box.start, box.stop, strict=True)]
    field_mm = max(_FIELD_MM, 1.15 * max(extent_mm))
    frame = SectionWindow.around_point((centre[0], centre[1], index), AXIAL, spacing_mm, hu.shape, field_mm, side)
    picture = Picture(window_hu(frame.view(cut_section(hu, AXIAL, index)), *LUNG_WINDOW_HU))
    ours, theirs = (cut_section(mask, AXIAL, index) for mask in (prediction, reference))
    picture.tint(frame.view((ours ^ theirs).astype(np.float32)) > 0.5, DISAGREEMENT_COLOUR, 0.4)
    picture.draw_outlines(frame.outlines(theirs), REFERENCE_COLOUR, 1.8)
    picture.draw_outlines(frame.outlines(ours), PREDICTION_COLOUR, 1.8)
    picture.draw_sides(AXIAL.left, AXIAL.right)
    picture.draw_scale_bar(frame.pixel_mm)
    return Disagreement(picture.encode("jpeg", quality), index + 1)
