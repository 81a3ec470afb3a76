"""Files -> MONAI dictionaries, through the one reader.

In: paths. Out: MetaTensors (1, X, Y, Z) on the file's own grid, affine RAS in mm. Knows no network.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform

from lungseg3d.core import to_json
from lungseg3d.io import ReadOptions, open_ct, read_labels
from lungseg3d.tensors import to_meta_tensor


class ReadCTd(MapTransform):
    """Read CTs (DICOM folder, NIfTI, NRRD, MHA) with the reader that refuses what it cannot read rightly.

    The MetaTensor (1, X, Y, Z) holds int16 HU on the file's own grid. Its `meta` carries `filename_or_obj` and
    `reading`, the JSON text of `{"source": ..., "issues": [...]}`.

    Raises:
        IntakeError: the input cannot be read rightly; the message says why and what to do.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False, **options: Any) -> None:
        """`options` are the fields of `lungseg3d.io.ReadOptions`."""
        super().__init__(keys, allow_missing_keys)
        self.options = ReadOptions(**options)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            reading = open_ct(Path(str(d[key])), self.options)
            # As text: a DataLoader collates lists and dictionaries of different lengths into something else.
            record = json.dumps({"source": to_json(reading.source), "issues": to_json(reading.issues)})
            meta = {"filename_or_obj": str(d[key]), "reading": record}
            d[key] = to_meta_tensor(reading.volume, meta)
        return d


class ReadLabelsd(MapTransform):
    """Read label maps on their own grid as uint8 MetaTensors (1, X, Y, Z).

    Args:
        keys: dictionary keys that hold a path.
        values: table of the file's values -> ours, such as {"1": 2, "2": 1}; values not in it become 0. None keeps all.
    """

    def __init__(
        self, keys: KeysCollection, values: Mapping[str, int] | None = None, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.values = {int(k): int(v) for k, v in values.items()} if values is not None else None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            volume = read_labels(Path(str(d[key])))
            array = volume.array
            if self.values is not None:
                mapped = np.zeros(array.shape, dtype=np.uint8)
                for theirs, ours in self.values.items():
                    mapped[array == theirs] = ours
                array = mapped
            d[key] = to_meta_tensor(volume.with_array(array.astype(np.uint8)), {"filename_or_obj": str(d[key])})
        return d


class JoinLabelsd(MapTransform):
    """Let what another mask of a case holds count as labelled, such as further nodules that a crop shows by chance.

    Args:
        keys: label map (1, X, Y, Z), already read.
        others_key: mask (1, X, Y, Z) on the same grid, any value above 0 counts; dropped afterwards. A case without it
            stays as it is.
        value: label value of what the mask holds; voxels that are labelled keep theirs.
    """

    def __init__(self, keys: KeysCollection, others_key: str, value: int = 1) -> None:
        super().__init__(keys)
        self.others_key, self.value = others_key, value

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        others = d.pop(self.others_key, None)
        if others is not None:
            for key in self.key_iterator(d):
                added = (d[key] == 0) & (others > 0)
                d[key] = d[key].masked_fill(added, self.value)
        return d
