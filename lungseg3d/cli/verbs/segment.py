"""`lungseg3d segment`: CTs in, a folder of results for each out.

In: the command line. Out: the workflow's files, a table of what was found, an exit code.
Knows no network and no file format.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungseg3d.cli.terminal.console import complain, progress, say, say_table
from lungseg3d.cli.terminal.options import InputPaths
from lungseg3d.cli.terminal.outcome import outcome_of, reporting_errors
from lungseg3d.cli.terminal.quick_start import import_monai_to_segment
from lungseg3d.cli.terminal.results import result_lines, results_table
from lungseg3d.cli.terminal.segment_options import with_segment_options
from lungseg3d.cli.verbs.profile import profiling, say_profile

if TYPE_CHECKING:
    from lungseg3d.workflows.segment.options import SegmentOptions

_ASKED_FOR = ("W_NO_DICOM_OBJECTS", "W_EMPTY_PLACE")
"""What was asked for and is not there: said on the screen, and not only in the record."""


@reporting_errors
@with_segment_options
def segment(
    inputs: InputPaths,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Results go to DIR/<case_id>/.")],
    recursive: Annotated[
        bool, typer.Option("--recursive", help="A folder of several studies is several cases, not an error.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Say what each step took: time, memory, GFLOP/s beside the ceiling.")
    ] = False,
    *,
    asked: SegmentOptions,
) -> int:
    """Segment and measure lungs and nodules; several INPUTs load the models once.

    Each case gets DIR/<case_id>/ with labels.nii.gz, nodules.nii.gz, nodules.csv, result.json and report.html; with seg
    and sr also segmentation.dcm and measurements.dcm, which bear the patient of the DICOM series.
    """
    from lungseg3d.io import APART, begin_decoding
    from lungseg3d.workflows.segment.formats import cannot_be_made
    from lungseg3d.workflows.segment.memory_plan import reading_options

    is_refused = cannot_be_made(inputs, asked.formats)
    if asked.read.decode == APART and not is_refused:
        # The first CT is read while PyTorch loads; which studies a folder of several holds is not known yet.
        begin_decoding(None if recursive else inputs[0], reading_options(asked))
    if asked.lung_bundle is None and asked.nodule_bundle is None and not is_refused:
        import_monai_to_segment()
    from lungseg3d.workflows.segment.cases import segment_cases

    with progress() as on_progress, profiling(profile) as costs:
        results = segment_cases(inputs, out, replace(asked, recursive=recursive), on_progress)
    say_table(results_table(results))
    say("")
    for line in result_lines(results, out):
        say(line)
    for result in results:
        for issue in result.issues:
            if issue.code in _ASKED_FOR:
                complain(f"{result.case_id}: {issue.code}: {issue.message}\n{issue.remedy}")
    done = [result.provenance["options"] for result in results if result.status == "done"] if costs else []
    if costs and done:
        say_profile(costs, done[0]["device"], done[0]["precision"])
    return outcome_of(result.status for result in results)
