"""`lungseg3d segment`: CTs in, a folder of results for each out.

In: the command line. Out: the workflow's files, a table of what was found, an exit code.
Knows no network and no file format.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungseg3d.cli.console import progress, say_table
from lungseg3d.cli.options import Formats, InputPaths, Overwrite, TrustBundle, with_reading_options
from lungseg3d.cli.outcome import outcome_of, reporting_errors
from lungseg3d.cli.results import results_table

if TYPE_CHECKING:
    from lungseg3d.io import ReadOptions


class Roi(str, Enum):
    """Where nodules are looked for."""

    lungs = "lungs"
    full = "full"


class Device(str, Enum):
    """What the networks run on."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Precision(str, Enum):
    """Arithmetic of the networks."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


@reporting_errors
@with_reading_options
def segment(
    inputs: InputPaths,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Results go to DIR/<case_id>/.")],
    roi: Annotated[Roi, typer.Option(help="lungs: find the lungs first. full: for crops, no lungs.")] = Roi.lungs,
    device: Annotated[Device, typer.Option(help="auto takes a GPU where there is one.")] = Device.auto,
    precision: Annotated[Precision, typer.Option(help="auto takes what the device does well.")] = Precision.auto,
    lung_bundle: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, metavar="DIR", help="Another MONAI bundle for lungs.")
    ] = None,
    nodule_bundle: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, metavar="DIR", help="Another one for nodules.")
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="A folder of several studies is several cases, not an error.")
    ] = False,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Map where the network is unsure, and say it of each nodule.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Map what in the CT spoke for each nodule (Grad-CAM).")
    ] = False,
    settings: Annotated[
        Path | None,
        typer.Option("--settings", exists=True, dir_okay=False, metavar="FILE", help="Of evaluate --operating-point."),
    ] = None,
    trust_bundle: TrustBundle = False,
    format: Formats = "nifti",
    overwrite: Overwrite = False,
    *,
    reading: ReadOptions,
) -> int:
    """Segment and measure lungs and nodules; several INPUTs load the models once.

    Each case gets DIR/<case_id>/ with labels.nii.gz, nodules.nii.gz, nodules.csv, result.json and report.html; with seg
    and sr also segmentation.dcm and measurements.dcm, which bear the patient of the DICOM series.
    """
    from lungseg3d.workflows.dicom_objects import formats_of
    from lungseg3d.workflows.segment import SegmentOptions, segment_cases
    from lungseg3d.workflows.settings import Settings, read_settings

    options = SegmentOptions(
        roi=roi.value,
        device=device.value,
        precision=precision.value,
        lung_bundle=lung_bundle,
        nodule_bundle=nodule_bundle,
        overwrite=overwrite,
        trust_bundle=trust_bundle,
        recursive=recursive,
        uncertainty=uncertainty,
        explain=explain,
        settings=read_settings(settings) if settings else Settings(),
        read=reading,
        formats=formats_of(format),
    )
    with progress() as on_progress:
        results = segment_cases(inputs, out, options, on_progress)
    say_table(results_table(results, out))
    return outcome_of(result.status for result in results)
