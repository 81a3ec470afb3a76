"""`lungseg3d doctor`: what this machine can do for the networks, and what would make it faster.

In: the command line. Out: tables; an exit code. Knows no network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungseg3d.cli.terminal.console import progress, say, say_table, terminal_number
from lungseg3d.cli.terminal.outcome import ExitStatus, reporting_errors

if TYPE_CHECKING:
    from lungseg3d.workflows.doctor import Diagnosis


@reporting_errors
def doctor(
    seconds: Annotated[float, typer.Option(min=0.1, max=60, help="How long each way is tried.")] = 2.0,
) -> int:
    """Explain and measure this machine: processor, GPU, backends, windows a second, what auto takes and why."""
    from lungseg3d.workflows.doctor import doctor as examine

    with progress() as on_progress:
        found = examine(seconds, on_progress)
    for name, value in found.facts:
        say(f"{name + ':':14} {value}")
    say_table(_table(found))
    say(f"auto takes {found.plan.backend} in {found.plan.precision}: {found.plan.reason}.")
    for line in found.advice:
        say(line)
    return ExitStatus.DONE


def _table(found: Diagnosis) -> Any:
    from rich.table import Table

    table = Table(title="The nodule network, windows of 96 x 96 x 96 voxels")
    for name in ("backend", "precision", "device"):
        table.add_column(name)
    for name in ("windows/s", "GFLOP/s", "ceiling GFLOP/s", "of it"):
        table.add_column(name, justify="right")
    table.add_column("")
    for speed in found.speeds:
        share = speed.gflops / speed.ceiling_gflops if speed.gflops and speed.ceiling_gflops else None
        table.add_row(
            speed.backend,
            speed.precision,
            speed.device,
            terminal_number(speed.windows_per_s, 2),
            terminal_number(speed.gflops, 0),
            terminal_number(speed.ceiling_gflops, 0),
            "–" if share is None else f"{share:.0%}",
            speed.note,
        )
    return table
