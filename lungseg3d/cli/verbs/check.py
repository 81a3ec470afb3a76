"""`lungseg3d check` and `lungseg3d convert`: what is in an input, and the volume exactly as it is read.

In: the command line. Out: the findings, or one NIfTI file; an exit code. Knows no DICOM.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungseg3d.cli.terminal.console import say
from lungseg3d.cli.terminal.options import InputPath, Overwrite, with_reading_options
from lungseg3d.cli.terminal.outcome import ExitStatus, reporting_errors

if TYPE_CHECKING:
    from lungseg3d.core import QualityIssue
    from lungseg3d.io import Inspection, ReadOptions, SeriesInfo

_MOST_SHOWN = 8
_JSON_KEYS = ("series", "chosen", "status", "issues")


@reporting_errors
@with_reading_options
def check(
    source: InputPath,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
    *,
    reading: ReadOptions,
) -> int:
    """Say what INPUT holds, which series would be used and why, and whether it is usable. Exit 0 usable, 3 refused."""
    from lungseg3d.workflows.check import check as check_input

    inspection = check_input(source, reading)
    if json:
        say(_as_json(inspection))
    else:
        _say_in_words(inspection)
    return ExitStatus.NONE_DONE if inspection.status == "refused" else ExitStatus.DONE


def _as_json(inspection: Inspection) -> str:
    from json import dumps

    facts = inspection.to_json()
    return dumps({key: facts[key] for key in _JSON_KEYS}, indent=2, ensure_ascii=False)


def _say_in_words(inspection: Inspection) -> None:
    say(f"Status: {inspection.status}")
    # The one that is used first: forty others would push it off the screen.
    ordered = sorted(inspection.series, key=lambda series: series.uid != inspection.chosen)
    for series in ordered[:_MOST_SHOWN]:
        used = "used" if series.uid == inspection.chosen else "not used"
        # The UID on a line of its own: it is there to be copied after --series.
        below = "".join(f"\n    {text}" for text in (series.uid, series.problem) if text)
        say(f"\n{used}: {_geometry(series)}{below}")
    if len(ordered) > _MOST_SHOWN:
        say(f"\n... and {len(ordered) - _MOST_SHOWN} more series, which check --json lists")
    if inspection.reason:
        say(f"\nReason of the choice: {inspection.reason}")
    for issue in inspection.issues:
        say("\n" + _in_words(issue))


def _geometry(series: SeriesInfo) -> str:
    matrix = f" of {series.columns} x {series.rows}" if series.columns and series.rows else ""
    spacing = " x ".join("?" if mm is None else f"{mm:.4g}" for mm in series.spacing_mm)
    facts = (
        series.modality,
        f"{series.slices} slices{matrix}",
        f"{spacing} mm",
        "" if series.thickness_mm is None else f"{series.thickness_mm:.4g} mm thick",
        series.orientation,
        f"kernel {series.kernel}" if series.kernel else "",
    )
    return ", ".join(fact for fact in facts if fact)


def _in_words(issue: QualityIssue) -> str:
    return f"{issue.code}: {issue.message}" + (f"\n{issue.remedy}" if issue.remedy else "")


@reporting_errors
@with_reading_options
def convert(
    source: InputPath,
    target: Annotated[Path, typer.Argument(metavar="OUT.nii.gz", help="File to write, in HU on the CT's own grid.")],
    overwrite: Overwrite = False,
    *,
    reading: ReadOptions,
) -> int:
    """Write INPUT as one file, exactly as it is read for segmentation: int16 HU with its place in the world."""
    from lungseg3d.workflows.convert import convert as convert_input

    result = convert_input(source, target, reading, overwrite=overwrite)
    for issue in result.issues:
        say(_in_words(issue))
    grid = result.volume.grid
    shape, spacing = " x ".join(map(str, grid.shape)), " x ".join(f"{mm:.4g}" for mm in grid.spacing_mm)
    say(f"{target}: {shape} voxels of {spacing} mm")
    return ExitStatus.DONE
