"""The pictures of a report: an axial slice, the overview from the front, a nodule magnified in three planes.

In: a `Scene`. Out: PNG or JPEG bytes. Lung window, the patient's right on the left, the front or the head at the top.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lungseg3d.core import Box, LocalMap
from lungseg3d.core.labels import LUNGS, NODULE
from lungseg3d.report.pictures.drawing import Picture, window_hu
from lungseg3d.report.pictures.planes import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    Plane,
    SectionWindow,
    cut_section,
    project,
    turn_section,
)
from lungseg3d.report.pictures.scene import Scene

LUNG_WINDOW_HU = (-600.0, 1500.0)
"""Centre and width."""
FIELD_MM = 45.0
"""Side of a nodule panel, unless the nodule needs more."""
_NAME_COLOUR = (255, 190, 120)


@dataclass(frozen=True, eq=False)
class NodulePanel:
    """One plane through one nodule: the CT, and what can be laid over it.

    Attributes:
        plane: `axial`, `coronal` or `sagittal`.
        section: index of the section along the plane's axis, RAS order.
        field_mm: side of the square shown.
        side: the same in picture pixels.
        image: the CT alone, with side letters and scale bar, as image bytes.
        outline: lines around the nodule, picture positions (N, 2) each.
        others: lines around each other nodule in the field, by its id.
        overlays: by name, 0 to 1 (height, width) as seen through the same frame, coarser.
    """

    plane: str
    section: int
    field_mm: float
    side: int
    image: bytes
    outline: tuple[np.ndarray, ...]
    others: Mapping[int, tuple[np.ndarray, ...]]
    overlays: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class PanelStyle:
    """How panels are drawn.

    Attributes:
        side: picture pixels of a side.
        image_format, quality: as `Picture.encode` takes them.
        overlay_side: picture pixels of a side of an overlay.
    """

    side: int = 400
    image_format: str = "png"
    quality: int = 88
    overlay_side: int = 100


def axial_view(scene: Scene, index: int, image_format: str = "png", quality: int = 88, longest: int = 760) -> bytes:
    """Axial slice `index` (from the feet, RAS order) around the chest, lungs and nodules outlined, nodules named.

    Args:
        scene: what to draw.
        index: slice along Z of the scene.
        image_format: `png` or `jpeg`.
        quality: of a JPEG.
        longest: picture pixels of the longer side.
    """
    frame = SectionWindow.around_box(scene.chest_box, AXIAL, scene.spacing_mm, scene.hu.shape, longest)
    picture = Picture(window_hu(frame.view(cut_section(scene.hu, AXIAL, index)), *LUNG_WINDOW_HU))
    labels = cut_section(scene.labels, AXIAL, index)
    for lung in LUNGS:
        picture.draw_outlines(frame.outlines(_lung_with_its_nodules(labels, lung.value)), lung.colour, 1.7)
    picture.draw_sides(AXIAL.left, AXIAL.right)
    picture.draw_scale_bar(frame.pixel_mm)
    nodules = cut_section(scene.nodules, AXIAL, index)
    _draw_nodules(picture, frame, {i: nodules == i for i in scene.nodules_in_slice(index)})
    return picture.encode(image_format, quality)


def coronal_overview(scene: Scene, image_format: str = "png", quality: int = 88, longest: int = 900) -> bytes:
    """The chest from the front, averaged from front to back like a radiograph, with all lungs and nodules projected.

    Args:
        scene: what to draw.
        image_format: `png` or `jpeg`.
        quality: of a JPEG.
        longest: picture pixels of the longer side.
    """
    chest = scene.chest_box
    frame = SectionWindow.around_box(chest, CORONAL, scene.spacing_mm, scene.hu.shape, longest)
    depth = slice(chest.start[1], chest.stop[1])
    seen = frame.view(turn_section(project(scene.hu[:, depth], CORONAL.across, _mean_hu)))
    dark, bright = np.percentile(seen, (1, 99.5))
    picture = Picture(window_hu(seen, (dark + bright) / 2, max(bright - dark, 1.0)))
    for lung in LUNGS:
        shadow = _shadow(scene.labels, lung.value, scene.lung_box or Box((0, 0, 0), (0, 0, 0)))
        picture.draw_outlines(frame.outlines(shadow), lung.colour, 1.5)
    picture.draw_sides(CORONAL.left, CORONAL.right)
    picture.draw_scale_bar(frame.pixel_mm)
    _draw_nodules(picture, frame, {i: _shadow(scene.nodules, i, box) for i, box in sorted(scene.boxes.items())})
    return picture.encode(image_format, quality)


def nodule_panels(
    scene: Scene, nodule_id: int, style: PanelStyle = PanelStyle(), maps: Mapping[str, LocalMap] | None = None
) -> tuple[NodulePanel, ...]:
    """One nodule in the axial, coronal and sagittal plane in which it is largest, `FIELD_MM` or more wide.

    Args:
        scene: what to draw.
        nodule_id: which nodule.
        style: sizes and format.
        maps: what to lay over it, by name, on the axes of the scene (`LocalMap.as_ras`).

    Raises:
        KeyError: the nodule has no voxels.
    """
    return tuple(nodule_panel(scene, nodule_id, plane, style, maps) for plane in (AXIAL, CORONAL, SAGITTAL))


def nodule_frame(scene: Scene, nodule_id: int, plane: Plane, side: int) -> tuple[int, float, SectionWindow]:
    """Section, field in mm and frame that show a nodule in one plane, in its middle.

    Raises:
        KeyError: the nodule has no voxels.
    """
    box = scene.boxes[nodule_id]
    extent_mm = max(n * s for n, s in zip(box.shape, scene.spacing_mm, strict=True))
    field_mm = float(max(FIELD_MM, 10.0 * np.ceil(extent_mm * 1.3 / 10)))
    centre = [(a + b - 1) / 2 for a, b in zip(box.start, box.stop, strict=True)]
    frame = SectionWindow.around_point(centre, plane, scene.spacing_mm, scene.hu.shape, field_mm, side)
    return scene.largest_section(nodule_id, plane.across), field_mm, frame


def map_view(part: LocalMap, scene: Scene, plane: Plane, section: int, frame: SectionWindow) -> np.ndarray:
    """A local map in one section as seen through a frame: 0 to 1, (height, width), 0 where nothing is known."""
    shape = tuple(n for axis, n in enumerate(scene.hu.shape) if axis != plane.across)
    whole = np.zeros(shape, np.float32)
    start, stop = part.box.start[plane.across], part.box.stop[plane.across]
    if start <= section < stop:
        rest = tuple(s for axis, s in enumerate(part.box.slices) if axis != plane.across)
        whole[rest] = part.values[(slice(None),) * plane.across + (section - start,)]
    opacity: np.ndarray = np.clip(frame.view(turn_section(whole)), 0, 1)
    return opacity


def nodule_panel(
    scene: Scene,
    nodule_id: int,
    plane: Plane,
    style: PanelStyle = PanelStyle(),
    maps: Mapping[str, LocalMap] | None = None,
) -> NodulePanel:
    """One of `nodule_panels`.

    Raises:
        KeyError: the nodule has no voxels.
    """
    section, field_mm, frame = nodule_frame(scene, nodule_id, plane, style.side)
    picture = Picture(window_hu(frame.view(cut_section(scene.hu, plane, section)), *LUNG_WINDOW_HU))
    picture.draw_sides(plane.left, plane.right)
    picture.draw_scale_bar(frame.pixel_mm)
    nodules = cut_section(scene.nodules, plane, section)
    beside = [i for i in scene.nodules_in_slice(section, plane.across) if i != nodule_id]
    others = {i: tuple(frame.outlines(nodules == i)) for i in beside}
    coarse = nodule_frame(scene, nodule_id, plane, style.overlay_side)[2]
    return NodulePanel(
        plane=plane.name,
        section=section,
        field_mm=field_mm,
        side=style.side,
        image=picture.encode(style.image_format, style.quality),
        outline=tuple(frame.outlines(nodules == nodule_id)),
        others={number: lines for number, lines in others.items() if lines},
        overlays={name: map_view(part, scene, plane, section, coarse) for name, part in (maps or {}).items()},
    )


def _lung_with_its_nodules(labels: np.ndarray, value: int) -> np.ndarray:
    """One lung of a section and the nodules that touch it, so that no lung line runs around a nodule."""
    lung: np.ndarray = labels == value
    nodules: np.ndarray = labels == NODULE.value
    if not nodules.any() or not lung.any():
        return lung
    box = Box.around(nodules[:, :, None])
    assert box is not None
    y, x, _ = box.grown(1, (*labels.shape, 1)).slices
    parts, count = ndimage.label((lung | nodules)[y, x])
    touches = np.zeros(count + 1, bool)
    touches[parts[lung[y, x]]] = True
    touches[0] = False
    lung[y, x] = touches[parts]
    return lung


def _mean_hu(hu: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(hu.mean(axis=axis, dtype=np.float32))


def _shadow(label_map: np.ndarray, value: int, box: Box) -> np.ndarray:
    """What has a value, and lies in a box, projected from front to back onto a whole coronal section."""
    shadow = np.zeros((label_map.shape[0], label_map.shape[2]), dtype=bool)
    x, y, _ = box.slices
    for z in range(box.start[2], box.stop[2]):  # plane by plane: what is compared stays in the CPU's cache
        shadow[x, z] = (label_map[x, y, z] == value).any(axis=1)
    return turn_section(shadow)


def _draw_nodules(picture: Picture, frame: SectionWindow, masks: dict[int, np.ndarray]) -> None:
    """The outlines of all, then the names: those of the lowest numbers first, so that they get the best places."""
    outlines = {nodule_id: list(frame.outlines(mask)) for nodule_id, mask in masks.items()}
    outlines = {nodule_id: lines for nodule_id, lines in outlines.items() if lines}
    picture.draw_outlines((line for lines in outlines.values() for line in lines), NODULE.colour, 1.8)
    for nodule_id, lines in outlines.items():
        points = np.concatenate(lines)
        low, high = points.min(axis=0), points.max(axis=0)
        picture.draw_name(str(nodule_id), (low[0], low[1], high[0], high[1]), _NAME_COLOUR)
