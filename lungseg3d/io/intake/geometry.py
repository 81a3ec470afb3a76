"""Slice positions and header matrices -> one affine, or the reason why there is none.

In: positions (N, 3) in LPS mm with one orientation; or a matrix from a file. Out: RAS affines. Knows no file format.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lungseg3d.core import GeometryError, Grid
from lungseg3d.io.intake.reading import Findings, refuse

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SAME_PLACE_MM = 0.01
"""Slices nearer than this along the normal are the same place."""
_POSITION_TOLERANCE_MM = 0.1
_SPACING_TOLERANCE = 0.05
_SPACING_LIMITS_MM = (0.02, 50.0)


def to_ras_mm(lps_mm: np.ndarray) -> np.ndarray:
    """Places (..., 3) as DICOM and ITK have them -> as everything outside this room has them."""
    return np.asarray(lps_mm, dtype=np.float64) * LPS_TO_RAS.diagonal()[:3]


@dataclass(frozen=True)
class Stack:
    """Where the slices of one volume lie.

    Attributes:
        affine: (column, row, slice) index -> RAS mm.
        slice_index: place of each given slice on that grid; whole numbers unless gaps are allowed.
        slices: number of slices of the grid.
        tilt_degrees: angle between the stacking direction and the slice normal; 0 when orthogonal.
        uneven_mm: largest distance of a slice from its place on the even grid.
        gaps: what is wrong with the spacing, for the record; empty when nothing is.
    """

    affine: np.ndarray
    slice_index: np.ndarray
    slices: int
    tilt_degrees: float
    uneven_mm: float
    gaps: str = ""


def slice_normal(orientation: np.ndarray) -> np.ndarray:
    """ImageOrientationPatient (6,) -> unit normal (3,), row direction x column direction."""
    normal = np.cross(orientation[:3], orientation[3:])
    unit_normal: np.ndarray = normal / np.linalg.norm(normal)
    return unit_normal


def orientation_name(orientation: tuple[float, ...] | None) -> str:
    """`axial`, `coronal`, `sagittal` or `oblique` (more than 30 degrees from all three)."""
    if orientation is None:
        return ""
    with np.errstate(invalid="ignore", divide="ignore"):
        normal = np.abs(slice_normal(np.array(orientation)))
    if not np.isfinite(normal).all() or normal.max() < np.cos(np.radians(30)):
        return "oblique"
    return ("sagittal", "coronal", "axial")[int(np.argmax(normal))]


def stack_slices(
    positions: np.ndarray, orientation: np.ndarray, spacing_mm: tuple[float, float], name: str, allow_gaps: bool
) -> Stack:
    """The grid of slices that are sorted along their normal, each place once.

    Args:
        positions: ImagePositionPatient of each slice, (N, 3), LPS mm, N >= 2.
        orientation: ImageOrientationPatient (6,), the same for all.
        spacing_mm: PixelSpacing: between rows, between columns.
        name: of the series, for messages.
        allow_gaps: lay uneven slices on an even grid of the usual spacing instead of refusing.

    Raises:
        IntakeError: E_MISSING_SLICES, E_NONUNIFORM_SPACING.
    """
    normal = slice_normal(orientation)
    heights = positions @ normal
    count = len(positions)
    steps = np.diff(heights)
    usual = float(np.median(steps))
    even_step = (positions[-1] - positions[0]) / (count - 1)
    off_grid = positions - (positions[0] + np.arange(count)[:, None] * even_step)
    uneven = float(np.linalg.norm(off_grid, axis=1).max())
    index = np.arange(count, dtype=float)
    gaps = ""
    if uneven > max(_POSITION_TOLERANCE_MM, _SPACING_TOLERANCE * usual):
        code, gaps = _gap_message(positions, steps)
        # What interpolation cannot mend is refused at once as what it is; the option is offered where it helps.
        filled = _even_grid(positions, heights, name)
        if not allow_gaps:
            remedy = "Export the series again[, or pass --allow-gaps to interpolate]."
            refuse(code, f"{name}: {gaps}", remedy)
        even_step, index, uneven = filled
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * spacing_mm[1]
    affine[:3, 1] = orientation[3:] * spacing_mm[0]
    affine[:3, 2] = even_step
    affine[:3, 3] = positions[0]
    cosine = float(even_step @ normal / np.linalg.norm(even_step))
    tilt = float(np.degrees(np.arccos(min(1.0, cosine))))
    affine = LPS_TO_RAS @ affine
    tilt = 0.0 if Grid((2, 2, 2), affine).is_orthogonal else tilt
    return Stack(affine, index, round(index[-1]) + 1, tilt, uneven, gaps)


def _even_grid(positions: np.ndarray, heights: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray, float]:
    """(step (3,), index of each slice with fractions, residual): the smallest usual step, end to end."""
    steps = np.diff(heights)
    usual = float(np.median(steps[steps <= np.median(steps) + SAME_PLACE_MM]))
    extent = heights[-1] - heights[0]
    intervals = max(1, round(extent / usual))
    step = (positions[-1] - positions[0]) / intervals
    index = (heights - heights[0]) * intervals / extent
    residual = float(np.linalg.norm(positions - (positions[0] + index[:, None] * step), axis=1).max())
    if residual > _POSITION_TOLERANCE_MM:
        refuse(
            "E_NONUNIFORM_SPACING",
            f"{name}: slices are shifted sideways by up to {residual:.2f} mm off one line{_jump(positions)}, so they "
            "form no grid.",
            "Export the series again.",
        )
    near = np.abs(index - np.rint(index)) < 0.02
    return step, np.where(near, np.rint(index), index), 0.0


def _jump(positions: np.ndarray) -> str:
    """Where slices leave their line most, between which two; empty where they drift."""
    steps = np.diff(positions, axis=0)
    usual = np.median(steps, axis=0)
    along = usual / np.linalg.norm(usual)
    aside = np.abs(steps - usual - np.outer((steps - usual) @ along, along))
    k, axis = np.unravel_index(int(np.argmax(aside)), aside.shape)
    if aside[k, axis] < _POSITION_TOLERANCE_MM:
        return ""
    return f", by {aside[k, axis]:.2f} mm along {'xyz'[axis]} between slices {k + 1} and {k + 2}"


def _gap_message(positions: np.ndarray, steps: np.ndarray) -> tuple[str, str]:
    """Missing slices, or uneven spacing?"""
    base = float(np.median(steps))
    multiples = np.rint(steps / base)
    wide = multiples >= 2
    tolerance = max(_POSITION_TOLERANCE_MM, _SPACING_TOLERANCE * base)
    on_multiples = bool(np.all(np.abs(steps - multiples * base) <= 2 * tolerance) and np.all(multiples >= 1))
    longest_run = max((len(run) for run in "".join("x" if w else " " for w in wide).split()), default=0)
    if on_multiples and 1 <= wide.sum() <= max(1, 0.25 * len(steps)) and longest_run < 3:
        missing = int((multiples[wide] - 1).sum())
        axis = int(np.argmax(np.abs(positions[-1] - positions[0])))
        places = [(positions[i] + positions[i + 1])[axis] / 2 for i in np.flatnonzero(wide)]
        shown = ", ".join(f"{place:.1f}" for place in places[:8])
        noun = "slice" if missing == 1 else "slices"
        first = int(np.flatnonzero(wide)[0])
        return "E_MISSING_SLICES", (
            f"{missing} {noun} missing near {'xyz'[axis]} = {shown} mm: slices {first + 1} and {first + 2} lie "
            f"{steps[first]:.2f} mm apart, the others {base:.2f} mm."
        )
    if steps.max() - steps.min() <= tolerance:
        return "E_NONUNIFORM_SPACING", "the slices do not lie on one line: they are shifted sideways."
    return "E_NONUNIFORM_SPACING", f"slice spacing from {steps.min():.2f} to {steps.max():.2f} mm."


def checked_affine(affine: np.ndarray, name: str) -> np.ndarray:
    """An affine from a file, if it can be one.

    Raises:
        IntakeError: E_BAD_AFFINE when singular, not finite, or with voxels beyond 0.02 to 50 mm.
    """
    remedy = "Write the file again from its source."
    try:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # NIfTI-2 has room for 1e300
            grid = Grid((1, 1, 1), affine)
            spacing = np.array(grid.spacing_mm)
    except GeometryError:
        rows = "; ".join(" ".join(f"{v:g}" for v in row) for row in np.asarray(affine)[:3])
        refuse("E_BAD_AFFINE", f"{name}: the voxel-to-world matrix cannot be inverted: {rows}.", remedy)
    low, high = _SPACING_LIMITS_MM
    if not ((low <= spacing) & (spacing <= high)).all():  # false for nan too
        text = " x ".join(f"{s:g}" for s in spacing)
        refuse("E_BAD_AFFINE", f"{name}: voxels of {text} mm; expected {low:g} to {high:g} mm.", remedy)
    if abs(np.linalg.det(grid.affine[:3, :3])) < 0.2 * spacing.prod():
        refuse("E_BAD_AFFINE", f"{name}: two voxel axes run almost in parallel.", remedy)
    return grid.affine


def assumed_affine(axes: str, spacing_mm: np.ndarray, name: str, findings: Findings) -> np.ndarray:
    """The RAS affine, with its origin at 0, of a file without orientation; warns W_ASSUMED_AXES.

    Args:
        axes: letters such as "RAS" or "LPS", see `ReadOptions.assume_axes`.
        spacing_mm: of the three axes.
        name: the file, for messages.
        findings: gets the warning.

    Raises:
        IntakeError: E_BAD_OPTION when the letters do not name three axes.
    """
    findings.warn("W_ASSUMED_AXES", f"{name}: axes taken as {axes}, as --assume-axes asks.")
    rows = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    letters = axes.upper()
    if len(letters) != 3 or not set(letters) <= set(rows) or len({rows[letter][0] for letter in letters}) != 3:
        refuse(
            "E_BAD_OPTION", f"--assume-axes {axes} does not name three axes.", "Pass three letters such as RAS or LPS."
        )
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for column, letter in enumerate(letters):
        row, sign = rows[letter]
        affine[row, column] = sign * spacing_mm[column]
    return checked_affine(affine, name)
