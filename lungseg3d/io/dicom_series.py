"""Headers -> series -> the one that is read -> its slices in order, each place once.

In: a `Scan`. Out: `SeriesPlan`, the slices of the chosen series with their geometry. Decodes no pixels.

The rule of choice, in this order: no problem in the headers; original before derived; at least half as long as the
longest; thinnest (the larger of slice distance and thickness); most slices; axial; lung kernel last; UID.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from lungseg3d.core import IntakeError
from lungseg3d.io.dicom_absent import refuse_no_ct, refuse_split
from lungseg3d.io.dicom_checks import check_files, check_geometry_tags
from lungseg3d.io.dicom_files import Scan
from lungseg3d.io.dicom_records import DicomFile, Frame
from lungseg3d.io.geometry import SAME_PLACE_MM, Stack, orientation_name, slice_normal, stack_slices
from lungseg3d.io.kernels import is_lung_kernel
from lungseg3d.io.links import links_error
from lungseg3d.io.reading import Findings, ReadOptions, SeriesInfo, refuse, shown

CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
}

Slice = tuple[DicomFile, Frame]


@dataclass(frozen=True)
class SeriesPlan:
    """One series, ready to be decoded.

    Attributes:
        uid: SeriesInstanceUID.
        slices: file and frame of each place, sorted along the normal.
        repeats: (place, slice) of further slices at a place; their pixels must be equal.
        localizers: number of scouts left out.
        stack: geometry; None when `problem` is set.
        problem: why it cannot be read; None when the headers forbid nothing.
    """

    uid: str
    slices: tuple[Slice, ...]
    repeats: tuple[tuple[int, Slice], ...]
    localizers: int
    stack: Stack | None
    problem: IntakeError | None


def choose_series(scan: Scan, options: ReadOptions, findings: Findings) -> SeriesPlan:
    """The series to read, by the rule of the module or by `options.series`.

    Raises:
        IntakeError: E_NO_DICOM, E_NOT_CT, E_MIXED_STUDIES, E_SERIES_NOT_FOUND, or why the best series cannot be read.
    """
    groups = _ct_series(scan)
    plans = [_plan(uid, files, scan, options) for uid, files in sorted(groups.items())]
    findings.series = [_info(plan, groups[plan.uid]) for plan in plans]
    scouts = [plan for plan in plans if not plan.slices and plan.localizers]
    candidates = [plan for plan in plans if plan not in scouts]
    if not candidates:
        refuse("E_TOO_FEW_SLICES", f"{shown(scan.root)}: only localizers, no CT slices.", "Give the CT series.")
    if options.series is not None:
        chosen = next((plan for plan in candidates if plan.uid == options.series), None)
        if chosen is None:
            known = ", ".join(plan.uid for plan in candidates)
            refuse("E_SERIES_NOT_FOUND", f"{shown(scan.root)}: no CT series {options.series}.", f"Found: {known}")
        findings.reason = "asked for by its UID"
    else:
        refuse_split({plan.uid: groups[plan.uid] for plan in candidates}, scan)
        _check_one_study([plan for plan in candidates], groups, scan)
        chosen = _best(candidates)
        findings.reason = "the only CT series" if len(candidates) == 1 else _reason(chosen)
    findings.chosen = chosen.uid
    _warn_of_others(chosen, candidates, scouts, findings)
    if chosen.problem is not None:
        raise chosen.problem
    return chosen


def _ct_series(scan: Scan) -> dict[str, list[DicomFile]]:
    groups: dict[str, list[DicomFile]] = {}
    for file in scan.files:
        if file.sop_class in CT_CLASSES:
            groups.setdefault(file.series_uid, []).append(file)
    if groups:
        return groups
    if scan.left:
        raise links_error(scan.left, scan.root)
    refuse_no_ct(scan)


def _plan(uid: str, files: list[DicomFile], scan: Scan, options: ReadOptions) -> SeriesPlan:
    """Check the headers of one series and sort its slices; a refusal is kept, not raised."""
    every = [(file, frame) for file in files for frame in file.frames]
    slices = [(file, frame) for file, frame in every if not frame.is_localizer]
    scouts = len(every) - len(slices)
    if not slices:
        return SeriesPlan(uid, (), (), scouts, None, None)
    try:
        check_files(slices, scan, options)
        orientation = check_geometry_tags(slices, scan)
        ordered, repeats = _sorted(slices, orientation)
        if len(ordered) < 2:
            if repeats:
                _refuse_repeats(scan, repeats)
            refuse(
                "E_TOO_FEW_SLICES",
                f"{shown(scan.root)}: the series has 1 slice; a volume needs at least 2.",
                "Give the folder that holds the whole series.",
            )
        positions = np.array([frame.position_mm for _, frame in ordered])
        spacing = ordered[0][1].pixel_spacing_mm
        assert spacing is not None
        stack = stack_slices(positions, orientation, (spacing[0], spacing[1]), shown(scan.root), options.allow_gaps)
    except IntakeError as problem:
        return SeriesPlan(uid, tuple(slices), (), scouts, None, problem)
    return SeriesPlan(uid, tuple(ordered), tuple(repeats), scouts, stack, None)


def _sorted(slices: Sequence[Slice], orientation: np.ndarray) -> tuple[list[Slice], list[tuple[int, Slice]]]:
    """(one slice per place, (place, repeated slice)): along the normal, by position alone."""
    normal = slice_normal(orientation)
    heights = np.array([frame.position_mm for _, frame in slices]) @ normal
    order = sorted(range(len(slices)), key=lambda i: (heights[i], slices[i][0].sop_uid, str(slices[i][0].path)))
    ordered: list[Slice] = []
    repeats: list[tuple[int, Slice]] = []
    last = -np.inf
    for i in order:
        if heights[i] - last <= SAME_PLACE_MM:
            repeats.append((len(ordered) - 1, slices[i]))
        else:
            ordered.append(slices[i])
            last = heights[i]
    return ordered, repeats


def _refuse_repeats(scan: Scan, repeats: Sequence[tuple[int, Slice]]) -> NoReturn:
    refuse(
        "E_DUPLICATE_CONFLICT",
        f"{shown(scan.root)}: all {len(repeats) + 1} slices lie at one position: a series over time, or copies.",
        "Give a series that covers the chest.",
    )


def _check_one_study(plans: Sequence[SeriesPlan], groups: dict[str, list[DicomFile]], scan: Scan) -> None:
    files = [file for plan in plans for file in groups[plan.uid]]
    studies = {file.study_uid for file in files}
    patients = {file.patient_hash for file in files}
    if len(studies) > 1 or len(patients) > 1:
        known = ", ".join(plan.uid for plan in plans[:4])
        refuse(
            "E_MIXED_STUDIES",
            f"{shown(scan.root)}: {len(patients)} patient(s) and {len(studies)} studies in one folder.",
            f"Give one study per folder[, or pass --recursive][, or pass --series=UID, one of {known}].",
        )


def _facts(plan: SeriesPlan) -> tuple[float, float]:
    """(length in mm, larger of slice distance and thickness) of a plan with a stack."""
    assert plan.stack is not None
    step = float(np.linalg.norm(plan.stack.affine[:3, 2]))
    thickness = plan.slices[0][1].thickness_mm or 0.0
    return step * plan.stack.slices, max(step, thickness)


def _is_derived(plan: SeriesPlan) -> bool:
    return any(frame.image_type[:1] == ("DERIVED",) for _, frame in plan.slices)


def _best(plans: Sequence[SeriesPlan]) -> SeriesPlan:
    usable = [plan for plan in plans if plan.stack is not None]
    if not usable:
        return max(plans, key=lambda plan: (len(plan.slices), plan.uid))
    longest = max(_facts(plan)[0] for plan in usable)

    def rank(plan: SeriesPlan) -> tuple:
        length, thin = _facts(plan)
        file, frame = plan.slices[0]
        return (
            _is_derived(plan),
            length < 0.5 * longest,
            round(thin, 1),
            -len(plan.slices),
            orientation_name(frame.orientation) != "axial",
            is_lung_kernel(file.about["kernel"]),
            plan.uid,
        )

    return min(usable, key=rank)


def _reason(plan: SeriesPlan) -> str:
    if plan.stack is None:
        return "the one with most slices; none can be read"
    return (
        f"thinnest slices first ({_facts(plan)[1]:.2f} mm), then most slices ({len(plan.slices)}), axial, "
        "lung kernel last; short and derived series and those with problems come after"
    )


def _warn_of_others(
    chosen: SeriesPlan, candidates: Sequence[SeriesPlan], scouts: Sequence[SeriesPlan], findings: Findings
) -> None:
    others = [plan for plan in candidates if plan is not chosen]
    if others:
        listed = ", ".join(f"{plan.uid} ({len(plan.slices)} slices)" for plan in others[:8])
        more = f" and {len(others) - 8} more" if len(others) > 8 else ""
        findings.warn(
            "W_MULTI_SERIES",
            f"read {chosen.uid} ({len(chosen.slices)} slices); also found {listed}{more}.",
            "[Pass --series=UID to read another.|Give a folder with the series that you want.]",
        )
    count = chosen.localizers + sum(plan.localizers for plan in scouts)
    if count:
        findings.warn("W_LOCALIZER_DROPPED", f"{count} localizer image(s) left out.")


def _info(plan: SeriesPlan, files: Sequence[DicomFile]) -> SeriesInfo:
    file, frame = plan.slices[0] if plan.slices else (files[0], files[0].frames[0])
    spacing = frame.pixel_spacing_mm
    step = None if plan.stack is None else round(float(np.linalg.norm(plan.stack.affine[:3, 2])), 4)
    return SeriesInfo(
        uid=plan.uid,
        modality=file.modality,
        slices=len(plan.slices),
        columns=file.pixels.columns,
        rows=file.pixels.rows,
        spacing_mm=(spacing[1] if spacing else None, spacing[0] if spacing else None, step),
        orientation=orientation_name(frame.orientation) if plan.slices else "localizer",
        thickness_mm=frame.thickness_mm,
        kernel=file.about["kernel"],
        problem=f"{plan.problem.code}: {plan.problem.message}" if plan.problem else "",
    )
