"""Nodule probabilities on the fine grid -> nodule map and label map on the CT's own grid.

In: probabilities, lungs. Out: integer maps and one confidence a nodule. Knows labels, and no file.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform

from lungseg3d.analysis import CandidateRule, find_nodules
from lungseg3d.core.labels import NODULE
from lungseg3d.tensors import to_meta_tensor, to_volume


class NodulesOnSourced(MapTransform):
    """Probabilities under `keys` -> "nodules" (one value per nodule, 1 = largest) and "labels" (lungs and nodules).

    Args:
        keys: probabilities (1, X', Y', Z') on the working grid.
        source_key: the CT on its own grid.
        lungs_key: lung label map on the CT's grid; one without lungs (`roi: full`) restricts nothing.
        confidence_key: how sure the candidates are, (1, X', Y', Z') (`CandidateConfidenced`); without it the mean
            probability of a nodule is its confidence.
        **rule: fields of `lungseg3d.analysis.CandidateRule`.

    The confidence of each nodule stands in the nodule map's `meta["confidence"]`, in order.
    """

    def __init__(
        self,
        keys: KeysCollection,
        source_key: str = "ct",
        lungs_key: str = "lungs",
        confidence_key: str = "confidence",
        **rule: Any,
    ) -> None:
        super().__init__(keys)
        self.source_key, self.lungs_key, self.confidence_key = source_key, lungs_key, confidence_key
        self.rule = CandidateRule(**rule)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            lungs = to_volume(d[self.lungs_key])
            found = find_nodules(
                to_volume(d[key]),
                lungs.grid,
                lungs=lungs if lungs.array.any() else None,
                confidence=to_volume(d[self.confidence_key]) if self.confidence_key in d else None,
                rule=self.rule,
            )
            labels = lungs.array.astype(np.uint8, order="K", copy=True)
            for box in found.boxes:
                labels[box.slices][found.labels.array[box.slices] > 0] = NODULE.value
            meta = dict(getattr(d[self.source_key], "meta", {}) or {})
            d["nodules"] = to_meta_tensor(found.labels, {**meta, "confidence": list(found.confidence)})
            d["labels"] = to_meta_tensor(lungs.with_array(labels), meta)
        return d
