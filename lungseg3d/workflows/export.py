"""`export`: the results of a case, written earlier, in further formats, such as DICOM objects of their series.

In: a folder of `segment` or `batch`, and the series. Out: `segmentation.dcm` and `measurements.dcm` beside the results.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lungseg3d.core import (
    NO_LUNGS,
    CaseResult,
    IntakeError,
    OutputError,
    QualityIssue,
    json_text,
    to_json,
)
from lungseg3d.io import CaseFolder, ReadOptions, find_source_series, read_labels, write_text
from lungseg3d.io.storage.folders import placing_together
from lungseg3d.workflows.segment.formats import OUTPUT_FORMATS, formats_of, make_objects, needs_dicom, write_objects

OBJECTS = tuple(one.name for one in OUTPUT_FORMATS if one.make is not None)


def export(
    folder: Path | str,
    source: Path | str | None,
    formats: str = "seg,sr",
    options: ReadOptions = ReadOptions(),  # noqa: B008 - frozen
    *,
    overwrite: bool = False,
    dates: str = "source",
    on_issue: Callable[[QualityIssue], object] | None = None,
) -> tuple[Path, ...]:
    """Write a finished case as DICOM SEG and SR, or in another format that is made of its masks.

    Args:
        folder: with `result.json`, `labels.nii.gz` and `nodules.nii.gz`.
        source: the DICOM series; where the result was made of a NIfTI, the series that the NIfTI was made of. Formats
            that refer to none do without.
        formats: of those that are made of masks; `sr` refers to `seg`, which is written with it.
        options: which series of `source`; only where the result does not say it itself.
        overwrite: replace objects that are there.
        dates: which dates the objects bear: `source`, those of the CT; or `now`, those of their creation.
        on_issue: called with what a reader of the objects must know; the record has it, too.

    Returns:
        The files.

    Raises:
        IntakeError: E_NO_DICOM_SOURCE, E_NO_DICOM_OBJECTS, E_SERIES_NOT_FOUND, E_NOT_A_RESULT, or as `open_ct`.
        OutputError: E_OUTPUT_EXISTS, E_EMPTY_RESULT, E_NO_DICOM_OBJECTS, E_WRITE, E_NO_SPACE.
        GeometryError: E_GRID_MISMATCH when the series is not the one.
        UsageError: E_BAD_OPTION.
    """
    case = CaseFolder(Path(folder))
    wanted = formats_of(formats, OBJECTS)
    result = _record(case)
    found = None
    if needs_dicom(wanted):
        if source is None:
            raise IntakeError(
                "E_NO_DICOM_SOURCE",
                f"{case.name}: results do not say where their series lies, nor whose it is.",
                "Pass --source with the folder of the DICOM series.",
            )
        found = find_source_series(source, options, result.source.get("series_sha256"))
    labels, nodules = (read_labels(path) for path in (case.labels, case.nodules))
    made = make_objects(result, labels, nodules, found, wanted, dates)
    if not made.files:
        fault = made.issues[-1]
        raise OutputError("E_NO_DICOM_OBJECTS", f"{case.name}: {fault.message}", fault.remedy)
    objects = made.files
    there = [name for name in objects if (case.path / name).exists()]
    if there and not overwrite:
        raise OutputError("E_OUTPUT_EXISTS", f"{case.name}: {there[0]} is there already.", "Pass --overwrite.")
    record = case.content()
    record["files"] = list(dict.fromkeys([*result.files, *objects]))
    # Objects that are made now are no longer missing.
    issues = [issue for issue in record.get("issues", []) if issue["code"] != "W_NO_DICOM_OBJECTS"]
    known = {(issue["code"], issue["message"]) for issue in issues}
    record["issues"] = issues + [to_json(i) for i in made.issues if (i.code, i.message) not in known]
    with placing_together(case.path, last=case.RECORD) as stage:
        write_objects(stage, objects)
        write_text(stage / case.RECORD, json_text(record, indent=2))
    if on_issue is not None:
        for issue in made.issues:
            on_issue(issue)
    return tuple(case.path / name for name in objects)


def _record(folder: CaseFolder) -> CaseResult:
    """The record of a case that can be exported.

    Raises:
        IntakeError: E_NOT_A_RESULT.
    """
    result, absent = folder.record(), folder.absent(*folder.MASKS)
    if result.status != "done" or absent:
        said = "no lungs were found" if result.status == NO_LUNGS else f"the case was {result.status}"
        what = said if result.status != "done" else f"{' and '.join(absent)} missing"
        remedy = "Segment it with nifti among the formats."
        if result.status == NO_LUNGS:
            remedy = "There is nothing to export: look at the report."
        raise IntakeError("E_NOT_A_RESULT", f"{folder.name}: {what}.", remedy)
    return result
