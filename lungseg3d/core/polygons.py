"""Polygons -> the pixels inside them.

In: vertices in pixel coordinates, pixel centres at whole numbers. Out: bool masks. Knows no image and no file format.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def fill_polygons(polygons: Iterable[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose centre lies inside an odd number of times: nested contours make holes (even-odd, XOR).

    Args:
        polygons: each (N, 2) vertices (x, y) in pixels, closed by itself, fractions allowed; it may leave the image.
        shape: number of pixels along x and y.

    Returns:
        Bool (X, Y). A centre on a left or lower edge is inside, on a right or upper edge outside, so that two
        polygons which share an edge share no pixel.
    """
    crossings = np.zeros((shape[0] + 1, shape[1]), np.int32)
    for polygon in polygons:
        x, y = np.asarray(polygon, dtype=np.float64).T
        _count_crossings(crossings, x, y)
    is_inside: np.ndarray = np.cumsum(crossings[:-1], axis=0) % 2 == 1
    return is_inside


def _count_crossings(crossings: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """Add 1 at the first pixel right of every place where an edge crosses the centre line of a row."""
    rows = crossings.shape[1]
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    low = np.ceil(np.minimum(y, next_y)).clip(0, rows).astype(int)
    high = np.ceil(np.maximum(y, next_y)).clip(0, rows).astype(int)
    edge = np.repeat(np.arange(len(x)), high - low)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(high - low) - (high - low), high - low) + low[edge]
    share = (row - y[edge]) / (next_y[edge] - y[edge])
    column = np.ceil(x[edge] + share * (next_x[edge] - x[edge])).clip(0, crossings.shape[0] - 1).astype(int)
    np.add.at(crossings, (column, row), 1)


def outline_pixels(polygon: np.ndarray) -> np.ndarray:
    """The pixels on the closed line through whole-numbered vertices.

    Args:
        polygon: (N, 2) vertices (x, y), N >= 1.

    Returns:
        Whole numbers (M, 2), each pixel once; neighbours touch at least by a corner.
    """
    points = np.rint(np.asarray(polygon, dtype=np.float64)).astype(int)
    parts = [points]
    for start, stop in zip(points, np.roll(points, -1, axis=0), strict=True):
        steps = int(np.abs(stop - start).max())
        if steps > 1:
            share = np.arange(1, steps)[:, None] / steps
            parts.append(np.rint(start + share * (stop - start)).astype(int))
    return np.unique(np.concatenate(parts), axis=0)
