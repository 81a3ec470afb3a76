"""`Volume` -> NIfTI on the volume's own grid, the same bytes every time.

In: a CT or a label map. Out: one .nii.gz (or .nii), complete or not there. Knows no DICOM.
"""

from __future__ import annotations

import io
from pathlib import Path

import nibabel
import numpy as np

from lungseg3d.core import OutputError, Volume
from lungseg3d.io.storage.files import writing
from lungseg3d.io.storage.packing import write_gzip

MAP_STEPS = 250
"""A map is stored as whole numbers of which these many are 1; readers of NIfTI divide by themselves."""


def write_volume(path: Path | str, volume: Volume) -> None:
    """Write a CT as int16 HU.

    Raises:
        OutputError: E_WRITE, E_NO_SPACE; E_OUTPUT_TYPE when the array is not int16 or the ending not .nii or .nii.gz.
    """
    if volume.array.dtype != np.int16:
        raise OutputError("E_OUTPUT_TYPE", f"{path}: a CT is written as int16 HU, this array is {volume.array.dtype}.")
    _write(Path(path), volume, volume.array)


def write_labels(path: Path | str, volume: Volume) -> None:
    """Write a mask or a label map as uint8, or uint16 where values above 255 occur.

    Raises:
        OutputError: E_WRITE, E_NO_SPACE; E_OUTPUT_TYPE when the array holds no labels (floats, negative, above 65535).
    """
    array = volume.array
    if array.dtype not in (np.uint8, np.uint16):
        if array.dtype.kind not in "biu" or (array.size and (array.min() < 0 or array.max() > 65535)):
            raise OutputError("E_OUTPUT_TYPE", f"{path}: labels are whole numbers from 0 to 65535, not {array.dtype}.")
        array = array.astype(np.uint8 if not array.size or array.max() <= 255 else np.uint16)
    _write(Path(path), volume, array)


def write_map(path: Path | str, volume: Volume) -> None:
    """Write values from 0 to 1, such as an uncertainty, given as uint8 in steps of 1 / `MAP_STEPS`.

    The file holds the steps and their size (`scl_slope`), a quarter of what floats take.

    Raises:
        OutputError: E_WRITE, E_NO_SPACE; E_OUTPUT_TYPE when the array is not uint8 or beyond 1.
    """
    if volume.array.dtype != np.uint8 or volume.array.max(initial=0) > MAP_STEPS:
        raise OutputError("E_OUTPUT_TYPE", f"{path}: a map is uint8 from 0 to {MAP_STEPS}, not {volume.array.dtype}.")
    _write(Path(path), volume, volume.array, slope=1 / MAP_STEPS)


def _write(path: Path, volume: Volume, array: np.ndarray, slope: float = 1.0) -> None:
    if not path.name.endswith((".nii", ".nii.gz")):
        raise OutputError("E_OUTPUT_TYPE", f"{path}: the ending is not known.", "Name it .nii.gz or .nii.")
    image = nibabel.Nifti1Image(array, volume.affine)
    image.header.set_slope_inter(slope, 0)
    image.header.set_xyzt_units("mm")
    image.set_sform(volume.affine, code=1)
    # A qform cannot hold a shear; then it is left out rather than wrong.
    image.set_qform(volume.affine, code=1 if volume.grid.is_orthogonal else 0)
    image.update_header()
    header = io.BytesIO()
    image.header.write_to(header)
    with writing(path) as file:
        if path.name.endswith(".gz"):
            write_gzip(file, header.getvalue(), array)
        else:
            image.to_stream(file)  # type: ignore[arg-type]
