"""Options that several verbs share: how the input is to be read.

In: a verb that takes `reading`. Out: the same verb with one command line option for each way of reading.
Knows the names of `lungseg3d.io.ReadOptions`, and loads it only when a verb runs.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

_T = TypeVar("_T")

_PANEL = "Reading"


class Decode(str, Enum):
    """Where files are decoded."""

    apart = "apart"
    in_process = "in-process"


def existing_bundle(text: str) -> Path:
    """The folder that an option names as a bundle; `~` is replaced, as shells do not do it in `--bundle=~/x`.

    Raises:
        typer.BadParameter: there is no such folder.
    """
    path = Path(os.path.expanduser(text))
    if not path.is_dir():
        raise typer.BadParameter(f"{text!r} is no folder." if path.exists() else f"{text!r} does not exist.")
    return path


def _option(kind: Any, name: str, **settings: Any) -> Any:
    return Annotated[kind, typer.Option(name, rich_help_panel=_PANEL, **settings)]


# Field of ReadOptions -> (annotation that typer reads, default).
READING: dict[str, tuple[Any, Any]] = {
    "series": (_option(str | None, "--series", metavar="UID", help="SeriesInstanceUID to use, of several."), None),
    "allow_gaps": (_option(bool, "--allow-gaps", help="Fill missing slices by interpolation."), False),
    "assume_hu": (_option(bool, "--assume-hu", help="Take the values as HU where the file does not say."), False),
    "fix_offset": (_option(bool, "--fix-offset", help="Take 1024 off values that are HU + 1024."), False),
    "assume_axes": (
        _option(str | None, "--assume-axes", metavar="RAS", help="Directions of the axes, for a file without."),
        None,
    ),
    "volume_index": (_option(int | None, "--volume-index", min=0, help="Volume of a 4D file, from 0."), None),
    "strict": (_option(bool, "--strict", help="Refuse derived images, too."), False),
    "verify_manifest": (
        _option(
            Path | None,
            "--verify-manifest",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Check every file against SHA-256 sums, as sha256sum writes them.",
        ),
        None,
    ),
    "follow_links": (
        _option(bool, "--follow-links", help="Follow links that lead outside of the input, too; else they are named."),
        False,
    ),
    "decode": (
        _option(Decode, "--decode", help="apart: a file that crashes, hangs or fills its decoder costs only itself."),
        Decode.apart,
    ),
}



def _there(text: str) -> Path:
    """The path, if anything is there: also a link to nothing, of which the reader says what it is."""
    if not os.path.lexists(text):
        raise typer.BadParameter(f"Path {text!r} does not exist.")
    return Path(text)


InputPath = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT", parser=_there, help="Folder of a DICOM series, or a .nii, .nii.gz, .nrrd, .mha, .mhd file."
    ),
]
InputPaths = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT", parser=_there, help="Folders of DICOM series, or .nii, .nii.gz, .nrrd, .mha, .mhd files."
    ),
]
TrustBundle = Annotated[
    bool,
    typer.Option("--trust-bundle", help="Let a bundle of somebody else run code; without, it is checked and refused."),
]
Formats = Annotated[
    str,
    typer.Option("--format", metavar="LIST", help="nifti, seg (DICOM SEG), sr (DICOM SR, with seg); several: seg,sr."),
]
ExportFormats = Annotated[str, typer.Option("--format", metavar="LIST", help="seg, sr or both; sr brings seg.")]


class Dates(str, Enum):
    """Which dates DICOM objects bear."""

    source = "source"
    now = "now"


ObjectDates = Annotated[
    Dates,
    typer.Option(
        "--dates",
        help="Of SEG and SR. source: the CT's, so that two runs write the same bytes. now: when they are made.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results that are there already.")]


def with_reading_options(verb: Callable[..., _T]) -> Callable[..., _T]:
    """A verb whose parameter `reading` (an `io.ReadOptions`) is filled from `--series`, `--allow-gaps` and so on."""
    return with_reading_options_of(*READING)(verb)


def with_reading_options_of(*names: str) -> Callable[[Callable[..., _T]], Callable[..., _T]]:
    """As `with_reading_options`, with some of the options: those that fit a whole dataset."""
    return functools.partial(with_options, "reading", {name: READING[name] for name in names}, _read_options)


def _read_options(given: Mapping[str, Any]) -> Any:
    from lungseg3d.io import ReadOptions

    plain = {name: value.value if isinstance(value, Enum) else value for name, value in given.items()}
    return ReadOptions(**plain)


def with_options(
    parameter: str,
    options: Mapping[str, tuple[Any, Any]],
    make: Callable[[Mapping[str, Any]], Any],
    verb: Callable[..., _T],
) -> Callable[..., _T]:
    """A verb one of whose parameters is made of options of the command line.

    Args:
        parameter: of the verb.
        options: name -> (annotation that typer reads, default).
        make: turns what was given for the options into the parameter; called when the verb runs.
        verb: the verb itself.
    """
    # Records are names for type checkers only: their packages would load NumPy and more before --help.
    records = {"ReadOptions": Any, "SegmentOptions": Any}
    own = inspect.signature(verb, eval_str=True, locals=records).parameters
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in options.items()
    ]
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for name, p in own.items() if name != parameter]

    @functools.wraps(verb)
    def verb_with_options(**given: Any) -> Any:
        made = make({name: given.pop(name) for name in options})
        return verb(**{parameter: made}, **given)

    # typer reads signature and annotations; functools.wraps would show it those of the bare verb.
    verb_with_options.__signature__ = inspect.Signature(parameters + shared)  # type: ignore[attr-defined]
    verb_with_options.__annotations__ = {p.name: p.annotation for p in parameters + shared}
    del verb_with_options.__wrapped__
    return verb_with_options
