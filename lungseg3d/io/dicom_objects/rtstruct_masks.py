"""Structures -> masks on the grid of their CT.

In: contours in world mm and a grid. Out: bool masks, or the reason why the two do not belong together.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from lungseg3d.core import Grid
from lungseg3d.core.polygons import fill_polygons
from lungseg3d.io.dicom_objects.rtstruct import Structure, StructureSet
from lungseg3d.io.intake.reading import refuse

_MOST_TILT_VOXELS = 0.5
_REMEDY = "Give the CT series that the structures were drawn on."


@dataclass(frozen=True, eq=False)
class StructureMask:
    """One drawn structure.

    Attributes:
        mask: bool (X, Y, Z) on the CT's grid.
        slices: number of slices that carry contours.
        empty_between: slices without a contour between the first and the last one; they stay empty, as drawn.
        outside: contours that lie beyond the CT's first or last slice and were left out.
    """

    mask: np.ndarray
    slices: int
    empty_between: int
    outside: int


def check_reference(structures: StructureSet, series_uid: str, frame_uid: str, name: str) -> None:
    """Refuse structures of another CT.

    Args:
        structures: as read.
        series_uid, frame_uid: SeriesInstanceUID and FrameOfReferenceUID of the CT; "" where the CT does not say.
        name: of the case, for messages.

    Raises:
        IntakeError: E_OTHER_REFERENCE when the structures name other series and lie in another frame of reference.
    """
    same_frame = not frame_uid or not structures.frame_uids or frame_uid in structures.frame_uids
    same_series = not series_uid or not structures.series_uids or series_uid in structures.series_uids
    if not same_frame or (not same_series and not (frame_uid and frame_uid in structures.frame_uids)):
        found = _short(structures.series_uids if not same_series else structures.frame_uids)
        what, own = ("series", series_uid) if not same_series else ("frame of reference", frame_uid)
        refuse(
            "E_OTHER_REFERENCE", f"{name}: the structures refer to {what} {found}, the CT is ...{own[-12:]}.", _REMEDY
        )


def draw_structures(structures: Sequence[Structure], grid: Grid, name: str) -> StructureMask:
    """The union of structures as a mask; within each, a contour inside another is a hole.

    A contour belongs to the slice whose centre is nearest, within half a slice distance. Pixels count when their
    centre lies inside.

    Args:
        structures: one or several, such as `GTV-1` and `GTV-2`.
        grid: of the CT, in any orientation; contours must lie in its slices.
        name: of the case, for messages.

    Raises:
        IntakeError: E_BAD_CONTOUR when a contour does not lie in one slice of the grid; E_OTHER_REFERENCE when no
            contour lies inside the CT.
    """
    mask = np.zeros(grid.shape, bool)
    used: set[int] = set()
    outside = 0
    axis = _slice_axis(structures, grid)
    across = [a for a in range(3) if a != axis]
    plane_shape = (grid.shape[across[0]], grid.shape[across[1]])
    for structure in structures:
        by_slice: dict[int, list[np.ndarray]] = {}
        for contour in structure.contours:
            voxels = grid.to_voxel(contour.points_mm)
            if np.ptp(voxels[:, axis]) > _MOST_TILT_VOXELS:
                refuse("E_BAD_CONTOUR", f"{name}: a contour of {structure.name} crosses slices of the CT.", _REMEDY)
            index = int(np.rint(voxels[:, axis].mean()))
            if 0 <= index < grid.shape[axis]:
                by_slice.setdefault(index, []).append(voxels[:, across])
            else:
                outside += 1
        for index, polygons in by_slice.items():
            np.moveaxis(mask, axis, 0)[index] |= fill_polygons(polygons, plane_shape)
        used |= set(by_slice)
    if not used or not mask.any():
        names = ", ".join(structure.name for structure in structures)
        refuse("E_OTHER_REFERENCE", f"{name}: no contour of {names} lies inside the CT.", _REMEDY)
    return StructureMask(mask, len(used), max(used) - min(used) + 1 - len(used), outside)


def _slice_axis(structures: Sequence[Structure], grid: Grid) -> int:
    """The array axis along which contours are flat."""
    contours = [contour for structure in structures for contour in structure.contours]
    extents = [np.ptp(grid.to_voxel(contour.points_mm), axis=0) for contour in contours]
    return int(np.argmin(np.max(extents, axis=0))) if extents else grid.ras_axes[0][2]


def _short(uids: Collection[str]) -> str:
    return ", ".join(f"...{uid[-12:]}" for uid in sorted(uids)[:3])
