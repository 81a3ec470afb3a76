"""`lungseg3d export`: results of a case as DICOM SEG and SR.

In: the command line. Out: files beside the results, an exit code. Knows no DICOM.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungseg3d.cli.terminal.console import complain, say
from lungseg3d.cli.terminal.options import Dates, ExportFormats, ObjectDates, Overwrite, with_reading_options_of
from lungseg3d.cli.terminal.outcome import ExitStatus, reporting_errors

if TYPE_CHECKING:
    from lungseg3d.core import QualityIssue
    from lungseg3d.io import ReadOptions


@reporting_errors
@with_reading_options_of("series", "allow_gaps", "follow_links")
def export(
    result: Annotated[
        Path,
        typer.Argument(metavar="RESULT", exists=True, file_okay=False, help="Folder of one case, with result.json."),
    ],
    source: Annotated[
        Path | None,
        typer.Option(
            "--source",
            exists=True,
            metavar="SERIES",
            help="The DICOM series that was segmented, or that the NIfTI file was made of.",
        ),
    ] = None,
    format: ExportFormats = "seg,sr",
    dates: ObjectDates = Dates.source,
    overwrite: Overwrite = False,
    *,
    reading: ReadOptions,
) -> int:
    """Write RESULT as DICOM objects: segmentation.dcm (SEG) and measurements.dcm (SR, TID 1500). Research use only.

    They bear the patient and study of SERIES, and refer to its images. Where RESULT was made of a NIfTI file, SERIES is
    the one that the file was made of; its grid must be the same.
    """
    from lungseg3d.workflows.export import export as export_result

    def warn(issue: QualityIssue) -> None:
        complain(f"{issue.code}: {issue.message} {issue.remedy}".strip())

    written = export_result(result, source, format, reading, overwrite=overwrite, dates=dates.value, on_issue=warn)
    for path in written:
        say(str(path))
    return ExitStatus.DONE
