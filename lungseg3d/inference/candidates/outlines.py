"""Each candidate outlined anew by a network made for that, with the candidate in the middle of its window.

In: image, probabilities that hold candidates, the network. Out: probabilities of the outlines, 0.5 at their border.
Finding and outlining are two tasks: what finds must weigh everything in view, what outlines is told where to look.
Knows no file and no label.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from monai.config import KeysCollection
from scipy import ndimage

from lungseg3d.analysis import pieces_of
from lungseg3d.core import Box
from lungseg3d.inference.prediction.views import LookAgaind, MirroredViews, window_around

_NEAR_VOXELS = 8.0
"""Of several pieces in a window that one counts whose probability lies nearest to the middle, by this Gaussian's SD."""


class OutlineCandidatesd(LookAgaind):
    """Replace the probabilities of each candidate by those of its outline.

    Args:
        keys: probabilities (1, X, Y, Z) on the working grid, 0 away from candidates.
        views: of a network that outlines what lies in the middle of windows.
        image_key: the network's input (1, X, Y, Z) in [0, 1].
        roi_size: side of the window in voxels; larger for candidates that nearly fill it.
        peak: candidates that never reach this probability are dropped.
        threshold: probability of the network at an outline; it becomes 0.5.
    """

    def __init__(
        self,
        keys: KeysCollection,
        views: MirroredViews,
        image_key: str = "image",
        roi_size: int = 48,
        peak: float = 0.99,
        threshold: float = 0.5,
    ) -> None:
        super().__init__(keys, image_key)
        self.views, self.roi_size = views, roi_size
        self.peak, self.threshold = peak, threshold

    def looked(self, image: torch.Tensor, found: np.ndarray) -> np.ndarray:
        """(X, Y, Z) probabilities, 0 away from the outlines."""
        outlined = np.zeros(image.shape[1:], np.float32)
        for middle, side, certainty in self._candidates(found):
            if outlined[tuple(np.rint(middle).astype(int))] >= 0.5:
                continue  # a piece of what has been outlined already
            piece, box = self.outline_around(image, middle, side)
            if piece.any():  # its peak stays that of the search, by which the next step judges
                piece[np.unravel_index(int(piece.argmax()), piece.shape)] = certainty
            outlined[box.slices] = np.maximum(outlined[box.slices], piece)
        return outlined

    def outline_around(
        self, image: torch.Tensor, middle: np.ndarray, side: int, reach: float = np.inf
    ) -> tuple[np.ndarray, Box]:
        """The outline of what lies at a place of an image (1, X, Y, Z), seen in a window of this side around it.

        Args:
            image: the network's input, in [0, 1].
            middle: the place in voxels of the image, (3,).
            side: of the window, in voxels.
            reach: what comes no nearer to the place than this, in voxels, is not outlined.

        Returns:
            Probabilities of one connected piece, 0.5 at its border and 0 beyond its rim, all 0 where the network
            outlines nothing; and the part of the image that they cover: what of the window lies inside the image.
        """
        part, corner, inside = window_around(image, middle, side)
        piece = self._middle_piece(self.views.mean(part), reach)[inside]
        start = tuple(c + s.start for c, s in zip(corner, inside, strict=True))
        return piece, Box.whole(piece.shape).moved(start)

    def _candidates(self, found: np.ndarray) -> Iterator[tuple[np.ndarray, int, float]]:
        """Middle and side of the window of each candidate, and how sure the search was of it."""
        for piece in pieces_of(found > 0.5):
            certainty = float(found[piece.box.slices][piece.voxels].max())
            if certainty >= self.peak:
                yield piece.middle, max(self.roi_size, max(piece.box.shape) + self.roi_size // 3), certainty

    def _middle_piece(self, probability: np.ndarray, reach: float) -> np.ndarray:
        """The one connected piece in the middle, its border at 0.5 where it was at `threshold`; 0 elsewhere."""
        pieces, count = ndimage.label(probability >= self.threshold)
        if not count:
            return np.zeros_like(probability)
        grid = np.indices(probability.shape) - ((np.array(probability.shape) - 1) / 2)[:, None, None, None]
        away = (grid**2).sum(axis=0)
        weight = ndimage.sum(probability * np.exp(-away / (2 * _NEAR_VOXELS**2)), pieces, range(1, count + 1))
        if np.isfinite(reach):
            weight = np.where([_comes_near(pieces == n, away, reach) for n in range(1, count + 1)], weight, 0)
        if not weight.any():
            return np.zeros_like(probability)
        chosen = 1 + int(np.argmax(weight))
        # With a rim below the threshold, so that the border can be placed between voxels.
        near = ndimage.binary_dilation(pieces == chosen, iterations=2) & ((pieces == chosen) | (pieces == 0))
        low, high = probability / (2 * self.threshold), 1 - (1 - probability) / (2 * (1 - self.threshold))
        return np.where(near, np.where(probability < self.threshold, low, high), 0).astype(probability.dtype)


def _comes_near(piece: np.ndarray, away: np.ndarray, reach: float) -> bool:
    """Whether the middle of a window lies within `reach` of a piece, or in a hole of it; `away` is squared."""
    return bool(away[piece].min() <= reach**2 or ndimage.binary_fill_holes(piece)[away == away.min()].any())
