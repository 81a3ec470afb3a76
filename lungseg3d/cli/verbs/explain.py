"""`lungseg3d explain`: which part of a CT spoke for a nodule that was found.

In: the command line. Out: a picture, a map, a table of layers; an exit code. Knows no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungseg3d.cli.terminal.console import complain, say, say_table
from lungseg3d.cli.terminal.options import TrustBundle, existing_bundle, with_reading_options
from lungseg3d.cli.terminal.outcome import reporting_errors
from lungseg3d.cli.terminal.segment_options import Device

if TYPE_CHECKING:
    from lungseg3d.io import ReadOptions


@reporting_errors
@with_reading_options
def explain(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="RESULTS|CT", exists=True, help="Folder that segment wrote for a case; or a CT, segmented first."
        ),
    ] = None,
    nodule: Annotated[
        int,
        typer.Option("--nodule", min=1, help="Number in the report, also of a candidate."),
    ] = 1,
    ct: Annotated[Path | None, typer.Option("--ct", exists=True, help="The CT that the results are of.")] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", metavar="NAME", help="Layer of the network; default: the last features.")
    ] = None,
    list_layers: Annotated[bool, typer.Option("--list-layers", help="Name the layers, and stop.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", file_okay=False, metavar="DIR", help="Default: beside the results.")
    ] = None,
    device: Device = "auto",
    nodule_bundle: Annotated[
        Path | None,
        typer.Option(
            parser=existing_bundle,
            metavar="DIR",
            help="The nodule bundle that made the results, where it is not the shipped one.",
        ),
    ] = None,
    trust_bundle: TrustBundle = False,
    *,
    reading: ReadOptions,
) -> None:
    """Show what in the CT spoke for a nodule (Grad-CAM): explanation-nodule-N-LAYER.png and .nii.gz.

    The network weighed the bright places; why it did so is not said, and a reader need not agree.
    """
    from lungseg3d.core import CANDIDATE_REASONS
    from lungseg3d.workflows.explain import ExplainOptions, network_layers
    from lungseg3d.workflows.explain import explain as explain_nodule
    from lungseg3d.workflows.segment.cases import SegmentOptions

    options = SegmentOptions(device=device, nodule_bundle=nodule_bundle, trust_bundle=trust_bundle, read=reading)
    if list_layers:
        _say_layers(network_layers(options))
        return
    if source is None:
        raise typer.BadParameter("give results of segment, or a CT", param_hint="RESULTS|CT")
    done = explain_nodule(source, out, ExplainOptions(nodule, layer, ct, options))
    for issue in done.issues:
        complain(f"{issue.code}: {issue.message}\n{issue.remedy}")
    reason = CANDIDATE_REASONS.get(done.reason, done.reason)
    what = f"Candidate {nodule} ({reason})" if reason else f"Nodule {nodule}"
    say(f"{what} at layer {done.layer}: {done.inside:.0%} of the weight lies inside its outline.")
    say(f"Wrote {done.picture}\n      {done.heat_map}")


def _say_layers(layers: Sequence[Any]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("layer", "kind", "channels", "grid of a window of 64"):
        table.add_column(title, justify="right" if title == "channels" else "left")
    for layer in layers:
        table.add_row(layer.name, layer.kind, str(layer.channels), " x ".join(map(str, layer.shape)))
    say_table(table)
