"""Places that a person names: brought into view of the networks, outlined.

In: `SegmentOptions.at`, a CT, opened models. Out: `Place`s, and the nodules outlined there. Knows no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lungseg3d.analysis import NoduleMap, map_places
from lungseg3d.core import Box, Grid, IntakeError, Place, place_in
from lungseg3d.inference import Bundle, outline_places
from lungseg3d.tensors import to_meta_tensor, to_volume
from lungseg3d.workflows.segment.options import SegmentOptions

VIEW_MM = 50.0
"""Around a place that is named, the image that its windows of up to 96 mm show."""


def places_in(options: SegmentOptions, grid: Grid) -> tuple[Place, ...]:
    """The places that the options name in a CT of this grid.

    Raises:
        IntakeError: E_OUTSIDE_IMAGE.
    """
    try:
        return tuple(place_in(grid, named) for named in options.at)
    except ValueError as error:
        remedy = "Count voxels from 0 along the axes of the CT as it is read, those of labels.nii.gz."
        raise IntakeError("E_OUTSIDE_IMAGE", f"The place {error}.", remedy) from error


def with_places_in_view(data: Mapping[str, Any], places: Sequence[Place]) -> dict[str, Any]:
    """The data with a "roi" that holds the surroundings of each place, too: it may lie outside of the lungs."""
    roi = to_volume(data["roi"])
    array = roi.array.copy(order="K")
    for place in places:
        margin = [int(np.ceil(VIEW_MM / spacing)) for spacing in roi.spacing_mm]
        x, y, z = np.rint(place.voxel).astype(int).tolist()
        array[Box((x, y, z), (x + 1, y + 1, z + 1)).grown(margin, roi.shape).slices] = 1
    return {**data, "roi": to_meta_tensor(roi.with_array(array), getattr(data["roi"], "meta", None))}


def outline_named(
    bundle: Bundle, image: Any, places: Sequence[Place], target: Grid
) -> tuple[NoduleMap, tuple[Place, ...]]:
    """The nodules at the places that are named, and the places with the nodules that they became."""
    outlines = outline_places(bundle, image, [place.ras_mm for place in places])
    found, numbered = map_places(outlines, places, target)
    return found, tuple(numbered)
