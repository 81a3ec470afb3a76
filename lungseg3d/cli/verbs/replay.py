"""`lungseg3d replay`: send what a training could not send to its MLflow server.

In: the command line. Out: the runs in MLflow; an exit code. Knows no journal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungseg3d.cli.terminal.outcome import ExitStatus, reporting_errors


@reporting_errors
def replay(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN_DIR", exists=True, file_okay=False, help="Folder that a training wrote.")
    ],
    tracking_uri: Annotated[
        str | None,
        typer.Option("--to", metavar="URI", help="MLflow store; default MLFLOW_TRACKING_URI, else the run's own."),
    ] = None,
) -> int:
    """Send what a training could not send to its MLflow server. Sending twice is sending once."""
    from lungseg3d.workflows.replay import replay as replay_runs

    done = replay_runs(folder, tracking_uri)
    if not done.runs:
        typer.echo("Everything had been sent.")
        return ExitStatus.DONE
    refused = f"; {done.refused} not taken, as their files are gone or changed" if done.refused else ""
    typer.echo(f"Sent {done.sent} operations of {', '.join(done.runs)}{refused}.")
    return ExitStatus.DONE
