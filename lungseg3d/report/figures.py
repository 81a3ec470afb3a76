"""The pictures of a report: an axial slice, the overview from the front, a nodule magnified in three planes.

In: a `Scene`. Out: PNG or JPEG bytes. Lung window, the patient's right on the left, the front or the head at the top.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lungseg3d.core import Box
from lungseg3d.core.labels import LUNGS, NODULE
from lungseg3d.report.drawing import Picture, window_hu
from lungseg3d.report.planes import AXIAL, CORONAL, SAGITTAL, Frame, Plane, cut_section, turn_section
from lungseg3d.report.scene import Scene

LUNG_WINDOW_HU = (-600.0, 1500.0)
"""Centre and width."""
FIELD_MM = 45.0
"""Side of a nodule panel, unless the nodule needs more."""
_NAME_COLOUR = (255, 190, 120)


@dataclass(frozen=True)
class NodulePanel:
    """One plane through one nodule, twice: with its outline, and plain.

    Attributes:
        plane: `axial`, `coronal` or `sagittal`.
        section: index of the section along the plane's axis, RAS order.
        field_mm: side of the square shown.
        outlined, plain: image bytes.
    """

    plane: str
    section: int
    field_mm: float
    outlined: bytes
    plain: bytes


def axial_view(scene: Scene, index: int, image_format: str = "png", quality: int = 88, longest: int = 760) -> bytes:
    """Axial slice `index` (from the feet, RAS order) around the chest, lungs and nodules outlined, nodules named.

    Args:
        scene: what to draw.
        index: slice along Z of the scene.
        image_format: `png` or `jpeg`.
        quality: of a JPEG.
        longest: picture pixels of the longer side.
    """
    frame = Frame.around_box(scene.chest_box, AXIAL, scene.spacing_mm, scene.hu.shape, longest)
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
    frame = Frame.around_box(chest, CORONAL, scene.spacing_mm, scene.hu.shape, longest)
    depth = slice(chest.start[1], chest.stop[1])
    mean_hu = turn_section(scene.hu[:, depth].mean(axis=1, dtype=np.float32))
    seen = frame.view(mean_hu)
    dark, bright = np.percentile(seen, (1, 99.5))
    picture = Picture(window_hu(seen, (dark + bright) / 2, max(bright - dark, 1.0)))
    for lung in LUNGS:
        shadow = turn_section((scene.labels[:, depth] == lung.value).any(axis=1))
        picture.draw_outlines(frame.outlines(shadow), lung.colour, 1.5)
    picture.draw_sides(CORONAL.left, CORONAL.right)
    picture.draw_scale_bar(frame.pixel_mm)
    _draw_nodules(picture, frame, {i: _shadow(scene, i, box) for i, box in sorted(scene.boxes.items())})
    return picture.encode(image_format, quality)


def nodule_panels(
    scene: Scene, nodule_id: int, image_format: str = "png", quality: int = 88, side: int = 400
) -> tuple[NodulePanel, ...]:
    """One nodule in the axial, coronal and sagittal plane in which it is largest, `FIELD_MM` or more wide.

    Others in the field are outlined and named too; this one is outlined alone.

    Raises:
        KeyError: the nodule has no voxels.
    """
    box = scene.boxes[nodule_id]
    extent_mm = max(n * s for n, s in zip(box.shape, scene.spacing_mm, strict=True))
    field_mm = max(FIELD_MM, 10.0 * np.ceil(extent_mm * 1.3 / 10))
    return tuple(
        _panel(scene, nodule_id, plane, float(field_mm), image_format, quality, side)
        for plane in (AXIAL, CORONAL, SAGITTAL)
    )


def _panel(
    scene: Scene, nodule_id: int, plane: Plane, field_mm: float, image_format: str, quality: int, side: int
) -> NodulePanel:
    box = scene.boxes[nodule_id]
    centre = [(a + b - 1) / 2 for a, b in zip(box.start, box.stop, strict=True)]
    section = scene.largest_section(nodule_id, plane.across)
    frame = Frame.around_point(centre, plane, scene.spacing_mm, scene.hu.shape, field_mm, side)
    grey = window_hu(frame.view(cut_section(scene.hu, plane, section)), *LUNG_WINDOW_HU)
    nodules = cut_section(scene.nodules, plane, section)
    pictures = []
    for with_outline in (True, False):
        picture = Picture(grey)
        picture.draw_sides(plane.left, plane.right)
        picture.draw_scale_bar(frame.pixel_mm)
        if with_outline:
            others = [int(i) for i in np.unique(nodules) if i not in (0, nodule_id)]
            picture.draw_outlines(frame.outlines(nodules == nodule_id), NODULE.colour, 1.8)
            _draw_nodules(picture, frame, {i: nodules == i for i in others})
        pictures.append(picture.encode(image_format, quality))
    return NodulePanel(plane.name, section, field_mm, *pictures)


def _lung_with_its_nodules(labels: np.ndarray, value: int) -> np.ndarray:
    """One lung of a section and the nodules that touch it, so that no lung line runs around a nodule."""
    lung = labels == value
    return ndimage.binary_propagation(lung, mask=lung | (labels == NODULE.value)) if lung.any() else lung


def _shadow(scene: Scene, nodule_id: int, box: Box) -> np.ndarray:
    """The nodule projected from front to back onto a whole coronal section."""
    shadow = np.zeros((scene.nodules.shape[0], scene.nodules.shape[2]), dtype=bool)
    shadow[box.slices[0], box.slices[2]] = (scene.nodules[box.slices] == nodule_id).any(axis=1)
    return turn_section(shadow)


def _draw_nodules(picture: Picture, frame: Frame, masks: dict[int, np.ndarray]) -> None:
    """The outlines of all, then the names: largest first, so that it gets the best place."""
    outlines = {nodule_id: list(frame.outlines(mask)) for nodule_id, mask in masks.items()}
    outlines = {nodule_id: lines for nodule_id, lines in outlines.items() if lines}
    picture.draw_outlines((line for lines in outlines.values() for line in lines), NODULE.colour, 1.8)
    for nodule_id, lines in outlines.items():
        points = np.concatenate(lines)
        low, high = points.min(axis=0), points.max(axis=0)
        picture.draw_name(str(nodule_id), (low[0], low[1], high[0], high[1]), _NAME_COLOUR)
