"""`lungseg3d froc`: score a system's candidates as the LUNA16 challenge does.

In: the command line. Out: a table, files where asked for; an exit code. Knows no curve.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lungseg3d.cli.terminal.console import complain, say, say_table
from lungseg3d.cli.terminal.outcome import ExitStatus, reporting_errors


def _csv(option: str, text: str) -> Any:
    return typer.Option(option, metavar="CSV", exists=True, dir_okay=False, help=text)


@reporting_errors
def froc(
    annotations: Annotated[Path, _csv("--annotations", "Nodules: seriesuid, coordX, coordY, coordZ, diameter_mm.")],
    scans: Annotated[Path, _csv("--scans", "All scans, one a line.")],
    candidates: Annotated[Path, _csv("--candidates", "Marks: seriesuid, coordX, coordY, coordZ, probability.")],
    excluded: Annotated[Path | None, _csv("--excluded", "Findings that count neither way.")] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Candidates of a scan that count.")] = 100,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", file_okay=False, help="Folder for JSON, CSV, a page.")
    ] = None,
) -> int:
    """Score candidates as LUNA16 does: sensitivity at 1/8 to 8 false positives a scan, their mean (CPM), intervals."""
    from rich.table import Table

    from lungseg3d.workflows.froc import froc_rows, score_files

    scored = score_files(annotations, excluded, scans, candidates, out, most=most)
    table = Table(box=None, pad_edge=False)
    table.add_column("false positives a scan", justify="right")
    table.add_column("sensitivity (95 %)", justify="right")
    for row in froc_rows(scored.content):
        table.add_row(*row)
    say_table(table)
    content = scored.content
    say(f"{content['scans']} scans, {content['nodules']} nodules, {content['candidates']} candidates")
    if scored.unlisted:
        first = ", ".join(scored.unlisted[:3])
        complain(f"Candidates of {len(scored.unlisted)} scans that are not listed count for nothing: {first}")
    if out is not None:
        say(f"Wrote {out / 'froc.html'}")
    return ExitStatus.DONE
