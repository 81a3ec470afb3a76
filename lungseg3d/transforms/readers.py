"""What several readers outlined, as one map: by how many of them each voxel was held to be nodule.

In: bit masks of readers. Out: shares in per cent, which a sampler can crop and turn as labels. Knows no network.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform

from lungseg3d.tensors import to_meta_tensor, to_volume


class ReaderSharesd(MapTransform):
    """Outlines under `keys` (1, X, Y, Z) -> per cent of the readers who outlined each voxel, 0 to 100, uint8.

    Only readers who outlined anything at all are counted: who did not hold it for a nodule says nothing about where it
    ends. A case without masks of readers has one reader, who drew its outline. `ReaderShares` makes shares of it once
    patches are cropped.

    Args:
        keys: label map (1, X, Y, Z), already read.
        readers_key: mask (1, X, Y, Z) on the same grid, bit k set where reader k outlined; dropped afterwards.
        others_key: such a mask of further nodules that a crop shows by chance, which are no background; dropped, too.
    """

    def __init__(self, keys: KeysCollection, readers_key: str = "readers", others_key: str = "others") -> None:
        super().__init__(keys)
        self.readers_key, self.others_key = readers_key, others_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        bits, others = (d.pop(key, None) for key in (self.readers_key, self.others_key))
        for key in self.key_iterator(d):
            outlines = to_volume(d[key])
            shares = (outlines.array > 0).astype(float) if bits is None else reader_shares(to_volume(bits).array)
            if others is not None:
                shares = np.maximum(shares, reader_shares(to_volume(others).array))
            d[key] = to_meta_tensor(outlines.with_array(np.rint(100 * shares).astype(np.uint8)))
        return d


def reader_masks(bits: np.ndarray) -> np.ndarray:
    """Bit masks (X, Y, Z) -> bool (R, X, Y, Z), one mask for each reader who outlined anything."""
    whole = np.unpackbits(bits.astype(np.uint8)[None], axis=0, bitorder="little").astype(bool)
    masks: np.ndarray = whole[whole.any(axis=(1, 2, 3))]
    return masks


def reader_shares(bits: np.ndarray) -> np.ndarray:
    """Bit masks (X, Y, Z) -> the share of readers who outlined each voxel, float64; 0 where nobody outlined."""
    masks = reader_masks(bits)
    shares: np.ndarray = masks.mean(axis=0) if len(masks) else np.zeros(bits.shape)
    return shares
