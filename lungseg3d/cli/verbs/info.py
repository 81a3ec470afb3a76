"""`lungseg3d info`: what a bundle is, which findings it lists at which operating point, and what each point costs.

In: the command line. Out: lines and tables; an exit code. Runs no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungseg3d.cli.terminal.console import say, say_table
from lungseg3d.cli.terminal.options import existing_bundle
from lungseg3d.cli.terminal.outcome import ExitStatus, reporting_errors

if TYPE_CHECKING:
    from lungseg3d.inference import OperatingPoints


@reporting_errors
def info(
    bundle: Annotated[
        Path | None,
        typer.Argument(
            metavar="BUNDLE", parser=existing_bundle, help="Its folder; without, the shipped nodule bundle."
        ),
    ] = None,
) -> int:
    """Print what a bundle is and what each operating point costs: false findings a scan, share of nodules listed."""
    from lungseg3d.io import shipped_bundle
    from lungseg3d.workflows.bundle.info import bundle_info

    found = bundle_info(bundle or shipped_bundle("lung_nodule_ct_segmentation"))
    say(f"{found.name} {found.version}")
    say(found.description)
    for name, sha256 in found.weights.items():
        say(f"{name + ':':14} {sha256}")
    say(f"{'calibrated:':14} {'yes' if found.is_calibrated else 'no'}")
    for issue in found.issues:
        say(f"{issue.code}: {issue.message} {issue.remedy}")
    if found.points is not None:
        _say_points(found.points)
    return ExitStatus.DONE


def _say_points(points: OperatingPoints) -> None:
    from rich.table import Table

    population = next(iter(points.points.values())).population
    say(f"Measured on {population}.")
    table = Table(title="Operating points, with 95 % intervals")
    for name in ("point", "listed from a calibrated confidence of"):
        table.add_column(name)
    for name in ("false findings a scan", "nodules listed"):
        table.add_column(name, justify="right")
    for name, point in points.points.items():
        least = ", ".join(f"{value:.2f} {kind}" for kind, value in point.least_confidence.items())
        table.add_row(name, least, _measure_text(point.false_findings_a_scan, 1), _measure_text(point.sensitivity, 100))
    say_table(table)
    curve = Table(title="The whole curve (FROC): --operating-point fp=N")
    for name in ("asked", "false findings a scan", "nodules listed"):
        curve.add_column(name, justify="right")
    for asked, rate, share in zip(points.asked, points.rates, points.sensitivities, strict=True):
        curve.add_row(f"fp={asked:g}", f"{rate:.2f}", f"{share:.1%}")
    say_table(curve)


def _measure_text(measure: Mapping[str, float], scale: int) -> str:
    """`1.09 (0.54 to 1.69)`, or in per cent."""
    unit, digits = (" %", 0) if scale == 100 else ("", 2)
    value, low, high = (
        f"{measure[key] * scale:.{digits}f}" if key in measure else "" for key in ("value", "low", "high")
    )
    return f"{value}{unit}" + (f" ({low} to {high})" if low and high else "")
