"""Each candidate looked at again, in the middle of a window of its own and in all its mirror images.

In: image, first probabilities, network. Out: probabilities that hold the candidates only, averaged over the views.
A true nodule looks like one from every side; much that only resembles one in passing does not. Cost follows candidates:
one that can no longer reach the probability that the next step asks for is not looked at any further, and of a window
the network says only what is asked: the candidate and a few voxels around it. Where the third digit decides, all views
are computed again in fp32, so that a yes or no does not hang on how numbers are rounded.
Knows no file and no label.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lungseg3d.core import Box
from lungseg3d.inference.candidates.search import CandidateSearch
from lungseg3d.inference.candidates.shown import CandidateWindows
from lungseg3d.inference.prediction.views import LookAgaind, MirroredViews

_BORDER_VOXELS = 3  # how far the second look may move a candidate's border outwards


class SecondLookd(LookAgaind):
    """Replace first-look probabilities by the mean over mirrored, centred views of each candidate.

    Args:
        keys: probabilities (1, X, Y, Z) on the working grid.
        views: of the network that looks again.
        search: what of the first look is a candidate.
        image_key: the network's input (1, X, Y, Z) in [0, 1].
        wanted: candidates whose mean can no longer reach this in the views that are left are dropped. What the next
            step keeps is the same, if it asks for this peak at least; 0 looks at all of them from all sides. `doubt`
            is about it.
        **windows: fields of `CandidateWindows`; a window is larger than `roi_size` for candidates that nearly fill it.
    """

    keyword_groups = (CandidateWindows,)

    def __init__(
        self,
        keys: KeysCollection,
        views: MirroredViews,
        search: CandidateSearch | None = None,
        image_key: str = "image",
        wanted: float = 0.0,
        **windows: Any,
    ) -> None:
        super().__init__(keys, image_key)
        shown = CandidateWindows(**windows)
        self.views, self.search, self.wanted = views, search or CandidateSearch(), wanted
        self.roi_size, self.doubt, self.batch_size = shown.roi_size, shown.doubt, shown.batch_size

    def looked(self, image: torch.Tensor, first: np.ndarray) -> np.ndarray:
        """(X, Y, Z) probabilities, 0 away from the candidates."""
        second = np.zeros(first.shape, first.dtype)  # not zeros_like, which writes to all of it
        kept = self._kept(image, self._candidates(first))
        self._look_precisely(image, kept)
        for candidate in kept:
            part, near = second[candidate.reach.slices], candidate.near
            part[near] = np.maximum(part, candidate.sum / len(self.views))[near]
        return second

    def _candidates(self, first: np.ndarray) -> list[_Candidate]:
        found = []
        for piece in self.search.found(first):
            reach = piece.box.grown(_BORDER_VOXELS, within=first.shape)
            near = ndimage.binary_dilation(piece.within(reach), iterations=_BORDER_VOXELS)
            found.append(_Candidate(self._window(piece.box, first.shape), reach, near))
        return found

    def _kept(self, image: torch.Tensor, candidates: list[_Candidate]) -> list[_Candidate]:
        """The candidates that were looked at in every view; those of no more hope are left behind on the way.

        Neighbours stay or go together, because what they have between them may make them one nodule.
        """
        groups = _neighbours(candidates)
        for view in range(len(self.views)):
            left = len(self.views) - view - 1
            self._look(image, itertools.chain.from_iterable(groups), self.views, view)
            least = (self.wanted - self.doubt) * len(self.views) - left
            groups = [group for group in groups if any(candidate.peak >= least for candidate in group)]
        return list(itertools.chain.from_iterable(groups))

    def _look_precisely(self, image: torch.Tensor, candidates: list[_Candidate]) -> None:
        """Those of whom it is in doubt whether they reach what is wanted, anew and in fp32."""
        if not self.doubt:
            return
        doubtful = [c for c in candidates if abs(c.peak / len(self.views) - self.wanted) <= self.doubt]
        for candidate in doubtful:
            candidate.forget()
        for view in range(len(self.views)):
            self._look(image, doubtful, self.views.in_fp32(), view)

    def _look(self, image: torch.Tensor, candidates: Iterable[_Candidate], views: MirroredViews, view: int) -> None:
        """Add what one view says of each."""
        for batch in self._batches(candidates):
            patches = [candidate.patch(image) for candidate in batch]
            part = functools.reduce(Box.joined, (candidate.part for candidate in batch))
            for candidate, probability in zip(batch, views.seen(patches, view, part), strict=True):
                candidate.add(probability, part)

    def _batches(self, candidates: Iterable[_Candidate]) -> Iterator[list[_Candidate]]:
        """Windows of one size together, those of like parts beside each other."""
        ordered = sorted(candidates, key=lambda candidate: (candidate.window.shape, candidate.part.start))
        for _, same in itertools.groupby(ordered, key=lambda candidate: candidate.window.shape):
            alike = list(same)
            for i in range(0, len(alike), self.batch_size):
                yield alike[i : i + self.batch_size]

    def _window(self, box: Box, shape: tuple[int, ...]) -> Box:
        """A window around the candidate's middle, moved to lie in the image, never smaller than the candidate."""
        start, stop = [], []
        for a, b, n in zip(box.start, box.stop, shape, strict=True):
            side = min(n, max(self.roi_size, b - a + self.roi_size // 3))
            begin = min(max(0, (a + b - side) // 2), n - side)
            start.append(begin)
            stop.append(begin + side)
        return Box(tuple(start), tuple(stop))  # type: ignore[arg-type]


@dataclass
class _Candidate:
    """A candidate: its window, the part of it that counts, and what the views have said of that part so far."""

    window: Box
    reach: Box
    near: np.ndarray
    sum: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """As if no view had said anything."""
        self.sum = np.zeros(self.near.shape, np.float32)

    def patch(self, image: torch.Tensor) -> torch.Tensor:
        """Its window of an image (1, X, Y, Z)."""
        x, y, z = self.window.slices
        return image[:, x, y, z]

    @property
    def part(self) -> Box:
        """What of the window counts, from the window's own corner on."""
        return self.reach.seen_from(self.window)

    def add(self, probability: np.ndarray, part: Box) -> None:
        """Take a view of a part of the window into account that holds the candidate's own."""
        self.sum += probability[self.part.seen_from(part).slices]

    def touches(self, other: _Candidate) -> bool:
        """Whether a voxel of one lies beside a voxel of the other, by face, edge or corner."""
        both = self.reach.joined(other.reach)
        placed = []
        for one in (self, other):
            mask = np.zeros(both.shape, bool)
            mask[one.reach.seen_from(both).slices] = one.near
            placed.append(mask)
        return bool((ndimage.binary_dilation(placed[0], np.ones((3, 3, 3), bool)) & placed[1]).any())

    @property
    def peak(self) -> float:
        """Largest sum near the candidate."""
        return float(self.sum[self.near].max())


def _neighbours(candidates: list[_Candidate]) -> list[list[_Candidate]]:
    """Candidates whose voxels touch, directly or by others between them, in one group."""
    if not candidates:
        return []
    starts = np.array([candidate.reach.start for candidate in candidates])
    stops = np.array([candidate.reach.stop for candidate in candidates])
    # Boxes first, because most lie far apart.
    close = ((starts[:, None] <= stops[None]) & (starts[None] <= stops[:, None])).all(axis=2)
    pairs = [(i, j) for i, j in np.argwhere(np.triu(close, 1)) if candidates[i].touches(candidates[j])]
    rows, columns = np.array(pairs, dtype=int).reshape(-1, 2).T
    links = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(len(candidates),) * 2)
    count, group_of = connected_components(links, directed=False)
    return [[candidates[i] for i in np.flatnonzero(group_of == group)] for group in range(count)]
