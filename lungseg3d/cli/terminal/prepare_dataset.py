"""What all datasets of `prepare` have in common: options, the folder that must be there, what is said at the end.

In: a dataset's name, the found cases. Out: the workflow's files, lines for the user, an exit code. Knows no format.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungseg3d.cli.terminal.console import complain, progress, say
from lungseg3d.cli.terminal.outcome import outcome_of

if TYPE_CHECKING:
    from lungseg3d.io import ReadOptions
    from lungseg3d.workflows.prepare.run import FoundDataset

Source = Annotated[Path, typer.Argument(metavar="SOURCE", file_okay=False, help="Folder of the dataset; read only.")]
Download = Annotated[
    bool, typer.Option("--download", help="Load it into SOURCE first, where its publisher allows; goes on if stopped.")
]
Out = Annotated[
    Path,
    typer.Argument(metavar="OUT", file_okay=False, help="Folder for manifest.json, labels/ and a link to SOURCE."),
]
Folds = Annotated[
    int | None,
    typer.Option("--folds", min=2, metavar="N", help="Deal patients into N folds; default: the dataset's own."),
]


def see_source(name: str, source: Path, download: bool = False) -> None:
    """See that the folder of a dataset is there, or load it.

    Raises:
        LungSegError: E_NO_CASES without it, with the way to get it.
    """
    from lungseg3d.core import LungSegError
    from lungseg3d.data import DATASETS

    if download:
        from lungseg3d.workflows.prepare.fetch import fetch_dataset

        with progress() as on_progress:
            fetch_dataset(DATASETS[name], source, on_progress)
    elif not source.is_dir():
        raise LungSegError("E_NO_CASES", f"{source}: there is no such folder.", DATASETS[name].how_to_get)
    complain(f"{name}: looking through {source.absolute().name}")


def prepare_found(found: FoundDataset, source: Path, out: Path, folds: int | None, reading: ReadOptions) -> int:
    """Write the manifest of what was found, and tell of refused cases and of remarks; returns the exit code."""
    from lungseg3d.workflows.prepare.run import prepare as prepare_dataset

    with progress() as on_progress:
        done = prepare_dataset(found, source, out, folds=folds, read=reading, on_progress=on_progress)
    for remark in done.remarks:
        complain(f"{remark.code}: {remark.message} {remark.remedy}".rstrip())
    for case in done.content["cases"]:
        for issue in case.get("issues", ()):
            if issue.startswith("W_LABEL"):
                code, _, text = issue.partition(": ")
                complain(f"{code}: {case['case_id']}: {text}")
    for case in done.content.get("refused", ()):
        complain(f"{case['code']}: {case['case_id']}: {case['reason'].removeprefix(case['case_id'] + ': ')}")
    say(_summary(done.manifest, done.content))
    return outcome_of(done.statuses)


def _summary(manifest: Path, content: Any) -> str:
    cases, refused = content["cases"], content.get("refused", ())
    patients = len({case["patient"] for case in cases})
    folds = len({case["fold"] for case in cases if "fold" in case})
    parts = [f"{len(cases)} cases of {patients} patients"]
    parts += [f"{folds} folds"] if folds else []
    parts += [f"{len(refused)} refused"] if refused else []
    remarked = sum("issues" in case for case in cases)
    parts += [f"{remarked} with remarks (issues in the manifest)"] if remarked else []
    lines = [f"{manifest}: {', '.join(parts)}"]
    lines += [f"Patients: {rule}" for rule in [content["conventions"].get("patient")] if rule]
    return "\n".join([*lines, f"Licence: {content['licence']}"])
