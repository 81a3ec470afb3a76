"""`lungseg3d demo`: a thorax is made, segmented, measured, and its report opened.

In: the command line. Out: a folder with a DICOM series and its results; an exit code. Knows no phantom.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungseg3d.cli.terminal.console import progress, say, say_table
from lungseg3d.cli.terminal.outcome import ExitStatus, outcome_of, reporting_errors
from lungseg3d.cli.terminal.quick_start import import_monai_to_segment
from lungseg3d.cli.terminal.results import result_lines, results_table

if TYPE_CHECKING:
    from lungseg3d.workflows.demo import DemoResult


@reporting_errors
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Everything goes into DIR.")] = Path(
        "lungseg3d-demo"
    ),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed, another thorax.")] = 1,
    open_report: Annotated[
        bool | None, typer.Option("--open/--no-open", help="Show the report in a browser; default: where there is one.")
    ] = None,
) -> int:
    """Make a synthetic thorax CT with nodules, segment and measure it, and write a report. No data needed."""
    import_monai_to_segment()
    from lungseg3d.workflows.demo import demo as run_demo

    with progress() as on_progress:
        result = run_demo(out, seed, on_progress)
    say_table(results_table([result.result]))
    say("\n" + _found_text(result))
    (line,) = result_lines([result.result], result.report.parent.parent)
    say(f"Report: {result.report}" if result.result.status == "done" else line)
    if (_has_browser() if open_report is None else open_report) and result.result.status == "done":
        import webbrowser

        webbrowser.open(result.report.resolve().as_uri())
    return outcome_of([result.result.status]) if result.result.status != "done" else ExitStatus.DONE


def _found_text(result: DemoResult) -> str:
    """How many of the planted nodules are in the list, how many among the candidates, and what else is in both."""
    lost = result.planted - result.found - result.among_candidates
    places = f"{result.found} in the list, {result.among_candidates} among the candidates, {lost} in neither"
    others = f"{result.unplanted} more in the list and {result.unplanted_candidates} more candidates match none"
    return f"Of {result.planted} planted nodules of 5 mm and more: {places}; {others}."


def _has_browser() -> bool:
    """True for a person at a screen; a browser of the text terminal would wait for keys."""
    if not sys.stdout.isatty():
        return False
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
