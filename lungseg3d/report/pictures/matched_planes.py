"""One nodule at two times: the same planes of both CTs through the same place, hung in the same way.

In: two `Time`s and a `NoduleChange`. Out: JPEG bytes. Lung window, the patient's right on the left.
Where a nodule was not found, corners mark the place at which registration puts it; what a CT does not cover is not
drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lungseg3d.core import FollowUp, Grid, NoduleChange, Volume
from lungseg3d.core.labels import NODULE
from lungseg3d.report.pictures.drawing import Picture, window_hu
from lungseg3d.report.pictures.figures import FIELD_MM, LUNG_WINDOW_HU
from lungseg3d.report.pictures.planes import AXIAL, CORONAL, SAGITTAL, Plane, SectionWindow, cut_section
from lungseg3d.report.pictures.scene import Scene

_SIDES = {AXIAL: 440, CORONAL: 300, SAGITTAL: 300}
_MARK_COLOUR = (255, 215, 0)
_MARK_MM = 9.0
_LUNG_HU, _OTHER_HU = -870, -350


@dataclass(frozen=True, eq=False)
class Time:
    """One CT of a follow-up ready to be looked at.

    Attributes:
        title: `Prior` or `Current`.
        scene: its nodules numbered as in the follow-up.
        grid: of the scene's arrays.
        has_ct: False where lungs and nodules are drawn from the masks alone.
    """

    title: str
    scene: Scene
    grid: Grid
    has_ct: bool

    @staticmethod
    def of(title: str, ct: Volume | None, labels: Volume, nodules: Volume, numbers: dict[int, int]) -> Time:
        """A CT and its masks; `numbers` takes a nodule's own id to that of the follow-up.

        Raises:
            GeometryError: E_GRID_MISMATCH when they do not lie on one grid.
        """
        table = np.zeros(int(nodules.array.max(initial=0)) + 1, np.uint16)
        for own, number in numbers.items():
            if own < len(table):
                table[own] = number
        shown = ct or labels.with_array(np.where(labels.array > 0, _LUNG_HU, _OTHER_HU).astype(np.int16))
        scene = Scene.of(shown, labels, nodules.with_array(table[nodules.array]))
        return Time(title, scene, shown.as_ras().grid, ct is not None)


@dataclass(frozen=True)
class MatchedPanel:
    """One plane of one CT.

    Attributes:
        plane: `axial`, `coronal` or `sagittal`.
        slice_mm: place of the section along its axis, RAS mm.
        field_mm: side of the square shown.
        image: JPEG bytes.
    """

    plane: str
    slice_mm: float
    field_mm: float
    image: bytes


def numbers_of(follow_up: FollowUp) -> tuple[dict[int, int], dict[int, int]]:
    """Own id -> number in the follow-up, of the prior and of the current CT."""
    prior = {found.prior.id: found.id for found in follow_up.changes if found.prior}
    return prior, {found.current.id: found.id for found in follow_up.changes if found.current}


def matched_panels(times: tuple[Time, Time], change: NoduleChange, quality: int = 82) -> list[list[MatchedPanel]]:
    """Axial, coronal and sagittal of the prior and of the current CT, as wide as each other.

    A CT that does not show the nodule's place, or in which that is not known, has no panels.
    """
    longest_mm = max(nodule.long_axis_mm for nodule in (change.prior, change.current) if nodule)
    field_mm = float(max(FIELD_MM, 10 * np.ceil(longest_mm * 1.5 / 10)))
    places = (change.place_prior_ras_mm, change.place_current_ras_mm)
    return [
        [_panel(time, change.id, np.array(place), plane, field_mm, quality) for plane in _SIDES]
        if place is not None and _shows(time.grid, np.array(place))
        else []
        for time, place in zip(times, places, strict=True)
    ]


def _shows(grid: Grid, place_mm: np.ndarray) -> bool:
    voxel = grid.to_voxel(place_mm)
    return bool(np.all(voxel >= -0.5) and np.all(voxel <= np.array(grid.shape) - 0.5))


def _panel(time: Time, number: int, place_mm: np.ndarray, plane: Plane, field_mm: float, quality: int) -> MatchedPanel:
    scene, side = time.scene, _SIDES[plane]
    voxel = time.grid.to_voxel(place_mm)
    index = int(np.clip(np.rint(voxel[plane.across]), 0, scene.hu.shape[plane.across] - 1))
    frame = SectionWindow.around_point(voxel.tolist(), plane, scene.spacing_mm, scene.hu.shape, field_mm, side)
    picture = Picture(window_hu(frame.view(cut_section(scene.hu, plane, index)), *LUNG_WINDOW_HU))
    nodules = cut_section(scene.nodules, plane, index)
    picture.draw_outlines(frame.outlines(nodules == number), NODULE.colour, 1.8)
    if number not in scene.boxes:
        picture.draw_outlines(_corners(side, _MARK_MM / frame.pixel_mm), _MARK_COLOUR, 1.8)
    picture.draw_sides(plane.left, plane.right)
    picture.draw_scale_bar(frame.pixel_mm)
    return MatchedPanel(plane.name, float(place_mm[plane.across]), field_mm, picture.encode("jpeg", quality))


def _corners(side: int, half: float) -> list[np.ndarray]:
    """Four corners of a square about the middle of a picture."""
    middle, arm = side / 2, half / 2
    return [
        np.array(
            [
                (middle + x * (half - arm), middle + y * half),
                (middle + x * half, middle + y * half),
                (middle + x * half, middle + y * (half - arm)),
            ]
        )
        for x in (-1, 1)
        for y in (-1, 1)
    ]
