"""A mask -> the few windows that cover it: as large as allowed, as tight as the mask, none where there is nothing.

In: a mask (X, Y, Z), the largest window; or a size and how far a network reaches. Out: windows as slices or boxes.
Knows no network.

Windows of one size on a regular grid spend most of their voxels on overlaps and on what lies beside a lung. Here a
window takes the size of what it covers: slabs along Z, strips of each slab along X, pieces of each strip along Y, each
no longer than what the mask has there. Of the ways to cut, the one with the fewest voxels to compute is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np

from lungseg3d.core import Box

Span = tuple[int, int]
Window = tuple[slice, slice, slice]

_MORE_CUTS = 3  # along one axis, so many numbers of cuts are tried, from the fewest that the largest window allows


@dataclass(frozen=True)
class Tiling:
    """How windows may lie.

    Attributes:
        most: largest window along X, Y, Z in voxels, multiples of `step`.
        overlap: voxels that neighbours share at least, along X, Y, Z; less than `most`.
        margin: voxels around the mask that windows hold too, as far as the image goes.
        step: every window's sides are multiples of this.
    """

    most: tuple[int, int, int]
    overlap: tuple[int, int, int]
    margin: int
    step: int

    def windows(self, mask: np.ndarray) -> list[Window]:
        """Windows that hold every voxel of a mask (X, Y, Z), whose sides are multiples of `step`; none for none."""
        return self._slabs(mask)

    def _slabs(self, mask: np.ndarray) -> list[Window]:
        extent = _extent(_any(mask, (0, 1)))
        ways = [] if extent is None else self._ways(extent, 2, mask.shape[2])
        return min(([w for z in spans for w in self._strips(mask, z)] for spans in ways), key=_voxels, default=[])

    def _strips(self, mask: np.ndarray, z: Span) -> list[Window]:
        seen = _any(mask[:, :, z[0] : z[1]], (2,))
        extent = _extent(_any(seen, (1,)))
        ways = [] if extent is None else self._ways(extent, 0, mask.shape[0])
        return min(([w for x in spans for w in self._pieces(seen, x, z)] for spans in ways), key=_voxels, default=[])

    def _pieces(self, seen: np.ndarray, x: Span, z: Span) -> list[Window]:
        extent = _extent(_any(seen[x[0] : x[1]], (0,)))
        ways = [] if extent is None else self._ways(extent, 1, seen.shape[1])
        return min(([(slice(*x), slice(*y), slice(*z)) for y in spans] for spans in ways), key=_voxels, default=[])

    def _ways(self, extent: Span, axis: int, size: int) -> list[list[Span]]:
        """Ways to cut an extent and its margin into spans of one length: as few as can be, and a few more."""
        low, high = max(0, extent[0] - self.margin), min(size, extent[1] + self.margin)
        most = min(self.most[axis], size)
        overlap = min(self.overlap[axis], most // 2)
        fewest = 1 if high - low <= most else math.ceil((high - low - overlap) / (most - overlap))
        return [spans_over((low, high), size, overlap, n, self.step) for n in range(fewest, fewest + _MORE_CUTS)]


def spans_over(extent: Span, size: int, overlap: int, count: int, step: int) -> list[Span]:
    """`count` spans of one length, a multiple of `step`, that cover an extent of an axis `size` long, evenly placed.

    What rounding to `step` gives is seen around the extent, so far as the axis goes.
    """
    need = extent[1] - extent[0]
    length = math.ceil((need + (count - 1) * overlap) / count / step) * step
    length = min(length, size)
    covered = min(max(count * length - (count - 1) * overlap, length), size)
    first = min(max(0, extent[0] - (covered - need) // 2), size - covered)
    starts = [first + (i * (covered - length)) // max(1, count - 1) for i in range(count)]
    return [(start, start + length) for start in starts]


@dataclass(frozen=True)
class Share:
    """A window, and what of it is kept: by a network that reaches no farther than the rest, as in one pass of all."""

    window: Box
    kept: Box


def shares_of(size: Sequence[int], most: Sequence[int], reach: int, step: int) -> list[Share]:
    """Windows whose kept parts make up an array, each voxel once, and that see `reach` voxels more on every side.

    Args:
        size: of the array along X, Y, Z, multiples of `step`.
        most: largest window, multiples of `step`; wider than two reaches along axes where the array is larger.
        reach: what windows see beyond what is kept, as far as the array goes.
        step: windows and kept parts begin and end at its multiples, as a network's deepest grid does.

    Raises:
        ValueError: windows that are too small to keep anything.
    """
    shared = 2 * math.ceil(reach / step) * step
    if any(m < n and m <= shared for n, m in zip(size, most, strict=True)):
        raise ValueError(f"windows of {tuple(most)} voxels keep nothing of a network that reaches {reach} voxels")
    axes = [_shares_along(n, m, shared, step) for n, m in zip(size, most, strict=True)]
    return [Share(*(Box(*zip(*spans, strict=True)) for spans in zip(*along, strict=True))) for along in product(*axes)]


def _shares_along(size: int, most: int, shared: int, step: int) -> list[tuple[Span, Span]]:
    """(window, kept) along one axis, evenly placed."""
    count = 1 if size <= most else math.ceil((size - shared) / (most - shared))
    length = min(size, math.ceil((size + (count - 1) * shared) / count / step) * step)
    starts = [(size - length) * i // max(1, count - 1) // step * step for i in range(count)]
    ends = [0, *(start + shared // 2 for start in starts[1:]), size]
    return [((start, start + length), kept) for start, kept in zip(starts, pairwise(ends), strict=True)]


def _any(mask: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return np.asarray(mask.any(axis=axes))


def _extent(line: np.ndarray) -> Span | None:
    """First true and one behind the last, or None."""
    held = np.flatnonzero(line)
    return (int(held[0]), int(held[-1]) + 1) if held.size else None


def _voxels(windows: Sequence[Window]) -> int:
    return sum(math.prod(s.stop - s.start for s in window) for window in windows)
