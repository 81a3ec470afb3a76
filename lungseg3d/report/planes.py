"""Sections of a volume as a radiologist hangs them, and the frame through which one looks at them.

In: arrays whose X, Y, Z run to the patient's right, front and head (`Volume.as_ras`). Out: 2D sections with the
patient's right (or front) on the left and the front (or head) at the top, and pictures of them with square pixels.
Knows no label and no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import contourpy
import numpy as np
from PIL import Image

from lungseg3d.core import Box

AIR_HU = -1000


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
    return section.T[::-1, ::-1]


def cut_section(array: np.ndarray, plane: Plane, index: int) -> np.ndarray:
    """The section number `index` along `plane.across`, as hung (rows, columns): a view."""
    return turn_section(array[(slice(None),) * plane.across + (index,)])


@dataclass(frozen=True)
class Frame:
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
    def around_box(box: Box, plane: Plane, spacing_mm: Sequence[float], shape: Sequence[int], longest: int) -> Frame:
        """The frame that shows `box` of an array of `shape` whole; its longer side is `longest` picture pixels."""
        left, right = shape[plane.columns] - box.stop[plane.columns], shape[plane.columns] - box.start[plane.columns]
        top, bottom = shape[plane.rows] - box.stop[plane.rows], shape[plane.rows] - box.start[plane.rows]
        width_mm, height_mm = (right - left) * spacing_mm[plane.columns], (bottom - top) * spacing_mm[plane.rows]
        pixel_mm = max(width_mm, height_mm) / longest
        size = max(1, round(width_mm / pixel_mm)), max(1, round(height_mm / pixel_mm))
        return Frame(left, top, right, bottom, *size, pixel_mm)

    @staticmethod
    def around_point(
        voxel: Sequence[float],
        plane: Plane,
        spacing_mm: Sequence[float],
        shape: Sequence[int],
        field_mm: float,
        side: int,
    ) -> Frame:
        """A square of `field_mm` about a voxel position (voxel centres at whole numbers), `side` pixels wide."""
        column = shape[plane.columns] - 0.5 - voxel[plane.columns]
        row = shape[plane.rows] - 0.5 - voxel[plane.rows]
        half_columns = field_mm / spacing_mm[plane.columns] / 2
        half_rows = field_mm / spacing_mm[plane.rows] / 2
        edges = (column - half_columns, row - half_rows, column + half_columns, row + half_rows)
        return Frame(*edges, side, side, field_mm / side)

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """Section positions (N, 2) as (column, row) -> picture positions (N, 2)."""
        scale = self.width / (self.right - self.left), self.height / (self.bottom - self.top)
        return (np.asarray(points, dtype=np.float64) - (self.left, self.top)) * scale

    def view(self, section: np.ndarray, fill: float = AIR_HU) -> np.ndarray:
        """The section (rows, columns) as seen through the frame: float32 (height, width), bicubic.

        What lies outside the section is `fill`.
        """
        part, (left, top) = self._part(section, margin=3, fill=fill)
        box = (self.left - left, self.top - top, self.right - left, self.bottom - top)
        image = Image.fromarray(np.ascontiguousarray(part, dtype=np.float32))
        return np.asarray(image.resize((self.width, self.height), Image.Resampling.BICUBIC, box=box))

    def outlines(self, mask: np.ndarray) -> Iterator[np.ndarray]:
        """The mask's border lines, midway between inner and outer pixel centres: picture positions (N, 2) each."""
        part, (left, top) = self._part(mask, margin=2, fill=0)
        if not part.any():
            return
        for line in contourpy.contour_generator(z=part.astype(np.float32)).lines(0.5):
            yield self.to_picture(np.asarray(line) + np.array([left + 0.5, top + 0.5]))

    def _part(self, section: np.ndarray, margin: int, fill: float) -> tuple[np.ndarray, tuple[int, int]]:
        """The pixels under the frame and `margin` more on every side, and the place of the first of them."""
        rows, columns = section.shape
        left, right = int(np.floor(self.left)) - margin, int(np.ceil(self.right)) + margin
        top, bottom = int(np.floor(self.top)) - margin, int(np.ceil(self.bottom)) + margin
        part = np.full((bottom - top, right - left), fill, dtype=section.dtype)
        inside = np.s_[max(0, top) : min(rows, bottom), max(0, left) : min(columns, right)]
        seen = section[inside]
        if seen.size:
            first_row, first_column = inside[0].start - top, inside[1].start - left
            part[first_row : first_row + seen.shape[0], first_column : first_column + seen.shape[1]] = seen
        return part, (left, top)
