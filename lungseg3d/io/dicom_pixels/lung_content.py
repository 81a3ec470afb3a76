"""How much lung a CT series shows, by a look at some of its slices: for a choice among series, not for a measurement.

In: the slices of one series and their geometry. Out: ml. Lung is what holds much air and some tissue: darker than any
organ, lighter than the air around a patient, in bowels, sinuses and windpipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from lungseg3d.core import IntakeError
from lungseg3d.io.dicom_headers.records import DicomFile, Frame
from lungseg3d.io.dicom_pixels.pixels import VolumePlane, read_planes

_EVERY_MM, _LEAST_SLICES, _MOST_SLICES = 20.0, 8, 40
_PIXEL_MM = 2.5
_AIR_BELOW_HU = -400
_LUNG_MEDIAN_HU = (-960, -500)
_LEAST_AREA_MM2 = 400.0


def lung_ml(slices: Sequence[tuple[DicomFile, Frame]], step_mm: float) -> float | None:
    """About how much lung lies in a series; None where its pixels cannot be read, which reading it will explain.

    Args:
        slices: in order of their places.
        step_mm: from slice to slice.
    """
    length_mm = len(slices) * step_mm
    count = min(len(slices), max(_LEAST_SLICES, min(_MOST_SLICES, round(length_mm / _EVERY_MM))))
    chosen = [slices[k] for k in np.linspace(0, len(slices) - 1, count).round().astype(int)]
    pixels, spacing_mm = chosen[0][0].pixels, chosen[0][1].pixel_spacing_mm
    planes = np.empty((count, pixels.rows or 0, pixels.columns or 0), np.int16)
    try:
        read_planes([VolumePlane(file, _in_hu(frame), k) for k, (file, frame) in enumerate(chosen)], planes)
    except IntakeError:
        return None
    assert spacing_mm is not None
    area_mm2 = sum(_lung_area_mm2(plane, (spacing_mm[0], spacing_mm[1])) for plane in planes)
    return area_mm2 / count * length_mm / 1000


def _in_hu(frame: Frame) -> Frame:
    """With --assume-hu, slices without a rescale are in HU as they are."""
    if frame.slope is None or frame.intercept is None:
        return replace(frame, slope=1.0, intercept=0.0)
    return frame


def _lung_area_mm2(plane_hu: np.ndarray, spacing_mm: tuple[float, float]) -> float:
    steps = [max(1, round(_PIXEL_MM / mm)) for mm in spacing_mm]
    coarse = plane_hu[:: steps[0], :: steps[1]]
    pixel_mm2 = spacing_mm[0] * steps[0] * spacing_mm[1] * steps[1]
    regions, count = ndimage.label(coarse < _AIR_BELOW_HU)
    if not count:
        return 0.0
    numbers = np.arange(1, count + 1)
    areas_mm2 = np.bincount(regions.ravel(), minlength=count + 1)[1:] * pixel_mm2
    large = numbers[areas_mm2 >= _LEAST_AREA_MM2]
    if not large.size:
        return 0.0
    medians = np.asarray(ndimage.median(coarse, regions, large))
    is_lung = (medians > _LUNG_MEDIAN_HU[0]) & (medians < _LUNG_MEDIAN_HU[1])
    return float(areas_mm2[large[is_lung] - 1].sum())
