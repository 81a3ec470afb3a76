"""What a case begins with: the CT of one path, or the reason why there is none.

In: a `CaseJob`. Out: an `OpenedCase`. Knows no network.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lungseg3d.core import OutputError
from lungseg3d.io import Reading, find_source_series, open_ct, remove_unfinished
from lungseg3d.workflows.dicom_objects import needs_dicom
from lungseg3d.workflows.memory_plan import reading_options
from lungseg3d.workflows.segment_options import SegmentOptions


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
    """One CT as read, and the DICOM series that objects are to belong to; None where none are asked for."""

    reading: Reading
    series: Any


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
    reading = open_ct(job.source, reading_options(job.options))
    # Before the networks: what cannot be written as asked is refused at once.
    is_needed = needs_dicom(job.options.formats)
    return OpenedCase(reading, find_source_series(job.source, job.options.read) if is_needed else None)
