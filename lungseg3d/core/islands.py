"""A mask or a label map -> the boxes of what lies in it, found without looking at what is empty.

In: arrays (X, Y, Z) in any order of memory. Out: `Box`es. NumPy only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lungseg3d.core.volume import Box, occupied


def islands(mask: np.ndarray) -> list[Box]:
    """Boxes that hold every voxel that is not 0, with an empty plane between any two: no component lies in two.

    One pass over the array, in its order in memory: components are then sought in each box alone.
    """
    return list(_cut(mask, Box.whole(mask.shape)))


def boxes_by_value(label_map: np.ndarray) -> dict[int, Box]:
    """The smallest box of every value above 0 that occurs, by rising value."""
    boxes: dict[int, Box] = {}
    for island in islands(label_map):
        for value, box in _boxes_in(label_map[island.slices], island.start):
            boxes[value] = boxes[value].joined(box) if value in boxes else box
    return dict(sorted(boxes.items()))


def _cut(mask: np.ndarray, box: Box) -> Iterator[Box]:
    for axis, line in occupied(mask[box.slices]):
        runs = _runs(line)
        if runs == [(0, line.size)]:
            continue
        for first, last in runs:
            start, stop = list(box.start), list(box.stop)
            start[axis], stop[axis] = box.start[axis] + first, box.start[axis] + last
            yield from _cut(mask, Box(tuple(start), tuple(stop)))  # type: ignore[arg-type]
        return
    yield box


def _runs(line: np.ndarray) -> list[tuple[int, int]]:
    """First true and one behind the last of every run."""
    edges = np.flatnonzero(np.diff(np.r_[False, line, False].astype(np.int8))).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _boxes_in(part: np.ndarray, origin: tuple[int, int, int]) -> Iterator[tuple[int, Box]]:
    places = np.nonzero(part)
    values = part[places]
    order = np.argsort(values, kind="stable")
    values = values[order]
    firsts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    start = [np.minimum.reduceat(axis[order], firsts) + o for axis, o in zip(places, origin, strict=True)]
    stop = [np.maximum.reduceat(axis[order], firsts) + o + 1 for axis, o in zip(places, origin, strict=True)]
    for i, value in enumerate(values[firsts].tolist()):
        x, y, z = ((int(a[i]), int(b[i])) for a, b in zip(start, stop, strict=True))
        yield int(value), Box((x[0], y[0], z[0]), (x[1], y[1], z[1]))
