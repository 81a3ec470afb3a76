"""`lungseg3d prepare NAME SOURCE OUT`: a public dataset as it was downloaded -> a manifest that training takes.

In: the command line. Out: the workflow's files, a line for each refused case, an exit code. Knows no format.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungseg3d.cli.terminal.commands import Program
from lungseg3d.cli.terminal.console import complain, progress, say
from lungseg3d.cli.terminal.options import with_reading_options_of
from lungseg3d.cli.terminal.outcome import EXIT_CODES, ExitStatus, note_options, outcome_of, reporting_errors
from lungseg3d.cli.terminal.prepare_dataset import Download, Folds, Out, Source, prepare_found, see_source

if TYPE_CHECKING:
    from lungseg3d.io import ReadOptions

app = Program(no_args_is_help=True)

_MOST_ASKED = 10
_READING = ("allow_gaps", "assume_hu", "fix_offset", "follow_links", "decode")


@app.callback()
def prepare(context: typer.Context) -> None:
    """Turn a public dataset as it was downloaded into a manifest, with label files where they must be made.

    OUT is the folder that the manifest's paths start from. A bad case is listed with its reason, the others go on.
    """
    note_options(context)


@app.command(epilog=EXIT_CODES)
@reporting_errors
@with_reading_options_of(*_READING)
def folder(
    source: Source,
    out: Out,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="VALUE=NAME",
            help="What a value means: right_lung, left_lung, nodule, or background to leave it out. "
            "Default: a lone value 1 is a nodule; other values are asked for.",
        ),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Name of the dataset.")] = "folder",
    licence: Annotated[str | None, typer.Option("--licence", metavar="TEXT", help="Licence of the data.")] = None,
    folds: Folds = None,
    *,
    reading: ReadOptions,
) -> int:
    """Any folder: images/ and labels/ with the same names, nnU-Net's imagesTr and labelsTr, or a CSV.

    The CSV has the columns image, label and, if wanted, patient, fold. Without a patient, DICOM headers tell which
    images are of one (in memory only), else their names do: P08_t0 and P08_t1 are P08. What was assumed is said.
    """
    from dataclasses import replace

    from lungseg3d.data import FOLDER
    from lungseg3d.workflows.prepare.folder import find_folder

    structures = dict(_value_and_name(text) for text in labels or [])
    see_source("folder", source)
    if not structures:
        structures = _structures_of(source, reading)
    about = replace(FOLDER, name=name, licence=licence or FOLDER.licence)
    return prepare_found(find_folder(source, reading, about, structures), source, out, folds, reading)


def _structures_of(source: Path, reading: ReadOptions) -> dict[int, str]:
    """What the values of the labels mean, where no option says it: before hours of reading, not after."""
    from lungseg3d.workflows.prepare.folder import refuse_unnamed_values, values_of_first_label

    values = values_of_first_label(source, read=reading)
    if not values:
        return {}
    if values == (1,):
        complain("Labels hold the value 1 alone: taken for nodule. Say --label 1=NAME if it is something else.")
        return {1: "nodule"}
    listed = ", ".join(map(str, values[:_MOST_ASKED])) + (", ..." if len(values) > _MOST_ASKED else "")
    if len(values) > _MOST_ASKED or not _is_terminal():
        refuse_unnamed_values(values)
    complain(f"The labels hold {listed}. What do they mean? {', '.join(_names())}")
    return dict(_value_and_name(f"{value}={typer.prompt(str(value), err=True)}") for value in values)


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _names() -> list[str]:
    from lungseg3d.core.labels import LABELS
    from lungseg3d.data import BACKGROUND_NAME

    return [*(label.name for label in LABELS), BACKGROUND_NAME]


def _value_and_name(text: str) -> tuple[int, str]:
    """`1=nodule` as value and name."""
    value, _, name = text.partition("=")
    name, known = name.strip(), _names()
    if not value.isdecimal() or value == "0" or name not in known:
        message = f"{text!r} is not VALUE=NAME, such as 1=nodule; names: {', '.join(known)}"
        raise typer.BadParameter(message, param_hint="--label")
    return int(value), name


@app.command(epilog=EXIT_CODES)
@reporting_errors
@with_reading_options_of(*_READING)
def lidc(
    source: Source,
    out: Out,
    min_readers: Annotated[
        int, typer.Option("--min-readers", min=1, max=4, help="Readers that must have outlined a nodule.")
    ] = 3,
    min_votes: Annotated[
        float, typer.Option("--min-votes", min=0.01, max=1.0, help="Share of them that must have a voxel inside.")
    ] = 0.5,
    contour_pixels: Annotated[
        bool, typer.Option("--contour-pixels", help="Count the outline's own pixels, which LIDC draws just outside.")
    ] = False,
    download: Download = False,
    folds: Folds = None,
    *,
    reading: ReadOptions,
) -> int:
    """LIDC-IDRI (TCIA, CC BY 3.0): nodules of 3 mm and more by consensus of up to four readers, with their ratings."""
    from lungseg3d.data import ConsensusRule
    from lungseg3d.workflows.prepare.lidc import find_lidc

    see_source("lidc", source, download)
    rule = ConsensusRule(min_readers, min_votes, contour_pixels)
    return prepare_found(find_lidc(source, rule, reading, out), source, out, folds, reading)


@app.command(epilog=EXIT_CODES)
@reporting_errors
@with_reading_options_of(*_READING)
def luna16(
    source: Source,
    out: Out,
    spheres: Annotated[
        bool,
        typer.Option("--spheres", help="Write nodules as spheres, too; LUNA16 says where they are, not their shape."),
    ] = False,
    download: Download = False,
    folds: Folds = None,
    *,
    reading: ReadOptions,
) -> int:
    """LUNA16 (CC BY): ten subsets as folds, nodules and excluded findings in mm, lungs with their sides checked."""
    from lungseg3d.workflows.prepare.luna16 import find_luna16

    see_source("luna16", source, download)
    return prepare_found(find_luna16(source, spheres, reading), source, out, folds, reading)


@app.command(name="msd-lung", epilog=EXIT_CODES)
@reporting_errors
@with_reading_options_of(*_READING)
def msd_lung(
    source: Source,
    out: Out,
    download: Download = False,
    folds: Folds = None,
    *,
    reading: ReadOptions,
) -> int:
    """Medical Segmentation Decathlon, Task06_Lung (CC BY-SA 4.0): 63 CTs with a tumour each. --download loads 9 GB."""
    from lungseg3d.workflows.prepare.folder import find_msd_lung

    see_source("msd-lung", source, download)
    return prepare_found(find_msd_lung(source, reading), source, out, folds, reading)


@app.command(name="lung-pet-ct-dx", epilog=EXIT_CODES)
@reporting_errors
@with_reading_options_of(*_READING)
def lung_pet_ct_dx(
    source: Source, out: Out, download: Download = False, folds: Folds = None, *, reading: ReadOptions
) -> int:
    """Lung-PET-CT-Dx (TCIA, CC BY 4.0): boxes around tumours, in world mm; no masks."""
    from lungseg3d.workflows.prepare.pet_ct import find_lung_pet_ct_dx

    see_source("lung-pet-ct-dx", source, download)
    return prepare_found(find_lung_pet_ct_dx(source, reading, out), source, out, folds, reading)


@app.command(name="nsclc-radiomics", epilog=EXIT_CODES)
@reporting_errors
@with_reading_options_of(*_READING)
def nsclc_radiomics(
    source: Source, out: Out, download: Download = False, folds: Folds = None, *, reading: ReadOptions
) -> int:
    """NSCLC-Radiomics (TCIA, CC BY-NC 3.0): lungs and tumour from RTSTRUCT contours."""
    from lungseg3d.workflows.prepare.radiomics import find_nsclc_radiomics

    see_source("nsclc-radiomics", source, download)
    return prepare_found(find_nsclc_radiomics(source, reading, out), source, out, folds, reading)


@app.command(epilog=EXIT_CODES)
@reporting_errors
def check(
    manifest: Annotated[str, typer.Argument(metavar="MANIFEST", help="File, or the name of a shipped one.")],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", exists=True, file_okay=False, help="Folder of its data; default: its own folder."
        ),
    ] = None,
    lungs: Annotated[
        bool, typer.Option("--lungs/--no-lungs", help="Also look whether nodules lie in the lungs: some seconds a CT.")
    ] = True,
) -> int:
    """Read every file of MANIFEST and say what would spoil a training: one line for each fault."""
    from lungseg3d.workflows.prepare.check import check_manifest

    with progress() as on_progress:
        cases, faults = check_manifest(manifest, data or Path(manifest).parent, lungs=lungs, on_progress=on_progress)
    for fault in faults:
        issue = fault.issue
        message = issue.message.removeprefix(f"{fault.case_id}: ")
        say(f"{issue.code}: {fault.case_id + ': ' if fault.case_id else ''}{message} {issue.remedy}".rstrip())
    bad = {fault.case_id for fault in faults if fault.issue.code.startswith("E_")}
    found = f"{len(faults)} faults in {len({fault.case_id for fault in faults})} of them" if faults else "no fault"
    say(f"{manifest}: {cases} cases, {found}")
    if "" in bad:
        return ExitStatus.NONE_DONE
    return outcome_of(["refused"] * len(bad) + ["done"] * (cases - len(bad)))


@app.command(name="list")
@reporting_errors
def list_datasets() -> int:
    """The datasets that can be prepared: source, licence, how to get them, what their folder holds."""
    from lungseg3d.data import DATASETS

    for name, dataset in DATASETS.items():
        lines = (f"  {dataset.source}", f"  Licence: {dataset.licence}", f"  Holds: {dataset.looks_like}")
        say("\n".join([name, *lines] + ([f"  {dataset.how_to_get}"] if dataset.how_to_get else [])))
    return ExitStatus.DONE
