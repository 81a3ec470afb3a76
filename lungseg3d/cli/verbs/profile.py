"""`--profile`: what each step of a segmentation took, as tables.

In: a `Profile`. Out: tables on stdout. Knows no network.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lungseg3d.cli.terminal.console import say_table

if TYPE_CHECKING:
    from lungseg3d.workflows.profile import Profile


@contextlib.contextmanager
def profiling(wanted: bool) -> Iterator[Profile | None]:
    """A profile of what runs inside; None, and nothing measured, unless it is wanted."""
    if not wanted:
        yield None
        return
    from lungseg3d.workflows.profile import profiled

    with profiled() as profile:
        yield profile


def say_profile(profile: Profile, device: str, precision: str) -> None:
    """Print the steps, and the networks beside the most that the machine reaches, see `ceiling_of`."""
    from lungseg3d.workflows.profile import ceiling_of

    say_table(_steps_table(profile))
    say_table(_networks_table(profile, ceiling_of(profile, precision, device), precision))


def _steps_table(profile: Profile) -> Any:
    from rich.table import Table

    table = Table(title="Steps, all cases together")
    table.add_column("step")
    for name in ("seconds", "CPU seconds", "peak memory so far (MiB)"):
        table.add_column(name, justify="right")
    for step in profile.steps:
        table.add_row(step.name, f"{step.wall_s:.2f}", f"{step.cpu_s:.2f}", f"{step.peak_mib:.0f}")
    if profile.steps:
        wall_s, cpu_s = sum(s.wall_s for s in profile.steps), sum(s.cpu_s for s in profile.steps)
        table.add_section()
        table.add_row("all", f"{wall_s:.2f}", f"{cpu_s:.2f}", f"{max(s.peak_mib for s in profile.steps):.0f}")
    return table


def _networks_table(profile: Profile, ceiling: float | None, precision: str) -> Any:
    from rich.table import Table

    most = "not measured" if ceiling is None else f"{ceiling:.0f} GFLOP/s, the most that it reached now"
    table = Table(title=f"Networks; ceiling of this machine in {precision}: {most}")
    table.add_column("network")
    for name in ("calls", "windows of 96 x 96 x 96", "seconds", "GFLOP/s", "of the ceiling"):
        table.add_column(name, justify="right")
    for network in profile.networks:
        share = f"{network.gflops / ceiling:.0%}" if ceiling else "–"
        row = (network.calls, f"{network.windows:.1f}", f"{network.seconds:.2f}", f"{network.gflops:.0f}", share)
        table.add_row(network.name, *map(str, row))
    return table
