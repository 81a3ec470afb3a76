"""`Volume`: an array (X, Y, Z) with its place in the world (RAS, mm); `Grid` and `Box` beside it.

In: arrays and affines. Out: values with one geometry. Knows no file format, no LPS, no network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lungseg3d.core.errors import GeometryError


@dataclass(frozen=True)
class Box:
    """A half-open block of voxels: start <= index < stop along X, Y, Z."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along X, Y, Z."""
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))  # type: ignore[return-value]

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """For indexing an array: `array[box.slices]`."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))  # type: ignore[return-value]

    def grown(self, margin: int | Sequence[int], within: Sequence[int]) -> Box:
        """This box, larger by `margin` voxels on every side, cut at the array of shape `within`."""
        margins = np.broadcast_to(margin, 3)
        start = tuple(max(0, int(a - m)) for a, m in zip(self.start, margins, strict=True))
        stop = tuple(min(int(n), int(b + m)) for b, m, n in zip(self.stop, margins, within, strict=True))
        return Box(start, stop)  # type: ignore[arg-type]

    def joined(self, other: Box) -> Box:
        """The smallest box that holds both."""
        start = tuple(map(min, self.start, other.start))
        return Box(start, tuple(map(max, self.stop, other.stop)))  # type: ignore[arg-type]

    def moved(self, by: Sequence[int]) -> Box:
        """This box, `by` voxels further along each axis."""
        start, stop = (tuple(a + n for a, n in zip(end, by, strict=True)) for end in (self.start, self.stop))
        return Box(start, stop)  # type: ignore[arg-type]

    def seen_from(self, outer: Box) -> Box:
        """Where this box lies in an array that begins where another box begins."""
        return self.moved([-n for n in outer.start])

    def mirrored(self, axes: Sequence[int], within: Sequence[int]) -> Box:
        """Where this box lies once an array of shape `within` is mirrored along some axes."""
        ends = [
            (n - b, n - a) if axis in axes else (a, b)
            for axis, (a, b, n) in enumerate(zip(self.start, self.stop, within, strict=True))
        ]
        return Box(tuple(a for a, _ in ends), tuple(b for _, b in ends))  # type: ignore[arg-type]

    @staticmethod
    def whole(shape: Sequence[int]) -> Box:
        """The box of a whole array."""
        return Box((0, 0, 0), (int(shape[0]), int(shape[1]), int(shape[2])))

    @staticmethod
    def around(mask: np.ndarray) -> Box | None:
        """The smallest box that holds every voxel of `mask` that is true or not 0, or None when there is none."""
        start, stop = [0, 0, 0], [0, 0, 0]
        for axis, line in occupied(mask):
            held = np.flatnonzero(line)
            if held.size == 0:
                return None
            start[axis], stop[axis] = int(held[0]), int(held[-1]) + 1
        return Box(tuple(start), tuple(stop))  # type: ignore[arg-type]


def occupied(mask: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each axis and which of its planes, bool (N,), hold a voxel that is not 0; the axis widest in memory first.

    The planes along that axis are looked at one by one, then folded into one, in which the others are seen.
    """
    # Along memory, not against it, as in a CT turned to RAS: a quarter of the time.
    ways = [-1 if stride < 0 else 1 for stride in mask.strides]
    along = mask[:: ways[0], :: ways[1], :: ways[2]]
    slow, *others = sorted(range(3), key=lambda a: -along.strides[a])
    line = _any(along, tuple(others))
    yield slow, line[:: ways[slow]]
    held = np.flatnonzero(line)
    planes = slice(int(held[0]), int(held[-1]) + 1) if held.size else slice(0)
    shadow = _any(along[(slice(None),) * slow + (planes,)], (slow,))
    first, second = sorted(others)
    yield first, _any(shadow, (1,))[:: ways[first]]
    yield second, _any(shadow, (0,))[:: ways[second]]


