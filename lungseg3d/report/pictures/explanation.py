"""One nodule and what spoke for it, in three planes: a picture for slides and for the eye.

In: a `Scene`, a heat map on its axes. Out: PNG bytes. Knows no network.
"""

from __future__ import annotations

from lungseg3d.core import LocalMap
from lungseg3d.core.labels import NODULE
from lungseg3d.report.pictures.drawing import Picture, window_hu
from lungseg3d.report.pictures.figures import LUNG_WINDOW_HU, map_view, nodule_frame
from lungseg3d.report.pictures.heat import HEAT
from lungseg3d.report.pictures.planes import AXIAL, CORONAL, SAGITTAL, Plane, cut_section
from lungseg3d.report.pictures.scene import Scene

_SIDE = 340


def explanation_picture(scene: Scene, nodule_id: int, heat: LocalMap, layer: str, kind: str = "Nodule") -> bytes:
    """Above the CT with the nodule's outline, below the same with the heat map.

    Args:
        scene: CT, labels, nodules.
        nodule_id: which nodule.
        heat: 0 to 1 on the axes of the scene.
        layer: of the network, for the title.
        kind: what it is called there, `Nodule` or `Candidate`.

    Raises:
        KeyError: the nodule has no voxels.
    """
    rows: list[list[Picture]] = [[], []]
    for plane in (AXIAL, CORONAL, SAGITTAL):
        for row, with_heat in zip(rows, (False, True), strict=True):
            row.append(_picture(scene, nodule_id, plane, heat if with_heat else None))
    title = f"{kind} {nodule_id}: what spoke for it at layer {layer} (Grad-CAM)"
    notes = (
        "Axial, coronal, sagittal; lung window. Dark violet: little; light yellow: the strongest place around it.",
        "What the network weighed, not why a reader should. Research use only. Not a medical device.",
    )
    return Picture.sheet(rows, title, notes).encode("png")


def _picture(scene: Scene, nodule_id: int, plane: Plane, heat: LocalMap | None) -> Picture:
    section, _, frame = nodule_frame(scene, nodule_id, plane, _SIDE)
    picture = Picture(window_hu(frame.view(cut_section(scene.hu, plane, section)), *LUNG_WINDOW_HU))
    if heat is not None:
        values = map_view(heat, scene, plane, section, frame)
        picture.lay_over(HEAT.colours(values), HEAT.opacity(values))
    mask = cut_section(scene.nodules, plane, section) == nodule_id
    picture.draw_outlines(frame.outlines(mask), NODULE.colour if heat is None else (255, 255, 255), 1.6)
    picture.draw_sides(plane.left, plane.right)
    picture.draw_scale_bar(frame.pixel_mm)
    return picture
