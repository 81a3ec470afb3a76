"""`lungseg3d check` and `lungseg3d convert`: what is in an input, and the volume exactly as it is read.

In: the command line. Out: the findings, or one NIfTI file; an exit code. Knows no DICOM.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungseg3d.cli.console import say
from lungseg3d.cli.options import InputPath, Overwrite, with_reading_options
from lungseg3d.cli.outcome import Outcome, reporting_errors

if TYPE_CHECKING:
    from lungseg3d.io import Inspection, ReadOptions


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
    say(_as_json(inspection) if json else _as_text(inspection))
    return Outcome.NONE_DONE if inspection.status == "refused" else Outcome.DONE


def _as_json(inspection: Inspection) -> str:
    from json import dumps

    return dumps(inspection.to_json(), indent=2, ensure_ascii=False)


def _as_text(inspection: Inspection) -> str:
    found = inspection.to_json()
    lines = [f"Status: {found['status']}"]
    for series in found["series"]:
        lines += ["", "Series" + ("  (used)" if series.get("uid") == found["chosen"] else "")]
        lines += [f"  {key}: {value}" for key, value in series.items() if value not in (None, "", [], {})]
    if found.get("reason"):
        lines += ["", f"Chosen because {found['reason']}"]
    for issue in found["issues"]:
        lines += ["", f"{issue['code']}: {issue['message']}"]
        lines += [issue["remedy"]] if issue.get("remedy") else []
    return "\n".join(lines)


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
        say(f"{issue.code}: {issue.message}" + (f"\n{issue.remedy}" if issue.remedy else ""))
    grid = result.volume.grid
    shape, spacing = " x ".join(map(str, grid.shape)), " x ".join(f"{mm:.4g}" for mm in grid.spacing_mm)
    say(f"{target}: {shape} voxels of {spacing} mm")
    return Outcome.DONE
