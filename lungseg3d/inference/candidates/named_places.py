"""What lies at places that a person named, outlined by the network made for that.

In: an opened bundle, the preprocessed image, places in the world. Out: probabilities around each place.
Whatever the search finds there, or does not, has no part in it. Knows no file and no label.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lungseg3d.analysis import REACH_MM
from lungseg3d.core import Box, BundleError, Volume
from lungseg3d.inference.bundle import Bundle
from lungseg3d.inference.candidates.outlines import OutlineCandidatesd
from lungseg3d.tensors import to_volume

_SIDES = (1.0, 1.5, 2.0)
"""Windows that are tried, in `roi_size`: what an outline fills to the border is larger than it."""


def outlining_step(bundle: Bundle) -> OutlineCandidatesd:
    """The step of a nodule bundle that outlines.

    Raises:
        BundleError: E_NO_OUTLINE.
    """
    for step in bundle.postprocessing.transforms:
        if isinstance(step, OutlineCandidatesd):
            return step
    text = f"{bundle.name} has no network that outlines (models/outline.pt), so no place can be named to be outlined."
    raise BundleError("E_NO_OUTLINE", text, "Name no place, or take a nodule bundle with such a network.")


def outline_places(bundle: Bundle, image: torch.Tensor, places_ras_mm: Sequence[Sequence[float]]) -> list[Volume]:
    """The outline at each place, seen with the place in the middle of the window.

    Args:
        bundle: of nodules.
        image: MetaTensor (1, X, Y, Z), the network's input on its working grid.
        places_ras_mm: in the world, (N, 3).

    Returns:
        Of each place the probabilities of one connected piece around it, 0.5 at its border; all 0 where there is none.

    Raises:
        BundleError: E_NO_OUTLINE.
    """
    step, working = outlining_step(bundle), to_volume(image)
    plain = torch.as_tensor(image).as_subclass(torch.Tensor)
    reach = REACH_MM / min(working.spacing_mm) + 1  # a little more: the window's middle is that of a voxel or a corner
    outlines = []
    for voxel in working.grid.to_voxel(np.array(places_ras_mm, dtype=float)):
        # A place in the outer half of a border voxel of the CT may lie just beyond the working grid.
        inside = np.clip(voxel, 0, np.array(working.shape) - 1)
        piece, box = _whole_outline(step, plain, inside, reach)
        outlines.append(Volume(piece, working.grid.cropped(box).affine))
    return outlines


def _whole_outline(
    step: OutlineCandidatesd, image: torch.Tensor, place: np.ndarray, reach: float
) -> tuple[np.ndarray, Box]:
    for share in _SIDES:
        piece, box = step.outline_around(image, place, round(share * step.roi_size), reach)
        if not _is_cut(piece >= 0.5, box, image.shape[1:]):
            break
    return piece, box


def _is_cut(mask: np.ndarray, box: Box, shape: Sequence[int]) -> bool:
    """Whether a mask reaches a side of its box that is no side of the image."""
    for axis in range(3):
        first, last = (bool(mask.take(index, axis).any()) for index in (0, -1))
        if (first and box.start[axis] > 0) or (last and box.stop[axis] < shape[axis]):
            return True
    return False
