"""A segmented CT ready to be looked at: CT, lungs and nodules on RAS axes, and where they lie.

In: Volumes on one grid, axes in any order and direction. Out: a `Scene`. Draws nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lungseg3d.core import Box, GeometryError, Volume, boxes_by_value
from lungseg3d.core.labels import LUNGS


@dataclass(frozen=True, eq=False)
class Scene:
    """CT, label map and nodule map as arrays (X, Y, Z) running to the patient's right, front and head.

    Attributes:
        hu: the CT, int16.
        labels: the label map of `core.labels`.
        nodules: one value per nodule, 0 elsewhere.
        spacing_mm: along X, Y, Z.
        boxes: the box of each nodule that has voxels, by its id.
    """

    hu: np.ndarray
    labels: np.ndarray
    nodules: np.ndarray
    spacing_mm: tuple[float, float, float]
    boxes: Mapping[int, Box]

    @staticmethod
    def of(ct: Volume, labels: Volume, nodule_map: Volume) -> Scene:
        """The scene of three volumes.

        Raises:
            GeometryError: E_GRID_MISMATCH when they do not lie on one grid.
        """
        for name, other in (("label map", labels), ("nodule map", nodule_map)):
            if not ct.grid.matches(other.grid):
                raise GeometryError(
                    "E_GRID_MISMATCH",
                    f"the {name} ({other.shape}) does not lie on the CT's grid ({ct.shape})",
                    "Paste it onto the CT's own grid first.",
                )
        ras, nodules = ct.as_ras(), nodule_map.as_ras().array
        return Scene(ras.array, labels.as_ras().array, nodules, ras.spacing_mm, boxes_by_value(nodules))

    @cached_property
    def lung_box(self) -> Box | None:
        """The box of both lungs; None without a lung mask."""
        held = Box.around(self.labels)
        if held is None:
            return None
        part = self.labels[held.slices]
        # Mostly there is lung at every end of what is labelled: then nothing but the ends is looked at.
        if all(_is_lung(np.moveaxis(part, axis, 0)[end]).any() for axis in range(3) for end in (0, -1)):
            return held
        lungs = Box.around(_is_lung(part))
        return lungs and lungs.moved(held.start)

    @cached_property
    def chest_box(self) -> Box:
        """What a picture of the chest shows: lungs and nodules with 15 mm around them; without lungs everything."""
        if self.lung_box is None:
            return Box.whole(self.hu.shape)
        found = [self.lung_box, *self.boxes.values()]
        start = np.min([box.start for box in found], axis=0)
        stop = np.max([box.stop for box in found], axis=0)
        margin = [int(np.ceil(15 / s)) for s in self.spacing_mm]
        chest = Box((int(start[0]), int(start[1]), int(start[2])), (int(stop[0]), int(stop[1]), int(stop[2])))
        return chest.grown(margin, within=self.hu.shape)

    def largest_section(self, nodule_id: int, axis: int) -> int:
        """Index along `axis` of the section in which the nodule covers most voxels.

        Raises:
            KeyError: the nodule has no voxels.
        """
        box = self.boxes[nodule_id]
        others = tuple(a for a in range(3) if a != axis)
        areas = (self.nodules[box.slices] == nodule_id).sum(axis=others)
        return box.start[axis] + int(areas.argmax())

    def nodules_in_slice(self, index: int, axis: int = 2) -> list[int]:
        """Ids of the nodules that slice `index` along `axis` cuts, ascending."""
        near = {i: box for i, box in self.boxes.items() if box.start[axis] <= index < box.stop[axis]}
        cut = {i: np.moveaxis(self.nodules[box.slices], axis, 0)[index - box.start[axis]] for i, box in near.items()}
        return [i for i, section in cut.items() if (section == i).any()]


def _is_lung(labels: np.ndarray) -> np.ndarray:
    values = [lung.value for lung in LUNGS]
    return (labels >= min(values)) & (labels <= max(values))
