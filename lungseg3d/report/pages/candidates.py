"""What was found and is not listed, as a compact table and small pictures.

In: a `CaseResult`, its CT, the map of its candidates. Out: rows of text for `candidates.html.j2`, the pictures inside.
"""

from __future__ import annotations

from typing import Any

from lungseg3d.core import CANDIDATE_REASONS, CaseResult, Nodule, Volume
from lungseg3d.report.pages.embedding import data_uri, slice_of, svg_path
from lungseg3d.report.pages.sizes import place_text
from lungseg3d.report.pictures.figures import PanelStyle, nodule_panel
from lungseg3d.report.pictures.planes import AXIAL
from lungseg3d.report.pictures.scene import Scene
from lungseg3d.report.plots.numbers import number_text

MOST_PICTURES = 20
"""Candidates with a picture: enough for most CTs, and small beside the nodules' own."""
_SIDE = 200


def candidate_scene(result: CaseResult, ct: Volume, labels: Volume, candidate_map: Volume | None) -> Scene | None:
    """The scene of the candidates alone; None without a map, or without candidates.

    Raises:
        GeometryError: E_GRID_MISMATCH when the volumes do not lie on one grid.
    """
    return Scene.of(ct, labels, candidate_map) if candidate_map is not None and result.candidates else None


def candidate_rows(result: CaseResult, ct: Volume, scene: Scene | None, quality: int) -> list[dict[str, Any]]:
    """The candidates in the order of the record, the first `MOST_PICTURES` with a picture.

    Args:
        result: the record.
        ct: int16 HU.
        scene: of the candidates; None: no pictures.
        quality: of the JPEG pictures.
    """
    style = PanelStyle(_SIDE, "jpeg", quality)
    return [
        {
            **_row(nodule, ct, scene),
            "picture": _picture(nodule, scene, style) if scene and place < MOST_PICTURES else None,
        }
        for place, nodule in enumerate(result.candidates)
    ]


def _row(nodule: Nodule, ct: Volume, scene: Scene | None) -> dict[str, Any]:
    calibrated = nodule.certainty.calibrated_confidence
    axes = " × ".join(number_text(length, 1) for length in (nodule.long_axis_mm, nodule.diameters.perpendicular_mm))
    return {
        "id": nodule.id,
        "reason": CANDIDATE_REASONS.get(nodule.reason, nodule.reason),
        "confidence": number_text(nodule.certainty.confidence if calibrated is None else calibrated, 2),
        "place": place_text(nodule),
        "kind": nodule.kind,
        "axes": axes,
        "slice": slice_of(nodule, scene, ct),
    }


def _picture(nodule: Nodule, scene: Scene, style: PanelStyle) -> dict[str, Any] | None:
    """The axial plane in which the candidate is largest; None where it has no voxels."""
    if nodule.id not in scene.boxes:
        return None
    panel = nodule_panel(scene, nodule.id, AXIAL, style)
    return {
        "image": data_uri(panel.image),
        "side": panel.side,
        "field": f"{panel.field_mm:.0f}",
        "outline": svg_path(panel.outline),
    }
