"""Pictures and lines as text inside a page, and slices by the number that a viewer shows.

In: image bytes, lines, slice indices. Out: text, numbers.
"""

from __future__ import annotations

import base64

import numpy as np

from lungseg3d.core import Nodule, Volume
from lungseg3d.report.pictures.scene import Scene


def data_uri(image: bytes, kind: str = "jpeg") -> str:
    """Image bytes as the source of an `img`."""
    return f"data:image/{kind};base64," + base64.b64encode(image).decode("ascii")


def svg_path(lines: tuple[np.ndarray, ...]) -> str:
    """Lines (N, 2) as the `d` of an SVG path, to a tenth of a picture pixel."""
    return "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in line) for line in lines)


def slice_number(ct: Volume, index: int) -> int:
    """RAS slice index -> number of the slice, from 1, in the order of the CT's own array."""
    order, signs = ct.grid.ras_axes
    return index + 1 if signs[2] > 0 else ct.shape[order[2]] - index


def slice_of(nodule: Nodule, scene: Scene | None, ct: Volume) -> int:
    """Number of the axial slice in which the nodule is largest; without voxels, that of its centroid."""
    if scene is not None and nodule.id in scene.boxes:
        return slice_number(ct, scene.largest_section(nodule.id, axis=2))
    return round(nodule.centroid.voxel[ct.grid.ras_axes[0][2]]) + 1
