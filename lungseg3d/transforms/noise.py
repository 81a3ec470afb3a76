"""A noisy CT (low dose, sharp kernel) -> one as noisy as the networks know, as a MONAI transform.

In: MetaTensors in HU on the working grid. Out: the same, smoothed a little where the lungs are noisy. What is measured
and shown is the CT itself; only what the network sees is smoothed. Knows no network.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from scipy import ndimage

_LUNG_RANGE_HU = (-980.0, -700.0)
_BLOCK = 32
_MOST_BLOCKS = 24
_LEAST_VOXELS = 500


def estimate_noise_hu(hu: np.ndarray) -> float:
    """Standard deviation of the noise in aerated lung.

    The median absolute difference of a voxel from its neighbourhood (Gaussian, SD 1 voxel), times 1.4826 and corrected
    for the voxel's own share in it: vessels and borders are the few that a median does not see. Blocks of the volume
    that hold the most lung stand for all of it.

    Args:
        hu: (X, Y, Z) in HU, about 1 mm.

    Returns:
        HU; 0 where less than 500 voxels of lung are in view.
    """
    corners = [
        (x, y, z)
        for x in range(0, hu.shape[0], _BLOCK)
        for y in range(0, hu.shape[1], _BLOCK)
        for z in range(0, hu.shape[2], _BLOCK)
    ]
    blocks = [hu[x : x + _BLOCK, y : y + _BLOCK, z : z + _BLOCK] for x, y, z in corners]
    filled = np.array([np.count_nonzero(_is_lung(block)) for block in blocks])
    chosen = np.argsort(-filled, kind="stable")[:_MOST_BLOCKS]
    differences = []
    for block in (blocks[i].astype(np.float32) for i in chosen if filled[i]):
        differences.append(np.abs(block - ndimage.gaussian_filter(block, 1.0))[_is_lung(block)])
    values = np.concatenate(differences) if differences else np.zeros(0)
    if len(values) < _LEAST_VOXELS:
        return 0.0
    # White noise keeps 1 - 2 k0 + sum k^2 of its variance, k the Gaussian's weights and k0 the middle one.
    kept = (1 - 2 * 0.3991**3 + 0.2821**3) ** 0.5
    return float(1.4826 * np.median(values) / kept)


def _is_lung(hu: np.ndarray) -> np.ndarray:
    return (hu > _LUNG_RANGE_HU[0]) & (hu < _LUNG_RANGE_HU[1])


class LimitNoised(MapTransform):
    """Smooth images whose lungs are noisier than `known_hu`; leave all others as they are, to the bit.

    Args:
        keys: images (1, X, Y, Z) in HU on the working grid.
        known_hu: noise that the networks were trained with; nothing is smoothed up to here.
        full_hu: noise from which smoothing is full; between the two it grows.
        sigma: SD in voxels of the Gaussian at full smoothing.
    """

    def __init__(self, keys: KeysCollection, known_hu: float = 50.0, full_hu: float = 70.0, sigma: float = 0.6) -> None:
        super().__init__(keys)
        if not 0 <= known_hu < full_hu:
            raise ValueError(f"known_hu {known_hu} must lie below full_hu {full_hu}, and neither below 0")
        self.known_hu, self.full_hu, self.sigma = known_hu, full_hu, sigma

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            hu = torch.as_tensor(d[key]).as_subclass(torch.Tensor)[0].cpu().numpy()
            share = np.clip((estimate_noise_hu(hu) - self.known_hu) / (self.full_hu - self.known_hu), 0, 1)
            if share == 0:
                continue
            smooth = torch.from_numpy(ndimage.gaussian_filter(hu.astype(np.float32), float(share) * self.sigma))[None]
            d[key] = MetaTensor(smooth).copy_meta_from(d[key]) if isinstance(d[key], MetaTensor) else smooth
        return d
