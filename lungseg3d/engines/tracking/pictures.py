"""A validation case as one picture: a slice through its reference, with both outlines.

In: HU, reference and prediction of one case, or the batches of an evaluator. Out: PNG bytes. Lung window; reference
green, prediction red. Knows no MLflow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lungseg3d.core import Box, Volume
from lungseg3d.report.pictures.drawing import Picture, window_hu
from lungseg3d.report.pictures.figures import LUNG_WINDOW_HU
from lungseg3d.report.pictures.planes import AXIAL, SectionWindow, cut_section
from lungseg3d.tensors import to_volume

REFERENCE_COLOUR = (80, 220, 120)
PREDICTION_COLOUR = (255, 90, 90)


def centre_slice(mask: np.ndarray) -> int:
    """The slice along Z below and above which half of the mask lies; the middle one where the mask is empty.

    Unlike the centre of mass it always shows the mask, also a bent one.
    """
    area = mask.reshape(-1, mask.shape[-1]).sum(axis=0, dtype=np.int64)
    if not area.any():
        centre: int = mask.shape[-1] // 2
        return centre
    return int(np.searchsorted(np.cumsum(area), area.sum() / 2))


def overlay_picture(
    hu: np.ndarray, reference: np.ndarray, prediction: np.ndarray, spacing_mm: tuple[float, float, float], name: str
) -> bytes:
    """PNG of the axial centre slice of the reference.

    Args:
        hu: shape (X, Y, Z), axes to the patient's right, front and head.
        reference, prediction: masks, shape (C, X, Y, Z): one per structure, each outlined by itself.
        spacing_mm: of the three axes.
        name: written into the corner; a case id and nothing more.
    """
    index = centre_slice(np.any(reference, axis=0))
    whole = Box.whole(hu.shape)
    frame = SectionWindow.around_box(whole, AXIAL, spacing_mm, hu.shape, longest=512)
    picture = Picture(window_hu(frame.view(cut_section(hu, AXIAL, index)), *LUNG_WINDOW_HU))
    for masks, colour in ((reference, REFERENCE_COLOUR), (prediction, PREDICTION_COLOUR)):
        for mask in masks:
            picture.draw_outlines(frame.outlines(cut_section(mask, AXIAL, index)), colour, 1.6)
    picture.draw_sides(AXIAL.left, AXIAL.right)
    picture.draw_scale_bar(frame.pixel_mm)
    picture.draw_name(name, (0.0, 0.0, 4.0, 4.0), (255, 255, 255))
    return picture.encode("png")


class ValidationPictures:
    """Draws the first cases that an evaluator meets, and the same ones each time after.

    Args:
        most: how many cases.
        hu_range: HU that are 0 and 1 in the evaluator's images.
    """

    def __init__(self, most: int, hu_range: Sequence[float]) -> None:
        self.most = most
        self.low, self.high = (float(edge) for edge in hu_range)
        self._cases: list[str] = []

    def drawn(self, batch: Any, output: Any) -> Iterator[tuple[str, bytes]]:
        """(case id, PNG) of those cases of a decollated batch that are drawn.

        Args:
            batch: list of dictionaries with `case_id`, or with none, when cases are numbered.
            output: list of dictionaries with `image` in [0, 1], `label` and `pred`, each (C, X, Y, Z).
        """
        if not isinstance(output, list):
            return
        for i, entry in enumerate(output):
            source = batch[i] if isinstance(batch, list) and isinstance(batch[i], Mapping) else {}
            case_id = re.sub(r"[^\w\-]", "_", str(source.get("case_id", f"case-{i}")))
            if case_id not in self._cases:
                if len(self._cases) >= self.most:
                    continue
                self._cases.append(case_id)
            yield case_id, self._draw(entry, case_id)

    def _draw(self, entry: Mapping[str, Any], case_id: str) -> bytes:
        image = to_volume(entry["image"]).as_ras()
        hu = self.low + image.array * (self.high - self.low)
        reference, prediction = (_masks(entry[key], entry["image"]) for key in ("label", "pred"))
        return overlay_picture(hu, reference, prediction, image.spacing_mm, case_id)


def _masks(tensor: Any, image: Any) -> np.ndarray:
    """Channels (C, X, Y, Z) of masks, or one label map, as bool (C, X, Y, Z) on the axes of a picture."""
    array = np.asarray(tensor.detach().cpu())
    if len(array) == 1 and array.max() > 1:
        array = array == np.arange(1, int(array.max()) + 1)[:, None, None, None]
    affine = to_volume(image).affine
    return np.stack([Volume(channel > 0, affine).as_ras().array for channel in array])
