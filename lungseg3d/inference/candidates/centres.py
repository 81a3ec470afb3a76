"""Peaks of a map of centres, each looked at again: where a network that marks the middle of nodules saw one.

In: an image, probabilities to be the middle of a nodule, the network. Out: a mark at each place, and how sure it is.
Each peak is seen again in the middle of a window of its own and in its mirror images, at full and at half resolution:
at the one where it looks more like a nodule, the mean over all views moves the mark to where they agree, and is the
confidence. Knows no file and no label.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from scipy import ndimage
from scipy.spatial import cKDTree

from lungseg3d.core import Box
from lungseg3d.inference.candidates.shown import CandidateWindows
from lungseg3d.inference.prediction.scales import reduce_resolution
from lungseg3d.inference.prediction.views import MirroredViews, window_around

_MOVE_VOXELS = 3
"""How far a second look may move a mark along each axis."""
_MARK_VOXELS = 1.5
"""Radius of a mark, in voxels of the working grid."""


class Peak(NamedTuple):
    """A place that could be the middle of a nodule: its voxel, and the probability there."""

    voxel: tuple[int, int, int]
    probability: float


def find_peaks(probability: np.ndarray, least: float, apart_voxels: float) -> list[Peak]:
    """The local maxima of a map (X, Y, Z), the highest first, none nearer to a higher one than `apart_voxels`.

    Args:
        probability: of a voxel to be the middle of a nodule.
        least: lower ones are no peak.
        apart_voxels: of two that are nearer to each other the higher one stays.
    """
    highest = probability == ndimage.maximum_filter(probability, size=3, mode="constant")
    voxels = np.argwhere(highest & (probability >= least))
    heights = probability[tuple(voxels.T)]
    order = np.argsort(-heights, kind="stable")
    return _apart([Peak(_voxel(voxels[i]), float(heights[i])) for i in order], apart_voxels)


def _voxel(place: np.ndarray) -> tuple[int, int, int]:
    x, y, z = (int(n) for n in place)
    return x, y, z


def _apart(peaks: list[Peak], apart_voxels: float) -> list[Peak]:
    """Of peaks in order those that lie nearer than this to no earlier one that stays."""
    if not peaks:
        return []
    places = np.array([peak.voxel for peak in peaks])
    near = cKDTree(places).query_ball_point(places, np.nextafter(apart_voxels, 0))
    kept: list[Peak] = []
    is_dropped = np.zeros(len(peaks), bool)
    for i, peak in enumerate(peaks):
        if not is_dropped[i]:
            kept.append(peak)
            is_dropped[near[i]] = True
    return kept


@dataclass(frozen=True)
class CentreSearch:
    """Which peaks of a map of centres are candidates.

    Attributes:
        first: probability of the first look from which a place is looked at again.
        least: mean of all views from which it is marked.
        apart_voxels: of two places nearer to each other than this the surer one is marked.
        most: places that are looked at again, the surest of the first look: it bounds the time.
        scales: voxels that become one along each axis, for each look: (1, 2) as `TwoScaleInferer`.
    """

    first: float = 0.2
    least: float = 0.2
    apart_voxels: float = 5.0
    most: int = 200
    scales: Sequence[int] = (1, 2)


class FindCentresd(MapTransform):
    """Probabilities to be the middle of a nodule -> marks of 1 in the middle of each candidate, 0 elsewhere.

    Args:
        keys: probabilities (1, X, Y, Z) on the working grid.
        views: of the network that gave them; each peak is seen in all of them.
        search: which peaks are candidates.
        image_key: the network's input (1, X, Y, Z) in [0, 1].
        output_key: where the confidence goes, (1, X, Y, Z) like the marks, each with the mean probability of all views.
        **windows: fields of `CandidateWindows`; `doubt` is about the search's `least`.
    """

    keyword_groups = (CandidateWindows,)

    def __init__(
        self,
        keys: KeysCollection,
        views: MirroredViews,
        search: CentreSearch | None = None,
        image_key: str = "image",
        output_key: str = "confidence",
        **windows: Any,
    ) -> None:
        super().__init__(keys)
        self.views, self.search = views, search or CentreSearch()
        self.image_key, self.output_key = image_key, output_key
        self.windows = CandidateWindows(**windows)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        image = torch.as_tensor(d[self.image_key]).as_subclass(torch.Tensor)
        for key in self.key_iterator(d):
            first = torch.as_tensor(d[key]).as_subclass(torch.Tensor)[0].cpu().numpy()
            marks, confidence = self.draw_marks(first.shape, self.find(image, first))
            for name, values in ((self.output_key, confidence), (key, marks)):
                tensor = torch.from_numpy(values)[None]
                d[name] = MetaTensor(tensor).copy_meta_from(d[key]) if isinstance(d[key], MetaTensor) else tensor
        return d

    def find(self, image: torch.Tensor, first: np.ndarray) -> list[Peak]:
        """Image (1, X, Y, Z), probabilities of the first look (X, Y, Z) -> the candidates, the surest first."""
        seen = find_peaks(first, self.search.first, self.search.apart_voxels)[: self.search.most]
        peaks = []
        for scale in self.search.scales:
            looked_at = reduce_resolution(image[None], scale)[0] if scale > 1 else image
            places = [_voxel(np.array(peak.voxel) // scale) for peak in seen]
            candidates = self._keep_sure(looked_at, [_Candidate(place) for place in places])
            peaks += [candidate.peak(len(self.views), scale, first.shape) for candidate in candidates]
        return _apart(sorted(peaks, key=lambda peak: (-peak.probability, peak.voxel)), self.search.apart_voxels)

    def _keep_sure(self, image: torch.Tensor, candidates: list[_Candidate]) -> list[_Candidate]:
        """The candidates that are sure enough in the mean of all views, after each view."""
        for view in range(len(self.views)):
            self._look(image, candidates, self.views, view)
            if self.windows.doubt:
                doubtful = [c for c in candidates if abs(c.best / (view + 1) - self.search.least) <= self.windows.doubt]
                for candidate in doubtful:
                    candidate.forget()
                for again in range(view + 1):
                    self._look(image, doubtful, self.views.in_fp32(), again)
            left = len(self.views) - view - 1  # nobody can gain more than 1 in each view that is left
            candidates = [c for c in candidates if (c.best + left) / len(self.views) >= self.search.least]
        return candidates

    def _look(self, image: torch.Tensor, candidates: list[_Candidate], views: MirroredViews, view: int) -> None:
        """Add what one view says of the middle of each candidate's window."""
        low = (self.windows.roi_size - 1) // 2 - _MOVE_VOXELS
        middle = Box((low,) * 3, (low + 2 * _MOVE_VOXELS + 1,) * 3)
        for i in range(0, len(candidates), self.windows.batch_size):
            batch = candidates[i : i + self.windows.batch_size]
            # An even window has no middle voxel: the one before the middle is the candidate's.
            shift = 0.5 * (1 - self.windows.roi_size % 2)
            windows = [window_around(image, np.array(c.voxel) + shift, self.windows.roi_size)[0] for c in batch]
            for candidate, probability in zip(batch, views.seen(windows, view, middle), strict=True):
                candidate.sum += probability

    @staticmethod
    def draw_marks(shape: tuple[int, ...], peaks: list[Peak]) -> tuple[np.ndarray, np.ndarray]:
        """Maps (X, Y, Z) of marks, 1 in a small ball around each peak, and of their probabilities there."""
        marks, confidence = np.zeros((2, *shape), np.float32)
        reach = int(_MARK_VOXELS)
        away = ((np.indices((2 * reach + 1,) * 3) - reach) ** 2).sum(axis=0)
        ball = np.argwhere(away <= _MARK_VOXELS**2)
        for peak in reversed(peaks):  # the surest last
            voxels = np.clip(ball - reach + peak.voxel, 0, np.array(shape) - 1)
            marks[tuple(voxels.T)] = 1
            confidence[tuple(voxels.T)] = peak.probability
        return marks, confidence


@dataclass
class _Candidate:
    """A place, and what the views have said so far of the voxels around it."""

    voxel: tuple[int, int, int]
    sum: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """As if no view had said anything."""
        self.sum = np.zeros((2 * _MOVE_VOXELS + 1,) * 3, np.float32)

    @property
    def best(self) -> float:
        """Largest sum of the views around the place."""
        return float(self.sum.max())

    def peak(self, views: int, scale: int, shape: tuple[int, ...]) -> Peak:
        """Where the views agree, in voxels of the whole image, and their mean there."""
        moved = np.array(self.voxel) + np.unravel_index(int(self.sum.argmax()), self.sum.shape) - _MOVE_VOXELS
        middle = np.floor((moved + 0.5) * scale).astype(int)
        return Peak(_voxel(np.clip(middle, 0, np.array(shape) - 1)), self.best / views)
