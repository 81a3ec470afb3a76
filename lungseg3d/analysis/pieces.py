"""A large mask with little in it -> its connected pieces, at the cost of what is marked and not of the mask.

In: a bool array (X, Y, Z). Out: `Piece`s, in the order of their first voxels. Knows no unit.
`scipy.ndimage.label` visits every voxel several times; here only marked voxels are, as a graph of neighbours.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lungseg3d.core import Box


@dataclass(frozen=True)
class Piece:
    """Connected voxels.

    Attributes:
        box: the smallest that holds them.
        voxels: bool, of the box's shape.
    """

    box: Box
    voxels: np.ndarray

    @property
    def middle(self) -> np.ndarray:
        """Mean place of its voxels in the whole array, (3,)."""
        centre: np.ndarray = np.argwhere(self.voxels).mean(axis=0) + self.box.start
        return centre

    def within(self, box: Box) -> np.ndarray:
        """Its voxels in a larger box around its own, bool of that box's shape."""
        mask = np.zeros(box.shape, bool)
        mask[self.box.seen_from(box).slices] = self.voxels
        return mask


def pieces_of(mask: np.ndarray, any_neighbour: bool = False) -> list[Piece]:
    """Connected pieces of a mask (X, Y, Z).

    Args:
        mask: bool.
        any_neighbour: voxels that share an edge or a corner are connected too, not only those that share a face.
    """
    flat = np.flatnonzero(mask)
    if not flat.size:
        return []
    places = np.stack(np.unravel_index(flat, mask.shape), axis=1)
    count, piece_of = _components(flat, places, mask.shape, any_neighbour)
    order = np.argsort(piece_of, kind="stable")
    bounds = np.searchsorted(piece_of[order], range(1, count))
    return [_piece(voxels) for voxels in np.split(places[order], bounds)]


def _components(
    flat: np.ndarray, places: np.ndarray, shape: tuple[int, ...], any_neighbour: bool
) -> tuple[int, np.ndarray]:
    """Number of pieces, and which one each voxel belongs to; the first voxel's is 0."""
    rows, columns = [], []
    for step in _steps(any_neighbour):
        there = places + step
        inside = np.flatnonzero(((there >= 0) & (there < shape)).all(axis=1))
        wanted = np.ravel_multi_index(tuple(there[inside].T), shape)
        found = np.searchsorted(flat, wanted)
        found[found == flat.size] = 0
        is_marked = flat[found] == wanted
        rows.append(inside[is_marked])
        columns.append(found[is_marked])
    ends = np.concatenate(rows), np.concatenate(columns)
    links = coo_array((np.ones(ends[0].size, bool), ends), shape=(flat.size, flat.size))
    components: tuple[int, np.ndarray] = connected_components(links, directed=False)
    return components


def _steps(any_neighbour: bool) -> list[tuple[int, ...]]:
    """To one of each pair of opposite neighbours."""
    steps = [step for step in itertools.product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]
    return steps if any_neighbour else [step for step in steps if sum(map(abs, step)) == 1]


def _piece(voxels: np.ndarray) -> Piece:
    start, stop = voxels.min(axis=0), voxels.max(axis=0) + 1
    mask = np.zeros(stop - start, bool)
    mask[tuple((voxels - start).T)] = True
    return Piece(Box(tuple(start.tolist()), tuple(stop.tolist())), mask)
