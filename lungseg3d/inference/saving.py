"""Label maps -> files, one folder a case.

In: integer MetaTensors on the CT's own grid and a case id. Out: NIfTI files written whole or not at all.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform

from lungseg3d.io import make_folder, write_labels
from lungseg3d.tensors import to_volume

_TYPES = {"nodules": np.uint16, "candidates": np.uint16}


class SaveLabelMapsd(MapTransform):
    """Write each key as `<output_dir>/<case_id>/<key>.nii.gz`: uint16 for "nodules" and "candidates", else uint8.

    Two cases never share a folder, because the data list gives each its own `case_id`.

    Args:
        keys: label maps (1, X, Y, Z).
        output_dir: made when it does not exist.
        case_key: dictionary key of the case's name.
    """

    def __init__(self, keys: KeysCollection, output_dir: str, case_key: str = "case_id") -> None:
        super().__init__(keys)
        self.output_dir, self.case_key = Path(output_dir), case_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        folder = self.output_dir / str(d[self.case_key])
        make_folder(folder)
        for key in self.key_iterator(d):
            volume = to_volume(d[key])
            volume = volume.with_array(volume.array.astype(_TYPES.get(str(key), np.uint8)))
            write_labels(folder / f"{key}.nii.gz", volume)
        return d
