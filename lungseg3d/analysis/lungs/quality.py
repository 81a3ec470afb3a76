"""Lung label map -> what a reader of the result must know: no lung, one lung, lungs cut off, lungs in doubt.

In: label maps, 1 right lung, 2 left lung. Out: `QualityIssue`s, all warnings: the case goes on.
Knows no network and no file format.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from lungseg3d.core import Box, GeometryError, QualityIssue, Volume
from lungseg3d.core.labels import LEFT_LUNG, RIGHT_LUNG

LEAST_LUNG_ML = 300.0
_FULL_ROI = "[--roi=full|lungseg3d segment --roi full]"
_LUNG_TISSUE_HU = (-930.0, -600.0)
_LEAST_TISSUE_ML = 10.0
_LEAST_SHARE_OF_ONE_LUNG = 0.08
_LEAST_RATIO_OF_LUNGS = 0.5
_LEAST_CUT_MM2 = 150.0
_LEAST_AGREEMENT = 0.88
_FACES = (("left side", "right side"), ("back", "front"), ("lower end", "upper end"))


def check_lungs(labels: Volume, ct: Volume | None = None) -> list[QualityIssue]:
    """Look at the lungs of a label map by their volumes and their distance from the image's edge.

    Limits are shares of the lungs themselves, so they hold for a child too, except that less than 0.3 l counts as
    no lung: a two-year-old has about 0.5 l.

    Args:
        labels: 1 right lung, 2 left lung, 3 nodule (counted to no side), on the CT's whole grid.
        ct: HU of the same image on a grid of about 4 mm; with it, an image without a lung says whether it shows lung
            tissue, as a crop does.

    Returns:
        W_NO_LUNG alone, or any of W_ONE_LUNG, W_ASYMMETRY, W_LUNG_TOUCHES_EDGE.
    """
    ras = labels.as_ras()
    held = labels.array[(Box.around(labels.array) or Box((0, 0, 0), (1, 1, 1))).slices]
    right_ml, left_ml = (
        float(np.count_nonzero(held == side.value)) * ras.voxel_volume_mm3 / 1000 for side in (RIGHT_LUNG, LEFT_LUNG)
    )
    total_ml = float(np.count_nonzero(held != 0)) * ras.voxel_volume_mm3 / 1000
    if total_ml < LEAST_LUNG_ML:
        return [_no_lung_issue(total_ml, 0.0 if ct is None else lung_tissue_ml(ct))]
    return [*_side_issues(right_ml, left_ml), *_edge_issues(ras)]


def compare_lungs(labels: Volume, by_rules: Volume) -> list[QualityIssue]:
    """W_LUNG_DISAGREEMENT where the network's lungs and those of `segment_lungs_by_rules` have a Dice below 0.88.

    Consolidation and effusion make the two differ, and so does a network on a CT of a kind that it never saw.

    Args:
        labels: lungs of the network, 1 right, 2 left, 3 nodule.
        by_rules: lungs of the rules on the same grid.

    Raises:
        GeometryError: E_GRID_MISMATCH.
    """
    if not labels.grid.matches(by_rules.grid):
        raise GeometryError("E_GRID_MISMATCH", f"the lung maps {labels.shape} and {by_rules.shape} have two grids")
    ours, theirs = labels.array > 0, by_rules.array > 0
    voxels = int(ours.sum()) + int(theirs.sum())
    ml = labels.voxel_volume_mm3 / 1000
    if voxels * ml < LEAST_LUNG_ML:
        return []
    agreement = 2 * int((ours & theirs).sum()) / voxels
    if agreement >= _LEAST_AGREEMENT:
        return []
    found = f"{ours.sum() * ml:.0f} ml of lung by the network and {theirs.sum() * ml:.0f} ml by classical rules"
    return [
        QualityIssue(
            "W_LUNG_DISAGREEMENT",
            f"{found} overlap with a Dice of {agreement:.2f}, expected {_LEAST_AGREEMENT} or more.",
            "Look at the outlines: consolidation, effusion, or a lung that was missed.",
        )
    ]


def lung_tissue_ml(ct: Volume) -> float:
    """Volume of what has the HU of aerated lung, in pieces wider than two voxels.

    Args:
        ct: HU on a grid of about 4 mm, on which the air around a body is far from its borders.
    """
    low, high = _LUNG_TISSUE_HU
    tissue = ndimage.binary_opening((ct.array > low) & (ct.array < high))
    return float(np.count_nonzero(tissue)) * ct.voxel_volume_mm3 / 1000


def _no_lung_issue(total_ml: float, tissue_ml: float) -> QualityIssue:
    found = f"{total_ml:.0f} ml of lung is labelled; less than {LEAST_LUNG_ML:.0f} ml counts as none."
    if tissue_ml < _LEAST_TISSUE_ML:
        return QualityIssue("W_NO_LUNG", f"{found} Is it a chest CT?", f"For a crop of a lung, use {_FULL_ROI}.")
    return QualityIssue(
        "W_NO_LUNG",
        f"{found} The image shows about {tissue_ml:.0f} ml of tissue as dense as lung, so it may be a crop.",
        f"To search a crop that shows no whole lung, use {_FULL_ROI}; of a whole chest, look at image and header.",
    )


def _side_issues(right_ml: float, left_ml: float) -> list[QualityIssue]:
    smaller, name = min((right_ml, "right"), (left_ml, "left"))
    larger = max(right_ml, left_ml)
    sizes = f"right lung {right_ml:.0f} ml, left lung {left_ml:.0f} ml"
    if smaller < _LEAST_SHARE_OF_ONE_LUNG * larger:
        message = f"Hardly any {name} lung was found: {sizes}."
        return [QualityIssue("W_ONE_LUNG", message, "Right after pneumonectomy or with a white-out; else look.")]
    if smaller < _LEAST_RATIO_OF_LUNGS * larger:
        message = f"The {name} lung is less than half as large as the other: {sizes}."
        return [QualityIssue("W_ASYMMETRY", message, "Collapse, effusion or surgery do this; else look.")]
    return []


def _edge_issues(ras: Volume) -> list[QualityIssue]:
    """One issue that names every face of the image on which lung lies."""
    cuts: list[str] = []
    for axis, names in enumerate(_FACES):
        voxel_mm2 = _face_mm2(ras.spacing_mm, axis)
        for index, name in zip((0, -1), names, strict=True):
            cut_mm2 = float(np.count_nonzero(np.moveaxis(ras.array, axis, 0)[index] != 0)) * voxel_mm2
            if cut_mm2 >= _LEAST_CUT_MM2:
                cuts.append(f"{name} ({cut_mm2 / 100:.0f} cm2)")
    if not cuts:
        return []
    message = f"The image ends inside the lungs: {', '.join(cuts)}. Volumes are lower bounds, nodules may be missing."
    return [QualityIssue("W_LUNG_TOUCHES_EDGE", message, "Use a series that shows the lungs whole.")]


def _face_mm2(spacing_mm: Sequence[float], axis: int) -> float:
    """Area of one voxel's face at right angles to an axis."""
    a, b = (s for i, s in enumerate(spacing_mm) if i != axis)
    return a * b
