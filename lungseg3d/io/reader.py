"""The one reader: a path -> a CT in HU, a label map, or the reasons against it.

In: a DICOM series folder, zip or enhanced file, NIfTI, NRRD, MetaImage. Out: `Reading`, `Volume`, `Inspection`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lungseg3d.core import Grid, IntakeError, LungSegError, QualityIssue, Volume
from lungseg3d.core.remedies import remedy_text
from lungseg3d.io.decoding.client import is_apart, read_apart
from lungseg3d.io.dicom.read import read_dicom
from lungseg3d.io.images.metaimage import read_metaimage
from lungseg3d.io.images.nifti import read_nifti
from lungseg3d.io.images.nrrd import read_nrrd
from lungseg3d.io.intake.checksums import check_listed, check_sums
from lungseg3d.io.intake.hounsfield import finish_hounsfield, to_int16
from lungseg3d.io.intake.links import LINK_CODES, check_link
from lungseg3d.io.intake.raster import Raster
from lungseg3d.io.intake.reading import Findings, Inspection, Reading, ReadOptions, SeriesInfo, refuse, shown
from lungseg3d.io.intake.sniff import sniff_format

_THICK_MM = 5.0
_WHOLE_WITHIN = 1.02e-3
"""Float32 header slopes such as 1/255, and programs that save labels as float32, miss whole numbers by 0.001 at most;
the rest is what float32 itself cannot tell at 255."""


def open_ct(path: Path | str, options: ReadOptions = ReadOptions()) -> Reading:  # noqa: B008 - frozen
    """Read a CT strictly: what cannot be read rightly is refused.

    Raises:
        IntakeError: with a code of `lungseg3d.core.codes`.
    """
    if is_apart(options):
        reading: Reading = read_apart("open_ct", Path(path), options)
        return reading
    return _open(Path(path), options, Findings())


def read_volume(path: Path | str, options: ReadOptions = ReadOptions()) -> Volume:  # noqa: B008 - frozen
    """The volume of `open_ct`: int16 HU, RAS affine in mm.

    Raises:
        IntakeError: as `open_ct`.
    """
    return open_ct(path, options).volume


def inspect(path: Path | str, options: ReadOptions = ReadOptions()) -> Inspection:  # noqa: B008 - frozen
    """Read a CT as `open_ct` does, and tell everything that was found, refused or not."""
    findings = Findings()
    try:
        if is_apart(options):
            inspection: Inspection = read_apart("inspect", Path(path), options)
            return inspection
        reading = _open(Path(path), options, findings)
    except LungSegError as error:
        issues = (*findings.issues, QualityIssue.of(error))
        return Inspection(tuple(findings.series), None, findings.reason, "refused", issues)
    status = "warn" if findings.issues else "ok"
    series, chosen = tuple(findings.series), findings.chosen
    return Inspection(series, chosen, findings.reason, status, tuple(findings.issues), reading.source)


def read_labels(path: Path | str, options: ReadOptions = ReadOptions()) -> Volume:  # noqa: B008 - frozen
    """A label map from NIfTI, NRRD or MetaImage: uint8, uint16 or int16, the narrowest that holds the values.

    Values that are whole to within 0.001 are rounded: 255 with a float32 slope of 1/255 is 1.00000006.

    Args:
        path: of the file.
        options: `decode` and those of links count, and nothing else.

    Raises:
        IntakeError: E_LABEL_VALUES for values that are not whole or do not fit, else as `open_ct`.
    """
    path = Path(path)
    if is_apart(options):
        labels: Volume = read_apart("read_labels", path, options)
        return labels
    findings = Findings()
    _check_there(path, options)
    if path.is_dir():
        refuse("E_NOT_AN_IMAGE", f"{shown(path)}: a folder; a label map is one file.", "Give .nii.gz, .nrrd or .mha.")
    linked = ReadOptions(follow_links=options.follow_links, links_within=options.links_within)
    try:
        raster = _read_raster(path, sniff_format(path, findings), linked, findings)
    except IntakeError as error:
        # Label maps are read without options but those of links, whatever the verb has for its CT.
        if error.code in LINK_CODES:
            raise
        raise IntakeError(error.code, error.message, remedy_text(error.remedy_template, options=())) from error
    array = raster.array
    if (raster.slope, raster.intercept) != (1.0, 0.0):
        array = array * raster.slope + raster.intercept
    if array.dtype.kind == "f":
        array = _whole(array, path)
    low, high = array.min(), array.max()
    for dtype in (np.uint8, np.uint16, np.int16):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return Volume(array.astype(dtype), raster.affine)
    refuse("E_LABEL_VALUES", f"{shown(path)}: values {low:g}..{high:g} are no labels.", "Give a label map.")


def _whole(array: np.ndarray, path: Path) -> np.ndarray:
    """Float values rounded to the whole numbers that they stand for.

    Raises:
        IntakeError: E_LABEL_VALUES where one of them is further than 0.001 from any, or not finite.
    """
    rounded: np.ndarray = np.rint(array)
    with np.errstate(invalid="ignore"):
        is_apart = ~(np.abs(array - rounded) <= _WHOLE_WITHIN)
    if is_apart.any():
        example = float(array[is_apart][0])
        found = f"{int(is_apart.sum())} values that are not whole numbers, such as {example:g}"
        refuse("E_LABEL_VALUES", f"{shown(path)}: {found}.", "Give a label map, not probabilities.")
    return rounded


def _open(path: Path, options: ReadOptions, findings: Findings) -> Reading:
    _check_there(path, options)
    if options.verify_manifest is None:
        return _read(path, options, findings)
    listed = check_sums(path, options.verify_manifest)
    reading = _read(path, options, findings)
    check_listed(reading.files, listed, path, options.verify_manifest)
    return reading


def _read(path: Path, options: ReadOptions, findings: Findings) -> Reading:
    if path.is_dir():
        return read_dicom(path, options, findings)
    kind = sniff_format(path, findings)
    if kind == "zip":
        return read_dicom(path, options, findings)
    if kind == "dicom":
        try:
            return read_dicom(path, options, findings)
        except IntakeError as error:
            if error.code != "E_TOO_FEW_SLICES":
                raise
            refuse(
                "E_TOO_FEW_SLICES",
                f"{shown(path)}: a single DICOM slice.",
                "Give the folder that holds the series; all slices of it are found by their headers.",
            )
    return _read_image(path, kind, options, findings)


def _check_there(path: Path, options: ReadOptions) -> None:
    check_link(path, options)
    if not path.exists():
        refuse("E_NOT_FOUND", f"{shown(path)}: there is no such file or folder.", "Check the path.")
    if not path.is_dir() and not path.is_file():
        refuse("E_NOT_AN_IMAGE", f"{shown(path)}: neither a file nor a folder.", "Check the path.")
    try:
        if path.is_file():
            path.open("rb").close()
    except OSError as error:
        refuse("E_NOT_FOUND", f"{shown(path)}: cannot be opened ({error.strerror}).", "Check its permissions.")


def _read_raster(path: Path, kind: str, options: ReadOptions, findings: Findings) -> Raster:
    try:
        if kind == "nrrd":
            return read_nrrd(path, options, findings)
        if kind == "metaimage":
            return read_metaimage(path, options, findings)
        if kind in ("nifti", "nifti.gz"):
            return read_nifti(path, kind == "nifti.gz", options, findings)
    except (ValueError, OverflowError) as error:  # a number in the header that is none, or has no end
        refuse("E_BAD_HEADER", f"{shown(path)}: {error}.", "Write the file again from its source.")
    refuse("E_NOT_AN_IMAGE", f"{shown(path)}: {kind} holds no label map here.", "Give .nii.gz, .nrrd or .mha.")


def _read_image(path: Path, kind: str, options: ReadOptions, findings: Findings) -> Reading:
    raster = _read_raster(path, kind, options, findings)
    up_axis = Grid((2, 2, 2), raster.affine).ras_axes[0][2]
    array = to_int16(raster.array, raster.slope, raster.intercept, shown(path), findings, up_axis)
    finish_hounsfield(array, shown(path), findings, options)
    volume = Volume(array, raster.affine)
    x, y, z = volume.shape
    findings.series = [SeriesInfo("", "", z, x, y, volume.spacing_mm, _orientation(volume))]
    findings.chosen, findings.reason = "", "one image file"
    if not volume.grid.is_orthogonal:
        findings.warn("W_GANTRY_TILT", f"{shown(path)}: the voxel axes are not at right angles (sheared).")
    if max(volume.spacing_mm) > _THICK_MM:
        findings.warn("W_THICK_SLICES", f"voxels of {max(volume.spacing_mm):g} mm blur small nodules.")
    return Reading(volume, tuple(findings.issues), {**raster.about, "slices": z}, (path,))


def _orientation(volume: Volume) -> str:
    slice_axis_in_ras = volume.grid.ras_axes[0].index(2)
    return ("sagittal", "coronal", "axial")[slice_axis_in_ras]
