"""A folder (or zip, or enhanced file) of DICOM -> one CT in HU.

In: a path. Out: `Reading`. The order of work: scan headers, choose a series, decode into one array, check the values.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from lungseg3d.core import IntakeError, Volume
from lungseg3d.io.dicom.files import Scan, scan_dicom
from lungseg3d.io.dicom.series import CT_CLASSES, choose_series
from lungseg3d.io.dicom.series_choice import SeriesPlan, Slice
from lungseg3d.io.dicom.series_identity import find_oddities
from lungseg3d.io.dicom_headers.kernels import is_lung_kernel
from lungseg3d.io.dicom_headers.records import DicomFile
from lungseg3d.io.dicom_headers.texts import IDENTIFIERS, mend_texts
from lungseg3d.io.dicom_pixels.decoders import ALWAYS_LOSSY
from lungseg3d.io.dicom_pixels.pixels import VolumePlane, read_planes
from lungseg3d.io.intake.geometry import Stack
from lungseg3d.io.intake.hounsfield import finish_hounsfield
from lungseg3d.io.intake.limits import check_memory
from lungseg3d.io.intake.links import LINK_CODES, link_rule, links_text
from lungseg3d.io.intake.reading import Findings, Reading, ReadOptions, refuse, shown

_THICK_MM = 5.0
_SHORT_MM = 99.9  # a whole 100 mm, and what decimal strings round off


def read_dicom(path: Path, options: ReadOptions, findings: Findings) -> Reading:
    """Read the CT series under `path`: a folder, a zip, or one multi-frame file.

    Raises:
        IntakeError: everything that the catalogue of `lungseg3d.core.codes` lists for DICOM.
    """
    with warnings.catch_warnings():
        # pydicom warns with full paths, and what matters of it ends in a code here.
        warnings.simplefilter("ignore")
        return _read(path, options, findings)


def _read(path: Path, options: ReadOptions, findings: Findings) -> Reading:
    scan = scan_dicom(path, link_rule(path, options))
    if options.study is not None:
        scan = scan.of_study(options.study)
    outside = [link for link in scan.left if link.why == "outside"]
    if not outside:
        return _read_scan(scan, path, options, findings)
    found, remedy = links_text(outside, path)
    if any(file.sop_class in CT_CLASSES for file in scan.files):
        findings.warn("W_LINK_NOT_FOLLOWED", f"{found}.", remedy)
    try:
        return _read_scan(scan, path, options, findings)
    except IntakeError as error:  # slices may be missing because they are links
        if error.code in LINK_CODES:
            raise
        raise IntakeError(error.code, error.message, f"{error.remedy_template} Or: {found}. {remedy}") from error


def _read_scan(scan: Scan, path: Path, options: ReadOptions, findings: Findings) -> Reading:
    plan = choose_series(scan, options, findings)
    stack = plan.stack
    assert stack is not None
    if options.assume_hu:
        plan = _with_assumed_hu(plan, findings)
    first = plan.slices[0][0].pixels
    # Its files are decoded one by one.
    check_memory(shown(path), (first.columns or 0, first.rows or 0, stack.slices), 0, options)
    # (slice, row, column) in memory, handed out as (column, row, slice): X, Y, Z without a copy.
    array = np.empty((len(plan.slices), first.rows or 0, first.columns or 0), np.int16)
    planes = [VolumePlane(file, frame, k) for k, (file, frame) in enumerate(plan.slices)]
    facts = read_planes(planes, array)
    _check_repeats(plan, array, scan, findings)
    if facts.overlays:
        found = f"overlays that the header declares lie in the bits above BitsStored of {facts.overlays} slices"
        findings.warn("W_HIGH_BITS_SET", f"{found} and are cut out; the image below them is whole.")
    if facts.high_bits:
        findings.warn("W_HIGH_BITS_SET", f"bits above BitsStored were set in {facts.high_bits} slices and are cut.")
    if facts.unusual_padding:
        findings.warn(
            "W_PADDING_VALUE",
            f"PixelPaddingValue means tissue in {facts.unusual_padding} slices; used around the image only.",
        )
    finish_hounsfield(array, shown(path), findings, options, declared=True)
    if stack.gaps:
        array = _fill_gaps(array, stack)
        findings.warn("W_GAPS_FILLED", f"{stack.gaps} Filled by interpolation, as --allow-gaps asks.")
    _warn_of_headers(plan, scan, findings)
    volume = Volume(array.transpose(2, 1, 0), stack.affine)
    files = tuple(file.path for file, _ in plan.slices)
    return Reading(volume, tuple(findings.issues), _source(plan, scan), files)


def _with_assumed_hu(plan: SeriesPlan, findings: Findings) -> SeriesPlan:
    lacking = sum(frame.slope is None or frame.intercept is None for _, frame in plan.slices)
    if not lacking:
        return plan
    findings.warn("W_ASSUMED_HU", f"no rescale tags in {lacking} slices; stored values taken as HU (--assume-hu).")

    def assumed(item: Slice) -> Slice:
        file, frame = item
        if frame.slope is None or frame.intercept is None:
            return file, replace(frame, slope=1.0, intercept=0.0)
        return item

    repeats = tuple((place, assumed(item)) for place, item in plan.repeats)
    return replace(plan, slices=tuple(assumed(item) for item in plan.slices), repeats=repeats)


def _check_repeats(plan: SeriesPlan, array: np.ndarray, scan: Scan, findings: Findings) -> None:
    """Slices at one place must hold one image."""
    for place, (file, frame) in plan.repeats:
        kept_file, kept_frame = plan.slices[place]
        twin = np.empty((1, *array.shape[1:]), np.int16)
        read_planes([VolumePlane(file, frame, 0)], twin)
        aside = np.abs(np.array(frame.position_mm) - np.array(kept_frame.position_mm)).max()
        if aside > 0.1 or not np.array_equal(twin[0], array[place]):
            acquisitions = sorted({f.about["acquisition"] for f in (file, kept_file)} - {""})
            extra = f" Acquisition numbers: {', '.join(acquisitions)}." if len(acquisitions) > 1 else ""
            refuse(
                "E_DUPLICATE_CONFLICT",
                f"{shown(kept_file.path, scan.root)} and {shown(file.path, scan.root)} lie at one position with "
                f"different pixels ({len(plan.repeats)} repeated slices in all): two phases or reconstructions?{extra}",
                "Give one phase and one reconstruction per folder.",
            )
    if plan.repeats:
        findings.warn("W_DUPLICATE_DROPPED", f"{len(plan.repeats)} repeated slices with equal pixels left out.")


def _fill_gaps(array: np.ndarray, stack: Stack) -> np.ndarray:
    """Slices at fractional places -> every whole place, linear between the nearest two."""
    filled = np.empty((stack.slices, *array.shape[1:]), np.int16)
    for k in range(stack.slices):
        above = min(int(np.searchsorted(stack.slice_index, k)), len(array) - 1)
        below = max(above - 1, 0)
        width = stack.slice_index[above] - stack.slice_index[below]
        share = 1.0 if width == 0 else float(np.clip((k - stack.slice_index[below]) / width, 0, 1))
        filled[k] = np.rint((1 - share) * array[below] + share * array[above])
    return filled


def _warn_of_headers(plan: SeriesPlan, scan: Scan, findings: Findings) -> None:
    assert plan.stack is not None
    stack, slices = plan.stack, plan.slices
    files = [file for file, _ in slices]
    step = float(np.linalg.norm(stack.affine[:3, 2]))
    thickness = slices[0][1].thickness_mm or None
    if stack.tilt_degrees:
        findings.warn("W_GANTRY_TILT", f"slices are stacked {stack.tilt_degrees:.1f} degrees off their normal.")
    if stack.uneven_mm > 0.1:
        findings.warn("W_UNEVEN_SPACING", f"slices lie up to {stack.uneven_mm:.2f} mm off an even grid.")
    if (thickness or step) > _THICK_MM:
        findings.warn("W_THICK_SLICES", f"slices of {thickness or step:g} mm blur small nodules.")
    if thickness and thickness < step / 2:
        findings.warn("W_SPARSE_COVERAGE", f"slices of {thickness:g} mm every {step:.2f} mm leave gaps between them.")
    if stack.slices * step < _SHORT_MM:
        findings.warn("W_SHORT_COVERAGE", f"the series covers {stack.slices * step:.0f} mm, less than any lung.")
    lossy = [file for file in files if file.about["lossy"] or file.transfer_syntax in ALWAYS_LOSSY]
    if lossy:
        ratio = lossy[0].about["lossy_ratio"] or "unknown"
        findings.warn("W_LOSSY_SOURCE", f"{len(lossy)} slices were compressed with loss, ratio {ratio}.")
    if any(frame.image_type[:1] == ("DERIVED",) for _, frame in slices):
        findings.warn("W_DERIVED_IMAGE", f"derived images ({'/'.join(slices[0][1].image_type)}), not from the scanner.")
    bare = sum(not file.has_preamble for file in files)
    if bare:
        findings.warn("W_NO_PREAMBLE", f"{bare} files lack the DICOM preamble.")
    _warn_of_identity(files, findings)
    position = files[0].about["patient_position"]
    if position and not position.endswith("S"):
        findings.warn("W_PATIENT_POSITION", f"patient position {position}; the networks learned from supine patients.")


def _warn_of_identity(files: Sequence[DicomFile], findings: Findings) -> None:
    """What DICOM objects of the series would come to grief on, said now and not after hours of work."""
    ordered = list({id(file): file for file in files}.values())
    tags = ["SpecificCharacterSet", *IDENTIFIERS]
    try:
        with ordered[0].place.open() as stream:
            header = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=tags)
            texts = mend_texts(header)
    except Exception as error:  # a damaged header can make pydicom raise anything, and the image needs none of it
        what = f"the identifiers of the first slice cannot be parsed ({type(error).__name__}), so that there may be"
        findings.warn("W_INVALID_VALUE", f"{what} no SEG or SR.", "Export the series again if you need them.")
        texts = ()
    for oddity in find_oddities(ordered, texts):
        findings.warn(oddity.issue.code, oddity.issue.message, oddity.issue.remedy)


def _source(plan: SeriesPlan, scan: Scan) -> dict[str, Any]:
    """What the record of the result says about where it came from."""
    files: Sequence[DicomFile] = [file for file, _ in plan.slices]
    frame, about = plan.slices[0][1], files[0].about
    others = Counter(file.modality or "?" for file in scan.files if file.series_uid != plan.uid)
    return {
        "format": "DICOM",
        "series_sha256": hashlib.sha256(plan.uid.encode()).hexdigest()[:16],
        "slices": len(plan.slices),
        "multi_frame": len({id(file) for file in files}) < len(files),
        "transfer_syntaxes": sorted({file.transfer_syntax for file in files}),
        "manufacturer": about["manufacturer"],
        "model": about["model"],
        "kvp": about["kvp"],
        "kernel": about["kernel"],
        "lung_kernel": is_lung_kernel(about["kernel"]),
        "slice_thickness_mm": frame.thickness_mm,
        "patient_position": about["patient_position"],
        "image_type": list(frame.image_type),
        "other_objects": dict(sorted(others.items())),
        "ignored_files": scan.ignored,
    }
