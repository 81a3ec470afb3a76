"""`lungseg3d follow-up`: two CTs of one person, what became of each nodule.

In: the command line. Out: the workflow's files, a table, an exit code. Knows no registration and no file format.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungseg3d.cli.terminal.console import complain, progress, say, say_table, terminal_number
from lungseg3d.cli.terminal.options import Overwrite, with_reading_options
from lungseg3d.cli.terminal.outcome import ExitStatus, reporting_errors
from lungseg3d.cli.terminal.segment_options import Device, Precision

if TYPE_CHECKING:
    from lungseg3d.core import FollowUp, NoduleChange
    from lungseg3d.io import ReadOptions


def _time(name: str) -> Any:
    return typer.Argument(metavar=name, exists=True, help="Folder that segment wrote for a case, or a CT.")


def _ct(option: str, name: str) -> Any:
    return typer.Option(option, metavar="CT", exists=True, help=f"The CT of {name}, where that is a folder of results.")


@reporting_errors
@with_reading_options
def follow_up(
    prior: Annotated[Path, _time("PRIOR")],
    current: Annotated[Path, _time("CURRENT")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", file_okay=False, help="Folder for the results.")],
    days: Annotated[
        float | None, typer.Option("--days", help="Days between the CTs; default: by their DICOM dates.")
    ] = None,
    prior_ct: Annotated[Path | None, _ct("--prior-ct", "PRIOR")] = None,
    current_ct: Annotated[Path | None, _ct("--current-ct", "CURRENT")] = None,
    device: Device = "auto",
    precision: Annotated[Precision, typer.Option(help="auto takes what the device does well.")] = Precision.auto,
    operating_point: Annotated[
        str,
        typer.Option(
            "--operating-point",
            metavar="default|sensitive|fp=N",
            help="From where findings of CTs that are segmented here are listed; results keep their lists.",
        ),
    ] = "default",
    sr: Annotated[
        bool, typer.Option("--sr", help="DICOM SR follow_up.dcm, too; results need their segmentation.dcm.")
    ] = False,
    overwrite: Overwrite = False,
    *,
    reading: ReadOptions,
) -> int:
    """Compare two CTs of one person: nodules new, gone, grown, shrunk, stable or not covered. Research use only.

    Writes follow_up.html, follow_up.csv and follow_up.json into DIR. CTs are segmented first, into DIR/segmented.
    """
    from lungseg3d.workflows.follow_up.run import FollowUpOptions
    from lungseg3d.workflows.follow_up.run import follow_up as run
    from lungseg3d.workflows.segment.options import SegmentOptions

    segment = SegmentOptions(
        device=device,
        precision=precision.value,
        overwrite=overwrite,
        read=reading,
        operating_point=operating_point,
    )
    options = FollowUpOptions(days, prior_ct, current_ct, segment, sr)
    with progress() as on_progress:
        result = run(prior, current, out, options, on_progress)
    for line in result.headlines:
        say(f"CAUTION: {line}")
    if result.changes:
        say_table(_table(result))
    else:
        has_candidates = result.prior.candidates or result.current.candidates
        say("No nodule is listed in either CT." if has_candidates else "No nodules in either CT.")
    for issue in result.issues:
        complain(f"{issue.code}: {issue.message} {issue.remedy}".strip())
    say(f"Wrote {out / 'follow_up.html'}")
    return ExitStatus.DONE


def _table(result: FollowUp) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("no.", "change", "lung", "mm3 prior", "mm3 current", "change % (95 %)", "doubling days (95 %)", ""):
        left = title in ("change", "lung", "")
        table.add_column(title, justify="left" if left else "right", overflow="fold")
    for change in result.changes:
        table.add_row(*_cells(change))
    return table


def _cells(change: NoduleChange) -> list[str]:
    nodules = change.prior, change.current
    side = next(nodule.side for nodule in nodules if nodule)
    volumes = [terminal_number(nodule.volume_mm3 if nodule else None, 0) for nodule in nodules]
    share, days = change.volume_change, change.doubling_time_days
    percent = terminal_number(None, 0)
    if share.value is not None and share.low is not None and share.high is not None:
        percent = f"{100 * share.value:+.0f} ({100 * share.low:+.0f} to {100 * share.high:+.0f})"
    doubling = terminal_number(days.value, 0)
    if days.low is not None:
        ends = f"> {days.low:.0f}" if days.high is None else f"{days.low:.0f} to {days.high:.0f}"
        doubling = f"{doubling} ({ends})"
    return [str(change.id), change.change.value, side, *volumes, percent, doubling, change.reason]
