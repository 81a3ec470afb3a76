"""What the headers of one series must hold before its pixels are touched.

In: the slices of one series. Out: nothing, or a refusal with the file, what was found and what was expected.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lungseg3d.io.dicom.files import Scan
from lungseg3d.io.dicom_headers.records import DicomFile, Frame
from lungseg3d.io.dicom_pixels.decoders import DECODABLE, NATIVE
from lungseg3d.io.intake.limits import check_claim
from lungseg3d.io.intake.reading import ReadOptions, refuse, shown

_AGAIN = "Export the series again."
_SPACING_LIMITS_MM = (0.02, 10.0)

_Slice = tuple[DicomFile, Frame]


def check_files(slices: Sequence[_Slice], scan: Scan, options: ReadOptions) -> None:
    """CT, one study, one orientation, complete pixels, known encoding, HU.

    Raises:
        IntakeError: E_NOT_CT, E_MIXED_STUDIES, E_UNREADABLE_SLICE, E_MISSING_TAG, E_MIXED_ORIENTATION,
            E_MIXED_MATRIX, E_PIXEL_FORMAT, E_RESOURCE_LIMIT, E_TRANSFER_SYNTAX, E_BAD_HEADER, E_NOT_HOUNSFIELD,
            E_DERIVED_IMAGE.
    """
    root = scan.root
    files = list({id(file): file for file, _ in slices}.values())
    for file in files:
        if file.modality not in ("CT", "") or (file.pixels.samples or 1) != 1:
            kind = f"modality {file.modality}, {file.pixels.samples or 1} sample(s) per pixel"
            refuse("E_NOT_CT", f"{shown(file.path, root)}: {kind}, not a CT image.", "Give a CT series.")
    if len({file.study_uid for file in files}) > 1 or len({file.patient_hash for file in files}) > 1:
        refuse("E_MIXED_STUDIES", f"{shown(root)}: one series UID holds several studies or patients.", _AGAIN)
    folders = {file.path.parent for file in files}
    only_series = len({file.series_uid for file in scan.files if file.sop_class == files[0].sop_class}) == 1
    for path, error in scan.unreadable:
        if only_series or path.parent in folders:
            raise error
    for keyword in ("rows", "columns", "bits_allocated", "bits_stored", "high_bit", "signed"):
        title = {"signed": "PixelRepresentation"}.get(keyword, keyword.title().replace("_", ""))
        _need(title, files, lambda file, k=keyword: getattr(file.pixels, k), lambda file: file, scan)
    _need("PixelData", files, lambda file: file.pixels.keyword or None, lambda file: file, scan)
    # Another plane often has another matrix, too: the plane says more.
    with_direction = [s for s in slices if s[1].orientation is not None and np.isfinite(s[1].orientation).all()]
    _check_same("E_MIXED_ORIENTATION", "orientation", with_direction, lambda s: _rounded(s[1].orientation, 3), scan)
    _check_same("E_MIXED_MATRIX", "matrix", slices, lambda s: (s[0].pixels.columns or 0, s[0].pixels.rows or 0), scan)
    per_slice = sum(len(file.frames) for file in files)
    first = files[0].pixels
    if min(first.columns or 0, first.rows or 0) < 2:
        found = f"a matrix of {first.columns} columns and {first.rows} rows"
        refuse("E_BAD_HEADER", f"{shown(files[0].path, root)}: {found}; expected at least 2 of each.", _AGAIN)
    packed = None if any(file.transfer_syntax in NATIVE for file in files) else sum(file.place.size() for file in files)
    check_claim(shown(root), (first.columns or 0, first.rows or 0, per_slice), 2, packed)
    for file in files:
        _check_pixels(file, scan)
    for file, frame in slices:
        _check_rescale(file, frame, scan, options)
    if options.strict and any(frame.image_type[:1] == ("DERIVED",) for _, frame in slices):
        refuse("E_DERIVED_IMAGE", f"{shown(root)}: derived images, and --strict is set.", "Give the original series.")


def _check_pixels(file: DicomFile, scan: Scan) -> None:
    pixels, name = file.pixels, shown(file.path, scan.root)
    if pixels.keyword != "PixelData" or pixels.bits_allocated not in (8, 16, 32):
        found = f"{pixels.keyword} with {pixels.bits_allocated} bits"
        refuse("E_PIXEL_FORMAT", f"{name}: {found}; a CT has integer pixels of 16 bits.", _AGAIN)
    if not 1 <= (pixels.bits_stored or 0) <= pixels.bits_allocated or pixels.high_bit != (pixels.bits_stored or 0) - 1:
        found = f"BitsStored {pixels.bits_stored}, HighBit {pixels.high_bit}, BitsAllocated {pixels.bits_allocated}"
        refuse("E_BITS_STORED", f"{name}: {found} do not fit each other.", _AGAIN)
    if pixels.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        refuse("E_NOT_CT", f"{name}: photometric interpretation {pixels.photometric or 'absent'}.", "Give a CT series.")
    if file.transfer_syntax not in DECODABLE:
        refuse(
            "E_TRANSFER_SYNTAX",
            f"{name}: transfer syntax {file.transfer_syntax} cannot be decoded.",
            "Convert the series to explicit VR little endian (for example with dcmtk or gdcmconv --raw).",
        )
    frames = max(len(file.frames), pixels.number_of_frames)
    check_claim(name, (pixels.columns or 0, pixels.rows or 0, frames), pixels.bits_allocated // 8)
    if pixels.number_of_frames != len(file.frames):
        refuse(
            "E_MISSING_TAG",
            f"{name}: {pixels.number_of_frames} frames, but the position of {len(file.frames)}.",
            "Export the series as enhanced CT, or one file per slice.",
        )
    if file.transfer_syntax in NATIVE and pixels.length is not None:
        _check_length(file, name)


def _check_length(file: DicomFile, name: str) -> None:
    pixels = file.pixels
    expected = (pixels.rows or 0) * (pixels.columns or 0) * pixels.number_of_frames * (pixels.bits_allocated or 0) // 8
    found = pixels.length or 0
    if not file.place.deflated:
        found = min(found, file.place.size() - pixels.offset)
    if found < expected:
        refuse(
            "E_UNREADABLE_SLICE",
            f"{name}: expected {expected} bytes of pixels, got {max(found, 0)}.",
            "Copy or export the series again.",
        )


def _check_rescale(file: DicomFile, frame: Frame, scan: Scan, options: ReadOptions) -> None:
    name = shown(file.path, scan.root)
    if (frame.slope is None or frame.intercept is None) and not options.assume_hu:
        refuse(
            "E_MISSING_TAG",
            f"{name}: RescaleSlope and RescaleIntercept are absent, so the values are not known to be HU.",
            "Export the series again[, or pass --assume-hu when you know that the stored values are HU].",
        )
    for value in (frame.slope, frame.intercept):
        if (value is not None and not math.isfinite(value)) or frame.slope == 0:
            refuse("E_BAD_HEADER", f"{name}: RescaleSlope {frame.slope}, RescaleIntercept {frame.intercept}.", _AGAIN)
    if frame.rescale_type.upper() not in ("", "HU", "US", "HU_MOD"):
        refuse("E_NOT_HOUNSFIELD", f"{name}: RescaleType {frame.rescale_type}, expected HU.", "Give a series in HU.")


def check_geometry_tags(slices: Sequence[_Slice], scan: Scan) -> np.ndarray:
    """Orientation, one pixel spacing for all slices, and a position for each.

    Returns:
        ImageOrientationPatient (6,), unit vectors.

    Raises:
        IntakeError: E_MISSING_TAG, E_MIXED_SPACING, E_BAD_HEADER.
    """
    fields = {
        "ImagePositionPatient": "position_mm",
        "ImageOrientationPatient": "orientation",
        "PixelSpacing": "pixel_spacing_mm",
    }
    for title, attribute in fields.items():
        _need(title, slices, lambda s, a=attribute: getattr(s[1], a), lambda s: s[0], scan)
        for file, frame in slices:
            values = getattr(frame, attribute)
            if not np.isfinite(values).all():
                refuse("E_BAD_HEADER", f"{shown(file.path, scan.root)}: {title} {values}.", _AGAIN)
    _check_same("E_MIXED_SPACING", "pixel spacing", slices, lambda s: _rounded(s[1].pixel_spacing_mm, 4), scan)
    file, frame = slices[0]
    name = shown(file.path, scan.root)
    orientation, spacing = np.array(frame.orientation), frame.pixel_spacing_mm or (0, 0)
    row, column = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if abs(lengths[0] - 1) > 0.01 or abs(lengths[1] - 1) > 0.01 or abs(row @ column) > 0.01:
        refuse("E_BAD_HEADER", f"{name}: ImageOrientationPatient {frame.orientation} is no pair of directions.", _AGAIN)
    if min(spacing) < _SPACING_LIMITS_MM[0] or max(spacing) > _SPACING_LIMITS_MM[1]:
        refuse("E_BAD_HEADER", f"{name}: PixelSpacing {spacing} mm; expected 0.02 to 10 mm.", _AGAIN)
    return np.concatenate([row / lengths[0], column / lengths[1]])


def _need(
    title: str, items: Sequence[Any], value: Callable[..., Any], file_of: Callable[..., DicomFile], scan: Scan
) -> None:
    lacking = [item for item in items if value(item) is None]
    if lacking:
        name = shown(file_of(lacking[0]).path, scan.root)
        found = f"{title} is absent or empty in {len(lacking)}/{len(items)} slices, as in {name}."
        refuse("E_MISSING_TAG", found, _AGAIN)


def _rounded(values: Sequence[float] | None, digits: int) -> tuple[float, ...]:
    return tuple(round(v, digits) + 0.0 for v in values or ())


def _text(values: tuple[float, ...]) -> str:
    return " ".join(f"{v:g}" for v in values)


def _check_same(
    code: str, what: str, slices: Sequence[_Slice], key: Callable[[_Slice], tuple[float, ...]], scan: Scan
) -> None:
    counts = Counter(key(s) for s in slices)
    if len(counts) <= 1:
        return
    usual = counts.most_common(1)[0][0]
    odd = [s for s in slices if key(s) != usual]
    if what == "orientation" and all(np.abs(np.subtract(key(s), usual)).max() < 0.0025 for s in odd):
        return  # the same direction, rounded to two sides
    if what == "pixel spacing" and all(np.abs(np.subtract(key(s), usual)).max() < 0.00025 for s in odd):
        return
    refuse(
        code,
        f"{shown(odd[0][0].path, scan.root)} has {what} {_text(key(odd[0]))}, "
        f"{counts[usual]} of {len(slices)} slices have {_text(usual)}.",
        "Give a folder with one reconstruction, or export the series again.",
    )
