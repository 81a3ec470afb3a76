"""How sure search and judge are of each candidate, kept apart from its outline.

In: probabilities that hold the candidates, and the judgement where there is one. Out: a map, one value a candidate.
What is outlined later says where a nodule ends, not whether it is one. Knows no network, no file and no label.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from lungseg3d.analysis import pieces_of


class CandidateConfidenced(MapTransform):
    """Mean probability of each candidate, times the judgement of it where data have one, as a map.

    Args:
        keys: probabilities (1, X, Y, Z) on the working grid; connected voxels above `threshold` are a candidate.
        output_key: where the map goes, (1, X, Y, Z) like the probabilities, 0 away from candidates.
        judgement_key: see `JudgeCandidatesd`; the largest value within a candidate is its own.
        threshold: probability at a candidate's border.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_key: str = "confidence",
        judgement_key: str = "judgement",
        threshold: float = 0.5,
    ) -> None:
        super().__init__(keys)
        self.output_key, self.judgement_key, self.threshold = output_key, judgement_key, threshold

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        judgement = _array(d[self.judgement_key]) if self.judgement_key in d else None
        for key in self.key_iterator(d):
            found = torch.from_numpy(self._map(_array(d[key]), judgement))[None]
            d[self.output_key] = MetaTensor(found).copy_meta_from(d[key]) if isinstance(d[key], MetaTensor) else found
        return d

    def _map(self, probability: np.ndarray, judgement: np.ndarray | None) -> np.ndarray:
        confidence = np.zeros(probability.shape, probability.dtype)
        for piece in pieces_of(probability > self.threshold):
            place, voxels = piece.box.slices, piece.voxels
            judged = 1.0 if judgement is None else float(judgement[place][voxels].max())
            confidence[place][voxels] = judged * float(probability[place][voxels].mean())
        return confidence


def _array(map_of_one: Any) -> np.ndarray:
    """(X, Y, Z) of (1, X, Y, Z)."""
    return torch.as_tensor(map_of_one).as_subclass(torch.Tensor)[0].float().cpu().numpy()
