"""Sections of a volume as a radiologist hangs them, and the frame through which one looks at them.

In: arrays whose X, Y, Z run to the patient's right, front and head (`Volume.as_ras`). Out: 2D sections with the
patient's right (or front) on the left and the front (or head) at the top, and pictures of them with square pixels.
Knows no label and no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import contourpy
import numpy as np
from PIL import Image

from lungseg3d.core import Box

OUTSIDE_HU = -4096
"""What pictures hold where the volume has ended: black in every window, unlike air."""


@dataclass(frozen=True)
class Plane:
    """One way to cut a volume.

    Attributes:
        name: `axial`, `coronal` or `sagittal`.
        across: the array axis that the plane cuts.
        columns, rows: the array axes that run along the picture's columns and rows, both shown in reverse.
        left, right: letters of the patient's sides at the picture's edges.
    """

    name: str
    across: int
    columns: int
    rows: int
    left: str
    right: str


AXIAL = Plane("axial", 2, 0, 1, "R", "L")
CORONAL = Plane("coronal", 1, 0, 2, "R", "L")
SAGITTAL = Plane("sagittal", 0, 1, 2, "A", "P")


def turn_section(section: np.ndarray) -> np.ndarray:
    """A section with its axes in RAS order -> (rows, columns) as hung: a view."""
    turned: np.ndarray = section.T[::-1, ::-1]
    return turned


def cut_section(array: np.ndarray, plane: Plane, index: int) -> np.ndarray:
    """The section number `index` along `plane.across`, as hung (rows, columns): a view."""
    return turn_section(array[(slice(None),) * plane.across + (index,)])


def project(array: np.ndarray, axis: int, how: Callable[..., np.ndarray]) -> np.ndarray:
    """A volume (X, Y, Z) projected along an axis: a section, the other axes as they were.

    Args:
        array: the volume.
        axis: that goes.
        how: NumPy's way to make one of many along an axis, such as `np.any`.
    """
    # Along memory, not against it, as in a CT turned to RAS: NumPy takes five times longer there.
    ways = [-1 if stride < 0 else 1 for stride in array.strides]
    section = how(array[:: ways[0], :: ways[1], :: ways[2]], axis=axis)
    del ways[axis]
    return section[:: ways[0], :: ways[1]]


@dataclass(frozen=True)
class SectionWindow:
    """A window onto a section: where it lies, in section pixels, and how large it is drawn.

    Section pixel i reaches from i to i + 1, so its centre is at i + 0.5.

    Attributes:
        left, top, right, bottom: edges in section pixels; may lie outside the section.
        width, height: size of the picture in its own, square pixels.
        pixel_mm: side of one picture pixel.
    """

    left: float
    top: float
    right: float
    bottom: float
    width: int
    height: int
    pixel_mm: float

    @staticmethod
    def around_box(
        box: Box, plane: Plane, spacing_mm: Sequence[float], shape: Sequence[int], longest: int
    ) -> SectionWindow:
        """The frame that shows `box` of an array of `shape` whole; its longer side is `longest` picture pixels."""
        left, right = shape[plane.columns] - box.stop[plane.columns], shape[plane.columns] - box.start[plane.columns]
        top, bottom = shape[plane.rows] - box.stop[plane.rows], shape[plane.rows] - box.start[plane.rows]
        width_mm, height_mm = (right - left) * spacing_mm[plane.columns], (bottom - top) * spacing_mm[plane.rows]
        pixel_mm = max(width_mm, height_mm) / longest
        size = max(1, round(width_mm / pixel_mm)), max(1, round(height_mm / pixel_mm))
        return SectionWindow(left, top, right, bottom, *size, pixel_mm)

    @staticmethod
    def around_point(
        voxel: Sequence[float],
        plane: Plane,
        spacing_mm: Sequence[float],
        shape: Sequence[int],
        field_mm: float,
        side: int,
    ) -> SectionWindow:
        """A square of `field_mm` about a voxel position (voxel centres at whole numbers), `side` pixels wide."""
        column = shape[plane.columns] - 0.5 - voxel[plane.columns]
        row = shape[plane.rows] - 0.5 - voxel[plane.rows]
        half_columns = field_mm / spacing_mm[plane.columns] / 2
        half_rows = field_mm / spacing_mm[plane.rows] / 2
        edges = (column - half_columns, row - half_rows, column + half_columns, row + half_rows)
        return SectionWindow(*edges, side, side, field_mm / side)

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """Section positions (N, 2) as (column, row) -> picture positions (N, 2)."""
        scale = self.width / (self.right - self.left), self.height / (self.bottom - self.top)
        return (np.asarray(points, dtype=np.float64) - (self.left, self.top)) * scale

    def view(self, section: np.ndarray) -> np.ndarray:
        """The section (rows, columns) as seen through the frame: float32 (height, width), bicubic.

        What lies outside the section is `OUTSIDE_HU`.
        """
        rows, columns = self._places(margin=3)
        edge_rows, edge_columns = (np.clip(p, 0, n - 1) for p, n in zip((rows, columns), section.shape, strict=True))
        # The border goes on outside, so that interpolation does not darken the last pixels inside.
        image = Image.fromarray(section[np.ix_(edge_rows, edge_columns)].astype(np.float32))
        box = (self.left - columns[0], self.top - rows[0], self.right - columns[0], self.bottom - rows[0])
        seen = np.array(image.resize((self.width, self.height), Image.Resampling.BICUBIC, box=box))
        y = self.top + (np.arange(self.height) + 0.5) * (self.bottom - self.top) / self.height
        x = self.left + (np.arange(self.width) + 0.5) * (self.right - self.left) / self.width
        seen[(y < 0) | (y > section.shape[0])] = OUTSIDE_HU
        seen[:, (x < 0) | (x > section.shape[1])] = OUTSIDE_HU
        return seen

    def outlines(self, mask: np.ndarray) -> Iterator[np.ndarray]:
        """The mask's border lines, midway between inner and outer pixel centres: picture positions (N, 2) each."""
        rows, columns = self._places(margin=2)
        inside = np.ix_((rows >= 0) & (rows < mask.shape[0]), (columns >= 0) & (columns < mask.shape[1]))
        seen = np.zeros((len(rows), len(columns), 1), dtype=bool)
        seen[inside] = mask[max(0, rows[0]) : max(0, rows[-1] + 1), max(0, columns[0]) : max(0, columns[-1] + 1), None]
        box = Box.around(seen)
        if box is None:
            return
        box = box.grown(1, seen.shape)
        origin = np.array([columns[0] + box.start[1] + 0.5, rows[0] + box.start[0] + 0.5])
        for line in contourpy.contour_generator(z=seen[box.slices][:, :, 0].astype(np.float32)).lines(0.5):
            yield self.to_picture(np.asarray(line) + origin)

    def _places(self, margin: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the section pixels under the frame and `margin` more; may lie outside the section."""
        rows = np.arange(int(np.floor(self.top)) - margin, int(np.ceil(self.bottom)) + margin)
        columns = np.arange(int(np.floor(self.left)) - margin, int(np.ceil(self.right)) + margin)
        return rows, columns