def _any(part: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    # For whole numbers the largest is found twice as fast as whether there is any.
    is_unsigned = part.dtype.kind == "u"
    return part.max(axis=axes, initial=0) > 0 if is_unsigned else np.asarray(part.any(axis=axes))


@dataclass(frozen=True, eq=False)
class Grid:
    """Where voxels lie: their number along X, Y, Z and the affine (4, 4) from voxel index to RAS mm.

    Raises:
        GeometryError: E_BAD_AFFINE when the affine is not finite, not invertible or not 4 x 4.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise GeometryError("E_BAD_AFFINE", f"the voxel-to-world matrix is not an invertible 4 x 4: {affine}")
        affine.flags.writeable = False
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxel centres along X, Y, Z."""
        return tuple(float(s) for s in np.linalg.norm(self.affine[:3, :3], axis=0))  # type: ignore[return-value]

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel; exact for sheared grids too."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @cached_property
    def is_orthogonal(self) -> bool:
        """True when the axes are at right angles, to 0.01 degrees; false for a tilted gantry."""
        axes = self.affine[:3, :3] / np.array(self.spacing_mm)
        return bool(np.abs(axes.T @ axes - np.eye(3)).max() < 1.75e-4)

    @cached_property
    def ras_axes(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """(order, signs): array axis nearest to R, A, S in turn, and whether it runs with (+1) or against (-1) it."""
        axes = self.affine[:3, :3] / np.array(self.spacing_mm)
        # The assignment with the largest total alignment: right for any rotation, no axis used twice.
        best = max(_PERMUTATIONS, key=lambda order: sum(abs(axes[i, order[i]]) for i in range(3)))
        signs = tuple(1 if axes[i, best[i]] >= 0 else -1 for i in range(3))
        return best, signs  # type: ignore[return-value]

    def to_world(self, voxels: np.ndarray) -> np.ndarray:
        """Voxel indices (..., 3), fractions allowed -> RAS mm (..., 3)."""
        world_mm: np.ndarray = np.asarray(voxels, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]
        return world_mm

    def to_voxel(self, world_mm: np.ndarray) -> np.ndarray:
        """RAS mm (..., 3) -> voxel indices (..., 3) with fractions."""
        inverse = np.linalg.inv(self.affine)
        voxels: np.ndarray = np.asarray(world_mm, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3]
        return voxels

    def cropped(self, box: Box) -> Grid:
        """The grid of the voxels inside `box`."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_world(np.array(box.start))
        return Grid(box.shape, affine)

    def __str__(self) -> str:
        """Voxels, their size and where the first one lies, for messages."""
        size, place = (" x ".join(f"{v:.4g}" for v in self.spacing_mm), ", ".join(f"{v:g}" for v in self.origin_mm))
        return f"{' x '.join(map(str, self.shape))} voxels of {size} mm from ({place}) mm RAS"

    @property
    def origin_mm(self) -> tuple[float, float, float]:
        """Where the centre of the first voxel lies, RAS, to a hundredth."""
        return tuple(float(round(v, 2)) + 0.0 for v in self.affine[:3, 3])  # type: ignore[return-value]

    def apart_mm(self, other: Grid) -> float | None:
        """The largest distance of two corners with the same index, in mm; None for grids of other shapes."""
        if self.shape != other.shape:
            return None
        corners = np.stack(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij"), axis=-1).reshape(-1, 3)
        return float(np.linalg.norm(self.to_world(corners) - other.to_world(corners), axis=1).max())

    def matches(self, other: Grid, tolerance_mm: float = 0.01) -> bool:
        """True when both have the same shape and every corner lies within `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        corners = np.stack(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij"), axis=-1).reshape(-1, 3)
        return bool(np.abs(self.to_world(corners) - other.to_world(corners)).max() <= tolerance_mm)


_PERMUTATIONS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D array (X, Y, Z) and the affine (4, 4) that takes a voxel index to RAS mm.

    A CT holds int16 HU, a mask bool, a label map an unsigned integer, a probability float32.

    Raises:
        GeometryError: E_NOT_3D when the array is not 3D, E_BAD_AFFINE when the affine is unusable.
    """

    array: np.ndarray
    affine: np.ndarray

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise GeometryError("E_NOT_3D", f"a volume has 3 dimensions, this array has shape {self.array.shape}")
        object.__setattr__(self, "affine", self.grid.affine)

    @cached_property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        return Grid(self.array.shape, self.affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along X, Y, Z."""
        return self.grid.shape

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxel centres along X, Y, Z."""
        return self.grid.spacing_mm

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel."""
        return self.grid.voxel_volume_mm3

    def with_array(self, array: np.ndarray) -> Volume:
        """Another array of the same shape in the same place.

        Raises:
            GeometryError: E_GRID_MISMATCH when the shapes differ.
        """
        if array.shape != self.array.shape:
            raise GeometryError("E_GRID_MISMATCH", f"the grid has shape {self.array.shape}, the array {array.shape}")
        return Volume(array, self.affine)

    def crop(self, box: Box) -> Volume:
        """The part inside `box`, as a view, in its own place in the world."""
        return Volume(self.array[box.slices], self.grid.cropped(box).affine)

    def pasted(self, part: Volume, box: Box) -> Volume:
        """A copy in which the voxels of `box` come from `part`: the inverse of `crop`.

        Raises:
            GeometryError: E_GRID_MISMATCH when `part` does not lie where `box` says.
        """
        if not self.grid.cropped(box).matches(part.grid):
            raise GeometryError("E_GRID_MISMATCH", f"the part {part.shape} does not lie in the box {box}")
        array = self.array.copy()
        array[box.slices] = part.array
        return Volume(array, self.affine)

    def as_ras(self) -> Volume:
        """The same voxels with axes swapped and turned so that X, Y, Z run nearest to R, A, S: a view."""
        order, signs = self.grid.ras_axes
        array = self.array.transpose(order)[tuple(slice(None, None, s) for s in signs)]
        turn = np.zeros((4, 4))
        turn[3, 3] = 1
        for axis, (source, sign) in enumerate(zip(order, signs, strict=True)):
            turn[source, axis] = sign
            if sign < 0:
                turn[source, 3] = self.array.shape[source] - 1
        return Volume(array, self.affine @ turn)

    def from_ras(self, ras: Volume) -> Volume:
        """Bring an array on the grid of `self.as_ras()` back to the axes of `self`: the inverse of `as_ras`.

        Raises:
            GeometryError: E_GRID_MISMATCH when `ras` does not lie on that grid.
        """
        if not self.as_ras().grid.matches(ras.grid):
            raise GeometryError("E_GRID_MISMATCH", f"{ras.shape} is not this volume ({self.shape}) in RAS order")
        order, signs = self.grid.ras_axes
        array = ras.array[tuple(slice(None, None, s) for s in signs)].transpose(np.argsort(order))
        return Volume(array, self.affine)
