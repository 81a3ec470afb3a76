"""How unsure the network is about each nodule it found: entropy of its mirrored views, and how far they agree.

In: an opened bundle, the preprocessed image, the nodule map. Out: `NoduleDoubt` of each nodule.
Knows no file and no label.

Entropy of the mean over test-time flips as voxel uncertainty: Wang et al. 2019, Neurocomputing 338:34-45.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from lungseg3d.core import LocalMap, Volume
from lungseg3d.inference.bundle import Bundle
from lungseg3d.inference.prediction.views import MirroredViews
from lungseg3d.inference.review.nodule_windows import NoduleWindow, nodule_windows

_RIM_VOXELS = 2
"""Around the mask, also counted to a nodule's uncertainty: where its border is in doubt."""
_REACH_VOXELS = 6
"""How far from the mask the map goes; beyond, other structures have their own."""


@dataclass(frozen=True)
class NoduleDoubt:
    """What the mirrored views of one nodule say.

    Attributes:
        entropy: of the mean probability, 0 (sure) to 1 bit, on the CT's own grid around the nodule.
        uncertainty: its mean in the mask and 2 voxels around it.
        view_agreement: mean Dice of what each view outlines there with what all of them together do, 0 to 1.
    """

    entropy: LocalMap
    uncertainty: float
    view_agreement: float


def doubt_nodules(bundle: Bundle, image: torch.Tensor, nodules: Volume) -> dict[int, NoduleDoubt]:
    """Doubt about each nodule of a map, by its value.

    Args:
        bundle: the one that found them; what drew the outlines is asked, see `outlining_views`.
        image: MetaTensor (1, X, Y, Z), the network's input.
        nodules: on the CT's own grid.
    """
    views = outlining_views(bundle)
    return {window.number: _doubt(window, views, nodules) for window in nodule_windows(image, nodules)}


def outlining_views(bundle: Bundle) -> MirroredViews:
    """The network and its mirrored views that had the last word about the outlines of this bundle."""
    steps = (getattr(step, "views", None) for step in bundle.postprocessing.transforms)
    found = [views for views in steps if isinstance(views, MirroredViews)]
    return found[-1] if found else MirroredViews(bundle.network)


def entropy_bits(probability: np.ndarray) -> np.ndarray:
    """Binary entropy of probabilities, 0 to 1 bit."""
    p = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
    return (-(p * np.log2(p) + (1 - p) * np.log2(1 - p))).astype(np.float32)


def _doubt(window: NoduleWindow, views: MirroredViews, nodules: Volume) -> NoduleDoubt:
    each = views.each(window.image)
    near = ndimage.binary_dilation(window.mask, iterations=_REACH_VOXELS)
    mean = np.where(near, each.mean(axis=0), 0)
    entropy = np.where(near, entropy_bits(mean), 0)
    rim = ndimage.binary_dilation(window.mask, iterations=_RIM_VOXELS)
    agreed = mean >= 0.5
    shares = [_dice((view >= 0.5) & near, agreed) for view in each]
    return NoduleDoubt(window.on_source(entropy, nodules.grid), float(entropy[rim].mean()), float(np.mean(shares)))


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    """1 for two empty masks: the views agree that there is nothing."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0
