"""`lungseg3d compare`: several networks, folds and seeds of a bundle, in one table with intervals and tests.

In: the command line. Out: a folder with tables and a page; an exit code. Knows no network.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from lungseg3d.cli.terminal.console import complain, progress, say, say_table, terminal_interval, terminal_number
from lungseg3d.cli.terminal.options import TrustBundle, existing_bundle
from lungseg3d.cli.terminal.outcome import outcome_of, reporting_errors
from lungseg3d.cli.verbs.train import key_and_value


@reporting_errors
def compare(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", parser=existing_bundle, help="MONAI bundle.")],
    networks: Annotated[
        str,
        typer.Option(
            "--networks", metavar="A,B,C", help="Overlays configs/networks/NAME.json; the first is tested against."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", file_okay=False, help="Folder; run again to go on.")
    ],
    folds: Annotated[
        str, typer.Option("--folds", metavar="0-4", help="Folds to hold out; default: the bundle's own validation.")
    ] = "",
    seeds: Annotated[str, typer.Option("--seeds", metavar="1,2", help="Seeds of the trainings.")] = "0",
    training: Annotated[
        str | None, typer.Option("--training", metavar="NAME", help="Overlay configs/training/NAME.json.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY::PATH=VALUE", help="Change one configuration value.")
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            "--weights", metavar="model|best", help="Last epoch, or the best on the held-out cases themselves."
        ),
    ] = "model",
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0.01, help="Train each as many steps as fit into this time, on this machine."),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Trainings at once.")] = 1,
    join: Annotated[
        list[Path] | None,
        typer.Option("--join", metavar="DIR", help="Take from DIR what another comparison has measured."),
    ] = None,
    trust_bundle: TrustBundle = False,
) -> int:
    """Train and measure several networks of BUNDLE on the same folds and seeds, and test which are better."""
    names = tuple(dict.fromkeys(name.strip() for name in networks.split(",") if name.strip()))
    if not names:
        raise typer.BadParameter("name one network or more, such as light_unet,se_unet", param_hint="--networks")
    if weights not in ("model", "best"):
        raise typer.BadParameter(f"{weights!r} is neither model nor best", param_hint="--weights")
    asked = {
        "folds": _numbers(folds, "--folds") if folds else (),
        "seeds": _numbers(seeds, "--seeds"),
        "trust_bundle": trust_bundle,
        "overrides": dict(key_and_value(text) for text in overrides or []),
    }
    from lungseg3d.workflows.compare.plan import Choices
    from lungseg3d.workflows.compare.run import compare as compare_networks

    choices = Choices(bundle, names, training=training, weights=weights, minutes=minutes, **asked)  # type: ignore[arg-type]
    same_line = shlex.join(["lungseg3d", *sys.argv[1:]])
    try:
        with progress() as on_progress:
            done = compare_networks(choices, out, jobs=jobs, join=join or (), on_progress=on_progress)
    except KeyboardInterrupt:
        complain(f"What was trained and measured is kept. By this line it goes on:\n  {same_line}")
        raise
    say_table(_table(done.content))
    for member in done.content["members"]:
        if member["status"] != "done":
            complain(f"{member['folder']}: {member['reason']}")
    if any(member["status"] != "done" for member in done.content["members"]):
        complain(f"What failed is tried again by the same line:\n  {same_line}")
    say(f"Wrote {done.page}")
    return outcome_of(done.statuses)


def _numbers(text: str, option: str) -> tuple[int, ...]:
    """`0-4`, `1,2` or both mixed, as numbers."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise typer.BadParameter(
                f"{part.strip()!r} in {text!r} is no number and no range, such as 0-4", param_hint=option
            )
        found += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(found))


def _table(content: Mapping[str, Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("network")
    several = len(content["structures"]) > 1
    for title in (
        *(["structure"] if several else []),
        "done",
        "Dice (95 %)",
        "p",
        "IoU",
        "HD95 mm",
        "M param.",
        "GFLOP",
        "s/case",
    ):
        table.add_column(title, justify="left" if title == "structure" else "right")
    for row in content["networks"]:
        dice, test = row["dice"], row["dice"]["test"] or {}
        table.add_row(
            row["network"],
            *([row["structure"]] if several else []),
            f"{row['members_done']}/{row['members']}",
            terminal_interval(dice),
            terminal_number(test.get("p_holm"), 3),
            terminal_number(row["iou"]["mean"], 3),
            terminal_number(row["hd95_mm"]["mean"], 1),
            terminal_number(row["parameters_m"], 2),
            terminal_number(row["gflop_96"], 0),
            terminal_number(row["inference_s"], 2),
        )
    return table
