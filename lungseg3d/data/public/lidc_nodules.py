"""Marks of several readers -> nodules: grouped over readers, drawn in voxels, voted on.

In: `LidcMark`s and the slice that each contour lies on. Out: voxels and `LidcNodule`s. Knows no image file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from lungseg3d.core.polygons import fill_polygons, outline_pixels
from lungseg3d.data.public.lidc_xml import RATINGS, LidcContour, LidcMark

SliceOf = Callable[[LidcContour], int | None]
"""The slice of the CT that a contour lies on, None where there is none."""
_SHRINK, _LEAST = 0.9, 0.1


@dataclass(frozen=True)
class ConsensusRule:
    """When marks become a nodule, and which voxels belong to it.

    Attributes:
        min_readers: readers that must have outlined it.
        min_votes: share of those readers that must have a voxel inside.
        contour_pixels: True counts the outline's own pixels; by LIDC's rule they lie just outside.
    """

    min_readers: int = 3
    min_votes: float = 0.5
    contour_pixels: bool = False


@dataclass(frozen=True, eq=False)
class LidcNodule:
    """One nodule of 3 mm and more.

    Attributes:
        marks: of its readers.
        voxels: (N, 3) whole numbers, those with enough votes; may be empty.
        touched: (M, 3), those inside or on the outline of any reader; never empty.
        accepted: enough readers outlined it.
    """

    marks: tuple[LidcMark, ...]
    voxels: np.ndarray
    touched: np.ndarray
    accepted: bool

    @property
    def readers(self) -> int:
        """How many readers outlined it."""
        return len({mark.reader for mark in self.marks})

    def ratings(self) -> dict[str, list[int]]:
        """Rating -> values in the order of the marks."""
        return {name: [mark.ratings[name] for mark in self.marks if name in mark.ratings] for name in RATINGS}

    def median_ratings(self) -> dict[str, float]:
        """Rating -> median over the marks that have it."""
        return {name: float(np.median(values)) for name, values in self.ratings().items() if values}


def find_lidc_nodules(
    marks: Sequence[LidcMark], slice_of: SliceOf, spacing_mm: Sequence[float], rule: ConsensusRule
) -> list[LidcNodule]:
    """The nodules of 3 mm and more of one CT, the most readers first, then from low to high.

    Args:
        marks: of all readers; small ones are passed over.
        slice_of: see `SliceOf`.
        spacing_mm: of columns, rows, slices.
        rule: of the consensus.
    """
    large = [mark for mark in marks if not mark.is_small]
    touched = [draw_mark(mark, slice_of, contour_pixels=True) for mark in large]
    drawn = [(mark, voxels) for mark, voxels in zip(large, touched, strict=True) if len(voxels)]
    places_mm = [voxels * np.asarray(spacing_mm, float) for _, voxels in drawn]
    groups = group_marks(places_mm, [mark.reader for mark, _ in drawn], tolerance_mm=max(spacing_mm))
    nodules = [
        _vote([drawn[i][0] for i in group], np.concatenate([drawn[i][1] for i in group]), slice_of, rule)
        for group in groups
    ]
    return sorted(nodules, key=lambda nodule: (-nodule.readers, *_first_place(nodule)))


def _first_place(nodule: LidcNodule) -> tuple[float, ...]:
    contour = nodule.marks[0].contours[0]
    return (contour.z_mm, *contour.points[0].tolist())


def group_marks(places_mm: Sequence[np.ndarray], readers: Sequence[int], tolerance_mm: float) -> list[list[int]]:
    """Which marks are one nodule: those that lie within a tolerance of each other, directly or over others.

    A group with two marks of one reader is looked at again with a smaller tolerance, until each reader occurs once or
    the marks touch (after pylidc; Hancock & Magnan 2016, J Med Imaging 3:044504).

    Args:
        places_mm: of each mark its voxels in mm, (N, 3).
        readers: of each mark.
        tolerance_mm: to begin with.

    Returns:
        Indices of the marks, each once, in order.
    """
    gaps_mm = _gaps_mm(places_mm, tolerance_mm)

    def split(indices: list[int], tolerance: float) -> list[list[int]]:
        near = gaps_mm[np.ix_(indices, indices)] <= tolerance
        count, part_of = connected_components(near, directed=False)
        parts = [[i for i, part in zip(indices, part_of, strict=True) if part == p] for p in range(count)]
        done: list[list[int]] = []
        for part in parts:
            repeated = len({readers[i] for i in part}) < len(part)
            again = repeated and tolerance > 0
            smaller = tolerance * _SHRINK if tolerance > _LEAST * tolerance_mm else 0.0
            done += split(part, smaller) if again else [part]
        return done

    return sorted(split(list(range(len(places_mm))), tolerance_mm)) if len(places_mm) else []


def _gaps_mm(places_mm: Sequence[np.ndarray], most_mm: float) -> np.ndarray:
    """Shortest distances of every two marks, (N, N); infinite beyond `most_mm`."""
    count = len(places_mm)
    trees = [cKDTree(places) for places in places_mm]
    gaps = np.full((count, count), np.inf)
    np.fill_diagonal(gaps, 0)
    for i in range(count):
        for j in range(i):
            apart = np.maximum(trees[i].mins - trees[j].maxes, trees[j].mins - trees[i].maxes).max()
            if apart <= most_mm:
                nearest, _ = trees[i].query(places_mm[j], distance_upper_bound=most_mm * 1.001)
                gaps[i, j] = gaps[j, i] = nearest.min()
    return gaps


def draw_mark(mark: LidcMark, slice_of: SliceOf, contour_pixels: bool) -> np.ndarray:
    """The voxels of one mark: (N, 3) column, row, slice; contours without a slice are left out."""
    by_slice: dict[int, list[LidcContour]] = {}
    for contour in mark.contours:
        if (k := slice_of(contour)) is not None:
            by_slice.setdefault(k, []).append(contour)
    parts = [np.empty((0, 3), int)]
    for k, contours in sorted(by_slice.items()):
        pixels = _draw_slice(contours, contour_pixels)
        parts.append(np.column_stack([pixels, np.full(len(pixels), k)]))
    return np.concatenate(parts)


def _draw_slice(contours: Sequence[LidcContour], contour_pixels: bool) -> np.ndarray:
    points = np.concatenate([contour.points for contour in contours])
    low = points.min(axis=0)
    width, height = (points.max(axis=0) - low + 1).tolist()
    mask = np.zeros((width, height), bool)
    for wanted in (True, False):
        for contour in contours:
            if contour.inclusion is wanted:
                inside = fill_polygons([contour.points - low], mask.shape)
                outline = outline_pixels(contour.points - low)
                inside[outline[:, 0], outline[:, 1]] = contour_pixels
                mask = mask | inside if wanted else mask & ~inside
    voxels: np.ndarray = np.argwhere(mask) + low
    return voxels


def _vote(marks: Sequence[LidcMark], touched: np.ndarray, slice_of: SliceOf, rule: ConsensusRule) -> LidcNodule:
    readers = sorted({mark.reader for mark in marks})
    parts = []
    for reader in readers:
        own = [draw_mark(mark, slice_of, rule.contour_pixels) for mark in marks if mark.reader == reader]
        parts.append(np.unique(np.concatenate(own), axis=0))
    union, votes = np.unique(np.concatenate(parts), axis=0, return_counts=True)
    enough = votes >= rule.min_votes * len(readers) - 1e-9
    return LidcNodule(tuple(marks), union[enough], np.unique(touched, axis=0), len(readers) >= rule.min_readers)
