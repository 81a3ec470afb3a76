"""Headers -> series -> the one that is read -> its slices in order, each place once.

In: a `Scan`. Out: `SeriesPlan`, the slices of the chosen series with their geometry. The rule of choice is in
`series_choice`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from lungseg3d.core import IntakeError
from lungseg3d.io.dicom.absent import refuse_no_ct, refuse_split
from lungseg3d.io.dicom.checks import check_files, check_geometry_tags
from lungseg3d.io.dicom.files import Scan
from lungseg3d.io.dicom.series_choice import Choice, SeriesPlan, Slice, choose_plan
from lungseg3d.io.dicom_headers.records import DicomFile
from lungseg3d.io.intake.geometry import SAME_PLACE_MM, orientation_name, slice_normal, stack_slices
from lungseg3d.io.intake.links import links_error
from lungseg3d.io.intake.reading import Findings, ReadOptions, SeriesInfo, refuse, shown

CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
}


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
        choice = Choice(chosen, findings.reason, {})
    else:
        refuse_split({plan.uid: groups[plan.uid] for plan in candidates}, scan)
        _check_one_study([plan for plan in candidates], groups, scan)
        choice = choose_plan(candidates)
        chosen = choice.plan
        findings.reason = "the only CT series" if len(candidates) == 1 else choice.reason
    findings.chosen = chosen.uid
    if len(candidates) > 1:
        _warn_of_others(choice, candidates, findings)
    if count := chosen.localizers + sum(plan.localizers for plan in scouts):
        findings.warn("W_LOCALIZER_DROPPED", f"{count} localizer image(s) left out.")
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


def _warn_of_others(choice: Choice, candidates: Sequence[SeriesPlan], findings: Findings) -> None:
    read = f"read {choice.plan.uid} ({len(choice.plan.slices)} slices): {choice.reason}"
    text = f"{read}. Also found {choice.listed(candidates)}."
    remedy = "[Pass --series=UID to read another.|Give a folder with the series that you want.]"
    findings.warn("W_MULTI_SERIES", text, remedy)


def _info(plan: SeriesPlan, files: Sequence[DicomFile]) -> SeriesInfo:
    file, frame = plan.slices[0] if plan.slices else (files[0], files[0].frames[0])
    spacing = frame.pixel_spacing_mm
    step = None if plan.stack is None else round(plan.step_mm, 4)
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
