"""`lungseg3d evaluate`: what a folder of predictions is worth, against the references of a manifest.

In: the command line. Out: tables, a page; an exit code. Knows no metric.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungseg3d.cli.terminal.console import complain, progress, say, say_table, terminal_interval, terminal_number
from lungseg3d.cli.terminal.options import existing_bundle
from lungseg3d.cli.terminal.outcome import outcome_of, reporting_errors

if TYPE_CHECKING:
    from lungseg3d.metrics import OperatingPoint


def _folder(option: str, text: str) -> Any:
    return typer.Option(option, metavar="DIR", exists=True, file_okay=False, help=text)


@reporting_errors
def evaluate(
    manifest: Annotated[
        str, typer.Option("--manifest", "-m", metavar="JSON", help="File, or the name of a shipped one.")
    ],
    predictions: Annotated[Path, _folder("--predictions", "Results of segment, or <case_id>.nii.gz for each case.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", file_okay=False, help="Folder for the results.")],
    data: Annotated[Path | None, _folder("--data", "Where the manifest's paths start; default: beside it.")] = None,
    split: Annotated[str | None, typer.Option("--split", metavar="NAME", help="Cases of this split only.")] = None,
    fold: Annotated[int | None, typer.Option("--fold", min=0, help="Cases of this fold only.")] = None,
    against: Annotated[Path | None, _folder("--against", "Other predictions, to test against.")] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            "--nodule-bundle",
            parser=existing_bundle,
            metavar="DIR",
            help="Nodule bundle that predicted, where it is not the shipped one.",
        ),
    ] = None,
    least_iou: Annotated[
        float,
        typer.Option(
            "--least-iou", min=0.001, max=1.0, help="IoU of outline and reference from which a nodule is found."
        ),
    ] = 0.1,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw the ten worst cases.")] = True,
    operating_point: Annotated[
        str | None,
        typer.Option(
            "--operating-point",
            metavar="default|sensitive|fp=N",
            help="List the findings of the results anew at this point of the bundle; default: as they are listed.",
        ),
    ] = None,
    fit_operating_point: Annotated[
        str | None,
        typer.Option(
            "--fit-operating-point",
            metavar="fp=N",
            help="Choose the cut that leaves N false positives a scan here: OUT/settings.json for segment --settings.",
        ),
    ] = None,
    track: Annotated[bool, typer.Option("--track", help="Log to MLFLOW_TRACKING_URI, else to OUT/mlruns.db.")] = False,
) -> int:
    """Measure predictions against the references of a manifest: voxels, nodules, confidence, volumes."""
    from lungseg3d.workflows.evaluate.run import EvaluateOptions
    from lungseg3d.workflows.evaluate.run import evaluate as evaluate_predictions

    rate = _false_positives(fit_operating_point)
    options = EvaluateOptions(data, split, fold, against, bundle, least_iou, pictures, track, operating_point, rate)
    with progress() as on_progress:
        done = evaluate_predictions(manifest, predictions, out, options, on_progress)
    if done.content["list"]:
        say(_list_text(done.content))
    for table in _tables(done.content):
        say_table(table)
    for warning in done.content["warnings"]:
        complain(f"{warning['code']}: {warning['message']}\n{warning['remedy']}")
    for failure in done.content["failed"]:
        complain(f"{failure['code']}: {failure['message']}\n{failure['remedy']}")
    say(f"Wrote {done.page}")
    if done.point is not None:
        say(_point_text(done.point, done.is_calibrated, out / "settings.json"))
    return outcome_of(done.statuses)


def _false_positives(asked: str | None) -> float | None:
    """`fp=1` -> 1.0."""
    if asked is None:
        return None
    name, _, number = asked.partition("=")
    try:
        rate = float(number)
        if name.strip() != "fp" or not 0 < rate < float("inf"):
            raise ValueError
    except ValueError:
        found = f"{asked!r}: give fp= and the false positives a scan that you allow, such as fp=1"
        raise typer.BadParameter(found, param_hint="--fit-operating-point") from None
    return rate


def _point_text(point: OperatingPoint, is_calibrated: bool, path: Path) -> str:
    def shown(interval: Any, digits: int) -> str:
        has_bounds = interval.low == interval.low
        low, high = (interval.low, interval.high) if has_bounds else (None, None)
        return terminal_interval({"mean": interval.mean, "low": low, "high": high}, digits)

    false, found = shown(point.false_positives_a_scan, 2), shown(point.sensitivity, 3)
    kind = "calibrated confidence" if is_calibrated else "confidence"
    cut = f"Cut at a {kind} of {point.least_confidence:.4f}: {false} false positives a scan, sensitivity {found}"
    cut += f", on these {point.scans} scans."
    return f"{cut}\nFor segment --settings: {path}"


def _list_text(content: Mapping[str, Any]) -> str:
    """What the list is worth, which a reader asks first."""
    from lungseg3d.workflows.evaluate.reader_list import point_texts

    of = content["list"]
    counted = [(of["listed"], "finding"), (content["evaluated"], "scan"), (of["candidates"], "candidate")]
    listed, scans, candidates = (f"{count} {word}{'' if count == 1 else 's'}" for count, word in counted)
    found = f"{of['true']} of {of['nodules']} nodules listed, sensitivity {terminal_interval(of['sensitivity'])}"
    false = f"{terminal_interval(of['false_findings_a_scan'], 2)} false findings a scan"
    behind = f"{candidates} behind it, {of['nodules_among_candidates']} of them nodules"
    return f"The list ({'; '.join(point_texts(content))}): {listed} in {scans}; {found}; {false}; {behind}."


def _tables(content: Mapping[str, Any]) -> list[Any]:
    from rich.table import Table

    voxels = Table(box=None, pad_edge=False)
    titles = ("structure", "n", "Dice (95 %)", "missed", "Dice of found", "IoU", "HD95 mm", "HD100 mm", "NSD 1 mm")
    for title in (*titles, "volume error"):
        voxels.add_column(title, justify="left" if title == "structure" else "right")
    for name, values in content["structures"].items():
        cells = (terminal_number(values[key]["mean"], digits) for key, digits in _SHOWN)
        found = content["of_found"][name]
        missed = f"{found['missed']} of {found['wanted']}"
        dice = found["dice"]
        of_found = f"{terminal_number(dice['mean'], 3)}, n={dice['n']}"
        voxels.add_row(name, str(values["dice"]["n"]), terminal_interval(values["dice"]), missed, of_found, *cells)
    tables = [voxels] if content["structures"] else []
    if content["nodules"]:
        nodules = Table(box=None, pad_edge=False)
        for title in ("nodules", "n", "found (95 %)", "false", "Dice (95 %)", "Dice of found"):
            nodules.add_column(title, justify="left" if title == "nodules" else "right")
        strata = content["nodules"]
        for row in ({"name": "all", **strata["all"]}, *strata["by_size"], *strata["by_texture"]):
            false = str(row["marks"] - row["found"]) if row["marks"] else "–"
            numbers = (terminal_interval(row["detection"]), false, terminal_interval(row["dice"]))
            nodules.add_row(
                row["name"], str(row["nodules"]), *numbers, terminal_number(row["dice_of_found"]["mean"], 3)
            )
        tables.append(nodules)
    return tables


_SHOWN = (("iou", 3), ("hd95_mm", 2), ("hd100_mm", 2), ("nsd_1mm", 3), ("volume_error", 3))
