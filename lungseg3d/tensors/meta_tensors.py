"""Volume <-> MetaTensor.

In and out: the same voxels in the same place. Knows no file and no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from lungseg3d.core import Volume


def to_meta_tensor(volume: Volume, meta: Mapping[str, Any] | None = None) -> MetaTensor:
    """A volume (X, Y, Z) as MetaTensor (1, X, Y, Z) of the same type and place; shares memory where it can.

    The order in memory stays: CTs have their slices one behind the other, and turning 130 MB around takes longer than
    most of what is done with them.
    """
    array = volume.array
    if array.dtype == np.uint16:
        # Torch has few operations for uint16; nodule maps and label maps fit int16 or int32.
        fits = not array.size or array.max() <= np.iinfo(np.int16).max
        array = array.view(np.int16) if fits else array.astype(np.int32)
    if any(stride < 0 for stride in array.strides):
        array = array.copy(order="K")
    # The place is the volume's own; MONAI warns of a second one.
    kept = {key: value for key, value in (meta or {}).items() if key != "affine"}
    return MetaTensor(torch.from_numpy(array)[None], affine=torch.from_numpy(volume.affine.copy()), meta=kept)


def to_volume(image: torch.Tensor) -> Volume:
    """The first channel of a MetaTensor (C, X, Y, Z) as a volume; shares memory where it can."""
    affine = image.affine if isinstance(image, MetaTensor) else torch.eye(4)
    array = image.as_tensor() if isinstance(image, MetaTensor) else image
    return Volume(array[0].detach().cpu().numpy(), affine.detach().cpu().numpy().astype(np.float64))
