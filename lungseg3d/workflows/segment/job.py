"""What a case begins with: the CT of one path, or the reason why there is none.

In: a `CaseJob`. Out: an `OpenedCase`. Knows no network.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lungseg3d.core import IntakeError, OutputError, QualityIssue
from lungseg3d.io import (
    Reading,
    SourceSeries,
    find_source_series,
    has_no_series,
    missing_objects,
    open_ct,
    remove_unfinished,
)
from lungseg3d.workflows.segment.formats import needs_dicom
from lungseg3d.workflows.segment.memory_plan import reading_options
from lungseg3d.workflows.segment.options import SegmentOptions


@dataclass(frozen=True)
class CaseJob:
    """One case to do.

    Attributes:
        source: the CT.
        case_id: its name.
        folder: of its results.
        options: of `segment`.
    """

    source: Path
    case_id: str
    folder: Path
    options: SegmentOptions


@dataclass(frozen=True)
class OpenedCase:
    """One CT as read.

    Attributes:
        reading: the CT.
        series: the DICOM series that objects are to belong to; None where none are asked for, or none can be made.
        issues: why none can be made.
    """

    reading: Reading
    series: SourceSeries | None
    issues: tuple[QualityIssue, ...] = ()


def open_case(job: CaseJob) -> OpenedCase:
    """Read the CT; what an earlier run left unfinished in the folder of results goes.

    Raises:
        OutputError: E_OUTPUT_EXISTS.
        IntakeError: of a CT that cannot be read rightly.
    """
    remove_unfinished(job.folder)
    if job.folder.exists() and any(job.folder.iterdir()) and not job.options.overwrite:
        text = f"{job.case_id}: results are there already."
        raise OutputError(
            "E_OUTPUT_EXISTS", text, "[Pass --overwrite, or another --out=DIR.|Give another folder for the results.]"
        )
    if needs_dicom(job.options.formats) and has_no_series(job.source):
        find_source_series(job.source)  # which says why it is refused, before anything is read
    reading = open_ct(job.source, reading_options(job.options))
    if not needs_dicom(job.options.formats):
        return OpenedCase(reading, None)
    # Before the networks: what cannot be written as asked is refused at once, or left out where NIfTI is asked for too.
    try:
        return OpenedCase(reading, find_source_series(job.source, job.options.read))
    except IntakeError as error:
        if "nifti" not in job.options.formats or reading.source.get("format") != "DICOM":
            raise
        return OpenedCase(reading, None, (missing_objects(error.message),))
