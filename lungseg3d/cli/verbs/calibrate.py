"""`lungseg3d calibrate`: what a nodule's confidence is worth, learned from evaluations of held-out cases.

In: the command line. Out: the bundle's calibration and how good it is; an exit code. Knows no metric.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from lungseg3d.cli.terminal.console import say
from lungseg3d.cli.terminal.options import existing_bundle
from lungseg3d.cli.terminal.outcome import reporting_errors


class Method(str, Enum):
    """How the map may bend."""

    platt = "platt"
    isotonic = "isotonic"


@reporting_errors
def calibrate(
    evaluations: Annotated[
        list[Path],
        typer.Argument(
            metavar="EVALUATION",
            exists=True,
            file_okay=False,
            help="Folders that evaluate wrote, one for each held-out fold.",
        ),
    ],
    bundle: Annotated[
        Path,
        typer.Option(
            "--bundle",
            parser=existing_bundle,
            metavar="DIR",
            help="Nodule bundle that made the predictions; it keeps the calibration.",
        ),
    ],
    method: Annotated[
        Method, typer.Option(help="platt: a smooth curve, for few findings; isotonic: steps, for hundreds and more.")
    ] = Method.platt,
) -> None:
    """Fit calibrated confidences on held-out folds, and keep them in the bundle as configs/calibration.json.

    segment then reports a calibrated confidence with every nodule, as long as the bundle's weights stay the same.
    """
    from lungseg3d.workflows.calibrate import calibrate as fit

    done = fit(evaluations, bundle, method.value)
    say(f"{done.findings} findings, {done.true} of them nodules.")
    for name, found in (("before", done.before), ("after, on folds held out", done.held_out)):
        say(f"Calibration error {name}: {found.ece:.3f} ({found.low:.3f}-{found.high:.3f})")
    say(f"Wrote {done.path}")
