"""What of the first look is worth another one: connected probabilities, enough of them, sure enough.

In: probabilities (X, Y, Z) of the first look. Out: pieces. Knows no network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lungseg3d.analysis import Piece, pieces_of


@dataclass(frozen=True)
class CandidateSearch:
    """What makes a candidate; everything else is dropped unseen.

    Attributes:
        threshold: probability above which voxels belong to one.
        peak: it must be reached somewhere in it.
        least_voxels: smaller ones are none.
    """

    threshold: float = 0.5
    peak: float = 0.8
    least_voxels: int = 5

    def found(self, first: np.ndarray) -> list[Piece]:
        """The candidates among probabilities (X, Y, Z)."""
        return [piece for piece in pieces_of(first > self.threshold) if self._is_one(first, piece)]

    def _is_one(self, first: np.ndarray, piece: Piece) -> bool:
        seen = first[piece.box.slices][piece.voxels]
        return bool(seen.size >= self.least_voxels and seen.max() >= self.peak)
