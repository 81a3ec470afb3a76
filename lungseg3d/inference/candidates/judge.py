"""Each candidate judged by a network made for that: is what lies in the middle of its window a nodule at all?

In: image, probabilities of the first look, the network. Out: the candidates that remain, and how sure of each it is.
The network outlines what lies in the middle where that is a nodule, and marks nothing where it is none; it was taught
on places that only resemble nodules. Its mean over mirrored views is the confidence. Most candidates are none, and the
first view says so: whoever falls below what is wanted is not looked at any further. Close to that, bfloat16 is not
enough to tell, and the views are computed again in fp32.
Knows no file and no label.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from lungseg3d.analysis import Piece
from lungseg3d.core import Box
from lungseg3d.inference.candidates.search import CandidateSearch
from lungseg3d.inference.candidates.shown import CandidateWindows
from lungseg3d.inference.prediction.views import MirroredViews, window_around

_REACH_VOXELS = 3
"""How far from the candidate's middle the network's answer counts."""
_COUNTED_VOXELS = 27
"""So many of the largest probabilities there make the answer: a nodule of 4 mm has no more."""


class JudgeCandidatesd(MapTransform):
    """Of the probabilities of the first look only the candidates stay that the network takes for nodules.

    Args:
        keys: probabilities (1, X, Y, Z) on the working grid; 0 afterwards where no candidate remains.
        views: of a network that says of windows what lies in their middle.
        search: what of the first look is a candidate.
        image_key: the network's input (1, X, Y, Z) in [0, 1].
        output_key: where the judgement goes: a map like the probabilities, each candidate's voxels holding how sure the
            network is of it, 0 to 1.
        least: candidates are dropped as soon as the mean of the views so far is below it; `doubt` is about it.
        **windows: fields of `CandidateWindows`.
    """

    keyword_groups = (CandidateWindows,)

    def __init__(
        self,
        keys: KeysCollection,
        views: MirroredViews,
        search: CandidateSearch | None = None,
        image_key: str = "image",
        output_key: str = "judgement",
        least: float = 0.1,
        **windows: Any,
    ) -> None:
        super().__init__(keys)
        shown = CandidateWindows(**windows)
        self.views, self.search = views, search or CandidateSearch()
        self.image_key, self.output_key, self.least = image_key, output_key, least
        self.roi_size, self.doubt, self.batch_size = shown.roi_size, shown.doubt, shown.batch_size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        image = torch.as_tensor(d[self.image_key]).as_subclass(torch.Tensor)
        for key in self.key_iterator(d):
            first = torch.as_tensor(d[key]).as_subclass(torch.Tensor)
            for name, values in zip((key, self.output_key), self.judged(image, first[0].cpu().numpy()), strict=True):
                tensor = torch.from_numpy(values)[None]
                d[name] = MetaTensor(tensor).copy_meta_from(d[key]) if isinstance(d[key], MetaTensor) else tensor
        return d

    def judged(self, image: torch.Tensor, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Image (1, X, Y, Z), probabilities (X, Y, Z) -> those of what remains, and the judgement, both (X, Y, Z)."""
        remaining, judgement = np.zeros((2, *first.shape), first.dtype)  # not zeros_like, which writes to all of it
        for candidate in self._kept(image, [_Candidate(piece) for piece in self.search.found(first)]):
            place, voxels = candidate.piece.box.slices, candidate.piece.voxels
            remaining[place][voxels] = first[place][voxels]
            judgement[place][voxels] = candidate.sum / len(self.views)
        return remaining, judgement

    def _kept(self, image: torch.Tensor, candidates: list[_Candidate]) -> list[_Candidate]:
        """The candidates that were sure enough in the mean of the views, after each view."""
        for view in range(len(self.views)):
            self._ask(image, candidates, self.views, view)
            if self.doubt:
                doubtful = [c for c in candidates if abs(c.sum - self.least * (view + 1)) <= self.doubt * (view + 1)]
                for candidate in doubtful:
                    candidate.sum = 0.0
                for again in range(view + 1):
                    self._ask(image, doubtful, self.views.in_fp32(), again)
            candidates = [candidate for candidate in candidates if candidate.sum >= self.least * (view + 1)]
        return candidates

    def _ask(self, image: torch.Tensor, candidates: list[_Candidate], views: MirroredViews, view: int) -> None:
        """Add the answer of one view to each."""
        for i in range(0, len(candidates), self.batch_size):
            batch = candidates[i : i + self.batch_size]
            windows = [window_around(image, candidate.piece.middle, self.roi_size)[0] for candidate in batch]
            for candidate, probability in zip(batch, views.seen(windows, view, self._middle), strict=True):
                candidate.sum += _answer(probability)

    @property
    def _middle(self) -> Box:
        """The part of a window that counts."""
        low, high = (self.roi_size - 1) // 2 - _REACH_VOXELS, self.roi_size // 2 + 1 + _REACH_VOXELS
        return Box((low,) * 3, (high,) * 3)


@dataclass
class _Candidate:
    """Where the first look saw something, and what the views have answered so far."""

    piece: Piece
    sum: float = 0.0


def _answer(probability: np.ndarray) -> float:
    """How sure one view is, of the probabilities around the middle: the mean of the largest in the ball."""
    grid = np.indices(probability.shape) - ((np.array(probability.shape) - 1) / 2)[:, None, None, None]
    near = probability[(grid**2).sum(axis=0) <= (_REACH_VOXELS + 0.5) ** 2]
    return float(np.sort(near)[-_COUNTED_VOXELS:].mean())
