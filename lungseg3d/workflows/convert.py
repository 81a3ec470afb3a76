"""`convert`: exactly what the reader read, in HU, as one image file.

In: whatever `open_ct` reads. Out: .nii.gz, .nii, .nrrd or .mha, complete or not there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lungseg3d.core import IntakeError, OutputError, Volume
from lungseg3d.io import Reading, ReadOptions, open_ct, placing, read_volume, write_volume

_NIFTI = (".nii.gz", ".nii")
_BY_SIMPLEITK = (".nrrd", ".mha")
_LPS = np.array([-1.0, -1.0, 1.0])


def convert(
    source: Path | str,
    target: Path | str,
    options: ReadOptions = ReadOptions(),  # noqa: B008 - frozen
    *,
    overwrite: bool = False,
) -> Reading:
    """Read a CT and write it as int16 HU on its own grid.

    Args:
        source: DICOM folder or zip, NIfTI, NRRD, MetaImage.
        target: file to write; its ending chooses the format: .nii.gz, .nii, .nrrd, .mha.
        options: as for reading.
        overwrite: replace `target` when it is there.

    Returns:
        The reading, with its issues.

    Raises:
        IntakeError: the source is refused.
        OutputError: E_OUTPUT_TYPE, E_OUTPUT_EXISTS, E_WRITE, E_NO_SPACE.
    """
    target = Path(target)
    name = target.name.lower()
    if not name.endswith(_NIFTI + _BY_SIMPLEITK):
        known = ", ".join(_NIFTI + _BY_SIMPLEITK)
        raise OutputError("E_OUTPUT_TYPE", f"{target}: the ending is not known.", f"Known: {known}")
    if target.exists() and not overwrite:
        raise OutputError("E_OUTPUT_EXISTS", f"{target}: is there already.", "Pass --overwrite to replace it.")
    if not target.absolute().parent.is_dir():
        raise OutputError("E_WRITE", f"{target}: its folder does not exist.", "Create the folder first.")
    reading = open_ct(source, options)
    if name.endswith(_NIFTI):
        write_volume(target, reading.volume)
    else:
        _write_by_simpleitk(target, reading.volume)
    return reading


def _write_by_simpleitk(target: Path, volume: Volume) -> None:
    """NRRD and MetaImage, whose world is LPS."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(volume.array.T)
    spacing = np.array(volume.spacing_mm)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin((_LPS * volume.affine[:3, 3]).tolist())
    image.SetDirection((_LPS[:, None] * volume.affine[:3, :3] / spacing).ravel().tolist())
    with placing(target) as temporary:
        try:
            SimpleITK.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:  # ITK says no more about a full disk or a lost folder
            raise OSError(None, "SimpleITK cannot write it") from error
        # ITK has been seen to write half a file to a full disk without a word.
        try:
            whole = np.array_equal(read_volume(temporary).array, volume.array)
        except IntakeError as error:
            raise OSError(None, "SimpleITK left half of it") from error
        if not whole:
            raise OSError(None, "SimpleITK wrote other values")
